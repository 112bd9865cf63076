"""`aiex sandbox`."""

from __future__ import annotations

from typing import Any

import click

from aiex.core import SandboxArguments
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]


@click.pass_context
def _sandbox(ctx: click.Context, /, **more: Any) -> int:
    asked: Globals = ctx.obj
    action: Any = ctx.info_name
    arguments = SandboxArguments(action=action, **more)
    return run_verb(set_up(asked), "sandbox", arguments, command=f"sandbox {action}")


command = Group(
    "sandbox",
    default="status",
    help="Show what keeps commands inside, and try to get out.",
    commands=[
        Leaf(
            "status",
            callback=_sandbox,
            help="Show at which level commands run, what was seen of each level, and what the "
            "level does not cover.",
        ),
        Leaf(
            "test",
            callback=_sandbox,
            help="Run live escapes, all of which must be refused; one that is not is a finding.",
            params=[
                click.Option(
                    ["--level"],
                    type=click.Choice(["landlock", "bwrap"]),
                    help="Level to test instead of the one that commands run at.",
                )
            ],
        ),
    ],
)
