"""What a record of the audit log costs, beside a bare append; and how fast the log is verified.

Run `python bench/audit.py`. Figures are medians of several rounds in one run; memory is the most
that the process held (`VmHWM`) before and after verifying, for logs of two lengths.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aiex.core import Actor, AuditRecord
from aiex.sandbox import AuditLog, verify_log

ROUNDS = 7
COUNT = 2000
LENGTHS = (50_000, 400_000)
READ = AuditRecord(
    op_id="req_1m89xbjnxj3cwgx7w486cttr0",
    kind="op",
    actor=Actor(user="somebody", interface="cli"),
    op="read",
    path="src/aiex/assistant/explain/verb.py",
    root_id="abcdef123456",
    bytes=4096,
    sha256_before="a" * 64,
    dur_us=40,
)


def micros(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(COUNT):
        work()
    return (time.perf_counter() - start) / COUNT * 1e6


def records(directory: Path) -> None:
    line = b"x" * 560 + b"\n"
    bare = os.open(directory / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    ours: dict[str, list[float]] = {"batch": [], "always": []}
    theirs: dict[str, list[float]] = {"batch": [], "always": []}

    def synced() -> None:
        os.write(bare, line)
        os.fdatasync(bare)

    for mode, plain in (("batch", lambda: os.write(bare, line)), ("always", synced)):
        with AuditLog(directory / mode, fsync=mode == "always") as log:
            for _ in range(ROUNDS):
                theirs[mode].append(micros(plain))
                ours[mode].append(micros(lambda: log.record(READ)))
        mine, other = statistics.median(ours[mode]), statistics.median(theirs[mode])
        print(f"record, {mode:7} {mine:7.1f} us   bare append {other:7.1f} us")
    os.close(bare)


def verified(directory: Path, length: int) -> None:
    """Print rate and memory of verifying a log of *length* records, in a process of its own."""
    with AuditLog(directory) as log:
        for _ in range(length // 1000):
            log.record(*[READ] * 1000)
    program = f"import sys; sys.argv = ['', {str(directory)!r}]; import audit; audit.verify()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent)


def peak() -> float:
    """Return the most memory that this process has held, MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def verify() -> None:
    directory = Path(sys.argv[1])
    rates = []
    before = peak()
    for _ in range(3):
        start = time.perf_counter()
        found = verify_log(directory)
        rates.append(found.records / (time.perf_counter() - start))
    assert found.is_intact
    grown = peak() - before
    rate = statistics.median(rates)
    print(f"verify  {found.records:7} records   {rate:9,.0f} records/s   grew by {grown:.1f} MiB")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        records(Path(name))
        for length in LENGTHS:
            verified(Path(name, str(length)), length)


if __name__ == "__main__":
    main()
