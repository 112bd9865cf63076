"""Calls that belong together stay together, as long as that helps."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aiex.llm import Endpoint
from aiex.llm.affinity import Affinity, is_overloaded, rendezvous

NAMES = st.text(max_size=30)


def several(count: int) -> list[Endpoint]:
    return [Endpoint(provider=f"p{n}", model="m") for n in range(count)]


@given(NAMES, st.integers(1, 6), st.data())
def test_a_name_goes_to_the_same_one_whoever_asks(
    name: str, count: int, data: st.DataObject
) -> None:
    endpoints = several(count)
    home = rendezvous(name, endpoints)
    assert rendezvous(name, data.draw(st.permutations(endpoints))) == home
    others = [e for e in endpoints if e == home or data.draw(st.booleans())]
    assert rendezvous(name, others) == home


def test_names_are_spread_evenly() -> None:
    homes = Counter(str(rendezvous(f"session {n}", several(4))) for n in range(4000))
    assert min(homes.values()) > 850


def test_where_a_name_was_answered_it_goes_again() -> None:
    affinity = Affinity()
    endpoints = several(3)
    home = affinity.prefer("s", endpoints)
    other = next(e for e in endpoints if e != home)
    affinity.note("s", other)
    assert affinity.prefer("s", endpoints) == other
    assert affinity.prefer("s", [e for e in endpoints if e != other]) == home


def test_one_that_is_much_busier_than_the_others_is_not_preferred() -> None:
    affinity = Affinity()
    busy, idle = several(2)
    affinity.note("s", busy)
    calls = msgspec.structs.replace(busy, in_flight=4)
    assert affinity.prefer("s", [calls, idle]) == calls
    many = msgspec.structs.replace(busy, in_flight=5)
    assert affinity.prefer("s", [many, idle]) is None
    assert not is_overloaded(many, [many, msgspec.structs.replace(idle, in_flight=1)])


def test_the_name_not_seen_for_longest_is_forgotten_first() -> None:
    affinity = Affinity(most=3)
    endpoints = several(4)
    for n in range(3):
        affinity.note(f"s{n}", endpoints[3])
    affinity.note("s0", endpoints[3])
    affinity.note("s3", endpoints[3])
    assert len(affinity) == 3
    assert affinity.prefer("s0", endpoints) == endpoints[3]
    assert affinity.prefer("s1", endpoints) == rendezvous("s1", endpoints)
