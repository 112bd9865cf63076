from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from aiex.cluster import Store
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, BlobFiles, Interaction, Interactions
from aiex.core import NotFoundError, Usage, UsageError
from aiex.llm import CallRecord, CallSink
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

START = datetime(2026, 1, 1, tzinfo=UTC)


def call(number: int, **more: Any) -> CallRecord:
    given: dict[str, Any] = {
        "id": f"call_{number}",
        "request_id": "req_1",
        "at": START + timedelta(hours=number),
        "user": "ann",
        "interface": "cli",
        "verb": "explain",
        "provider": "openai",
        "model": "m1",
        "attempt": 1,
        "outcome": "ok",
        "estimated_input_tokens": 10,
        "duration_ms": 5,
        "usage": Usage(input_tokens=100, output_tokens=10, cached_input_tokens=40),
        "cost_usd_micros": 7,
    }
    return CallRecord(**{**given, **more})


def sink(store: Store, tmp_path: Path, blobs: BlobFiles) -> Interactions:
    return Interactions(store, spill=tmp_path / "spill", blobs=blobs)


def test_the_stored_record_has_the_fields_of_the_record_that_is_handed_over() -> None:
    def fields(struct: type[msgspec.Struct]) -> list[tuple[str, Any, Any]]:
        return [(f.name, f.type, f.default) for f in msgspec.structs.fields(struct)]

    assert fields(Interaction) == fields(CallRecord)


