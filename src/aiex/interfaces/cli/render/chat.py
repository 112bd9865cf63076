"""What a turn of a conversation says besides its words, which were written as they came."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aiex.core import ChatResult, Finished
from aiex.interfaces.cli.console import Console, safe
from aiex.interfaces.cli.render.costs import costs_in_words

__all__ = ["FORMS", "markdown", "show"]


def show(finished: Finished, console: Console) -> None:
    """Write what a dry run would cost."""
    result = msgspec.json.decode(finished.data, type=ChatResult)
    for line in costs_in_words(result.estimates):
        console.line(line)


def markdown(finished: Finished) -> str:
    """Return the answer, which is Markdown already."""
    result = msgspec.json.decode(finished.data, type=ChatResult)
    lines = [f"- {line}" for line in costs_in_words(result.estimates)]
    text = safe(result.text or "").strip() or "\n".join(lines)
    return f"{text}\n"


FORMS: dict[str, Callable[[Finished], str]] = {"md": markdown}
"""The answer, and nothing else."""
