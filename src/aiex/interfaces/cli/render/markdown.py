"""What `analyze` found, as Markdown. Pure.

Whatever comes from the project is escaped, so that it is read and never acts: neither as Markdown,
nor as HTML, nor on a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aiex.core import (
    AnalyzeResult,
    DepsResult,
    DiffResult,
    Finding,
    GraphResult,
    Hotspot,
    HotspotsResult,
    Severity,
)
from aiex.interfaces.cli.console import safe
from aiex.interfaces.cli.render.dependencies import outdated_sentence, security_sentence
from aiex.interfaces.cli.render.graphs import mermaid

__all__ = ["escaped", "markdown"]

_MOST_FINDINGS = 100
_MOST_DEPENDENCIES = 500
_MEANING = re.compile(r"([\\`*_{}\[\]#!|~$@]|^[-+])")


def escaped(text: str) -> str:
    r"""Return *text* so that Markdown shows it as it is, on one line.

    Example:
        >>> print(escaped("a_b|<c>"))
        a\_b\|&lt;c&gt;
    """
    flat = safe(text).replace("\t", " ").replace("\n", " ")
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MEANING.sub(r"\\\1", flat)


def markdown(
    result: AnalyzeResult | HotspotsResult | GraphResult | DiffResult | DepsResult,
) -> str:
    """Return *result* as a Markdown document."""
    match result:
        case AnalyzeResult():
            lines = _code(result)
        case HotspotsResult():
            lines = ["# Hotspots", "", *_hotspots(result.hotspots)]
        case GraphResult():
            lines = _graph(result)
        case DiffResult():
            lines = _diff(result)
        case DepsResult():
            lines = _deps(result)
    return "\n".join(lines).rstrip() + "\n"


def _code(result: AnalyzeResult) -> list[str]:
    documented = result.documentation
    coverage = "" if documented.coverage is None else f", {documented.coverage:.0%}"
    documented_share = f"{documented.documented} of {documented.public}{coverage}"
    return [
        "# Analysis",
        "",
        *_table(
            ("Language", "Files", "Code", "Comment", "Blank"),
            [(s.language, s.files, s.code, s.comment, s.blank) for s in result.languages],
        ),
        f"Documented of what is public: {documented_share}.",
        "",
        "## Findings",
        "",
        *_findings(result.findings, result.severities),
        "## Most complex functions",
        "",
        *_table(
            ("Complexity", "Function", "Place"),
            [(f.complexity, f.name, f"{f.path}:{f.line}") for f in result.functions],
        ),
        "## Hotspots",
        "",
        *_hotspots(result.hotspots),
        "## Imports",
        "",
        f"{result.imports.imports} imports between {result.imports.files} files.",
        "",
        *_cycles(result.imports.cycles),
    ]


def _graph(result: GraphResult) -> list[str]:
    return [
        "# Imports",
        "",
        f"{len(result.edges)} imports between {len(result.nodes)} files.",
        "",
        "```mermaid",
        mermaid(result).rstrip(),
        "```",
        "",
        *_cycles(result.cycles),
    ]


def _diff(result: DiffResult) -> list[str]:
    return [
        f"# What the change since {escaped(result.base[:10])} adds",
        "",
        *_table(
            ("File", "Status", "Added", "Removed"),
            [(f.path, f.status, f.added_lines, f.removed_lines) for f in result.files],
        ),
        "## New findings",
        "",
        *_findings(result.findings, result.severities),
        "## New definitions",
        "",
        *_table(
            ("Kind", "Name", "Place"),
            [(s.kind, s.name, f"{s.path}:{s.line}") for s in result.symbols],
        ),
        "## More complex functions",
        "",
        *_table(
            ("Before", "Now", "Function", "Place"),
            [(c.before, c.after, c.name, f"{c.path}:{c.line}") for c in result.complexity],
        ),
        *_cycles(result.cycles),
    ]


def _deps(result: DepsResult) -> list[str]:
    wanted = [one for one in result.dependencies if one.group != "indirect"]
    rows = [
        (
            one.name,
            one.requirement,
            one.version or one.source or "unknown",
            one.newest or "",
            one.group,
            f"{one.path}:{one.line}" if one.line else one.path,
        )
        for one in wanted[:_MOST_DEPENDENCIES]
    ]
    more = len(wanted) - len(rows)
    return [
        "# Dependencies",
        "",
        f"Newer versions: {escaped(outdated_sentence(result.outdated))}.",
        "",
        f"Vulnerabilities: {escaped(security_sentence(result.security))}.",
        "",
        "## Findings",
        "",
        *_findings(result.findings, result.severities),
        "## Wanted",
        "",
        *_table(("Package", "Required", "Version", "Newest", "Group", "Place"), rows),
        *([f"And {more} more.", ""] if more > 0 else []),
        "## Files",
        "",
        *_table(
            ("File", "Ecosystem", "Role", "Packages"),
            [(one.path, one.ecosystem, one.role, one.packages) for one in result.manifests],
        ),
    ]


def _findings(findings: Sequence[Finding], severities: dict[Severity, int]) -> list[str]:
    counts = ", ".join(f"{count} {severity}" for severity, count in severities.items())
    rows = [
        (f.severity, f.rule, f"{f.path}:{f.line}" if f.line else f.path, f.message)
        for f in findings[:_MOST_FINDINGS]
    ]
    more = len(findings) - len(rows)
    return [
        f"{counts or 'None'}.",
        "",
        *_table(("Severity", "Rule", "Place", "Finding"), rows),
        *([f"And {more} more.", ""] if more > 0 else []),
    ]


def _hotspots(hotspots: Sequence[Hotspot]) -> list[str]:
    return _table(
        ("Score", "File", "Commits", "Lines changed", "Complexity"),
        [(f"{h.score:.2f}", h.path, h.commits, h.changed_lines, h.complexity) for h in hotspots],
    )


def _cycles(cycles: Sequence[tuple[str, ...]]) -> list[str]:
    if not cycles:
        return []
    rows = [f"- {', '.join(escaped(path) for path in group)}" for group in cycles]
    return ["Import cycles:", "", *rows, ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    body = [f"| {' | '.join(escaped(str(cell)) for cell in row)} |" for row in rows]
    if not body:
        return ["None.", ""]
    return [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *body, ""]
