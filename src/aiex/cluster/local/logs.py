"""Counters and append-only logs as rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from aiex.cluster.checks import check_amount, check_value
from aiex.cluster.keys import encode_name
from aiex.cluster.local.database import Database, Turn
from aiex.cluster.ports import LogRecord
from aiex.cluster.projection import from_micros
from aiex.core import UsageError

__all__ = ["SqliteCounters", "SqliteLogs"]

_MOST = 2**63


class SqliteCounters:
    """Satisfies `CounterPort`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, amount: int) -> int:
        """Return the counter's value after *amount* was added."""
        key = encode_name("Counter", name)

        def work(turn: Turn) -> int:
            value = _value(turn.connection, key) + amount
            if not -_MOST <= value < _MOST:
                raise UsageError(f"Counter {name!r} would leave the range of 64 bits.")
            turn.connection.execute(
                "INSERT OR REPLACE INTO counter (name, value) VALUES (?, ?)", (key, value)
            )
            return value

        return await self._database.write(work)

    async def get(self, name: str) -> int:
        """Return the counter's value; 0 if nothing was ever added."""
        key = encode_name("Counter", name)
        return self._database.read_now(lambda connection: _value(connection, key))


def _value(connection: sqlite3.Connection, key: str) -> int:
    row = connection.execute("SELECT value FROM counter WHERE name = ?", (key,)).fetchone()
    return 0 if row is None else int(row[0])


class SqliteLogs:
    """Satisfies `LogPort`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, log: str, values: Sequence[bytes]) -> int:
        """Return the sequence of the last record; all are appended or none."""
        name = encode_name("Log", log)
        check_amount(len(values), f"Records for log {log!r}")
        for value in values:
            check_value(value, f"Log {log!r}")

        def work(turn: Turn) -> int:
            last = turn.next_sequence(len(values))
            first = last - len(values) + 1
            turn.connection.executemany(
                "INSERT INTO log (sequence, log, at, value) VALUES (?, ?, ?, ?)",
                [(first + n, name, turn.now, value) for n, value in enumerate(values)],
            )
            return last

        return await self._database.write(work)

    async def scan(self, log: str, *, after: int = 0, limit: int = 1000) -> Sequence[LogRecord]:
        """Return records with a sequence above *after*, oldest first."""
        name = encode_name("Log", log)

        def work(connection: sqlite3.Connection) -> list[LogRecord]:
            rows = connection.execute(
                "SELECT sequence, at, value FROM log WHERE log = ? AND sequence > ?"
                " ORDER BY sequence LIMIT ?",
                (name, after, limit),
            ).fetchall()
            return [
                LogRecord(log=log, sequence=sequence, at=from_micros(at), value=value)
                for sequence, at, value in rows
            ]

        return await self._database.read(work)
