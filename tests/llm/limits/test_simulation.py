"""Five processes under five kinds of load, with the real class and store, by a clock that turns."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiex.cluster.local import SqliteStore
from aiex.core import LimitError, Principal
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES, FixedLimits, LeasedLimits, Limit
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

PROCESSES = 5
WINDOW = 60.0
AMOUNT = 1200
SECONDS = 180
ANN = Principal(user="ann", interface="http")
GPT = Endpoint(provider="openai", model="gpt-5")

Load = Callable[[float, int], float]
"""Calls a second that one process gets at a time."""

EACH = AMOUNT / WINDOW / PROCESSES
LOADS: dict[str, Load] = {
    "three times the limit": lambda _, __: 3 * EACH,
    "all of it to one process": lambda _, n: 15 * EACH if n == 0 else 0.0,
    "to one after another": lambda at, n: 15 * EACH if int(at / 20) % PROCESSES == n else 0.0,
    "in bursts": lambda at, _: 12 * EACH if at % 20 < 5 else 0.0,
    "uneven, a little above": lambda _, n: 1.2 * EACH * (n + 1) / 3,
}


def arrivals(load: Load, seed: int) -> list[tuple[float, int]]:
    chance = random.Random(seed)
    found = []
    for n in range(PROCESSES):
        at = 0.0
        while at < SECONDS:
            rate = load(at, n)
            if rate <= 0:
                at += 0.1
                continue
            at += chance.expovariate(rate)
            if load(at, n) > 0 and at < SECONDS:
                found.append((at, n))
    return sorted(found)


def exact(calls: list[tuple[float, int]]) -> int:
    """Return how many calls one counter that knows everything would let through."""
    last: deque[float] = deque()
    total = 0
    for at, _ in calls:
        while last and at - last[0] >= WINDOW:
            last.popleft()
        if len(last) < AMOUNT:
            last.append(at)
            total += 1
    return total


def worst(granted: list[float]) -> int:
    most = first = 0
    for n, at in enumerate(granted):
        while at - granted[first] >= WINDOW:
            first += 1
        most = max(most, n - first + 1)
    return most


@pytest.mark.parametrize("name", LOADS)
async def test_no_window_exceeds_the_limit_and_nearly_all_is_used(
    name: str, tmp_path: Path
) -> None:
    clock = FakeClock()
    limit = Limit(id="l", scope="all", what="requests", amount=AMOUNT, window=WINDOW)
    calls = arrivals(LOADS[name], 7)
    granted: list[float] = []
    async with AsyncExitStack() as stack:
        processes = []
        for _ in range(PROCESSES):
            store = SqliteStore(tmp_path / "store.db", LIMIT_TABLES, clock=clock)
            await stack.enter_async_context(store)
            limits = LeasedLimits(store, FixedLimits([limit]), clock=clock, pace=None)
            processes.append(await stack.enter_async_context(limits))
        tended = now = 0.0
        for at, n in calls:
            while tended + 0.5 <= at:
                tended += 0.5
                clock.advance(tended - now)
                now = tended
                for limits in processes:
                    await limits.tend()
            clock.advance(at - now)
            now = at
            try:
                await processes[n].reserve(
                    ANN, GPT, input_tokens=1, output_tokens=1, cost_usd_micros=None
                )
            except LimitError:
                continue
            granted.append(at)
        writes = sum(limits.metrics().writes for limits in processes)

    assert worst(granted) <= AMOUNT
    assert len(granted) >= 0.97 * exact(calls)
    assert writes <= 0.32 * len(calls)
