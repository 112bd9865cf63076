"""What is published: given at once to who listens here, and in batches to other processes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from aiex.cluster import LIMITS, Message
from aiex.core import AiexError, Missed, Published, PublishedBody, UsageError, name_of
from aiex.runtime import Clock

__all__ = ["Bulletin", "Listeners", "Wire", "matches"]

_LOG = logging.getLogger(__name__)

SUBJECT: Final = "aiex.published"
_EVERY = 0.1  # seconds between two batches
_LAST_WAIT = 1.0  # seconds that leaving may wait for the store
_RETRY = 1.0  # seconds to the next try of a store that cannot be written
_PARCEL_BYTES = LIMITS.value_bytes - 4096
_PARCEL_EVENTS = 500


class Wire(Protocol):
    """What of a store carries events between processes; see `cluster.Store`."""

    async def publish(self, subject: str, value: bytes) -> None:
        """Tell whoever subscribes now."""

    def subscribe(self, pattern: str) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Stream what is published from now on."""


class Listeners(Protocol):
    """Who listens in other processes; events that nobody would read are not written."""

    async def listen(self, listens: bool) -> None:
        """Let the other processes know whether this one listens."""

    async def are_there(self) -> bool:
        """Return whether another process listens."""


class _Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What one message carries.

    Attributes:
        origin: Process that sends it, which passes its own over when it reads.
        lost: Events that the sender had to drop before these.
        events: JSON of each event.
    """

    origin: str
    lost: int
    events: list[msgspec.Raw]


_PARCEL = msgspec.json.Decoder(_Parcel)
_EVENT = msgspec.json.Decoder(Published)


def matches(pattern: str, name: str) -> bool:
    """Return whether *pattern* means *name*: `*` stands for one word, a last `>` for the rest.

    Example:
        >>> matches("breaker.*", "breaker.opened"), matches(">", "key.created")
        (True, True)
        >>> matches("breaker", "breaker.opened")
        False
    """
    wanted, words = pattern.split("."), name.split(".")
    if wanted[-1] == ">" and len(words) >= len(wanted):
        wanted, words = wanted[:-1], words[: len(wanted) - 1]
    return len(wanted) == len(words) and all(
        want in {"*", word} for want, word in zip(wanted, words, strict=True)
    )


def _check(pattern: str) -> None:
    words = pattern.split(".")
    if not all(words) or ">" in words[:-1] or not pattern.isascii() or " " in pattern:
        raise UsageError(
            f"{pattern!r} is no pattern of events",
            hint="a name such as breaker.opened; * stands for one word, a last > for the rest",
        )


class _Subscriber:
    """A bounded queue of one subscriber; iterated by it alone."""

    def __init__(self, pattern: str, capacity: int, told: Callable[[int], Published]) -> None:
        self._pattern = pattern
        self._capacity = capacity
        self._told = told
        self._wanted: dict[str, bool] = {}
        self._waiting: deque[Published] = deque()
        self._missed = 0
        self._arrived = anyio.Event()
        self._is_closed = False

    def put(self, event: Published) -> None:
        wanted = self._wanted.get(event.name)
        if wanted is None:
            wanted = self._wanted[event.name] = matches(self._pattern, event.name)
        if not wanted:
            return
        if len(self._waiting) >= self._capacity:
            self._waiting.popleft()
            self._missed += 1
        self._waiting.append(event)
        self._arrived.set()

    def miss(self, count: int) -> None:
        self._missed += count
        self._arrived.set()

    def close(self) -> None:
        self._is_closed = True
        self._arrived.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Published:
        while True:
            if self._missed:
                missed, self._missed = self._missed, 0
                return self._told(missed)
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closed:
                raise StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()


class Bulletin:
    """Publishes events, and gives those of all processes to who subscribes.

    Entered before others are told; `announce` takes events before that, too. Who subscribes in
    this process gets an event within the call that announces it; other processes get it within
    100 ms or so, and only if one of them listens. An event is never given twice. What is in
    `heard` is called with each event of this process, in the call that announces it.

    Args:
        wire: Carries events between processes.
        listeners: Who listens elsewhere.
        clock: Where time comes from.
        node: Name of this node.
        origin: Name of this process, unlike that of any other.
        capacity: Most events that wait to be carried; the oldest are dropped and counted.
        sleep: Waits.
    """

    def __init__(
        self,
        wire: Wire,
        listeners: Listeners,
        *,
        clock: Clock,
        node: str,
        origin: str,
        capacity: int = 10_000,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._wire = wire
        self._listeners = listeners
        self._now: Callable[[], datetime] = clock.now
        self._node = node
        self._origin = origin
        self._capacity = capacity
        self._sleep = sleep
        self._subscribers: list[_Subscriber] = []
        self._leaving: deque[tuple[datetime, PublishedBody]] = deque()
        self._lost = 0
        self._tasks: TaskGroup | None = None
        self._is_carrying = False
        self._hearing: anyio.CancelScope | None = None
        self.dropped = 0
        self.heard: list[Callable[[PublishedBody], None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        if self._leaving:
            self._carry_on()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        for subscriber in self._subscribers:
            subscriber.close()
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        try:
            return await tasks.__aexit__(kind, error, trace)
        finally:
            with anyio.move_on_after(_LAST_WAIT, shield=True), suppress(AiexError):
                await self._carry()

    def announce(self, body: PublishedBody) -> None:
        """Publish *body*; never waits and never raises."""
        for hear in self.heard:
            hear(body)
        at = self._now()
        if self._subscribers:
            event = self._event(at, body)
            for subscriber in self._subscribers:
                subscriber.put(event)
        leaving = self._leaving
        if len(leaving) >= self._capacity:
            leaving.popleft()
            self._lost += 1
            self.dropped += 1
        leaving.append((at, body))  # what it is named and how it is written can wait
        if not self._is_carrying and self._tasks is not None:
            self._carry_on()

    def _carry_on(self) -> None:
        self._is_carrying = True
        if self._tasks is not None:
            self._tasks.start_soon(self._carry_all)

    async def _carry_all(self) -> None:
        """Carry what was announced until nothing was for a while."""
        try:
            while self._leaving:
                await self._sleep(_EVERY)
                try:
                    await self._carry()
                except AiexError as error:
                    _LOG.debug("published events wait: %s", error.message)
                    await self._sleep(_RETRY)
        finally:
            self._is_carrying = False

    async def _carry(self) -> None:
        if not self._leaving:
            return
        if not await self._listeners.are_there():
            self._leaving.clear()
            self._lost = 0
            return
        while self._leaving:
            count, value = self._parcel()
            lost = self._lost
            await self._wire.publish(SUBJECT, value)
            self._lost -= lost
            # What was dropped meanwhile was the oldest: a part of what has just been carried.
            overtaken = min(self._lost, count)
            for _ in range(count - overtaken):
                self._leaving.popleft()
            self._lost -= overtaken
            self.dropped -= overtaken

    def _parcel(self) -> tuple[int, bytes]:
        events: list[msgspec.Raw] = []
        size = 0
        for at, body in self._leaving:
            raw = msgspec.json.encode(self._event(at, body))
            size += len(raw) + 1
            if events and (size > _PARCEL_BYTES or len(events) >= _PARCEL_EVENTS):
                break
            events.append(msgspec.Raw(raw))
        parcel = _Parcel(origin=self._origin, lost=self._lost, events=events)
        return len(events), msgspec.json.encode(parcel)

    @asynccontextmanager
    async def subscribe(
        self, pattern: str = ">", *, capacity: int = 1000
    ) -> AsyncGenerator[AsyncIterator[Published], None]:
        """Stream what is published from now on, by all processes.

        Args:
            pattern: A name, in which `*` stands for one word and a last `>` for the rest.
            capacity: Most events that wait for the subscriber.

        Raises:
            UsageError: *pattern* is none.
        """
        _check(pattern)
        if self._tasks is None:
            msg = "the bulletin is not open: enter it first"
            raise RuntimeError(msg)
        subscriber = _Subscriber(pattern, capacity, self._missed)
        if self._hearing is None:
            self._hearing = anyio.CancelScope()
            await self._tasks.start(self._hear, self._hearing)
        self._subscribers.append(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.remove(subscriber)
            if not self._subscribers and self._hearing is not None:
                self._hearing.cancel()
                self._hearing = None

    async def _hear(
        self, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Give what other processes publish to who subscribes here, until *scope* is cancelled."""
        is_first = True
        with scope:
            while True:
                try:
                    async with self._wire.subscribe(SUBJECT) as messages:
                        await self._listeners.listen(True)
                        if is_first:
                            task_status.started()
                            is_first = False
                        async for message in messages:
                            self._take(message)
                except AiexError as error:
                    _LOG.debug("events of other processes are not heard: %s", error.message)
                if is_first:
                    task_status.started()
                    is_first = False
                self._miss(1)
                await self._sleep(_RETRY)
        with anyio.move_on_after(_LAST_WAIT, shield=True), suppress(AiexError):
            await self._listeners.listen(False)

    def _take(self, message: Message) -> None:
        try:
            parcel = _PARCEL.decode(message.value)
        except msgspec.DecodeError:  # of a newer Aiex
            self._miss(1)
            return
        is_own = parcel.origin == self._origin
        if message.missed or (parcel.lost and not is_own):
            self._miss(message.missed + parcel.lost)
        if is_own:
            return
        for raw in parcel.events:
            try:
                event = _EVENT.decode(raw)
            except msgspec.DecodeError:  # a kind that only a newer Aiex knows
                self._miss(1)
                continue
            for subscriber in self._subscribers:
                subscriber.put(event)

    def _miss(self, count: int) -> None:
        for subscriber in self._subscribers:
            subscriber.miss(count)

    def _missed(self, count: int) -> Published:
        return self._event(self._now(), Missed(count=count))

    def _event(self, at: datetime, body: PublishedBody) -> Published:
        return Published(name=name_of(body), at=at, node=self._node, body=body)
