"""A finding about code, and the identifier that stays when lines move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from aiex.core.ids import content_id

__all__ = ["SEVERITIES", "Finding", "Severity", "at_least", "with_ids"]

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing worth a look at one place.

    Attributes:
        id: Stable identifier, made by `with_ids`; empty before that.
        rule: Rule that found it, with its tool: `ruff:F401`, `aiex:import-cycle`.
        severity: How bad it is.
        path: File, relative to the root, with `/`.
        line: First line, 1-based; 0 when the whole file is meant.
        column: First column in characters, 1-based; 0 when unknown.
        end_line: Last line, 1-based; 0 when unknown.
        message: One sentence.
        anchor: Text that the finding hangs on, such as the stripped source line: what the
            identifier is made of, so that it survives edits elsewhere in the file.
        symbol: Qualified name of the enclosing symbol; `None` at top level or unknown.
        fix: What to do, in one sentence; `None` if unknown.
        tool: Tool that found it, with its version.
        url: Page about the rule; `None` if there is none.
    """

    rule: str
    severity: Severity
    path: str
    message: str
    line: int = 0
    column: int = 0
    end_line: int = 0
    anchor: str = ""
    symbol: str | None = None
    fix: str | None = None
    tool: str = "aiex"
    url: str | None = None
    id: str = ""


def at_least(severity: Severity, level: Severity) -> bool:
    """Return whether *severity* is as bad as *level* or worse."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(level)


def with_ids(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* with their stable identifiers.

    The identifier is made of rule, path, symbol and anchor; equal ones are told apart by their
    order in the file, so removing the first of two equal lines renames only the last.

    Args:
        findings: In any order; the answer keeps it.
    """
    found = list(findings)
    seen: Counter[tuple[str, str, str, str]] = Counter()
    ids: dict[int, str] = {}
    by_place = sorted(range(len(found)), key=lambda i: (found[i].path, found[i].line, i))
    for i in by_place:
        f = found[i]
        key = (f.rule, f.path, f.symbol or "", f.anchor)
        ids[i] = content_id(*key, str(seen[key]))
        seen[key] += 1
    return tuple(msgspec.structs.replace(f, id=ids[i]) for i, f in enumerate(found))
