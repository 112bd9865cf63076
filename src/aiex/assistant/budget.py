"""`budget`: shows and sets what may be spent, and reports what was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import anyio.to_thread
import msgspec

from aiex.assistant.verbs import Run
from aiex.context import Budget, Budgets, Interactions, InteractionTotal
from aiex.core import (
    SCOPES,
    Actor,
    AiexError,
    AuditRecord,
    BudgetArguments,
    BudgetChanged,
    BudgetResult,
    BudgetView,
    Finished,
    Principal,
    RefusedError,
    SpentTotal,
    UsageError,
    is_scope,
)
from aiex.llm import Announce
from aiex.runtime import Clock
from aiex.sandbox import AuditLog

__all__ = ["BudgetVerb", "Spending", "Spent"]

_MOST_DOLLARS = 1_000_000_000


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody spent of a budget in its present period, micro-dollars.

    Attributes:
        subject: Who: the scope, with the name that `*` stands for.
        spent: What was spent; calls that run and are reserved for count.
        leased: What processes hold ready to spend.
        left: What may still be spent; at least 0.
    """

    subject: str
    spent: int
    leased: int
    left: int


class Spending(Protocol):
    """Knows what was spent of budgets."""

    async def spent(self, budgets: Sequence[Budget]) -> Mapping[str, Sequence[Spent]]:
        """Return who spent what of each budget, by its id; nothing for one nobody spent of."""


