"""That this process lives, which interfaces are registered with it, and whether it listens."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Protocol, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from aiex.cluster import DELETE, Record, Write
from aiex.core import AiexError, InterfaceChanged, PublishedBody, new_id
from aiex.gateway.ports import Registration
from aiex.gateway.tables import PROCESS
from aiex.runtime import Clock

__all__ = ["Presence", "Records"]

_LOG = logging.getLogger(__name__)

_TTL = 5.0  # seconds after which a process that was killed is known to be gone
_RENEW = 1.5
_PATIENCE = 0.1  # what is over sooner need not be known to others
_LAST_WAIT = 1.0
_PAGE = 32  # so few are read without a hop to a thread


class Records(Protocol):
    """What of a store this needs; see `cluster.Store`."""

    async def transact(self, writes: Sequence[Write], /) -> int:
        """Store *writes*."""

    async def get_many(
        self, table: str, keys: Sequence[tuple[str, ...]], /
    ) -> Sequence[Record | None]:
        """Return a record or `None` for each of *keys*."""

    async def scan(
        self, table: str, /, *, after: tuple[str, ...] | None, limit: int
    ) -> Sequence[Record]:
        """Return a page of the records of *table*."""


class _Process(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a process.

    Attributes:
        node: Its node.
        listens: Whether it wants the events that others publish.
        interfaces: What is registered with it.
    """

    node: str
    listens: bool
    interfaces: tuple[Registration, ...]


_PROCESS = msgspec.json.Decoder(_Process)


class Presence:
    """Tells the other processes of the store that this one lives; entered before use.

    Nothing is written before there is something that others may want to know, nor in the first
    100 ms of it; from then on a record that vanishes 5 s after this process does.

    Args:
        store: Where processes find each other.
        clock: Where time comes from.
        entropy: Gives random bytes.
        owner: Name of this process, unlike that of any other.
        node: Name of this node.
        sleep: Waits.

    Attributes:
        owner: Name of this process.
        node: Name of this node.
    """

    def __init__(
        self,
        store: Records,
        *,
        clock: Clock,
        entropy: Callable[[int], bytes],
        owner: str,
        node: str,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._sleep = sleep
        self.owner = owner
        self.node = node
        self._listens = False
        self._interfaces: dict[str, Registration] = {}
        self._tasks: TaskGroup | None = None
        self._is_held = False
        self._is_renewing = False
        self._writing = anyio.Lock()

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
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        try:
            return await tasks.__aexit__(kind, error, trace)
        finally:
            if self._is_held:
                with anyio.move_on_after(_LAST_WAIT, shield=True), suppress(AiexError):
                    await self._store.transact([self._write(gone=True)])

    async def hold(self) -> None:
        """Let others know from now on that this process lives.

        Raises:
            StoreError: The store cannot be written.
        """
        if not self._is_held:
            await self._tell()
            self._renew(_RENEW)

    def _renew(self, first: float) -> None:
        if not self._is_renewing and self._tasks is not None:
            self._is_renewing = True
            self._tasks.start_soon(self._renew_always, first)

    async def _renew_always(self, first: float) -> None:
        await self._sleep(first)
        while True:
            if self._is_held or self._interfaces or self._listens:
                try:
                    await self._tell()
                except AiexError as error:
                    _LOG.debug("this process cannot say that it lives: %s", error.message)
            await self._sleep(_RENEW)

    async def _tell(self) -> None:
        async with self._writing:  # so that what is stored last is what is true last
            await self._store.transact([self._write()])
            self._is_held = True

    def _write(self, *, gone: bool = False) -> Write:
        process = _Process(
            node=self.node, listens=self._listens, interfaces=tuple(self._interfaces.values())
        )
        value = DELETE if gone else msgspec.json.encode(process)
        return Write(table=PROCESS.name, key=(self.owner,), value=value, ttl=None if gone else _TTL)

    async def living(self, owners: Iterable[str]) -> set[str]:
        """Return which of the processes *owners* live."""
        asked = sorted(set(owners) - {self.owner})
        records = await self._store.get_many(PROCESS.name, [(owner,) for owner in asked])
        found = {owner for owner, one in zip(asked, records, strict=True) if one is not None}
        return found | {self.owner}

    async def listen(self, listens: bool) -> None:
        """Let the other processes know whether this one listens."""
        self._listens = listens
        if listens or self._is_held:
            await self._tell()
            self._renew(_RENEW)

    async def are_there(self) -> bool:
        """Return whether another process listens."""
        return any(process.listens for owner, process in await self._others())

    async def _others(self) -> list[tuple[str, _Process]]:
        found: list[tuple[str, _Process]] = []
        after: tuple[str, ...] | None = None
        while True:
            page = await self._store.scan(PROCESS.name, after=after, limit=_PAGE)
            found += [
                (record.key[0], _PROCESS.decode(record.value))
                for record in page
                if record.key[0] != self.owner
            ]
            if len(page) < _PAGE:
                return found
            after = page[-1].key

    async def interfaces(self) -> Sequence[Registration]:
        """Return what is registered with the processes that live."""
        others = [one for _, process in await self._others() for one in process.interfaces]
        return sorted([*self._interfaces.values(), *others], key=lambda one: (one.since, one.id))

    @asynccontextmanager
    async def register(
        self, name: str, *, capabilities: Sequence[str], announce: Callable[[PublishedBody], None]
    ) -> AsyncGenerator[Registration, None]:
        """Make an interface known while the context is entered."""
        now = self._clock.now()
        registration = Registration(
            id=new_id("if", now=now, entropy=self._entropy(10)),
            name=name,
            capabilities=tuple(capabilities),
            node=self.node,
            since=now,
        )
        self._interfaces[registration.id] = registration
        announce(_changed(registration, left=False))
        self._renew(_PATIENCE)
        try:
            yield registration
        finally:
            del self._interfaces[registration.id]
            announce(_changed(registration, left=True))


def _changed(registration: Registration, *, left: bool) -> InterfaceChanged:
    return InterfaceChanged(
        id=registration.id,
        name=registration.name,
        state="left" if left else "registered",
        capabilities=registration.capabilities,
    )
