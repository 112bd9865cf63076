from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import Finding, content_id, new_id, with_ids

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.integers(1, 10**9), st.binary(min_size=10, max_size=10), st.binary(min_size=10))
def test_ids_sort_by_the_time_they_were_made(millis: int, first: bytes, second: bytes) -> None:
    later = START + timedelta(milliseconds=millis)
    assert new_id("x", now=START, entropy=first) < new_id("x", now=later, entropy=second)


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        new_id("x", now=START, entropy=b"short")


@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=2, max_size=4))
def test_parts_are_not_confused_with_their_concatenation(parts: list[str]) -> None:
    joined = ["".join(parts)]
    assert content_id(*parts) != content_id(*joined)


def finding(line: int, anchor: str) -> Finding:
    return Finding(rule="t:1", severity="low", path="a.py", message="m", line=line, anchor=anchor)


def test_a_finding_keeps_its_id_when_lines_move_above_it() -> None:
    (before,) = with_ids([finding(3, "import os")])
    (after,) = with_ids([finding(40, "import os")])
    assert before.id == after.id != ""


def test_equal_findings_in_one_file_have_different_ids_in_line_order() -> None:
    late, early = with_ids([finding(9, "x"), finding(2, "x")])
    assert late.id != early.id
    assert with_ids([finding(2, "x")])[0].id == early.id
