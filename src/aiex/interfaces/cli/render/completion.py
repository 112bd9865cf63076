"""The completion script of a shell."""

from __future__ import annotations

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = ["CompletionResult", "show"]


class CompletionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `completion` answers.

    Attributes:
        shell: The shell.
        script: What it shall evaluate.
    """

    shell: str
    script: str


def show(finished: Finished, console: Console) -> None:
    """Write the script as it is."""
    console.write(msgspec.json.decode(finished.data, type=CompletionResult).script)
