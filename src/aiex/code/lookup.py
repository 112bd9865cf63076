"""Finding a symbol by where it stands or by what it is called."""

from __future__ import annotations

from collections.abc import Sequence

from aiex.code.values import FileFacts, Symbol

__all__ = ["symbol_at", "symbols_named"]


def symbol_at(facts: FileFacts, line: int) -> Symbol | None:
    """Return the innermost definition around *line* (1-based); `None` at top level."""
    around = [s for s in facts.symbols if s.start_line <= line <= s.end_line]
    return min(around, key=lambda s: s.span.end - s.span.start, default=None)


def symbols_named(facts: FileFacts, name: str) -> Sequence[Symbol]:
    """Return the definitions that *name* can mean, best first.

    A whole qualified name wins over the end of one; `::` and `#` count as `.`, and an Elixir
    arity (`total/1`) is compared with the number of parameters.
    """
    name, slash, arity = name.partition("/")
    wanted = name.replace("::", ".").replace("#", ".").strip(".")
    exact = [s for s in facts.symbols if s.qualified_name == wanted]
    ending = [s for s in facts.symbols if s.qualified_name.endswith(f".{wanted}")]
    found = exact or ending
    if slash and arity.isdigit():
        found = [s for s in found if s.parameters == int(arity)]
    return found
