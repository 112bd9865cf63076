"""What a model is shown fits its window, by counted tokens, and what does not is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aiex.testing.fake_ollama import FakeOllama, OllamaAnswer, OllamaModel

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

_WINDOW = 4096


@pytest.fixture
def ollama(cli: Cli) -> Iterator[FakeOllama]:
    """A model with a small window, that answers about a file of many functions."""
    functions = "".join(
        f"def _step_{n}(value: int) -> int:\n"
        f'    """Return step {n}."""\n'
        + "".join(f"    value += {n} * {m} - len(str(value))\n" for m in range(20))
        + "    return value\n\n\n"
        for n in range(40)
    )
    run = "def run(value: int) -> int:\n" + "".join(
        f"    value = _step_{n}(value)\n" for n in range(40)
    )
    (cli.project / "shop/steps.py").write_text(
        f'"""Steps."""\n\n\n{functions}{run}    return value\n'
    )
    (cli.project / "shop/user.py").write_text(
        "from shop.steps import run\n\n\ndef use() -> int:\n    return run(1)\n"
    )
    with FakeOllama(
        [OllamaAnswer(text="It steps.")], models=[OllamaModel(context_length=_WINDOW)]
    ) as fake:
        cli.env["AIEX_MODEL_OLLAMA_URL"] = fake.url
        yield fake


def _explained(cli: Cli, place: str) -> dict[str, Any]:
    ended = cli("explain", place, "--model", "ollama:fake", "--json")
    assert ended.code == 0, ended.err
    document: dict[str, Any] = ended.json
    return document


@pytest.mark.parametrize("place", ["shop/steps.py", "shop/steps.py::run", "shop/steps.py::_step_3"])
def test_the_prompt_and_the_reply_fit_into_a_small_window(
    cli: Cli, ollama: FakeOllama, place: str
) -> None:
    document = _explained(cli, place)

    [body] = ollama.bodies
    options = body["options"]
    said = sum(len(message["content"]) for message in body["messages"])
    assert options["num_ctx"] <= _WINDOW
    # No tokenizer of code makes more than one token of a character, nor fewer than one of eight.
    shown = sum(one["tokens"] for one in document["data"]["context"] if one["form"] != "left_out")
    assert said / 8 < shown + options["num_predict"] <= _WINDOW


def test_of_a_large_file_the_outline_is_shown(cli: Cli, ollama: FakeOllama) -> None:
    context = _explained(cli, "shop/steps.py")["data"]["context"]

    prompt = ollama.bodies[0]["messages"][-1]["content"]
    assert context[0]["path"] == "shop/steps.py"
    assert context[0]["form"] == "shorter"
    assert "def run(value: int) -> int:" in prompt
    assert "def _step_39(value: int)" in prompt
    assert '    """Return step 7."""\n    # ... 21 lines ...\n' in prompt
    assert "value += 7 * 3" not in prompt


def test_of_a_definition_what_it_calls_comes_before_who_calls_it_and_the_rest_is_named(
    cli: Cli, ollama: FakeOllama
) -> None:
    document = _explained(cli, "shop/steps.py::run")

    context = document["data"]["context"]
    shown = [one["reason"] for one in context if one["form"] != "left_out"]
    assert shown[0] == "what is explained"
    assert "_step_0 is called" in shown[1]
    assert [call["name"] for call in document["data"]["facts"]["calls"]][:2] == [
        "_step_0",
        "_step_1",
    ]
    plain = cli("explain", "shop/steps.py::run", "--model", "ollama:fake")
    left_out = [one for one in context if one["form"] == "left_out"]
    assert ("not shown to the model" in plain.err) is bool(left_out)


def test_what_was_left_out_is_shown_with_the_context(cli: Cli, ollama: FakeOllama) -> None:
    ended = cli("explain", "shop/steps.py", "--model", "ollama:fake", "--show-context")
    assert ended.code == 0, ended.err
    assert "left out: shop/steps.py:1 folded: 840 lines of bodies, about " in ended.err

    lines = cli("explain", "shop/steps.py", "--model", "ollama:fake", "--show-context", "--jsonl")
    bodies = [json.loads(line)["body"] for line in lines.out.splitlines() if line]
    [shown] = [body for body in bodies if body["type"] == "context"]
    [left_out] = shown["left_out"]
    assert (left_out["how"], left_out["lines"], left_out["kinds"]) == ("folded", 840, ["bodies"])
