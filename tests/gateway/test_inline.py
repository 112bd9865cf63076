from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import timedelta

import anyio
import msgspec
import pytest

from aiex.core import (
    DeadlineError,
    Event,
    EventBody,
    Failed,
    Finished,
    NotFoundError,
    OverloadedError,
    Principal,
    Request,
    Started,
    UsageError,
    WireBytes,
)
from aiex.gateway.local import LocalGateway
from aiex.runtime import SystemClock

pytestmark = pytest.mark.anyio

DONE = Finished(status="ok", data=msgspec.Raw(b"{}"))


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    pieces: int = 1


class Teller:
    """A verb that yields pieces and then does what the test tells it to."""

    name = "tell"
    arguments_type = Ask

    def __init__(self, then: Callable[[], Awaitable[object]] | None = None) -> None:
        self._then = then
        self.closed = anyio.Event()

    async def stream(self, arguments: Ask, request: Request) -> AsyncGenerator[EventBody, None]:
        try:
            for number in range(arguments.pieces):
                yield WireBytes(data=b"%d" % number)
            if self._then is not None:
                await self._then()
            yield DONE
        finally:
            self.closed.set()


class NoStore:
    async def info(self) -> Mapping[str, str]:
        return {"backend": "none"}


def gateway(verb: Teller) -> LocalGateway:
    return LocalGateway({"tell": lambda: verb}, clock=SystemClock(), store=NoStore())


def request(pieces: int = 1, *, id_: str = "r1", seconds: float | None = None) -> Request:
    deadline = None if seconds is None else SystemClock().now() + timedelta(seconds=seconds)
    return Request(
        id=id_,
        verb="tell",
        arguments=msgspec.Raw(msgspec.json.encode(Ask(pieces=pieces))),
        principal=Principal(user="ada", interface="test"),
        deadline=deadline,
    )


async def all_of(events: AsyncGenerator[Event, None]) -> list[Event]:
    with anyio.fail_after(10):
        return [event async for event in events]


def code_of(event: Event) -> str:
    assert isinstance(event.body, Failed)
    return event.body.error.code


async def test_a_verb_that_streams_runs_in_the_task_of_who_iterates() -> None:
    tasks: set[object] = set()

    async def look() -> None:
        tasks.add(asyncio.current_task())

    async with gateway(Teller(look)) as door:
        seen = await all_of(door.run(request(2)))

    assert tasks == {asyncio.current_task()}
    assert [event.id for event in seen] == [1, 2, 3, 4]
    assert [type(event.body) for event in seen] == [Started, WireBytes, WireBytes, Finished]


async def test_another_can_attach_to_it_and_replay_from_an_id() -> None:
    async with gateway(Teller()) as door:
        seen = await all_of(door.run(request(3)))

        assert await all_of(door.attach("r1")) == seen
        assert await all_of(door.attach("r1", after=3)) == seen[3:]


async def test_it_may_also_be_submitted_and_followed() -> None:
    async with gateway(Teller()) as door:
        await door.submit(request(2))

        assert [event.id for event in await all_of(door.attach("r1"))] == [1, 2, 3, 4]


async def test_closing_the_generator_ends_the_work_at_once_and_the_last_event_says_so() -> None:
    verb = Teller(anyio.sleep_forever)
    async with gateway(verb) as door:
        async with aclosing(door.run(request())) as events:
            await anext(events)
            await anext(events)
        assert verb.closed.is_set()
        last = (await all_of(door.attach("r1")))[-1]

    assert code_of(last) == "interrupted"


async def test_a_reader_whose_task_is_cancelled_ends_the_work_and_stays_cancelled() -> None:
    verb = Teller(anyio.sleep_forever)
    async with gateway(verb) as door:
        with anyio.move_on_after(0.01) as scope:
            await all_of(door.run(request()))
        assert scope.cancelled_caught
        assert verb.closed.is_set()
        assert code_of((await all_of(door.attach("r1")))[-1]) == "interrupted"


