"""`Store` over one SQLite file in WAL mode."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from aiex.cluster.checks import (
    check_spec,
    check_subject,
    check_transaction,
    check_value,
    pattern_of,
    spec_of,
)
from aiex.cluster.fold import Change, Transaction, apply
from aiex.cluster.keys import encode_key, range_below
from aiex.cluster.local.database import Database, Turn
from aiex.cluster.local.files import SCHEMA_VERSION, transaction
from aiex.cluster.local.logs import SqliteCounters, SqliteLogs
from aiex.cluster.local.ownership import SqliteLeases
from aiex.cluster.local.work import SqliteQueues, first_answer, keep_answer
from aiex.cluster.ports import (
    CounterPort,
    Guard,
    LeasePort,
    LogPort,
    Message,
    QueuePort,
    ReadLevel,
    Record,
    TableSpec,
    Write,
)
from aiex.cluster.projection import (
    changes_after,
    get,
    guard_fails_at,
    query,
    revision_of,
    scan,
)
from aiex.core import ConflictError, UsageError
from aiex.runtime import Clock

__all__ = ["SqliteStore"]

T = TypeVar("T")

_SMALL = 32  # records that are read in the loop; more are worth a hop to a thread
_MESSAGES_KEPT = 1024
_PAGE = 256
_FIRST_LOOK = 0.002
_LAST_LOOK = 0.1


class SqliteStore:
    """Satisfies `Store` for all processes of one machine that name the same file.

    A commit survives the death of the process at once (WAL with `synchronous = NORMAL`), and
    that of the machine from the next checkpoint on; what is cut off then are the last commits,
    never the file. With *fsync* each commit waits for the disk (about 8 ms instead of 30 us).

    All read levels are the same here: a read sees every commit of every process.

    Watchers and subscribers learn of commits of this process at once; of those of others by
    looking every 2 ms at first, every 100 ms when nothing happens. What is published passes
    through a table of the newest 1,024 messages that are at most a minute old.

    Args:
        path: The file; created with mode 0600 in a directory of mode 0700.
        tables: Tables that may be used.
        clock: Where time comes from; must be the wall time when processes share the file.
        node: Name of this node.
        busy_timeout: Seconds to wait while another process writes.
        fsync: Whether each commit waits for the disk.

    Raises:
        UsageError: A table is declared wrongly or twice.
    """

    def __init__(
        self,
        path: Path,
        tables: Sequence[TableSpec],
        *,
        clock: Clock,
        node: str = "local",
        busy_timeout: float = 10.0,
        fsync: bool = False,
    ) -> None:
        for spec in tables:
            check_spec(spec)
        self._tables = {spec.name: spec for spec in tables}
        if len(self._tables) < len(tables):
            raise UsageError("A table is declared twice.")
        self._node = node
        self._database = Database(path, tables, clock=clock, busy_timeout=busy_timeout, fsync=fsync)
        self._leases = SqliteLeases(self._database)
        self._queues = SqliteQueues(self._database)
        self._counters = SqliteCounters(self._database)
        self._logs = SqliteLogs(self._database)

    async def __aenter__(self) -> Self:
        await self._database.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._database.close()

    @property
    def leases(self) -> LeasePort:
        """Ownership."""
        return self._leases

    @property
    def queues(self) -> QueuePort:
        """Work."""
        return self._queues

    @property
    def counters(self) -> CounterPort:
        """Numbers."""
        return self._counters

    @property
    def logs(self) -> LogPort:
        """Logs."""
        return self._logs

    async def transact(
        self,
        writes: Sequence[Write],
        *,
        guards: Sequence[Guard] = (),
        idem: str | None = None,
    ) -> int:
        """Return the sequence of the transaction: all of it was stored."""
        keys = check_transaction(self._tables, writes, guards, idem)

        def work(turn: Turn) -> int:
            known = None if idem is None else first_answer(turn, f"transact {idem}")
            if known is not None:
                return known
            self._expect(turn, writes, keys, guards)
            sequence = turn.next_sequence()
            changes = tuple(
                self._change(write, key, turn.now) for write, key in zip(writes, keys, strict=True)
            )
            apply(turn.connection, Transaction(sequence=sequence, at=turn.now, changes=changes))
            if idem is not None:
                keep_answer(turn, f"transact {idem}", sequence)
            return sequence

        return await self._database.write(work)

    def _expect(
        self, turn: Turn, writes: Sequence[Write], keys: Sequence[str], guards: Sequence[Guard]
    ) -> None:
        for write, key in zip(writes, keys, strict=True):
            if write.expect is None:
                continue
            found = revision_of(turn.connection, write.table, key, turn.now)
            if found != write.expect:
                raise ConflictError(
                    f"Record {'/'.join(write.key)} of {write.table} has revision {found}, "
                    f"expected {write.expect} (0: none)."
                )
        for guard in guards:
            found_at = guard_fails_at(turn.connection, guard, turn.now)
            if found_at is not None:
                raise ConflictError(
                    f"Record {'/'.join(guard.key)}{'/...' if guard.prefix else ''} of "
                    f"{guard.table} was changed at revision {found_at}, expected at most "
                    f"{guard.max_revision} (0: none)."
                )

    def _change(self, write: Write, key: str, now: int) -> Change:
        max_age = self._tables[write.table].max_age
        lives = [life for life in (write.ttl, max_age) if life is not None]
        return Change(
            table=write.table,
            key=key,
            value=write.value if isinstance(write.value, bytes) else None,
            expires=now + round(min(lives) * 1_000_000) if lives else None,
        )

    async def get(
        self,
        table: str,
        key: tuple[str, ...],
        *,
        level: ReadLevel = "local",
    ) -> Record | None:
        """Return the record, or `None`."""
        name, encoded, now = spec_of(self._tables, table).name, encode_key(key), self._now()
        return self._database.read_now(lambda connection: get(connection, name, encoded, now))

    async def get_many(
        self,
        table: str,
        keys: Sequence[tuple[str, ...]],
        *,
        level: ReadLevel = "local",
    ) -> Sequence[Record | None]:
        """Return a record or `None` for each of *keys*, in their order."""
        name, now = spec_of(self._tables, table).name, self._now()
        encoded = [encode_key(key) for key in keys]

        def work(connection: sqlite3.Connection) -> list[Record | None]:
            with transaction(connection, "BEGIN"):  # one snapshot, and a third of the time
                return [get(connection, name, key, now) for key in encoded]

        return await self._read(work, len(keys))

    async def scan(
        self,
        table: str,
        prefix: tuple[str, ...] = (),
        *,
        after: tuple[str, ...] | None = None,
        limit: int = 1000,
        level: ReadLevel = "local",
    ) -> Sequence[Record]:
        """Return records below *prefix* in the order of their keys, from past *after*."""
        name, now = spec_of(self._tables, table).name, self._now()

        def work(connection: sqlite3.Connection) -> list[Record]:
            return scan(connection, name, prefix, after=after, limit=limit, now=now)

        return await self._read(work, limit)

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
        """Return records selected and ordered by an index of their table, then by key."""
        spec, now = spec_of(self._tables, table), self._now()

        def work(connection: sqlite3.Connection) -> list[Record]:
            return query(
                connection,
                spec,
                index,
                equal=equal,
                at_least=at_least,
                below=below,
                descending=descending,
                after=after,
                limit=limit,
                now=now,
            )

        return await self._read(work, limit)

    def watch(
        self, table: str, prefix: tuple[str, ...] = (), *, after: int = 0
    ) -> AbstractAsyncContextManager[AsyncIterator[Record | tuple[str, ...]]]:
        """Stream records below *prefix* whose revision is above *after*, then new ones."""
        name = spec_of(self._tables, table).name
        range_below(prefix)
        return self._watching(name, prefix, after)

    @asynccontextmanager
    async def _watching(
        self, table: str, prefix: tuple[str, ...], after: int
    ) -> AsyncGenerator[AsyncIterator[Record | tuple[str, ...]], None]:
        deleted_after = after or self._database.read_now(_sequence)
        async with aclosing(self._changes(table, prefix, after, deleted_after)) as changes:
            yield changes

    async def _changes(
        self, table: str, prefix: tuple[str, ...], after: int, deleted_after: int
    ) -> AsyncGenerator[Record | tuple[str, ...], None]:
        cursor = (after, "\x7f")  # past every key of that revision
        while True:
            seen = self._database.version()
            at, now = cursor, self._now()

            def work(
                connection: sqlite3.Connection, at: tuple[int, str] = at, now: int = now
            ) -> tuple[list[Record | tuple[str, ...]], tuple[int, str]]:
                return changes_after(
                    connection,
                    table,
                    prefix,
                    after=at,
                    deleted_after=deleted_after,
                    limit=_SMALL,
                    now=now,
                )

            found, cursor = self._database.read_now(work)
            for change in found:
                yield change
            if cursor == at:
                await self._database_changes(seen)

    async def _database_changes(self, seen: int) -> None:
        patience = _FIRST_LOOK
        while not await self._database.wait_for_change(seen, patience):
            patience = min(2 * patience, _LAST_LOOK)

    async def publish(self, subject: str, value: bytes) -> None:
        """Tell whoever subscribes now."""
        check_subject(subject)
        check_value(value, f"Subject {subject!r}")

        def work(turn: Turn) -> None:
            number = turn.connection.execute(
                "INSERT INTO message (subject, value, at) VALUES (?, ?, ?)",
                (subject, value, turn.now),
            ).lastrowid
            turn.connection.execute(
                "DELETE FROM message WHERE id <= ?", ((number or 0) - _MESSAGES_KEPT,)
            )

        await self._database.write(work)

    def subscribe(self, pattern: str) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Stream what is published from now on."""
        pattern_of(pattern)
        return self._subscribed(pattern)

    @asynccontextmanager
    async def _subscribed(self, pattern: str) -> AsyncGenerator[AsyncIterator[Message], None]:
        async with aclosing(
            self._messages(pattern, self._database.read_now(_last_message))
        ) as messages:
            yield messages

    async def _messages(self, pattern: str, last: int) -> AsyncGenerator[Message, None]:
        wanted, missed = pattern_of(pattern), 0
        while True:
            seen = self._database.version()
            at = last

            def work(connection: sqlite3.Connection, at: int = at) -> list[tuple[int, str, bytes]]:
                return connection.execute(
                    "SELECT id, subject, value FROM message WHERE id > ? ORDER BY id LIMIT ?",
                    (at, _PAGE),
                ).fetchall()

            rows = self._database.read_now(work)
            for number, subject, value in rows:
                missed += number - last - 1  # what left the table before it was read
                last = number
                if wanted.fullmatch(subject):
                    yield Message(subject=subject, value=value, missed=missed)
                    missed = 0
            if not rows:
                await self._database_changes(seen)

    async def now(self) -> datetime:
        """Return the wall time of the machine; an error where the store is not open."""
        return self._database.time()

    async def info(self) -> Mapping[str, str]:
        """Return what an operator wants to know."""
        path = self._database.path

        def work(connection: sqlite3.Connection) -> dict[str, str]:
            return {
                "backend": "sqlite",
                "node": self._node,
                "place": str(path),
                "bytes": str(path.stat().st_size),
                "schema": str(SCHEMA_VERSION),
                "sequence": str(_sequence(connection)),
                # Anything but "wal" means a file system where readers wait for writers.
                "journal": connection.execute("PRAGMA journal_mode").fetchone()[0],
                "durability": "machine" if self._database.fsync else "process",
                "sqlite": sqlite3.sqlite_version,
            }

        return await self._database.read(work)

    async def _read(self, work: Callable[[sqlite3.Connection], T], records: int) -> T:
        if records <= _SMALL:
            return self._database.read_now(work)
        return await self._database.read(work)

    def _now(self) -> int:
        return self._database.now()


def _sequence(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT value FROM sequence").fetchone()[0])


def _last_message(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
    return 0 if row is None else int(row[0])
