"""What the record of a call costs the request, and in all.

Run `python bench/interactions.py [CALLS]`. CPU is counted, not time.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import anyio

from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, BlobFiles, Interactions
from aiex.core import Usage
from aiex.llm import CallRecord
from aiex.runtime import SystemClock

_BATCH = 500


def _call(number: int, at: datetime) -> CallRecord:
    return CallRecord(
        id=f"call-{number}",
        request_id="req",
        at=at,
        user="ann",
        interface="http",
        verb="complete",
        provider="openai",
        model="gpt-5",
        attempt=1,
        outcome="ok",
        estimated_input_tokens=900,
        duration_ms=80,
        usage=Usage(input_tokens=900, output_tokens=100),
        cost_usd_micros=450,
    )


async def main(calls: int, folder: Path) -> None:
    """Record *calls* calls in batches and print what one costs, microseconds."""
    at, asked = datetime.now(UTC), 0.0
    async with (
        SqliteStore(folder / "aiex.db", TABLES, clock=SystemClock()) as store,
        Interactions(store, spill=folder / "spill", blobs=BlobFiles(folder / "blobs")) as sink,
    ):
        begun = time.process_time()
        for first in range(0, calls, _BATCH):
            records = [_call(number, at) for number in range(first, first + _BATCH)]
            before = time.thread_time()
            for record in records:
                await sink.record(record)
            asked += time.thread_time() - before
            await sink.flush()
        everything = time.process_time() - begun
    print(f"record() {1e6 * asked / calls:.2f} us, with writing {1e6 * everything / calls:.2f} us")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, Path(where))
