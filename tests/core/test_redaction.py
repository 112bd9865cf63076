"""Secrets are masked as they are, and as they stand in addresses and in JSON."""

from __future__ import annotations

import json
from urllib.parse import quote

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import MASK, Redactor, redacted

SECRETS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=40).filter(
    lambda text: not set(text) & set(MASK) and text not in json.dumps([quote(MASK)])
)


@given(secret=SECRETS)
def test_a_secret_that_is_held_is_found_in_each_form(secret: str) -> None:
    redact = Redactor([secret])
    for form in (secret, quote(secret, safe=""), msgspec.json.encode(secret).decode()[1:-1]):
        assert form not in redact.without_held(f"<{form}>")


def test_short_secrets_are_not_looked_for() -> None:
    assert Redactor(["seven77"])("seven77") == "seven77"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert Redactor(["zq7-secret", "zq7-secret-more"])("zq7-secret-more") == MASK


def test_what_only_looks_like_a_secret_stays_where_only_held_ones_go() -> None:
    redact = Redactor(["zq7-secret"])
    text = "zq7-secret ghp_0123456789abcdefghij"
    assert redact.without_held(text) == f"{MASK} ghp_0123456789abcdefghij"
    assert redact(text) == f"{MASK} {MASK}"


def test_data_stays_json_and_loses_secrets_in_names_and_texts() -> None:
    raw = msgspec.Raw(b'{"zq7-secret":[1,null,"http://a:1","x@y zq7-secret"],"b":{"c":true}}')

    assert json.loads(bytes(Redactor(["zq7-secret"]).data(raw))) == {
        MASK: [1, None, "http://a:1", f"x@y {MASK}"],
        "b": {"c": True},
    }


def test_a_login_does_not_reach_over_a_quote() -> None:
    text = '{"a":"http://127.0.0.1:80","b":"me@host"}'
    assert redacted(text) == text
