"""The three connections to one file, and which thread each is used in.

- One writes: a worker thread at a time, a whole `BEGIN IMMEDIATE` transaction a hop.
- One reads small things inside the event loop: 5 us, where a hop to a thread costs 100.
- One reads large things in a worker thread, opened when it is first needed.

In WAL mode readers never wait for a writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from aiex.cluster.fold import prune
from aiex.cluster.local.files import migrate, open_reader, open_writer, store_errors, transaction
from aiex.cluster.ports import TableSpec
from aiex.cluster.projection import to_micros
from aiex.core import StoreError
from aiex.runtime import Clock

__all__ = ["Database", "Turn"]

T = TypeVar("T")

_PRUNE_EVERY = 60.0
_LOOP_TIMEOUT = 0.5  # a read waits only while another process repairs the log of a killed one
_MESSAGE_AGE = 60 * 1_000_000


class Turn:
    """One writing transaction while it runs.

    Attributes:
        connection: Inside `BEGIN IMMEDIATE`.
        now: Time of the transaction, microseconds since 1970.
    """

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self.connection = connection
        self.now = now

    def next_sequence(self, count: int = 1) -> int:
        """Return the last of the next *count* numbers of the store's one sequence."""
        self.connection.execute("UPDATE sequence SET value = value + ?", (count,))
        return int(self.connection.execute("SELECT value FROM sequence").fetchone()[0])


class Database:
    """Runs transactions and reads on one file.

    Args:
        path: The file.
        specs: Tables.
        clock: Where time comes from.
        busy_timeout: Seconds to wait for other processes.
        fsync: Whether each commit waits for the disk.
    """

    def __init__(
        self,
        path: Path,
        specs: Sequence[TableSpec],
        *,
        clock: Clock,
        busy_timeout: float,
        fsync: bool,
    ) -> None:
        self.path = path
        self.clock = clock
        self.fsync = fsync
        self._specs = specs
        self._busy_timeout = busy_timeout
        self._writing = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(1)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._bulk: sqlite3.Connection | None = None
        self._prune_at = 0.0
        self._changed = anyio.Event()

    def now(self) -> int:
        """Return the time, microseconds since 1970."""
        return to_micros(self.clock.now())

    def time(self) -> datetime:
        """Return the time while the file is open."""
        self._opened(self._reader)
        return self.clock.now()

    async def open(self) -> None:
        """Open the file; created and migrated if need be."""
        await anyio.to_thread.run_sync(self._open, limiter=self._writing)

    def _open(self) -> None:
        with store_errors(self.path), ExitStack() as undo:
            writer = open_writer(self.path, busy_timeout=self._busy_timeout, fsync=self.fsync)
            undo.callback(writer.close)
            migrate(writer, self.path, self._specs)
            reader = open_reader(self.path, busy_timeout=_LOOP_TIMEOUT)
            undo.callback(reader.close)
            # The first read also recovers what a killed process left, here in a thread.
            reader.execute("SELECT value FROM sequence").fetchone()
            undo.pop_all()
        self._writer, self._reader = writer, reader

    async def close(self) -> None:
        """Close the file, once what runs has ended."""
        with anyio.CancelScope(shield=True):
            async with self._reading:
                await anyio.to_thread.run_sync(self._close, limiter=self._writing)

    def _close(self) -> None:
        connections = (self._bulk, self._reader, self._writer)
        self._bulk = self._reader = self._writer = None
        for connection in connections:
            if connection is not None:
                connection.close()

    async def write(self, work: Callable[[Turn], T]) -> T:
        """Return what *work* returns from inside a transaction; an error undoes all of it."""
        answer = await anyio.to_thread.run_sync(self._write, work, limiter=self._writing)
        self.wake()
        return answer

    def wake(self) -> None:
        """Wake whoever waits in `wait_for_change`."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _write(self, work: Callable[[Turn], T]) -> T:
        connection = self._opened(self._writer)
        with store_errors(self.path), transaction(connection, "BEGIN IMMEDIATE"):
            # The time is taken inside the lock, so that it rises as the sequence does.
            turn = Turn(connection, self.now())
            answer = work(turn)
            self._prune(turn)
        return answer

    def _prune(self, turn: Turn) -> None:
        now = self.clock.monotonic()
        if now < self._prune_at:
            return
        self._prune_at = now + _PRUNE_EVERY
        prune(turn.connection, self._specs, turn.now)
        for table, until in (("answer", turn.now), ("lease", turn.now)):
            turn.connection.execute(f"DELETE FROM {table} WHERE expires <= ?", (until,))  # noqa: S608
        turn.connection.execute("DELETE FROM message WHERE at <= ?", (turn.now - _MESSAGE_AGE,))

    def read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what *work* reads, at once, in the thread of the caller: for small reads."""
        connection = self._opened(self._reader)
        try:
            return work(connection)
        except sqlite3.Error:
            with store_errors(self.path):
                raise

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what *work* reads, in a thread."""
        return await anyio.to_thread.run_sync(self._read, work, limiter=self._reading)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._opened(self._reader)
        with store_errors(self.path):
            if self._bulk is None:
                self._bulk = open_reader(self.path, busy_timeout=self._busy_timeout)
            return work(self._bulk)

    def version(self) -> int:
        """Return a number that differs once anybody has committed something."""
        return int(self.read_now(_data_version))

    async def wait_for_change(self, seen: int, patience: float) -> bool:
        """Return whether something was committed after *seen* within *patience* seconds.

        Commits of this process wake the waiter at once, those of others when it looks.
        """
        changed = self._changed
        if self.version() != seen:
            return True
        with anyio.move_on_after(patience):
            await changed.wait()
        return self.version() != seen

    def _opened(self, connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise StoreError(f"The store {self.path} is not open.")
        return connection


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
