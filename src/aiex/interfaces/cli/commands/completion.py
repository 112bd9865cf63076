"""`aiex completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from aiex.interfaces.cli.options import Globals, Leaf

__all__ = ["command"]


@click.pass_obj
def _completion(asked: Globals, /, shell: str) -> int:
    del asked
    from aiex.interfaces.cli.app import cli

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, "aiex", "_AIEX_COMPLETE").source())
    return 0


command = Leaf(
    "completion",
    callback=_completion,
    help='Print the completion script of a shell: eval "$(aiex completion bash)".',
    params=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
)
