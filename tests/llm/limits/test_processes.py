"""Real processes on one SQLite file: what they let through together, by their own logs."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

CALLER = Path(__file__).with_name("caller.py")


class Calls:
    """What processes let through, merged.

    Attributes:
        amounts: Of each call, as time and amount, in the order of time.
        shared: Calls that were let through without the store.
    """

    def __init__(self, amounts: list[tuple[float, int]], shared: int) -> None:
        self.amounts = sorted(amounts)
        self.shared = shared

    def worst(self, window: float) -> int:
        """Return the most that was let through in any window."""
        worst = total = first = 0
        for at, amount in self.amounts:
            total += amount
            while at - self.amounts[first][0] >= window:
                total -= self.amounts[first][1]
                first += 1
            worst = max(worst, total)
        return worst

    def between(self, begins: float, ends: float) -> int:
        return sum(amount for at, amount in self.amounts if begins <= at < ends)


def run(
    directory: Path,
    *,
    processes: int = 3,
    windows: float = 3.0,
    window: float = 2.0,
    amount: int = 120,
    what: str = "requests",
    most: int = 1,
    overload: float = 3.0,
    skew: float = 0.02,
    off: Sequence[float] = (),
    meanwhile: Callable[[list[subprocess.Popen[str]], float], None] | None = None,
) -> tuple[Calls, float]:
    """Return what *processes* let through, and when they began.

    Args:
        directory: Where store and logs go.
        processes: How many.
        windows: For how many windows they go on.
        window: Length of the limit's window, seconds.
        amount: The limit.
        what: What it counts.
        most: Most tokens of a call.
        overload: How many times the limit is asked for.
        skew: Skew that they tolerate, seconds.
        off: By how much each one's wall clock is off, seconds.
        meanwhile: Called once they run, with them and the time at which they begin.
    """
    rate = overload * amount / window / processes / ((most + 1) / 2)
    running = []
    logs = [directory / f"log{n}" for n in range(processes)]
    for n in range(processes):
        told: dict[str, Any] = {
            "amount": amount,
            "busy_timeout": 0.2,
            "log": str(logs[n]),
            "most": most,
            "off": off[n] if off else 0.0,
            "rate": rate,
            "seconds": windows * window,
            "seed": n,
            "skew": skew,
            "store": str(directory / "state" / "store.db"),
            "what": what,
            "window": window,
        }
        running.append(
            subprocess.Popen(
                [sys.executable, str(CALLER), json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        for one in running:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n", one.communicate()[1]
        begins = time.monotonic() + 0.1
        for one in running:
            assert one.stdin is not None
            one.stdin.write(f"{begins}\n")
            one.stdin.flush()
        if meanwhile is not None:
            meanwhile(running, begins)
        said = [one.communicate(timeout=60) for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    for one, (_, errors) in zip(running, said, strict=True):
        assert one.returncode in {0, -signal.SIGKILL}, errors
    shared = sum(json.loads(out)["shared"] for out, _ in said if out)
    return Calls([entry for log in logs for entry in read(log)], shared), begins


def read(log: Path) -> list[tuple[float, int]]:
    found: dict[str, tuple[float, int]] = {}
    for line in log.read_text().splitlines():
        number, at, amount = line.split()
        found[number] = (float(at), int(amount))
    return list(found.values())


def wait_until(at: float) -> None:
    time.sleep(max(0.0, at - time.monotonic()))


def test_processes_together_never_exceed_a_limit_and_use_it(tmp_path: Path) -> None:
    calls, begins = run(tmp_path, processes=4)

    assert calls.worst(2.0) <= 120
    # Of a window of 2 s the ledger sums 21 labels of 0.1 s: 20/21 is the most that can be used.
    assert calls.between(begins, begins + 6.0) >= 0.95 * 20 / 21 * 3 * 120


def test_processes_whose_clocks_differ_and_one_that_is_killed_never_exceed_it(
    tmp_path: Path,
) -> None:
    def kill_one(running: list[subprocess.Popen[str]], begins: float) -> None:
        wait_until(begins + 2.5)
        running[1].kill()

    calls, _ = run(
        tmp_path,
        what="tokens",
        most=20,
        amount=1200,
        windows=3.0,
        skew=0.25,
        off=(-0.1, 0.1, 0.0),
        meanwhile=kill_one,
    )

    assert calls.worst(2.0) <= 1200
    assert calls.worst(2.0) > 900


@pytest.mark.slow
def test_at_three_times_the_load_nearly_all_of_a_limit_is_used(tmp_path: Path) -> None:
    calls, begins = run(tmp_path, processes=5, window=6.0, amount=600, windows=3.0)

    assert calls.worst(6.0) <= 600
    assert calls.between(begins, begins + 18.0) >= 0.95 * 3 * 600


@pytest.mark.slow
def test_with_the_store_stopped_processes_go_on_with_their_shares(tmp_path: Path) -> None:
    gone: list[float] = []

    def lock(running: list[subprocess.Popen[str]], begins: float) -> None:
        wait_until(begins + 2.3)
        holder = sqlite3.connect(tmp_path / "state" / "store.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        gone.append(time.monotonic())
        wait_until(begins + 10.0)
        gone.append(time.monotonic())
        holder.execute("ROLLBACK")
        holder.close()

    calls, begins = run(tmp_path, windows=7.0, meanwhile=lock)

    assert calls.worst(2.0) <= 120
    assert calls.shared > 0
    assert calls.between(gone[0] + 5.0, gone[1]) > 60
    assert calls.between(begins + 12.0, begins + 14.0) > 60
