"""What `doctor` found, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import DoctorResult, Finished
from aiex.interfaces.cli.console import Console, Style

__all__ = ["show"]

_MARKS: dict[str, tuple[str, Style]] = {
    "ok": ("ok     ", "green"),
    "missing": ("missing", "yellow"),
    "problem": ("problem", "red"),
}


def show(finished: Finished, console: Console) -> None:
    """Write every check under its area, with what to do."""
    result = msgspec.json.decode(finished.data, type=DoctorResult)
    area = ""
    for check in result.checks:
        if check.area != area:
            area = check.area
            console.line(area, "bold")
        mark, style = _MARKS[check.state]
        console.line(f"{check.name:<12} {check.detail}", label=f"  {mark}  ", tone=style)
        if check.hint:
            console.line(f"{'':<24}{check.hint}", "dim")
    if not result.can_ask:
        console.line()
        console.line("no model can be asked: explain gives the facts alone", "yellow")
