"""Reading the tables that `fold` keeps. Times are microseconds since 1970, UTC."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from aiex.cluster.fold import field_of
from aiex.cluster.keys import decode_key, encode_key, range_below
from aiex.cluster.ports import Guard, Record, TableSpec
from aiex.core import UsageError

__all__ = [
    "changes_after",
    "from_micros",
    "get",
    "guard_fails_at",
    "query",
    "revision_of",
    "scan",
    "to_micros",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
# Values come as bytes: decoding to text and encoding again would cost twice.
_COLUMNS = "key, CAST(value AS BLOB), revision, expires"
_LIVE = "value IS NOT NULL AND (expires IS NULL OR expires > ?)"
_LEAST_TEXT = ""  # numbers sort before any text in SQLite

Scalar = str | int | float
Row = tuple[str, bytes | None, int, int | None]


def to_micros(at: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (at - _EPOCH) // _MICRO


def from_micros(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware time."""
    return _EPOCH + micros * _MICRO


def _record(table: str, row: Row) -> Record:
    key, value, revision, expires = row
    return Record(
        table=table,
        key=decode_key(key),
        value=value or b"",
        revision=revision,
        expires=None if expires is None else from_micros(expires),
    )


def get(connection: sqlite3.Connection, table: str, key: str, now: int) -> Record | None:
    """Return the record with the encoded *key*."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM r_{table} WHERE key = ? AND {_LIVE}",  # noqa: S608
        (key, now),
    ).fetchone()
    return None if row is None else _record(table, row)


def revision_of(connection: sqlite3.Connection, table: str, key: str, now: int) -> int:
    """Return the revision of the record with the encoded *key*; 0 if there is none."""
    row = connection.execute(
        f"SELECT revision FROM r_{table} WHERE key = ? AND {_LIVE}",  # noqa: S608
        (key, now),
    ).fetchone()
    return 0 if row is None else int(row[0])


def guard_fails_at(connection: sqlite3.Connection, guard: Guard, now: int) -> int | None:
    """Return a revision that *guard* forbids; `None` if it holds."""
    if guard.prefix:
        where, keys = "key >= ? AND key < ?", range_below(guard.key)
    else:
        where, keys = "key = ? AND key = ?", (encode_key(guard.key),) * 2
    table = f"r_{guard.table}"
    if guard.max_revision:
        sql = f"SELECT max(revision) FROM {table} WHERE {where} AND revision > ?"  # noqa: S608
        row = connection.execute(sql, (*keys, guard.max_revision)).fetchone()
    else:
        sql = f"SELECT revision FROM {table} WHERE {where} AND {_LIVE} LIMIT 1"  # noqa: S608
        row = connection.execute(sql, (*keys, now)).fetchone()
    return None if row is None else row[0]


def scan(
    connection: sqlite3.Connection,
    table: str,
    prefix: Sequence[str],
    *,
    after: Sequence[str] | None,
    limit: int,
    now: int,
) -> list[Record]:
    """Return records below *prefix* by key, from past *after*."""
    low, high = range_below(prefix)
    past = "" if after is None else encode_key(after)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM r_{table} WHERE key >= ? AND key > ? AND key < ?"  # noqa: S608
        f" AND {_LIVE} ORDER BY key LIMIT ?",
        (low, past, high, now, limit),
    ).fetchall()
    return [_record(table, row) for row in rows]


def query(
    connection: sqlite3.Connection,
    spec: TableSpec,
    index: str,
    *,
    equal: Scalar | None,
    at_least: Scalar | None,
    below: Scalar | None,
    descending: bool,
    after: Record | None,
    limit: int,
    now: int,
) -> list[Record]:
    """Return records by an index of their table.

    Raises:
        UsageError: The table has no such index, or the bounds are of two kinds.
    """
    name = next((i.field for i in spec.indexes if i.name == index), None)
    if name is None:
        raise UsageError(f"Table {spec.name!r} has no index {index!r}.")
    field = field_of(name)
    conditions, values = _bounds(field, equal, at_least, below)
    if after is not None:
        conditions.append(f"({field}, key) {'<' if descending else '>'} (?, ?)")
        values += [_field_value(after, name), encode_key(after.key)]
    order = "DESC" if descending else "ASC"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM r_{spec.name}"  # noqa: S608
        f" WHERE {' AND '.join([*conditions, _LIVE])}"
        f" ORDER BY {field} {order}, key {order} LIMIT ?",
        (*values, now, limit),
    ).fetchall()
    return [_record(spec.name, row) for row in rows]


def _bounds(
    field: str, equal: Scalar | None, at_least: Scalar | None, below: Scalar | None
) -> tuple[list[str], list[Scalar]]:
    given = [bound for bound in (equal, at_least, below) if bound is not None]
    if len({isinstance(bound, str) for bound in given}) > 1:
        raise UsageError("Bounds of a query are all text or all numbers.")
    is_text = any(isinstance(bound, str) for bound in given)
    if equal is None and at_least is None:
        at_least = _LEAST_TEXT if is_text else -math.inf  # leaves out NULL: no such field
    if equal is None and below is None and given and not is_text:
        below = _LEAST_TEXT
    tests = ((equal, "="), (at_least, ">="), (below, "<"))
    chosen = [(bound, sign) for bound, sign in tests if bound is not None]
    return [f"{field} {sign} ?" for _, sign in chosen], [bound for bound, _ in chosen]


def _field_value(record: Record, field: str) -> Scalar:
    value = msgspec.json.decode(record.value).get(field)
    if not isinstance(value, str | int | float):
        raise UsageError(f"The record to go on after has no {field!r}.")
    return value


def changes_after(
    connection: sqlite3.Connection,
    table: str,
    prefix: Sequence[str],
    *,
    after: tuple[int, str],
    deleted_after: int,
    limit: int,
    now: int,
) -> tuple[list[Record | tuple[str, ...]], tuple[int, str]]:
    """Return what changed below *prefix*, oldest first, and where to go on.

    Args:
        connection: To the tables.
        table: Table.
        prefix: Leading parts of the keys.
        after: Revision and encoded key of the last change that is known.
        deleted_after: Deletions of this revision and before are not told.
        limit: Most rows to look at.
        now: Time.
    """
    low, high = range_below(prefix)
    rows: list[Row] = connection.execute(
        f"SELECT {_COLUMNS} FROM r_{table} WHERE (revision, key) > (?, ?)"  # noqa: S608
        " AND key >= ? AND key < ? ORDER BY revision, key LIMIT ?",
        (*after, low, high, limit),
    ).fetchall()
    found: list[Record | tuple[str, ...]] = []
    for row in rows:
        key, value, revision, expires = row
        after = (revision, key)
        if value is None:
            if revision > deleted_after:
                found.append(decode_key(key))
        elif expires is None or expires > now:
            found.append(_record(table, row))
    return found, after
