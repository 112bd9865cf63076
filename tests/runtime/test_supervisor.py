"""Children are started again by their rule, with growing pauses, and not for ever."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import ChildError, NotFoundError, UsageError
from aiex.runtime import Child, ChildProcess, Restarts, Started, Supervisor
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


class Pauses:
    """Turns the clock in place of waiting, and remembers by how much."""

    def __init__(self, clock: FakeClock) -> None:
        self.seconds: list[float] = []
        self._clock = clock

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._clock.advance(seconds)
        await anyio.lowlevel.checkpoint()


class Script:
    """A child that does in each run what it is told to, and lives on after the last."""

    def __init__(self, *steps: Callable[[], Awaitable[None]]) -> None:
        self._steps = list(steps)
        self.runs = 0
        self.lives_on = anyio.Event()
        self.stopped = anyio.Event()

    async def __call__(self, started: Started) -> None:
        self.runs += 1
        started()
        if self._steps:
            await self._steps.pop(0)()
            return
        self.lives_on.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.stopped.set()


async def fails() -> None:
    raise ValueError("broken")


async def ends() -> None:
    await anyio.lowlevel.checkpoint()


def supervisor(
    *children: Child, clock: FakeClock | None = None, **settings: object
) -> tuple[Supervisor, Pauses]:
    clock = clock or FakeClock()
    pauses = Pauses(clock)
    made = Supervisor(
        children,
        clock=clock,
        entropy=lambda: 0.999999,
        sleep=pauses,
        **settings,  # type: ignore[arg-type]
    )
    return made, pauses


async def test_a_permanent_child_comes_back_after_a_failure_and_after_an_end() -> None:
    script = Script(fails, ends, fails)
    kept, pauses = supervisor(Child(name="worker", run=script))
    async with kept:
        await script.lives_on.wait()
    assert script.runs == 4
    assert [round(seconds, 2) for seconds in pauses.seconds] == [0.5, 1.0, 2.0]
    assert script.stopped.is_set()


async def test_a_transient_child_comes_back_after_a_failure_only() -> None:
    script = Script(fails, ends)
    kept, pauses = supervisor(Child(name="worker", run=script, restart="transient"))
    async with kept:
        await kept.wait("worker")
    assert script.runs == 2
    assert len(pauses.seconds) == 1


async def test_a_temporary_child_never_comes_back() -> None:
    script = Script(fails)
    kept, pauses = supervisor(Child(name="worker", run=script, restart="temporary"))
    async with kept:
        await kept.wait("worker")
    assert script.runs == 1
    assert pauses.seconds == []


async def test_a_child_that_lived_long_begins_with_the_short_pause_again() -> None:
    clock = FakeClock()

    async def lives_for_an_hour() -> None:
        clock.advance(3600)

    script = Script(fails, fails, lives_for_an_hour)
    kept, pauses = supervisor(Child(name="worker", run=script), clock=clock)
    async with kept:
        await script.lives_on.wait()
    assert [round(seconds, 2) for seconds in pauses.seconds] == [0.5, 1.0, 0.5]


async def test_too_many_restarts_end_the_supervisor_and_what_runs_in_it() -> None:
    script = Script(*[fails] * 10)
    other = Script()
    kept, _ = supervisor(
        Child(name="other", run=other),
        Child(name="worker", run=script),
        restarts=Restarts(most=3),
    )
    with pytest.raises(ChildError, match=r"worker .* too often: broken"):
        async with kept:
            await anyio.sleep_forever()
    assert script.runs == 4
    assert other.stopped.is_set()


async def test_restarts_that_are_long_ago_do_not_count() -> None:
    clock = FakeClock()

    async def fails_later() -> None:
        clock.advance(61)
        raise ValueError("broken")

    script = Script(*[fails_later] * 10)
    kept, pauses = supervisor(
        Child(name="worker", run=script), clock=clock, restarts=Restarts(most=1)
    )
    async with kept:
        await script.lives_on.wait()
    assert len(pauses.seconds) == 10


async def test_a_supervisor_under_another_bounds_what_a_failure_takes_with_it() -> None:
    script = Script(*[fails] * 10)
    inner, _ = supervisor(Child(name="worker", run=script), restarts=Restarts(most=1))

    async def nested(started: Started) -> None:
        async with inner:
            started()
            await anyio.sleep_forever()

    outer, _ = supervisor(Child(name="inner", run=nested, restart="temporary"))
    async with outer:
        await outer.wait("inner")
        bystander = Script()
        await outer.start(Child(name="bystander", run=bystander))
        assert outer.children == ("bystander",)


async def test_a_child_that_cannot_start_raises_what_it_raised_and_is_not_kept() -> None:
    async def refuses(_: Started) -> None:
        raise NotFoundError("no such model")

    kept, _ = supervisor()
    async with kept:
        with pytest.raises(NotFoundError, match="no such model"):
            await kept.start(Child(name="worker", run=refuses))
        assert kept.children == ()


async def test_a_first_child_that_cannot_start_stops_those_before_it() -> None:
    async def ends_at_once(_: Started) -> None:
        return

    first = Script()
    kept, _ = supervisor(Child(name="first", run=first), Child(name="second", run=ends_at_once))
    with pytest.raises(ChildError, match="second ended before it was ready"):
        async with kept:
            pass
    assert first.stopped.is_set()


async def test_children_are_stopped_in_the_reverse_of_their_order() -> None:
    order: list[str] = []

    def child(name: str) -> Child:
        async def run(started: Started) -> None:
            started()
            try:
                await anyio.sleep_forever()
            finally:
                order.append(name)

        return Child(name=name, run=run)

    kept, _ = supervisor(child("a"), child("b"), child("c"))
    async with kept:
        await kept.stop("b")
    assert order == ["b", "c", "a"]


async def test_a_name_is_taken_once() -> None:
    kept, _ = supervisor(Child(name="worker", run=Script()))
    async with kept:
        with pytest.raises(UsageError, match="already"):
            await kept.start(Child(name="worker", run=Script()))


async def test_an_error_of_the_body_leaves_a_supervisor_as_it_is() -> None:
    script = Script()
    kept, _ = supervisor(Child(name="worker", run=script))
    with pytest.raises(ValueError, match="of the body"):
        async with kept:
            raise ValueError("of the body")
    assert script.stopped.is_set()


async def test_a_cancelled_body_stops_the_children() -> None:
    script = Script()
    kept, _ = supervisor(Child(name="worker", run=script))
    with anyio.CancelScope() as scope:
        async with kept:
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert script.stopped.is_set()


async def test_a_killed_process_is_started_again() -> None:
    process = ChildProcess(
        [sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"],
        name="server",
    )
    pids: list[int] = []
    two = anyio.Event()

    async def run(started: Started) -> None:
        def ready(_: bytes) -> None:
            assert process.pid is not None
            pids.append(process.pid)
            started()
            if len(pids) == 2:
                two.set()

        await process.run(ready)

    kept, pauses = supervisor(Child(name="server", run=run))
    with anyio.fail_after(30):
        async with kept:
            os.kill(pids[0], signal.SIGKILL)
            await two.wait()
    assert pids[0] != pids[1]
    assert len(pauses.seconds) == 1


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_half_and_all_of_its_bound(failures: int, entropy: float) -> None:
    restarts = Restarts()
    wait = restarts.wait(failures, entropy=entropy)
    full = min(restarts.longest_wait, restarts.first_wait * 2.0 ** min(failures - 1, 32))
    assert full / 2 <= wait <= full
