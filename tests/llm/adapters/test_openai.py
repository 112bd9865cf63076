"""What the adapter of OpenAI asks for beside replies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiex.core import InvalidCallError, Message, ModelCall, OverloadedError, TextPart
from aiex.llm import Adapter, ModelInfo
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.testing.replay import Answer, ReplayServer

pytestmark = pytest.mark.anyio

CALL = ModelCall(model="m", messages=(Message(role="user", parts=(TextPart(text="hi"),)),))


def answer(body: Any, status: int = 200) -> Answer:
    headers = {"content-type": "application/json"}
    return Answer(body=json.dumps(body).encode(), status=status, headers=headers)


def adapter_at(server: ReplayServer, *, counts_tokens: bool = False) -> Adapter:
    return OpenAIAdapter(
        base_url=f"{server.url}/v1/", api_key=lambda: "sk-1", counts_tokens=counts_tokens
    )


async def test_models_are_listed_by_name_and_kind() -> None:
    models = {"object": "list", "data": [{"id": "gpt-5"}, {"id": "text-embedding-3-small"}]}
    async with ReplayServer([answer(models)]) as server, adapter_at(server) as adapter:
        found = await adapter.models()
        await adapter.probe()
    assert found == [
        ModelInfo(provider="openai", name="gpt-5"),
        ModelInfo(provider="openai", name="text-embedding-3-small", kind="embedding"),
    ]
    assert [one.path for one in server.received] == ["/v1/models", "/v1/models"]
    assert server.received[0].headers["authorization"] == "Bearer sk-1"


async def test_a_model_that_is_not_served_is_none() -> None:
    answers = [answer({"id": "a/b"}), answer({"error": {"code": "model_not_found"}}, 404)]
    async with ReplayServer(answers) as server, adapter_at(server) as adapter:
        assert await adapter.describe("a/b") == ModelInfo(provider="openai", name="a/b")
        assert await adapter.describe("a/b") is None
    assert server.received[0].path == "/v1/models/a%2Fb"


async def test_a_list_of_models_that_is_none_is_an_error() -> None:
    async with (
        ReplayServer([answer({"models": []})]) as server,
        adapter_at(server) as adapter,
    ):
        with pytest.raises(OverloadedError):
            await adapter.models()


async def test_tokens_are_counted_only_where_the_server_can() -> None:
    async with ReplayServer([answer({"input_tokens": 7})]) as server:
        async with adapter_at(server) as adapter:
            assert await adapter.count_tokens(CALL) is None
        assert server.received == []
        async with adapter_at(server, counts_tokens=True) as adapter:
            assert await adapter.count_tokens(CALL) == 7
    assert json.loads(server.received[0].body) == {
        "model": "m",
        "input": [{"role": "user", "content": "hi"}],
    }


async def test_embeddings_come_in_the_order_of_the_texts() -> None:
    data = [{"index": 1, "embedding": [3, 4.5]}, {"index": 0, "embedding": [1, 2]}]
    body = {"data": data, "model": "e", "usage": {"prompt_tokens": 5}}
    async with ReplayServer([answer(body)]) as server, adapter_at(server) as adapter:
        found = await adapter.embed("e", ["one", "two"])
    assert found.vectors == ((1.0, 2.0), (3.0, 4.5))
    assert found.input_tokens == 5


@pytest.mark.parametrize("vector", ["AAA", "!!!!", "AAAAAAA=", {}])
async def test_embeddings_that_are_none_are_an_error(vector: Any) -> None:
    body = {"data": [{"index": 0, "embedding": vector}]}
    async with ReplayServer([answer(body)]) as server, adapter_at(server) as adapter:
        with pytest.raises(OverloadedError):
            await adapter.embed("e", ["one"])


async def test_a_call_that_is_refused_is_not_sent_again() -> None:
    refusal = answer({"error": {"message": "no", "code": "invalid_value"}}, 400)
    async with ReplayServer([refusal]) as server, adapter_at(server) as adapter:
        with pytest.raises(InvalidCallError):
            await adapter.embed("e", ["one"])
    assert len(server.received) == 1
