"""Sizes, complexity, documentation and imports, from the facts of a project. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from aiex.code import FileFacts, ImportGraph, Symbol, cycles
from aiex.core import (
    ComplexFunction,
    Documentation,
    Finding,
    ImportedFile,
    ImportSummary,
    LanguageSize,
)

__all__ = [
    "MAX_COMPLEXITY",
    "complexities",
    "cycle_findings",
    "deferred_cycles",
    "documentation",
    "findings_of_complexity",
    "import_summary",
    "is_test",
    "languages",
    "most_complex",
    "symbol_counts",
]

MAX_COMPLEXITY = 10
"""Complexity above which a function is a finding, as ruff's C901 has it by default."""

_DOCUMENTED = frozenset(
    {
        "class",
        "enum",
        "function",
        "interface",
        "macro",
        "method",
        "module",
        "protocol",
        "record",
        "struct",
        "trait",
        "type",
    }
)
_LOADED_IN_ORDER = frozenset({"python", "javascript", "typescript", "tsx", "cpp"})
_TEST_FOLDERS = frozenset({"test", "tests", "testing", "spec", "specs", "__tests__"})
_MOST_LISTED = 5


def languages(files: Mapping[str, FileFacts]) -> tuple[LanguageSize, ...]:
    """Return the size of each language, the one with most code first."""
    groups: dict[str, list[FileFacts]] = {}
    for facts in files.values():
        groups.setdefault(facts.language, []).append(facts)
    sizes = [
        LanguageSize(
            language=language,
            files=len(group),
            lines=sum(facts.lines.total for facts in group),
            code=sum(facts.lines.code for facts in group),
            comment=sum(facts.lines.comment for facts in group),
            blank=sum(facts.lines.blank for facts in group),
        )
        for language, group in groups.items()
    ]
    return tuple(sorted(sizes, key=lambda size: (-size.code, size.language)))


def symbol_counts(files: Mapping[str, FileFacts]) -> dict[str, int]:
    """Return the number of definitions of each kind, the commonest first."""
    counts = Counter(symbol.kind for facts in files.values() for symbol in facts.symbols)
    return {str(kind): count for kind, count in counts.most_common()}


def most_complex(files: Mapping[str, FileFacts], most: int) -> tuple[ComplexFunction, ...]:
    """Return the *most* complex functions, the worst first."""
    functions = [
        ComplexFunction(
            path=path,
            line=symbol.start_line,
            end_line=symbol.end_line,
            name=symbol.qualified_name,
            complexity=complexity,
        )
        for path, symbol, complexity in _functions(files)
    ]
    functions.sort(key=lambda f: (-f.complexity, f.path, f.line))
    return tuple(functions[:most])


def complexities(files: Mapping[str, FileFacts]) -> dict[str, int]:
    """Return the complexities of each file's functions, added up.

    A function inside another counts in both where the language's rule says so (Python's does);
    it is added once here, by the outermost one.
    """
    totals = dict.fromkeys(files, 0)
    for path, facts in files.items():
        end = -1
        for symbol in facts.symbols:
            if symbol.complexity is not None and symbol.span.start >= end:
                totals[path] += symbol.complexity
                end = symbol.span.end
    return totals


def findings_of_complexity(files: Mapping[str, FileFacts]) -> list[Finding]:
    """Return a finding for each function over `MAX_COMPLEXITY` that no linter looks at."""
    return [
        Finding(
            rule="aiex:complexity",
            severity="medium",
            path=path,
            line=symbol.start_line,
            end_line=symbol.end_line,
            message=f"{symbol.qualified_name} is too complex ({complexity} > {MAX_COMPLEXITY})",
            anchor=symbol.qualified_name,
            symbol=symbol.qualified_name,
            fix="split it where it decides between unrelated cases",
        )
        for path, symbol, complexity in _functions(files)
        if complexity > MAX_COMPLEXITY and files[path].language != "python"
    ]


def documentation(files: Mapping[str, FileFacts]) -> Documentation:
    """Return how much of what is public is documented; tests and generated files do not count.

    What is inside something private or inside a function is not public. Constructors and names
    like `__eq__` are left out, since the language says what they do. Files count as modules in
    Python alone, where their documentation has a place of its own.
    """
    public = documented = 0
    for path, facts in files.items():
        if facts.is_generated or is_test(path):
            continue
        if facts.language == "python" and facts.lines.code:
            public += 1
            documented += facts.docstring is not None
        closed: set[str] = set()
        for symbol in facts.symbols:
            is_visible = symbol.is_public and symbol.parent not in closed
            if not is_visible or symbol.complexity is not None:
                closed.add(symbol.qualified_name)
            if is_visible and symbol.kind in _DOCUMENTED and not symbol.name.startswith("__"):
                public += 1
                documented += symbol.docstring is not None
    return Documentation(public=public, documented=documented)


def import_summary(graph: ImportGraph, most: int) -> ImportSummary:
    """Return the import graph in short, with the *most* imported files."""
    importers = Counter(target for targets in graph.edges.values() for target in targets)
    ranked = sorted(importers.items(), key=lambda item: (-item[1], item[0]))
    eager = cycles(graph.eager)
    return ImportSummary(
        files=len(graph.edges),
        imports=importers.total(),
        most_imported=tuple(ImportedFile(path=p, importers=n) for p, n in ranked[:most]),
        cycles=tuple(eager),
        deferred_cycles=deferred_cycles(graph, eager),
    )


def deferred_cycles(
    graph: ImportGraph, eager: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], ...]:
    """Return the cycles that close only with imports which do not run on loading."""
    known = set(eager)
    return tuple(group for group in cycles(graph.edges) if group not in known)


def cycle_findings(
    groups: Sequence[tuple[str, ...]], files: Mapping[str, FileFacts]
) -> list[Finding]:
    """Return a finding for each cycle of eager imports where the order of loading matters."""
    return [
        Finding(
            rule="aiex:import-cycle",
            severity="medium",
            path=group[0],
            message=f"{len(group)} files import each other: {_listed(group)}",
            anchor="\n".join(group),
            fix="move what they share into a file of its own, or import inside a function",
        )
        for group in groups
        if files[group[0]].language in _LOADED_IN_ORDER
    ]


def is_test(path: str) -> bool:
    """Return whether a file is a test, by the customs of the languages that are read."""
    folders, _, name = path.rpartition("/")
    stem = name.partition(".")[0]
    return (
        not _TEST_FOLDERS.isdisjoint(folders.split("/"))
        or stem in {"conftest", "tests"}
        or stem.startswith("test_")
        or stem.endswith(("_test", "_spec", "Test", "Tests"))
        or ".test." in name
        or ".spec." in name
    )


def _listed(group: Sequence[str]) -> str:
    shown = ", ".join(group[:_MOST_LISTED])
    return f"{shown} and {len(group) - _MOST_LISTED} more" if len(group) > _MOST_LISTED else shown


def _functions(files: Mapping[str, FileFacts]) -> Iterator[tuple[str, Symbol, int]]:
    for path, facts in files.items():
        for symbol in facts.symbols:
            if symbol.complexity is not None:
                yield path, symbol, symbol.complexity
