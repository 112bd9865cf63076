"""The last event of an analysis."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiex.core import Finding, Finished, NotChecked, Severity, ToolRun, at_least

__all__ = ["MOST_LISTED", "finished", "left_out"]

MOST_LISTED = 10_000
"""Most findings, and most new definitions, that an answer lists."""


def finished(
    result: msgspec.Struct,
    *,
    findings: Sequence[Finding] = (),
    fail_on: Severity | None = None,
    not_checked: Sequence[NotChecked] = (),
    checked: Sequence[ToolRun] = (),
) -> Finished:
    """Return *result* as the last event; its status is `findings` where one reaches *fail_on*."""
    reached = fail_on is not None and any(at_least(f.severity, fail_on) for f in findings)
    return Finished(
        status="findings" if reached else "ok",
        data=msgspec.Raw(msgspec.json.encode(result)),
        termination_reason=f"findings of {fail_on} or worse" if reached else "done",
        not_checked=tuple(not_checked),
        checked=tuple(checked),
    )


def left_out(what: str, found: int) -> tuple[NotChecked, ...]:
    """Return a note of how many of *found* are not listed, if any."""
    more = found - MOST_LISTED
    reason = f"only the first {MOST_LISTED} are listed"
    return (NotChecked(what=f"{more} more {what}", reason=reason),) if more > 0 else ()
