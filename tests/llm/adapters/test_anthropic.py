"""What the adapter of Anthropic asks for beside replies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiex.core import InvalidCallError
from aiex.llm import ModelInfo
from aiex.llm.adapters.anthropic import AnthropicAdapter
from aiex.testing.replay import Answer, ReplayServer

pytestmark = pytest.mark.anyio


def answer(body: Any, status: int = 200) -> Answer:
    headers = {"content-type": "application/json"}
    return Answer(body=json.dumps(body).encode(), status=status, headers=headers)


def adapter_at(server: ReplayServer, *betas: str) -> AnthropicAdapter:
    return AnthropicAdapter(base_url=server.url, api_key=lambda: "sk-1", betas=betas)


async def test_all_pages_of_models_are_listed() -> None:
    pages = [
        answer({"data": [{"id": "a"}], "has_more": True, "last_id": "a"}),
        answer({"data": [{"id": "b"}], "has_more": False, "last_id": "b"}),
    ]
    async with ReplayServer(pages) as server, adapter_at(server) as adapter:
        found = await adapter.models()
    assert [model.name for model in found] == ["a", "b"]
    assert server.received[1].path == "/v1/models?limit=1000&after_id=a"


async def test_the_key_version_and_betas_are_headers() -> None:
    async with (
        ReplayServer([answer({"data": []})]) as server,
        adapter_at(server, "one", "two") as adapter,
    ):
        await adapter.probe()
    [request] = server.received
    assert request.headers["x-api-key"] == "sk-1"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["anthropic-beta"] == "one,two"
    assert "authorization" not in request.headers


async def test_a_model_that_is_not_served_is_none() -> None:
    missing = {"type": "error", "error": {"type": "not_found_error", "message": "model: x"}}
    answers = [answer({"id": "x"}), answer(missing, 404)]
    async with ReplayServer(answers) as server, adapter_at(server) as adapter:
        assert await adapter.describe("x") == ModelInfo(provider="anthropic", name="x")
        assert await adapter.describe("x") is None


async def test_there_are_no_embeddings() -> None:
    async with ReplayServer([answer({})]) as server, adapter_at(server) as adapter:
        with pytest.raises(InvalidCallError):
            await adapter.embed("m", ["one"])
    assert server.received == []
