"""Facts cut down to what measuring needs, so that those of a large project fit in memory."""

from __future__ import annotations

import msgspec

from aiex.code.values import FileFacts, Symbol

__all__ = ["BRIEF_VERSION", "brief_of"]

BRIEF_VERSION = 1
"""Version of what `brief_of` keeps; another version is another cache entry."""


def brief_of(facts: FileFacts) -> FileFacts:
    """Return *facts* without calls, signatures and the text of documentation.

    A docstring becomes `""`, so that it still shows what has one.
    """
    return msgspec.structs.replace(
        facts,
        calls=(),
        docstring=None if facts.docstring is None else "",
        symbols=tuple(_brief_symbol(symbol) for symbol in facts.symbols),
    )


def _brief_symbol(symbol: Symbol) -> Symbol:
    return msgspec.structs.replace(
        symbol, signature="", docstring=None if symbol.docstring is None else ""
    )
