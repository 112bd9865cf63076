"""`aiex events`."""

from __future__ import annotations

import click

from aiex.interfaces.cli.drive import set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf

__all__ = ["command"]


@click.pass_obj
def _tail(asked: Globals, /, pattern: str, count: int | None) -> int:
    from aiex.interfaces.cli.following import tail

    return tail(set_up(asked, project=False), pattern=pattern, count=count)


command = Group(
    "events",
    help="What the gateway does, as it happens.",
    commands=[
        Leaf(
            "tail",
            callback=_tail,
            help="Show what is published from now on, in all processes of this machine or, with "
            "AIEX_SERVER, of that server: requests, calls of models, limits, breakers, keys.",
            params=[
                click.Argument(["pattern"], default=">", metavar="[PATTERN]"),
                click.Option(
                    ["--count"],
                    type=click.IntRange(min=1),
                    metavar="N",
                    help="End after N events; Ctrl-C ends it in any case.",
                ),
            ],
        )
    ],
)
