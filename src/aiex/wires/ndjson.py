"""Newline-delimited JSON: bytes to lines and back."""

from __future__ import annotations

from aiex.wires.lines import MAX_LINE_BYTES, LineSplitter, one_line

__all__ = ["NdjsonDecoder", "encode_line"]


class NdjsonDecoder:
    r"""Turns bytes, cut anywhere, into the JSON of each line; blank lines are skipped.

    Example:
        >>> NdjsonDecoder().feed(b'{"a":1}\n\n{"b"')
        [b'{"a":1}']
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._lines = LineSplitter(max_line_bytes=max_line_bytes)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that *data* completes."""
        return [line for line in self._lines.feed(data) if line.strip()]

    def end(self) -> bytes | None:
        """Return what stands after the last line feed; it may have been cut anywhere."""
        return self._lines.rest().strip() or None


def encode_line(json: bytes) -> bytes:
    r"""Return *json*, which holds no line feed, as one line.

    Example:
        >>> encode_line(b'{"done":true}')
        b'{"done":true}\n'
    """
    return one_line(json) + b"\n"
