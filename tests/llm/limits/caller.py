"""One process that makes calls under a limit and writes down each that was let through.

Started by `test_processes.py` with one JSON argument; says that it is ready, and reads when to
begin. Each line of its log is `NUMBER TIME AMOUNT`, the time monotonic, which all processes of a
machine share; a later line of the same number replaces the amount.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiex.cluster.local import SqliteStore
from aiex.core import LimitError, Principal, Usage
from aiex.llm import Endpoint
from aiex.llm.limits import LIMIT_TABLES, FixedLimits, LeasedLimits, Limit
from aiex.runtime import SystemClock

ENDPOINT = Endpoint(provider="openai", model="gpt-5")
ANN = Principal(user="ann", interface="http")


class SkewedClock(SystemClock):
    """A wall clock that is off, and a monotonic one that remembers when it was asked last."""

    def __init__(self, off: float) -> None:
        self._off = timedelta(seconds=off)
        self.last = 0.0

    def now(self) -> datetime:
        return super().now() + self._off

    def monotonic(self) -> float:
        self.last = super().monotonic()
        return self.last


async def call(limits: LeasedLimits, clock: SkewedClock, log: int, number: int, most: int) -> None:
    tokens = random.randint(1, most)
    try:
        held = await limits.reserve(
            ANN, ENDPOINT, input_tokens=tokens, output_tokens=0, cost_usd_micros=None
        )
    except LimitError:
        return
    at = clock.last
    os.write(log, f"{number} {at} {tokens}\n".encode())
    if most > 1:
        await asyncio.sleep(random.uniform(0, 0.2))
        used = random.randint(1, tokens)
        # Written first: a process that is killed in between has billed at least that.
        os.write(log, f"{number} {at} {used}\n".encode())
        await held.settle(Usage(input_tokens=used), cost_usd_micros=None)


async def main(told: dict[str, Any]) -> None:
    random.seed(told["seed"])
    clock = SkewedClock(told["off"])
    log = os.open(told["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    limit = Limit(
        id="l", scope="all", what=told["what"], amount=told["amount"], window=told["window"]
    )
    store = SqliteStore(
        Path(told["store"]), LIMIT_TABLES, clock=clock, busy_timeout=told["busy_timeout"]
    )
    async with (
        store,
        LeasedLimits(
            store,
            FixedLimits([limit]),
            clock=clock,
            skew=told["skew"],
            patience=0.3,
            heartbeat=0.2,
        ) as limits,
        asyncio.TaskGroup() as calls,
    ):
        print("ready", flush=True)
        begins = float(await asyncio.to_thread(sys.stdin.readline))
        number = 0
        await asyncio.sleep(max(0.0, begins - time.monotonic()))
        while (now := time.monotonic()) < begins + told["seconds"]:
            due = int((now - begins) * told["rate"])
            while number < due:
                number += 1
                calls.create_task(call(limits, clock, log, number, told["most"]))
            await asyncio.sleep(0.005)
    print(json.dumps({"turns": limits.metrics().turns, "shared": limits.metrics().shared}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
