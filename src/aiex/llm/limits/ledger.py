"""The ledger of one limit: what was spent under which label, and what processes hold of it.

A process changes it in one compare-and-set. What it holds counts as spent until it tells
otherwise, so a process that is killed takes nothing from the others but its last lease. Everything
here is a pure function of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from aiex.cluster import TableSpec
from aiex.llm.limits.times import Grid

__all__ = [
    "LIMIT_TABLES",
    "Asked",
    "ClockBehindError",
    "Granted",
    "Holding",
    "Ledger",
    "Member",
    "Spent",
    "counted",
    "free_from",
    "held_slots",
    "lease",
    "lease_slots",
    "presumed",
]

LIMIT_TABLES: Final = (TableSpec(name="limit_ledger"), TableSpec(name="limit_member"))
"""Tables of this room: a ledger a limit and subject, and the processes that lease."""

_MOST_HOLDERS = 256
_SHARE = 4  # a lease takes at most one part in this many of what is free


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """What was spent under one label.

    Attributes:
        label: The label.
        total: All of it.
        late: The part that may have been spent after the label's early part, or later.
    """

    label: int
    total: int
    late: int = 0


class Holding(msgspec.Struct, frozen=True, array_like=True):
    """What one process holds: leased and not told to be spent.

    Attributes:
        label: Label that it may be spent under; 0 for slots.
        amount: How much, or how many slots.
        turn: Number of the process's turn that wrote it.
        until: When slots end; otherwise when it was written; microseconds since 1970.
    """

    label: int
    amount: int
    turn: int
    until: int


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one limit and subject.

    Attributes:
        spent: By label, oldest first.
        holders: By process.
    """

    spent: tuple[Spent, ...] = ()
    holders: dict[str, Holding] = {}


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A process that leases, as it last said.

    Attributes:
        at: When, by the store's clock, microseconds since 1970.
        among: How many it knew of, itself included: it takes at most one part in this many once
            the store is gone.
    """

    at: int
    among: int


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tells a ledger in one turn, and wants of it.

    Attributes:
        holder: The process.
        turn: Number of its turn, rising.
        at: The store's time.
        amount: The most that all may use.
        label: Label that it wants to spend under.
        changes: What it spent or gives back, as `(total, late)` by label.
        held: What it holds by its own word.
        held_label: The label of that.
        keeps: The part of *held* that it neither spent nor gives back.
        needs: What calls wait for, first come first.
        wish: What it expects to spend soon.
        set_aside: What others may be spending without telling.
    """

    holder: str
    turn: int
    at: int
    amount: int
    label: int
    changes: Mapping[int, tuple[int, int]]
    held: int = 0
    held_label: int = 0
    keeps: int = 0
    needs: Sequence[int] = ()
    wish: int = 0
    set_aside: int = 0


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a turn.

    Attributes:
        ledger: As it is to be written.
        held: What the process holds now.
        free: What nobody holds now; below 0 where more was used than may be.
    """

    ledger: Ledger
    held: int
    free: int


class ClockBehindError(Exception):
    """The store's time, as it was told, is behind what others were told by more than the skew."""


def counted(ledger: Ledger, grid: Grid, label: int) -> int:
    """Return what counts of *ledger* under *label*: in all labels that one window can meet.

    Labels ahead of *label* count as well: another process may have been told a later time.
    """
    first = label - grid.reach
    tail = first - 1 if grid.has_tail else None
    total = 0
    for spent in ledger.spent:
        if spent.label >= first:
            total += spent.total
        elif spent.label == tail:
            total += spent.late
    for holding in ledger.holders.values():
        if holding.label >= first or holding.label == tail:
            total += holding.amount
    return total


def lease(ledger: Ledger, grid: Grid, asked: Asked) -> Granted:
    """Return the ledger after a turn of a process under a window.

    Raises:
        ClockBehindError: *asked* names a label that is too old to be true.
    """
    label = asked.label
    latest = max(
        (of for of in _labels(ledger) if of > label),
        default=label,
    )
    if latest - label > grid.slack:
        if latest - label <= grid.reach + grid.slack:
            raise ClockBehindError
        ledger = _brought_back(ledger, label)
    changes, keeps = asked.changes, asked.keeps
    if asked.held and asked.holder not in ledger.holders:
        changes, keeps = _without_lease(asked), 0
    if asked.held_label != label:
        keeps = 0
    oldest = label - grid.reach - 1 - grid.slack
    spent = _changed(ledger.spent, changes, oldest)
    holders = {
        name: holding
        for name, holding in ledger.holders.items()
        if name != asked.holder and holding.label >= oldest
    }
    told = Ledger(spent=spent, holders=holders)
    free = asked.amount - asked.set_aside - counted(told, grid, label) - keeps
    more = _more(free, keeps, asked.needs, asked.wish)
    if keeps + more or changes:  # even of nothing: it shows that the turn was written
        holders[asked.holder] = Holding(label, keeps + more, asked.turn, asked.at)
    return Granted(ledger=_folded(told), held=keeps + more, free=free - more)


