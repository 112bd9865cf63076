"""Names and whom they stand for: aliases, pools, one endpoint, and what is remembered of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aiex.core import (
    NotFoundError,
    OverloadedError,
    Principal,
    RefusedError,
    RunOptions,
    UnavailableError,
    UsageError,
)
from aiex.llm import Endpoint, ModelInfo, Pricing, Provider, Providers, load_table
from aiex.testing.clock import FakeClock
from aiex.testing.scripted import ScriptedProvider, says

pytestmark = pytest.mark.anyio

PRICING = Pricing(load_table(), kinds={"work": "openai", "gpu1": "ollama", "gpu2": "ollama"})
ANN = Principal(user="ann", interface="http")


def server(name: str, *models: str, **more: Any) -> tuple[Provider, ScriptedProvider]:
    infos = [
        ModelInfo(provider=name, name=m, context_tokens=4096, capabilities=("tools",))
        for m in models
    ]
    adapter = ScriptedProvider(says("yes"), provider=name, models=infos)
    fields: dict[str, Any] = {"kind": "ollama", "must_answer": True, "node": name} | more
    return Provider(name=name, open=lambda: adapter, **fields), adapter


class Known:
    """A hosted provider, a second key of it, and two servers of one's own."""

    def __init__(self, **more: Any) -> None:
        self.clock = FakeClock()
        self.openai, _ = server(
            "openai", kind="openai", must_answer=False, model="gpt-5-mini", node="local"
        )
        self.work, _ = server("work", kind="openai", must_answer=False, model="gpt-5", node="local")
        self.gpu1, self.one = server("gpu1", "qwen3:8b", "llama3:latest")
        self.gpu2, self.two = server("gpu2", "qwen3:8b")
        self.providers = Providers(
            [self.openai, self.work, self.gpu1, self.gpu2],
            pricing=PRICING,
            now=self.clock.monotonic,
            **more,
        )

    async def route(
        self, name: str, /, *, principal: Principal = ANN, **options: Any
    ) -> list[Endpoint]:
        found = await self.providers.route(name, principal=principal, options=RunOptions(**options))
        return list(found)

    async def names(self, name: str, /, **more: Any) -> list[str]:
        return [f"{e.provider}:{e.model}" for e in await self.route(name, **more)]


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("openai:gpt-4o", {}, ["openai:gpt-4o"]),
        ("gpu2:qwen3:8b", {}, ["gpu2:qwen3:8b"]),
        ("gpt-4o", {}, ["openai:gpt-4o", "work:gpt-4o"]),
        ("qwen3:8b", {}, ["gpu1:qwen3:8b", "gpu2:qwen3:8b"]),
        ("llama3", {}, ["gpu1:llama3"]),
        ("", {}, ["openai:gpt-5-mini", "work:gpt-5", "gpu1:qwen3:8b", "gpu2:qwen3:8b"]),
        ("", {"model": "work:gpt-5"}, ["work:gpt-5"]),
        ("", {"provider": "gpu1"}, ["gpu1:qwen3:8b"]),
        ("qwen3:8b", {"provider": "gpu2"}, ["gpu2:qwen3:8b"]),
        ("gpu1:not-pulled-yet", {}, ["gpu1:not-pulled-yet"]),
    ],
)
async def test_a_name_stands_for_one_or_for_all_who_serve_it(
    model: str, options: dict[str, str], expected: list[str]
) -> None:
    known = Known()
    async with known.providers:
        assert await known.names(model, **options) == expected


async def test_an_alias_is_a_chain_of_steps_each_of_which_may_be_several() -> None:
    known = Known(aliases={"fast": [["openai:gpt-5-mini"], ["qwen3:8b"], ["gpu1:llama3"]]})
    async with known.providers:
        found = await known.route("fast")
        assert [(e.provider, e.model, e.step) for e in found] == [
            ("openai", "gpt-5-mini", 0),
            ("gpu1", "qwen3:8b", 1),
            ("gpu2", "qwen3:8b", 1),
            ("gpu1", "llama3", 2),
        ]
        assert [e.preference for e in found] == [0, 1, 2, 3]
        assert [(e.node, e.context_tokens, e.capabilities) for e in found[1:2]] == [
            ("gpu1", 4096, ("tools",))
        ]


async def test_a_default_may_be_an_alias_and_what_is_named_wins_over_it() -> None:
    known = Known(aliases={"fast": [["gpu1:llama3"], ["gpu2:qwen3:8b"]]}, default_model="fast")
    async with known.providers:
        assert await known.names("") == ["gpu1:llama3", "gpu2:qwen3:8b"]
        assert await known.names("", provider="gpu2") == ["gpu2:qwen3:8b"]
        chosen = await known.providers.choose(RunOptions(model="fast"))
        assert [e.provider for e in chosen] == ["gpu1", "gpu2"]


