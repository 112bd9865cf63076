from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import anyio
import msgspec
import pytest

from aiex.assistant import Run
from aiex.core import (
    REQUEST_SCHEMA,
    ConflictError,
    DeadlineError,
    Event,
    Failed,
    Finished,
    NotFoundError,
    Principal,
    RefusedError,
    Request,
    Started,
    Text,
    UsageError,
)
from aiex.gateway import Gateway
from aiex.gateway.journal import EventJournal
from aiex.gateway.local import LocalGateway
from aiex.runtime import SystemClock
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

DONE = Finished(status="ok", data=msgspec.Raw(b"{}"))


class Say(msgspec.Struct, frozen=True, kw_only=True):
    words: list[str]


class Speaker:
    """A verb that does what the test tells it to."""

    name = "say"
    arguments_type = Say

    def __init__(self, then: Callable[[], Awaitable[None]] | None = None) -> None:
        self._then = then

    async def run(self, arguments: Say, run: Run) -> Finished:
        for word in arguments.words:
            await run.emit(Text(text=word))
        if self._then is not None:
            await self._then()
        return DONE


class NoStore:
    async def info(self) -> Mapping[str, str]:
        return {"backend": "none"}


def gateway(then: Callable[[], Awaitable[None]] | None = None) -> LocalGateway:
    return LocalGateway({"say": lambda: Speaker(then)}, clock=SystemClock(), store=NoStore())


def request(*words: str, id_: str = "r1", seconds: float | None = None) -> Request:
    deadline = None if seconds is None else SystemClock().now() + timedelta(seconds=seconds)
    return Request(
        id=id_,
        verb="say",
        arguments=msgspec.Raw(msgspec.json.encode(Say(words=list(words)))),
        principal=Principal(user="ada", interface="test"),
        deadline=deadline,
    )


async def events(door: Gateway, id_: str = "r1", after: int = 0) -> list[Event]:
    with anyio.fail_after(10):
        return [event async for event in door.attach(id_, after=after)]


async def test_events_are_numbered_without_gaps_and_end_with_the_result() -> None:
    async with gateway() as door:
        await door.submit(request("a", "b"))
        seen = await events(door)
    assert [event.id for event in seen] == [1, 2, 3, 4]
    assert [type(event.body) for event in seen] == [Started, Text, Text, Finished]


async def test_two_interfaces_see_the_same_events_and_one_can_replay_from_an_id() -> None:
    async with gateway() as door:
        await door.submit(request("a", "b", "c"))
        first, second = await events(door), await events(door)
        tail = await events(door, after=3)
    assert first == second
    assert tail == first[3:]


async def test_attaching_while_the_verb_runs_gets_old_events_then_new_ones() -> None:
    go_on = anyio.Event()
    seen: list[Event] = []
    async with gateway(go_on.wait) as door:
        await door.submit(request("a"))
        with anyio.fail_after(10):
            async for event in door.attach("r1"):
                seen.append(event)
                if isinstance(event.body, Text):
                    go_on.set()
    assert isinstance(seen[-1].body, Finished)


async def test_cancel_stops_the_verb_and_says_interrupted() -> None:
    stopped = anyio.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with gateway(wait) as door:
        await door.submit(request("a"))
        await anyio.wait_all_tasks_blocked()
        assert await door.cancel("r1")
        assert stopped.is_set()
        last = (await events(door))[-1].body
        assert isinstance(last, Failed)
        assert last.error.code == "interrupted"
        assert not await door.cancel("r1")


async def test_a_deadline_ends_the_verb_with_code_deadline() -> None:
    async with gateway(anyio.sleep_forever) as door:
        await door.submit(request("a", seconds=0.05))
        last = (await events(door))[-1].body
    assert isinstance(last, Failed)
    assert last.error.code == "deadline"


async def test_a_verbs_own_time_out_is_not_taken_for_the_deadline() -> None:
    async def fail() -> None:
        raise TimeoutError

    async with gateway(fail) as door:
        await door.submit(request(seconds=60))
        last = (await events(door))[-1].body
    assert isinstance(last, Failed)
    assert last.error.code == "internal"


