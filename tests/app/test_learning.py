"""What a process that stays learns of counting tokens is kept beside its requests."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from aiex.app.compose import House
from aiex.app.config import load
from aiex.app.providers import learning
from aiex.context import TokenFactors
from aiex.llm.ports import Counted

pytestmark = pytest.mark.anyio


async def test_lessons_are_kept_every_minute_and_known_to_the_next_process(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "AIEX_STATE_DIRECTORY": str(tmp_path / "state")}
    loaded = await anyio.to_thread.run_sync(lambda: load(env, root=None))
    house = House(loaded, env)
    pauses: list[float] = []
    paused_again = anyio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            paused_again.set()
            await anyio.sleep_forever()

    async with await house.open():
        counter = (await anyio.to_thread.run_sync(house.coordinator)).counter
        counter.learn("qwen3:8b", Counted(basis="bytes", plain=1000), billed=800)
        await house.supervisor.start(learning(house, sleep=sleep))
        await paused_again.wait()
        kept = await TokenFactors(house.store).load()
    assert list(kept) == list(counter.learned)
    assert pauses == [60.0, 60.0]

    again = House(loaded, env)
    async with await again.open():
        assert again.counter().factor("qwen2.5-coder") == counter.factor("qwen3:8b") < 1.2
