"""Who is asked: what was named, what is configured, or what answers by itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from aiex.core import (
    AiexError,
    NotFoundError,
    OverloadedError,
    RunOptions,
    UnavailableError,
    UsageError,
)
from aiex.llm import Endpoint, ModelInfo, Pricing, Provider, Providers, load_table
from aiex.llm.adapters.lm_studio import LMStudioAdapter
from aiex.llm.adapters.ollama import OllamaAdapter
from aiex.testing.fake_lm_studio import FakeLMStudio, LMStudioModel
from aiex.testing.fake_ollama import FakeOllama, OllamaModel
from aiex.testing.scripted import ScriptedProvider, says

pytestmark = pytest.mark.anyio

PRICING = Pricing(load_table())
GONE = OverloadedError("nobody listens")


def a_provider(
    name: str, *models: str, answers: AiexError | None = None, **more: Any
) -> tuple[Provider, ScriptedProvider]:
    infos = [ModelInfo(provider=name, name=model, context_tokens=4096) for model in models]
    adapter = ScriptedProvider(says("yes"), provider=name, models=infos, answers=answers)
    return Provider(name=name, open=lambda: adapter, **more), adapter


def providers(*found: tuple[Provider, Any], default: str | None = None) -> Providers:
    return Providers([one for one, _ in found], pricing=PRICING, default_model=default)


def named(endpoints: Sequence[Endpoint]) -> list[str]:
    return [f"{e.provider}:{e.model}" for e in endpoints]


def hosted(**more: Any) -> tuple[Provider, ScriptedProvider]:
    return a_provider("openai", model="gpt-5-mini", **more)


def own(**more: Any) -> tuple[Provider, ScriptedProvider]:
    settings = {"must_answer": True, "is_loopback": True} | more
    return a_provider("ollama", "qwen3:8b", "llama3:latest", **settings)


async def test_all_that_can_be_used_are_candidates_in_the_order_of_the_configuration() -> None:
    keyless, embedded = hosted(missing="OPENAI_API_KEY is not set"), a_provider("local", "small")
    async with providers(own(), keyless, embedded) as found:
        endpoints = await found.choose(RunOptions())
    assert named(endpoints) == ["ollama:qwen3:8b", "local:small"]
    assert [e.preference for e in endpoints] == [0, 1]


async def test_what_has_to_answer_and_does_not_is_no_candidate() -> None:
    async with providers(own(answers=GONE), hosted()) as found:
        assert named(await found.choose(RunOptions())) == ["openai:gpt-5-mini"]


async def test_nothing_is_tried_behind_one_that_is_sure_to_answer() -> None:
    behind = own()
    async with providers(hosted(), behind) as found:
        assert named(await found.choose(RunOptions())) == ["openai:gpt-5-mini"]
        assert not behind[1].is_open


async def test_a_dry_run_tells_of_every_provider_that_could_take_it() -> None:
    async with providers(hosted(), own(), a_provider("local", "small")) as found:
        endpoints = await found.choose(RunOptions(dry_run=True))
    assert named(endpoints) == ["openai:gpt-5-mini", "ollama:qwen3:8b", "local:small"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RunOptions(model="ollama:llama3"), "ollama:llama3"),
        (RunOptions(model="openai:gpt-4o"), "openai:gpt-4o"),
        (RunOptions(provider="ollama"), "ollama:qwen3:8b"),
        (RunOptions(provider="ollama", model="llama3"), "ollama:llama3"),
        (RunOptions(provider="ollama", model="qwen3:8b"), "ollama:qwen3:8b"),
        (RunOptions(model="gpt-4o"), "openai:gpt-4o"),
        (RunOptions(model="gpt-chat-latest"), "openai:gpt-chat-latest"),
        (RunOptions(model="qwen3:8b"), "ollama:qwen3:8b"),
        (RunOptions(model="llama3"), "ollama:llama3"),
        (RunOptions(), "openai:gpt-5"),
    ],
)
async def test_what_was_named_is_the_only_one_asked_whatever_the_configuration_says(
    options: RunOptions, expected: str
) -> None:
    async with providers(hosted(), own(), default="openai:gpt-5") as found:
        assert named(await found.choose(options)) == [expected]


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        (RunOptions(provider="olama"), UsageError, "did you mean ollama?"),
        (RunOptions(model="qwen3:8c"), NotFoundError, "did you mean qwen3:8b"),
        (RunOptions(model="gpt-4-0"), NotFoundError, "gpt-4o"),
        (RunOptions(provider="ollama", model="openai:gpt-4o"), UsageError, ""),
    ],
)
async def test_what_does_not_exist_is_told_with_what_is_like_it(
    options: RunOptions, error: type[AiexError], hint: str
) -> None:
    async with providers(hosted(), own()) as found:
        with pytest.raises(error) as caught:
            await found.choose(options)
    assert hint in (caught.value.hint or "")


async def test_what_was_named_and_lacks_its_key_is_not_replaced_by_another() -> None:
    keyless = hosted(missing="OPENAI_API_KEY is not set")
    async with providers(keyless, own()) as found:
        with pytest.raises(UnavailableError, match="OPENAI_API_KEY is not set") as caught:
            await found.choose(RunOptions(provider="openai"))
    assert "set OPENAI_API_KEY" in (caught.value.hint or "")


async def test_a_key_in_a_slow_place_is_looked_for_only_when_it_is_wanted() -> None:
    asked: list[str] = []

    def has() -> bool:
        asked.append("keyring")
        return True

    kept = hosted(missing="OPENAI_API_KEY is not set", has_after_all=has)
    async with providers(kept, own()) as found:
        assert named(await found.choose(RunOptions())) == ["ollama:qwen3:8b"]
        assert asked == []
        assert named(await found.choose(RunOptions(provider="openai"))) == ["openai:gpt-5-mini"]
    assert asked == ["keyring"]


async def test_what_may_block_is_done_in_a_thread() -> None:
    done: list[bool] = []

    def note() -> bool:
        done.append(threading.current_thread() is threading.main_thread())
        return True

    kept = hosted(missing="no key", has_after_all=note, unlock=lambda: note() and None)
    async with providers(kept) as found:
        await found.choose(RunOptions(provider="openai"))
        await found.adapter("openai")
    assert done
    assert not any(done)


async def test_offline_asks_nobody_beyond_this_machine() -> None:
    remote = hosted()
    async with providers(remote, own()) as found:
        assert named(await found.choose(RunOptions(offline=True))) == ["ollama:qwen3:8b"]
        with pytest.raises(UnavailableError, match="--offline"):
            await found.choose(RunOptions(offline=True, provider="openai"))
        states = await found.states(offline=True)
    assert [state.problem for state in states] == ["not asked: --offline", None]
    assert not remote[1].is_open


async def test_nobody_to_ask_says_what_to_do() -> None:
    async with providers(hosted(missing="no key"), own(answers=GONE)) as found:
        with pytest.raises(UnavailableError) as caught:
            await found.choose(RunOptions())
    assert "aiex model pull smollm2-135m" in (caught.value.hint or "")


async def test_an_adapter_is_opened_once_and_closed_at_the_end() -> None:
    one = own()
    async with providers(one) as found:
        assert await found.adapter("ollama") is await found.adapter("ollama")
        assert one[1].is_open
    assert not one[1].is_open


async def test_a_running_ollama_and_a_running_lm_studio_are_found_with_their_windows() -> None:
    models = [LMStudioModel(key="embed", kind="embedding"), LMStudioModel(key="chat")]
    async with FakeOllama(models=[OllamaModel()]) as one, FakeLMStudio(models=models) as other:
        both = [
            Provider(
                name="ollama",
                open=lambda: OllamaAdapter(base_url=one.url),
                must_answer=True,
                is_loopback=True,
            ),
            Provider(
                name="lm_studio",
                open=lambda: LMStudioAdapter(base_url=other.url),
                must_answer=True,
                is_loopback=True,
            ),
        ]
        async with Providers(both, pricing=PRICING) as found:
            endpoints = await found.choose(RunOptions())
            states = await found.states()
    assert named(endpoints) == ["ollama:fake:latest", "lm_studio:chat"]
    assert all(endpoint.context_tokens for endpoint in endpoints)
    assert [state.problem for state in states] == [None, None]