async def test_recorded_calls_are_there_when_the_sink_is_closed(
    store: Store, tmp_path: Path, blobs: BlobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a loaded machine a transaction may take long enough for its records to be put aside, too.
    monkeypatch.setattr("aiex.context.interactions._STALL", 30.0)
    async with sink(store, tmp_path, blobs) as interactions:
        as_sink: CallSink = interactions
        for number in range(450):
            await as_sink.record(call(number))

    found = await interactions.list(limit=1000)
    assert [one.id for one in found] == [f"call_{n}" for n in range(449, -1, -1)]
    assert msgspec.structs.asdict(found[-1]) == msgspec.structs.asdict(call(0))
    assert not (tmp_path / "spill").exists()


async def test_calls_are_written_while_the_sink_is_open(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    async with (
        sink(store, tmp_path, blobs) as interactions,
        store.watch("llm_interaction") as changes,
    ):
        await interactions.record(call(1))
        with anyio.fail_after(10):
            await anext(changes)
        assert [one.id for one in await interactions.list()] == ["call_1"]


async def test_calls_are_listed_between_two_times(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    async with sink(store, tmp_path, blobs) as interactions:
        for number in range(10):
            # Fractions of a second must not disturb the order.
            at = START + timedelta(seconds=number / 2)
            await interactions.record(call(number, at=at))
        await interactions.flush()
        found = await interactions.list(
            since=START + timedelta(seconds=1), until=START + timedelta(seconds=3)
        )
        assert [one.id for one in found] == ["call_5", "call_4", "call_3", "call_2"]
        assert [one.id for one in await interactions.list(limit=2)] == ["call_9", "call_8"]


async def test_totals_add_up_and_say_what_is_unpriced(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    async with sink(store, tmp_path, blobs) as interactions:
        await interactions.record(call(1))
        await interactions.record(call(2, outcome="overloaded", usage=None, cost_usd_micros=None))
        await interactions.record(
            call(30, model="m2", cost_usd_micros=100, usage_is_estimated=True)
        )
        await interactions.flush()

        dear, cheap = await interactions.totals(by="model")
        assert (dear.key, dear.cost_usd_micros, dear.unpriced) == ("openai:m2", 100, 0)
        assert (dear.estimated, cheap.estimated) == (1, 0)
        assert (cheap.calls, cheap.failed, cheap.unpriced) == (2, 1, 1)
        assert (cheap.input_tokens, cheap.output_tokens, cheap.cached_input_tokens) == (100, 10, 40)
        days = await interactions.totals(by="day")
        assert {day.key: day.calls for day in days} == {"2026-01-01": 2, "2026-01-02": 1}
        with pytest.raises(UsageError, match="not by 'shoe'"):
            await interactions.totals(by="shoe")  # type: ignore[arg-type]


async def test_long_prompts_and_replies_go_to_a_file_and_come_back(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    prompt, reply = "p" * 400_000, "é" * 10
    async with sink(store, tmp_path, blobs) as interactions:
        await interactions.record(call(1, prompt=prompt, reply=reply))
        await interactions.record(call(2, prompt="short", reply="too"))
        await interactions.flush()

        long = await interactions.get("call_1")
        short = await interactions.get("call_2")
        assert (long.prompt, long.reply) == (prompt, reply)
        assert (short.prompt, short.reply) == ("short", "too")
        with pytest.raises(NotFoundError):
            await interactions.get("call_3")


async def test_what_cannot_be_stored_is_put_aside_and_read_back_later(
    tmp_path: Path, blobs: BlobFiles
) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(path, TABLES, clock=FakeClock(), busy_timeout=0.02) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with sink(store, tmp_path, blobs) as interactions:
            for number in range(3):
                await interactions.record(call(number, reply="kept"))
            await interactions.flush()
            assert interactions.lost == 0
        (spilled,) = (tmp_path / "spill").iterdir()
        assert spilled.suffix == ".jsonl"
        assert stat.S_IMODE(spilled.stat().st_mode) == 0o600
        assert len(spilled.read_bytes().splitlines()) == 3
        other.execute("ROLLBACK")
        other.close()

        async with sink(store, tmp_path, blobs) as interactions:
            await interactions.record(call(9))
            await interactions.flush()
            found = await interactions.list()
        assert [one.id for one in found] == ["call_9", "call_2", "call_1", "call_0"]
        assert found[1].reply == "kept"
        assert list((tmp_path / "spill").iterdir()) == []


async def test_a_sink_that_must_close_at_once_puts_aside_what_it_has(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    in_haste = Interactions(store, spill=tmp_path / "spill", blobs=blobs, close_within=0.0)
    async with in_haste as interactions:
        for number in range(3):
            await interactions.record(call(number))
    assert interactions.lost == 0

    async with sink(store, tmp_path, blobs) as interactions:
        await interactions.record(call(9))
        await interactions.flush()
        assert len(await interactions.list()) == 4


async def test_a_spilled_file_that_is_damaged_stops_nothing_and_is_kept(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    damaged = tmp_path / "spill" / "interactions-x.jsonl"
    damaged.parent.mkdir()
    damaged.write_bytes(b'{"id":\n')

    async with sink(store, tmp_path, blobs) as interactions:
        await interactions.record(call(1))
        await interactions.flush()
        assert len(await interactions.list()) == 1

    assert damaged.exists()


async def test_records_without_any_place_are_counted_as_lost(tmp_path: Path) -> None:
    (tmp_path / "spill").write_text("in the way")
    path = tmp_path / "store.db"
    async with SqliteStore(path, TABLES, clock=FakeClock(), busy_timeout=0.02) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with sink(store, tmp_path, BlobFiles(tmp_path / "blobs")) as interactions:
            await interactions.record(call(1))
        assert interactions.lost == 1
        other.close()


KILLED = """
import sys, time, anyio
from datetime import UTC, datetime
from pathlib import Path
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, BlobFiles, Interaction, Interactions
from aiex.runtime import SystemClock

async def main(folder):
    async with SqliteStore(folder / "store.db", TABLES, clock=SystemClock()) as store:
        sink = Interactions(store, spill=folder / "spill", blobs=BlobFiles(folder / "blobs"))
        async with sink as interactions:
            print("open", flush=True)
            for number in range(100_000):
                await interactions.record(Interaction(
                    id=f"call_{number:06}", request_id="r", at=datetime.now(UTC), user="ann",
                    interface="http", verb="complete", provider="p", model="m", attempt=1,
                    outcome="ok", estimated_input_tokens=1, duration_ms=1,
                ))
                print(number, time.monotonic(), flush=True)
                await anyio.sleep(0.002)

anyio.run(main, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("is_locked", [False, True])
def test_a_kill_loses_at_most_the_last_tenth_of_a_second(tmp_path: Path, is_locked: bool) -> None:
    path = tmp_path / "store.db"
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    recorded: list[float] = []
    other = None
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        if is_locked:
            other = sqlite3.connect(path, isolation_level=None, timeout=10)
            other.execute("BEGIN IMMEDIATE")
        while not recorded or recorded[-1] - recorded[0] < 0.8:
            recorded.append(float(process.stdout.readline().split()[1]))
        process.kill()
        killed = time.monotonic()
    if other is not None:
        other.close()

    async def read() -> set[str]:
        async with (
            SqliteStore(path, TABLES, clock=FakeClock()) as store,
            sink(store, tmp_path, BlobFiles(tmp_path / "blobs")) as interactions,
        ):
            await interactions.flush()
            return {one.id for one in await interactions.list(limit=100_000)}

    found = anyio.run(read)
    last = max(n for n in range(len(recorded)) if f"call_{n:06}" in found)
    assert {f"call_{n:06}" for n in range(last + 1)} <= found
    # Two spells of a twentieth of a second, and what a loaded machine adds to them.
    assert killed - recorded[last] < 0.5


async def test_more_calls_at_one_instant_than_a_page_are_summed_once_each(
    store: Store, tmp_path: Path, blobs: BlobFiles
) -> None:
    async with sink(store, tmp_path, blobs) as interactions:
        for number in range(5003):
            if number % 2500 == 0:
                await interactions.flush()
            await interactions.record(msgspec.structs.replace(call(1), id=f"call_{number}"))
        await interactions.flush()
        (total,) = await interactions.totals(by="provider")
    assert total.calls == 5003
