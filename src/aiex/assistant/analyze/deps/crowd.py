"""Doing many small things a few at a time, until a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

__all__ = ["for_each"]

_AT_ONCE = 8

T = TypeVar("T")


async def for_each(
    items: Sequence[T],
    do: Callable[[T], Awaitable[None]],
    *,
    tell: Callable[[int], Awaitable[None]],
    seconds: float,
) -> bool:
    """Do *do* with each of *items*, at most 8 at once; return whether that was done in time.

    Args:
        items: What there is to do.
        do: Keeps its own result, so that what was done by the deadline stays.
        tell: Is told how many are done.
        seconds: Time for all of them.
    """
    waiting = iter(items)
    done = 0

    async def work() -> None:
        nonlocal done
        for item in waiting:
            await do(item)
            done += 1
            await tell(done)

    with anyio.move_on_after(seconds) as scope:
        async with anyio.create_task_group() as tasks:
            for _ in range(min(_AT_ONCE, len(items))):
                tasks.start_soon(work)
    return not scope.cancelled_caught
