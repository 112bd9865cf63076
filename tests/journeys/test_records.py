"""What is kept of a run: who asked what of which model, at what price, and what it was shown."""

from __future__ import annotations

import json
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


def test_every_file_that_is_read_is_in_the_audit_log(cli: Cli) -> None:
    cli("explain", "shop/cart.py", "--facts-only")

    lines = [
        json.loads(line)
        for path in (_state(cli) / "audit").rglob("*.jsonl")
        for line in path.read_text().splitlines()
    ]

    records = [line["record"] for line in lines]
    assert {line["v"] for line in lines} == {1}
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert any(r["op"] == "read" and r["path"] == "shop/cart.py" for r in records)
    assert any(r["op"] == "scan" for r in records)
