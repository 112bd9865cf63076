"""Pure functions over source text: bytes in, values out."""

from aiex.code.values import (
    Call,
    FileFacts,
    Import,
    Language,
    LineCounts,
    Symbol,
    SymbolKind,
)

__all__ = [
    "Call",
    "FileFacts",
    "Import",
    "Language",
    "LineCounts",
    "Symbol",
    "SymbolKind",
]
