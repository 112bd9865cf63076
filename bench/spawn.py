"""What it costs to run a command kept inside, against a bare posix_spawn: ratios of one run.

    python bench/spawn.py [--runs N]

At every level that works here `/bin/true` is run ten times in a row, with keepers that are warm,
and so are bare ones and bubblewrap by itself, in turns. What is prepared for the next command
counts, as it is done while the row goes on. The ratio of medians counts (bars: 3 at `landlock`, 6
at `bwrap`); on a busy machine there is no other processor to prepare anything on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Awaitable, Callable

import anyio

from aiex.core import AiexError
from aiex.sandbox import LEVELS, Command, CommandPolicy, Isolation, Level, bwrap

TRUE = "/bin/true"
BARS = {"landlock": 3.0, "bwrap": 6.0}


IN_A_ROW = 10


def spawned(argv: list[str]) -> Callable[[], Awaitable[object]]:
    async def spawn() -> None:
        pid = os.posix_spawn(argv[0], argv, {})  # noqa: ASYNC221 - what is measured
        if os.waitpid(pid, 0)[1]:  # noqa: ASYNC222
            raise SystemExit(f"{argv[0]} does not work here")

    return spawn


def by_bubblewrap(program: str) -> list[str]:
    """Return a command line with the namespaces of the level, and next to nothing to see."""
    links = [f"--symlink usr/{name} /{name}" for name in ("bin", "lib", "lib64")]
    shown = f"--ro-bind /usr /usr {' '.join(links)} --proc /proc --tmpfs /tmp"
    return [program, "--unshare-all", "--die-with-parent", *shown.split(), TRUE]


async def measure(runs: int) -> dict[str, list[float]]:
    """Return the seconds that a command took in each row, by what was run."""
    async with Isolation(CommandPolicy(require="none")) as isolation:

        def at(level: Level) -> Callable[[], Awaitable[object]]:
            return lambda: isolation.run(Command(argv=(TRUE,)), level=level)

        ways = {"bare": spawned([TRUE])}
        for level in LEVELS:
            try:
                await at(level)()
            except AiexError as error:
                print(f"{level}: {error.message}")
            else:
                ways[level] = at(level)
        program = bwrap.find_bwrap()
        if program is not None and "bwrap" in ways:
            ways["bubblewrap by itself"] = spawned(by_bubblewrap(program))
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(max(1, runs // IN_A_ROW)):
            for name, way in ways.items():
                start = time.perf_counter()
                for _ in range(IN_A_ROW):
                    await way()
                spent[name].append((time.perf_counter() - start) / IN_A_ROW)
        return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    spent = anyio.run(measure, parser.parse_args().runs)
    base = statistics.median(spent["bare"])
    print(f"{'bare':<20} {base * 1e3:6.2f} ms")
    for name, seconds in spent.items():
        if name != "bare":
            median = statistics.median(seconds)
            bar = f"  bar {BARS[name]:g}" if name in BARS else ""
            print(f"{name:<20} {median * 1e3:6.2f} ms  {median / base:5.2f}x{bar}")


if __name__ == "__main__":
    main()
