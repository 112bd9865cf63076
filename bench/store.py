"""What the store costs over plain `sqlite3` doing the same work, in the same run.

Run `python bench/store.py`. Figures are medians of several rounds; the ratios are what to
compare between machines.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from aiex.cluster import Index, TableSpec, Write
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, AnalysisCache, CacheKey
from aiex.runtime import SystemClock

ROUNDS = 5
COUNT = 1000
FILES = 300
SPEC = TableSpec(name="bench", indexes=(Index(name="n", field="n"),))
VALUE = b'{"n":%d,"text":"' + b"x" * 200 + b'"}'


def plain_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (key TEXT PRIMARY KEY, value TEXT, r INTEGER)")
    connection.execute("CREATE INDEX IF NOT EXISTS i ON t (json_extract(value, '$.n'), key)")
    return connection


def plain_transactions(connection: sqlite3.Connection) -> None:
    for n in range(COUNT):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", (f"k{n}", VALUE % n, n))
        connection.execute("COMMIT")


def plain_gets(connection: sqlite3.Connection) -> None:
    for n in range(COUNT):
        connection.execute("SELECT value, r FROM t WHERE key = ?", (f"k{n}",)).fetchone()


def plain_open(path: Path) -> None:
    connection = plain_connection(path)
    connection.execute("SELECT value FROM t WHERE key = 'k1'").fetchone()
    connection.close()


async def transactions(store: SqliteStore) -> None:
    for n in range(COUNT):
        await store.transact([Write(table="bench", key=(f"k{n}",), value=VALUE % n)])


async def gets(store: SqliteStore) -> None:
    for n in range(COUNT):
        await store.get("bench", (f"k{n}",))


async def open_and_get(path: Path) -> None:
    async with SqliteStore(path, (SPEC, *TABLES), clock=SystemClock()) as store:
        await store.get("bench", ("k1",))


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


def timed_plain(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = Path(name, "ours.db"), Path(name, "theirs.db")
        seen: dict[str, list[tuple[float, float]]] = {"open": [], "transaction": [], "get": []}
        reads: list[float] = []
        connection = plain_connection(theirs)
        keys = [CacheKey(sha256=f"{n:064x}", kind="facts", version="1") for n in range(FILES)]
        facts = json.dumps([{"name": f"f{n}", "line": n} for n in range(180)]).encode()
        async with SqliteStore(ours, (SPEC, *TABLES), clock=SystemClock()) as store:
            cache = AnalysisCache(store)
            await cache.put_many(dict.fromkeys(keys, facts))
            for _ in range(ROUNDS):
                seen["transaction"].append(
                    (
                        await timed(lambda: transactions(store)) / COUNT,
                        timed_plain(lambda: plain_transactions(connection)) / COUNT,
                    )
                )
                seen["get"].append(
                    (
                        await timed(lambda: gets(store)) / COUNT,
                        timed_plain(lambda: plain_gets(connection)) / COUNT,
                    )
                )
                reads.append(await timed(lambda: cache.get_many(keys)))
        connection.close()
        for _ in range(4 * ROUNDS):
            seen["open"].append(
                (await timed(lambda: open_and_get(ours)), timed_plain(lambda: plain_open(theirs)))
            )
    for what, pairs in seen.items():
        mine, plain = (statistics.median(column) * 1e6 for column in zip(*pairs, strict=True))
        print(f"{what:12} {mine:8.1f} us   sqlite3 {plain:8.1f} us   ratio {mine / plain:.1f}")
    median = statistics.median(reads) * 1e3
    print(f"cache        {median:8.1f} ms for {FILES} values of {len(facts)} bytes")


if __name__ == "__main__":
    anyio.run(main)
