"""The table `budget`: how much money may be spent, by whom and in which period."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from aiex.cluster import DELETE, Record, Store, Write
from aiex.context.store import BUDGET
from aiex.core import BudgetPeriod, NotFoundError, UsageError

__all__ = ["Budget", "Budgets", "budget_of"]

_TABLE = BUDGET.name
_PAGE: Final = 500
_MOST: Final = 1000


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A budget as it is stored.

    Attributes:
        scope: Whose it is; see `core.SCOPES`.
        per: Length of its period.
        amount: Micro-dollars a period.
        set_at: Aware UTC time.
        set_by: Who set it.
        schema: Version of this record.
    """

    scope: str
    per: BudgetPeriod
    amount: int
    set_at: datetime
    set_by: str
    schema: int = 1

    @property
    def id(self) -> str:
        """Name that its spending is counted under; it outlives changes of the amount."""
        return f"budget/{self.per}/{self.scope}"

    def ends(self, now: datetime) -> datetime:
        """Return when the period ends that *now* is in.

        Args:
            now: Aware time.
        """
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        if self.per == "day":
            return day + timedelta(days=1)
        if self.per == "week":
            return day + timedelta(days=7 - day.weekday())
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


_BUDGET = msgspec.json.Decoder(Budget)


def budget_of(record: Record) -> Budget:
    """Return the budget that *record* holds."""
    return _BUDGET.decode(record.value)


class Budgets:
    """The stored budgets: one at most for a scope and a period.

    Args:
        store: With `TABLES`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self) -> Sequence[Budget]:
        """Return all of them, by scope and period."""
        found: list[Budget] = []
        after: Record | None = None
        while True:
            page = await self._store.scan(
                _TABLE, after=None if after is None else after.key, limit=_PAGE
            )
            found += [budget_of(record) for record in page]
            if len(page) < _PAGE:
                return found
            after = page[-1]

    async def set(self, budget: Budget) -> None:
        """Set *budget*; it takes the place of that of the same scope and period.

        Raises:
            UsageError: There are too many.
        """
        others = [one for one in await self.list() if one.id != budget.id]
        if len(others) >= _MOST:
            raise UsageError(
                f"there are {_MOST} budgets already",
                hint="* as a name is a budget for each one: --scope 'user:*'",
            )
        write = Write(
            table=_TABLE, key=(budget.scope, budget.per), value=msgspec.json.encode(budget)
        )
        await self._store.transact([write])

    async def remove(self, scope: str, per: BudgetPeriod) -> Budget:
        """Remove a budget and return it.

        Raises:
            NotFoundError: There is none.
        """
        record = await self._store.get(_TABLE, (scope, per))
        if record is None:
            raise NotFoundError(
                f"there is no budget of {scope} per {per}",
                hint="aiex budget show names those that there are",
            )
        await self._store.transact([Write(table=_TABLE, key=(scope, per), value=DELETE)])
        return budget_of(record)
