"""What every backend of the store promises, whether it is one SQLite file or a cluster.

One *sequence* orders every committed transaction of a store. A record's revision is the sequence
of the transaction that wrote it last, so revisions of different records compare. What a
replicated log cannot do is refused by every backend: see `Limits`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

__all__ = [
    "DELETE",
    "LIMITS",
    "CounterPort",
    "Guard",
    "Index",
    "Lease",
    "LeasePort",
    "Limits",
    "LogPort",
    "LogRecord",
    "Message",
    "QueueItem",
    "QueuePort",
    "ReadLevel",
    "Record",
    "Store",
    "TableSpec",
    "Write",
]

ReadLevel = Literal["local", "session", "linearizable"]
"""`local`: whatever this node has; `session`: at least this process's own writes;
`linearizable`: at least everything acknowledged before the call began."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What no backend takes more of; larger asks raise `UsageError` before anything is written.

    Attributes:
        writes: Writes and guards in one transaction; records in one append to a log.
        value_bytes: Bytes of one value; larger ones are stored by reference by their owner.
        key_bytes: Bytes of one key, name or idempotency key once encoded.
        ttl: Least life of a record or lease, seconds.
        deliveries: How often an item of a queue is handed out before it is a dead letter.
    """

    writes: int = 1000
    value_bytes: int = 256 * 1024
    key_bytes: int = 255
    ttl: float = 1.0
    deliveries: int = 5


LIMITS: Final = Limits()


class _Delete:
    """The value that removes a record."""

    def __repr__(self) -> str:
        return "DELETE"


DELETE: Final = _Delete()


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """A second way into a table.

    Attributes:
        name: Name within the table, lower-case letters, digits and `_`.
        field: Field of the value (top level of its JSON) that is indexed: letters, digits and
            `_`. Records whose field is text or a number are in the index, others are not.
    """

    name: str
    field: str


class TableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A table, declared by the room that owns it and handed to the store by `app`.

    Values are JSON objects, since every backend folds them into the same local projection.

    Attributes:
        name: Lower-case letters, digits and `_`.
        indexes: Fields by which `query` may select and order.
        version: Version of the values; a store written by a newer one is refused.
        replicated: Whether every node must have it (`False`: a cache that may be lost). Tables
            of the two kinds cannot be written in one transaction.
        max_age: Seconds after which a record vanishes, as if written with that TTL; `None` to
            keep it.
        max_records: Records to keep, about: those written longest ago are dropped in passing
            when there are more. Only for tables that are not replicated; `None` for all.
    """

    name: str
    indexes: tuple[Index, ...] = ()
    version: int = 1
    replicated: bool = True
    max_age: float | None = None
    max_records: int | None = None


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a transaction.

    Attributes:
        table: Table.
        key: Parts of the key, 1 or more; each 1 or more characters, any text. The backend
            encodes them (`cluster.keys`).
        value: JSON object, or `DELETE`.
        expect: Revision that the record must have: 0 for "must not exist", `None` for any.
        ttl: Seconds until the record vanishes by itself; `None` for never.
    """

    table: str
    key: tuple[str, ...]
    value: bytes | _Delete
    expect: int | None = None
    ttl: float | None = None


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that is checked and not written, which makes a transaction serialisable.

    A deletion counts as a change of the record for 7 days; a record that vanishes by its TTL
    does not.

    Attributes:
        table: Table.
        key: A whole key, or the leading parts of many.
        max_revision: No record under *key* may have been written or deleted at a higher
            revision; 0: none may exist.
        prefix: Whether *key* names all records below it (and not the one that it is itself).
    """

    table: str
    key: tuple[str, ...]
    max_revision: int
    prefix: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A stored value.

    Attributes:
        table: Table.
        key: Parts of the key.
        value: JSON object.
        revision: Sequence of the transaction that wrote it.
        expires: Aware UTC time at which it vanishes; `None` for never.
    """

    table: str
    key: tuple[str, ...]
    value: bytes
    revision: int
    expires: datetime | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Time-bound ownership of a name.

    Attributes:
        kind: What the name is of, such as `role`.
        name: The name.
        owner: Who holds it.
        token: Fencing token: rises with every change of hands, never goes back.
        ttl: Seconds it was granted for; a holder stops working at half of it without renewal.
    """

    kind: str
    name: str
    owner: str
    token: int
    ttl: float


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of an append-only log.

    Attributes:
        log: Name of the log.
        sequence: Number within the store, rising.
        at: Aware UTC time of the append, by the store's clock.
        value: Bytes that were appended.
    """

    log: str
    sequence: int
    at: datetime
    value: bytes


class QueueItem(msgspec.Struct, frozen=True, kw_only=True):
    """Work taken from a queue.

    Attributes:
        queue: Name of the queue.
        id: Number within the store.
        value: Bytes that were put.
        token: Fencing token of this delivery; `ack`, `nak` and `extend` need it.
        delivery: 1 for the first delivery.
    """

    queue: str
    id: int
    value: bytes
    token: int
    delivery: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something published.

    Attributes:
        subject: Dotted name.
        value: Bytes.
        missed: 0 only if this subscriber lost nothing just before this message; else at least
            as many as it lost by being slow.
    """

    subject: str
    value: bytes
    missed: int = 0


