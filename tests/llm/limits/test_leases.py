"""The limiter of a process, on a store, with a clock that is turned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from aiex.cluster import Record
from aiex.cluster.local import SqliteStore
from aiex.core import BudgetError, Principal, RateLimitError, StoreError, Usage
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES, FixedLimits, LeasedLimits, Limit
from aiex.llm.limits.ledger import Ledger
from aiex.runtime import SystemClock
from aiex.testing.clock import FakeClock
from aiex.wires import RateLimit

pytestmark = pytest.mark.anyio

ANN = Principal(user="ann", interface="http", team="red", key_id="k1")
BEN = Principal(user="ben", interface="http", team="red", key_id="k2")
GPT = Endpoint(provider="openai", model="gpt-5")


class GoneError(StoreError):
    """A store that does not answer."""


class WatchedStore(SqliteStore):
    """A store that can be told to fail or to hang, and counts what it is asked.

    Attributes:
        asked: Calls of it.
        is_gone: Whether every call fails.
        is_mute: Whether a transaction is done and then fails.
        hangs: Set once calls that hang may go on; `None` if they do not hang.
    """

    asked = 0
    is_gone = False
    is_mute = False
    hangs: anyio.Event | None = None

    async def _look(self) -> None:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.is_gone:
            raise GoneError("The disk is gone.")

    async def get(self, *args: Any, **more: Any) -> Any:
        await self._look()
        return await super().get(*args, **more)

    async def scan(self, *args: Any, **more: Any) -> Any:
        await self._look()
        return await super().scan(*args, **more)

    async def transact(self, *args: Any, **more: Any) -> Any:
        await self._look()
        sequence = await super().transact(*args, **more)
        if self.is_mute:
            raise GoneError("The answer is lost.")
        return sequence


class House:
    """Processes that share a store and a clock; each with a store of its own on the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.stores: list[WatchedStore] = []

    async def limiter(self, *limits: Limit, **more: Any) -> LeasedLimits:
        store = WatchedStore(self.path, LIMIT_TABLES, clock=self.clock, busy_timeout=0.05)
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


async def test_a_refusal_and_a_call_under_a_lease_ask_the_store_nothing(house: House) -> None:
    async with await house.limiter(rate(1000)) as limits:
        store = house.stores[0]
        for _ in range(40):  # what a process leases grows with what it spends
            assert await granted(limits, 10) == 10
            house.clock.advance(0.3)
        asked = store.asked
        assert await granted(limits, 3) == 3
        assert store.asked == asked

        while await granted(limits, 10):
            pass
        asked = store.asked
        assert await granted(limits, 50) == 0
        assert store.asked == asked


async def test_tokens_are_reserved_at_most_and_settled_by_what_was_used(house: House) -> None:
    async with await house.limiter(rate(100, "tokens")) as limits:
        held = await reserve(limits, tokens=80)
        with pytest.raises(RateLimitError):
            await reserve(limits, tokens=30)
        await held.settle(Usage(input_tokens=20, output_tokens=10), cost_usd_micros=None)
        await held.settle(Usage(), cost_usd_micros=None)  # once is all that counts

        assert await granted(limits, 1, tokens=71) == 0
        assert await granted(limits, 1, tokens=70) == 1


async def test_what_the_provider_does_not_tell_stays_reserved(house: House) -> None:
    async with await house.limiter(rate(100, "tokens")) as limits:
        held = await reserve(limits, tokens=80)
        await held.settle(None, cost_usd_micros=None)
        assert await granted(limits, 1, tokens=21) == 0


async def test_more_billed_than_reserved_is_told_to_the_others(house: House) -> None:
    limit = rate(100, "tokens")
    async with await house.limiter(limit) as one, await house.limiter(limit) as two:
        held = await reserve(one, tokens=40)
        await held.settle(Usage(input_tokens=90), cost_usd_micros=None)
        house.clock.advance(1.1)
        await one.tend()

        assert await granted(two, 1, tokens=11) == 0
        assert (await two.usage())[0].used == 90


async def test_a_call_that_needs_more_than_the_limit_is_told_so_for_good(house: House) -> None:
    async with await house.limiter(rate(100, "tokens")) as limits:
        with pytest.raises(RateLimitError) as caught:
            await reserve(limits, tokens=101)
        assert caught.value.retry_after is None
        assert not caught.value.transient


