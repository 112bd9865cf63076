"""The adapter of LM Studio, against a server that lists, loads and overflows as LM Studio does."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
import pytest

from aiex.core import (
    AuthenticationError,
    ContextOverflowError,
    Delta,
    Finish,
    ImagePart,
    IncompleteStreamError,
    Message,
    ModelCall,
    ModelNotFoundError,
    ModelReply,
    OverloadedError,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from aiex.llm import Adapter, ModelInfo, Timeouts
from aiex.llm.adapters.http import Upstream
from aiex.llm.adapters.lm_studio import LMStudioAdapter
from aiex.testing.fake_lm_studio import FakeLMStudio, LMStudioAnswer, LMStudioModel
from aiex.testing.replay import Answer, ReplayServer
from aiex.wires import ReplyBuilder
from aiex.wires.openai_errors import decode_error

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect=5, first_token=20, between_chunks=20, total=60)
SCHEMA = msgspec.Raw(b'{"type":"object"}')
JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
READY = LMStudioModel(loaded_with=4096)
OVERFLOWS = [
    "Trying to keep the first 9000 tokens when context the overflows. However, ...",
    "The number of tokens to keep from the initial prompt is greater than the context length.",
    "Context size has been exceeded.",
]


def call_of(text: str = "hi", *, model: str = "fake-1", **fields: Any) -> ModelCall:
    message = Message(role="user", parts=(TextPart(text=text),))
    return ModelCall(model=model, messages=(message,), **fields)


def whole(body: Any) -> Answer:
    return Answer(body=json.dumps(body).encode(), headers=JSON)


async def reply_of(deltas: AsyncGenerator[Delta, None]) -> ModelReply:
    builder = ReplyBuilder()
    async with aclosing(deltas):
        async for delta in deltas:
            builder.add(delta)
    return builder.reply()


async def ask(server: FakeLMStudio | ReplayServer, call: ModelCall) -> ModelReply:
    async with LMStudioAdapter(base_url=server.url) as adapter:
        return await reply_of(adapter.stream(call, timeouts=PATIENT))


def listing(server: FakeLMStudio) -> Upstream:
    return Upstream(server.url, provider="lm_studio", decode_error=decode_error)


async def gone(server: FakeLMStudio) -> bool:
    return await anyio.to_thread.run_sync(server.left.wait, 5)


# ---------------------------------------------------------------- replies


async def test_everything_that_lm_studio_can_say_is_normalised() -> None:
    answer = LMStudioAnswer(
        reasoning="hm",
        text="Let me look.",
        calls=(("grep", '{"for":"zwölf"}'), ("list", "{}")),
        finish="tool_calls",
        prompt_tokens=30,
    )
    async with FakeLMStudio([answer]) as server:
        reply = await ask(server, call_of())
    assert reply.parts == (
        ReasoningPart(text="hm"),
        TextPart(text="Let me look."),
        ToolCallPart(id="call_0", name="grep", arguments='{"for":"zwölf"}'),
        ToolCallPart(id="call_1", name="list", arguments="{}"),
    )
    assert reply.finish == Finish(
        reason="tool_calls",
        raw_reason="tool_calls",
        usage=Usage(input_tokens=30, output_tokens=3),
        model="fake-1",
        reply_id="chatcmpl-fake",
    )


async def test_everything_that_a_call_can_ask_for_is_sent_in_lm_studio_s_dialect() -> None:
    call = ModelCall(
        model="fake-1",
        messages=(
            Message(role="developer", parts=(TextPart(text="be brief"),)),
            Message(role="user", parts=(TextPart(text="look"), ImagePart(data="aWJt"))),
            Message(
                role="assistant",
                parts=(
                    ReasoningPart(text="hm"),
                    ToolCallPart(id="call_0", name="grep", arguments="{}"),
                ),
            ),
            Message(role="tool", parts=(ToolResultPart(id="call_0", text="nothing"),)),
        ),
        tools=(Tool(name="grep", description="looks", parameters=SCHEMA),),
        response_format=ResponseFormat(kind="json_schema", schema=SCHEMA, name="r"),
        max_output_tokens=100,
        extra={"ttl": msgspec.Raw(b"60")},
    )
    async with FakeLMStudio() as server:
        await ask(server, call)
    [body] = server.bodies
    assert [message["role"] for message in body["messages"]] == [
        *("system", "user", "assistant", "tool"),
    ]
    assert body["messages"][1]["content"][1]["image_url"]["url"].endswith("aWJt")
    assert body["messages"][2]["reasoning_content"] == "hm"
    assert body["max_tokens"] == 100
    assert "max_completion_tokens" not in body
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["stream_options"] == {"include_usage": True}
    assert body["ttl"] == 60


async def test_an_address_with_the_version_means_the_same() -> None:
    async with (
        FakeLMStudio() as server,
        LMStudioAdapter(base_url=f"{server.url}/v1/") as adapter,
    ):
        assert (await reply_of(adapter.stream(call_of(), timeouts=PATIENT))).text == "fine"


async def test_a_token_is_sent_to_both_of_its_apis() -> None:
    models = whole({"models": []})
    done = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    async with (
        ReplayServer([models, Answer(body=done, headers=EVENTS)]) as server,
        LMStudioAdapter(base_url=server.url, api_key=lambda: "token") as adapter,
    ):
        await reply_of(adapter.stream(call_of(), timeouts=PATIENT))
    assert [one.path for one in server.received] == ["/api/v1/models", "/v1/chat/completions"]
    assert {one.headers["authorization"] for one in server.received} == {"Bearer token"}


async def test_a_missing_token_is_told_at_once() -> None:
    refusal = Answer(body=b'{"error":{"message":"no token"}}', status=401, headers=JSON)
    async with ReplayServer([refusal]) as server:
        with pytest.raises(AuthenticationError, match="no token"):
            await ask(server, call_of())
    assert len(server.received) == 1


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize(
    ("model", "seconds"), [(LMStudioModel(), "0.15 s"), (READY, "0.05 s")], ids=["cold", "ready"]
)
@pytest.mark.parametrize("lists", ["v1", "v0"])
async def test_a_model_that_has_to_be_loaded_is_waited_for(
    lists: str, model: LMStudioModel, seconds: str
) -> None:
    async with FakeLMStudio(models=[model]) as fake, listing(fake) as upstream:
        body = await upstream.request("GET", f"/api/{lists}/models", timeouts=PATIENT)
    silent = Answer(body=b"", headers=EVENTS, ending="hold")
    before = [whole({"error": "Unexpected endpoint or method."})] if lists == "v0" else []
    async with (
        ReplayServer([*before, Answer(body=body, headers=JSON), silent]) as server,
        LMStudioAdapter(base_url=server.url, load_timeout=0.1) as adapter,
    ):
        hurried = msgspec.structs.replace(PATIENT, first_token=0.05)
        with pytest.raises(OverloadedError, match=f"no token within {seconds}"):
            await reply_of(adapter.stream(call_of(), timeouts=hurried))
        with anyio.fail_after(1):
            await server.left.wait()


async def test_a_server_without_its_own_lists_is_asked_all_the_same() -> None:
    async with FakeLMStudio(lists=[]) as server:
        assert (await ask(server, call_of())).text == "fine"
        async with LMStudioAdapter(base_url=server.url) as adapter:
            with pytest.raises(OverloadedError, match="cannot be read"):
                await adapter.models()


async def test_a_server_that_lists_nothing_is_not_waited_for_long() -> None:
    async with (
        ReplayServer([Answer(body=b"", headers=JSON, ending="hold")]) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        hurried = msgspec.structs.replace(PATIENT, first_token=0.05)
        with pytest.raises(OverloadedError, match=r"did not list its models within 0\.05 s"):
            await reply_of(adapter.stream(call_of(), timeouts=hurried))


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("said", OVERFLOWS)
@pytest.mark.parametrize("status", [200, 400])
async def test_an_overflow_is_one_by_whichever_words(said: str, status: int) -> None:
    async with FakeLMStudio([LMStudioAnswer(status=status, error=said)]) as server:
        with pytest.raises(ContextOverflowError) as caught:
            await ask(server, call_of())
    assert said in caught.value.message
    assert not caught.value.transient
    assert "larger context length" in (caught.value.hint or "")


async def test_an_overflow_that_shows_in_silence_only_is_one() -> None:
    answer = LMStudioAnswer(text="", prompt_tokens=9_000)
    async with FakeLMStudio([answer], models=[READY]) as server:
        with pytest.raises(ContextOverflowError, match="9000 tokens for a window of 4096"):
            await ask(server, call_of())


async def test_a_prompt_that_was_larger_than_its_window_is_warned_of() -> None:
    answer = LMStudioAnswer(text="fine", prompt_tokens=9_000)
    async with FakeLMStudio([answer], models=[READY]) as server:
        reply = await ask(server, call_of())
    [warning] = reply.finish.warnings
    assert "cut off" in warning


async def test_an_empty_reply_that_fits_is_a_reply() -> None:
    async with FakeLMStudio([LMStudioAnswer(text="")], models=[READY]) as server:
        reply = await ask(server, call_of())
    assert (reply.text, reply.finish.warnings) == ("", ())


# ---------------------------------------------------------------- errors


async def test_a_model_that_is_not_there_is_told_with_those_like_it() -> None:
    async with FakeLMStudio(models=[LMStudioModel(key="qwen/qwen3-coder-30b")]) as server:
        with pytest.raises(ModelNotFoundError) as caught:
            await ask(server, call_of(model="qwen3-coder"))
        with pytest.raises(ModelNotFoundError) as other:
            await ask(server, call_of(model="zzz"))
    assert not caught.value.transient
    assert caught.value.hint == "did you mean qwen/qwen3-coder-30b? If not: lms get qwen3-coder"
    assert other.value.hint == "lms get zzz"


async def test_a_model_that_cannot_be_loaded_is_told_so() -> None:
    answer = LMStudioAnswer(status=404, error="Failed to load model", code="model_not_found")
    async with FakeLMStudio([answer]) as server:
        with pytest.raises(ModelNotFoundError, match="Failed to load") as caught:
            await ask(server, call_of())
    assert "could not load it" in (caught.value.hint or "")


async def test_another_error_inside_the_stream_stays_what_it_is() -> None:
    async with FakeLMStudio([LMStudioAnswer(text="half", error="the model crashed")]) as server:
        with pytest.raises(OverloadedError, match="the model crashed"):
            await ask(server, call_of())


async def test_a_stream_without_a_finish_reason_is_incomplete() -> None:
    async with FakeLMStudio([LMStudioAnswer(text="half of it", finish=None)]) as server:
        with pytest.raises(IncompleteStreamError):
            await ask(server, call_of())


@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_stream_cut_before_its_finish_reason_is_incomplete(ending: Any) -> None:
    said = b'data: {"choices":[{"index":0,"delta":{"content":"zw\xc3\xb6lf"}}]}\n\n'
    last = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    # The last brace is what makes the event whole.
    cuts = range(len(said + last) - 3)
    models = whole({"models": []})
    answers = [
        one
        for at in cuts
        for one in (models, Answer(body=said + last, headers=EVENTS, cut_at=at, ending=ending))
    ]
    async with (
        ReplayServer(answers) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        for _ in cuts:
            with pytest.raises(IncompleteStreamError):
                await reply_of(adapter.stream(call_of(), timeouts=PATIENT))


# ---------------------------------------------------------------- leaving


async def test_closing_the_stream_closes_the_connection() -> None:
    async with (
        FakeLMStudio([LMStudioAnswer(text="one two", holds=True)]) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        async with aclosing(adapter.stream(call_of(), timeouts=PATIENT)) as deltas:
            await anext(deltas)
            assert not server.left.is_set()
        assert await gone(server)


async def test_cancelling_closes_the_connection() -> None:
    async with (
        FakeLMStudio([LMStudioAnswer(text="one two", holds=True)]) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        with anyio.CancelScope() as scope:
            async with aclosing(adapter.stream(call_of(), timeouts=PATIENT)) as deltas:
                async for _ in deltas:
                    scope.cancel()
        assert scope.cancelled_caught
        assert await gone(server)


# ---------------------------------------------------------------- beside replies


MODELS = [
    LMStudioModel(key="seer", vision=True, loaded_with=8192, instance="mine"),
    LMStudioModel(key="plain", tools=False),
    LMStudioModel(key="embed-1", kind="embedding", max_context_length=2048, tools=False),
]


async def test_models_are_listed_with_what_they_can() -> None:
    async with (
        FakeLMStudio(models=MODELS) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        found = await adapter.models()
        mine = await adapter.describe("mine")
        assert await adapter.describe("absent") is None
    seer = ModelInfo(
        provider="lm_studio",
        name="seer",
        context_tokens=32768,
        is_loaded=True,
        loaded_context_tokens=8192,
        size_bytes=1_000_000,
        capabilities=("tools", "vision"),
    )
    plain = ModelInfo(
        provider="lm_studio",
        name="plain",
        context_tokens=32768,
        is_loaded=False,
        size_bytes=1_000_000,
    )
    embedding = msgspec.structs.replace(
        plain, name="embed-1", context_tokens=2048, kind="embedding"
    )
    assert found == [seer, plain, embedding]
    assert mine == msgspec.structs.replace(seer, name="mine")


async def test_an_older_server_s_list_tells_the_same_but_sizes() -> None:
    async with (
        FakeLMStudio(models=MODELS, lists=["v0"]) as old,
        FakeLMStudio(models=MODELS) as new,
        LMStudioAdapter(base_url=old.url) as old_adapter,
        LMStudioAdapter(base_url=new.url) as new_adapter,
    ):
        found = await old_adapter.models()
        expected = await new_adapter.models()
    assert found == [msgspec.structs.replace(one, size_bytes=None) for one in expected]


async def test_a_model_that_thinks_is_told_by_its_capabilities() -> None:
    model = {"key": "t", "capabilities": {"reasoning": {"allowed_options": ["off", "on"]}}}
    async with (
        ReplayServer([whole({"models": [model]})]) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        [found] = await adapter.models()
    assert found.capabilities == ("thinking",)


async def test_texts_are_embedded() -> None:
    async with (
        FakeLMStudio(models=MODELS) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        found = await adapter.embed("embed-1", ["four", "letters"])
        with pytest.raises(ModelNotFoundError) as caught:
            await adapter.embed("embed-2", ["one"])
        assert await adapter.count_tokens(call_of()) is None
    assert found.vectors == ((4.0, 0.5), (7.0, 0.5))
    assert found.input_tokens == 2
    assert caught.value.hint == "did you mean embed-1? If not: lms get embed-2"


async def test_a_server_that_answers_is_probed_without_a_model() -> None:
    async with (
        FakeLMStudio(models=[]) as server,
        LMStudioAdapter(base_url=server.url) as adapter,
    ):
        await adapter.probe()
        assert await adapter.models() == []
        assert adapter.is_loopback


async def test_a_server_that_is_not_there_says_how_to_start_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        adapter: Adapter
        async with LMStudioAdapter(base_url=url) as adapter:
            with pytest.raises(OverloadedError, match="cannot be reached") as caught:
                await adapter.probe()
            with pytest.raises(OverloadedError):
                await reply_of(adapter.stream(call_of(), timeouts=PATIENT))
    assert "lms server start" in (caught.value.hint or "")
