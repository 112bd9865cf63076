"""Whatever the order of lease, spend, settle, hand-back and crash, no window exceeds the limit."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from aiex.llm.limits import Limit
from aiex.llm.limits.accounts import Slots, Turn, WindowAccount
from aiex.llm.limits.ledger import ClockBehindError, Ledger, counted
from aiex.llm.limits.times import StoreTime, grid_of

WINDOW = 1.0
AMOUNT = 40
PROCESSES = 3
LIMIT = Limit(id="l", scope="all", what="tokens", amount=AMOUNT, window=WINDOW)
SECOND = 1_000_000


class Shared:
    """A record that is changed by compare-and-set."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.revision = 0

    def write(self, ledger: Ledger, expect: int) -> bool:
        if self.revision != expect:
            return False
        self.ledger, self.revision = ledger, self.revision + 1
        return True


class Process:
    """An account with a view of the store's time of its own."""

    def __init__(self, name: str, off: float, now: float, skew: float) -> None:
        self.off = off
        self.time = StoreTime()
        self.learn(now, now)
        self.account = WindowAccount(
            LIMIT, "all", grid_of(LIMIT, skew=skew), holder=name, time=self.time, now=now
        )
        self.open: list[tuple[int, int, int]] = []  # place in the log, label, amount
        self.turn: tuple[Turn, int] | None = None

    def learn(self, before: float, after: float) -> None:
        middle = (before + after) / 2
        self.time.told(before, round((1000.0 + middle + self.off) * SECOND), after)


class House:
    """Processes that do anything in any order, greedily: what is at hand is likely to be spent.

    Args:
        chance: Decides what happens.
        skew: By how much clocks may differ, and do.
    """

    def __init__(self, chance: random.Random, skew: float) -> None:
        self.chance = chance
        self.skew = skew
        self.now = 100.0
        self.shared = Shared()
        self.made = 0
        self.log: list[list[float]] = []
        self.first = 0
        self.has_crashed = False
        self.processes = [self.new(skew * n / (PROCESSES - 1)) for n in range(PROCESSES)]

    def new(self, off: float) -> Process:
        self.made += 1
        return Process(f"p{self.made}", off, self.now, self.skew)

    def step(self) -> None:
        process = self.chance.choice(self.processes)
        match self.chance.choices(range(8), (30, 6, 24, 14, 14, 10, 3, 0.3))[0]:
            case 0:
                self.now += self.chance.choice((0.001, 0.004, 0.02, 0.02, 0.05, 0.1, 0.3))
            case 1:
                before = self.now
                self.now += self.chance.choice((0.0, 0.001, 0.06))
                process.learn(before, self.now)
            case 2:
                self.spend(process)
            case 3:
                self.begin(process, [self.chance.randint(1, AMOUNT)], keep=True)
                self.end(process, "written")
                self.spend(process)
            case 4:
                needs = [self.chance.randint(1, 9) for _ in range(self.chance.randint(0, 3))]
                self.begin(process, needs, keep=self.chance.random() < 0.9)
            case 5:
                self.end(process, self.chance.choice(("written", "not written", "no answer")))
            case 6:
                self.settle(process, self.chance.choice((0.0, 0.5, 1.0)))
            case _:
                self.processes[self.processes.index(process)] = self.new(process.off)
                self.has_crashed = True

    def spend(self, process: Process) -> None:
        account = process.account
        need = self.chance.choice((1, 1 + account.left // 2, max(1, account.left)))
        if not account.can(need, self.now):
            return
        label = account.take(need, self.now)
        process.open.append((len(self.log), label, need))
        self.log.append([self.now, need])
        while self.now - self.log[self.first][0] >= WINDOW:
            self.first += 1
        total = sum(amount for _, amount in self.log[self.first :])
        assert total <= AMOUNT, f"{total} in the window that ends at {self.now}"

    def begin(self, process: Process, needs: Sequence[int], *, keep: bool) -> None:
        if process.turn is not None:
            return
        process.account.recall(self.shared.ledger, self.now)
        try:
            turn = process.account.begin(
                self.shared.ledger, needs, set_aside=0, keep=keep, now=self.now
            )
        except ClockBehindError:
            return
        process.turn = turn, self.shared.revision

    def end(self, process: Process, outcome: str) -> None:
        if process.turn is None:
            return
        (turn, revision), process.turn = process.turn, None
        if outcome == "not written":
            process.account.unsure = turn
        elif turn.is_needed and not self.shared.write(turn.granted.ledger, revision):
            process.account.abort(turn)
        elif outcome == "no answer":
            process.account.unsure = turn
        else:
            process.account.commit(turn, self.now)

    def settle(self, process: Process, part: float) -> None:
        if process.open:
            place, label, taken = process.open.pop(self.chance.randrange(len(process.open)))
            used = int(taken * part)
            process.account.settle(label, taken, used, self.now)
            self.log[place][1] = used

    def hand_back(self) -> None:
        """Settle everything at nothing, and give back what is held."""
        for process in self.processes:
            self.end(process, "written")
            while process.open:
                self.settle(process, 0.0)
        for _ in range(2):  # one turn may be needed to learn what became of the last
            for process in self.processes:
                process.learn(self.now, self.now)
                self.begin(process, [], keep=False)
                self.end(process, "written")


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.04, 0.13, 0.25]))
@settings(max_examples=200, deadline=None)
def test_no_window_exceeds_the_limit_and_nothing_leaks_in_any_order(seed: int, skew: float) -> None:
    house = House(random.Random(seed), skew)

    for _ in range(600):
        house.step()
    house.hand_back()

    if not house.has_crashed:
        grid = grid_of(LIMIT, skew=skew)
        ledger = house.shared.ledger
        latest = max((s.label for s in ledger.spent), default=0)
        recent = sum(a for at, a in house.log if house.now - at < 2 * WINDOW)
        assert counted(ledger, grid, latest) <= recent
        assert not any(holding.amount for holding in ledger.holders.values())
        assert all(process.account.is_done() for process in house.processes)


