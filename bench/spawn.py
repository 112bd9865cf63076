"""What it costs to run a command kept inside, against a bare posix_spawn: ratios of one run.

    python bench/spawn.py [--runs N]

Runs of `/bin/true` at every level that works here take turns with bare ones. Keepers are warm, and
make ready for the next command while nobody waits for them. That work is hidden from no figure: a
pause before each run keeps it out of the bare one that follows, and series without pauses, in
which each command waits for it, are told too. Medians count (bars, for single runs: 3 at
`landlock`, 6 at `bwrap`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio

from aiex.core import AiexError
from aiex.sandbox import LEVELS, Command, CommandPolicy, Isolation, Level

TRUE = "/bin/true"
BARS = {"landlock": 3.0, "bwrap": 6.0}
PAUSE_S = 0.004
SERIES = 20

Way = Callable[[], Awaitable[object]]


async def bare() -> None:
    pid = os.posix_spawn(TRUE, [TRUE], {})  # noqa: ASYNC221 - what is measured
    os.waitpid(pid, 0)  # noqa: ASYNC222


def pause() -> None:
    """Let keepers make ready, on a processor that does not go to sleep."""
    end = time.perf_counter() + PAUSE_S
    while time.perf_counter() < end:
        pass


async def of_one(way: Way) -> float:
    start = time.perf_counter()
    await way()
    return time.perf_counter() - start


async def of_series(way: Way) -> float:
    start = time.perf_counter()
    for _ in range(SERIES):
        await way()
    return (time.perf_counter() - start) / SERIES


async def measure(runs: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the seconds of each single run, and of each command in series, by what was run."""
    async with Isolation(CommandPolicy(require="none")) as isolation:

        def at(level: Level) -> Way:
            return lambda: isolation.run(Command(argv=(TRUE,)), level=level)

        ways: dict[str, Way] = {"bare": bare}
        for level in LEVELS:
            try:
                await at(level)()
            except AiexError as error:
                print(f"{level}: {error.message}")
            else:
                ways[level] = at(level)
        single: dict[str, list[float]] = {name: [] for name in ways}
        series: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, way in ways.items():
                pause()
                single[name].append(await of_one(way))
        for _ in range(max(1, runs // SERIES)):
            for name, way in ways.items():
                pause()
                series[name].append(await of_series(way))
        return single, series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    single, series = anyio.run(measure, parser.parse_args().runs)
    one, many = (
        {name: statistics.median(seconds) for name, seconds in spent.items()}
        for spent in (single, series)
    )
    print("             single run        one after another")
    for name, seconds in one.items():
        row = f"{name:<9} {seconds * 1e3:6.2f} ms  {seconds / one['bare']:5.2f}x"
        row += f"   {many[name] * 1e3:6.2f} ms  {many[name] / many['bare']:5.2f}x"
        print(row + (f"   bar {BARS[name]:g}" if name in BARS else ""))


if __name__ == "__main__":
    main()
