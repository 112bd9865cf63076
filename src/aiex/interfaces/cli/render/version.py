"""Which Aiex this is."""

from __future__ import annotations

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = ["VersionResult", "show"]


class VersionResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `version` answers.

    Attributes:
        version: Version of Aiex.
        python: Version of the Python that runs it.
        system: Operating system and machine.
    """

    version: str
    python: str
    system: str


def show(finished: Finished, console: Console) -> None:
    """Write the version alone."""
    console.line(f"aiex {msgspec.json.decode(finished.data, type=VersionResult).version}")
