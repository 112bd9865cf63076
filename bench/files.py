"""What guarding and recording a read costs, as ratios taken in one run.

    python bench/files.py [--runs N]

Each row is the median of N reads of one file of 4 KiB, all kinds in turn, so that a noisy machine
is noisy to all of them. `bare` is `os.open`, `os.read` and `os.close` by the file's absolute path.
`guarded` is the synchronous function that every read goes through: names judged, opened by the
kernel below the root, found regular, unshared, small enough and unchanged while it was read (bar:
2.5 times `bare`). `digest` adds SHA-256 and the value that callers get. `audit` is all of
`Files.read`, its record in the log (bar: 60 us more than `guarded`).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aiex.core import Actor
from aiex.sandbox import AuditLog, FilePolicy, Files

NAMES = ("src", "package", "module.py")
SIZE = 4096


def timed(call: Callable[[], object]) -> int:
    """Return the nanoseconds that *call* took."""
    began = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - began


def measure(files: Files, file: Path, runs: int) -> dict[str, list[int]]:
    """Return the nanoseconds of each read by kind."""
    absolute, relative = str(file), "/".join(NAMES)
    root = files._roots.main  # noqa: SLF001

    def bare() -> bytes:
        handle = os.open(absolute, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(handle, SIZE)
        finally:
            os.close(handle)

    kinds: dict[str, Callable[[], object]] = {
        "bare": bare,
        "guarded": lambda: root.guarded(relative, SIZE),
        "digest": lambda: root.content(relative, SIZE),
        "audit": lambda: files.read(relative),
    }
    spent: dict[str, list[int]] = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind, call in kinds.items():
            spent[kind].append(timed(call))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        file = base.joinpath("project", *NAMES)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * SIZE)
        actor = Actor(user="bench", interface="cli")
        for portable, driver in ((None, "as this machine does it"), (True, "the portable walk")):
            with (
                AuditLog(base / "state" / "audit") as audit,
                Files(
                    base / "project",
                    state=base / "state",
                    policy=FilePolicy(hardlinks="deny"),
                    audit=audit,
                    actor=actor,
                    op_id="bench",
                    portable=portable,
                ) as files,
            ):
                spent = measure(files, file, runs)
            bare = statistics.median(spent["bare"])
            guarded = statistics.median(spent["guarded"])
            print(driver)
            for kind, times in spent.items():
                middle = statistics.median(times)
                more = f", {(middle - guarded) / 1000:+5.1f} us" if kind == "audit" else ""
                print(f"  {kind:8} {middle / 1000:6.1f} us, {middle / bare:5.2f} x bare{more}")


if __name__ == "__main__":
    main()
