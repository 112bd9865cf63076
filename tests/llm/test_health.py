"""Breakers: what opens them, for how long, what closes them, and what is told of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aiex.core import (
    AiexError,
    AuthenticationError,
    BreakerChanged,
    BudgetError,
    ContextOverflowError,
    IncompleteStreamError,
    InvalidCallError,
    ModelNotFoundError,
    OverloadedError,
    PublishedBody,
    RateLimitError,
)
from aiex.llm import Endpoint
from aiex.llm.health import Health

ONE = Endpoint(provider="a", model="x", is_loopback=True)
SAME_KEY = Endpoint(provider="a", model="y", is_loopback=True)
OTHER = Endpoint(provider="b", model="x")
BUSY = OverloadedError("busy", status=529)


class Watched:
    """A health with what it told."""

    def __init__(self) -> None:
        self.told: list[BreakerChanged] = []
        self.health = Health(announce=self._announce)

    def _announce(self, body: PublishedBody) -> None:
        assert isinstance(body, BreakerChanged)
        self.told.append(body)

    def call(
        self, endpoint: Endpoint, error: AiexError | None, *, now: float, first: float | None = 0.1
    ) -> None:
        place = self.health.place(endpoint)
        self.health.begin(place)
        if error is None:
            self.health.succeeded(endpoint, place, now=now, first_token=first)
        else:
            self.health.failed(endpoint, place, error, now=now)

    def allowed(self, now: float) -> list[bool]:
        return [self.health.allows(e, now=now) for e in (ONE, SAME_KEY, OTHER)]

    @property
    def states(self) -> list[tuple[str, str | None, str]]:
        return [(c.state, c.model, c.reason) for c in self.told]


def test_too_many_requests_stop_one_model_for_as_long_as_was_asked() -> None:
    watched = Watched()
    watched.call(ONE, RateLimitError("slow down", retry_after=7), now=0)
    assert watched.allowed(6.9) == [False, True, True]
    assert watched.health.cooling(ONE, now=5) == 2
    assert watched.allowed(7) == [True, True, True]
    assert watched.health.due(now=8, idle=1e9) == []
    watched.call(ONE, None, now=8)
    assert watched.states == [("opened", "x", "rate_limit"), ("closed", "x", "")]
    assert watched.told[0].seconds == 7


def test_a_wrong_key_stops_its_provider_until_a_probe_says_otherwise() -> None:
    watched = Watched()
    watched.call(ONE, AuthenticationError("no", status=401), now=0)
    assert watched.allowed(1) == [False, False, True]
    assert watched.health.due(now=29, idle=1e9) == []
    assert watched.health.due(now=30, idle=1e9) == ["a"]
    assert watched.allowed(10_000) == [False, False, True]
    watched.health.probed("a", AuthenticationError("no", status=401), now=31)
    assert watched.health.due(now=90, idle=1e9) == []
    assert watched.health.due(now=91, idle=1e9) == ["a"]
    watched.health.probed("a", None, now=92)
    assert watched.allowed(92) == [True, True, True]
    assert [c.state for c in watched.told] == ["opened", "half_opened", "half_opened", "closed"]


def test_a_key_that_was_changed_is_tried_at_once() -> None:
    watched = Watched()
    watched.call(ONE, AuthenticationError("no", status=401), now=0)
    watched.health.forget("a")
    assert watched.allowed(0) == [True, True, True]


@pytest.mark.parametrize(
    "error", [AuthenticationError("no", status=403), ModelNotFoundError("no", status=404)]
)
def test_what_is_wrong_with_one_model_stops_it_alone(error: AiexError) -> None:
    watched = Watched()
    watched.call(ONE, error, now=0)
    assert watched.allowed(59) == [False, True, True]
    assert watched.allowed(60) == [True, True, True]
    watched.call(ONE, error, now=60)
    assert watched.allowed(179) == [False, True, True]
    assert watched.allowed(180) == [True, True, True]


def test_a_quota_that_is_used_up_stops_the_key_for_longer_each_time() -> None:
    watched = Watched()
    for start, seconds in ((0, 60), (100, 120), (300, 240), (1000, 300)):
        watched.call(SAME_KEY, BudgetError("no credit"), now=start)
        assert watched.allowed(start + seconds - 1) == [False, False, True]
        assert watched.allowed(start + seconds) == [True, True, True]


@pytest.mark.parametrize(
    "error", [BUSY, OverloadedError("reset"), IncompleteStreamError("cut")], ids=str
)
def test_failures_in_a_row_stop_the_provider(error: AiexError) -> None:
    watched = Watched()
    for n in range(4):
        watched.call(ONE, error, now=n)
    assert watched.allowed(4) == [True, True, True]
    watched.call(SAME_KEY, error, now=4)
    assert watched.allowed(5) == [False, False, True]
    assert watched.states == [("opened", None, error.code)]


def test_a_success_between_breaks_the_row() -> None:
    watched = Watched()
    for n in range(9):
        watched.call(ONE, None if n % 5 == 4 else BUSY, now=100 * n)
    assert watched.allowed(900) == [True, True, True]


def test_half_of_the_latest_calls_failing_stops_the_provider_too() -> None:
    watched = Watched()
    for n in range(9):
        watched.call(ONE, BUSY if n % 2 else None, now=n)
    assert watched.allowed(9) == [True, True, True]
    watched.call(ONE, BUSY, now=9)
    assert watched.allowed(9) == [False, False, True]


def test_calls_under_way_when_it_opened_do_not_make_it_longer() -> None:
    watched = Watched()
    for _ in range(40):
        watched.call(ONE, BUSY, now=0)
    assert watched.health.due(now=5, idle=1e9) == ["a"]
    for n in range(5):
        watched.call(OTHER, BudgetError("no credit"), now=1 + n)
    assert watched.health.allows(OTHER, now=61)
    assert [c.state for c in watched.told] == ["opened", "half_opened", "opened"]


def test_stops_grow_while_probes_fail_and_begin_anew_after_a_call_that_went_well() -> None:
    watched = Watched()
    for _ in range(5):
        watched.call(ONE, BUSY, now=0)
    now, waits = 0.0, []
    for _ in range(8):
        standing = watched.health.standing(ONE.provider, ONE.model, now=now)
        assert standing.stop is not None
        waits.append(standing.stop.until - now)
        now = standing.stop.until
        assert watched.health.due(now=now, idle=1e9) == ["a"]
        assert watched.health.due(now=now, idle=1e9) == [], "one probe at a time"
        watched.health.probed("a", BUSY, now=now)
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    now += 300
    watched.health.due(now=now, idle=1e9)
    watched.health.probed("a", None, now=now)
    watched.call(ONE, None, now=now)
    for _ in range(5):
        watched.call(ONE, BUSY, now=now)
    standing = watched.health.standing(ONE.provider, ONE.model, now=now)
    assert standing.stop is not None
    assert (standing.state, standing.stop.until - now) == ("open", 5)


def test_one_that_answers_probes_and_fails_calls_is_left_alone_for_longer_each_time() -> None:
    watched, now, waits = Watched(), 0.0, []
    for _ in range(4):
        for _ in range(5):
            watched.call(ONE, BUSY, now=now)
        standing = watched.health.standing(ONE.provider, ONE.model, now=now)
        assert standing.stop is not None
        waits.append(standing.stop.until - now)
        now = standing.stop.until
        watched.health.due(now=now, idle=1e9)
        watched.health.probed("a", None, now=now)
    assert waits == [5, 10, 20, 40]


@pytest.mark.parametrize("error", [InvalidCallError("no"), ContextOverflowError("too long")])
def test_a_call_that_was_wrong_says_nothing_of_who_was_asked(error: AiexError) -> None:
    watched = Watched()
    for n in range(30):
        watched.call(ONE, error, now=n)
    assert watched.allowed(30) == [True, True, True]
    assert watched.told == []


def test_who_is_idle_and_on_this_machine_is_probed() -> None:
    watched = Watched()
    watched.call(ONE, None, now=0)
    watched.call(OTHER, None, now=0)
    assert watched.health.due(now=14, idle=15) == []
    assert watched.health.due(now=15, idle=15) == ["a"]
    watched.health.probed("a", OverloadedError("gone"), now=15)
    assert watched.allowed(15) == [False, False, True]
    assert watched.states == [("opened", None, "overloaded")]


def test_a_slow_first_token_counts_at_once_and_fades() -> None:
    watched = Watched()
    watched.call(ONE, None, now=0, first=0.1)
    watched.call(ONE, None, now=1, first=2.0)
    place = watched.health.place(ONE)
    assert place.first_token == 2.0
    watched.call(ONE, None, now=2, first=0.1)
    assert place.first_token is not None
    assert 1.7 < place.first_token < 2.0
    watched.call(ONE, None, now=100, first=0.1)
    assert place.first_token == pytest.approx(0.1, abs=0.01)


def test_what_clients_name_does_not_fill_the_memory() -> None:
    health = Health()
    for n in range(10_000):
        health.place(Endpoint(provider="a", model=f"made up {n}"))
    assert len(list(health.places())) <= 4096


ERRORS = st.sampled_from(
    [
        None,
        BUSY,
        RateLimitError("slow", retry_after=3),
        RateLimitError("slow"),
        AuthenticationError("no", status=401),
        AuthenticationError("no", status=403),
        BudgetError("used up"),
        ModelNotFoundError("no"),
        InvalidCallError("no"),
    ]
)


class Machine(RuleBasedStateMachine):
    """Any order of calls, probes and time."""

    @initialize()
    def begin(self) -> None:
        self.watched = Watched()
        self.now = 0.0
        self.under_way: list[tuple[Endpoint, object]] = []
        self.probing: set[str] = set()

    @rule(endpoint=st.sampled_from([ONE, SAME_KEY, OTHER]))
    def starts(self, endpoint: Endpoint) -> None:
        place = self.watched.health.place(endpoint)
        self.watched.health.begin(place)
        self.under_way.append((endpoint, place))

    @precondition(lambda self: self.under_way)
    @rule(error=ERRORS, data=st.data())
    def ends(self, error: AiexError | None, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.under_way) - 1))
        endpoint, _ = self.under_way.pop(at)
        health, place = self.watched.health, self.watched.health.place(endpoint)
        if error is None:
            health.succeeded(endpoint, place, now=self.now, first_token=0.2)
            assert health.allows(endpoint, now=self.now)
        else:
            health.failed(endpoint, place, error, now=self.now)

    @precondition(lambda self: self.under_way)
    @rule()
    def is_left(self) -> None:
        endpoint, _ = self.under_way.pop()
        self.watched.health.left(self.watched.health.place(endpoint))

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def looks(self) -> None:
        due = self.watched.health.due(now=self.now, idle=15)
        self.probing |= set(due)

    @precondition(lambda self: self.probing)
    @rule(error=st.sampled_from([None, BUSY, AuthenticationError("no", status=401)]))
    def probes(self, error: AiexError | None) -> None:
        name = self.probing.pop()
        self.watched.health.probed(name, error, now=self.now)

    @invariant()
    def loads_are_what_is_under_way(self) -> None:
        for endpoint in (ONE, SAME_KEY, OTHER):
            mine = sum(one is endpoint for one, _ in self.under_way)
            assert self.watched.health.place(endpoint).in_flight == mine

    @invariant()
    def no_stop_is_for_ever(self) -> None:
        for endpoint in (ONE, SAME_KEY, OTHER):
            standing = self.watched.health.standing(endpoint.provider, endpoint.model, now=self.now)
            allowed = self.watched.health.allows(endpoint, now=self.now)
            assert allowed == (standing.state == "closed")
            if standing.stop is not None:
                assert standing.stop.until <= self.now + 3600

    @invariant()
    def what_is_told_begins_with_opened_and_changes(self) -> None:
        states: dict[tuple[str, str | None], str] = {}
        for change in self.watched.told:
            key = change.provider, change.model
            before = states.get(key, "closed")
            if change.state == "half_opened":
                assert before in {"opened", "half_opened"}
            if change.state == "closed":
                assert before != "closed"
            states[key] = change.state


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=60))
def test_nothing_is_stopped_before_five_failures(calls: list[tuple[float, bool]]) -> None:
    watched, now, failed = Watched(), 0.0, 0
    for seconds, is_ok in calls:
        now += seconds
        failed += not is_ok
        watched.call(ONE, None if is_ok else BUSY, now=now)
        assert watched.health.allows(ONE, now=now) or failed >= 5
