"""Pure functions over source text: bytes in, values out."""

from aiex.code.tracebacks import (
    Frame,
    Traceback,
    read_traceback,
)
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
    "Frame",
    "Import",
    "Language",
    "LineCounts",
    "Symbol",
    "SymbolKind",
    "Traceback",
    "read_traceback",
]
