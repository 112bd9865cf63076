"""Naming many packages that share one reason in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiex.core import NotChecked
from aiex.sandbox import printable

__all__ = ["by_reason"]

_MOST_NAMED = 5
_LONGEST_NAME = 100


def by_reason(
    what: str, reasons: Mapping[str, Iterable[str]], *, tool: str | None = None
) -> tuple[NotChecked, ...]:
    """Return a note for each reason, with the number of packages and the first names of them.

    Args:
        what: What of the packages was not checked, such as `newer versions`.
        reasons: Names of packages, by reason.
        tool: Who would have been asked.
    """
    notes = []
    for reason, packages in reasons.items():
        names = sorted(set(packages))
        shown = ", ".join(printable(name[:_LONGEST_NAME]) for name in names[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        notes.append(NotChecked(what=f"{what} of {shown}{more}", reason=reason, tool=tool))
    return tuple(notes)