async def test_a_deadline_ends_a_verb_that_waits() -> None:
    verb = Teller(anyio.sleep_forever)
    async with gateway(verb) as door:
        seen = await all_of(door.run(request(seconds=0.02)))

    assert code_of(seen[-1]) == "deadline"
    assert verb.closed.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_deadline_does_not_touch_what_the_reader_does_between_two_events() -> None:
    verb = Teller()
    async with gateway(verb) as door, aclosing(door.run(request(3, seconds=0.02))) as events:
        await anext(events)
        await anext(events)
        await anyio.sleep(0.05)  # the reader's own time, in which the deadline passes

        assert code_of(await anext(events)) == "deadline"
        assert verb.closed.is_set()


async def test_cancel_from_elsewhere_ends_it_with_interrupted_for_its_reader() -> None:
    verb = Teller(anyio.sleep_forever)
    async with gateway(verb) as door:
        seen: list[Event] = []

        async def read() -> None:
            seen.extend(await all_of(door.run(request())))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert await door.cancel("r1")
            assert verb.closed.is_set()
        assert code_of(seen[-1]) == "interrupted"
        assert not await door.cancel("r1")


async def test_cancelled_by_both_at_once_the_reader_stays_cancelled() -> None:
    verb = Teller(anyio.sleep_forever)
    async with gateway(verb) as door:
        seen: list[Event] = []

        async def read() -> None:
            seen.extend(await all_of(door.run(request())))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            await door.cancel("r1")  # reaches the reader before the loop's next turn
        assert seen == []
        assert verb.closed.is_set()


async def test_an_error_of_the_verb_is_the_last_event() -> None:
    async def fail() -> None:
        raise OverloadedError("busy", status=529, retry_after=3)

    async with gateway(Teller(fail)) as door:
        last = (await all_of(door.run(request())))[-1].body

    assert isinstance(last, Failed)
    assert (last.error.code, last.error.status, last.error.retry_after) == ("overloaded", 529, 3)


async def test_a_verb_that_ends_without_a_result_is_a_fault() -> None:
    class Silent(Teller):
        async def stream(self, arguments: Ask, request: Request) -> AsyncGenerator[EventBody, None]:
            yield WireBytes(data=b"x")

    async with gateway(Silent()) as door:
        assert code_of((await all_of(door.run(request())))[-1]) == "internal"


async def test_what_is_not_admitted_raises_before_the_verb_begins() -> None:
    verb = Teller()
    async with gateway(verb) as door:
        with pytest.raises(DeadlineError):
            await anext(door.run(request(seconds=-1)))
        with pytest.raises(UsageError, match="no verb"):
            await anext(door.run(msgspec.structs.replace(request(), verb="sing")))
        assert await door.operations.requests() == []


async def test_closing_the_gateway_ends_what_is_read_in_another_task() -> None:
    verb = Teller(anyio.sleep_forever)
    seen: list[Event] = []
    async with anyio.create_task_group() as tasks:
        async with gateway(verb) as door:

            async def read() -> None:
                seen.extend(await all_of(door.run(request())))

            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
        assert verb.closed.is_set()
    assert code_of(seen[-1]) == "interrupted"


async def test_little_is_kept_of_a_long_stream_and_a_late_reader_is_told() -> None:
    async with gateway(Teller()) as door:
        async with aclosing(door.run(request(5000))) as events:
            async for _ in events:
                pass
        with pytest.raises(NotFoundError, match="no longer kept"):
            await all_of(door.attach("r1"))
        assert [event.id for event in await all_of(door.attach("r1", after=5000))] == [5001, 5002]


async def test_a_reader_that_asks_for_more_than_there_is_gets_nothing_and_an_end() -> None:
    async with gateway(Teller()) as door:
        await all_of(door.run(request()))

        assert await all_of(door.attach("r1", after=99)) == []


async def test_a_quiet_verb_pushes_nothing_out_of_memory() -> None:
    loud = Teller()
    quiet = Teller()
    quiet.is_quiet = True  # type: ignore[attr-defined]
    both = LocalGateway(
        {"tell": lambda: loud, "hum": lambda: quiet},
        clock=SystemClock(),
        store=NoStore(),
        kept=2,
    )
    async with both:
        await all_of(both.run(request(id_="r1")))
        for number in range(5):
            asked = msgspec.structs.replace(request(id_=f"q{number}"), verb="hum")
            events = await all_of(both.run(asked))
            assert events[-1].body == DONE
        assert [state.id for state in await both.request_states()] == ["r1"]
        with pytest.raises(NotFoundError):
            await both.request_state("q4")
