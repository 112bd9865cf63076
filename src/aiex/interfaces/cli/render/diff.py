"""A unified diff on a terminal."""

from __future__ import annotations

from aiex.interfaces.cli.console import Console, Style

__all__ = ["show_diff"]

_STYLES: dict[str, Style] = {"+": "green", "-": "red", "@": "cyan"}


def show_diff(diff: str, console: Console) -> None:
    """Write *diff* line by line, coloured where colour is taken."""
    for line in diff.removesuffix("\n").split("\n") if diff else ():
        if line.startswith(("+++ ", "--- ")):
            console.line(line, "bold")
        elif line[:1] in _STYLES:
            console.line(line, _STYLES[line[:1]])
        else:
            console.line(line)
