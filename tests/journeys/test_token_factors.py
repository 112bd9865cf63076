"""What a model's bills say of its tokenizer is known to the next command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, TokenFactors
from aiex.core import TokenFactor
from aiex.runtime import SystemClock
from aiex.testing.fake_ollama import FakeOllama, OllamaAnswer

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli


async def _known(state: Path) -> Sequence[TokenFactor]:
    async with SqliteStore(state / "aiex.db", TABLES, clock=SystemClock()) as store:
        return await TokenFactors(store).load()


def test_each_command_goes_on_with_what_the_last_one_learned(cli: Cli) -> None:
    words = "".join(f"value_{n} = {n} + {n} * 2\n" for n in range(60))
    (cli.project / "shop/values.py").write_text(words)
    state = Path(cli.env["HOME"]) / ".local/state/aiex"
    with FakeOllama([OllamaAnswer(text="It counts.")]) as fake:
        cli.env["AIEX_MODEL_OLLAMA_URL"] = fake.url
        factors = []
        estimates = []
        for lessons in (1, 2, 3):
            ended = cli("explain", "shop/values.py", "--model", "ollama:fake", "--show-context")
            assert ended.code == 0, ended.err
            estimates.append(int(ended.err.rpartition(" tokens)")[0].rpartition("(")[2]))
            [factor] = anyio.run(_known, state)
            assert (factor.family, factor.basis, factor.lessons) == ("fake", "bytes", lessons)
            factors.append(factor.factor)

    # The fake bills by words, which are fewer than thirds of bytes.
    assert 1.2 > factors[0] > factors[1] > factors[2]
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[0] > estimates[2]
