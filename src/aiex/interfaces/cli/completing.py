"""What a shell is told when it asks what could follow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem, ShellComplete

__all__ = ["complete", "files", "script", "settings"]

_PROGRAM = "aiex"
_VARIABLE = "_AIEX_COMPLETE"


def complete() -> int:
    """Answer a shell, and return the exit status; a line that makes no sense has no answers."""
    from aiex.core import AiexError

    shell = os.environ[_VARIABLE].partition("_")[0]
    try:
        text = _asking(shell).complete()
    except ValueError as error:
        click.echo(f"error: no completion for {error}", err=True)
        return 2
    except (AiexError, click.ClickException):
        return 0
    click.echo(text)
    return 0


def script(shell: str) -> str:
    """Return the script that makes *shell* (`bash`, `zsh` or `fish`) ask.

    Raises:
        ValueError: There is none for it.
    """
    return _asking(shell).source()


def _asking(shell: str) -> ShellComplete:
    from click.shell_completion import get_completion_class

    from aiex.interfaces.cli.app import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(shell)
    return kind(cli, {}, _PROGRAM, _VARIABLE)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file."""
    from click.shell_completion import CompletionItem

    del ctx, param
    return [CompletionItem(incomplete, type="file")]


def settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the key of a setting."""
    from click.shell_completion import CompletionItem

    from aiex.app import all_settings

    del ctx, param
    return [
        CompletionItem(setting.key, help=setting.description)
        for setting in all_settings()
        if setting.key.startswith(incomplete)
    ]