class BudgetVerb:
    """The verb.

    Who does not have the role admin sees budgets and spending of their own.

    Args:
        budgets: The stored budgets.
        spending: What was spent of them.
        interactions: The calls that were made.
        clock: Where time comes from.
        audit: Opens the audit log; blocks.
        announce: Tells of budgets that were set or removed.
    """

    name = "budget"
    arguments_type = BudgetArguments

    def __init__(
        self,
        budgets: Budgets,
        spending: Spending,
        interactions: Interactions,
        *,
        clock: Clock,
        audit: Callable[[], AuditLog],
        announce: Announce,
    ) -> None:
        self._budgets = budgets
        self._spending = spending
        self._interactions = interactions
        self._clock = clock
        self._audit = audit
        self._announce = announce

    async def run(self, arguments: BudgetArguments, run: Run) -> Finished:
        """Do what was asked for."""
        match arguments.action:
            case "show":
                result = await self._show(run.request.principal)
            case "set":
                result = await self._set(arguments, run)
            case "report":
                result = await self._report(arguments, run.request.principal)
        return Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))

    async def _show(self, who: Principal) -> BudgetResult:
        budgets = await self._budgets.list()
        views = await self._views(budgets, None if "admin" in who.roles else who)
        return BudgetResult(action="show", budgets=tuple(views))

    async def _views(self, budgets: Sequence[Budget], who: Principal | None) -> list[BudgetView]:
        """Return where *budgets* stand for *who*; for everybody if that is `None`."""
        found = await self._spending.spent(budgets)
        now = self._clock.now()
        views = []
        for budget in budgets:
            subjects = {budget.scope} if who is None else _own(budget.scope, who)
            spent = [
                one for one in found.get(budget.id, ()) if who is None or one.subject in subjects
            ] or [
                Spent(subject=subject, spent=0, leased=0, left=budget.amount)
                for subject in subjects
            ]
            views += [_view(budget, one, now) for one in spent]
        return views

    async def _set(self, arguments: BudgetArguments, run: Run) -> BudgetResult:
        who = run.request.principal
        scope, per, amount = arguments.scope, arguments.per, arguments.amount
        if not is_scope(scope):
            raise UsageError(f"{scope!r} is no scope of a budget", hint=SCOPES)
        if amount is not None and not 0 <= amount <= _MOST_DOLLARS * 1_000_000:
            raise UsageError(f"a budget is an amount from 0 to {_MOST_DOLLARS} US dollars")
        about = f"budget of {scope} per {per}: " + (
            "removed" if amount is None else f"${amount / 1_000_000:.6f}"
        )
        intent = AuditRecord(
            op_id=run.request.id,
            kind="intent",
            actor=Actor(user=who.user, interface=who.interface, agent=who.agent),
            op="budget_set",
            reason=about,
        )
        if "admin" not in who.roles:
            error = RefusedError(
                f"{who.user} may not set budgets", hint="ask somebody with the role admin"
            )
            denied = msgspec.structs.replace(
                intent, kind="op", decision="deny", rule="role", reason=f"{about}: {error.message}"
            )
            await self._write(denied)
            raise error
        budget = Budget(
            scope=scope, per=per, amount=amount or 0, set_at=self._clock.now(), set_by=who.user
        )
        is_dry = run.request.options.dry_run
        if not is_dry:
            await self._change(budget, intent, remove=amount is None)
        views = await self._views([budget], None)
        return BudgetResult(
            action="set", budgets=tuple(views), removed=amount is None, would=is_dry
        )

    async def _change(self, budget: Budget, intent: AuditRecord, *, remove: bool) -> None:
        """Set or remove *budget*, written down before it begins and when it has ended."""
        await self._write(intent)
        ended = msgspec.structs.replace(intent, kind="op")
        try:
            if remove:
                await self._budgets.remove(budget.scope, budget.per)
            else:
                await self._budgets.set(budget)
        except AiexError as error:
            reason = f"{intent.reason}: failed: {error.message}"
            await self._write(msgspec.structs.replace(ended, reason=reason))
            raise
        await self._write(ended)
        self._announce(
            BudgetChanged(
                scope=budget.scope,
                state="removed" if remove else "set",
                amount_usd_micros=budget.amount,
                per=budget.per,
                by=budget.set_by,
            )
        )

    async def _write(self, record: AuditRecord) -> None:
        await anyio.to_thread.run_sync(lambda: self._audit().record(record))

    async def _report(self, arguments: BudgetArguments, who: Principal) -> BudgetResult:
        now = self._clock.now()
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        since, until = arguments.since or first, arguments.until or now
        if until <= since:
            raise UsageError(
                f"a report from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC has no time "
                "in it",
                hint="--since names an earlier time than --until",
            )
        # What was recorded a moment ago is written in batches.
        with anyio.move_on_after(2.0):
            await self._interactions.flush()
        totals = await self._interactions.totals(
            by=arguments.by,
            since=since,
            until=until,
            user=None if "admin" in who.roles else who.user,
        )
        rows = tuple(_total(total) for total in totals)
        return BudgetResult(
            action="report",
            by=arguments.by,
            since=since,
            until=until,
            totals=rows,
            sum=_sum(rows),
        )


def _own(scope: str, who: Principal) -> set[str]:
    """Return the subjects of *scope* that are *who*'s own; one at most."""
    kind, _, name = scope.partition(":")
    mine = {"user": who.user, "team": who.team, "key": who.key_id}.get(kind)
    return {f"{kind}:{mine}"} if mine and name in {"*", mine} else set()


def _view(budget: Budget, spent: Spent, now: datetime) -> BudgetView:
    return BudgetView(
        scope=budget.scope,
        subject=spent.subject,
        per=budget.per,
        amount=budget.amount,
        spent=spent.spent,
        leased=spent.leased,
        left=spent.left,
        resets_at=budget.ends(now),
        set_at=budget.set_at,
        set_by=budget.set_by,
    )


def _total(total: InteractionTotal) -> SpentTotal:
    return SpentTotal(
        key=total.key,
        calls=total.calls,
        failed=total.failed,
        input_tokens=total.input_tokens,
        output_tokens=total.output_tokens,
        cached_input_tokens=total.cached_input_tokens,
        cost=total.cost_usd_micros,
        unpriced=total.unpriced,
        estimated=total.estimated,
    )


def _sum(rows: Sequence[SpentTotal]) -> SpentTotal:
    names = SpentTotal.__struct_fields__[1:]
    return SpentTotal(key="", **{name: sum(getattr(row, name) for row in rows) for name in names})