class LeasePort(Protocol):
    """Time-bound ownership."""

    async def acquire(self, kind: str, name: str, *, owner: str, ttl: float) -> Lease | None:
        """Return the lease, or `None` while another owner holds it.

        The owner that holds it already gets it again, with the same token.
        """

    async def renew(self, lease: Lease) -> bool:
        """Return whether the lease was still held; if so its time begins anew."""

    async def release(self, lease: Lease) -> bool:
        """Return whether the lease was still held; it is free now."""

    async def holder(self, kind: str, name: str) -> Lease | None:
        """Return who holds it now; `None` if nobody does."""


class QueuePort(Protocol):
    """Work that is done at least once, and whose result is stored once (by the token).

    A delivery is valid until the item is handed out again, acknowledged or given back. An item
    whose `LIMITS.deliveries`-th delivery was given back, or ran out, is a dead letter.
    """

    async def put(self, queue: str, value: bytes, *, idem: str | None = None) -> int:
        """Return the item's id; the same *idem* within a day gives the same id and one item."""

    async def take(self, queue: str, *, owner: str, ttl: float) -> QueueItem | None:
        """Return the oldest item that is free, hidden from others for *ttl* seconds."""

    async def ack(self, item: QueueItem) -> bool:
        """Return whether this delivery was still valid; the item is done.

        A dead letter is removed by this.
        """

    async def nak(self, item: QueueItem, *, delay: float = 0.0) -> bool:
        """Return whether this delivery was still valid; the item is free after *delay* seconds.

        After its last allowed delivery the item is a dead letter instead.
        """

    async def extend(self, item: QueueItem, *, ttl: float) -> bool:
        """Return whether this delivery was still valid; it stays hidden *ttl* seconds more."""

    async def dead_letters(self, queue: str) -> Sequence[QueueItem]:
        """Return the items that failed for good, oldest first."""


class CounterPort(Protocol):
    """Numbers that many may add to at once."""

    async def add(self, name: str, amount: int) -> int:
        """Return the counter's value after *amount* was added.

        Raises:
            UsageError: The value would leave the range of a signed 64-bit integer.
        """

    async def get(self, name: str) -> int:
        """Return the counter's value; 0 if nothing was ever added."""


class LogPort(Protocol):
    """Append-only logs."""

    async def append(self, log: str, values: Sequence[bytes]) -> int:
        """Return the sequence of the last record; all are appended or none."""

    async def scan(self, log: str, *, after: int = 0, limit: int = 1000) -> Sequence[LogRecord]:
        """Return records with a sequence above *after*, oldest first."""


