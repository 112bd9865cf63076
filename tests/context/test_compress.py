from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiex.context.compress import Item, fit, fold


def words(text: str) -> int:
    return len(text.split())


def item(text: str, *shorter: str) -> Item:
    return Item(path="a.py", start_line=1, text=text, reason="asked for", shorter=shorter)


def test_everything_that_fits_is_shown_whole() -> None:
    fitted = fit([item("a b\n"), item("c\n")], 3, words)
    assert [shown.form for shown in fitted.shown] == ["whole", "whole"]
    assert (fitted.tokens, fitted.left_out) == (3, ())


def test_a_shorter_form_stands_in_before_an_item_is_dropped() -> None:
    fitted = fit([item("a\n"), item("b c d\n", "b c\n", "b\n")], 3, words)
    assert [shown.text for shown in fitted.shown] == ["a\n", "b c\n"]


def test_a_shorter_form_says_in_which_line_it_begins() -> None:
    text = "".join(f"line {n}\n" for n in range(10, 20))
    item = Item(
        path="a.py", start_line=10, text=text, reason="x", shorter=("line 14\nline 15\n",),
        skipped=(4,),
    )  # fmt: skip

    assert fit([item], 1000, len).shown[0].start_line == 10
    assert fit([item], 20, len).shown[0].start_line == 14


def test_a_small_item_fits_after_a_large_one_was_left_out() -> None:
    large = item("b c d e\n")
    fitted = fit([item("a\n"), large, item("f\n")], 2, words)
    assert [shown.text for shown in fitted.shown] == ["a\n", "f\n"]
    assert fitted.left_out == (large,)


def test_the_first_item_is_cut_after_a_line_and_marked() -> None:
    text = "".join(f"line {n}\n" for n in range(100))
    (shown,) = fit([item(text)], 20, words).shown
    assert shown.form == "cut"
    assert shown.text.startswith("line 0\nline 1\n")
    kept = shown.text.count("\n") - 1
    assert shown.text.endswith(f"[... {100 - kept} more lines left out ...]\n")
    assert shown.tokens <= 20 < words(text)


def test_a_budget_too_small_for_one_line_shows_nothing_and_says_so() -> None:
    fitted = fit([item("a b c d e f g h i j\n" * 3)], 5, words)
    assert fitted.shown == ()
    assert len(fitted.left_out) == 1


@given(
    st.lists(st.lists(st.text("ab \n\u2028", max_size=40), min_size=1, max_size=3), max_size=6),
    st.integers(0, 60),
)
def test_the_budget_is_never_exceeded_and_nothing_is_lost_in_silence(
    texts: list[list[str]], budget: int
) -> None:
    items = [item(first, *rest) for first, *rest in texts]
    fitted = fit(items, budget, len)
    assert fitted.tokens == sum(len(shown.text) for shown in fitted.shown) <= budget
    assert len(fitted.shown) + len(fitted.left_out) == len(items)


def test_bodies_are_folded_to_one_line_that_says_how_long_they_were() -> None:
    text = "class A:\n    def f(self):\n        x\n        y\n\n    def g(self): pass\n"
    assert fold(text, [(3, 4), (6, 6)]) == (
        "class A:\n    def f(self):\n        # ... 2 lines ...\n\n    def g(self): pass\n"
    )


def test_a_body_inside_a_folded_one_goes_with_it() -> None:
    text = "a\n  b\n  c\n  d\ne\n"
    assert fold(text, [(3, 4), (2, 4)], comment="//") == "a\n  // ... 3 lines ...\ne\n"


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=5))
def test_folding_keeps_every_line_outside_the_bodies(bodies: list[tuple[int, int]]) -> None:
    text = "".join(f"{n}\n" for n in range(1, 21))
    inside = {n for first, last in bodies if first < last <= 20 for n in range(first, last + 1)}
    kept = {int(line) for line in fold(text, bodies).split("\n") if line.isdigit()}
    assert kept >= set(range(1, 21)) - inside
