"""What is kept of a run: who asked what of which model, at what price, and what it was shown."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, BlobFiles, Interaction, Interactions, Shown, ShownContext
from aiex.runtime import SystemClock
from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]


def _state(cli: Cli) -> Path:
    return Path(cli.env["HOME"]) / ".local/state/aiex"


async def _kept(state: Path) -> tuple[Interaction, Interaction, ShownContext]:
    store = SqliteStore(state / "aiex.db", TABLES, clock=SystemClock())
    blobs = BlobFiles(state / "blobs")
    async with store, Interactions(store, spill=state / "spill", blobs=blobs) as interactions:
        last, first = await interactions.list()
        shown = await Shown(store).of(last.request_id)
        return last, first, shown[0]


@pytest.mark.parametrize("keeps_prompts", [False, True])
def test_every_call_of_a_model_is_recorded(
    cli: Cli, answering: Answering, keeps_prompts: bool
) -> None:
    answering(
        Scripted(status=503, error={"type": "server_error", "message": "busy"}),
        Scripted(text="It adds."),
    )
    more = ("--record-prompts",) if keeps_prompts else ()

    assert cli("explain", "shop/cart.py", *more).code == 0

    answered, failed, shown = anyio.run(_kept, _state(cli))

    assert (failed.outcome, failed.attempt) == ("overloaded", 1)
    assert (answered.outcome, answered.attempt, answered.finish) == ("ok", 2, "stop")
    assert (answered.verb, answered.interface) == ("explain", "cli")
    assert (answered.provider, answered.model) == ("openai", "gpt-5.4-mini")
    assert answered.cost_usd_micros is not None
    assert answered.cost_usd_micros > 0
    assert answered.usage is not None
    assert answered.usage.output_tokens == 2
    assert (answered.reply == "It adds.") is keeps_prompts
    assert (answered.prompt is not None) is keeps_prompts
    assert [(piece.path, piece.reason) for piece in shown.pieces] == [
        ("shop/cart.py", "what is explained"),
        ("shop/till.py", "calls total in bill"),
    ]


async def _calls(state: Path) -> list[Interaction]:
    store = SqliteStore(state / "aiex.db", TABLES, clock=SystemClock())
    blobs = BlobFiles(state / "blobs")
    async with store, Interactions(store, spill=state / "spill", blobs=blobs) as interactions:
        return list(await interactions.list())


def test_a_call_that_was_interrupted_is_recorded_with_what_it_took(
    cli: Cli, answering: Answering
) -> None:
    answering(Scripted(text="It adds a lot.", holds=True))
    process = cli.start("explain", "shop/cart.py", "--jsonl")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["body"]["type"] == "text":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    [call] = anyio.run(_calls, _state(cli))

    assert (call.outcome, call.verb, call.finish) == ("cancelled", "explain", None)
    assert call.usage is not None
    assert call.usage.input_tokens > 0
    assert call.usage_is_estimated
    assert call.cost_usd_micros
    assert call.price_version


def test_replies_that_broke_off_are_recorded_and_are_exit_3(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds a", finish=None))

    assert cli("explain", "shop/cart.py").code == 3

    again, first = anyio.run(_calls, _state(cli))
    assert (first.outcome, first.attempt) == ("incomplete_stream", 1)
    assert (again.outcome, again.attempt) == ("incomplete_stream", 2)
    assert first.cost_usd_micros
    assert again.cost_usd_micros


def test_every_file_that_is_read_is_in_the_audit_log(cli: Cli) -> None:
    cli("explain", "shop/cart.py", "--facts-only")

    lines = [
        json.loads(line)
        for path in (_state(cli) / "audit").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]

    assert {line["v"] for line in lines} == {1}
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert any(r["op"] == "read" and r["path"] == "shop/cart.py" for r in lines)
    assert any(r["op"] == "scan" for r in lines)
