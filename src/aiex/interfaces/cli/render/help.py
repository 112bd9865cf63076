"""The help of a command."""

from __future__ import annotations

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = ["HelpResult", "show"]


class HelpResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `help` answers.

    Attributes:
        command: Words of the command without `aiex`; empty for all of it.
        text: Its help.
    """

    command: str
    text: str


def show(finished: Finished, console: Console) -> None:
    """Write the text as it is."""
    console.write(msgspec.json.decode(finished.data, type=HelpResult).text)
