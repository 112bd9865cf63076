from __future__ import annotations

import pytest

from aiex.cluster import Store, Write
from aiex.context import TokenFactors
from aiex.core import TokenFactor

pytestmark = pytest.mark.anyio


def factor(value: float, *, family: str = "qwen") -> TokenFactor:
    return TokenFactor(family=family, basis="bytes", factor=value, lessons=3)


async def test_the_next_process_knows_what_this_one_learned(store: Store) -> None:
    await TokenFactors(store).keep([factor(0.7), factor(0.9, family="gpt")])

    assert list(await TokenFactors(store).load()) == [factor(0.9, family="gpt"), factor(0.7)]


async def test_only_what_has_changed_is_written(store: Store) -> None:
    factors = TokenFactors(store)
    assert await factors.keep([factor(0.7)]) == 1
    assert await factors.keep([factor(0.7)]) == 0

    again = TokenFactors(store)
    known = await again.load()
    assert await again.keep(known) == 0
    assert await again.keep([factor(0.8), *known[1:]]) == 1


async def test_what_another_version_wrote_is_passed_by(store: Store) -> None:
    await TokenFactors(store).keep([factor(0.7)])
    odd = Write(table="token_factor", key=("gpt", "words"), value=b'{"family":"gpt"}')
    await store.transact([odd])

    assert await TokenFactors(store).load() == [factor(0.7)]