async def test_a_step_that_nobody_can_take_is_left_out_and_an_empty_chain_says_why() -> None:
    keyless, _ = server("openai", kind="openai", missing="OPENAI_API_KEY is not set")
    gpu, _ = server("gpu1", "qwen3:8b")
    aliases = {"fast": [["openai:gpt-4o"], ["gpu1:qwen3:8b"]], "dear": [["openai:gpt-4o"]]}
    async with Providers([keyless, gpu], pricing=PRICING, aliases=aliases) as providers:
        fast = await providers.route("fast", principal=ANN, options=RunOptions())
        assert [e.provider for e in fast] == ["gpu1"]
        with pytest.raises(UnavailableError, match=r"dear: .*OPENAI_API_KEY is not set"):
            await providers.route("dear", principal=ANN, options=RunOptions())


async def test_what_was_found_is_remembered_and_asks_nobody() -> None:
    known = Known()
    async with known.providers:
        first = await known.route("qwen3:8b")
        surveys = known.one.surveys
        for _ in range(10):
            known.clock.advance(2)
            assert await known.route("qwen3:8b") == first
        assert known.one.surveys == surveys
        known.clock.advance(30)
        await known.route("qwen3:8b")
        assert known.one.surveys > surveys


async def test_refreshing_beside_the_requests_keeps_them_from_waiting() -> None:
    known = Known()
    async with known.providers:
        await known.route("qwen3:8b")
        for _ in range(10):
            known.clock.advance(20)
            await known.providers.refresh()
            surveys = known.one.surveys
            await known.route("qwen3:8b")
            assert known.one.surveys == surveys
        known.clock.advance(400)
        await known.providers.refresh()
        assert known.one.surveys == surveys, "what nobody asks for is let go"


async def test_a_server_that_is_away_for_a_moment_still_serves_what_it_served() -> None:
    known = Known()
    async with known.providers:
        await known.route("llama3")
        known.one._answers = OverloadedError("gone")
        known.clock.advance(31)
        assert await known.names("llama3") == ["gpu1:llama3"]
        known.clock.advance(301)
        with pytest.raises(NotFoundError):
            await known.route("llama3")


async def test_a_name_that_is_nobodys_is_looked_up_again_only_after_some_seconds() -> None:
    known = Known()
    async with known.providers:
        for _ in range(5):
            with pytest.raises(NotFoundError, match="no provider is known to serve") as caught:
                await known.route("qwen3:9b")
            assert "qwen3:8b" in (caught.value.hint or "")
        assert known.one.surveys == 1
        known.clock.advance(6)
        known.one._models = (ModelInfo(provider="gpu1", name="qwen3:9b"),)
        assert await known.names("qwen3:9b") == ["gpu1:qwen3:9b"]


async def test_what_clients_name_does_not_fill_the_memory() -> None:
    known = Known()
    async with known.providers:
        for n in range(1100):
            await known.route(f"openai:made-up-{n}")
        assert len(known.providers._routes) <= 1024


async def test_a_principal_is_given_what_it_may_ask_and_told_if_that_is_nothing() -> None:
    known = Known(aliases={"fast": [["openai:gpt-5-mini"], ["gpu1:llama3"]]})
    own = msgspec.structs.replace(ANN, models=("gpu*:*", "openai:gpt-4*"))
    async with known.providers:
        assert await known.names("fast", principal=own) == ["gpu1:llama3"]
        assert await known.names("gpt-4o", principal=own) == ["openai:gpt-4o"]
        with pytest.raises(RefusedError, match="ann may not ask work:gpt-5") as caught:
            await known.route("work:gpt-5", principal=own)
        assert "gpu*:*, openai:gpt-4*" in (caught.value.hint or "")
        assert await known.providers.names(own) == [
            "fast",
            "gpu1:llama3:latest",
            "gpu1:qwen3:8b",
            "gpu2:qwen3:8b",
            *(f"openai:{m}" for m in sorted(PRICING.models("openai")) if m.startswith("gpt-4")),
        ]


async def test_what_configuration_says_of_a_model_counts_before_what_others_say() -> None:
    told = ModelInfo(provider="work", name="mine", context_tokens=77, capabilities=("vision",))
    work, _ = server("work", kind="openai", must_answer=False, models=(told,))
    async with Providers([work], pricing=PRICING) as providers:
        [found] = await providers.route("mine", principal=ANN, options=RunOptions())
        assert (found.provider, found.context_tokens, found.capabilities) == (
            "work",
            77,
            ("vision",),
        )
        assert await providers.names(ANN) == ["work:mine"]


async def test_a_provider_that_there_is_not_is_told_with_what_is_like_it() -> None:
    known = Known()
    async with known.providers:
        with pytest.raises(UsageError) as caught:
            await known.route("", provider="wrok")
    assert caught.value.hint == "did you mean work?"
