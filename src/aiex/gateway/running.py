"""One admitted request: its events, how it stands, and how it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Literal

import anyio
import anyio.lowlevel

from aiex.core import (
    AiexError,
    Event,
    EventBody,
    Failed,
    ModelDelta,
    Redactor,
    Request,
    RequestChanged,
    Started,
    Text,
    WireBytes,
)
from aiex.gateway.journal import EventJournal
from aiex.gateway.masking import masked
from aiex.gateway.ports import RequestState
from aiex.runtime import Clock

__all__ = ["Running"]

_ANSWERS = frozenset({WireBytes, ModelDelta, Text})  # what was asked for: nothing in it is masked


class Running:
    """An admitted request; what its verb sees as `Run`.

    A verb runs in a task of its own, which its scope cancels, or inside of whoever iterates its
    events (`inside`), whose task is then cancelled and takes the cancellation back (`asyncio`'s
    own way of a time-out).

    Args:
        request: The request.
        clock: Where time comes from.
        redact: Takes secrets out of errors and notices.
        journal: Where its events go.
        scope: What its verb runs in, if that is a task of its own.

    Attributes:
        request: The request.
        journal: Its events.
        scope: What its verb runs in; `None` if that is inside of who iterates.
        is_detached: Whether a task of the gateway's brings it to its end.
        submitted: Aware UTC time of admission.
        stop: What ends it before its end; `None` while nothing does.
        code: Code of the error that ended it; empty if none did.
    """

    def __init__(
        self,
        request: Request,
        *,
        clock: Clock,
        redact: Redactor,
        journal: EventJournal,
        scope: anyio.CancelScope | None = None,
    ) -> None:
        self.request = request
        self.journal = journal
        self.scope = scope
        self.is_detached = False
        self.submitted = clock.now()
        self.stop: AiexError | None = None
        self.code = ""
        self._ended = self.submitted
        self._now: Callable[[], datetime] = clock.now
        self._redact = redact
        self._done: anyio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelled: asyncio.Task[object] | None = None
        self._cancelling = 0

    def begin(self) -> Event:
        """Send the first event."""
        started = Started(verb=self.request.verb, deadline=self.request.deadline)
        return self.journal.append(started, at=self.submitted)

    def add(self, body: EventBody) -> Event:
        """Number *body*, without the secrets in what it says of the request, and return it."""
        if type(body) not in _ANSWERS:
            body = masked(body, self._redact)
        return self.journal.append(body, at=self._now())

    async def emit(self, body: EventBody) -> None:
        """Send one event."""
        self.add(body)
        # A verb that emits in a tight loop must let its readers keep up.
        await anyio.lowlevel.checkpoint()

    def end(self, body: EventBody) -> Event:
        """Send the last event."""
        if isinstance(body, Failed):
            self.code = body.error.code
        event = self.add(body)
        self._ended = event.at
        if self._done is not None:
            self._done.set()
        return event

    async def wait(self) -> None:
        """Return once the last event is there."""
        if not self.journal.is_closed:
            if self._done is None:
                self._done = anyio.Event()
            await self._done.wait()

    def interrupt(self, error: AiexError) -> None:
        """Let the request end with *error*, as soon as its verb has stopped."""
        if self.stop is not None or self.journal.is_closed:
            return
        self.stop = error
        if self.scope is not None:
            self.scope.cancel()
        elif self._task is not None:
            self._cancelled = self._task
            self._task.cancel()

    @property
    def is_inside(self) -> bool:
        """Whether the task of who iterates is in the verb, so that it can be stopped there."""
        return self._task is not None

    def enter(self) -> None:
        """Note that the current task goes into the verb."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._task = task = asyncio.current_task(self._loop)  # which need not look for it
        if task is not None:
            self._cancelling = task.cancelling()

    def leave(self) -> None:
        """Note that the task has come out of the verb.

        Raises:
            AiexError: What stops the request.
        """
        self._task = None
        if self.stop is not None:
            self.was_cancelled()
            raise self.stop

    def was_cancelled(self) -> bool:
        """Return whether `interrupt` is the only one who cancelled the task; taken back if so."""
        task, self._cancelled, self._task = self._cancelled, None, None
        return task is not None and task.uncancel() <= self._cancelling

    def state(self) -> RequestState:
        """Return how it stands."""
        ended = self.journal.is_closed
        principal = self.request.principal
        return RequestState(
            id=self.request.id,
            verb=self.request.verb,
            user=principal.user,
            interface=principal.interface,
            state="running" if not ended else "failed" if self.code else "finished",
            submitted=self.submitted,
            last_event=self.journal.last_id,
        )

    def admitted(self) -> RequestChanged:
        """Return what is published of its beginning."""
        return self._changed("admitted", 0)

    def ended(self) -> RequestChanged:
        """Return what is published of its end."""
        ms = (self._ended - self.submitted).total_seconds() * 1000
        return self._changed("failed" if self.code else "finished", round(ms))

    def _changed(self, state: Literal["admitted", "finished", "failed"], ms: int) -> RequestChanged:
        principal = self.request.principal
        return RequestChanged(
            id=self.request.id,
            state=state,
            verb=self.request.verb,
            user=principal.user,
            interface=principal.interface,
            code=self.code,
            ms=ms,
        )
