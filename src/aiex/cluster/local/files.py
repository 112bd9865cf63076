"""Opening the file: created, migrated and checked, however many processes start at once."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from aiex.cluster.fold import create_table
from aiex.cluster.ports import TableSpec
from aiex.core import StoreBusyError, StoreCorruptError, StoreError

__all__ = ["SCHEMA_VERSION", "migrate", "open_reader", "open_writer", "store_errors", "transaction"]

_APPLICATION_ID = 0x41495831  # "AIX1"

_STEPS = (
    """
    CREATE TABLE sequence (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
    INSERT INTO sequence VALUES (1, 0);
    CREATE TABLE spec (
        name TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, fields TEXT NOT NULL
    );
    CREATE TABLE answer (
        idem TEXT PRIMARY KEY NOT NULL, sequence INTEGER NOT NULL, expires INTEGER NOT NULL
    );
    CREATE INDEX answer__expires ON answer (expires);
    CREATE TABLE lease (
        name TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL, token INTEGER NOT NULL,
        ttl REAL NOT NULL, expires INTEGER NOT NULL
    );
    CREATE TABLE counter (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL);
    CREATE TABLE item (
        id INTEGER PRIMARY KEY, queue TEXT NOT NULL, value BLOB NOT NULL,
        free_at INTEGER NOT NULL, token INTEGER NOT NULL, delivery INTEGER NOT NULL, owner TEXT
    );
    CREATE INDEX item__queue ON item (queue, id);
    CREATE TABLE log (
        sequence INTEGER PRIMARY KEY, log TEXT NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL
    );
    CREATE INDEX log__log ON log (log, sequence);
    """,
    """
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT, subject TEXT NOT NULL, value BLOB NOT NULL,
        at INTEGER NOT NULL
    );
    """,
)
"""What each schema version adds to the one before; steps that were released never change."""

SCHEMA_VERSION = len(_STEPS)

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REASONS = {
    sqlite3.SQLITE_FULL: "there is no space left for it",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_PERM: "access to it is denied",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or created",
    sqlite3.SQLITE_IOERR: "its disk answered with an error (full, over quota or broken)",
}


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into those of the store."""
    try:
        yield
    except sqlite3.Error as error:
        raise _store_error(path, error) from error
    except OSError as error:
        raise StoreError(
            f"The store {path} cannot be used: {error.strerror}.",
            hint="Check the directory, or choose another state directory.",
        ) from error


def _store_error(path: Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _BUSY:
        return StoreBusyError(
            f"The store {path} is held by another process.", hint="Try again in a moment."
        )
    if code in _DAMAGED:
        return StoreCorruptError(
            f"The store {path} is damaged: {error}. It was left as it is.", hint=_aside(path)
        )
    reason = _REASONS.get(code, str(error))
    return StoreError(
        f"The store {path} cannot be used: {reason}.",
        hint="Check free space and rights of its directory, or choose another state directory.",
    )


def _aside(path: Path) -> str:
    return (
        f"Move {path.name}, {path.name}-wal and {path.name}-shm in {path.parent} aside together "
        "and keep them; the next command begins a new store."
    )


def open_writer(path: Path, *, busy_timeout: float, fsync: bool) -> sqlite3.Connection:
    """Return a connection that writes; the file and its directory are created, in WAL mode.

    Args:
        path: The file (0600 when created); its directory is created with 0700.
        busy_timeout: Seconds to wait for other processes.
        fsync: Whether each commit waits for the disk.
    """
    _create(path)
    connection = _connect(path, "rw", busy_timeout)
    try:
        _use_wal(connection, busy_timeout)
        connection.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit = {16 * 1024 * 1024}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """Return a connection that only reads; any thread may use it, one at a time."""
    return _connect(path, "ro", busy_timeout)


def _create(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Closing a descriptor of a file that SQLite has open in this process would drop its locks:
    # so only ever for a file that did not exist.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _connect(path: Path, mode: str, busy_timeout: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
    )


def _use_wal(connection: sqlite3.Connection, busy_timeout: float) -> None:
    """Set WAL mode, which is kept in the file.

    The change needs the whole file for a moment, inside no transaction, and SQLite does not wait
    for it: of processes that start together all but one are told "busy" at once. It is tried
    until it is done, by whomever.
    """
    give_up = time.monotonic() + busy_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.002)
        else:
            return


def migrate(connection: sqlite3.Connection, path: Path, specs: Sequence[TableSpec]) -> None:
    """Bring schema and tables up to date; costs two reads if they are.

    Raises:
        StoreCorruptError: The file is not a store, or was written by a newer Aiex.
    """
    with transaction(connection, "BEGIN"):  # one snapshot: another process may be at work
        if _is_current(connection, path, specs):
            return
    with transaction(connection, "BEGIN IMMEDIATE"):
        if not _is_current(connection, path, specs):
            _bring_up(connection, specs)


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Begin with *begin*, and commit at the end, or roll back on an error."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


def _is_current(connection: sqlite3.Connection, path: Path, specs: Sequence[TableSpec]) -> bool:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if version > SCHEMA_VERSION and application == _APPLICATION_ID:
        raise _from_the_future(path, f"schema {version}; this one knows {SCHEMA_VERSION}")
    if application != _APPLICATION_ID:
        if version or connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreCorruptError(
                f"{path} is not a store of Aiex but another program's database. "
                "It was left as it is.",
                hint="Choose another state directory.",
            )
        return False
    stored: dict[str, tuple[int, str]] = {
        name: (kept, fields)
        for name, kept, fields in connection.execute("SELECT name, version, fields FROM spec")
    }
    for spec in specs:
        kept = stored.get(spec.name, (0, ""))[0]
        if kept > spec.version:
            raise _from_the_future(
                path, f"table {spec.name!r} in version {kept}; this one knows {spec.version}"
            )
    return version == SCHEMA_VERSION and all(
        spec.name in stored
        and stored[spec.name][0] == spec.version
        and _fields(spec) <= set(stored[spec.name][1].split())
        for spec in specs
    )


def _fields(spec: TableSpec) -> set[str]:
    return {index.field for index in spec.indexes}


def _from_the_future(path: Path, what: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"The store {path} was written by a newer Aiex ({what}). It was left as it is.",
        hint="Upgrade this Aiex, or choose another state directory for it.",
    )


def _bring_up(connection: sqlite3.Connection, specs: Sequence[TableSpec]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for step in _STEPS[version:]:
        for statement in step.split(";"):  # executescript would commit first
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    for spec in specs:
        create_table(connection, spec)
        # Indexes that another version of the table declared are kept, since it may run as well.
        row = connection.execute("SELECT fields FROM spec WHERE name = ?", (spec.name,)).fetchone()
        fields = _fields(spec) | (set(row[0].split()) if row else set())
        connection.execute(
            "INSERT INTO spec VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " version = excluded.version, fields = excluded.fields",
            (spec.name, spec.version, " ".join(sorted(fields))),
        )
