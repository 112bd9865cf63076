"""Pure functions over source text: bytes in, values out."""

from aiex.code.brief import (
    BRIEF_VERSION,
    brief_of,
)
from aiex.code.chunk import (
    CHUNK_VERSION,
    Chunk,
    chunk_code,
    chunk_text,
)
from aiex.code.folds import (
    Foldable,
    FoldKind,
    Folds,
    comment_mark,
    read_folds,
)
from aiex.code.graph import (
    ImportGraph,
    cycles,
    import_graph,
)
from aiex.code.guess import (
    guess_language,
)
from aiex.code.kinds import (
    FileKind,
    kind_of,
)
from aiex.code.lint import (
    RUFF_SELECT,
    read_ruff,
    unfit_for_ruff,
)
from aiex.code.lookup import (
    symbol_at,
    symbols_named,
)
from aiex.code.read import (
    FACTS_VERSION,
    LANGUAGES,
    MAX_PARSE_BYTES,
    is_binary,
    language_of,
    read_facts,
)
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
    "BRIEF_VERSION",
    "CHUNK_VERSION",
    "FACTS_VERSION",
    "LANGUAGES",
    "MAX_PARSE_BYTES",
    "RUFF_SELECT",
    "Call",
    "Chunk",
    "FileFacts",
    "FileKind",
    "FoldKind",
    "Foldable",
    "Folds",
    "Frame",
    "Import",
    "ImportGraph",
    "Language",
    "LineCounts",
    "Symbol",
    "SymbolKind",
    "Traceback",
    "brief_of",
    "chunk_code",
    "chunk_text",
    "comment_mark",
    "cycles",
    "guess_language",
    "import_graph",
    "is_binary",
    "kind_of",
    "language_of",
    "read_facts",
    "read_folds",
    "read_ruff",
    "read_traceback",
    "symbol_at",
    "symbols_named",
    "unfit_for_ruff",
]