async def test_an_error_of_the_verb_comes_as_its_code_even_out_of_a_task_group() -> None:
    async def fail() -> None:
        raise RefusedError("no", hint="ask")

    async def fail_in_group() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)

    for then in (fail, fail_in_group):
        async with gateway(then) as door:
            await door.submit(request())
            last = (await events(door))[-1].body
        assert isinstance(last, Failed)
        assert (last.error.code, last.error.hint) == ("refused", "ask")


async def test_a_fault_in_one_verb_leaves_the_other_running() -> None:
    async def fault() -> None:
        msg = "boom"
        raise KeyError(msg)

    async with gateway(fault) as door:
        await door.submit(request(id_="r1"))
        await door.submit(request("x", id_="r2"))
        assert isinstance((await events(door, "r1"))[-1].body, Failed)
        assert any(isinstance(event.body, Text) for event in await events(door, "r2"))


async def test_what_cannot_be_admitted_is_refused_before_anything_runs() -> None:
    async with gateway() as door:
        with pytest.raises(UsageError, match="no verb 'sing'") as unknown:
            await door.submit(msgspec.structs.replace(request(), verb="sing"))
        assert unknown.value.hint == "verbs: say"
        with pytest.raises(UsageError, match="words"):
            await door.submit(msgspec.structs.replace(request(), arguments=msgspec.Raw(b"{}")))
        with pytest.raises(UsageError, match="do not fit"):
            await door.submit(msgspec.structs.replace(request(), arguments=msgspec.Raw(b'{"a')))
        with pytest.raises(UsageError, match="newer Aiex"):
            await door.submit(msgspec.structs.replace(request(), schema=REQUEST_SCHEMA + 1))
        with pytest.raises(DeadlineError):
            await door.submit(request(seconds=-1))
        assert await door.operations.requests() == []
        await door.submit(request())
        with pytest.raises(ConflictError):
            await door.submit(request())


async def test_operations_tell_how_each_request_stands() -> None:
    async with gateway(anyio.sleep_forever) as door:
        await door.submit(request("a"))
        await anyio.wait_all_tasks_blocked()
        (state,) = await door.operations.requests()
        assert (state.state, state.user, state.verb) == ("running", "ada", "say")
        await door.cancel("r1")
        assert (await door.operations.requests())[0].state == "failed"


async def test_leaving_the_gateway_ends_what_runs() -> None:
    stopped = anyio.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with gateway(wait) as door:
        await door.submit(request())
        await anyio.wait_all_tasks_blocked()
    assert stopped.is_set()


async def test_a_reader_that_asks_for_dropped_events_is_told() -> None:
    clock = FakeClock()
    journal = EventJournal("r1", capacity=2)
    for word in "abc":
        journal.append(Text(text=word), at=clock.now())
    journal.append(DONE, at=clock.now())
    with pytest.raises(NotFoundError, match="events 1 to 2"):
        [event async for event in journal.read(after=0)]
    assert [event.id async for event in journal.read(after=2)] == [3, 4]


async def test_a_slow_reader_holds_up_neither_the_verb_nor_another_reader() -> None:
    async with gateway() as door:
        await door.submit(request(*"abcdefgh"))
        slow = door.attach("r1")
        await anext(slow)

        assert len(await events(door)) == 10

        assert [event.id async for event in slow] == list(range(2, 11))


async def test_a_reader_that_leaves_lets_the_request_go_on() -> None:
    go_on = anyio.Event()
    async with gateway(go_on.wait) as door:
        await door.submit(request("a", "b"))
        reader = door.attach("r1")
        await anext(reader)
        await reader.aclose()

        go_on.set()

        assert [event.id for event in await events(door, after=1)] == [2, 3, 4]


async def test_ended_requests_are_forgotten_once_enough_newer_ones_have_ended() -> None:
    door = LocalGateway(
        {"say": lambda: Speaker(None)}, clock=SystemClock(), store=NoStore(), kept=2
    )
    async with door:
        for number in range(4):
            await door.submit(request(id_=f"r{number}"))
            await events(door, f"r{number}")

        assert [state.id for state in await door.operations.requests()] == ["r3", "r2"]
        with pytest.raises(NotFoundError, match="no request r0"):
            await events(door, "r0")


async def test_an_unknown_request_is_not_found() -> None:
    async with gateway() as door:
        with pytest.raises(NotFoundError, match="no request r9"):
            await events(door, "r9")
