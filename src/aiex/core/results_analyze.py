"""What `analyze` answers: sizes, rankings, findings and graphs, all found without a model."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from aiex.core.findings import Finding, Severity
from aiex.core.results_explain import ChangedFile

__all__ = [
    "AnalyzeResult",
    "ComplexFunction",
    "ComplexityChange",
    "DiffResult",
    "Documentation",
    "GraphEdge",
    "GraphNode",
    "GraphResult",
    "Hotspot",
    "HotspotsResult",
    "ImportSummary",
    "ImportedFile",
    "LanguageSize",
    "SymbolChange",
]


class LanguageSize(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of one language.

    Attributes:
        language: Name of the language.
        files: Files of it that were read.
        lines: All their lines.
        code: Lines with code, doc strings included.
        comment: Lines with nothing but a comment.
        blank: Empty lines.
    """

    language: str
    files: int
    lines: int
    code: int
    comment: int
    blank: int


class ComplexFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function, by how many ways lead through it.

    Attributes:
        path: File, relative to the root.
        line: First line, 1-based.
        end_line: Last line.
        name: Qualified name.
        complexity: Cyclomatic complexity: ruff's C901 for Python, the same idea elsewhere.
    """

    path: str
    line: int
    end_line: int
    name: str
    complexity: int


class Documentation(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is public is documented.

    Attributes:
        public: Public functions, methods, types and modules.
        documented: Those of them that have documentation.
    """

    public: int
    documented: int

    @property
    def coverage(self) -> float | None:
        """Documented share of what is public, 0 to 1; `None` if nothing is public."""
        return self.documented / self.public if self.public else None


class ImportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that others import.

    Attributes:
        path: File, relative to the root.
        importers: Files that import it, however they do.
    """

    path: str
    importers: int


class ImportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The import graph in short.

    Attributes:
        files: Files that are in it.
        imports: Pairs of a file and one that it imports.
        most_imported: Files that most others import, the first ones.
        cycles: Groups of files that all reach each other by imports that run on loading.
        deferred_cycles: Groups that close only with imports for type checking or inside
            functions, which do no harm on loading.
    """

    files: int
    imports: int
    most_imported: tuple[ImportedFile, ...] = ()
    cycles: tuple[tuple[str, ...], ...] = ()
    deferred_cycles: tuple[tuple[str, ...], ...] = ()


class Hotspot(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is both complex and often changed.

    Attributes:
        path: File, relative to the root.
        score: Share of the files that change less times share of those that are less complex,
            0 to 1.
        commits: Commits that changed it in the time looked at.
        changed_lines: Lines that they added and removed.
        authors: Different authors of them.
        last: Time of the newest of them, aware UTC.
        complexity: Complexities of its functions, added up.
        churn_rank: Place among the files by commits, 1 for the most; equal ones share a place.
        complexity_rank: Place among the files by complexity, likewise.
    """

    path: str
    score: float
    commits: int
    changed_lines: int
    authors: int
    last: datetime
    complexity: int
    churn_rank: int
    complexity_rank: int


class AnalyzeResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="code"):
    """What `analyze code` found.

    Findings are ranked by what to do first: the most severe ones; among those, what is in the
    product before what is in tests and generated files; then files by their place among the
    hotspots, since a repair pays most where the next change will be; then path and line.

    Attributes:
        most: Entries of each ranking that were asked for; the findings do not go by it.
        files: Files that were found, of any kind.
        languages: Sizes, the language with most code first.
        symbols: Definitions by kind, the commonest first.
        functions: The most complex functions.
        documentation: How much of what is public is documented.
        imports: The import graph in short.
        findings: Ranked, the first 10,000.
        severities: Number of findings by severity, of all of them.
        hotspots: Files that are complex and often changed; empty without a history.
    """

    most: int
    files: int
    languages: tuple[LanguageSize, ...]
    symbols: dict[str, int]
    functions: tuple[ComplexFunction, ...]
    documentation: Documentation
    imports: ImportSummary
    findings: tuple[Finding, ...]
    severities: dict[Severity, int]
    hotspots: tuple[Hotspot, ...] = ()


class HotspotsResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="hotspots"):
    """What `analyze hotspots` found.

    Attributes:
        since: Oldest commit that counted, as it was asked for.
        files: Files that were ranked.
        hotspots: The first of them.
    """

    since: str
    files: int
    hotspots: tuple[Hotspot, ...]


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the graph.

    Attributes:
        path: File, relative to the root.
        language: Its language.
        lines: Its lines.
        outside: What it imports from outside the project, as written.
    """

    path: str
    language: str
    lines: int
    outside: tuple[str, ...] = ()


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """One file imports another.

    Attributes:
        source: File that imports.
        target: File that is imported.
        when: `eager` if it runs on loading, `deferred` if only for type checking or inside
            functions.
    """

    source: str
    target: str
    when: Literal["eager", "deferred"]


class GraphResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="graph"):
    """What `analyze graph` found.

    Attributes:
        nodes: Files, by path.
        edges: Imports between them, by source and target.
        cycles: Groups of files that all reach each other by eager imports, largest first.
        deferred_cycles: Groups that close only with deferred imports.
    """

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    cycles: tuple[tuple[str, ...], ...] = ()
    deferred_cycles: tuple[tuple[str, ...], ...] = ()


class SymbolChange(msgspec.Struct, frozen=True, kw_only=True):
    """A definition that a change adds.

    Attributes:
        path: File, relative to the root.
        line: First line, 1-based.
        name: Qualified name.
        kind: What is defined.
        is_public: Whether it is visible outside.
        documented: Whether it has documentation.
    """

    path: str
    line: int
    name: str
    kind: str
    is_public: bool
    documented: bool


class ComplexityChange(msgspec.Struct, frozen=True, kw_only=True):
    """A function that a change makes more complex.

    Attributes:
        path: File, relative to the root.
        line: First line, 1-based.
        name: Qualified name.
        before: Complexity at the base; 0 if it was not there.
        after: Complexity now.
    """

    path: str
    line: int
    name: str
    before: int
    after: int


class DiffResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="diff"):
    """What `analyze diff` found: only what the change adds.

    Attributes:
        base: Commit that is compared with.
        files: Files that differ.
        findings: Findings that were not there at the base, ranked as in `AnalyzeResult`.
        severities: They by severity.
        repaired: Number of findings of the base that are gone.
        symbols: Definitions that are new.
        complexity: Functions that are new or grew over the limit of complexity, or grew above it.
        cycles: Import cycles that the change closes or makes larger.
    """

    base: str
    files: tuple[ChangedFile, ...]
    findings: tuple[Finding, ...]
    severities: dict[Severity, int]
    repaired: int = 0
    symbols: tuple[SymbolChange, ...] = ()
    complexity: tuple[ComplexityChange, ...] = ()
    cycles: tuple[tuple[str, ...], ...] = ()
