"""What the decoders of all streams have in common: a beginning, an end, and errors in between."""

from __future__ import annotations

import abc
from collections.abc import Iterable

import msgspec

from aiex.core import (
    AiexError,
    Delta,
    IncompleteStreamError,
    ModelCall,
    OverloadedError,
)
from aiex.wires.fields import UNREADABLE
from aiex.wires.ndjson import NdjsonDecoder
from aiex.wires.sse import SseDecoder

__all__ = [
    "USAGE_UNKNOWN",
    "LineDecoder",
    "Spoken",
    "SseStreamDecoder",
    "StreamDecoder",
    "WireRequest",
]

USAGE_UNKNOWN = "the stream ended before the provider said what it billed"
"""Warning of a `Finish` whose usage was cut off after the terminal marker."""


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider understands.

    Attributes:
        wire: Wire in which it is asked.
        takes_thinking: Whether it takes back the thinking of an assistant, whoever wrote it.
    """

    wire: str
    takes_thinking: bool = False


class WireRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request body that came in at a door.

    Attributes:
        call: The call.
        stream: Whether the reply shall be streamed.
        include_usage: Whether a streamed reply shall end with its usage.
        unread: What of the body *call* does not hold, as JSON by its place and name.
    """

    call: ModelCall
    stream: bool = False
    include_usage: bool = False
    unread: dict[str, msgspec.Raw] = {}


class StreamDecoder(abc.ABC):
    """Turns the bytes of one streamed reply into deltas.

    Attributes:
        is_over: Whether nothing more of interest can come: the reply has ended, or failed.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._failure: AiexError | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the provider sent an error inside the stream, or what cannot be read."""
        return self._failure is not None

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that *data* completes.

        An error that the provider sends inside the stream is raised by `end`, so that no delta
        before it is lost; `is_over` is true from then on.
        """
        deltas: list[Delta] = []
        try:
            for piece in self._pieces(data):
                if self.is_over:
                    break
                deltas.extend(self._read(piece))
        except AiexError as error:
            self._fail(error)
        except UNREADABLE as error:
            failure = OverloadedError(f"the stream holds something that cannot be read: {error}")
            failure.__cause__ = error
            self._fail(failure)
        return deltas

    def end(self) -> list[Delta]:
        """Return the deltas that were waiting for the end of the stream.

        Raises:
            IncompleteStreamError: The terminal marker of the wire did not come.
            ProviderError: The provider sent an error inside the stream.
            LimitError: The same, when a limit or budget was the reason.
        """
        if self._failure is not None:
            raise self._failure
        if self.is_over:
            return []
        deltas = self._rest()
        if not self.is_over:
            deltas.extend(self._close())
        self.is_over = True
        return deltas

    def _rest(self) -> list[Delta]:
        piece = self._remains()
        if piece is None:
            return []
        try:
            return list(self._read(piece))
        except UNREADABLE:
            return []  # the remains of a cut, never a whole piece: JSON ends with its brace

    def _fail(self, error: AiexError) -> None:
        self._failure = error
        self.is_over = True

    def _close(self) -> list[Delta]:
        """Return what ends a reply whose stream just stopped; by default it is incomplete."""
        raise IncompleteStreamError("the stream ended before its terminal marker")

    @abc.abstractmethod
    def _pieces(self, data: bytes) -> Iterable[bytes]: ...

    @abc.abstractmethod
    def _remains(self) -> bytes | None: ...

    @abc.abstractmethod
    def _read(self, piece: bytes) -> Iterable[Delta]:
        """Yield the deltas of one event or line, and set `is_over` at the terminal marker."""


class SseStreamDecoder(StreamDecoder):
    """A stream of server-sent events whose names repeat what their data says."""

    def __init__(self) -> None:
        super().__init__()
        self._events = SseDecoder()

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        return [event.data for event in self._events.feed(data)]

    def _remains(self) -> bytes | None:
        event = self._events.end()
        return None if event is None else event.data


class LineDecoder(StreamDecoder):
    """A stream of JSON lines."""

    def __init__(self) -> None:
        super().__init__()
        self._lines = NdjsonDecoder()

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        return self._lines.feed(data)

    def _remains(self) -> bytes | None:
        return self._lines.end()
