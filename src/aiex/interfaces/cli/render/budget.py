"""Budgets and spending, for a terminal, a spreadsheet and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

import msgspec

from aiex.core import BudgetResult, BudgetView, Finished, SpentTotal
from aiex.interfaces.cli.console import Console, Style

__all__ = ["FORMS_OF", "show"]

_NARROW = 0.1  # the part of a budget below which what is left is told as a warning


def show(finished: Finished, console: Console) -> None:
    """Write what `budget` answered."""
    result = _decoded(finished)
    match result.action:
        case "show":
            if not result.budgets:
                console.note("no budgets; aiex budget set 100 makes one of 100 US dollars a month")
            for view in result.budgets:
                console.line(_standing(view), label=f"{view.subject}  ", tone=_tone(view))
        case "set":
            (view, *_) = result.budgets
            about = f"{view.scope} per {view.per}"
            if result.removed:
                what = "would be removed" if result.would else "is removed"
                console.line(f"the budget of {about} {what}")
            else:
                what = "would be" if result.would else "is"
                console.line(f"the budget of {about} {what} {_dollars(view.amount)}")
        case "report":
            _report(result, console)


def _report(result: BudgetResult, console: Console) -> None:
    rows = [*result.totals, *([] if result.sum is None else [result.sum])]
    if not result.totals:
        console.note("no calls of models in that time")
        return
    cells = [
        (result.by or "", "calls", "failed", "input", "output", "cost"),
        *(
            (
                row.key or ("all" if row is result.sum else "-"),
                f"{row.calls:,}",
                f"{row.failed:,}",
                f"{row.input_tokens:,}",
                f"{row.output_tokens:,}",
                _dollars(row.cost) + (f" + {row.unpriced:,} unpriced" if row.unpriced else ""),
            )
            for row in rows
        ),
    ]
    widths = [max(len(line[at]) for line in cells) for at in range(len(cells[0]))]
    for first, *others, cost in cells:
        middle = "  ".join(
            cell.rjust(width) for cell, width in zip(others, widths[1:-1], strict=True)
        )
        console.line(f"{first.ljust(widths[0])}  {middle}  {cost}".rstrip())


def _standing(view: BudgetView) -> str:
    parts = [
        f"{_dollars(view.left)} left of {_dollars(view.amount)} a {view.per}",
        f"{_dollars(view.spent)} spent",
        f"{_dollars(view.leased)} held ready" if view.leased else "",
        f"anew {view.resets_at:%Y-%m-%d %H:%M} UTC",
    ]
    return "  ".join(part for part in parts if part)


def _tone(view: BudgetView) -> Style:
    if view.left <= 0:
        return "red"
    return "yellow" if view.left < _NARROW * view.amount else "green"


def _dollars(micros: int) -> str:
    """Return an amount in US dollars: to a cent where it has no smaller part."""
    digits = 2 if micros % 10_000 == 0 else 6
    return f"${micros / 1_000_000:,.{digits}f}"


def _decoded(finished: Finished) -> BudgetResult:
    return msgspec.json.decode(finished.data, type=BudgetResult)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return *rows* as RFC 4180 has them, a line each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_inert(cell) for cell in row] for row in rows])
    return text.getvalue()


def _inert(cell: object) -> object:
    """Return *cell* so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in {"=", "+", "-", "@"} else cell


def _usd(micros: int) -> str:
    return f"{micros / 1_000_000:.6f}"


def _report_csv(finished: Finished) -> str:
    result = _decoded(finished)
    columns = (
        *(result.by or "key", "calls", "failed", "input_tokens", "output_tokens"),
        *("cached_input_tokens", "cost_usd", "unpriced_calls", "estimated_calls"),
    )
    return _csv(columns, [_cells(row) for row in result.totals])


def _cells(row: SpentTotal) -> Sequence[object]:
    return (
        *(row.key, row.calls, row.failed, row.input_tokens, row.output_tokens),
        *(row.cached_input_tokens, _usd(row.cost), row.unpriced, row.estimated),
    )


def _show_csv(finished: Finished) -> str:
    columns = (
        *("scope", "subject", "per", "amount_usd", "spent_usd", "leased_usd", "left_usd"),
        *("resets_at", "set_at", "set_by"),
    )
    rows = [
        (
            *(view.scope, view.subject, view.per),
            *(_usd(view.amount), _usd(view.spent), _usd(view.leased), _usd(view.left)),
            *(view.resets_at.isoformat(), view.set_at.isoformat(), view.set_by),
        )
        for view in _decoded(finished).budgets
    ]
    return _csv(columns, rows)


FORMS_OF: dict[str, dict[str, Callable[[Finished], str]]] = {
    "budget show": {"csv": _show_csv},
    "budget report": {"csv": _report_csv},
}
"""What writes a result in another form, by command."""
