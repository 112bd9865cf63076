"""Some lines of a file, read block by block: what is held at once is bounded, whatever it is."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import msgspec

from aiex.core import PathRefusedError
from aiex.sandbox.paths import printable

__all__ = ["FileLines", "LineRange"]

_BLOCK = 1 << 18


class FileLines(msgspec.Struct, frozen=True, kw_only=True):
    r"""Some lines of a file as it was at one moment; they end at `\n`, which is kept.

    Attributes:
        path: Relative to the root, links resolved; absolute where it is not the main root's.
        content: The lines' bytes.
        first: Number of the first one, 1-based.
        last: Number of the last one; less than *first* if there are none.
        total: How many lines the file has.
        sha256: Digest of the whole file.
    """

    path: str
    content: bytes
    first: int
    last: int
    total: int
    sha256: str


@dataclass(frozen=True)
class _Read:
    content: bytes
    total: int
    seen: int
    sha256: str


class LineRange:
    """Takes lines out of open files.

    Args:
        first: First line, 1-based.
        last: Last line; `None` for the end.
        most: Most bytes of the lines.
        path: What was asked for, for the words of an error.
    """

    def __init__(self, first: int, last: int | None, *, most: int, path: str) -> None:
        self._first = first
        self._last = last
        self._most = most
        self._path = path

    def read(self, handle: int, size: int) -> _Read:
        """Return the lines of a file of *size* bytes; one more is asked for, to see that it grew.

        Raises:
            PathRefusedError: The lines have too many bytes.
        """
        kept: list[bytes] = []
        held = offset = ended = 0  # bytes kept, bytes read, lines that have ended
        digest = hashlib.sha256()
        block = b""
        while offset <= size and (
            piece := os.pread(handle, min(_BLOCK, size + 1 - offset), offset)
        ):
            block = piece
            offset += len(block)
            digest.update(block)
            begin, end, lines = self._part(block, ended + 1)
            ended += lines
            if begin < end:
                held += end - begin
                if held > self._most:
                    raise PathRefusedError(
                        f"the lines of {printable(self._path)} have more bytes than the limit of "
                        f"{max(self._most, 0)}",
                        path=printable(self._path),
                        rule="too_large",
                        hint="ask for fewer lines",
                    )
                kept.append(block[begin:end])
        total = ended + (bool(block) and not block.endswith(b"\n"))
        return _Read(b"".join(kept), total, offset, digest.hexdigest())

    def _part(self, block: bytes, number: int) -> tuple[int, int, int]:
        """Return where the wanted part of *block* is, and how many lines end in it.

        Args:
            block: Bytes that follow each other.
            number: Number of the line that the block begins in.
        """
        lines = block.count(b"\n")
        last = number + lines if self._last is None else self._last
        if last < number or self._first > number + lines:
            return 0, 0, lines
        begin = _behind(block, self._first - number)
        end = len(block) if last >= number + lines else _behind(block, last + 1 - number)
        return begin, end, lines


def _behind(block: bytes, lines: int) -> int:
    """Return the place behind the first *lines* ends of lines; 0 for none."""
    at = 0
    for _ in range(lines):
        at = block.index(b"\n", at) + 1
    return at
