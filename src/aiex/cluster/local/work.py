"""Queues as rows: an item is free from a time on, and each delivery moves that time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from aiex.cluster.checks import check_idem, check_ttl, check_value
from aiex.cluster.keys import encode_name
from aiex.cluster.local.database import Database, Turn
from aiex.cluster.ports import LIMITS, QueueItem
from aiex.core import UsageError

__all__ = ["SqliteQueues", "first_answer", "keep_answer"]

_DAY = 24 * 3600 * 1_000_000


def first_answer(turn: Turn, idem: str) -> int | None:
    """Return the number that was answered to *idem* within a day; `None` if it is new."""
    row = turn.connection.execute(
        "SELECT sequence FROM answer WHERE idem = ? AND expires > ?", (idem, turn.now)
    ).fetchone()
    return None if row is None else int(row[0])


def keep_answer(turn: Turn, idem: str, sequence: int) -> None:
    """Answer *sequence* to *idem* for a day."""
    turn.connection.execute(
        "INSERT OR REPLACE INTO answer (idem, sequence, expires) VALUES (?, ?, ?)",
        (idem, sequence, turn.now + _DAY),
    )


class SqliteQueues:
    """Satisfies `QueuePort`.

    A dead letter needs no mark of its own: it is an item that is free and has had its last
    delivery.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, queue: str, value: bytes, *, idem: str | None = None) -> int:
        """Return the item's id; the same *idem* within a day gives the same id and one item."""
        name = encode_name("Queue", queue)
        check_value(value, f"Queue {queue!r}")
        check_idem(idem)
        once = None if idem is None else f"queue {name} {idem}"

        def work(turn: Turn) -> int:
            known = None if once is None else first_answer(turn, once)
            if known is not None:
                return known
            number = turn.next_sequence()
            turn.connection.execute(
                "INSERT INTO item (id, queue, value, free_at, token, delivery)"
                " VALUES (?, ?, ?, ?, 0, 0)",
                (number, name, value, turn.now),
            )
            if once is not None:
                keep_answer(turn, once, number)
            return number

        return await self._database.write(work)

    async def take(self, queue: str, *, owner: str, ttl: float) -> QueueItem | None:
        """Return the oldest item that is free, hidden from others for *ttl* seconds."""
        name = encode_name("Queue", queue)
        check_ttl(ttl)

        def work(turn: Turn) -> QueueItem | None:
            row = turn.connection.execute(
                "SELECT id, value, delivery FROM item"
                " WHERE queue = ? AND free_at <= ? AND delivery < ? ORDER BY id LIMIT 1",
                (name, turn.now, LIMITS.deliveries),
            ).fetchone()
            if row is None:
                return None
            number, value, delivery = row
            token = turn.next_sequence()
            turn.connection.execute(
                "UPDATE item SET free_at = ?, token = ?, delivery = ?, owner = ? WHERE id = ?",
                (turn.now + _micros(ttl), token, delivery + 1, owner, number),
            )
            return QueueItem(
                queue=queue, id=number, value=value, token=token, delivery=delivery + 1
            )

        return await self._database.write(work)

    async def ack(self, item: QueueItem) -> bool:
        """Return whether this delivery was still valid; the item is done."""

        def work(turn: Turn) -> bool:
            return _did(
                turn.connection.execute(
                    "DELETE FROM item WHERE id = ? AND token = ?", (item.id, item.token)
                )
            )

        return await self._database.write(work)

    async def nak(self, item: QueueItem, *, delay: float = 0.0) -> bool:
        """Return whether this delivery was still valid; the item is free after *delay* seconds."""
        if not delay >= 0:
            raise UsageError(f"A delay is 0 s or more, got {delay:g}.")

        def work(turn: Turn) -> bool:
            # A new token makes this delivery invalid; a dead letter is dead without delay.
            is_last = item.delivery >= LIMITS.deliveries
            free_at = turn.now if is_last else turn.now + _micros(delay)
            return _did(
                turn.connection.execute(
                    "UPDATE item SET free_at = ?, token = ? WHERE id = ? AND token = ?",
                    (free_at, turn.next_sequence(), item.id, item.token),
                )
            )

        return await self._database.write(work)

    async def extend(self, item: QueueItem, *, ttl: float) -> bool:
        """Return whether this delivery was still valid; it stays hidden *ttl* seconds more."""
        check_ttl(ttl)

        def work(turn: Turn) -> bool:
            return _did(
                turn.connection.execute(
                    "UPDATE item SET free_at = ? WHERE id = ? AND token = ?",
                    (turn.now + _micros(ttl), item.id, item.token),
                )
            )

        return await self._database.write(work)

    async def dead_letters(self, queue: str) -> Sequence[QueueItem]:
        """Return the items that failed for good, oldest first."""
        name = encode_name("Queue", queue)
        now = self._database.now()

        def work(connection: sqlite3.Connection) -> list[QueueItem]:
            rows = connection.execute(
                "SELECT id, value, token, delivery FROM item"
                " WHERE queue = ? AND free_at <= ? AND delivery >= ? ORDER BY id",
                (name, now, LIMITS.deliveries),
            ).fetchall()
            return [
                QueueItem(queue=queue, id=number, value=value, token=token, delivery=delivery)
                for number, value, token, delivery in rows
            ]

        return await self._database.read(work)


def _did(cursor: sqlite3.Cursor) -> bool:
    return cursor.rowcount == 1


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
