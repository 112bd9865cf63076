"""Stored proposals, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from aiex.core import ChangesResult, ChangeView, Finished
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.render.diff import show_diff

__all__ = ["describe", "show"]


def show(finished: Finished, console: Console) -> None:
    """Write what `change` answered."""
    result = msgspec.json.decode(finished.data, type=ChangesResult)
    if result.action == "list":
        _list(result, console)
        return
    change = result.changes[0]
    if result.action == "diff":
        # As it is, since other programs read it; a terminal still gets no escape sequences.
        if console.is_terminal:
            show_diff(change.diff, console)
        else:
            console.write_data(change.diff.encode())
    elif result.action == "show":
        describe(change, console)
        show_diff(change.diff, console)
        _next(change, console)
    elif result.would_apply:
        console.line(f"change {change.short} could be applied; nothing was written")
    else:
        for file in change.files:
            console.line(f"wrote  {file.path} +{file.added_lines} -{file.removed_lines}", "green")


def describe(change: ChangeView, console: Console) -> None:
    """Write everything of a proposal but its diff."""
    console.line(f"change {change.short}  {change.status}", "bold")
    for label, text in _about(change):
        console.line(text, label=f"{label:<9}")


def _about(change: ChangeView) -> Iterator[tuple[str, str]]:
    if change.summary:
        yield "what", change.summary
    if change.model:
        cost = change.cost_usd_micros
        yield "model", f"{change.model}  {'unpriced' if cost is None else f'${cost / 1e6:.4f}'}"
    for file in change.files:
        yield file.status, f"{file.path} +{file.added_lines} -{file.removed_lines}"
    for check in change.checks:
        passed = "ok" if check.exit in {None, 0} else f"exit {check.exit}"
        yield "checked", f"{check.name} {check.version or ''}".rstrip() + f": {passed}"
    for finding in change.findings:
        yield "finding", f"{finding.path}:{finding.line} {finding.rule} {finding.message}"
    if change.error:
        yield "failed", change.error


def _next(change: ChangeView, console: Console) -> None:
    if change.status == "proposed":
        console.note(f"nothing written yet; next: aiex change apply {change.short}", "dim")


def _list(result: ChangesResult, console: Console) -> None:
    if not result.changes:
        console.note("no proposals for this project")
    for change in result.changes:
        files = f"{len(change.files)} file{'s' * (len(change.files) != 1)}"
        created = f"{change.created:%Y-%m-%d %H:%M}"
        console.line(f"{change.short}  {change.status:<8}  {created}  {files}  {change.summary}")
