"""The limiter of a process, on a store, with a clock that is turned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiex.cluster.local import SqliteStore
from aiex.core import BudgetError, Principal, RateLimitError
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES, FixedLimits, LeasedLimits, Limit
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

ANN = Principal(user="ann", interface="http", team="red", key_id="k1")
BEN = Principal(user="ben", interface="http", team="red", key_id="k2")
GPT = Endpoint(provider="openai", model="gpt-5")


class Stoppable(SqliteStore):
    """A store that can be made to refuse everything, as one whose disk is gone."""

    async def __aenter__(self) -> Any:
        return await super().__aenter__()


class House:
    """Processes that share a store and a clock; each with a store of its own on the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.stores: list[SqliteStore] = []

    async def limiter(self, *limits: Limit, **more: Any) -> LeasedLimits:
        store = SqliteStore(self.path, LIMIT_TABLES, clock=self.clock, busy_timeout=0.05)
        await store.__aenter__()
        self.stores.append(store)
        return LeasedLimits(store, FixedLimits(limits), clock=self.clock, pace=None, **more)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "state" / "store.db")
    yield made
    for store in made.stores:
        await store.__aexit__(None, None, None)


def rate(amount: int, what: Any = "requests", **more: Any) -> Limit:
    return Limit(
        id=more.pop("id", "l"), scope=more.pop("scope", "all"), what=what, amount=amount, **more
    )


async def reserve(
    limits: LeasedLimits, who: Principal = ANN, *, tokens: int = 10, cost: int | None = None
) -> Any:
    return await limits.reserve(
        who, GPT, input_tokens=tokens, output_tokens=0, cost_usd_micros=cost
    )


async def granted(limits: LeasedLimits, tries: int, who: Principal = ANN, **more: Any) -> int:
    count = 0
    for _ in range(tries):
        try:
            await reserve(limits, who, **more)
        except (RateLimitError, BudgetError):
            continue
        count += 1
    return count


async def test_exactly_as_many_calls_as_the_limit_says_are_let_through(house: House) -> None:
    async with await house.limiter(rate(7)) as limits:
        assert await granted(limits, 20) == 7
        house.clock.advance(59.0)
        assert await granted(limits, 20) == 0
        house.clock.advance(3.0)
        assert await granted(limits, 20) == 7


async def test_two_processes_share_one_limit(house: House) -> None:
    async with await house.limiter(rate(10)) as one, await house.limiter(rate(10)) as two:
        total = 0
        for _ in range(20):
            total += await granted(one, 1) + await granted(two, 1)
        assert total == 10


async def test_a_refusal_says_when_to_come_back_and_then_there_is_room(house: House) -> None:
    async with await house.limiter(rate(3)) as limits:
        assert await granted(limits, 3) == 3
        with pytest.raises(RateLimitError) as caught:
            await reserve(limits)
        assert caught.value.retry_after is not None
        house.clock.advance(caught.value.retry_after - 0.1)
        assert await granted(limits, 1) == 0
        house.clock.advance(0.2)
        assert await granted(limits, 1) == 1
