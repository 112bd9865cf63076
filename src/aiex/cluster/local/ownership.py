"""Leases as rows: one a name, gone when it is free."""

from __future__ import annotations

import sqlite3

from aiex.cluster.checks import check_ttl
from aiex.cluster.keys import encode_name
from aiex.cluster.local.database import Database, Turn
from aiex.cluster.ports import Lease

__all__ = ["SqliteLeases"]

_HELD = "SELECT owner, token, ttl FROM lease WHERE name = ? AND expires > ?"


class SqliteLeases:
    """Satisfies `LeasePort`. Tokens are numbers of the store's sequence, so they never go back.

    Time is the machine's wall time, which all its processes share.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, kind: str, name: str, *, owner: str, ttl: float) -> Lease | None:
        """Return the lease, or `None` while another owner holds it."""
        check_ttl(ttl)
        key = encode_name("Lease", kind, name)

        def work(turn: Turn) -> Lease | None:
            row = turn.connection.execute(_HELD, (key, turn.now)).fetchone()
            if row is not None and row[0] != owner:
                return None
            token = row[1] if row else turn.next_sequence()
            turn.connection.execute(
                "INSERT OR REPLACE INTO lease (name, owner, token, ttl, expires)"
                " VALUES (?, ?, ?, ?, ?)",
                (key, owner, token, ttl, turn.now + _micros(ttl)),
            )
            return Lease(kind=kind, name=name, owner=owner, token=token, ttl=ttl)

        return await self._database.write(work)

    async def renew(self, lease: Lease) -> bool:
        """Return whether the lease was still held; if so its time begins anew."""
        key = encode_name("Lease", lease.kind, lease.name)

        def work(turn: Turn) -> bool:
            return (
                turn.connection.execute(
                    "UPDATE lease SET expires = ? WHERE name = ? AND token = ? AND expires > ?",
                    (turn.now + _micros(lease.ttl), key, lease.token, turn.now),
                ).rowcount
                == 1
            )

        return await self._database.write(work)

    async def release(self, lease: Lease) -> bool:
        """Return whether the lease was still held; it is free now."""
        key = encode_name("Lease", lease.kind, lease.name)

        def work(turn: Turn) -> bool:
            return (
                turn.connection.execute(
                    "DELETE FROM lease WHERE name = ? AND token = ? AND expires > ?",
                    (key, lease.token, turn.now),
                ).rowcount
                == 1
            )

        return await self._database.write(work)

    async def holder(self, kind: str, name: str) -> Lease | None:
        """Return who holds it now; `None` if nobody does."""
        key = encode_name("Lease", kind, name)
        now = self._database.now()

        def work(connection: sqlite3.Connection) -> Lease | None:
            row = connection.execute(_HELD, (key, now)).fetchone()
            if row is None:
                return None
            return Lease(kind=kind, name=name, owner=row[0], token=row[1], ttl=row[2])

        return self._database.read_now(work)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
