from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiex.code import read_facts
from aiex.context import Form, Item, fit, forms_of
from aiex.core import LeftOut


def words(text: str) -> int:
    return len(text.split())


def lines_in(text: str) -> int:
    return text.count("\n")


def item(text: str, *shorter: str) -> Item:
    forms = tuple(Form(text=form) for form in shorter)
    return Item(path="a.py", start_line=1, text=text, reason="asked for", shorter=forms)


def test_everything_that_fits_is_shown_whole() -> None:
    fitted = fit([item("a b\n"), item("c\n")], 3, words)
    assert [shown.form for shown in fitted.shown] == ["whole", "whole"]
    assert (fitted.tokens, fitted.dropped, fitted.left_out) == (3, (), ())


def test_a_shorter_form_stands_in_before_an_item_is_dropped() -> None:
    fitted = fit([item("a\n"), item("b c d\n", "b c\n", "b\n")], 3, words)
    assert [shown.text for shown in fitted.shown] == ["a\n", "b c\n"]


def test_a_shorter_form_says_in_which_line_it_begins() -> None:
    text = "".join(f"line {n}\n" for n in range(10, 20))
    item = Item(
        path="a.py", start_line=10, text=text, reason="x",
        shorter=(Form(text="line 14\nline 15\n", skipped=4),),
    )  # fmt: skip

    assert fit([item], 1000, len).shown[0].start_line == 10
    assert fit([item], 20, len).shown[0].start_line == 14


def test_a_small_item_fits_after_a_large_one_was_left_out() -> None:
    large = item("b c d e\n")
    fitted = fit([item("a\n"), large, item("f\n")], 2, words)
    assert [shown.text for shown in fitted.shown] == ["a\n", "f\n"]
    assert fitted.dropped == (large,)


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
    assert len(fitted.dropped) == 1


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
    assert len(fitted.shown) + len(fitted.dropped) == len(items)


def test_what_is_left_out_is_named_with_its_lines_and_tokens() -> None:
    source = "import a\nimport b\n\n\ndef f():\n" + "    first = 1\n" * 8
    code = Item(
        path="a.py", start_line=1, text=source, reason="x",
        shorter=forms_of(source, read_facts(source.encode(), "python")),
    )  # fmt: skip
    lines = "".join(f"line {n}\n" for n in range(10, 20))
    near = Item(
        path="b.py", start_line=10, text=lines, reason="x", shorter=(Form(text="line 14\n"),)
    )
    long = Item(path="", start_line=1, text=lines, reason="attached", may_be_cut=True)
    fitted = fit([code, near, long, long], 6 + 1 + 4, lines_in)

    assert [shown.text for shown in fitted.shown] == [
        "import a\nimport b\n\n\ndef f():\n    # ... 8 lines ...\n", "line 14\n",
        "line 10\nline 11\nline 12\n[... 7 more lines left out ...]\n",
    ]  # fmt: skip
    assert fitted.left_out == (
        LeftOut(what="a.py:1", how="folded", lines=8, tokens=7, kinds=("bodies",)),
        LeftOut(what="b.py:10", how="shortened", lines=9, tokens=9),
        LeftOut(what="attached", how="cut", lines=7, tokens=6),
        LeftOut(what="attached", how="dropped", lines=10, tokens=10),
    )


def test_a_cut_counts_the_lines_of_the_text_and_not_those_of_its_form() -> None:
    body = "    first = 1\n    second = 2\n    return first\n"
    source = f"def f():\n{body}\n\ndef g():\n{body}\n\nx = 1\ny = 2\n"
    forms = forms_of(source, read_facts(source.encode(), "python"))
    code = Item(path="a.py", start_line=1, text=source, reason="x", shorter=forms[:1])

    def cut_to(lines: int) -> tuple[str, LeftOut]:
        fitted = fit([code], lines, lines_in)
        return fitted.shown[0].text, fitted.left_out[0]

    text, left_out = cut_to(3)
    assert text == "def f():\n    # ... 3 lines ...\n[... 10 more lines left out ...]\n"
    assert left_out == LeftOut(what="a.py:1", how="cut", lines=13, tokens=11, kinds=("bodies",))
    text, left_out = cut_to(2)
    assert text == "def f():\n[... 13 more lines left out ...]\n"
    assert left_out == LeftOut(what="a.py:1", how="cut", lines=13, tokens=12)


def test_a_cut_inside_a_fence_closes_it() -> None:
    text = "# Use\n```sh\n" + "run\n" * 30 + "```\nThat is all.\n"
    fitted = fit([item(text)], 56, len)

    assert fitted.left_out[0].lines == 31
    assert fitted.shown[0].text == "# Use\n```sh\nrun\n```\n[... 31 more lines left out ...]\n"
