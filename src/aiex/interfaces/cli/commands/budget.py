"""`aiex budget`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import click
from msgspec.structs import replace

from aiex.core import BudgetArguments, BudgetPeriod, UsageError
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf, Micros

__all__ = ["command"]

By = Literal["provider", "model", "user", "team", "key", "day"]
_LENGTHS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


class _Amount(Micros):
    """An amount of US dollars, or none at all."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return micro-dollars; -1 for `none`."""
        return -1 if str(value).lower() == "none" else super().convert(value, param, ctx)


class _Since(click.ParamType[datetime]):
    """A time that has been: how long ago, or a date or time in UTC."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the aware UTC time that *value* means."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            if text[-1:] in _LENGTHS and text[:-1].isdecimal():
                return datetime.now(UTC) - timedelta(seconds=int(text[:-1]) * _LENGTHS[text[-1]])
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time, such as 7d, 12h or 2026-11-01", param, ctx)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


@click.pass_obj
def _show(asked: Globals, /) -> int:
    arguments = BudgetArguments(action="show")
    return run_verb(set_up(asked), "budget", arguments, command="budget show")


@click.pass_obj
def _set(asked: Globals, /, amount: int, scope: str, per: BudgetPeriod) -> int:
    arguments = BudgetArguments(
        action="set", scope=scope, amount=None if amount < 0 else amount, per=per
    )
    return run_verb(set_up(asked), "budget", arguments, command="budget set")


@click.pass_obj
def _report(
    asked: Globals,
    /,
    by: By,
    since: datetime | None,
    until: datetime | None,
    is_csv: bool,
) -> int:
    if is_csv:
        if asked.format not in {None, "csv"}:
            raise UsageError(f"--csv and --format {asked.format} contradict each other")
        asked = replace(asked, format="csv")
    arguments = BudgetArguments(action="report", by=by, since=since, until=until)
    return run_verb(set_up(asked), "budget", arguments, command="budget report")


command = Group(
    "budget",
    default="show",
    help="Show and set what may be spent on models, and report what was.",
    commands=[
        Leaf(
            "show",
            callback=_show,
            help="Show your budgets, and what is left of them; an admin sees everybody's.",
        ),
        Leaf(
            "set",
            callback=_set,
            help="Let at most AMOUNT US dollars be spent in each period; none removes a budget.",
            params=[
                click.Argument(["amount"], type=_Amount(), metavar="AMOUNT|none"),
                click.Option(
                    ["--scope"],
                    default="all",
                    metavar="SCOPE",
                    help="Whose budget: all, user:NAME, team:NAME, key:ID, provider:NAME or "
                    "model:PROVIDER:MODEL; * as a name is a budget for each. all by default.",
                ),
                click.Option(
                    ["--per"],
                    type=click.Choice(get_args(BudgetPeriod)),
                    default="month",
                    help="Period of the calendar, in UTC; month by default.",
                ),
            ],
        ),
        Leaf(
            "report",
            callback=_report,
            help="Sum what calls of models used and cost.",
            params=[
                click.Option(
                    ["--by"],
                    type=click.Choice(get_args(By)),
                    default="provider",
                    help="What to sum by; provider by default.",
                ),
                click.Option(
                    ["--since"],
                    type=_Since(),
                    metavar="WHEN",
                    help="Begin at: 7d, 12h, or a UTC time such as 2026-11-01; by default the "
                    "first of this month.",
                ),
                click.Option(
                    ["--until"], type=_Since(), metavar="WHEN", help="End before; now by default."
                ),
                click.Option(["--csv", "is_csv"], is_flag=True, help="The same as --format csv."),
            ],
        ),
    ],
)