async def test_a_budget_of_a_month_holds_over_processes_and_begins_anew(house: House) -> None:
    budget = rate(1000, "cost", window="month", scope="team:*")
    async with await house.limiter(budget) as one, await house.limiter(budget) as two:
        done = sum([await granted(one, 4, cost=150), await granted(two, 4, cost=150)])
        assert done == 6
        with pytest.raises(BudgetError) as caught:
            await reserve(two, cost=150)
        assert not caught.value.transient
        assert await granted(two, 1, Principal(user="eve", interface="cli"), cost=150) == 1

        house.clock.advance(31 * 86_400.0)  # it began on the first
        for limits in (one, two):
            await limits.tend()
        assert await granted(two, 4, cost=150) == 4


async def test_a_budget_is_settled_by_the_cost_and_the_rest_is_free_for_others(
    house: House,
) -> None:
    budget = rate(1000, "cost", window="day")
    async with await house.limiter(budget) as one, await house.limiter(budget) as two:
        held = await reserve(one, cost=900)
        assert await granted(two, 1, cost=200) == 0
        await held.settle(None, cost_usd_micros=100)
        house.clock.advance(1.1)
        await one.tend()
        assert await granted(two, 1, cost=800) == 1


async def test_a_process_that_stops_calling_gives_back_what_it_leased_of_a_budget(
    house: House,
) -> None:
    budget = rate(10_000, "cost", window="month")
    async with await house.limiter(budget) as one, await house.limiter(budget) as two:
        for _ in range(20):
            await granted(one, 1, cost=20)
            house.clock.advance(0.3)
            await one.tend()
        assert (await two.usage())[0].leased > 0
        house.clock.advance(11.0)
        await one.tend()
        (usage,) = await two.usage()
        assert (usage.used, usage.leased, usage.left) == (400, 0, 9600)
        assert one.metrics().reserved == 20


async def test_each_user_has_a_limit_of_his_own_under_a_star(house: House) -> None:
    async with await house.limiter(rate(3, scope="user:*")) as limits:
        assert await granted(limits, 5, ANN) == 3
        assert await granted(limits, 5, BEN) == 3


async def test_all_limits_of_a_call_are_taken_or_none(house: House) -> None:
    wide, narrow = rate(10, id="wide"), rate(2, id="narrow", scope="user:ann")
    async with await house.limiter(wide, narrow) as limits:
        assert await granted(limits, 8, ANN) == 2
        assert await granted(limits, 20, BEN) == 8


async def test_never_more_calls_at_once_than_the_cap(house: House) -> None:
    cap = rate(3, "concurrency")
    async with await house.limiter(cap) as one, await house.limiter(cap) as two:
        held = [await reserve(one), await reserve(one), await reserve(two)]
        assert await granted(one, 1) + await granted(two, 1) == 0

        await held[0].settle(None, cost_usd_micros=None)
        assert await granted(one, 1) == 1
        await held[2].settle(None, cost_usd_micros=None)
        house.clock.advance(1.0)
        await two.tend()
        assert await granted(one, 1) == 1


async def test_the_calls_of_a_process_that_was_killed_end_with_their_lease(house: House) -> None:
    cap = rate(2, "concurrency")
    killed = await house.limiter(cap)
    await killed.__aenter__()
    killed._hand_back = anyio.lowlevel.checkpoint  # type: ignore[method-assign]
    await reserve(killed)
    await reserve(killed)
    await killed.__aexit__(None, None, None)

    async with await house.limiter(cap) as limits:
        assert await granted(limits, 1) == 0
        house.clock.advance(16.0)
        assert await granted(limits, 3) == 2


async def test_a_reservation_that_nobody_settles_expires(house: House) -> None:
    cap, budget = rate(1, "concurrency", id="cap"), rate(100, "cost", id="b", window="day")
    async with await house.limiter(cap, budget, expires_after=30.0) as limits:
        await reserve(limits, cost=90)
        assert await granted(limits, 1, cost=20) == 0
        house.clock.advance(31.0)
        await limits.tend()
        assert await granted(limits, 1, cost=100) == 1
        assert limits.metrics().expired == 1
        assert limits.metrics().open == 1


