"""What only the SQLite store can show: one file, many processes, and what becomes of both."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from aiex.cluster import DELETE, Index, TableSpec, Write
from aiex.cluster.local import SqliteStore
from aiex.core import StoreBusyError, StoreCorruptError, StoreError, UsageError
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

THING = TableSpec(name="thing", indexes=(Index(name="n", field="n"),))
PRELUDE = """
import os, sys
from pathlib import Path
import anyio
from aiex.cluster import DELETE, Index, TableSpec, Write
from aiex.cluster.local import SqliteStore
from aiex.core import AiexError, ConflictError
from aiex.runtime import SystemClock

PLACE = Path(sys.argv[1])
THING = TableSpec(name="thing", indexes=(Index(name="n", field="n"),))

def opened(**more):
    return SqliteStore(PLACE, (THING,), clock=SystemClock(), **more)
"""


def store_at(path: Path, *tables: TableSpec, busy_timeout: float = 10.0) -> SqliteStore:
    return SqliteStore(path, tables or (THING,), clock=FakeClock(), busy_timeout=busy_timeout)


def script(body: str, *arguments: object) -> Sequence[str]:
    return [sys.executable, "-c", PRELUDE + textwrap.dedent(body), *map(str, arguments)]


def run(body: str, *arguments: object) -> str:
    done = subprocess.run(
        script(body, *arguments), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def test_directory_and_files_are_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "store.db"
    async with store_at(path) as store:
        await store.transact([Write(table="thing", key=("a",), value=b"{}")])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


TOGETHER = """
def together(turns, start):
    # Forked after the imports, and released at once, so that they truly start together.
    failed = 0
    for turn in range(turns):
        gate, release = os.pipe()
        children = []
        for number in range(20):
            child = os.fork()
            if child == 0:
                os.close(release)
                os.read(gate, 1)  # returns for all when the parent closes its end
                try:
                    start(PLACE / str(turn) / "deep" / "store.db", number)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
                os._exit(0)
            children.append(child)
        os.close(gate)
        os.close(release)
        failed += sum(os.waitpid(child, 0)[1] != 0 for child in children)
    print("failed", failed, flush=True)
"""


def test_twenty_first_starts_at_once_all_succeed(tmp_path: Path) -> None:
    out = run(
        TOGETHER
        + """
async def write(path, number):
    async with SqliteStore(path, (THING,), clock=SystemClock()) as store:
        await store.transact([Write(table="thing", key=(str(number),), value=b'{"n":1}')])

together(3, lambda path, number: anyio.run(write, path, number))
""",
        tmp_path,
    )

    assert out == "failed 0\n"
    for turn in range(3):
        path = tmp_path / str(turn) / "deep" / "store.db"
        assert rows(path, "SELECT count(*) FROM r_thing") == [(20,)]
        assert rows(path, "SELECT value FROM sequence") == [(20,)]


def test_the_race_of_first_starts_is_won_by_all_every_time(tmp_path: Path) -> None:
    """Below the front desk: without event loops they are close enough for each race to show."""
    out = run(
        TOGETHER
        + """
from aiex.cluster.local.files import migrate, open_writer

def start(path, number):
    connection = open_writer(path, busy_timeout=10, fsync=False)
    migrate(connection, path, (THING,))
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE sequence SET value = value + 1")
    connection.execute("COMMIT")
    connection.close()

