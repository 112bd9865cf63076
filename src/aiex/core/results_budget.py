"""What `budget` answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.types import When

__all__ = ["BudgetPeriod", "BudgetResult", "BudgetView", "SpentTotal"]

BudgetPeriod = Literal["day", "week", "month"]
"""A period of the calendar in UTC; weeks begin on Monday."""


class BudgetView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a budget stands; amounts in micro-dollars.

    Attributes:
        scope: Whose it is, as it was set.
        subject: Whose spending this is: the scope, with the name that `*` stands for; the scope
            itself where nobody has spent anything of it.
        per: Length of its period.
        amount: What may be spent in a period; 0 for nothing, and for a budget that was removed.
        spent: What was spent in this period, calls that run and are reserved for included.
        leased: What processes hold ready to spend.
        left: What may still be spent; at least 0.
        resets_at: Aware UTC time at which the period ends.
        set_at: Aware UTC time at which it was set.
        set_by: Who set it.
    """

    scope: str
    subject: str
    per: BudgetPeriod
    amount: int
    spent: int
    leased: int
    left: int
    resets_at: When
    set_at: When
    set_by: str


class SpentTotal(msgspec.Struct, frozen=True, kw_only=True):
    """What some calls of models came to.

    Attributes:
        key: What they have in common: a provider, a model, a user, a team, a key's identifier or
            a day in UTC; empty for calls without a team or key.
        calls: How many.
        failed: How many of them did not end well.
        input_tokens: Tokens of their prompts, as billed.
        output_tokens: Tokens of their replies, as billed.
        cached_input_tokens: Part of the input that was read from a provider's cache.
        cost: Known cost, micro-dollars.
        unpriced: Calls whose cost is not known: what they cost comes on top.
        estimated: Calls whose tokens are our own count.
    """

    key: str
    calls: int
    failed: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cost: int
    unpriced: int
    estimated: int


class BudgetResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for.

    Attributes:
        action: What was asked.
        budgets: The budgets that it is about.
        removed: Whether `set` removed the budget.
        would: Whether it was a dry run, and nothing was set or removed.
        by: What `report` sums by.
        since: Aware UTC time that `report` begins at.
        until: Aware UTC time that `report` ends before.
        totals: The sums of `report`, dearest first; days in their order.
        sum: All of them together.
    """

    action: Literal["show", "set", "report"]
    budgets: tuple[BudgetView, ...] = ()
    removed: bool = False
    would: bool = False
    by: str | None = None
    since: When | None = None
    until: When | None = None
    totals: tuple[SpentTotal, ...] = ()
    sum: SpentTotal | None = None
