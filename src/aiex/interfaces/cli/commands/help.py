"""`aiex help`."""

from __future__ import annotations

import click

from aiex.core import UsageError, nearest
from aiex.interfaces.cli.drive import answer, set_up
from aiex.interfaces.cli.help_table import HELP
from aiex.interfaces.cli.options import Globals, Leaf
from aiex.interfaces.cli.render.help import HelpResult

__all__ = ["command"]


@click.pass_obj
def _help(asked: Globals, /, words: tuple[str, ...]) -> int:
    path = " ".join(words)
    if path not in HELP:
        near = nearest(path, [name for name in HELP if name])
        raise UsageError(
            f"there is no command aiex {path}",
            hint=f"did you mean aiex help {near}?" if near else "aiex --help lists them",
        )
    result = HelpResult(command=path, text=HELP[path])
    return answer(set_up(asked, strict=False), "help", result)


command = Leaf(
    "help",
    callback=_help,
    help="Print the help of a command.",
    params=[click.Argument(["words"], nargs=-1, metavar="[COMMAND]...")],
)