together(60, start)
""",
        tmp_path,
    )

    assert out == "failed 0\n"
    for turn in range(60):
        path = tmp_path / str(turn) / "deep" / "store.db"
        assert rows(path, "SELECT value FROM sequence") == [(20,)]


def test_increments_from_several_processes_lose_nothing(tmp_path: Path) -> None:
    body = """
    async def main():
        async with opened() as store:
            done = 0
            while done < 50:
                found = await store.get("thing", ("n",))
                value = int(found.value[5:-1]) if found else 0
                write = Write(table="thing", key=("n",), value=b'{"n":%d}' % (value + 1),
                              expect=found.revision if found else 0)
                try:
                    await store.transact([write])
                    done += 1
                except ConflictError:
                    pass
                await store.counters.add("c", 1)

    anyio.run(main)
    """
    path = tmp_path / "store.db"
    workers = [subprocess.Popen(script(body, path)) for _ in range(3)]

    assert [worker.wait(100) for worker in workers] == [0, 0, 0]
    assert rows(path, "SELECT value FROM r_thing") == [('{"n":150}',)]


async def test_what_another_process_writes_and_publishes_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    body = """
    async def main():
        async with opened() as store:
            await store.transact([Write(table="thing", key=("a",), value=b"{}")])
            await store.publish("hello.world", b"1")

    anyio.run(main)
    """
    async with (
        store_at(path) as store,
        store.watch("thing") as changes,
        store.subscribe("hello.>") as messages,
        await anyio.open_process(script(body, path)) as child,
    ):
        record = await anext(changes)
        message = await anext(messages)
        assert await child.wait() == 0

    assert not isinstance(record, tuple)
    assert record.key == ("a",)
    assert message.value == b"1"


WRITER = """
async def main():
    async with opened() as store:
        print("ready", flush=True)
        number = 0
        while True:
            key = (sys.argv[2], f"{number:06}")
            writes = [
                Write(table="thing", key=(*key, part), value=b'{"n":%d}' % number)
                for part in "abc"
            ]
            await store.transact(writes)
            await store.counters.add("c", 1)
            print(number, flush=True)
            number += 1

anyio.run(main)
"""


def killed_while_writing(path: Path, turn: int) -> int:
    """Return the number of the last transaction that was acknowledged before the kill."""
    with subprocess.Popen(script(WRITER, path, turn), stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        for _ in range(3 + turn * 7 % 40):  # each dies somewhere else
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split(b"\n")
    complete = [line for line in rest[:-1] if line]
    return int(complete[-1]) if complete else 2 + turn * 7 % 40


@pytest.mark.parametrize("kills", [15, pytest.param(150, marks=pytest.mark.slow)])
def test_a_killed_process_leaves_a_sound_store_with_all_it_acknowledged(
    tmp_path: Path, kills: int
) -> None:
    path = tmp_path / "store.db"
    acknowledged: dict[int, int] = {}
    for turn in range(kills):
        acknowledged[turn] = killed_while_writing(path, turn)
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]

    parts: dict[str, list[str]] = {}
    for (key,) in rows(path, "SELECT key FROM r_thing"):
        transaction, _, part = str(key).rpartition(".")
        parts.setdefault(transaction, []).append(part)
    assert all(sorted(found) == ["a", "b", "c"] for found in parts.values())
    for turn, last in acknowledged.items():
        assert all(f"{turn}.{number:06}" in parts for number in range(last + 1))


async def test_two_processes_kill_and_go_on_while_a_third_reads(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with store_at(path) as store:
        for turn in range(3):
            last = killed_while_writing(path, turn)
            assert await store.get("thing", (str(turn), f"{last:06}", "c")) is not None
        await store.transact([Write(table="thing", key=("mine",), value=b"{}")])


VERSION_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE sequence (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL);
INSERT INTO sequence VALUES (1, 7);
CREATE TABLE spec (name TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, fields TEXT NOT NULL);
INSERT INTO spec VALUES ('thing', 1, '');
CREATE TABLE answer (
    idem TEXT PRIMARY KEY NOT NULL, sequence INTEGER NOT NULL, expires INTEGER NOT NULL);
CREATE INDEX answer__expires ON answer (expires);
CREATE TABLE lease (name TEXT PRIMARY KEY NOT NULL, owner TEXT NOT NULL,
    token INTEGER NOT NULL, ttl REAL NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE counter (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL);
INSERT INTO counter VALUES ('c', 41);
CREATE TABLE item (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, value BLOB NOT NULL,
    free_at INTEGER NOT NULL, token INTEGER NOT NULL, delivery INTEGER NOT NULL, owner TEXT);
CREATE INDEX item__queue ON item (queue, id);
CREATE TABLE log (
    sequence INTEGER PRIMARY KEY, log TEXT NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX log__log ON log (log, sequence);
CREATE TABLE r_thing (
    key TEXT PRIMARY KEY NOT NULL, value TEXT, revision INTEGER NOT NULL, expires INTEGER);
CREATE INDEX r_thing__revision ON r_thing (revision, key);
CREATE INDEX r_thing__expires ON r_thing (expires) WHERE expires IS NOT NULL;
INSERT INTO r_thing VALUES ('a', '{"n":5}', 7, NULL);
PRAGMA user_version = 1;
PRAGMA application_id = 1095325745;
"""


