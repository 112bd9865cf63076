"""The events of one request: appended by its verb, read by any number of interfaces."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from datetime import datetime
from itertools import islice

import anyio

from aiex.core import (
    TERMINAL,
    ContextShown,
    Event,
    EventBody,
    Facts,
    Finished,
    ModelDelta,
    NotFoundError,
    ReasoningText,
    Text,
    WireBytes,
)

__all__ = ["EventJournal"]

_LONG = frozenset({ContextShown, Facts, Finished, ModelDelta, ReasoningText, Text})
_EVENT_BYTES = 400  # what an event takes in memory besides its text, about


class EventJournal:
    """A bounded list of numbered events with readers that wait for more.

    A reader that falls further behind than what is kept is told so by an error, never by a gap.

    Args:
        request_id: The request.
        capacity: Most events kept.
        max_bytes: Most memory that they take, about; the newest is kept whatever its size.
    """

    def __init__(
        self, request_id: str, *, capacity: int = 20_000, max_bytes: int = 8 * 1024 * 1024
    ) -> None:
        self._request_id = request_id
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._changed: anyio.Event | None = None  # only while somebody waits
        self.last_id = 0
        self.is_closed = False

    def append(self, body: EventBody, *, at: datetime) -> Event:
        """Number *body* and hand it to every reader; nothing is taken after the last event."""
        self.last_id += 1
        event = Event(id=self.last_id, request_id=self._request_id, at=at, body=body)
        events = self._events
        events.append(event)
        self._bytes += _weight(body)
        while (self._bytes > self._max_bytes or len(events) > self._capacity) and len(events) > 1:
            self._bytes -= _weight(events.popleft().body)
        self.is_closed = isinstance(body, TERMINAL)
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        return event

    def since(self, after: int) -> list[Event]:
        """Return what is kept of the events above *after*, oldest first.

        Raises:
            NotFoundError: Events that were asked for are gone.
        """
        oldest = self._events[0].id if self._events else self.last_id + 1
        if after + 1 < oldest:
            raise NotFoundError(
                f"events {after + 1} to {oldest - 1} of request {self._request_id} are no "
                "longer kept",
                hint="attach again without a starting point",
            )
        return list(islice(self._events, after + 1 - oldest, None))

    def kept(self) -> list[Event]:
        """Return all that is kept, oldest first."""
        return list(self._events)

    async def read(self, *, after: int) -> AsyncGenerator[Event, None]:
        """Yield events above *after* until the last one.

        Raises:
            NotFoundError: Events that were asked for are gone.
        """
        while True:
            fresh = self.since(after)
            for event in fresh:
                yield event
                after = event.id
                if event.is_last:
                    return
            if fresh:
                continue
            if self.is_closed:  # asked for what is above the last event
                return
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()


def _weight(body: EventBody) -> int:
    """Return the bytes that an event takes, about; cheap, since it is asked for each."""
    if type(body) is WireBytes:
        return _EVENT_BYTES + len(body.data)
    if type(body) not in _LONG:
        return _EVENT_BYTES
    match body:
        case Text() | ReasoningText() | ContextShown():
            return _EVENT_BYTES + len(body.text)
        case Finished() | Facts():
            return _EVENT_BYTES + len(memoryview(body.data))
        case ModelDelta():
            return 2 * _EVENT_BYTES
        case _:
            return _EVENT_BYTES
