"""What is piped in."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress

import anyio
import anyio.to_thread

from aiex.core import UsageError

__all__ = ["Lines", "is_terminal", "piped_text", "read_stdin"]

_MOST_BYTES = 4 << 20
_BLOCK = 64 * 1024


def is_terminal() -> bool:
    """Return whether standard input is a terminal, or closed: there is nothing to read then."""
    return sys.stdin is None or sys.stdin.isatty()


class Lines:
    """The lines of what is piped in, each as soon as it is there.

    Args:
        handle: What they are read from.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._rest = b""
        self._has_ended = False

    async def next(self) -> str | None:
        """Return the next line without its end; `None` after the last one.

        Raises:
            UsageError: It is too long.
        """
        while b"\n" not in self._rest and not self._has_ended:
            if len(self._rest) > _MOST_BYTES:
                raise UsageError(f"a line of standard input is longer than {_MOST_BYTES >> 20} MB")
            block = await self._read()
            self._has_ended = not block
            self._rest += block
        if not self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return _text(line.removesuffix(b"\r"))

    async def _read(self) -> bytes:
        with suppress(PermissionError):  # of a regular file, which never lets wait
            await anyio.wait_readable(self._handle)
        return await anyio.to_thread.run_sync(os.read, self._handle, _BLOCK)


def read_stdin() -> str:
    """Return standard input as text; bytes that are no UTF-8 become replacement characters.

    Raises:
        UsageError: It is empty or too large.
    """
    raw = _read()
    if not raw.strip():
        raise UsageError("standard input is empty", hint="aiex explain FILE")
    return _text(raw)


def piped_text() -> str | None:
    """Return what a pipe or a file at standard input holds; `None` for nothing.

    A terminal is not read, nor a device: whoever starts a program without an input gives it one
    of these.

    Raises:
        UsageError: It is too large.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return None
    raw = _read()
    return _text(raw) if raw.strip() else None


def _read() -> bytes:
    raw = b"" if sys.stdin is None else sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise UsageError(f"standard input is larger than {_MOST_BYTES >> 20} MB")
    return raw


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").removeprefix("\ufeff")
