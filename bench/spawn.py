"""What it costs to run a command kept inside, against a bare posix_spawn: ratios of one run.

    python bench/spawn.py [--runs N]

Runs of `/bin/true` at every level that works here are interleaved with bare ones, with keepers
that are warm; the ratio of medians counts (bars: 3 at `landlock`, 6 at `bwrap`).
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


async def bare() -> None:
    pid = os.posix_spawn(TRUE, [TRUE], {})  # noqa: ASYNC221 - what is measured
    os.waitpid(pid, 0)  # noqa: ASYNC222


async def measure(runs: int) -> dict[str, list[float]]:
    """Return the seconds of each run, by what was run."""
    async with Isolation(CommandPolicy(require="none")) as isolation:

        def at(level: Level) -> Callable[[], Awaitable[object]]:
            return lambda: isolation.run(Command(argv=(TRUE,)), level=level)

        ways: dict[str, Callable[[], Awaitable[object]]] = {"bare": bare}
        for level in LEVELS:
            try:
                await at(level)()
            except AiexError as error:
                print(f"{level}: {error.message}")
            else:
                ways[level] = at(level)
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, way in ways.items():
                start = time.perf_counter()
                await way()
                spent[name].append(time.perf_counter() - start)
        return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    spent = anyio.run(measure, parser.parse_args().runs)
    base = statistics.median(spent["bare"])
    print(f"bare      {base * 1e3:6.2f} ms")
    for name, seconds in spent.items():
        if name != "bare":
            median = statistics.median(seconds)
            bar = f"  bar {BARS[name]:g}" if name in BARS else ""
            print(f"{name:<9} {median * 1e3:6.2f} ms  {median / base:5.2f}x{bar}")


if __name__ == "__main__":
    main()
