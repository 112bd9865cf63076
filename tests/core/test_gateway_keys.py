from __future__ import annotations

import hashlib
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import KEY_ENTROPY_BYTES, digest_of_key, is_key_id, key_id_of, new_key, redacted


@given(st.binary(min_size=KEY_ENTROPY_BYTES, max_size=KEY_ENTROPY_BYTES))
def test_a_key_has_its_form_whatever_it_is_made_of(entropy: bytes) -> None:
    key = new_key(entropy)

    assert re.fullmatch(r"aiex_[0-9a-z]{10}_[A-Za-z0-9_-]{43}", key.token)
    assert key_id_of(key.token) == key.id
    assert is_key_id(key.id)
    assert key.digest == hashlib.sha256(key.token.encode()).hexdigest()
    assert key.token not in repr(key)
    assert redacted(f"say {key.token}.") == "say [redacted]."


@given(st.binary(min_size=32, max_size=32), st.integers(0, 255))
def test_every_bit_of_the_secret_counts(secret: bytes, bit: int) -> None:
    other = bytearray(secret)
    other[bit // 8] ^= 1 << bit % 8

    assert new_key(bytes(7) + secret).token != new_key(bytes(7) + bytes(other)).token


def test_no_two_identifiers_are_the_same() -> None:
    assert len({new_key(os.urandom(KEY_ENTROPY_BYTES)).id for _ in range(2000)}) == 2000


def test_too_little_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="39 random bytes"):
        new_key(bytes(38))


@given(st.text())
def test_any_text_that_is_sent_has_a_digest_and_an_identifier(text: str) -> None:
    assert len(digest_of_key(text)) == 32
    assert isinstance(key_id_of(text), str)
    assert not is_key_id(text) or len(text) == 10
