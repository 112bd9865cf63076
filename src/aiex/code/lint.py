"""What ruff reports, as findings; and which files it can be given at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from aiex.code.values import FileFacts
from aiex.core import Finding, Severity

__all__ = ["RUFF_SELECT", "read_ruff", "unfit_for_ruff"]

RUFF_SELECT = ("E4", "E7", "E9", "F", "B", "S", "C901", "PLE", "PLW", "ASYNC", "DTZ", "BLE")
"""Rules that are asked for where the project has no settings of its own."""

_HIGH = frozenset({"F821", "F822", "F823", "F811", "F601", "F632", "F701", "F702", "F706", "B023"})
_HIGH_SECURITY = frozenset(
    {"S102", "S301", "S302", "S307", "S501", "S506", "S602", "S605", "S608", "S701"}
)
_HARMLESS = frozenset({"S101", "S311", "S404", "S603", "S607"})
_DEEPEST = 400
_LONGEST_BROKEN_LINE = 4000


class _Position(msgspec.Struct):
    row: int
    column: int


class _Fix(msgspec.Struct):
    message: str | None = None


class _Diagnostic(msgspec.Struct):
    code: str | None
    filename: str
    message: str
    location: _Position
    end_location: _Position
    url: str | None = None
    fix: _Fix | None = None


def unfit_for_ruff(source: bytes, facts: FileFacts) -> str | None:
    """Return why a file must not be given to ruff; `None` if it may.

    ruff is recursive: on a syntax tree of some thousand levels it ends with all its other files
    unread. Nesting and chains both make levels, and real code has fewer than 100. On a long line
    that does not parse it takes time that grows with the square of the length: 8 s for 55 kB.
    What is not UTF-8 it passes by in silence. (All measured with ruff 0.17.6, 2026-11-24: no
    tree of 1,000 levels ended it.)

    Args:
        source: The whole file.
        facts: What was read from it.
    """
    if facts.not_checked and not facts.depth:
        return facts.not_checked[0].reason
    if facts.depth > _DEEPEST:
        return f"its syntax tree has {facts.depth} levels, over {_DEEPEST}"
    if facts.error_lines and _has_long_line(source):
        return "it does not parse, and has a long line"
    try:
        source.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return None


def _has_long_line(source: bytes) -> bool:
    return any(len(line) > _LONGEST_BROKEN_LINE for line in source.split(b"\n"))


def read_ruff(report: bytes, *, version: str, lines: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return the findings of a report that ruff wrote with `--output-format json`.

    Args:
        report: The report; its paths are kept as they are.
        version: Version of ruff.
        lines: Lines of each file, by the report's paths; what the identifiers are made of.

    Raises:
        ValueError: It is no such report.
    """
    try:
        found = msgspec.json.decode(report, type=list[_Diagnostic])
    except msgspec.DecodeError as error:
        msg = f"ruff's report cannot be read: {error}"
        raise ValueError(msg) from error
    return [_finding(diagnostic, version, lines) for diagnostic in found]


def _finding(diagnostic: _Diagnostic, version: str, lines: Mapping[str, Sequence[str]]) -> Finding:
    code = diagnostic.code or "syntax"
    row = diagnostic.location.row
    source = lines.get(diagnostic.filename, ())
    return Finding(
        rule=f"ruff:{code}",
        severity=_severity(code),
        path=diagnostic.filename,
        message=diagnostic.message,
        line=row,
        column=diagnostic.location.column,
        end_line=diagnostic.end_location.row,
        anchor=source[row - 1].strip() if 0 < row <= len(source) else "",
        fix=diagnostic.fix.message if diagnostic.fix is not None else None,
        tool=f"ruff {version}",
        url=diagnostic.url,
    )


def _severity(code: str) -> Severity:
    if code in _HARMLESS:
        return "info"
    if (
        code in _HIGH
        or code in _HIGH_SECURITY
        or code.startswith(("E9", "PLE", "syntax", "invalid"))
    ):
        return "high"
    if code.startswith(("S", "B", "BLE", "ASYNC", "C901", "PLW", "DTZ", "F")):
        return "medium" if code not in {"F401", "F841"} else "low"
    if code.startswith(("D", "I", "Q", "W")):
        return "info"
    return "low"
