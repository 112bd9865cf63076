"""Cuts a stream of bytes into lines, at line feeds and nowhere else.

`str.splitlines` also cuts at U+2028, U+0085 and others, which are legal inside JSON strings.
"""

from __future__ import annotations

from aiex.core import OverloadedError

__all__ = ["MAX_LINE_BYTES", "LineSplitter", "one_line"]

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest line that is kept in memory; a picture as base64 fits, a runaway server does not."""


_ESCAPES = (
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
    ("\x85".encode(), b"\\u0085"),
)


def one_line(json: bytes) -> bytes:
    r"""Return *json* with the characters escaped at which some readers cut a line.

    The official client of Ollama is one of them. Outside of strings JSON has none of these.

    Example:
        >>> one_line('{"a":"b\u2028c"}'.encode())
        b'{"a":"b\\u2028c"}'
    """
    for raw, escaped in _ESCAPES:
        json = json.replace(raw, escaped)
    return json


class LineSplitter:
    r"""Gives back whole lines, however the bytes were cut on their way.

    Example:
        >>> lines = LineSplitter()
        >>> lines.feed(b"one\r\ntw")
        [b'one']
        >>> lines.feed(b"o\n"), lines.rest()
        ([b'two'], b'')
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._max = max_line_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that *data* completes, without their line ends.

        Raises:
            OverloadedError: A line is longer than the bound.
        """
        *whole, tail = data.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._pieces, whole[0]))
            self._pieces.clear()
            self._size = 0
        if tail:
            self._pieces.append(tail)
            self._size += len(tail)
        if self._size > self._max:
            raise OverloadedError(f"a line of the stream is longer than {self._max} bytes")
        return [line.removesuffix(b"\r") for line in whole]

    def rest(self) -> bytes:
        """Return the bytes after the last line feed and forget them."""
        left = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        return left.removesuffix(b"\r")
