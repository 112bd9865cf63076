"""What a question imports: nothing that only another command, or another provider, needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]

NEEDLESS = {
    "aiohttp",
    "cryptography",
    "genai_prices",
    "difflib",
    "keyring",
    "rich",
    "uvicorn",
    "xllamacpp",
    "tree_sitter_cpp",
    "tree_sitter_elixir",
    "tree_sitter_java",
    "aiex.assistant.create",
    "aiex.assistant.analyze",
    "aiex.llm.adapters.anthropic",
    "aiex.llm.adapters.local",
    "aiex.interfaces.cli.commands.analyze",
    "aiex.interfaces.cli.render.analyze",
    "aiex.testing",
}


def _imported(err: str) -> set[str]:
    lines = [line for line in err.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_a_question_imports_only_what_it_needs(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="It adds."))
    cli.env |= {"PYTHONPROFILEIMPORTTIME": "1", "AIEX_MODEL_ORDER": "openai"}

    ended = cli("explain", "shop/cart.py")

    imported = _imported(ended.err)
    assert fake.bodies
    assert "httptools" in imported
    assert imported & NEEDLESS == set()


def test_facts_alone_import_no_client(cli: Cli) -> None:
    cli.env["PYTHONPROFILEIMPORTTIME"] = "1"

    imported = _imported(cli("explain", "shop/cart.py", "--facts-only").err)

    assert "aiex.code" in imported
    assert imported & (NEEDLESS | {"httptools", "aiex.llm.adapters"}) == set()
