"""A cap of calls at once, under calls that come and go all the time."""

from __future__ import annotations

import random
from pathlib import Path

import anyio
import pytest

from aiex.cluster.local import SqliteStore
from aiex.core import Principal, RateLimitError
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES, FixedLimits, LeasedLimits, Limit
from aiex.runtime import SystemClock

pytestmark = pytest.mark.anyio

ANN = Principal(user="ann", interface="test")
ENDPOINT = Endpoint(provider="openai", model="m")


async def test_calls_below_the_cap_are_never_refused_and_seldom_ask_the_store(
    tmp_path: Path,
) -> None:
    clock = SystemClock()
    source = FixedLimits([Limit(id="l", scope="all", what="concurrency", amount=1000)])
    chance = random.Random(7)
    calls = 0

    async def call(limits: LeasedLimits) -> None:
        nonlocal calls
        for _ in range(100):
            held = await limits.reserve(
                ANN, ENDPOINT, input_tokens=1, output_tokens=1, cost_usd_micros=None
            )
            await anyio.sleep(chance.random() / 200)
            await held.settle(None, cost_usd_micros=None)
            await anyio.sleep(chance.random() / 200)
            calls += 1

    async with (
        SqliteStore(tmp_path / "store.db", LIMIT_TABLES, clock=clock) as store,
        LeasedLimits(store, source, clock=clock) as limits,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(32):
                tasks.start_soon(call, limits)
        assert calls == 3200
        assert limits.metrics().refused == 0
        assert limits.metrics().turns < calls / 20


async def test_a_cap_holds_at_its_edge(tmp_path: Path) -> None:
    clock = SystemClock()
    source = FixedLimits([Limit(id="l", scope="all", what="concurrency", amount=3)])
    running = most = refused = 0

    async def call(limits: LeasedLimits) -> None:
        nonlocal running, most, refused
        try:
            held = await limits.reserve(
                ANN, ENDPOINT, input_tokens=1, output_tokens=1, cost_usd_micros=None
            )
        except RateLimitError:
            refused += 1
            return
        running += 1
        most = max(most, running)
        await anyio.sleep(0.02)
        running -= 1
        await held.settle(None, cost_usd_micros=None)

    async with (
        SqliteStore(tmp_path / "store.db", LIMIT_TABLES, clock=clock) as store,
        LeasedLimits(store, source, clock=clock) as limits,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(10):
            tasks.start_soon(call, limits)
    assert most == 3
    assert refused == 7
