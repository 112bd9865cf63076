"""What a limit costs a call, beside the least that anything could cost, in one run.

    python bench/limits.py [--calls N]

Says, in microseconds of CPU (medians of several rounds):

- a decision (reserve and settle) under four limits of which leases are held, beside four plain
  counters under a lock, which is the least that a process alone would pay (aim: 10 us);
- a refusal from memory;
- a turn of a ledger on a SQLite file, beside a bare transaction of `sqlite3`, and what a call
  would pay if it took one transaction for each of its limits;
- how often the store is asked a call, at a paced load by a clock that is turned.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio

from aiex.cluster.local import SqliteStore
from aiex.core import LimitError, Principal, Usage
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES, FixedLimits, LeasedLimits, Limit
from aiex.runtime import SystemClock
from aiex.testing.clock import FakeClock

ROUNDS = 5
ANN = Principal(user="ann", interface="http", team="red", key_id="k1")
GPT = Endpoint(provider="openai", model="gpt-5")
USAGE = Usage(input_tokens=400, output_tokens=100)
LARGE = 10**12
FOUR = (
    Limit(id="requests", scope="user:*", what="requests", amount=LARGE, window=3600.0),
    Limit(id="tokens", scope="team:red", what="tokens", amount=LARGE, window=3600.0),
    Limit(id="calls", scope="key:*", what="concurrency", amount=1000),
    Limit(id="money", scope="all", what="cost", amount=LARGE, window="month"),
)


class StillClock(SystemClock):
    """A clock whose monotonic time is turned by hand, so that leases do not end meanwhile."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


class Counters:
    """Four counters of one process under a lock: the bound."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = [0, 0, 0, 0]

    async def call(self) -> None:
        with self._lock:
            for n, need in enumerate((1, 1000, 1, 500)):
                if self._used[n] + need > LARGE:
                    raise LimitError("used up")
            for n, need in enumerate((1, 1000, 1, 500)):
                self._used[n] += need
        with self._lock:
            self._used[1] -= 500
            self._used[2] -= 1
            self._used[3] -= 200


async def micros(count: int, work: Callable[[], Awaitable[None]]) -> float:
    """Return the CPU of one *work*, microseconds."""
    took = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(count):
            await work()
        took.append((time.process_time() - begun) / count * 1e6)
    return statistics.median(took)


def open_limits(
    store: SqliteStore, clock: SystemClock | FakeClock, four: Sequence[Limit]
) -> LeasedLimits:
    return LeasedLimits(store, FixedLimits(four), clock=clock, pace=None)


async def decisions(directory: Path, calls: int) -> tuple[float, float, float]:
    """Return the cost of a decision, of one that is refused, and of the bound."""
    clock = StillClock()
    async with SqliteStore(directory / "a.db", LIMIT_TABLES, clock=clock) as store:
        async with open_limits(store, clock, FOUR) as limits:

            async def call() -> None:
                held = await limits.reserve(
                    ANN, GPT, input_tokens=500, output_tokens=500, cost_usd_micros=500
                )
                await held.settle(USAGE, cost_usd_micros=300)

            for account in (limits._account(x, s, 0.0) for x, s in _subjects()):  # noqa: SLF001
                await limits._turn(account, [LARGE // 2 if account.limit.amount == LARGE else 9])  # noqa: SLF001
            turns = limits.metrics().turns
            decision = await micros(calls, call)
            assert limits.metrics().turns == turns, "a lease ended during the measurement"

        full = Limit(id="full", scope="all", what="requests", amount=1, window=3600.0)
        async with open_limits(store, clock, (*FOUR, full)) as limits:

            async def refused() -> None:
                with contextlib.suppress(LimitError):
                    await limits.reserve(
                        ANN, GPT, input_tokens=500, output_tokens=500, cost_usd_micros=500
                    )

            await refused()
            refusal = await micros(calls, refused)
    return decision, refusal, await micros(calls, Counters().call)


def _subjects() -> list[tuple[Limit, str]]:
    return list(zip(FOUR, ("user:ann", "team:red", "key:k1", "all"), strict=True))


async def transactions(directory: Path, count: int) -> tuple[float, float]:
    """Return the cost of a turn of a ledger, and of a bare transaction that counts."""
    clock = SystemClock()
    limit = Limit(id="l", scope="all", what="tokens", amount=LARGE, window=60.0)
    async with (
        SqliteStore(directory / "b.db", LIMIT_TABLES, clock=clock) as store,
        open_limits(store, clock, [limit]) as limits,
    ):
        account = limits._account(limit, "all", clock.monotonic())  # noqa: SLF001
        await limits._greet()  # noqa: SLF001

        async def turn() -> None:
            account.used = clock.monotonic()
            await limits._turn(account, [10])  # noqa: SLF001

        ledger = await micros(count, turn)

    connection = sqlite3.connect(directory / "c.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE t (k TEXT PRIMARY KEY, used INTEGER)")
    connection.execute("INSERT INTO t VALUES ('l', 0)")

    async def bare() -> None:
        connection.execute("BEGIN IMMEDIATE")
        (used,) = connection.execute("SELECT used FROM t WHERE k = 'l'").fetchone()
        connection.execute("UPDATE t SET used = ? WHERE k = 'l'", (used + 1,))
        connection.execute("COMMIT")

    direct = await micros(count, bare)
    connection.close()
    return ledger, direct


async def store_calls(directory: Path, a_minute: int) -> float:
    """Return the transactions a call, of one process at an even load of *a_minute* calls."""
    clock = FakeClock()
    limit = Limit(id="l", scope="all", what="requests", amount=2 * a_minute, window=60.0)
    async with (
        SqliteStore(directory / f"d{a_minute}.db", LIMIT_TABLES, clock=clock) as store,
        open_limits(store, clock, [limit]) as limits,
    ):
        calls = 2 * a_minute
        for n in range(calls):
            clock.advance(60.0 / a_minute)
            if n % max(1, a_minute // 240) == 0:
                await limits.tend()
            held = await limits.reserve(
                ANN, GPT, input_tokens=1, output_tokens=1, cost_usd_micros=None
            )
            await held.settle(None, cost_usd_micros=None)
        return limits.metrics().writes / calls


async def main(calls: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        decision, refusal, bound = await decisions(directory, calls)
        ledger, direct = await transactions(directory, max(200, calls // 20))
        print(f"decision under four limits   {decision:8.2f} us   (aim: 10)")
        print(f"four counters and a lock     {bound:8.2f} us   {decision / bound:.1f} times that")
        print(f"refusal from memory          {refusal:8.2f} us")
        print(f"turn of a ledger             {ledger:8.2f} us")
        print(f"bare transaction             {direct:8.2f} us   {ledger / direct:.1f} times that")
        print(f"a bare one for each limit    {4 * direct:8.2f} us   a call")
        for a_minute in (120, 1200, 12000):
            asked = await store_calls(directory, a_minute)
            print(f"{a_minute:6} calls a minute: {asked:.3f} transactions a call")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a limit costs a call.")
    parser.add_argument("--calls", type=int, default=20_000, help="decisions a round")
    anyio.run(main, parser.parse_args().calls)
