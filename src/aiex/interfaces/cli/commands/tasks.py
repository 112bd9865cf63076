"""`aiex tasks`: an overview, as `mix ai` is to an Elixir project."""

from __future__ import annotations

import click

from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.options import Globals, Leaf

__all__ = ["command"]

_TASKS = (
    ("Understand code", "aiex explain FILE", "aiex explain FILE::SYMBOL", "aiex explain diff"),
    ("Understand an error", "python app.py 2>&1 | aiex explain error"),
    ("Look over a project", "aiex analyze", "aiex analyze hotspots", "aiex analyze deps"),
    ("Guard a change", "aiex analyze diff --fail-on warning"),
    (
        "Begin something",
        "aiex create project NAME",
        'aiex create module NAME "WHAT IT DOES" --test',
    ),
    ("Take what was proposed", "aiex change show ID", "aiex change apply ID"),
    ("Get a model", "aiex model list", "aiex model pull smollm2-135m", "aiex doctor"),
)


@click.pass_obj
def _tasks(asked: Globals, /) -> int:
    console = Console(color=asked.color or "auto", quiet=asked.quiet)
    for title, *commands in _TASKS:
        console.line(title, "bold")
        for line in commands:
            console.line(f"  {line}")
    console.line()
    console.line("aiex COMMAND --help tells more of each.", "dim")
    return 0


command = Leaf("tasks", callback=_tasks, help="An overview of what people use Aiex for.")
