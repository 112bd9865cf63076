from __future__ import annotations

from datetime import timedelta

import pytest

from aiex.cluster import Store
from aiex.context import Shown, ShownContext, ShownPiece
from aiex.core import Span
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


def context(
    clock: FakeClock, call: str, *, pieces: int = 2, request: str = "req_1"
) -> ShownContext:
    return ShownContext(
        request_id=request,
        call_id=call,
        at=clock.now(),
        model="local:small",
        pieces=tuple(
            ShownPiece(
                path=f"src/{n}.py",
                span=Span(n, n + 9),
                sha256="0" * 64,
                reason="calls it",
                tokens=n,
            )
            for n in range(pieces)
        ),
        left_out=("src/large.py",),
    )


async def test_what_was_shown_for_a_request_comes_back_call_by_call(
    store: Store, clock: FakeClock
) -> None:
    shown = Shown(store)
    first = context(clock, "b")
    clock.advance(1)
    second = context(clock, "a", pieces=0)
    for one in (second, first, context(clock, "c", request="req_2")):
        await shown.add(one)

    assert await shown.of("req_1") == [first, second]
    assert await shown.of("req_3") == []


async def test_a_context_of_very_many_pieces_comes_back_whole(
    store: Store, clock: FakeClock
) -> None:
    shown = Shown(store)
    large = context(clock, "a", pieces=20_000)
    await shown.add(large)

    assert await shown.of("req_1") == [large]


async def test_the_newest_contexts_come_first_and_old_ones_are_forgotten(
    store: Store, clock: FakeClock
) -> None:
    shown = Shown(store)
    start = clock.now()
    for number in range(4):
        await shown.add(context(clock, str(number), request=f"req_{number}"))
        clock.advance(3600)

    assert [one.call_id for one in await shown.recent(limit=2)] == ["3", "2"]
    clock.advance(timedelta(days=90).total_seconds() - 2 * 3600)
    assert clock.now() > start
    assert [one.call_id for one in await shown.recent()] == ["3"]
