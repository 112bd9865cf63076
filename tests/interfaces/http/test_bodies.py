"""A key that is there twice is found, however the body is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiex.core import UsageError
from aiex.interfaces.http.bodies import read_body

NAMES = st.sampled_from(["", "a", "b", "model", "é", '"q', "\u2028", "\\"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=400, deadline=None)
@given(
    pairs=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    comma=st.sampled_from([",", ", ", " ,\n"]),
    colon=st.sampled_from([":", ": ", " : "]),
    is_ascii=st.booleans(),
    padding=st.sampled_from([0, 1, 5000]),
)
def test_a_name_that_is_there_twice_is_found(
    pairs: list[tuple[str, object]], comma: str, colon: str, is_ascii: bool, padding: int
) -> None:
    written = [
        json.dumps(name, ensure_ascii=is_ascii) + colon + json.dumps(value, ensure_ascii=is_ascii)
        for name, value in pairs
    ]
    data = f"{{{' ' * padding}{comma.join(written)}}}".encode()
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        read_body(data)
    else:
        with pytest.raises(UsageError, match="twice"):
            read_body(data)