def make(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.close()


async def test_a_store_of_version_1_is_migrated_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    make(path, VERSION_1)

    async with store_at(path) as store:
        (found,) = await store.query("thing", "n", equal=5)  # the index is new as well
        assert found.revision == 7
        assert await store.transact([Write(table="thing", key=("b",), value=b"{}")]) == 8
        assert await store.counters.add("c", 1) == 42
        async with store.subscribe("a") as messages:
            await store.publish("a", b"new in version 2")
            assert (await anext(messages)).value == b"new in version 2"


async def test_a_table_may_be_added_and_get_another_index_later(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with store_at(path, TableSpec(name="thing")) as store:
        await store.transact([Write(table="thing", key=("a",), value=b'{"n":1}')])

    more = TableSpec(name="more")
    async with store_at(path, THING, more) as store:
        assert len(await store.query("thing", "n")) == 1
        await store.transact([Write(table="more", key=("a",), value=b"{}")])

    async with store_at(path, TableSpec(name="thing")) as store:
        assert len(await store.scan("thing")) == 1


@pytest.mark.parametrize("left", ["", "PRAGMA journal_mode = WAL; PRAGMA user_version = 0;"])
async def test_a_first_start_that_was_killed_half_way_is_finished_by_the_next(
    tmp_path: Path, left: str
) -> None:
    path = tmp_path / "store.db"
    path.touch(0o600)
    make(path, left)

    async with store_at(path) as store:
        await store.transact([Write(table="thing", key=("a",), value=b"{}")])
        assert (await store.info())["journal"] == "wal"


def unchanged(path: Path, before: bytes) -> bool:
    return path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("PRAGMA user_version = 99", "newer Aiex .schema 99"),
        ("UPDATE spec SET version = 9", "newer Aiex .table 'thing' in version 9"),
        ("PRAGMA application_id = 77", "another program"),
    ],
)
async def test_a_store_that_is_not_ours_to_read_is_refused_and_left_alone(
    tmp_path: Path, damage: str, says: str
) -> None:
    path = tmp_path / "store.db"
    make(path, f"{VERSION_1}; {damage};")
    before = path.read_bytes()

    with pytest.raises(StoreCorruptError, match=says) as caught:
        async with store_at(path):
            pass

    assert caught.value.hint
    assert unchanged(path, before)


async def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    make(path, "PRAGMA journal_mode = WAL; CREATE TABLE theirs (a)")
    before = path.read_bytes()

    with pytest.raises(StoreCorruptError, match="another program"):
        async with store_at(path):
            pass

    assert unchanged(path, before)


