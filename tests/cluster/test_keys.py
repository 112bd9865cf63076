from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.cluster import LIMITS
from aiex.cluster.keys import decode_key, encode_key, range_below
from aiex.core import UsageError

# Lone surrogates are text too: file names that are not UTF-8 come as such.
PART = st.text(st.characters(exclude_categories=()), min_size=1, max_size=5)
KEY = st.lists(PART, min_size=1, max_size=2).map(tuple)


@given(KEY)
def test_any_text_comes_back_and_is_safe_in_a_subject(key: tuple[str, ...]) -> None:
    text = encode_key(key)

    assert decode_key(text) == key
    assert re.fullmatch(r"[!-~]+", text)
    assert not re.search(r"[*>]|^\.|\.\.|\.$|^\$", text)


@given(KEY, KEY)
def test_encoded_keys_sort_as_their_parts_do(one: tuple[str, ...], two: tuple[str, ...]) -> None:
    assert (encode_key(one) < encode_key(two)) == (one < two)


@given(KEY, KEY)
def test_the_range_below_a_key_holds_exactly_the_longer_keys_that_begin_with_it(
    prefix: tuple[str, ...], key: tuple[str, ...]
) -> None:
    low, high = range_below(prefix)
    for candidate in (key, prefix + key):
        is_below = len(candidate) > len(prefix) and candidate[: len(prefix)] == prefix
        assert (low <= encode_key(candidate) < high) == is_below


def test_a_key_may_have_255_bytes_once_encoded() -> None:
    assert len(encode_key(("a" * LIMITS.key_bytes,))) == 255
    with pytest.raises(UsageError, match="255 bytes"):
        encode_key(("a" * 254, "b"))
    with pytest.raises(UsageError, match="255 bytes"):
        encode_key(("é" * 100,))
