"""A question is understood without a model."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.context import understand


def test_names_in_quotes_and_in_code_style_are_names() -> None:
    query = understand("Why does `Cart.add` lose max_weight when HTTPCart calls render()?")

    assert set(query.names) == {"add", "max_weight", "HTTPCart", "render"}


def test_paths_and_places_are_told_apart() -> None:
    query = understand("look at src/cart.py, lib/shop/ and src/till.py:12")

    assert query.paths == ("src/cart.py", "lib/shop")
    assert [(frame.path, frame.line) for frame in query.frames] == [("src/till.py", 12)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('  File "shop/cart.py", line 7, in total\n    x\nKeyError: 1', ("shop/cart.py", 7)),
        ("    at total (src/cart.ts:7:3)", ("src/cart.ts", 7)),
        ("    (shop 0.1.0) lib/cart.ex:7: Cart.total/1", ("lib/cart.ex", 7)),
        ("\tcart.go:7 +0x1d", ("cart.go", 7)),
        ("src/cart.rs:7:3: error: no", ("src/cart.rs", 7)),
    ],
)
def test_a_traceback_of_any_language_names_its_places(text: str, place: tuple[str, int]) -> None:
    assert place in [(frame.path, frame.line) for frame in understand(text).frames]


def test_what_is_said_of_the_commit_itself_is_no_question() -> None:
    query = understand("round totals\n\nCloses #12\nCo-authored-by: Ada <ada@example.org>")

    assert set(query.terms) == {"round", "total"}


def test_common_words_count_only_where_there_are_no_others() -> None:
    assert "use" not in understand("use the ledger").terms
    assert understand("use it").terms


def test_what_comes_first_counts_more() -> None:
    query = understand("ledger\n\ntill")

    assert query.terms["ledger"] > query.terms["till"]


@pytest.mark.parametrize(
    ("text", "wants"),
    [
        ("where are the tests of the cart?", True),
        ("which fixture makes a till", True),
        ("how is a cart rendered?", False),
        ("test(cart): round totals", False),
        ("the latest contest", False),
    ],
)
def test_whoever_asks_for_tests_is_understood(text: str, wants: bool) -> None:
    assert understand(text).wants_tests is wants


@pytest.mark.parametrize("text", ["Cart", "parse_url", "Cart.total"])
def test_a_name_alone_is_a_name(text: str) -> None:
    assert understand(text).is_name
    assert not understand(f"where is {text} used").is_name


@given(st.text(max_size=500))
def test_any_text_is_understood(text: str) -> None:
    query = understand(text)

    assert query.text == text
    assert all(weight > 0 for weight in query.terms.values())
    assert set(query.stems) or not query.terms


@pytest.mark.parametrize(
    "piece", ["a.", "a/", "a_", "aB", "'", "`a", "x:1 ", "::", "-a", "  File "]
)
def test_what_is_pasted_by_the_page_is_understood_in_time(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    began = time.process_time()

    understand(text)

    # Quadratic work would take minutes: this is a bound on its kind, not on its speed.
    assert time.process_time() - began < 20