@pytest.mark.parametrize("keeps", [0, 100, 4096 + 50, 3 * 4096])
async def test_a_damaged_file_is_refused_with_what_to_do_and_kept(
    tmp_path: Path, keeps: int
) -> None:
    path = tmp_path / "store.db"
    async with store_at(path) as store:
        for n in range(50):
            await store.transact([Write(table="thing", key=(str(n),), value=b'{"n":1}')])
    whole = path.read_bytes()
    path.write_bytes(whole[:keeps] + b"\xa5" * (len(whole) - keeps))
    damaged = path.read_bytes()

    async def read_all() -> None:
        async with store_at(path) as store:
            await store.scan("thing")
            await store.query("thing", "n")

    with pytest.raises(StoreCorruptError, match="damaged") as caught:
        await read_all()

    assert caught.value.hint is not None
    assert "aside" in caught.value.hint
    assert len(path.read_bytes()) == len(damaged)


async def test_a_store_held_by_another_process_is_busy_in_time(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with store_at(path, busy_timeout=0.05) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        write = Write(table="thing", key=("a",), value=b"{}")
        with pytest.raises(StoreBusyError) as caught:
            await store.transact([write])
        assert caught.value.transient
        assert await store.get("thing", ("a",)) is None  # reading goes on
        other.execute("ROLLBACK")
        other.close()
        await store.transact([write])


async def test_a_place_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot be used"):
        async with store_at(tmp_path / "file" / "store.db"):
            pass


def test_a_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    out = run(
        """
        import tempfile

        async def main(path):
            try:
                async with SqliteStore(path, (THING,), clock=SystemClock()):
                    pass
            except AiexError as error:
                print(error.code, "|", error.message, "|", error.hint, flush=True)

        anyio.run(main, PLACE)  # now all is imported, and root can become nobody
        place = Path(tempfile.mkdtemp())
        place.chmod(0o555)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            anyio.run(main, place / "state" / "store.db")
            os._exit(0)
        os.waitpid(child, 0)
        place.rmdir()
        """,
        tmp_path / "store.db",
    )

    assert out.startswith("store | The store ")
    assert "Permission denied" in out


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    out = run(
        """
        import resource

        async def main():
            async with opened() as store:
                value = b'{"n":"' + b"x" * 100000 + b'"}'
                for n in range(5):
                    await store.transact([Write(table="thing", key=(str(n),), value=value)])
                resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
                for n in range(5, 50):
                    try:
                        await store.transact([Write(table="thing", key=(str(n),), value=value)])
                    except AiexError as error:
                        print(error.code, "|", error.message, "|", error.hint)
                        break
                print(len(await store.scan("thing")), n)

        anyio.run(main)
        """,
        path,
    )

    refused, counts = out.splitlines()
    assert refused.startswith("store | The store ")
    assert "free space" in refused
    there, expected = counts.split()
    assert there == expected
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT count(*) FROM r_thing") == [(int(expected),)]


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = store_at(tmp_path / "store.db")
    async with store:
        pass

    with pytest.raises(StoreError, match="not open"):
        await store.get("thing", ("a",))


@pytest.mark.parametrize(
    "tables",
    [
        [TableSpec(name="a b")],
        [TableSpec(name="a"), TableSpec(name="a")],
        [TableSpec(name="a", indexes=(Index(name="n", field="x'y"),))],
        [TableSpec(name="a", version=0)],
        [TableSpec(name="a", max_records=5)],
        [TableSpec(name="a", max_age=0.1)],
    ],
)
async def test_a_table_that_is_declared_wrongly_is_refused(
    tmp_path: Path, tables: list[TableSpec]
) -> None:
    with pytest.raises(UsageError):
        store_at(tmp_path / "store.db", *tables)


async def test_deletions_are_forgotten_after_a_week(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "store.db"
    async with SqliteStore(path, (THING,), clock=clock) as store:
        await store.transact([Write(table="thing", key=("a",), value=b"{}")])
        await store.transact([Write(table="thing", key=("a",), value=DELETE)])
        assert rows(path, "SELECT count(*) FROM r_thing") == [(1,)]
        clock.advance(7 * 24 * 3600 + 1)
        await store.transact([Write(table="thing", key=("b",), value=b"{}")])
        assert rows(path, "SELECT key FROM r_thing") == [("b",)]
