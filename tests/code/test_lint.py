"""What ruff reports becomes findings; what would end ruff is not given to it."""

from __future__ import annotations

import json

import pytest

from aiex.code import read_facts, read_ruff, unfit_for_ruff


def report(code: str | None, row: int = 2, **more: object) -> bytes:
    diagnostic = {
        "code": code,
        "filename": "a.py",
        "message": "said",
        "location": {"row": row, "column": 5},
        "end_location": {"row": row, "column": 9},
        **more,
    }
    return json.dumps([diagnostic]).encode()


def test_a_diagnostic_becomes_a_finding_with_its_line_as_anchor() -> None:
    given = report("F401", fix={"message": "Remove it", "edits": []}, url="about:F401")

    (finding,) = read_ruff(given, version="1.2", lines={"a.py": ["import a", "  import os  "]})

    assert (finding.rule, finding.path, finding.line, finding.column, finding.end_line) == (
        *("ruff:F401", "a.py", 2),
        *(5, 2),
    )
    assert (finding.anchor, finding.fix, finding.tool) == ("import os", "Remove it", "ruff 1.2")
    assert finding.url == "about:F401"


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        ("F821", "high"),
        ("S602", "high"),
        ("E999", "high"),
        ("invalid-syntax", "high"),
        (None, "high"),
        ("S105", "medium"),
        ("C901", "medium"),
        ("F401", "low"),
        ("E711", "low"),
        ("S101", "info"),
        ("D100", "info"),
    ],
)
def test_what_breaks_is_worse_than_what_displeases(code: str | None, severity: str) -> None:
    (finding,) = read_ruff(report(code), version="1", lines={})

    assert finding.severity == severity


@pytest.mark.parametrize("row", [0, 3, 900])
def test_a_line_that_is_not_there_gives_no_anchor(row: int) -> None:
    (finding,) = read_ruff(report("F401", row), version="1", lines={"a.py": ["x", "y"]})

    assert finding.anchor == ""


@pytest.mark.parametrize("given", [b"", b"{}", b"[{}]", b"ruff failed", b'[{"code": 1}]'])
def test_what_is_no_report_is_an_error(given: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_ruff(given, version="1", lines={})


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"x = 1\n", None),
        (b"x = " + b"-" * 1000 + b"1\n", "levels"),
        (b"def f(:\n" + b"x" * 5000 + b"\n", "long line"),
        (b"# \xe9\n", "not UTF-8"),
        (b"\0", "binary"),
        (b"x = '" + b"y" * 5000 + b"'\n", None),
    ],
)
def test_what_would_end_ruff_is_not_given_to_it(source: bytes, reason: str | None) -> None:
    found = unfit_for_ruff(source, read_facts(source, "python"))

    assert (found is None) if reason is None else (reason in str(found))
