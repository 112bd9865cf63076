"""The records of a store as SQLite tables, and how one transaction is folded into them.

Every backend keeps this form: one file is the store itself, a node of a cluster has it as its
projection of the stream. Functions take a connection and leave transactions to their caller.
Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from aiex.cluster.ports import TableSpec

__all__ = ["TOMBSTONE_AGE", "Change", "Transaction", "apply", "create_table", "field_of", "prune"]

TOMBSTONE_AGE = 7 * 24 * 3600 * 1_000_000
"""How long a deletion is remembered, microseconds: watchers and guards see it that long."""

_PRUNED_AT_ONCE = 1000


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One record as a transaction leaves it.

    Attributes:
        table: Table.
        key: Encoded key.
        value: JSON object; `None` if the record is deleted.
        expires: When it vanishes; `None` for never.
    """

    table: str
    key: str
    value: bytes | None
    expires: int | None = None


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """What was committed at once.

    Attributes:
        sequence: Its place in the one order of all.
        at: When, by the clock of who wrote it.
        changes: What it changed.
    """

    sequence: int
    at: int
    changes: tuple[Change, ...]


def field_of(field: str) -> str:
    """Return the SQL of an indexed field; the same text in an index and where it is used."""
    path = f"value, '$.{field}'"
    return (
        f"CASE WHEN json_type({path}) IN ('text', 'integer', 'real') THEN json_extract({path}) END"
    )


def create_table(connection: sqlite3.Connection, spec: TableSpec) -> None:
    """Create what is missing of the table of *spec*; what is there stays."""
    table = f"r_{spec.name}"
    # value is NULL in a tombstone, the trace of a deletion
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY NOT NULL, value TEXT,"
        " revision INTEGER NOT NULL, expires INTEGER)"
    )
    connection.execute(f"CREATE INDEX IF NOT EXISTS {table}__revision ON {table} (revision, key)")
    connection.execute(
        f"CREATE INDEX IF NOT EXISTS {table}__expires ON {table} (expires)"
        " WHERE expires IS NOT NULL"
    )
    for index in spec.indexes:
        connection.execute(
            f"CREATE INDEX IF NOT EXISTS {table}_by_{index.field} ON {table}"
            f" ({field_of(index.field)}, key)"
        )


def apply(connection: sqlite3.Connection, transaction: Transaction) -> None:
    """Fold *transaction* into the tables. Applying one twice changes nothing."""
    for change in transaction.changes:
        expires = change.expires
        if change.value is None:
            expires = transaction.at + TOMBSTONE_AGE
        connection.execute(
            f"INSERT INTO r_{change.table} (key, value, revision, expires)"  # noqa: S608
            " VALUES (?, CAST(? AS TEXT), ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " value = excluded.value, revision = excluded.revision, expires = excluded.expires",
            (change.key, change.value, transaction.sequence, expires),
        )


def prune(connection: sqlite3.Connection, specs: Sequence[TableSpec], now: int) -> None:
    """Drop some of what has expired, and what is beyond `TableSpec.max_records`."""
    for spec in specs:
        table = f"r_{spec.name}"
        connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table}"  # noqa: S608
            " WHERE expires <= ? LIMIT ?)",
            (now, _PRUNED_AT_ONCE),
        )
        if spec.max_records is not None:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
            connection.execute(
                f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table}"  # noqa: S608
                " ORDER BY revision, key LIMIT ?)",
                (max(0, count - spec.max_records),),
            )
