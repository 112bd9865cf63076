"""The gateway of this process: verbs run here, in one task group that outlives them."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from aiex.assistant import Verb
from aiex.core import (
    REQUEST_SCHEMA,
    AiexError,
    ConflictError,
    DeadlineError,
    ErrorInfo,
    Event,
    EventBody,
    Failed,
    InterruptedByUserError,
    NotFoundError,
    Redactor,
    Request,
    Started,
    UsageError,
)
from aiex.gateway.journal import EventJournal
from aiex.gateway.masking import masked
from aiex.gateway.ports import RequestState
from aiex.runtime import Clock

__all__ = ["LocalGateway", "StoreInfo"]

_logger = logging.getLogger(__name__)

VerbOpener = Callable[[], "Verb[Any]"]


class StoreInfo(Protocol):
    """What the gateway needs of a store to describe it."""

    async def info(self) -> Mapping[str, str]:
        """Return what an operator wants to know."""


class _Running:
    """One admitted request; what its verb sees as `Run`."""

    def __init__(self, request: Request, clock: Clock, redact: Redactor) -> None:
        self._request = request
        self._clock = clock
        self._redact = redact
        self.submitted = clock.now()
        self.journal = EventJournal(request.id)
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.failed = False

    @property
    def request(self) -> Request:
        return self._request

    async def emit(self, body: EventBody) -> None:
        self.journal.append(masked(body, self._redact), at=self._clock.now())
        # A verb that emits in a tight loop must let its readers keep up.
        await anyio.lowlevel.checkpoint()

    def end(self, body: EventBody) -> None:
        self.failed = isinstance(body, Failed)
        self.journal.append(masked(body, self._redact), at=self._clock.now())
        self.done.set()

    def state(self) -> RequestState:
        ended = self.journal.is_closed
        return RequestState(
            id=self._request.id,
            verb=self._request.verb,
            user=self._request.principal.user,
            interface=self._request.principal.interface,
            state="running" if not ended else "failed" if self.failed else "finished",
            submitted=self.submitted,
            last_event=self.journal.last_id,
        )


class LocalGateway:
    """Satisfies `gateway.Gateway` in this process.

    Args:
        verbs: Opens each verb by name; called at the first request for it.
        clock: Where time comes from.
        store: The store, for `operations`.
        resources: What was opened for the verbs; closed when the gateway is left.
        redact: Takes the secrets out of errors and notices; `None` for what looks like one.
        kept: Ended requests whose events stay readable.
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
    ) -> None:
        self._openers = verbs
        self._opened: dict[str, Verb[Any]] = {}
        self._clock = clock
        self._store = store
        self._resources = resources or AsyncExitStack()
        self._redact = redact or Redactor()
        self._kept = kept
        self._requests: OrderedDict[str, _Running] = OrderedDict()
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
                for running in self._requests.values():
                    running.scope.cancel()
                await tasks.__aexit__(kind, error, trace)
        finally:
            await self._resources.aclose()  # each shields what must not be cut short
        return None

    @property
    def operations(self) -> LocalGateway:
        """What an operator asks; this same object."""
        return self

    async def verbs(self) -> Sequence[str]:
        """Return the verbs that it takes, sorted."""
        return sorted(self._openers)

    async def requests(self) -> Sequence[RequestState]:
        """Return the requests that it knows, newest first."""
        return [running.state() for running in reversed(self._requests.values())]

    async def store(self) -> Mapping[str, str]:
        """Return what the store says of itself."""
        return await self._store.info()

    async def submit(self, request: Request) -> str:
        """Admit *request*, start its verb and return the request's id."""
        if self._tasks is None:
            msg = "the gateway is not open: enter it with `async with` first"
            raise RuntimeError(msg)
        if request.schema > REQUEST_SCHEMA:
            raise UsageError(
                f"the request was made by a newer Aiex (schema {request.schema}; this one knows "
                f"{REQUEST_SCHEMA})",
                hint="upgrade this Aiex",
            )
        if request.id in self._requests:
            raise ConflictError(f"request {request.id} was submitted before")
        verb = self._verb(request.verb)
        try:
            arguments = msgspec.json.decode(request.arguments, type=verb.arguments_type)
        except msgspec.DecodeError as error:
            raise UsageError(f"the arguments of {request.verb} do not fit: {error}") from error
        seconds = self._seconds_left(request.deadline)
        running = _Running(request, self._clock, self._redact)
        self._requests[request.id] = running
        self._forget_old()
        running.journal.append(
            Started(verb=request.verb, deadline=request.deadline), at=self._clock.now()
        )
        self._tasks.start_soon(self._run, verb, arguments, running, seconds)
        return request.id

    def _verb(self, name: str) -> Verb[Any]:
        if name not in self._opened:
            opener = self._openers.get(name)
            if opener is None:
                raise UsageError(
                    f"there is no verb {name!r}", hint=f"verbs: {', '.join(sorted(self._openers))}"
                )
            self._opened[name] = opener()
        return self._opened[name]

    def _seconds_left(self, deadline: datetime | None) -> float | None:
        if deadline is None:
            return None
        seconds = (deadline - self._clock.now()).total_seconds()
        if seconds <= 0:
            raise DeadlineError("the deadline had passed before the request was admitted")
        return seconds

    def _forget_old(self) -> None:
        ended = [id_ for id_, running in self._requests.items() if running.journal.is_closed]
        for id_ in ended[: max(0, len(ended) - self._kept)]:
            del self._requests[id_]

    async def _run(
        self, verb: Verb[Any], arguments: msgspec.Struct, running: _Running, seconds: float | None
    ) -> None:
        """Run the verb to its last event; no error of a verb reaches the task group."""
        body: EventBody | None = None
        try:
            with running.scope, anyio.move_on_after(seconds) as timer:
                body = await _outcome(verb, arguments, running)
            if timer.cancelled_caught:
                body = Failed(
                    error=DeadlineError(
                        f"the {seconds:g} s allowed for the request have passed",
                        hint="allow more with --timeout SECONDS",
                    ).info()
                )
        finally:
            if body is None:
                body = Failed(error=InterruptedByUserError("the request was cancelled").info())
            running.end(body)

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Admit *request* and yield its events; closing the generator ends the request."""
        await self.submit(request)
        try:
            async for event in self.attach(request.id):
                yield event
        finally:
            with anyio.CancelScope(shield=True):
                await self.cancel(request.id)

    async def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the request's events above *after* to the last one."""
        async for event in self._known(request_id).journal.read(after=after):
            yield event

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it has stopped then."""
        running = self._known(request_id)
        if running.journal.is_closed:
            return False
        running.scope.cancel()
        await running.done.wait()
        return True

    def _known(self, request_id: str) -> _Running:
        running = self._requests.get(request_id)
        if running is None:
            raise NotFoundError(
                f"no request {request_id} is known here",
                hint=f"ended requests are kept until {self._kept} newer ones have ended",
            )
        return running


async def _outcome(verb: Verb[Any], arguments: msgspec.Struct, running: _Running) -> EventBody:
    """Return the last event of a verb; of errors, only cancellation passes through."""
    try:
        return await verb.run(arguments, running)
    except Exception as error:  # noqa: BLE001 - the boundary of a request
        return Failed(error=_info_of(error))


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