def _more(free: int, keeps: int, needs: Sequence[int], wish: int) -> int:
    """Return how much to lease of what is *free*: for who waits, and a share of it for later."""
    has = keeps + max(free, 0)
    wanted = 0
    for need in needs:
        if wanted + need <= has:
            wanted += need
    share = min(wish - keeps, free // _SHARE)
    return max(0, min(free, max(wanted - keeps, share)))


def _brought_back(ledger: Ledger, label: int) -> Ledger:
    """Return *ledger* after the store's clock went back by more than a window.

    What it holds was spent before now, so it may count as spent now, which is for longer.
    """
    ahead = [s for s in ledger.spent if s.label > label]
    held = sum(h.amount for h in ledger.holders.values())
    total = sum(s.total for s in ahead) + held
    rest = tuple(s for s in ledger.spent if s.label <= label)
    return Ledger(spent=_changed(rest, {label: (total, total)}, label - 2**62))


def _without_lease(asked: Asked) -> dict[int, tuple[int, int]]:
    """Return the changes of a process whose lease was counted as spent behind its back."""
    changes = dict(asked.changes)
    total, late = changes.get(asked.held_label, (0, 0))
    if total > 0:
        changes[asked.held_label] = (max(0, total - asked.held), max(0, late - asked.held))
    return changes


def _changed(
    spent: Sequence[Spent], changes: Mapping[int, tuple[int, int]], oldest: int
) -> tuple[Spent, ...]:
    found = {s.label: (s.total, s.late) for s in spent if s.label >= oldest}
    for label, (total, late) in changes.items():
        if label >= oldest:
            before = found.get(label, (0, 0))
            after = max(0, before[0] + total)
            found[label] = (after, min(after, max(0, before[1] + late)))
    return tuple(Spent(label, *found[label]) for label in sorted(found) if found[label][0])


def _folded(ledger: Ledger) -> Ledger:
    """Return *ledger* with few holders: what those hold who were not heard of is spent."""
    if len(ledger.holders) <= _MOST_HOLDERS:
        return ledger
    by_age = sorted(ledger.holders.items(), key=lambda item: item[1].until)
    old, young = by_age[:-_MOST_HOLDERS], by_age[-_MOST_HOLDERS:]
    changes: dict[int, tuple[int, int]] = {}
    for _, holding in old:
        total, late = changes.get(holding.label, (0, 0))
        changes[holding.label] = (total + holding.amount, late + holding.amount)
    oldest = min((s.label for s in ledger.spent), default=0)
    return Ledger(
        spent=_changed(ledger.spent, changes, min([oldest, *changes])), holders=dict(young)
    )


def free_from(ledger: Ledger, grid: Grid, amount: int, need: int, label: int) -> int | None:
    """Return the first label after *label* under which *need* is free if nothing more is spent.

    `None` if it never is, because it is more than *amount*.
    """
    if need > amount:
        return None
    ends = {label + 1}
    for of in _labels(ledger):
        ends |= {of + grid.reach + 1, of + grid.reach + 2}
    for end in sorted(end for end in ends if end > label):
        if counted(ledger, grid, end) + need <= amount:
            return end
    return None


def _labels(ledger: Ledger) -> set[int]:
    return {s.label for s in ledger.spent} | {h.label for h in ledger.holders.values()}


def held_slots(ledger: Ledger, at: int) -> int:
    """Return how many calls at once are leased at a time of the store."""
    return sum(h.amount for h in ledger.holders.values() if h.until > at)


def lease_slots(ledger: Ledger, asked: Asked, *, until: int) -> Granted:
    """Return the ledger after a turn of a process under a cap of calls at once.

    Args:
        ledger: As it was read.
        asked: What the process keeps, needs and wishes.
        until: When the slots end unless they are renewed.
    """
    holders = {
        name: holding
        for name, holding in ledger.holders.items()
        if name != asked.holder and holding.until > asked.at
    }
    told = Ledger(holders=holders)
    free = asked.amount - asked.set_aside - held_slots(told, asked.at) - asked.keeps
    more = _more(free, 0, asked.needs, asked.wish)
    if asked.keeps + more:
        holders[asked.holder] = Holding(0, asked.keeps + more, asked.turn, until)
    return Granted(ledger=told, held=asked.keeps + more, free=free - more)


def presumed(members: Mapping[str, Member], holder: str, amount: int, *, silent_since: int) -> int:
    """Return what processes may be spending that were not heard of, as if the store were gone.

    Args:
        members: All processes that lease.
        holder: Who asks.
        amount: The limit's.
        silent_since: Who was heard of after this time is not silent.
    """
    return sum(
        amount // member.among
        for name, member in members.items()
        if name != holder and member.at <= silent_since
    )
