from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from aiex.cluster.local import SqliteStore
from aiex.core import (
    BreakerChanged,
    KeyChanged,
    Missed,
    NodeChanged,
    Published,
    StoreBusyError,
    UsageError,
)
from aiex.gateway.bulletin import Bulletin, matches
from aiex.gateway.presence import Presence
from aiex.gateway.tables import TABLES
from aiex.runtime import SystemClock

pytestmark = pytest.mark.anyio


class Process:
    """What one process has, with a store of its own over the file of all."""

    def __init__(self, path: Path, name: str, *, capacity: int = 10_000) -> None:
        clock = SystemClock()
        self.store = SqliteStore(path, TABLES, clock=clock)
        self.presence = Presence(
            self.store, clock=clock, entropy=secrets.token_bytes, owner=name, node="here"
        )
        self.bulletin = Bulletin(
            self.store, self.presence, clock=clock, node="here", origin=name, capacity=capacity
        )

    async def open(self, stack: AsyncExitStack) -> Process:
        for one in (self.store, self.presence, self.bulletin):
            await stack.enter_async_context(one)
        return self


def node(name: str) -> NodeChanged:
    return NodeChanged(node=name, state="started")


async def take(events: AsyncIterator[Published], count: int) -> list[Published]:
    with anyio.fail_after(20):
        return [await anext(events) for _ in range(count)]


def names(events: list[Published]) -> list[str]:
    return [one.body.node if isinstance(one.body, NodeChanged) else one.name for one in events]


async def test_who_listens_here_gets_an_event_within_the_call(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        async with one.bulletin.subscribe() as events:
            one.bulletin.announce(node("a"))
            one.bulletin.announce(node("b"))

            assert names(await take(events, 2)) == ["a", "b"]


async def test_another_process_hears_it_once_and_so_does_this_one(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        two = await Process(tmp_path / "s.db", "two").open(stack)
        async with one.bulletin.subscribe() as here, two.bulletin.subscribe() as there:
            for name in "abc":
                one.bulletin.announce(node(name))
            assert names(await take(there, 3)) == ["a", "b", "c"]
            two.bulletin.announce(node("d"))

            assert names(await take(here, 4)) == ["a", "b", "c", "d"]
            assert names(await take(there, 1)) == ["d"]


async def test_only_what_a_pattern_means_is_given(tmp_path: Path) -> None:
    opened = BreakerChanged(provider="openai", state="opened")
    created = KeyChanged(id="k1", state="created", user="ann", by="root")
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        async with one.bulletin.subscribe("breaker.*") as some, one.bulletin.subscribe() as all_:
            one.bulletin.announce(created)
            one.bulletin.announce(opened)

            assert (await take(some, 1))[0].body == opened
            assert [one.name for one in await take(all_, 2)] == ["key.created", "breaker.opened"]


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        async with (
            one.bulletin.subscribe(capacity=3) as slow,
            one.bulletin.subscribe(capacity=100) as quick,
        ):
            for number in range(10):
                one.bulletin.announce(node(str(number)))

            missed, *rest = await take(slow, 4)
            assert missed.body == Missed(count=7)
            assert names(rest) == ["7", "8", "9"]
            assert names(await take(quick, 10)) == [str(number) for number in range(10)]


async def test_what_is_dropped_before_it_was_carried_is_told_to_the_other_process(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one", capacity=4).open(stack)
        two = await Process(tmp_path / "s.db", "two").open(stack)
        async with two.bulletin.subscribe() as there:
            for number in range(10):
                one.bulletin.announce(node(str(number)))

            missed, *rest = await take(there, 5)
    assert missed.body == Missed(count=6)
    assert names(rest) == ["6", "7", "8", "9"]
    assert one.bulletin.dropped == 6


async def test_what_was_announced_before_leaving_still_reaches_others(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        two = await Process(tmp_path / "s.db", "two").open(stack)
        async with two.bulletin.subscribe() as there:
            async with AsyncExitStack() as short:
                one = await Process(tmp_path / "s.db", "one").open(short)
                one.bulletin.announce(node("last words"))

            assert names(await take(there, 1)) == ["last words"]


async def test_nothing_is_written_where_nobody_listens(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        watcher = await Process(tmp_path / "s.db", "watcher").open(stack)
        before = (await watcher.store.info())["sequence"]
        seen = watcher.store.subscribe(">")
        async with seen as messages:
            async with AsyncExitStack() as short:
                one = await Process(tmp_path / "s.db", "one").open(short)
                one.bulletin.announce(node("a"))
            await watcher.store.publish("end", b"")
            with anyio.fail_after(20):
                assert (await anext(messages)).subject == "end"
        assert (await watcher.store.info())["sequence"] == before


async def test_events_wait_for_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    class Flaky:
        def __init__(self, store: SqliteStore) -> None:
            self.store = store
            self.fails = 2

        async def publish(self, subject: str, value: bytes) -> None:
            if self.fails:
                self.fails -= 1
                raise StoreBusyError("busy")
            await self.store.publish(subject, value)

    async def at_once(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    async with AsyncExitStack() as stack:
        two = await Process(tmp_path / "s.db", "two").open(stack)
        one = Process(tmp_path / "s.db", "one")
        await stack.enter_async_context(one.store)
        await stack.enter_async_context(one.presence)
        flaky = Flaky(one.store)
        bulletin = await stack.enter_async_context(
            Bulletin(
                flaky,  # type: ignore[arg-type]
                one.presence,
                clock=SystemClock(),
                node="here",
                origin="one",
                sleep=at_once,
            )
        )
        async with two.bulletin.subscribe() as there:
            bulletin.announce(node("a"))
            bulletin.announce(node("b"))

            assert names(await take(there, 2)) == ["a", "b"]
    assert flaky.fails == 0


async def test_a_large_crowd_of_events_arrives_whole_and_in_order(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        two = await Process(tmp_path / "s.db", "two").open(stack)
        async with two.bulletin.subscribe(capacity=5000) as there:
            for number in range(3000):
                one.bulletin.announce(node(f"{number}" + "x" * 200))

            heard = names(await take(there, 3000))
    assert [int(name.rstrip("x")) for name in heard] == list(range(3000))


async def test_a_subscriber_of_a_closed_bulletin_comes_to_an_end(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        subscribed = one.bulletin.subscribe()
        events = await subscribed.__aenter__()
        one.bulletin.announce(node("a"))
    with anyio.fail_after(10):
        assert names([event async for event in events]) == ["a"]
    await subscribed.__aexit__(None, None, None)


@pytest.mark.parametrize("pattern", ["", "a..b", ">.a", "a b", "ä"])
async def test_what_is_no_pattern_is_refused(tmp_path: Path, pattern: str) -> None:
    async with AsyncExitStack() as stack:
        one = await Process(tmp_path / "s.db", "one").open(stack)
        with pytest.raises(UsageError, match="no pattern"):
            async with one.bulletin.subscribe(pattern):
                pass


def test_a_last_sign_stands_for_one_word_or_more() -> None:
    assert matches("a.>", "a.b.c")
    assert not matches("a.>", "a")
    assert not matches("a.*", "a.b.c")
    assert matches("*.b", "a.b")
