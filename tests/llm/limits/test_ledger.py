"""One turn of a ledger, and how time is numbered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aiex.core import ConfigurationError
from aiex.llm.limits import FixedLimits, Limit
from aiex.llm.limits.ledger import (
    Asked,
    ClockBehindError,
    Holding,
    Ledger,
    Member,
    Spent,
    counted,
    free_from,
    lease,
    presumed,
)
from aiex.llm.limits.times import Calendar, Sliding, StoreTime, to_datetime, to_micros

MINUTE = Sliding(60.0, skew=0.0)


def asked(**more: Any) -> Asked:
    told: dict[str, Any] = {"holder": "a", "turn": 1, "at": 0, "amount": 100, "label": 500}
    return Asked(**{**told, "changes": {}, **more})


def test_a_lease_is_for_who_waits_and_a_part_of_what_is_free_for_later() -> None:
    assert lease(Ledger(), MINUTE, asked(needs=[70])).held == 70
    assert lease(Ledger(), MINUTE, asked(needs=[70, 20, 20, 5])).held == 95
    assert lease(Ledger(), MINUTE, asked(wish=80)).held == 25
    mine = Ledger(holders={"a": Holding(label=500, amount=12, turn=1, until=0)})
    assert lease(mine, MINUTE, asked(wish=80, keeps=10, held=12, held_label=500)).held == 32


def test_what_others_hold_counts_until_their_label_has_left_the_window() -> None:
    ledger = Ledger(holders={"b": Holding(label=500, amount=90, turn=1, until=0)})

    assert lease(ledger, MINUTE, asked(needs=[20])).held == 0
    assert lease(ledger, MINUTE, asked(needs=[20], label=561)).held == 0
    assert lease(ledger, MINUTE, asked(needs=[20], label=562)).held == 20
    assert free_from(ledger, MINUTE, 100, 20, 500) == 562
    assert free_from(ledger, MINUTE, 100, 10, 500) == 501
    assert free_from(ledger, MINUTE, 100, 101, 500) is None


def test_only_what_is_late_counts_for_a_label_longer() -> None:
    ledger = Ledger(spent=(Spent(label=500, total=60, late=10),))

    assert counted(ledger, MINUTE, 560) == 60
    assert counted(ledger, MINUTE, 561) == 10
    assert counted(ledger, MINUTE, 562) == 0


def test_a_time_far_behind_what_others_were_told_leases_nothing() -> None:
    ledger = Ledger(spent=(Spent(label=510, total=1),))

    with pytest.raises(ClockBehindError):
        lease(ledger, MINUTE, asked(label=500, needs=[1]))


def test_after_the_clock_went_back_what_was_spent_counts_as_if_it_were_now() -> None:
    ledger = Ledger(
        spent=(Spent(label=9000, total=50),),
        holders={"b": Holding(label=9000, amount=20, turn=1, until=0)},
    )

    granted = lease(ledger, MINUTE, asked(needs=[40, 30]))

    assert granted.held == 30
    assert counted(granted.ledger, MINUTE, 500) == 100


def test_what_is_held_by_very_many_is_spent_and_told_once() -> None:
    ledger = Ledger(
        holders={f"p{n}": Holding(label=500, amount=2, turn=1, until=n) for n in range(256)}
    )
    granted = lease(ledger, MINUTE, asked(amount=1000, needs=[10]))
    assert len(granted.ledger.holders) == 256
    assert "p0" not in granted.ledger.holders
    assert counted(granted.ledger, MINUTE, 500) == 256 * 2 + 10

    late = lease(
        granted.ledger,
        MINUTE,
        asked(holder="p0", amount=1000, changes={500: (2, 0)}, held=2, held_label=500),
    )
    assert counted(late.ledger, MINUTE, 500) == 256 * 2 + 10


def test_the_silent_are_presumed_to_use_their_part() -> None:
    members = {
        "a": Member(at=0, among=2),
        "b": Member(at=10, among=3),
        "c": Member(at=99, among=3),
    }

    assert presumed(members, "a", 100, silent_since=50) == 33
    assert presumed(members, "z", 100, silent_since=50) == 83


@pytest.mark.parametrize(
    ("period", "inside", "start"),
    [
        ("day", datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)),
        ("week", datetime(2026, 3, 1, 23, 59, tzinfo=UTC), datetime(2026, 2, 23, tzinfo=UTC)),
        ("month", datetime(2026, 12, 31, 23, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
    ],
)
def test_periods_begin_where_the_calendar_says(
    period: Any, inside: datetime, start: datetime
) -> None:
    grid = Calendar(period)
    label = grid.label(to_micros(inside))

    assert to_datetime(grid.start(label)) == start
    assert to_datetime(grid.start(label + 1)) > inside
    assert grid.label(grid.start(label + 1)) == label + 1


def test_the_stores_time_is_known_between_two_bounds_that_drift_apart() -> None:
    time = StoreTime()
    time.told(10.0, 1_000_000, 10.2)

    assert time.lower(10.2) == 1_000_000
    assert time.upper(10.2) >= 1_200_000
    assert time.lower(110.2) <= 101_000_000 <= time.upper(110.2)
    assert time.uncertainty(110.2) > time.uncertainty(10.2)
    assert time.lower(time.until_surely(5_000_000) + 0.001) >= 5_000_000
    assert time.upper(time.until_possibly(5_000_000) - 0.001) <= 5_000_000

    time.told(20.0, 10_900_000, 24.0)  # slower than what is known, and not against it
    assert time.uncertainty(24.0) < 1.0
    time.told(30.0, 90_000_000, 34.0)  # the store's clock was set
    assert time.lower(34.0) == 90_000_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"amount": -1},
        {"window": 0.5},
        {"window": 4000.0},
        {"scope": "everybody"},
        {"scope": "user:"},
        {"scope": "model:openai"},
    ],
)
def test_a_limit_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"id": "l", "scope": "all", "what": "requests", "amount": 1}
    Limit(**right)
    with pytest.raises(ConfigurationError):
        Limit(**{**right, **wrong})


def test_two_limits_of_one_id_are_refused() -> None:
    limit = Limit(id="l", scope="all", what="requests", amount=1)
    with pytest.raises(ConfigurationError):
        FixedLimits([limit, limit])
