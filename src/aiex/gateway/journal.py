"""The events of one request: appended by its verb, read by any number of interfaces."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from datetime import datetime

import anyio

from aiex.core import Event, EventBody, NotFoundError

__all__ = ["EventJournal"]


class EventJournal:
    """A bounded list of numbered events with readers that wait for more.

    A reader that falls further behind than *capacity* is told so by an error, never by a gap.

    Args:
        request_id: The request.
        capacity: Most events kept.
    """

    def __init__(self, request_id: str, *, capacity: int = 20_000) -> None:
        self._request_id = request_id
        self._events: deque[Event] = deque(maxlen=capacity)
        self._changed = anyio.Event()
        self.last_id = 0
        self.is_closed = False

    def append(self, body: EventBody, *, at: datetime) -> Event:
        """Number *body* and hand it to every reader; nothing is taken after the last event."""
        event = Event(id=self.last_id + 1, request_id=self._request_id, at=at, body=body)
        self.last_id = event.id
        self._events.append(event)
        self.is_closed = event.is_last
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
        return event

    async def read(self, *, after: int) -> AsyncGenerator[Event, None]:
        """Yield events above *after* until the last one.

        Raises:
            NotFoundError: Events that were asked for are gone.
        """
        while True:
            oldest = self._events[0].id if self._events else self.last_id + 1
            if after + 1 < oldest:
                raise NotFoundError(
                    f"events {after + 1} to {oldest - 1} of request {self._request_id} are no "
                    "longer kept",
                    hint="attach again without a starting point",
                )
            changed = self._changed
            fresh = [self._events[i] for i in range(after + 1 - oldest, len(self._events))]
            for event in fresh:
                yield event
                after = event.id
                if event.is_last:
                    return
            if not fresh:
                await changed.wait()
