"""What a model was shown is kept however its call ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, BlobFiles, Interaction, Interactions, Shown, ShownContext
from aiex.runtime import SystemClock
from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]


def _shown(cli: Cli) -> Sequence[ShownContext]:
    place = Path(cli.env["HOME"]) / ".local/state/aiex/aiex.db"

    async def read() -> Sequence[ShownContext]:
        async with SqliteStore(place, TABLES, clock=SystemClock()) as store:
            return await Shown(store).recent()

    return anyio.run(read)


def _calls(cli: Cli) -> Sequence[Interaction]:
    state = Path(cli.env["HOME"]) / ".local/state/aiex"

    async def read() -> Sequence[Interaction]:
        store = SqliteStore(state / "aiex.db", TABLES, clock=SystemClock())
        blobs = BlobFiles(state / "blobs")
        async with store, Interactions(store, spill=state / "spill", blobs=blobs) as interactions:
            return await interactions.list()

    return anyio.run(read)


def test_an_interrupted_call_leaves_what_was_shown(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds a lot.", holds=True))
    process = cli.start("explain", "shop/cart.py", "--jsonl")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["body"]["type"] == "text":
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    [context] = _shown(cli)

    assert context.model == "openai:gpt-5.4-mini"
    assert [(piece.path, piece.reason) for piece in context.pieces] == [
        ("shop/cart.py", "what is explained"),
        ("shop/till.py", "calls total in bill"),
    ]


def test_each_attempt_leaves_what_was_shown_even_if_none_was_answered(
    cli: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(status=503, error={"type": "server_error", "message": "busy"}))

    assert cli("explain", "shop/cart.py").code == 3

    contexts = _shown(cli)
    assert len(contexts) == len(fake.bodies) > 1
    assert {context.call_id for context in contexts} == {call.id for call in _calls(cli)}


def test_a_dry_run_and_facts_alone_show_a_model_nothing(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="never"))

    assert cli("explain", "shop/cart.py", "--dry-run").code == 0
    assert cli("explain", "shop/cart.py", "--facts-only").code == 0

    assert _shown(cli) == []


def test_a_new_module_is_kept_with_the_neighbours_that_were_shown(
    cli: Cli, answering: Answering
) -> None:
    test = "from shop.discount import X\n\n\ndef test_x():\n    assert X"
    answering(Scripted(text="```python\nX = 1\n```"), Scripted(text=f"```python\n{test}\n```"))
    (cli.project / "AGENTS.md").write_text("Prices are whole cents.\n")
    (cli.project / "shop/prices.py").write_text('"""Prices."""\n' + "RATE = 19\n" * 30)

    assert cli("create", "module", "discount", "takes percents off", "--test").code == 0

    tests, context = _shown(cli)
    assert [(piece.path, piece.reason) for piece in context.pieces] == [
        ("AGENTS.md", "its conventions"),
        ("shop/prices.py", "a neighbour, for its style"),
    ]
    assert [(piece.path, piece.reason) for piece in tests.pieces] == [
        ("shop/discount.py", "what is tested")
    ]


REFUNDS = '''"""Money that goes back."""


def refund_receipt(receipt: int) -> int:
    """Return what is paid back for a receipt."""
    return -receipt
'''


def test_a_question_is_answered_with_what_the_project_has_about_it(
    cli: Cli, answering: Answering
) -> None:
    (cli.project / "pyproject.toml").touch()
    (cli.project / "shop/refunds.py").write_text(REFUNDS)
    fake = answering(Scripted(text="By refund_receipt."))

    asked = "how does the refund of a receipt get paid back?"
    assert cli("explain", "shop/cart.py", "--ask", asked).code == 0

    [context] = _shown(cli)
    assert ("shop/refunds.py", "fits the question") in [
        (piece.path, piece.reason) for piece in context.pieces
    ]
    assert "def refund_receipt" in json.dumps(fake.bodies[0])


def test_a_question_about_nothing_in_the_project_adds_nothing(
    cli: Cli, answering: Answering
) -> None:
    (cli.project / "pyproject.toml").touch()
    (cli.project / "shop/refunds.py").write_text(REFUNDS)
    answering(Scripted(text="No."))

    assert cli("explain", "shop/cart.py", "--ask", "is the zebra quantized?").code == 0

    [context] = _shown(cli)
    assert "shop/refunds.py" not in [piece.path for piece in context.pieces]


def test_a_new_module_is_written_in_sight_of_what_fits_its_description(
    cli: Cli, answering: Answering
) -> None:
    (cli.project / "pyproject.toml").touch()
    (cli.project / "money").mkdir()
    (cli.project / "money/refunds.py").write_text(REFUNDS)
    answering(Scripted(text="```python\nX = 1\n```"))

    about = "pays the refund of a receipt back in parts"
    assert cli("create", "module", "shop.instalments", about).code == 0

    [context] = _shown(cli)
    assert ("money/refunds.py", "fits the description") in [
        (piece.path, piece.reason) for piece in context.pieces
    ]