async def test_a_call_that_is_cancelled_while_it_waits_holds_nothing(house: House) -> None:
    async with await house.limiter(rate(1)) as limits:
        store = house.stores[0]
        store.hangs = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reserve, limits)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        store.hangs.set()
        store.hangs = None
        assert await granted(limits, 2) == 1


async def test_many_that_wait_share_one_turn(house: House) -> None:
    async with await house.limiter(rate(50)) as limits:
        store = house.stores[0]
        done = []

        async def call() -> None:
            done.append(await granted(limits, 1))

        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(call)
        assert sum(done) == 50
        assert limits.metrics().turns <= 3
        assert store.asked <= 8


async def test_a_store_that_hangs_holds_nobody_up_for_longer_than_the_patience(
    house: House,
) -> None:
    async with await house.limiter(rate(10), patience=0.5) as limits:
        store = house.stores[0]
        store.hangs = anyio.Event()

        async def wait() -> None:
            with pytest.raises(RateLimitError, match="does not answer"):
                await reserve(limits)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            house.clock.advance(0.6)
        await wait()  # and this one at once, since the turn of the others is overdue
        store.hangs.set()


async def test_without_the_store_a_budget_denies_once_its_lease_is_spent(house: House) -> None:
    async with await house.limiter(rate(1000, "cost", window="day")) as limits:
        await reserve(limits, cost=10)
        house.stores[0].is_gone = True
        with pytest.raises(RateLimitError) as caught:
            await reserve(limits, cost=500)
        assert caught.value.retry_after
        house.clock.advance(200.0)
        assert await granted(limits, 1, cost=500) == 0
        assert not limits.metrics().has_store

        house.stores[0].is_gone = False
        house.clock.advance(1.1)
        await limits.tend()
        assert await granted(limits, 1, cost=500) == 1
        assert limits.metrics().has_store


async def test_without_the_store_a_rate_goes_on_with_a_share_once_that_is_safe(
    house: House,
) -> None:
    limit = rate(100)
    async with (
        await house.limiter(limit, parts=True) as one,
        await house.limiter(limit, parts=True) as two,
    ):
        for _ in range(4):
            for limits in (one, two):
                await granted(limits, 1)
                await limits.tend()
            house.clock.advance(5.1)
        for store in house.stores:
            store.is_gone = True

        # What the other leased before may still be spent inside of the same window.
        assert await granted(one, 60) + await granted(two, 60) < 60
        house.clock.advance(90.0)
        assert await granted(one, 80) == 50
        assert await granted(two, 80) == 50
        house.clock.advance(50.0)
        assert await granted(one, 80) == 0

        # One that has the store again leaves the other its share, until that is back too.
        house.stores[0].is_gone = False
        house.clock.advance(2.0)
        await one.tend()
        assert await granted(one, 80) == 0
        house.clock.advance(62.0)
        assert await granted(one, 80) == 50
        house.stores[1].is_gone = False
        await two.tend()
        house.clock.advance(61.5)
        await two.tend()
        await one.tend()
        assert await granted(one, 120) == 100


async def test_without_the_store_a_rate_that_denies_gives_nothing(house: House) -> None:
    async with await house.limiter(rate(100, on_store_loss="deny")) as limits:
        for _ in range(4):
            await granted(limits, 1)
            house.clock.advance(5.1)
            await limits.tend()
        house.stores[0].is_gone = True
        house.clock.advance(120.0)
        assert await granted(limits, 10) == 0


async def test_a_turn_whose_answer_was_lost_is_not_told_twice(house: House) -> None:
    limit = rate(100, "tokens")
    async with await house.limiter(limit) as one, await house.limiter(limit) as two:
        await reserve(one, tokens=30)
        held = await reserve(one, tokens=30)
        house.clock.advance(1.1)
        await one.tend()
        await held.settle(Usage(), cost_usd_micros=None)
        house.clock.advance(1.1)
        house.stores[0].is_mute = True
        await one.tend()
        house.stores[0].is_mute = False
        house.clock.advance(1.1)
        await one.tend()

        (usage,) = await two.usage()
        assert (usage.used, usage.leased + usage.left) == (30, 70)


