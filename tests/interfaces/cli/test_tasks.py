"""The overview names commands that there are."""

from __future__ import annotations

import shlex

import click
import pytest

from aiex.interfaces.cli.app import cli
from aiex.interfaces.cli.commands.tasks import TASKS

COMMANDS = [command for task in TASKS for command in task.commands]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_overview_can_be_typed(line: str) -> None:
    words = shlex.split(line.rpartition("| ")[2])
    assert words.pop(0) == "aiex"
    command: click.Command = cli
    ctx = click.Context(cli, info_name="aiex")

    while isinstance(command, click.Group):
        ctx = click.Context(command, ctx, command.name)
        command.parse_args(ctx, words)
        name, found, words = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert found is not None, name
        command = found

    command.make_context(command.name, words, parent=ctx)