CAP = 5
SKEW = 0.25


class Line:
    """Processes that share a cap of calls at once."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 100.0
        self.shared = Shared()
        self.made = 0
        self.processes = [self.new(off) for off in (0.0, SKEW / 2, SKEW)]

    def new(self, off: float) -> tuple[Slots, StoreTime, float]:
        self.made += 1
        time = StoreTime()
        limit = Limit(id="c", scope="all", what="concurrency", amount=CAP)
        slots = Slots(limit, "all", holder=f"p{self.made}", time=time, skew=SKEW, now=self.now)
        return slots, time, off

    def turn(
        self, one: tuple[Slots, StoreTime, float], needs: Sequence[int], *, keep: bool = True
    ) -> None:
        slots, time, off = one
        time.told(self.now, round((1000.0 + self.now + off) * SECOND), self.now)
        turn = slots.begin(self.shared.ledger, needs, set_aside=0, keep=keep, now=self.now)
        if self.chance.random() < 0.3:  # others go on while it is being written
            self.start(one)
        if self.shared.write(turn.granted.ledger, self.shared.revision):
            slots.commit(turn, self.now)

    def start(self, one: tuple[Slots, StoreTime, float]) -> None:
        slots = one[0]
        if slots.can(1, self.now):
            slots.take(1, self.now)
            assert sum(slots.in_use for slots, _, _ in self.processes) <= CAP

    def step(self) -> None:
        one = self.chance.choice(self.processes)
        slots = one[0]
        match self.chance.choices(range(6), (20, 25, 20, 3, 10, 0.5))[0]:
            case 0:
                self.start(one)
            case 1:
                if not slots.can(1, self.now):
                    self.turn(one, [1] * self.chance.randint(1, 3))
                self.start(one)
            case 2:
                if slots.in_use:
                    slots.settle(0, 1, 0, self.now)
            case 3:
                self.turn(one, [], keep=self.chance.random() < 0.5)
            case 4:
                self.now += self.chance.choice((0.1, 3.0, 14.9))
                for other in self.processes:
                    # Who runs calls renews; who does not may be late.
                    if other[0].in_use or self.chance.random() < 0.5:
                        self.turn(other, [])
            case _:
                self.processes[self.processes.index(one)] = self.new(one[2])


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_never_more_calls_at_once_than_the_cap_in_any_order(seed: int) -> None:
    line = Line(random.Random(seed))

    for _ in range(400):
        line.step()


def test_what_was_given_back_without_an_answer_is_not_given_back_twice() -> None:
    house = House(random.Random(0), 0.0)
    process = house.processes[0]
    house.begin(process, [10, 10], keep=True)
    house.end(process, "written")
    for _ in range(2):
        process.open.append((len(house.log), process.account.take(10, house.now), 10))
        house.log.append([house.now, 10])
    house.begin(process, [], keep=True)
    house.end(process, "written")

    house.settle(process, 0.0)
    house.begin(process, [], keep=False)
    house.end(process, "no answer")
    house.begin(process, [], keep=False)
    house.end(process, "written")

    assert [spent.total for spent in house.shared.ledger.spent] == [10]
