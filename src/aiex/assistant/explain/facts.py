"""The facts about a file, a definition or a piece of code, from what was read. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from aiex.code import FileFacts, Symbol
from aiex.context import Place, SymbolIndex, names_called
from aiex.core import (
    CallSite,
    ExplainFacts,
    Finding,
    RelatedSymbol,
    SymbolFacts,
)

__all__ = ["facts_of_file", "facts_of_symbol", "facts_of_text", "first_paragraph", "symbol_facts"]

_CONTAINERS = frozenset(
    {
        "class",
        "struct",
        "record",
        "enum",
        "interface",
        "trait",
        "protocol",
        "implementation",
        "module",
        "namespace",
        "union",
        "type",
    }
)
_DETAIL = frozenset({"variable", "field", "constant", "property", "annotation"})
_MOST_RELATED = 40


def first_paragraph(text: str | None) -> str:
    """Return the first paragraph of *text* on one line; `""` for none."""
    if not text:
        return ""
    return " ".join(text.strip().split("\n\n", 1)[0].split())


def symbol_facts(symbol: Symbol) -> SymbolFacts:
    """Return *symbol* as it is reported."""
    return SymbolFacts(
        name=symbol.qualified_name,
        kind=symbol.kind,
        start_line=symbol.start_line,
        end_line=symbol.end_line,
        signature=symbol.signature,
        summary=first_paragraph(symbol.docstring),
        complexity=symbol.complexity,
        is_public=symbol.is_public,
    )


def facts_of_file(
    path: str,
    facts: FileFacts,
    *,
    index: SymbolIndex,
    imports: Mapping[str, AbstractSet[str]],
    findings: Sequence[Finding],
) -> ExplainFacts:
    """Return the facts about a whole file.

    Args:
        path: File, relative to the root.
        facts: What was read from it.
        index: The project's symbols.
        imports: For each path of the project the paths that it imports.
        findings: Findings in the file.
    """
    outline = [s for s in facts.symbols if s.kind not in _DETAIL]
    return ExplainFacts(
        kind="file",
        path=path,
        title=_file_title(facts, outline),
        language=facts.language,
        lines=facts.lines.total,
        code_lines=facts.lines.code,
        docstring=first_paragraph(facts.docstring),
        symbols=tuple(symbol_facts(symbol) for symbol in outline),
        imports=_imports(facts),
        imported_by=tuple(sorted(p for p, targets in imports.items() if path in targets)),
        calls=_related(index.callees(path)),
        other_calls=tuple(index.other_calls(path))[:_MOST_RELATED],
        callers=_sites(index, path, [s for s in outline if s.parent is None], own=False),
        findings=tuple(findings),
    )


def facts_of_symbol(
    path: str,
    facts: FileFacts,
    symbol: Symbol,
    *,
    index: SymbolIndex,
    findings: Sequence[Finding],
) -> ExplainFacts:
    """Return the facts about one definition; arguments as in `facts_of_file`."""
    inside = [
        other
        for other in facts.symbols
        if other.span != symbol.span
        and symbol.span.start <= other.span.start
        and other.span.end <= symbol.span.end
        and other.kind not in _DETAIL
    ]
    called = [symbol, *(s for s in inside if symbol.kind in _CONTAINERS)]
    return ExplainFacts(
        kind="symbol",
        path=path,
        title=f"{symbol.kind} {symbol.qualified_name}, lines {symbol.start_line} to "
        f"{symbol.end_line}",
        language=facts.language,
        lines=symbol.end_line - symbol.start_line + 1,
        docstring=first_paragraph(symbol.docstring),
        symbol=symbol_facts(symbol),
        symbols=tuple(symbol_facts(other) for other in inside),
        calls=_related(index.callees(path, symbol)),
        other_calls=tuple(index.other_calls(path, symbol))[:_MOST_RELATED],
        callers=_sites(index, path, called, own=True),
        findings=tuple(
            finding for finding in findings if symbol.start_line <= finding.line <= symbol.end_line
        ),
    )


def facts_of_text(facts: FileFacts | None, *, lines: int) -> ExplainFacts:
    """Return the facts about code that is in no file.

    Args:
        facts: What was read from it; `None` if its language is none that we read.
        lines: Its lines.
    """
    if facts is None:
        return ExplainFacts(kind="text", title=f"text of {lines} lines", lines=lines)
    outline = [s for s in facts.symbols if s.kind not in _DETAIL]
    return ExplainFacts(
        kind="text",
        title=_file_title(facts, outline),
        language=facts.language,
        lines=facts.lines.total,
        code_lines=facts.lines.code,
        docstring=first_paragraph(facts.docstring),
        symbols=tuple(symbol_facts(symbol) for symbol in outline),
        imports=_imports(facts),
        other_calls=tuple(names_called(facts.calls))[:_MOST_RELATED],
    )


def _file_title(facts: FileFacts, outline: Sequence[Symbol]) -> str:
    counts: dict[str, int] = {}
    for symbol in outline:
        counts[symbol.kind] = counts.get(symbol.kind, 0) + 1
    what = ", ".join(f"{n} {_plural(kind, n)}" for kind, n in counts.items()) or "no definitions"
    generated = "generated " if facts.is_generated else ""
    return f"{generated}{facts.language} file of {facts.lines.total} lines: {what}"


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith("s") else f"{word}s"


def _imports(facts: FileFacts) -> tuple[str, ...]:
    return tuple(dict.fromkeys("." * imp.level + imp.target for imp in facts.imports))


def _related(places: Iterable[Place]) -> tuple[RelatedSymbol, ...]:
    return tuple(
        RelatedSymbol(
            path=place.path,
            line=place.symbol.start_line,
            end_line=place.symbol.end_line,
            name=place.symbol.qualified_name,
            signature=place.symbol.signature,
        )
        for place in places
    )[:_MOST_RELATED]


def _sites(
    index: SymbolIndex, path: str, symbols: Iterable[Symbol], *, own: bool
) -> tuple[CallSite, ...]:
    return tuple(
        CallSite(path=ref.path, line=ref.line, caller=ref.caller, callee=ref.callee)
        for ref in index.callers(path, symbols)
        if own or ref.path != path
    )[:_MOST_RELATED]