class Store(AbstractAsyncContextManager["Store"], Protocol):
    """State that is written in transactions and watched; entered before use, left to close.

    Every method raises `StoreBusyError` when the store cannot be had in time,
    `StoreCorruptError` when it is damaged, and `UsageError` for what no backend takes.
    """

    @property
    def leases(self) -> LeasePort:
        """Ownership."""

    @property
    def queues(self) -> QueuePort:
        """Work."""

    @property
    def counters(self) -> CounterPort:
        """Numbers."""

    @property
    def logs(self) -> LogPort:
        """Logs."""

    async def transact(
        self,
        writes: Sequence[Write],
        *,
        guards: Sequence[Guard] = (),
        idem: str | None = None,
    ) -> int:
        """Return the sequence of the transaction: all of it was stored.

        Args:
            writes: What to write, at least one write and at most one a record; all tables
                replicated, or none.
            guards: What must hold besides, in tables of the same kind.
            idem: The same key within a day returns the first answer and writes nothing.

        Raises:
            ConflictError: An expectation or a guard failed; nothing was stored.
        """

    async def get(
        self, table: str, key: tuple[str, ...], *, level: ReadLevel = "local"
    ) -> Record | None:
        """Return the record, or `None`."""

    async def get_many(
        self, table: str, keys: Sequence[tuple[str, ...]], *, level: ReadLevel = "local"
    ) -> Sequence[Record | None]:
        """Return a record or `None` for each of *keys*, in their order."""

    async def scan(
        self,
        table: str,
        prefix: tuple[str, ...] = (),
        *,
        after: tuple[str, ...] | None = None,
        limit: int = 1000,
        level: ReadLevel = "local",
    ) -> Sequence[Record]:
        """Return records below *prefix* in the order of their keys, from past *after*.

        Keys are ordered part by part, by code point. The record whose key is *prefix* itself is
        not below it.

        Args:
            table: Table.
            prefix: Leading parts of the keys; `()` for the whole table.
            after: Key of the last record of the page before; it need not exist any more.
            limit: Most records to return.
            level: How fresh.
        """

    async def query(
        self,
        table: str,
        index: str,
        *,
        equal: str | int | float | None = None,
        at_least: str | int | float | None = None,
        below: str | int | float | None = None,
        descending: bool = False,
        after: Record | None = None,
        limit: int = 1000,
        level: ReadLevel = "local",
    ) -> Sequence[Record]:
        """Return records selected and ordered by an index of their table, then by key.

        Numbers come before text, text by code point. A bound selects only values of its own
        kind.

        Args:
            table: Table.
            index: Name of the index.
            equal: Value of the field.
            at_least: Least value of the field.
            below: Value that the field must be less than.
            descending: Whether the largest comes first; keys too are descending then.
            after: Last record of the page before.
            limit: Most records to return.
            level: How fresh.
        """

    def watch(
        self, table: str, prefix: tuple[str, ...] = (), *, after: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Record | tuple[str, ...]]]:
        """Stream records below *prefix* whose revision is above *after*, then new ones.

        A deleted record comes as its key (with *after* 0, only if it is deleted from now on; a
        deletion is told for 7 days). Only the latest revision of a record is certain to be seen.
        A record that vanishes by its TTL is not told: `Record.expires` says when.
        """

    async def publish(self, subject: str, value: bytes) -> None:
        """Tell whoever subscribes now; nothing is stored."""

    def subscribe(self, pattern: str) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Stream what is published from now on.

        Args:
            pattern: A subject, in which `*` stands for one name and a last `>` for the rest.
        """

    async def now(self) -> datetime:
        """Return the time by the clock that orders leases and lives of records: aware, UTC.

        Cheap, and asked often. The clocks that processes are told differ by no more than those
        of the machines that keep the store.
        """

    async def info(self) -> Mapping[str, str]:
        """Return what an operator wants to know: backend, place, size, version, sequence."""
