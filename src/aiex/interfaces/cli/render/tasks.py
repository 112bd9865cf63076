"""An overview of what people use Aiex for."""

from __future__ import annotations

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = ["Task", "TasksResult", "show"]


class Task(msgspec.Struct, frozen=True):
    """One thing that people do.

    Attributes:
        title: What it is.
        commands: What to type.
    """

    title: str
    commands: tuple[str, ...]


class TasksResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `tasks` answers.

    Attributes:
        tasks: In the order in which people come to them.
    """

    tasks: tuple[Task, ...]


def show(finished: Finished, console: Console) -> None:
    """Write every task with its commands."""
    for task in msgspec.json.decode(finished.data, type=TasksResult).tasks:
        console.line(task.title, "bold")
        for line in task.commands:
            console.line(f"  {line}")
    console.line()
    console.line("aiex COMMAND --help tells more of each.", "dim")
