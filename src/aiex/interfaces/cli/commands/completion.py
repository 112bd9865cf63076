"""`aiex completion`."""

from __future__ import annotations

import click

from aiex.interfaces.cli.completing import script
from aiex.interfaces.cli.drive import answer, set_up
from aiex.interfaces.cli.options import Globals, Leaf
from aiex.interfaces.cli.render.completion import CompletionResult

__all__ = ["command"]


@click.pass_obj
def _completion(asked: Globals, /, shell: str) -> int:
    result = CompletionResult(shell=shell, script=script(shell))
    return answer(set_up(asked, strict=False), "completion", result)


command = Leaf(
    "completion",
    callback=_completion,
    help='Print the completion script of a shell: eval "$(aiex completion bash)".',
    params=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
)
