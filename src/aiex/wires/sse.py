"""Server-sent events: bytes to events and back.

Source: WHATWG HTML, section 9.2 "Server-sent events" (read 2026-11-24). Comments, `id` and
`retry` are skipped, since no provider gives them a meaning.
"""

from __future__ import annotations

import msgspec

from aiex.wires.lines import MAX_LINE_BYTES, LineSplitter, one_line

__all__ = ["SseDecoder", "SseEvent", "encode_comment", "encode_event"]

_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    Attributes:
        data: Its data lines, joined by line feeds.
        event: Its name; `None` where the stream gave none.
    """

    data: bytes
    event: str | None = None


class SseDecoder:
    r"""Turns bytes, cut anywhere, into events.

    Example:
        >>> SseDecoder().feed(b'event: ping\ndata: {"a":1}\n\n')
        [SseEvent(data=b'{"a":1}', event='ping')]
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._lines = LineSplitter(max_line_bytes=max_line_bytes)
        self._data: list[bytes] = []
        self._event: str | None = None
        self._is_first = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """Return the events that *data* completes."""
        events = []
        for line in self._lines.feed(data):
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def end(self) -> SseEvent | None:
        """Return what stands after the last blank line; it may have been cut anywhere.

        Some servers leave out the last blank line, so the caller should try to read it, and
        take what cannot be read for the remains of a cut.
        """
        line = self._lines.rest()
        if line:
            self._line(line)
        return self._line(b"")

    def _line(self, line: bytes) -> SseEvent | None:
        if self._is_first:
            line = line.removeprefix(_BOM)
            self._is_first = False
        if not line:
            event, self._event = self._event, None
            if not self._data:
                return None
            data = b"\n".join(self._data)
            self._data.clear()
            return SseEvent(data=data, event=event)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        return None


def encode_event(data: bytes, *, event: str | None = None) -> bytes:
    r"""Return the bytes of one event.

    Args:
        data: Its data, JSON or a plain word; line feeds inside become several data lines.
        event: Its name; `None` to leave it out.

    Example:
        >>> encode_event(b"[DONE]")
        b'data: [DONE]\n\n'
    """
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    lines = one_line(data).split(b"\n")
    return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def encode_comment(text: str = "") -> bytes:
    r"""Return a comment, which keeps a connection alive and means nothing.

    Example:
        >>> encode_comment("ping")
        b': ping\n\n'
    """
    return f": {text}".rstrip().encode() + b"\n\n"
