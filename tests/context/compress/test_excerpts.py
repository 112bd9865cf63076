from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.context.compress.excerpts import closed, closing_fences, excerpt, lines_of


def test_a_text_that_is_short_enough_stays() -> None:
    assert excerpt("one\ntwo\n", 8) == ("one\ntwo\n", 0)


def test_a_fence_is_closed_before_the_note_and_opened_again_after_it() -> None:
    text = "See:\n~~~py\n" + "".join(f"value_{n:03} = {n}\n" for n in range(100)) + "~~~\nSo.\n"

    assert excerpt(text, 110) == (
        (
            "See:\n~~~py\nvalue_000 = 0\nvalue_001 = 1\nvalue_002 = 2\nvalue_003 = 3\n~~~\n"
            "[... 95 lines left out ...]\n"
            "~~~py\nvalue_099 = 99\n~~~\nSo.\n"
        ),
        95,
    )


def test_a_fence_that_the_text_leaves_open_is_closed() -> None:
    assert closed("a\n```\nb") == "a\n```\nb\n```\n"
    assert closed("a\n```\nb\n```") == "a\n```\nb\n```"


def test_a_long_line_is_cut_inside_unless_a_fence_is_near() -> None:
    short, left_out = excerpt("x" * 1000, 90)
    assert short == "x" * 60 + "\n[... 910 characters left out ...]\n" + "x" * 30
    assert left_out == 1

    fenced = "```json " + "y" * 500 + "\n" + "x" * 1000 + "\n```\n" + "z" * 500
    assert excerpt(fenced, 90) == ("[... 4 lines left out ...]\n", 4)


@pytest.mark.parametrize("line", ["``` a`b", "`` x", "    ```"])
def test_what_opens_no_fence(line: str) -> None:
    assert closing_fences([f"{line}\n"]) == [None, None]


def test_a_fence_is_closed_by_its_own_mark_alone() -> None:
    lines = ["````\n", "```\n", "~~~~\n", "```` x\n", "`````\n"]
    assert [fence is not None for fence in closing_fences(lines)] == [False] + [True] * 4 + [False]


LINES = ["```\n", "```py\n", "~~~\n", "some words\n", "more\n", "\n", "é\u2028\n", "x" * 60 + "\n"]


@given(st.lists(st.sampled_from(LINES), max_size=40), st.integers(0, 200))
def test_what_is_kept_is_verbatim_and_on_the_same_side_of_every_fence(
    lines: list[str], most: int
) -> None:
    text = "".join(lines)
    short, left_out = excerpt(text, most)
    assert len(short) <= len(text)
    if not left_out:
        assert short == text
        return
    shown = lines_of(short)
    [at] = [n for n, line in enumerate(shown) if " left out ...]" in line]
    if "characters" in shown[at]:
        assert not any(closing_fences(lines))
        return
    sides = closing_fences(shown)
    assert sides[-1] is None
    assert sides[at] is None  # the note itself is outside of fences
    before = closing_fences(lines)
    head = 0
    while head < at and head < len(lines) and shown[head] == lines[head]:
        assert (sides[head] is None) is (before[head] is None)
        head += 1
    assert at - head <= 1  # but for the line that closes a fence
    tail = len(lines) - head - left_out
    if tail > 0:
        kept = lines[len(lines) - tail :]
        start = len(shown) - tail - (before[-1] is not None)
        assert shown[start : start + tail] == kept
        assert start - at <= 2  # but for the line that opens it again
        for n in range(tail):
            assert (sides[start + n] is None) is (before[len(lines) - tail + n] is None)
