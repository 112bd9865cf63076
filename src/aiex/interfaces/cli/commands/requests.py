"""`aiex requests`."""

from __future__ import annotations

import click

from aiex.interfaces.cli.drive import set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]


@click.pass_obj
def _list(asked: Globals, /) -> int:
    from aiex.interfaces.cli.following import list_requests

    return list_requests(set_up(asked, project=False))


@click.pass_obj
def _attach(asked: Globals, /, id: str, after: int) -> int:  # noqa: A002 - the argument's name
    from aiex.interfaces.cli.following import attach

    return attach(set_up(asked, project=False), id, after=after)


@click.pass_obj
def _cancel(asked: Globals, /, id: str) -> int:  # noqa: A002 - the argument's name
    from aiex.interfaces.cli.following import cancel

    return cancel(set_up(asked, project=False), id)


command = Group(
    "requests",
    default="list",
    help="Requests that run or ran of late, in this and in other processes.",
    commands=[
        Leaf("list", callback=_list, help="List requests, newest first."),
        Leaf(
            "attach",
            callback=_attach,
            help="Show a request from its beginning, as the command that made it would, and go "
            "on until it ends. Ctrl-C leaves it running.",
            params=[
                click.Argument(["id"], metavar="ID"),
                click.Option(
                    ["--after"],
                    type=click.IntRange(min=0),
                    default=0,
                    metavar="N",
                    help="Leave out its first N events.",
                ),
            ],
        ),
        Leaf(
            "cancel",
            callback=_cancel,
            help="Stop a request, in whatever process it runs.",
            params=[click.Argument(["id"], metavar="ID")],
        ),
    ],
)
