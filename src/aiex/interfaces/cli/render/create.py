"""What `create` made, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import CreateModuleResult, CreateProjectResult, Finished
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.render.change import describe
from aiex.interfaces.cli.render.costs import costs_in_words
from aiex.interfaces.cli.render.diff import show_diff

__all__ = ["show", "show_create_project"]


def show(finished: Finished, console: Console) -> None:
    """Write the proposal of a module, or what it would cost."""
    result = msgspec.json.decode(finished.data, type=CreateModuleResult)
    for line in costs_in_words(result.estimates):
        console.line(line)
    if result.change is None:
        return
    show_diff(result.change.diff, console)
    describe(result.change, console)
    if result.change.status == "applied":
        for file in result.change.files:
            console.line(f"wrote  {file.path}", "green")
    else:
        short = result.change.short
        console.note(
            f"nothing written yet; next: aiex change apply {short}  |  aiex change diff {short}",
            "dim",
        )


def show_create_project(finished: Finished, console: Console) -> None:
    """Write what a new project consists of."""
    result = msgspec.json.decode(finished.data, type=CreateProjectResult)
    for path in result.files:
        console.line(f"{'wrote' if result.written else 'would write'}  {result.name}/{path}")
    if result.written:
        console.note(f"next: {result.next}", "dim")