async def test_a_process_that_just_came_has_no_share(house: House) -> None:
    async with await house.limiter(rate(100)) as limits:
        await granted(limits, 1)
        house.stores[0].is_gone = True
        house.clock.advance(120.0)
        assert await granted(limits, 10) == 0


async def test_leaving_hands_back_what_is_held(house: House) -> None:
    limit = rate(100, "tokens")
    async with await house.limiter(limit) as one:
        for _ in range(8):
            await granted(one, 1, tokens=2)
            house.clock.advance(0.2)
    async with await house.limiter(limit) as two:
        (usage,) = await two.usage()
        assert (usage.used, usage.leased, usage.left) == (16, 0, 84)
        assert await granted(two, 1, tokens=84) == 1


async def test_usage_tells_where_a_limit_stands_before_the_ledger_knows(house: House) -> None:
    limit, cap = rate(100, id="r"), rate(5, "concurrency", id="c")
    async with await house.limiter(limit, cap) as limits:
        (nothing, _) = await limits.usage()
        assert (nothing.used, nothing.left, nothing.resets_at) == (0, 100, None)
        await granted(limits, 3)

        (of_rate,) = await limits.usage(limit_id="r")
        assert of_rate.subject == "all"
        assert of_rate.used == 3
        assert of_rate.left == 97
        assert of_rate.resets_at is not None
        assert 60 <= (of_rate.resets_at - house.clock.now()).total_seconds() <= 63
        (of_cap,) = await limits.usage(limit_id="c")
        assert (of_cap.used, of_cap.left) == (3, 2)


async def test_what_a_provider_says_is_left_holds_until_it_is_refilled(house: House) -> None:
    limit = rate(1000, scope="provider:openai")
    async with await house.limiter(limit) as limits:
        assert await granted(limits, 1) == 1
        limits.told(GPT, [RateLimit(what="requests", limit=60, remaining=2, reset_after=58.0)])
        assert await granted(limits, 5) == 2
        with pytest.raises(RateLimitError) as caught:
            await reserve(limits)
        assert caught.value.retry_after == pytest.approx(1.0, abs=0.2)
        house.clock.advance(59.0)
        assert await granted(limits, 5) == 5


async def test_a_limit_that_is_changed_holds_from_the_next_call_on(house: House) -> None:
    class Changing:
        now: tuple[Limit, ...] = (rate(2),)

        def limits_for(self, principal: Principal, endpoint: Endpoint) -> tuple[Limit, ...]:
            return self.now

        def limits(self) -> tuple[Limit, ...]:
            return self.now

    source = Changing()
    limits = await house.limiter()
    limits._source = source
    async with limits:
        assert await granted(limits, 5) == 2
        source.now = (rate(4),)
        assert await granted(limits, 5) == 2
        source.now = ()
        assert await granted(limits, 5) == 5


async def test_accounts_that_nobody_uses_are_forgotten(house: House) -> None:
    async with await house.limiter(rate(5, scope="user:*")) as limits:
        for n in range(20):
            await granted(limits, 1, Principal(user=f"u{n}", interface="http"))
        assert limits.metrics().accounts == 20
        for _ in range(3):
            house.clock.advance(200.0)
            await limits.tend()
        assert limits.metrics().accounts == 0


async def test_its_own_task_tells_the_ledger_without_being_asked(tmp_path: Path) -> None:
    clock = SystemClock()
    limit = rate(100, "tokens")
    store = SqliteStore(tmp_path / "s.db", LIMIT_TABLES, clock=clock)
    watcher = SqliteStore(tmp_path / "s.db", LIMIT_TABLES, clock=clock)
    async with (
        store,
        watcher,
        LeasedLimits(store, FixedLimits([limit]), clock=clock, pace=0.01) as limits,
    ):
        held = await reserve(limits, tokens=60)
        async with watcher.watch("limit_ledger", after=0) as changes:
            with anyio.fail_after(10):
                await anext(changes)
                await held.settle(Usage(input_tokens=5), cost_usd_micros=None)
                async for change in changes:
                    assert isinstance(change, Record)
                    ledger = msgspec.json.decode(change.value, type=Ledger)
                    if sum(spent.total for spent in ledger.spent) == 5:
                        break
