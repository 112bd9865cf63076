"""`aiex change`."""

from __future__ import annotations

import click

from aiex.core import ChangeArguments
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]

_ID = ["id"]


@click.pass_obj
def _list(asked: Globals, /) -> int:
    return run_verb(set_up(asked), "change", ChangeArguments(action="list"), command="change list")


@click.pass_obj
def _show(asked: Globals, /, id: str) -> int:  # noqa: A002 - the name of the argument
    arguments = ChangeArguments(action="show", id=id)
    return run_verb(set_up(asked), "change", arguments, command="change show")


@click.pass_obj
def _diff(asked: Globals, /, id: str) -> int:  # noqa: A002
    arguments = ChangeArguments(action="diff", id=id)
    return run_verb(set_up(asked), "change", arguments, command="change diff")


@click.pass_obj
def _apply(asked: Globals, /, id: str, overwrite: bool, check_only: bool) -> int:  # noqa: A002
    arguments = ChangeArguments(
        action="apply", id=id, overwrite=overwrite, check_only=check_only or asked.dry_run
    )
    return run_verb(set_up(asked), "change", arguments, command="change apply")


command = Group(
    "change",
    default="list",
    help="List, show and apply what was proposed.",
    commands=[
        Leaf("list", callback=_list, help="List the proposals of this project, newest first."),
        Leaf(
            "show",
            callback=_show,
            help="Show what a proposal writes, what was checked, and its diff.",
            params=[click.Argument(_ID, metavar="ID")],
        ),
        Leaf(
            "diff",
            callback=_diff,
            help="Show the diff of a proposal alone, as git reads it.",
            params=[click.Argument(_ID, metavar="ID")],
        ),
        Leaf(
            "apply",
            callback=_apply,
            help="Write exactly what a proposal shows: all of it, or nothing (exit status 7).",
            params=[
                click.Argument(_ID, metavar="ID"),
                click.Option(
                    ["--overwrite"], is_flag=True, help="Replace files that exist meanwhile."
                ),
                click.Option(["--check-only"], is_flag=True, help="Only say if it could be."),
            ],
        ),
    ],
)
