"""`aiex context`."""

from __future__ import annotations

from typing import Any

import click

from aiex.core import ContextArguments
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf
from aiex.interfaces.cli.stdin import read_stdin

__all__ = ["command"]


@click.pass_context
def _context(ctx: click.Context, /, query: tuple[str, ...] = (), **more: Any) -> int:
    asked: Globals = ctx.obj
    action: Any = ctx.info_name
    words = " ".join(query)
    if words == "-":
        words = read_stdin()
    arguments = ContextArguments(action=action, query=words, **more)
    return run_verb(set_up(asked), "context", arguments, command=f"context {action}")


def _query() -> click.Argument:
    return click.Argument(["query"], nargs=-1, required=True)


def _budget(default: int) -> click.Option:
    return click.Option(
        ["--budget"],
        type=int,
        default=default,
        metavar="TOKENS",
        help=f"Most tokens of the text ({default}).",
    )


command = Group(
    "context",
    default="status",
    help="Search the project, and put together what a model should see of it.",
    commands=[
        Leaf(
            "search",
            callback=_context,
            help="Show the pieces of the project that answer QUERY, best first: a question, an "
            "error, a name, the message of a change; - reads it from standard input.",
            params=[
                _query(),
                click.Option(
                    ["--limit"],
                    type=int,
                    default=10,
                    metavar="N",
                    help="Most pieces to show (10).",
                ),
            ],
        ),
        Leaf(
            "pack",
            callback=_context,
            help="Write the text that a model would be shown for QUERY, with paths and line "
            "numbers.",
            params=[_query(), _budget(8000)],
        ),
        Leaf(
            "map",
            callback=_context,
            help="Outline the project: its most used definitions, by file.",
            params=[_budget(2000)],
        ),
        Leaf(
            "index",
            callback=_context,
            help="Bring the index up to date; every other command does so, too.",
            params=[
                click.Option(["--rebuild"], is_flag=True, help="Read every file again."),
            ],
        ),
        Leaf("status", callback=_context, help="Show how much is indexed, and where."),
        Leaf("forget", callback=_context, help="Delete the index of this project."),
    ],
)
