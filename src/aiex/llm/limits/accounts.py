"""What this process holds of a limit, and what it has not told the ledger yet.

Times are of the monotonic clock, float seconds, unless they are called *at*: those are the
store's, microseconds. Nothing here waits or reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import anyio

from aiex.llm.limits.ledger import (
    Asked,
    Granted,
    Ledger,
    free_from,
    lease,
    lease_slots,
)
from aiex.llm.limits.times import Grid, StoreTime
from aiex.llm.limits.values import Limit

__all__ = ["SLOTS_NAME", "Account", "Batch", "Slots", "Turn", "WindowAccount"]

SLOTS_NAME: Final = "slots"
"""What stands for the window in the key of a cap of calls at once."""

SLOTS_LAST: Final = 15.0
"""Seconds for which calls at once are leased: a killed process keeps them no longer."""

_AHEAD = 5.0  # seconds of use that a lease is meant to last
_IDLE = 10.0  # seconds without use after which a lease is given back
_SMALL_PART = 100  # of a budget is the most that is leased ahead: it is lost with the process
_TELL_EVERY = 1.0
_RATE_OVER = 0.1
_RECHECK = 1.0  # seconds for which a refusal of a budget is believed
_RECHECK_SLOTS = 0.25
_MOST_LABELS = 256
_DAYS: Final = {"day": 3.0, "week": 16.0, "month": 70.0}


class Batch:
    """Calls that wait for one turn of a ledger.

    Attributes:
        needs: What they need, first come first.
        done: Set once the turn has ended.
        is_lost: Whether the store could not be had.
    """

    __slots__ = ("done", "is_lost", "needs")

    def __init__(self) -> None:
        self.needs: list[int] = []
        self.done = anyio.Event()
        self.is_lost = False


class Turn:
    """One change of a ledger while it is being written.

    Attributes:
        number: Number of the turn.
        label: Label that it leases under.
        told: Changes that it tells, `(total, late)` by label.
        keeps: What the process keeps of its lease.
        granted: What comes of it.
        is_needed: Whether anything has to be written.
        until_at: When leased slots end.
    """

    __slots__ = ("granted", "is_needed", "keeps", "label", "number", "told", "until_at")

    def __init__(
        self,
        number: int,
        label: int,
        told: dict[int, tuple[int, int]],
        keeps: int,
        granted: Granted,
        *,
        is_needed: bool,
        until_at: int = 0,
    ) -> None:
        self.number = number
        self.label = label
        self.told = told
        self.keeps = keeps
        self.granted = granted
        self.is_needed = is_needed
        self.until_at = until_at


class Account:
    """What both kinds of accounts have in common.

    Args:
        limit: The limit.
        subject: Whose use it is.
        name: Name of the window, part of the key.
        holder: Name of this process.
        time: What is known of the store's time.
        now: Present time.

    Attributes:
        limit: The limit, as it is now.
        subject: Whose use it is.
        key: Key of the ledger.
        lasts: Seconds for which the ledger is kept after the last turn.
        batch: Calls that wait for the next turn.
        turn_since: When the turn began that is under way; `None` if none is.
        ledger: The ledger as it was last seen.
        unsure: A turn of which is not known whether it was written.
    """

    __slots__ = (
        *("batch", "holder", "key", "lasts", "ledger", "limit", "refused_above", "refused_until"),
        *("subject", "time", "told_time", "turn_since", "turns", "unsure", "used"),
    )

    def __init__(
        self, limit: Limit, subject: str, name: str, *, holder: str, time: StoreTime, now: float
    ) -> None:
        self.limit = limit
        self.subject = subject
        self.key = (limit.id, name, subject)
        self.lasts = 60.0
        self.holder = holder
        self.time = time
        self.batch: Batch | None = None
        self.turn_since: float | None = None
        self.turns = 0
        self.ledger = Ledger()
        self.unsure: Turn | None = None
        self.refused_above = 0
        self.refused_until = -math.inf
        self.told_time = now
        self.used = now

    def limited(self, limit: Limit) -> None:
        """Take the limit as it is now."""
        if limit != self.limit:
            self.limit = limit
            self.refused_until = -math.inf

    def can(self, need: int, now: float) -> bool:
        """Return whether *need* is at hand."""
        raise NotImplementedError

    def take(self, need: int, now: float) -> int:
        """Take *need*, which is at hand; return the label that it is spent under."""
        raise NotImplementedError

    def settle(self, label: int, taken: int, used: int, now: float) -> None:
        """Replace what was taken by what was used."""
        raise NotImplementedError

    def is_refused(self, need: int, now: float) -> bool:
        """Return whether it is known that *need* cannot be had for now."""
        raise NotImplementedError

    def wait_for(self, need: int, now: float) -> float | None:
        """Return the seconds until *need* may be had; `None` if never."""
        raise NotImplementedError

    def share(self, among: int, contact_at: int, silent: float, now: float) -> int:
        """Return what may be taken although the store is gone.

        Args:
            among: How many processes there are.
            contact_at: When the store last answered.
            silent: Seconds after which the others know that this process may be without it.
            now: Present time.
        """
        raise NotImplementedError

    def take_share(self, need: int, now: float) -> int:
        """Take *need* of the share; return the label that it is spent under."""
        raise NotImplementedError

    def is_due(self, now: float) -> bool:
        """Return whether the ledger should be told something without being asked."""
        raise NotImplementedError

    def is_done(self) -> bool:
        """Return whether the ledger knows all and the process holds nothing."""
        raise NotImplementedError

    def begin(
        self, ledger: Ledger, needs: Sequence[int], *, set_aside: int, keep: bool, now: float
    ) -> Turn:
        """Return the next turn.

        Args:
            ledger: The ledger as it was just read.
            needs: What calls wait for.
            set_aside: What others may be spending without telling.
            keep: Whether anything is kept or wished that no call waits for.
            now: Present time.

        Raises:
            ClockBehindError: The store's time is not what others were told.
        """
        raise NotImplementedError

    def commit(self, turn: Turn, now: float) -> None:
        """Note that *turn* was written."""
        raise NotImplementedError

    def abort(self, turn: Turn) -> None:
        """Note that *turn* was not written."""

    def recall(self, ledger: Ledger, now: float) -> None:
        """Find out by *ledger*, just read, what came of a turn that nobody answered for."""
        turn, self.unsure = self.unsure, None
        if turn is None:
            return
        holding = ledger.holders.get(self.holder)
        if holding is not None and holding.turn == turn.number:
            self.commit(turn, now)
        else:
            self.abort(turn)

    def pending(self) -> dict[int, int]:
        """Return what is spent, by label, that the ledger does not know."""
        return {}

    def at_hand(self, now: float) -> int:
        """Return what this process may take without asking."""
        raise NotImplementedError


class WindowAccount(Account):
    """An account under a window, sliding or of the calendar.

    `left` is what may be spent under `label` until `ends`; `spent` and `late` were taken of it
    and go to `changes` with the next turn. By the ledger this process holds `told_held` under
    `told_label`.
    """

    __slots__ = (
        *("changes", "ends", "grid", "heard_at", "heard_left", "heard_until", "is_calendar"),
        *(
            "label",
            "late",
            "late_from",
            "left",
            "rate",
            "rated_at",
            "rated_spent",
            "refill",
            "retries",
        ),
        *("shared", "spent", "told_held", "told_label"),
    )

    def __init__(
        self,
        limit: Limit,
        subject: str,
        grid: Grid,
        *,
        holder: str,
        time: StoreTime,
        now: float,
    ) -> None:
        super().__init__(limit, subject, grid.name, holder=holder, time=time, now=now)
        self.grid = grid
        self.is_calendar = isinstance(limit.window, str)
        self.lasts = (
            _DAYS[limit.window] * 86_400
            if isinstance(limit.window, str)
            else 1.5 * limit.window + 10.0
        )
        self.label = -1
        self.left = 0
        self.ends = -math.inf
        self.late_from = math.inf
        self.spent = 0
        self.late = 0
        self.changes: dict[int, tuple[int, int]] = {}
        self.told_held = 0
        self.told_label = 0
        self.shared: dict[int, int] = {}
        self.rate = 0.0
        self.rated_at = now
        self.rated_spent = 0
        self.retries: dict[int, float | None] = {}
        self.heard_at = now
        self.heard_left = 0.0
        self.heard_until = -math.inf
        self.refill = 0.0

    def can(self, need: int, now: float) -> bool:
        """Return whether *need* is at hand."""
        if need > self.left or now >= self.ends:
            return False
        return now >= self.heard_until or need <= self._heard(now)

    def take(self, need: int, now: float) -> int:
        """Take *need*, which is at hand; return the label that it is spent under."""
        self.left -= need
        self.spent += need
        if now >= self.late_from:
            self.late += need
        if now < self.heard_until:
            self.heard_left -= need
        self.used = now
        return self.label

    def settle(self, label: int, taken: int, used: int, now: float) -> None:
        """Replace what was taken by what was used."""
        more = used - taken
        if not more:
            return
        if label == self.label:
            self.spent += more
            # What is given back can be taken again; what was billed beyond goes off the lease.
            self.left -= min(more, self.left)
        else:
            self._change(label if label >= 0 else self._present(now), more, 0)

    def is_refused(self, need: int, now: float) -> bool:
        """Return whether it is known that *need* cannot be had for now."""
        if need > self.limit.amount:
            return True
        if now < self.refused_until and need > self.at_hand(now) + self.refused_above:
            return True
        return now < self.heard_until and need > self._heard(now)

    def wait_for(self, need: int, now: float) -> float | None:
        """Return the seconds until *need* may be had; `None` if never."""
        if need > self.limit.amount:
            return None
        if now < self.heard_until and need > (left := self._heard(now)):
            wait = (need - left) / self.refill if self.refill else math.inf
            return min(self.heard_until - now, wait)
        size = need.bit_length()
        if size not in self.retries:
            label = free_from(self.ledger, self.grid, self.limit.amount, need, self._present(now))
            self.retries[size] = (
                None if label is None else self.time.until_surely(self.grid.start(label))
            )
        retry = self.retries[size]
        return 0.001 if retry is None else max(0.001, retry - now)

    def hear(
        self, remaining: int, limit: int | None, reset_after: float | None, now: float
    ) -> None:
        """Note what the provider says is left of its own limit.

        What it says is refilled is thought to come evenly, as both large ones do it.
        """
        after = _RECHECK if reset_after is None else reset_after
        self.heard_at, self.heard_left, self.heard_until = now, float(remaining), now + after
        missing = 0 if limit is None else max(0, limit - remaining)
        self.refill = missing / after if after > 0 else 0.0

    def share(self, among: int, contact_at: int, silent: float, now: float) -> int:
        """Return what may be taken although the store is gone.

        Not before every window that begins from now on has seen nothing but shares.
        """
        label, grid = self._present(now), self.grid
        known = grid.label(contact_at + round(silent * 1_000_000)) + grid.slack + 1
        first = label - grid.reach - (1 if grid.has_tail else 0)
        if first <= known:
            return 0
        return self.limit.amount // among - sum(
            amount for of, amount in self.shared.items() if of >= first - 1
        )

    def take_share(self, need: int, now: float) -> int:
        """Take *need* of the share; return the label that it is spent under."""
        label = self._present(now)
        oldest = label - self.grid.reach - 3
        if len(self.shared) > _MOST_LABELS:
            self.shared = {k: v for k, v in self.shared.items() if k >= oldest}
            self.changes = {k: v for k, v in self.changes.items() if k >= oldest}
        self.shared[label] = self.shared.get(label, 0) + need
        self._change(label, need, need)
        self.used = now
        return label

    def is_due(self, now: float) -> bool:
        """Return whether the ledger should be told something without being asked."""
        if now >= self.ends and self.told_held:
            return True
        if now - self.used >= _IDLE:
            return not self.is_done()
        return bool(self.spent or self.changes) and now - self.told_time >= _TELL_EVERY

    def is_done(self) -> bool:
        """Return whether the ledger knows all and the process holds nothing."""
        return not (self.told_held or self.spent or self.changes or self.unsure)

    def begin(
        self, ledger: Ledger, needs: Sequence[int], *, set_aside: int, keep: bool, now: float
    ) -> Turn:
        """Return the next turn."""
        label = self._present(now)
        self._rate(now)
        self._fold()
        if self.label != label:
            self.label, self.left, self.ends = -1, 0, -math.inf
        self.turns += 1
        keep = keep and (bool(needs) or now - self.used < _IDLE)
        wish = self._wish(label, now) if keep else 0
        # What is given back may not be spent while the turn is being written.
        self.left = min(self.left, max(wish, sum(needs)))
        keeps = self.left
        changes = dict(self.changes)
        asked = Asked(
            holder=self.holder,
            turn=self.turns,
            at=self.time.lower(now),
            amount=self.limit.amount,
            label=label,
            changes=changes,
            held=self.told_held,
            held_label=self.told_label,
            keeps=keeps,
            needs=needs,
            wish=wish,
            set_aside=set_aside,
        )
        granted = lease(ledger, self.grid, asked)
        is_needed = bool(changes or self.told_held or granted.held)
        return Turn(self.turns, label, changes, keeps, granted, is_needed=is_needed)

    def commit(self, turn: Turn, now: float) -> None:
        """Note that *turn* was written."""
        for label, (total, late) in turn.told.items():
            self._change(label, -total, -late)
        granted, label = turn.granted, turn.label
        self.told_held, self.told_label = granted.held, label if granted.held else 0
        if self.label == label:
            self.left += granted.held - turn.keeps
        else:
            self.label, self.left = label, granted.held
        grid, time = self.grid, self.time
        next_begins = time.until_surely(grid.start(label + 1))
        self.ends = min(next_begins, time.until_possibly(grid.dead_from(label)))
        self.late_from = time.until_possibly(grid.late_from(label))
        self.refused_above = max(0, granted.free)
        self.refused_until = min(next_begins, now + _RECHECK) if self.is_calendar else next_begins
        self.ledger = granted.ledger
        self.retries = {}
        self.told_time = now

    def pending(self) -> dict[int, int]:
        """Return what is spent, by label, that the ledger does not know."""
        self._fold()
        return {label: total for label, (total, _) in self.changes.items()}

    def at_hand(self, now: float) -> int:
        """Return what this process may take without asking."""
        return self.left if now < self.ends else 0

    def _present(self, now: float) -> int:
        return self.grid.label(self.time.lower(now))

    def _heard(self, now: float) -> float:
        return self.heard_left + self.refill * (now - self.heard_at)

    def _change(self, label: int, total: int, late: int) -> None:
        before = self.changes.get(label, (0, 0))
        after = (before[0] + total, before[1] + late)
        if after == (0, 0):
            self.changes.pop(label, None)
        else:
            self.changes[label] = after

    def _fold(self) -> None:
        if self.spent or self.late:
            self._change(self.label, self.spent, self.late)
            self.spent = self.late = 0

    def _rate(self, now: float) -> None:
        """Learn how much is spent a second, from what was since it was last learned."""
        self.rated_spent += max(0, self.spent)
        passed = now - self.rated_at
        if passed >= _RATE_OVER:
            self.rate = (self.rate + self.rated_spent / passed) / 2
            self.rated_at, self.rated_spent = now, 0

    def _wish(self, label: int, now: float) -> int:
        rest = self.time.until_surely(self.grid.start(label + 1)) - now
        expected = self.rate * max(0.0, min(rest, _AHEAD))
        wish = math.ceil(expected + 2 * math.sqrt(expected))  # calls come unevenly
        return min(wish, self.limit.amount // _SMALL_PART) if self.is_calendar else wish


class Slots(Account):
    """An account under a cap of calls at once.

    Args:
        limit: The limit.
        subject: Whose use it is.
        holder: Name of this process.
        time: What is known of the store's time.
        skew: By how much two clocks of the store may differ, seconds.
        now: Present time.
    """

    __slots__ = ("ends", "held", "in_use", "peak", "peak_at", "skew", "told_held")

    def __init__(
        self,
        limit: Limit,
        subject: str,
        *,
        holder: str,
        time: StoreTime,
        skew: float,
        now: float,
    ) -> None:
        super().__init__(limit, subject, SLOTS_NAME, holder=holder, time=time, now=now)
        self.skew = round(skew * 1_000_000)
        self.in_use = 0
        self.peak = 0
        self.peak_at = now
        self.held = 0
        self.told_held = 0
        self.ends = -math.inf

    def can(self, need: int, now: float) -> bool:
        """Return whether *need* is at hand."""
        return self.in_use + need <= self.held and now < self.ends

    def take(self, need: int, now: float) -> int:
        """Take *need*, which is at hand; return the label 0."""
        self.in_use += need
        self.used = now
        if self.in_use > self.peak or now - self.peak_at > _IDLE:
            self.peak, self.peak_at = self.in_use, now
        return 0

    def settle(self, label: int, taken: int, used: int, now: float) -> None:
        """Give back what was taken."""
        del label, used
        self.in_use -= taken
        self.used = now

    def is_refused(self, need: int, now: float) -> bool:
        """Return whether it is known that *need* cannot be had for now."""
        if need > self.limit.amount:
            return True
        return now < self.refused_until and need > self.at_hand(now) + self.refused_above

    def wait_for(self, need: int, now: float) -> float | None:
        """Return a second, since nobody knows when a call ends; `None` if never."""
        return None if need > self.limit.amount else 1.0

    def share(self, among: int, contact_at: int, silent: float, now: float) -> int:
        """Return what may be taken although the store is gone: once all leases have ended."""
        over = contact_at + round((silent + 2 * SLOTS_LAST) * 1_000_000) + self.skew
        return self.limit.amount // among - self.in_use if self.time.lower(now) > over else 0

    def take_share(self, need: int, now: float) -> int:
        """Take *need* of the share; return the label 0."""
        return self.take(need, now)

    def is_due(self, now: float) -> bool:
        """Return whether the ledger should be told something without being asked."""
        if not self.in_use:
            return self.told_held > 0 and now - self.used >= 1.0
        is_ending = self.ends - now < SLOTS_LAST * 2 / 3
        return is_ending or self.held > 2 * (self.in_use + self._wish())

    def is_done(self) -> bool:
        """Return whether the ledger knows all and the process holds nothing."""
        return not (self.in_use or self.told_held or self.unsure)

    def begin(
        self, ledger: Ledger, needs: Sequence[int], *, set_aside: int, keep: bool, now: float
    ) -> Turn:
        """Return the next turn; until it is written no more calls are let in than it keeps."""
        self.turns += 1
        # While calls wait, those that come may still have what is idle.
        keeps = self.held if needs and now < self.ends else self.in_use
        self.held = keeps
        at = self.time.lower(now)
        asked = Asked(
            holder=self.holder,
            turn=self.turns,
            at=at,
            amount=self.limit.amount,
            label=0,
            changes={},
            keeps=keeps,
            needs=needs,
            wish=self._wish() if keep and now - self.used < 1.0 else 0,
            set_aside=set_aside,
        )
        until = at + round(SLOTS_LAST * 1_000_000)
        granted = lease_slots(ledger, asked, until=until)
        is_needed = bool(granted.held or self.holder in ledger.holders)
        return Turn(self.turns, 0, {}, keeps, granted, is_needed=is_needed, until_at=until)

    def commit(self, turn: Turn, now: float) -> None:
        """Note that *turn* was written."""
        self.held = self.told_held = turn.granted.held
        self.ends = self.time.until_possibly(turn.until_at - self.skew)
        self.refused_above = max(0, turn.granted.free)
        self.refused_until = now + _RECHECK_SLOTS
        self.ledger = turn.granted.ledger
        self.told_time = now

    def at_hand(self, now: float) -> int:
        """Return what this process may take without asking."""
        return self.held - self.in_use if now < self.ends else 0

    def _wish(self) -> int:
        """Return how many more calls than now may soon run, by how many there were of late."""
        return max(0, self.peak - self.in_use) + self.peak // 4 + 1
