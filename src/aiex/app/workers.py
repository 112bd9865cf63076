"""Several processes that serve at one address: each is started again when it ends."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import anyio

from aiex.core import AiexError
from aiex.runtime import Child, ChildProcess, Restarts, Started, Supervisor, SystemClock

__all__ = ["run_workers"]

_READY_SECONDS = 60.0
_RESTARTS = Restarts(most=1_000_000, window=60.0, first_wait=0.1, longest_wait=5.0)
"""One worker that fails again and again never takes the others with it."""


async def run_workers(
    commands: Sequence[Sequence[str]],
    *,
    env: Mapping[str, str],
    stop_within: float,
    ready: Callable[[], None],
) -> None:
    """Keep a worker of each command running until a signal asks for an end.

    SIGTERM and SIGINT let each end by itself, all at the same time; a second one is passed on.

    Args:
        commands: Program and arguments of each worker; none may hold a secret.
        env: Environment of all of them.
        stop_within: Seconds that they have to end in before they are killed.
        ready: Called once all of them can be used.

    Raises:
        ChildError: One of them could not be started the first time.
    """
    workers = [
        ChildProcess(
            command,
            name=f"worker {number}",
            env=env,
            ready_within=_READY_SECONDS,
            stop_within=stop_within,
            hear=_pass_on,
        )
        for number, command in enumerate(commands)
    ]
    failures: list[AiexError] = []
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        await tasks.start(_hear_signals, stop, workers)
        restarts = Supervisor(clock=SystemClock(), entropy=random.random, restarts=_RESTARTS)
        async with restarts as supervisor:
            async with anyio.create_task_group() as starting:
                for number, worker in enumerate(workers):
                    child = Child(name=f"worker {number}", run=partial(_run, worker))
                    starting.start_soon(_start, supervisor, child, failures)
            if not failures:
                ready()
                await stop.wait()
            async with anyio.create_task_group() as ending:
                for name in supervisor.children:
                    ending.start_soon(supervisor.stop, name)
        tasks.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def _start(supervisor: Supervisor, child: Child, failures: list[AiexError]) -> None:
    try:
        await supervisor.start(child)
    except AiexError as error:
        failures.append(error)


async def _run(worker: ChildProcess, started: Started) -> None:
    await worker.run(lambda _: started())


async def _hear_signals(
    stop: anyio.Event,
    workers: Sequence[ChildProcess],
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                for worker in workers:
                    if worker.pid is not None:
                        with suppress(ProcessLookupError):
                            os.kill(worker.pid, signal.SIGTERM)
            stop.set()


def _pass_on(said: bytes) -> None:
    """Write what a worker says, such as its log, where ours goes."""
    with suppress(OSError):
        os.write(sys.stderr.fileno(), said)
