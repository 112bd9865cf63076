from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import pytest
from tests.gateway import runner
from tests.gateway.runner import Process, request

from aiex.cluster import DELETE, Write
from aiex.core import Event, Failed, Finished, NotFoundError, Started, Text
from aiex.gateway.tables import PROCESS, REQUEST, REQUEST_EVENT

pytestmark = pytest.mark.anyio

EVENT = msgspec.json.Decoder(Event)
SECONDS = 20


class Runner:
    """Another process, which runs the request `r1`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    async def tell(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    async def event(self) -> Event:
        """Return the next event as its own reader gets it."""
        assert self.process.stdout is not None
        line = await anyio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True)
        return EVENT.decode(line)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


@contextmanager
def running(path: Path) -> Iterator[Runner]:
    with subprocess.Popen(
        [sys.executable, runner.__file__, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Runner(process)
        finally:
            process.kill()


async def following(
    process: Process, after: int = 0, id_: str = "r1"
) -> AsyncGenerator[Event, None]:
    async for event in process.gateway.attach(id_, after=after):
        yield event


async def known(process: Process) -> None:
    """Return once the request of the other process is in the store."""
    with anyio.fail_after(SECONDS):
        while await process.store.get(REQUEST.name, ("r1",)) is None:
            async with process.store.watch(REQUEST.name, after=0) as changes:
                async for _ in changes:
                    break


def said(events: list[Event]) -> list[str]:
    return [event.body.text for event in events if isinstance(event.body, Text)]


async def test_another_process_lists_attaches_and_replays_from_an_id(tmp_path: Path) -> None:
    with running(tmp_path / "s.db") as other:
        async with AsyncExitStack() as stack:
            here = await Process(tmp_path / "s.db", "here").open(stack)
            await other.tell("a", "b")
            await known(here)

            (state,) = await here.gateway.operations.requests()
            assert (state.id, state.verb, state.user, state.state) == (
                "r1", "tell", "ada", "running",
            )  # fmt: skip
            whole: list[Event] = []
            with anyio.fail_after(SECONDS):
                async for event in following(here):
                    whole.append(event)
                    if said(whole) == ["a", "b"] and len(whole) == 3:
                        await other.tell("c")
                        other.end()
                own = [await other.event() for _ in whole]
                tail = [event async for event in following(here, after=3)]

            assert whole == own
            assert [event.id for event in whole] == [1, 2, 3, 4, 5]
            assert isinstance(whole[0].body, Started)
            assert isinstance(whole[-1].body, Finished)
            assert tail == whole[3:]
            assert (await here.gateway.operations.request("r1")).state == "finished"


async def test_another_process_cancels_it(tmp_path: Path) -> None:
    with running(tmp_path / "s.db") as other:
        async with AsyncExitStack() as stack:
            here = await Process(tmp_path / "s.db", "here").open(stack)
            await other.tell("a")
            await known(here)

            with anyio.fail_after(SECONDS):
                assert await here.gateway.cancel("r1")
                last = [event async for event in following(here)][-1]

            assert isinstance(last.body, Failed)
            assert last.body.error.code == "interrupted"
            assert (await here.gateway.operations.request("r1")).state == "failed"
            assert not await here.gateway.cancel("r1")


async def test_one_whose_process_was_killed_is_told_as_failed(tmp_path: Path) -> None:
    with running(tmp_path / "s.db") as other:
        async with AsyncExitStack() as stack:
            here = await Process(tmp_path / "s.db", "here").open(stack)
            await other.tell("a")
            await known(here)
            other.process.kill()

            with anyio.fail_after(SECONDS):
                events = [event async for event in following(here)]

            assert isinstance(events[-1].body, Failed)
            assert "is gone" in events[-1].body.error.message
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            (state,) = await here.gateway.operations.requests()
            assert state.state == "failed"
            assert not await here.gateway.cancel("r1")


async def test_a_list_tells_who_is_gone_before_anybody_follows(tmp_path: Path) -> None:
    with running(tmp_path / "s.db") as other:
        async with AsyncExitStack() as stack:
            here = await Process(tmp_path / "s.db", "here").open(stack)
            await other.tell("a")
            await known(here)
            other.process.kill()
            other.process.wait()
            gone = Write(table=PROCESS.name, key=("runner",), value=DELETE)
            await here.store.transact([gone])  # as its time to live does after five seconds

            (state,) = await here.gateway.operations.requests()
            with anyio.fail_after(SECONDS):
                events = [event async for event in following(here)]

            assert state.state == "failed"
            assert (events[-1].id, type(events[-1].body)) == (state.last_event, Failed)
            assert sum(isinstance(event.body, Failed) for event in events) == 1


async def test_large_events_arrive_whole_and_in_order(tmp_path: Path) -> None:
    large = ["ü" * 150_000, "b" * 200_000, "c"]
    with running(tmp_path / "s.db") as other:
        async with AsyncExitStack() as stack:
            here = await Process(tmp_path / "s.db", "here").open(stack)
            await other.tell("first")
            await known(here)
            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(anyio.to_thread.run_sync, _write, other, large)
                    own = [await other.event() for _ in range(6)]  # its pipe would fill up
                events = [event async for event in following(here)]

    assert said(events) == ["first", *large]
    assert events == own


def _write(other: Runner, lines: list[str]) -> None:
    assert other.process.stdin is not None
    other.process.stdin.write("".join(f"{line}\n" for line in lines))
    other.process.stdin.close()


async def test_what_streams_is_not_stored(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        here = await Process(tmp_path / "s.db", "here").open(stack)
        with anyio.fail_after(SECONDS):
            events = [event async for event in here.gateway.run(request(verb="stream"))]

        assert len(events) == 52
        assert await here.store.get(REQUEST.name, ("r1",)) is None
        assert not await here.store.scan(REQUEST_EVENT.name, ("r1",), limit=1)


async def test_one_that_nobody_knows_is_not_found(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        here = await Process(tmp_path / "s.db", "here").open(stack)

        with pytest.raises(NotFoundError, match="no request r9"):
            await here.gateway.cancel("r9")
        with pytest.raises(NotFoundError, match="no request r9"):
            await anext(following(here, id_="r9"))
