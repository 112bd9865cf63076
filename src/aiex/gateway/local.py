"""The gateway of this process: a verb runs in who iterates its events, or in a task of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from aiex.assistant import StreamVerb, Verb
from aiex.core import (
    REQUEST_SCHEMA,
    AiexError,
    ConflictError,
    DeadlineError,
    ErrorInfo,
    Event,
    EventBody,
    Failed,
    Finished,
    InterruptedByUserError,
    NotFoundError,
    PublishedBody,
    Redactor,
    Request,
    UsageError,
)
from aiex.gateway.admission import Admission
from aiex.gateway.journal import EventJournal
from aiex.gateway.operations import LocalOperations, Services, StoreInfo
from aiex.gateway.ports import RequestState
from aiex.gateway.records import RequestRecords
from aiex.gateway.running import Running
from aiex.runtime import Clock

__all__ = ["LocalGateway", "VerbOpener"]

_logger = logging.getLogger(__name__)

VerbOpener = Callable[[], "Verb[Any] | StreamVerb[Any]"]

_WIRE_EVENTS = 1000  # kept of an answer that streams, and only in memory
_WIRE_BYTES = 32 * 1024
_LAST_WAIT = 5.0  # seconds that a verb may take to stop
_MORE_TIME = "allow more with --timeout SECONDS"


class _Working:
    """A verb that runs in a task of its own, and what reads its arguments."""

    def __init__(self, verb: Verb[Any]) -> None:
        self.verb = verb
        self.decode: Callable[[Any], Any] = msgspec.json.Decoder(verb.arguments_type).decode


class _Streaming:
    """A verb that gives its events as it goes, and what reads its arguments."""

    def __init__(self, verb: StreamVerb[Any]) -> None:
        self.verb = verb
        self.is_quiet: bool = getattr(verb, "is_quiet", False)
        self.decode: Callable[[Any], Any] = msgspec.json.Decoder(verb.arguments_type).decode


_Admitted = tuple[Running, Any, float | None]
"""A request that has begun, its arguments, and the seconds that it may take."""


def _tell_nobody(body: PublishedBody, /) -> None:
    del body


class LocalGateway:
    """Satisfies `gateway.Gateway` in this process.

    Args:
        verbs: Opens each verb by name; called at the first request for it.
        clock: Where time comes from.
        store: The store, for `operations`.
        resources: What was opened for the verbs; closed when the gateway is left.
        redact: Takes the secrets out of errors and notices; `None` for what looks like one.
        kept: Ended requests whose events stay readable.
        services: What there is besides: published events, keys, models.
        records: Keeps the requests for other processes; `None` to keep them here alone.
        admission: Decides who may ask for what; `None` to let everybody in.
    """

    def __init__(
        self,
        verbs: Mapping[str, VerbOpener],
        *,
        clock: Clock,
        store: StoreInfo,
        resources: AsyncExitStack | None = None,
        redact: Redactor | None = None,
        kept: int = 64,
        services: Services | None = None,
        records: RequestRecords | None = None,
        admission: Admission | None = None,
    ) -> None:
        services = services or Services()
        self._openers = verbs
        self._opened: dict[str, _Working | _Streaming] = {}
        self._clock = clock
        self._resources = resources or AsyncExitStack()
        self._redact = redact or Redactor()
        self._kept = kept
        self._records = records
        self._admission = admission
        self._announce = _tell_nobody if services.bulletin is None else services.bulletin.announce
        self._operations = LocalOperations(self, store=store, services=services)
        self._requests: dict[str, Running] = {}
        self._ended: deque[str] = deque()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        try:
            if tasks is not None:
                await self._stop_all()
                tasks.cancel_scope.cancel()
                await tasks.__aexit__(kind, error, trace)
                for running in list(self._requests.values()):
                    if running.is_detached and not running.journal.is_closed:
                        self._end(running, _interrupted(running))  # its task never began
        finally:
            await self._resources.aclose()  # each shields what must not be cut short
        return None

    async def _stop_all(self) -> None:
        """End what runs; who has an answer in hand is told when asking for its next event."""
        for running in list(self._requests.values()):
            running.interrupt(InterruptedByUserError("the gateway was closed"))
        with anyio.move_on_after(_LAST_WAIT, shield=True):
            for running in list(self._requests.values()):
                if running.is_inside:
                    await running.wait()

    @property
    def operations(self) -> LocalOperations:
        """What an operator asks."""
        return self._operations

    def verb_names(self) -> Sequence[str]:
        """Return the verbs that it takes, sorted."""
        return sorted(self._openers)

    async def request_states(self) -> Sequence[RequestState]:
        """Return the requests that it knows, newest first."""
        own = {one.request.id: one.state() for one in self._requests.values()}
        if self._records is not None:
            elsewhere = {one.id: one for one in await self._records.states()}
            own = elsewhere | own
            return sorted(own.values(), key=lambda one: (one.submitted, one.id), reverse=True)
        return list(reversed(own.values()))

    async def request_state(self, request_id: str) -> RequestState:
        """Return how one request stands."""
        running = self._requests.get(request_id)
        if running is not None:
            return running.state()
        if self._records is not None:
            return await self._records.state(request_id)
        raise self._unknown(request_id)

    async def submit(self, request: Request) -> str:
        """Admit *request*, start its verb and return the request's id."""
        opened = self._open(request.verb)
        admitted = self._admit(opened, request)
        admitted[0].is_detached = True
        tasks = self._group()
        if isinstance(opened, _Streaming):
            tasks.start_soon(self._drain, self._stream(opened, request, admitted))
        else:
            tasks.start_soon(self._work, opened, admitted)
        return request.id

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Admit *request* and yield its events; closing the generator ends the request."""
        opened = self._opened.get(request.verb) or self._opened_now(request.verb)
        if isinstance(opened, _Streaming):
            return self._stream(opened, request, None)
        return self._beside(request)

    def _opened_now(self, name: str) -> _Working | _Streaming | None:
        return self._open(name) if name in self._openers else None

    async def _beside(self, request: Request) -> AsyncGenerator[Event, None]:
        """Yield the events of a verb that runs in a task of its own."""
        await self.submit(request)
        try:
            async for event in self.attach(request.id):
                yield event
        finally:
            with anyio.CancelScope(shield=True):
                await self.cancel(request.id)

    def _group(self) -> TaskGroup:
        if self._tasks is None:
            msg = "the gateway is not open: enter it with `async with` first"
            raise RuntimeError(msg)
        return self._tasks

    def _open(self, name: str) -> _Working | _Streaming:
        opened = self._opened.get(name)
        if opened is None:
            opener = self._openers.get(name)
            if opener is None:
                raise UsageError(
                    f"there is no verb {name!r}", hint=f"verbs: {', '.join(sorted(self._openers))}"
                )
            verb = opener()
            opened = _Streaming(verb) if isinstance(verb, StreamVerb) else _Working(verb)
            self._opened[name] = opened
        return opened

    def _admit(self, opened: _Working | _Streaming, request: Request) -> _Admitted:
        """Return *request* as one that has begun, if it may."""
        self._group()
        if request.schema > REQUEST_SCHEMA:
            raise UsageError(
                f"the request was made by a newer Aiex (schema {request.schema}; this one knows "
                f"{REQUEST_SCHEMA})",
                hint="upgrade this Aiex",
            )
        if request.id in self._requests:
            raise ConflictError(f"request {request.id} was submitted before")
        try:
            arguments = opened.decode(request.arguments)
        except msgspec.DecodeError as error:
            raise UsageError(f"the arguments of {request.verb} do not fit: {error}") from error
        if self._admission is not None:
            self._admission.check(request, arguments)
        seconds = self._seconds_left(request.deadline)
        return self._begin(opened, request), arguments, seconds

    def _seconds_left(self, deadline: datetime | None) -> float | None:
        if deadline is None:
            return None
        seconds = (deadline - self._clock.now()).total_seconds()
        if seconds <= 0:
            raise DeadlineError("the deadline had passed before the request was admitted")
        return seconds

    def _begin(self, opened: _Working | _Streaming, request: Request) -> Running:
        streams = isinstance(opened, _Streaming)
        if streams:
            journal = EventJournal(request.id, capacity=_WIRE_EVENTS, max_bytes=_WIRE_BYTES)
        else:
            journal = EventJournal(request.id)
        running = Running(
            request,
            clock=self._clock,
            redact=self._redact,
            journal=journal,
            scope=None if streams else anyio.CancelScope(),
        )
        self._requests[request.id] = running
        running.begin()
        if not self._is_quiet(request):
            self._announce(running.admitted())
        if self._records is not None and not streams:
            self._records.keep(running)
        return running

    def _is_quiet(self, request: Request) -> bool:
        opened = self._opened.get(request.verb)
        return isinstance(opened, _Streaming) and opened.is_quiet

    def _end(self, running: Running, body: EventBody) -> Event:
        event = running.end(body)
        if self._is_quiet(running.request):
            del self._requests[running.request.id]
            return event
        self._announce(running.ended())
        self._ended.append(running.request.id)
        if len(self._ended) > self._kept:
            del self._requests[self._ended.popleft()]
        return event

    async def _work(self, opened: _Working, admitted: _Admitted) -> None:
        """Run a verb to its last event; no error of a verb reaches the task group."""
        running, arguments, seconds = admitted
        body: EventBody | None = None
        try:
            with running.scope or anyio.CancelScope(), anyio.move_on_after(seconds) as timer:
                body = await self._outcome(opened.verb, arguments, running)
            if timer.cancelled_caught:
                body = Failed(error=_too_late(seconds).info())
        finally:
            self._end(running, body or _interrupted(running))

    async def _drain(self, events: AsyncGenerator[Event, None]) -> None:
        async for _ in events:
            pass  # who attaches reads the journal

    async def _stream(
        self, opened: _Streaming, request: Request, admitted: _Admitted | None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a verb that runs in the task of who iterates.

        No task, no scope and no timer of anyio stands between the verb and its reader: a scope
        around a `yield` would also end what the reader does between two events.
        """
        running, arguments, seconds = admitted or self._admit(opened, request)
        timer: asyncio.TimerHandle | None = None
        last: EventBody | None = None
        bodies = opened.verb.stream(arguments, request)
        try:
            try:
                if seconds is not None:
                    loop = asyncio.get_running_loop()
                    timer = loop.call_later(seconds, _expire, running, seconds)
                yield running.journal.kept()[0]
                if running.stop is not None:
                    raise running.stop
                running.enter()
                async for body in bodies:
                    running.leave()
                    if isinstance(body, Finished):
                        last = body
                    else:
                        yield running.add(body)
                        if running.stop is not None:
                            raise running.stop
                    running.enter()
                running.leave()
            finally:
                if timer is not None:
                    timer.cancel()
                await bodies.aclose()
            if last is None:
                msg = f"the verb {request.verb} ended without a result"
                raise RuntimeError(msg)
        except asyncio.CancelledError:
            last = _interrupted(running) if running.was_cancelled() else None
            if last is None:
                raise
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            running.was_cancelled()
            last = self._failed(running.stop or error, request)
        finally:
            if last is None:
                self._end(running, _interrupted(running))
        yield self._end(running, last)

    async def _outcome(
        self, verb: Verb[Any], arguments: msgspec.Struct, running: Running
    ) -> EventBody:
        """Return the last event of a verb; of errors, only cancellation passes through."""
        try:
            return await verb.run(arguments, running)
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            return self._failed(error, running.request)

    def _failed(self, error: Exception, request: Request) -> Failed:
        """Return the last event of a request that *error* ended."""
        info = _info_of(error)
        is_late = request.deadline is not None and self._clock.now() >= request.deadline
        if is_late and info.code == DeadlineError.code and info.hint is None:
            info = msgspec.structs.replace(info, hint=_MORE_TIME)  # a verb noticed it before us
        return Failed(error=info)

    async def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the request's events above *after* to the last one."""
        running = self._requests.get(request_id)
        if running is not None:
            events = running.journal.read(after=after)
        elif self._records is not None:
            events = self._records.follow(request_id, after=after)
        else:
            raise self._unknown(request_id)
        async for event in events:
            yield event

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it has stopped then."""
        running = self._requests.get(request_id)
        if running is None:
            if self._records is not None:
                return await self._records.cancel(request_id)
            raise self._unknown(request_id)
        if running.journal.is_closed:
            return False
        running.interrupt(InterruptedByUserError("the request was cancelled"))
        await running.wait()
        return True

    def _unknown(self, request_id: str) -> NotFoundError:
        return NotFoundError(
            f"no request {request_id} is known here",
            hint=f"ended requests are kept until {self._kept} newer ones have ended",
        )


def _interrupted(running: Running) -> Failed:
    stop = running.stop or InterruptedByUserError("the request was cancelled")
    return Failed(error=stop.info())


def _expire(running: Running, seconds: float) -> None:
    running.interrupt(_too_late(seconds))


def _too_late(seconds: float | None) -> DeadlineError:
    return DeadlineError(
        f"the {seconds or 0:g} s allowed for the request have passed",
        hint=_MORE_TIME,
    )


def _info_of(error: Exception) -> ErrorInfo:
    if isinstance(error, AiexError):
        return error.info()
    if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        return _info_of(error.exceptions[0])
    _logger.error("a verb failed", exc_info=error)
    return ErrorInfo(
        code="internal",
        message=f"{type(error).__name__}: {error}",
        hint="this is a fault of Aiex; run again with -v and report what it prints",
    )
