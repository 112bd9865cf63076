"""Findings as SARIF 2.1.0, for code hosts and editors. Pure.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html, read 2026-11-24.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from aiex import __version__
from aiex.core import AnalyzeResult, DepsResult, DiffResult, Finding, NotChecked, Severity

__all__ = ["sarif", "sarif_of_findings"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: dict[Severity, str] = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "info": "note",
}


class _Text(msgspec.Struct):
    text: str


class _Rule(msgspec.Struct, omit_defaults=True, rename="camel"):
    id: str
    help_uri: str | None = None


class _Driver(msgspec.Struct, rename="camel"):
    name: str
    version: str
    rules: list[_Rule]


class _Tool(msgspec.Struct):
    driver: _Driver


class _Artifact(msgspec.Struct, rename="camel"):
    uri: str
    uri_base_id: str = "%SRCROOT%"


class _Region(msgspec.Struct, omit_defaults=True, rename="camel"):
    start_line: int
    start_column: int | None = None
    end_line: int | None = None


class _Place(msgspec.Struct, omit_defaults=True, rename="camel"):
    artifact_location: _Artifact
    region: _Region | None = None


class _Location(msgspec.Struct, rename="camel"):
    physical_location: _Place


class _Properties(msgspec.Struct):
    severity: str
    tool: str


class _Result(msgspec.Struct, omit_defaults=True, rename="camel"):
    rule_id: str
    rule_index: int
    level: str
    message: _Text
    locations: list[_Location]
    partial_fingerprints: dict[str, str]
    properties: _Properties
    baseline_state: str | None = None


class _Notification(msgspec.Struct):
    level: str
    message: _Text


class _Invocation(msgspec.Struct, rename="camel"):
    execution_successful: bool
    tool_execution_notifications: list[_Notification]


class _Run(msgspec.Struct, rename="camel"):
    tool: _Tool
    invocations: list[_Invocation]
    results: list[_Result]
    column_kind: str = "unicodeCodePoints"


class _Log(msgspec.Struct):
    schema: str = msgspec.field(name="$schema")
    version: str
    runs: list[_Run]


def sarif(
    result: AnalyzeResult | DiffResult | DepsResult, not_checked: Sequence[NotChecked]
) -> bytes:
    """Return the findings of *result* as a SARIF log; those of a diff are marked as new."""
    return sarif_of_findings(result.findings, not_checked, are_new=isinstance(result, DiffResult))


def sarif_of_findings(
    findings: Sequence[Finding], not_checked: Sequence[NotChecked], *, are_new: bool = False
) -> bytes:
    """Return *findings* as a SARIF log; what was not checked is in its notifications.

    Args:
        findings: In the order to show.
        not_checked: What a complete answer would have looked at.
        are_new: Whether they are known to be new since a base.
    """
    rules: dict[str, _Rule] = {}
    for finding in findings:
        rules.setdefault(finding.rule, _Rule(id=finding.rule, help_uri=finding.url))
    places = {rule: number for number, rule in enumerate(rules)}
    run = _Run(
        tool=_Tool(_Driver(name="aiex", version=__version__, rules=list(rules.values()))),
        invocations=[_Invocation(True, [_notification(note) for note in not_checked])],
        results=[_result(finding, places[finding.rule], are_new) for finding in findings],
    )
    log = _Log(schema=_SCHEMA, version="2.1.0", runs=[run])
    return msgspec.json.format(msgspec.json.encode(log), indent=2) + b"\n"


def _notification(note: NotChecked) -> _Notification:
    tool = f" ({note.tool})" if note.tool else ""
    return _Notification("warning", _Text(f"not checked: {note.what}{tool}: {note.reason}"))


def _result(finding: Finding, rule_index: int, is_new: bool) -> _Result:
    return _Result(
        rule_id=finding.rule,
        rule_index=rule_index,
        level=_LEVELS[finding.severity],
        message=_Text(finding.message),
        locations=[_Location(_Place(_Artifact(quote(finding.path)), _region(finding)))],
        partial_fingerprints={"aiexFindingId/v1": finding.id},
        properties=_Properties(finding.severity, finding.tool),
        baseline_state="new" if is_new else None,
    )


def _region(finding: Finding) -> _Region | None:
    if finding.line < 1:
        return None
    return _Region(
        start_line=finding.line,
        start_column=finding.column or None,
        end_line=max(finding.end_line, finding.line),
    )
