"""Keeps children running: tasks and processes alike, as in OTP, one for one.

A child that ends is started again by its own rule, after a pause that grows; one that keeps ending
takes the supervisor down with it, so that whoever is above can decide. A supervisor is a fine
child of another one: that bounds what a failure takes with it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Literal, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from aiex.core import AiexError, ChildError, UsageError
from aiex.runtime.clock import Clock

__all__ = ["Child", "Restarts", "Started", "Supervisor"]

_log = logging.getLogger(__name__)

Started = Callable[[], None]
"""What a child calls once it can be used."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """What to keep running.

    Attributes:
        name: Unique under its supervisor.
        run: Runs until the child ends; to be cancelled stops it.
        restart: When to start it again: `permanent` always, `transient` after a failure,
            `temporary` never.
    """

    name: str
    run: Callable[[Started], Awaitable[None]]
    restart: Literal["permanent", "transient", "temporary"] = "permanent"


class Restarts(msgspec.Struct, frozen=True, kw_only=True):
    """How often to start children again, and how fast.

    Attributes:
        most: Restarts of all children together within the window; one more and the supervisor
            gives up.
        window: Seconds.
        first_wait: Seconds before the first restart of a child in a row; doubled for each further.
        longest_wait: Most seconds; a child that ran longer than this begins a new row.
    """

    most: int = 5
    window: float = 60.0
    first_wait: float = 0.5
    longest_wait: float = 30.0

    def wait(self, failures: int, *, entropy: float) -> float:
        """Return the seconds to wait after *failures* in a row, at least half of the full wait.

        Args:
            failures: 1 or more.
            entropy: A random number in [0, 1).
        """
        full = min(self.longest_wait, self.first_wait * 2.0 ** min(failures - 1, 32))
        return full * (0.5 + entropy / 2)


class _Kept:
    """One child, and how it stands."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.scope = anyio.CancelScope()
        self.settled = anyio.Event()
        self.ended = anyio.Event()
        self.is_started = False
        self.failure: Exception | None = None


class Supervisor:
    """Runs children and restarts them. Entered before use, and left in the same task.

    Entering starts the first children one after the other, each once the one before it can be
    used; leaving stops all, the last one first.

    Args:
        children: The first children.
        clock: Where time comes from.
        entropy: Gives random numbers in [0, 1).
        restarts: How often to restart.
        sleep: Waits.

    Raises:
        ChildError: On leaving: a child had to be restarted too often. Until then whatever runs
            inside is cancelled.
    """

    def __init__(
        self,
        children: Sequence[Child] = (),
        *,
        clock: Clock,
        entropy: Callable[[], float],
        restarts: Restarts | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._first = tuple(children)
        self._clock = clock
        self._entropy = entropy
        self._restarts = restarts or Restarts()
        self._sleep = sleep
        self._kept: dict[str, _Kept] = {}
        self._restarted_at: deque[float] = deque()
        self._tasks: TaskGroup | None = None
        self._failure: ChildError | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        try:
            for child in self._first:
                await self.start(child)
        except BaseException as error:
            await self._end(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._end(error)

    @property
    def children(self) -> tuple[str, ...]:
        """Names of the children that are kept, whether they run or wait for a restart."""
        return tuple(self._kept)

    async def start(self, child: Child) -> None:
        """Start *child* and return once it can be used.

        Raises:
            UsageError: There is a child of this name.
            AiexError: What the child raised before it could be used; it is not kept then.
            ChildError: It ended before it could be used.
        """
        if self._tasks is None:
            raise RuntimeError(f"{type(self).__name__} is used before it is entered")
        if child.name in self._kept:
            raise UsageError(f"there is a child {child.name!r} already")
        kept = self._kept[child.name] = _Kept(child)
        self._tasks.start_soon(self._keep, kept)
        try:
            await kept.settled.wait()
        except BaseException:
            kept.scope.cancel()
            raise
        if not kept.is_started:
            raise kept.failure or ChildError(f"{child.name} ended before it was ready")

    async def stop(self, name: str) -> None:
        """Stop a child and return once it ended; one that is not kept is stopped already."""
        kept = self._kept.get(name)
        if kept is not None:
            kept.scope.cancel()
            await kept.ended.wait()

    async def wait(self, name: str) -> None:
        """Return once a child ended for good; one that is not kept did already."""
        kept = self._kept.get(name)
        if kept is not None:
            await kept.ended.wait()

    async def _end(self, error: BaseException | None) -> bool | None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return None
        with anyio.CancelScope(shield=True):
            for name in reversed(self.children):
                await self.stop(name)
        # A task group would wrap an error of the body; it has nothing to add to it.
        cancelled = error if isinstance(error, anyio.get_cancelled_exc_class()) else None
        is_ours = await tasks.__aexit__(
            type(cancelled) if cancelled else None,
            cancelled,
            cancelled.__traceback__ if cancelled else None,
        )
        if self._failure is not None and (error is None or is_ours):
            raise self._failure
        return is_ours

    async def _keep(self, kept: _Kept) -> None:
        try:
            with kept.scope:
                await self._run_and_restart(kept)
        finally:
            del self._kept[kept.child.name]
            kept.settled.set()
            kept.ended.set()

    async def _run_and_restart(self, kept: _Kept) -> None:
        in_a_row = 0
        while True:
            begun_at = self._clock.monotonic()
            await self._run(kept)
            if not kept.is_started or not _comes_back(kept):
                return
            now = self._clock.monotonic()
            if not self._may_restart(now):
                self._give_up(kept)
                return
            in_a_row = 1 if now - begun_at > self._restarts.longest_wait else in_a_row + 1
            wait = self._restarts.wait(in_a_row, entropy=self._entropy())
            _log.warning("%s is started again in %.1f s", kept.child.name, wait)
            await self._sleep(wait)

    async def _run(self, kept: _Kept) -> None:
        """Run the child once, and note how it ended."""

        def started() -> None:
            kept.is_started = True
            kept.settled.set()

        kept.failure = None
        try:
            await kept.child.run(started)
        except Exception as error:  # noqa: BLE001  # what a supervisor is for
            kept.failure = error
            level = logging.WARNING if isinstance(error, AiexError) else logging.ERROR
            _log.log(level, "%s failed: %s", kept.child.name, error, exc_info=error)

    def _may_restart(self, now: float) -> bool:
        """Return whether one more restart is within bounds, and count it."""
        while self._restarted_at and now - self._restarted_at[0] > self._restarts.window:
            self._restarted_at.popleft()
        self._restarted_at.append(now)
        return len(self._restarted_at) <= self._restarts.most

    def _give_up(self, kept: _Kept) -> None:
        said = f": {kept.failure}" if kept.failure is not None else ""
        failure = ChildError(f"{kept.child.name} had to be restarted too often{said}")
        failure.__cause__ = kept.failure
        if isinstance(kept.failure, AiexError):
            failure.hint = kept.failure.hint
        self._failure = failure
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()


def _comes_back(kept: _Kept) -> bool:
    match kept.child.restart:
        case "permanent":
            return True
        case "transient":
            return kept.failure is not None
        case "temporary":
            return False
