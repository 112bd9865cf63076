"""What `analyze` found, for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from aiex.core import (
    AnalyzeResult,
    ComplexFunction,
    DepsResult,
    DiffResult,
    Finding,
    Finished,
    GraphResult,
    Hotspot,
    HotspotsResult,
    ImportSummary,
    LanguageSize,
    Severity,
)
from aiex.interfaces.cli.console import Console, Style
from aiex.interfaces.cli.render.dependencies import (
    dependency_row,
    manifest_rows,
    outdated_sentence,
    security_sentence,
)
from aiex.interfaces.cli.render.graphs import dot, mermaid
from aiex.interfaces.cli.render.markdown import markdown
from aiex.interfaces.cli.render.sarif import sarif

__all__ = ["FORMS", "FORMS_OF", "Result", "result_of", "show", "show_result"]

Result = AnalyzeResult | HotspotsResult | GraphResult | DiffResult | DepsResult

_DECODE: Callable[[bytes], Result] = msgspec.json.Decoder(Result).decode
_COLORS: dict[Severity, tuple[Style, ...]] = {
    "critical": ("bold", "red"),
    "high": ("red",),
    "medium": ("yellow",),
    "low": (),
    "info": ("dim",),
}
_MOST_CYCLES = 10
_MOST_IN_CYCLE = 6
_MOST_KINDS = 6
_MOST_SYMBOLS = 20
_MOST_OF_DIFF = 50
_MOST_OF_DEPS = 100


def result_of(finished: Finished) -> Result:
    """Return the result of an analysis."""
    return _DECODE(finished.data)


def show(finished: Finished, console: Console) -> None:
    """Write the result of an analysis."""
    show_result(result_of(finished), console)


def show_result(result: Result, console: Console) -> None:
    """Write *result*."""
    match result:
        case AnalyzeResult():
            _code(result, console)
        case HotspotsResult():
            _hotspots(result, console)
        case GraphResult():
            _graph(result, console)
        case DiffResult():
            _diff(result, console)
        case DepsResult():
            _deps(result, console)


def _code(result: AnalyzeResult, console: Console) -> None:
    _rows(console, "size", [_size(result), *(_language(size) for size in result.languages)])
    _rows(console, "symbols", [_kinds(result.symbols)])
    documented = result.documentation
    if documented.coverage is not None:
        counts = f"{documented.documented} of {documented.public}"
        _rows(
            console,
            "docs",
            [f"{documented.coverage:.0%} of what is public is documented ({counts})"],
        )
    _rows(console, "imports", _imports(result.imports))
    _findings(console, result.findings, result.severities, result.most)
    _rows(console, "complex", [_function(function) for function in result.functions])
    _rows(console, "hot", [_hotspot(hotspot) for hotspot in result.hotspots])


def _hotspots(result: HotspotsResult, console: Console) -> None:
    console.line(f"{_files(result.files)} with functions changed since {result.since}", "bold")
    _rows(console, "hot", [_hotspot(hotspot) for hotspot in result.hotspots])


def _graph(result: GraphResult, console: Console) -> None:
    console.line(f"{len(result.edges)} imports between {len(result.nodes)} files", "bold")
    targets: dict[str, list[str]] = {}
    for edge in result.edges:
        mark = "" if edge.when == "eager" else " (deferred)"
        targets.setdefault(edge.source, []).append(f"{edge.target}{mark}")
    for source, found in targets.items():
        console.line(source)
        for target in found:
            console.line(f"  → {target}", "dim")
    _rows(console, "cycles", _cycles(result.cycles))
    _rows(console, "deferred", _cycles(result.deferred_cycles))


def _diff(result: DiffResult, console: Console) -> None:
    added = sum(file.added_lines for file in result.files)
    removed = sum(file.removed_lines for file in result.files)
    console.line(
        f"{_files(len(result.files))} changed since {result.base[:10]}: +{added} -{removed}", "bold"
    )
    _findings(console, result.findings, result.severities, _MOST_OF_DIFF)
    if result.repaired:
        _rows(console, "repaired", [f"{result.repaired} findings of the base are gone"])
    _rows(
        console,
        "new",
        _first(
            [f"{s.kind} {s.name}  {s.path}:{s.line}" for s in result.symbols],
            _MOST_SYMBOLS,
        ),
    )
    _rows(
        console,
        "complex",
        [
            f"{c.before or 'new'} → {c.after}  {c.name}  {c.path}:{c.line}"
            for c in result.complexity
        ],
    )
    _rows(console, "cycles", _cycles(result.cycles))


def _deps(result: DepsResult, console: Console) -> None:
    wanted = [one for one in result.dependencies if one.group != "indirect"]
    indirect = len(result.dependencies) - len(wanted)
    console.line(f"{len(wanted)} in manifests, {indirect} more in lock files", "bold")
    _rows(console, "files", _first(manifest_rows(result), _MOST_OF_DEPS))
    _rows(console, "outdated", [outdated_sentence(result.outdated)])
    _rows(console, "security", [security_sentence(result.security)])
    _findings(console, result.findings, result.severities, _MOST_OF_DEPS)
    _rows(console, "needs", _first([dependency_row(one) for one in wanted], _MOST_OF_DEPS))


def _rows(console: Console, label: str, rows: Iterable[str], *styles: Style) -> None:
    for number, row in enumerate(rows):
        console.line(row, *styles, label=f"{label if number == 0 else '':<9}")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _size(result: AnalyzeResult) -> str:
    read = sum(size.files for size in result.languages)
    lines = sum(size.lines for size in result.languages)
    return f"{lines} lines in {_files(read)} that were read, of {result.files} in all"


def _language(size: LanguageSize) -> str:
    return (
        f"{size.language}: {size.code} lines of code, {size.comment} of comment, "
        f"{size.blank} blank, in {_files(size.files)}"
    )


def _kinds(symbols: dict[str, int]) -> str:
    shown = list(symbols.items())[:_MOST_KINDS]
    return ", ".join(f"{count} {kind}" for kind, count in shown) or "none"


def _imports(imports: ImportSummary) -> list[str]:
    rows = [f"{imports.imports} between {imports.files} files"]
    if imports.most_imported:
        most = ", ".join(f"{f.path} ({f.importers})" for f in imports.most_imported[:3])
        rows.append(f"most imported: {most}")
    rows += [f"cycle: {row}" for row in _cycles(imports.cycles)]
    if not imports.cycles:
        rows.append("no cycle on loading")
    if imports.deferred_cycles:
        rows.append(f"cycles only inside functions or for typing: {len(imports.deferred_cycles)}")
    return rows


def _cycles(cycles: Sequence[tuple[str, ...]]) -> list[str]:
    rows = []
    for group in cycles:
        more = f" and {len(group) - _MOST_IN_CYCLE} more" if len(group) > _MOST_IN_CYCLE else ""
        rows.append(", ".join(group[:_MOST_IN_CYCLE]) + more)
    return _first(rows, _MOST_CYCLES)


def _first(rows: list[str], most: int) -> list[str]:
    return [*rows[:most], *([f"and {len(rows) - most} more"] if len(rows) > most else [])]


def _findings(
    console: Console, findings: Sequence[Finding], severities: dict[Severity, int], most: int
) -> None:
    counts = ", ".join(f"{count} {severity}" for severity, count in severities.items())
    _rows(console, "findings", [counts or "none"])
    for finding in findings[:most]:
        place = f"{finding.path}:{finding.line}" if finding.line else finding.path
        _rows(
            console,
            "",
            [f"{finding.severity:<8} {place}  {finding.rule}  {finding.message}"],
            *_COLORS[finding.severity],
        )
    if len(findings) > most:
        _rows(console, "", [f"and {len(findings) - most} more; --json names them all"], "dim")


def _function(function: ComplexFunction) -> str:
    return f"{function.complexity:>4}  {function.name}  {function.path}:{function.line}"


def _hotspot(hotspot: Hotspot) -> str:
    commits = "1 commit" if hotspot.commits == 1 else f"{hotspot.commits} commits"
    return (
        f"{hotspot.score:.2f}  {hotspot.path}  {commits}, "
        f"{hotspot.changed_lines} lines changed, complexity {hotspot.complexity}"
    )


def _markdown(finished: Finished) -> str:
    return markdown(result_of(finished))


def _sarif(finished: Finished) -> str:
    result = msgspec.json.decode(finished.data, type=AnalyzeResult | DiffResult | DepsResult)
    return sarif(result, finished.not_checked).decode()


def _mermaid(finished: Finished) -> str:
    return mermaid(msgspec.json.decode(finished.data, type=GraphResult))


def _dot(finished: Finished) -> str:
    return dot(msgspec.json.decode(finished.data, type=GraphResult))


FORMS: dict[str, Callable[[Finished], str]] = {"md": _markdown}
"""What writes a result of every kind in each form besides text and JSON."""

FORMS_OF: dict[str, dict[str, Callable[[Finished], str]]] = {
    "analyze": {**FORMS, "sarif": _sarif},
    "analyze diff": {**FORMS, "sarif": _sarif},
    "analyze deps": {**FORMS, "sarif": _sarif},
    "analyze graph": {**FORMS, "mermaid": _mermaid, "dot": _dot},
}
"""The same by command, where it has more of them."""
