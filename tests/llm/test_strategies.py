"""Strategies: orders of what they are given, fair where they leave it to chance, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.llm import STRATEGIES, Endpoint, Strategy
from aiex.llm.strategies import (
    cost,
    in_order,
    latency,
    load_balanced,
    local_affinity,
    random,
    round_robin,
)

ENTROPY = st.floats(0, 1, exclude_max=True)
ENDPOINTS = st.lists(
    st.builds(
        Endpoint,
        provider=st.sampled_from(["a", "b", "c", "d"]),
        model=st.sampled_from(["x", "y", "z"]),
        node=st.sampled_from(["local", "n1", "n2"]),
        is_loopback=st.booleans(),
        preference=st.integers(0, 3),
        in_flight=st.integers(0, 50),
        first_token=st.none() | st.floats(0.001, 100),
        cost_usd_micros=st.none() | st.integers(0, 10_000),
        turn=st.integers(0, 100),
    ),
    max_size=9,
    unique_by=lambda e: (e.provider, e.model),
)


def several(count: int) -> list[Endpoint]:
    return [Endpoint(provider=f"p{n}", model="m", preference=n) for n in range(count)]


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@given(endpoints=ENDPOINTS, entropy=ENTROPY, data=st.data())
def test_a_strategy_orders_what_it_is_given_and_nothing_else_decides(
    strategy: Strategy, endpoints: list[Endpoint], entropy: float, data: st.DataObject
) -> None:
    order = list(strategy(endpoints, entropy=entropy))
    assert Counter(order) == Counter(endpoints)
    other_way_round = data.draw(st.permutations(endpoints))
    assert list(strategy(other_way_round, entropy=entropy)) == order


def firsts(strategy: Strategy, endpoints: Sequence[Endpoint], draws: int) -> Counter[str]:
    numbers = [(n + 0.5) / draws for n in range(draws)]
    return Counter(strategy(endpoints, entropy=number)[0].provider for number in numbers)


@given(st.integers(1, 7))
def test_chance_takes_each_as_often_as_another(count: int) -> None:
    shares = firsts(random, several(count), 420)
    assert shares == {f"p{n}": 420 // count for n in range(count)}


def test_chance_takes_each_order_as_often_as_another() -> None:
    numbers = [(n + 0.5) / 2400 for n in range(2400)]
    orders = Counter(
        tuple(e.provider for e in random(several(4), entropy=number)) for number in numbers
    )
    assert set(orders.values()) == {100}
    assert len(orders) == 24


@given(st.integers(1, 6), st.integers(1, 60), ENTROPY)
def test_in_a_round_everybody_has_a_turn_before_anybody_has_two(
    count: int, calls: int, entropy: float
) -> None:
    endpoints = several(count)
    had: Counter[str] = Counter()
    for call in range(1, calls + 1):
        best = round_robin(endpoints, entropy=entropy)[0]
        had[best.provider] += 1
        endpoints = [msgspec.structs.replace(e, turn=call) if e == best else e for e in endpoints]
        turns = [had[e.provider] for e in endpoints]
        assert max(turns) - min(turns) <= 1


def test_one_that_comes_back_gets_its_turn_and_not_all_that_it_missed() -> None:
    endpoints = [msgspec.structs.replace(e, turn=100 + n) for n, e in enumerate(several(3))]
    endpoints[2] = msgspec.structs.replace(endpoints[2], turn=1)
    had = []
    for call in range(200, 206):
        best = round_robin(endpoints, entropy=0.5)[0]
        had.append(best.provider)
        endpoints = [
            msgspec.structs.replace(e, turn=call) if e.provider == best.provider else e
            for e in endpoints
        ]
    assert had == ["p2", "p0", "p1", "p2", "p0", "p1"]


@given(ENDPOINTS.filter(lambda found: len(found) > 1), ENTROPY)
def test_of_two_that_chance_picks_the_less_loaded_goes_first(
    endpoints: list[Endpoint], entropy: float
) -> None:
    worst = max(
        endpoints,
        key=lambda e: ((e.first_token or 0) * (e.in_flight + 1), e.in_flight, e.preference),
    )
    slow = msgspec.structs.replace(worst, first_token=1e6, in_flight=99, preference=9)
    others = [e for e in endpoints if e != worst]
    assert load_balanced([*others, slow], entropy=entropy)[0] != slow


def test_two_choices_share_equally_among_equals_and_spare_the_busy_one() -> None:
    shares = firsts(load_balanced, several(4), 1200)
    even = {f"p{n}": 1200 for n in range(4)}
    assert shares.keys() <= even.keys()
    busy = [
        msgspec.structs.replace(e, in_flight=9 if n == 0 else 0) for n, e in enumerate(several(4))
    ]
    assert firsts(load_balanced, busy, 1200)["p0"] == 0


@given(st.integers(2, 6), st.integers(0, 2**32))
def test_two_choices_keep_queues_short(count: int, seed: int) -> None:
    from random import Random

    chance = Random(seed)
    endpoints = several(count)
    for _ in range(40 * count):
        best = load_balanced(endpoints, entropy=chance.random())[0]
        endpoints = [
            msgspec.structs.replace(e, in_flight=e.in_flight + (e == best)) for e in endpoints
        ]
    counts = [e.in_flight for e in endpoints]
    assert max(counts) - min(counts) <= 12


def test_a_slower_one_is_given_less() -> None:
    quick, slow = several(2)
    quick = msgspec.structs.replace(quick, first_token=0.1, in_flight=5)
    slow = msgspec.structs.replace(slow, first_token=1.0)
    assert load_balanced([quick, slow], entropy=0.3)[0] == quick
    queued = msgspec.structs.replace(quick, in_flight=30)
    assert load_balanced([queued, slow], entropy=0.3)[0] == slow


@given(ENDPOINTS, ENTROPY)
def test_what_is_near_goes_before_what_is_far(endpoints: list[Endpoint], entropy: float) -> None:
    order = local_affinity(endpoints, entropy=entropy)
    ranks = [0 if e.is_loopback else 1 if e.node != "local" else 2 for e in order]
    assert ranks == sorted(ranks)


@given(ENDPOINTS, ENTROPY)
def test_the_cheapest_goes_first_and_what_has_no_price_last(
    endpoints: list[Endpoint], entropy: float
) -> None:
    costs = [e.cost_usd_micros for e in cost(endpoints, entropy=entropy)]
    known = [c for c in costs if c is not None]
    assert costs == sorted(known) + [None] * (len(costs) - len(known))


@given(ENDPOINTS, ENTROPY)
def test_the_quickest_goes_first_after_those_nobody_knows(
    endpoints: list[Endpoint], entropy: float
) -> None:
    seconds = [e.first_token for e in latency(endpoints, entropy=entropy)]
    known = [s for s in seconds if s is not None]
    assert seconds == [None] * (len(seconds) - len(known)) + sorted(known)


@given(ENDPOINTS, ENTROPY)
def test_the_order_of_the_configuration_is_kept(endpoints: list[Endpoint], entropy: float) -> None:
    wished = [e.preference for e in in_order(endpoints, entropy=entropy)]
    assert wished == sorted(wished)
