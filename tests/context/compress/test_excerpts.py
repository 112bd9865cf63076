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


def is_cut_so(lines: list[str], shown: list[str], head: int, at: int, left_out: int) -> bool:
    """Return whether *shown* has the first *head* of *lines*, a note at *at* for *left_out* of
    them, and the rest, each on the side of every fence that it is on in *lines*."""
    before, sides = closing_fences(lines), closing_fences(shown)
    tail = len(lines) - head - left_out
    start = len(shown) - tail - (before[-1] is not None and tail > 0)
    if head < 0 or tail < 0 or start - at > 2:  # the note, and what opens a fence again
        return False
    kept = [*range(head), *range(len(lines) - tail, len(lines))]
    places = [*range(head), *range(start, start + tail)]
    return all(
        shown[place] == lines[line] and (sides[place] is None) is (before[line] is None)
        for place, line in zip(places, kept, strict=True)
    )


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
    # The line before the note may be the text's own, or close a fence: a reader cannot always tell.
    assert any(is_cut_so(lines, shown, head, at, left_out) for head in (at, at - 1))
