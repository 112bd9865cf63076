"""`aiex tasks`: an overview, as `mix ai` is to an Elixir project."""

from __future__ import annotations

import click

from aiex.interfaces.cli.drive import answer, set_up
from aiex.interfaces.cli.options import Globals, Leaf
from aiex.interfaces.cli.render.tasks import Task, TasksResult

__all__ = ["TASKS", "command"]

TASKS = (
    Task(
        "Understand code", ("aiex explain FILE", "aiex explain FILE::SYMBOL", "aiex explain diff")
    ),
    Task("Understand an error", ("python app.py 2>&1 | aiex explain error",)),
    Task("Ask about a project", ('aiex chat "QUESTION"', "aiex chat", "aiex session list")),
    Task("Look over a project", ("aiex analyze", "aiex analyze hotspots", "aiex analyze deps")),
    Task("Guard a change", ("aiex analyze diff --fail-on medium",)),
    Task(
        "Begin something",
        ("aiex create project NAME", 'aiex create module NAME "WHAT IT DOES" --test'),
    ),
    Task("Take what was proposed", ("aiex change show ID", "aiex change apply ID")),
    Task("Get a model", ("aiex model list", "aiex model pull smollm2-135m", "aiex doctor")),
)
"""What people use Aiex for, and the commands to type."""


@click.pass_obj
def _tasks(asked: Globals, /) -> int:
    return answer(set_up(asked, strict=False), "tasks", TasksResult(tasks=TASKS))


command = Leaf("tasks", callback=_tasks, help="An overview of what people use Aiex for.")
