"""Words are found by their terms, in whatever way they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.context.terms import STOP_WORDS, joined_terms, stem, terms_of


@pytest.mark.parametrize(
    "word", ["filesWithMatches", "FilesWithMatches", "files_with_matches", "files-with-matches"]
)
def test_one_name_in_four_ways_has_one_set_of_terms(word: str) -> None:
    assert set(terms_of(word)) == {"fileswithmatch", "file", "with", "match"}


def test_acronyms_and_digits_are_parts() -> None:
    assert terms_of("HTTPServer2")[1:] == ["http", "server"]
    assert terms_of("utf8_decode")[0] == "utf8decode"
    assert {"utf", "decode"} <= set(terms_of("utf8_decode"))


def test_words_of_other_scripts_are_terms() -> None:
    assert terms_of("größe") == ["größe"]
    assert terms_of("вес_корзины") == ["вескорзины", "вес", "корзины"]


@given(st.text(max_size=200))
def test_terms_are_lower_case_and_hold_no_space(text: str) -> None:
    for term in terms_of(text):
        assert term == term.lower()
        assert term.split() == [term]


@given(st.text(max_size=200))
def test_joined_terms_are_the_terms_and_the_stem_of_each(text: str) -> None:
    terms, stems = joined_terms(text)

    assert terms.split(" ") == (terms_of(text) or [""])
    assert stems.split(" ") == ([stem(term) for term in terms_of(text)] or [""])


def test_relatives_share_a_stem_and_others_do_not() -> None:
    assert len({stem(w) for w in ("connect", "connected", "connecting", "connection")}) == 1
    assert stem("parser") == stem("parse") == stem("parsing")
    assert stem("string") != stem("stringent")


def test_no_name_of_code_is_a_stop_word() -> None:
    assert not STOP_WORDS & {"parse", "token", "render", "config", "request", "error", "file"}
