"""What clients ask in their own wires, over real connections: the same wire, and another one."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Literal

import anyio
import msgspec
import pytest

from aiex.core import (
    CompleteArguments,
    Finish,
    IncompleteStreamError,
    InvalidCallError,
    Passthrough,
    Redactor,
    UsageError,
    WireBytes,
)
from aiex.llm import Adapter, Endpoint, Pricing, Relayed, Timeouts, TokenCounter, load_table
from aiex.llm.adapters.anthropic import AnthropicAdapter
from aiex.llm.adapters.ollama import OllamaAdapter
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.llm.relay import Relay
from aiex.runtime import SystemClock
from aiex.testing.replay import Answer, ReplayServer

pytestmark = pytest.mark.anyio

PRICING = Pricing(load_table())
TIMEOUTS = Timeouts(connect=5, first_token=20, between_chunks=20, total=30)
STREAM = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}

ASKS: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": [{"role": "user", "content": "hi"}]},
    "openai_responses": {"input": "hi"},
    "anthropic_messages": {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
}
UPSTREAMS: dict[str, Callable[[str], Any]] = {
    "openai_chat": lambda url: OpenAIAdapter(base_url=url, api_key=lambda: "sk-ours-0123456789"),
    "openai_responses": lambda url: OpenAIAdapter(base_url=url, api="responses"),
    "anthropic_messages": lambda url: AnthropicAdapter(base_url=url),
    "ollama": lambda url: OllamaAdapter(base_url=url),
}
BEGINS = {
    "openai_chat": b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n',
    "openai_responses": (
        b'event: response.created\ndata: {"type":"response.created",'
        b'"response":{"id":"resp_7","status":"in_progress"},"sequence_number":0}\n\n'
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
        b'"item_id":"i","output_index":0,"content_index":0,"delta":"hello",'
        b'"sequence_number":1}\n\n'
    ),
    "anthropic_messages": (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
        b'"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"hello"}}\n\n'
    ),
    "ollama": b'{"message":{"role":"assistant","content":"hello"},"done":false}\n',
}
ENDS = {
    "openai_chat": (
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
        b"data: [DONE]\n\n"
    ),
    "openai_responses": (
        b'event: response.completed\ndata: {"type":"response.completed","sequence_number":2,'
        b'"response":{"id":"resp_7","status":"completed",'
        b'"usage":{"input_tokens":3,"output_tokens":9}}}\n\n'
    ),
    "anthropic_messages": (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta",'
        b'"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    ),
    "ollama": (
        b'{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
        b'"prompt_eval_count":3,"eval_count":9}\n'
    ),
}
GOOD_ENDS = (
    b'"finish_reason":"stop"',
    b"response.completed",
    b"message_stop",
    b"end_turn",
    b"[DONE]",
)


def a_relay() -> Relay:
    return Relay(
        counter=TokenCounter(),
        pricing=PRICING,
        clock=SystemClock(),
        entropy=random.Random(1).randbytes,
        redact=Redactor(["sk-ours-0123456789"]),
    )


def asked(
    wire: str,
    *,
    kind: Literal["complete", "count", "embed"] = "complete",
    stream: bool = True,
    headers: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> Relayed:
    body = msgspec.json.encode({"model": "m", "stream": stream, **ASKS.get(wire, {}), **more})
    arguments = CompleteArguments(kind=kind, model="m", stream=stream)
    return a_relay().of(arguments, Passthrough(wire=wire, body=body, headers=headers))


def before(upstream: str) -> list[Answer]:
    """Return what a provider is asked before the call: Ollama, what the model is."""
    return [Answer(body=b'{"models":[]}', headers=JSON)] * 2 if upstream == "ollama" else []


def at(model: str = "m") -> Endpoint:
    return Endpoint(provider="upstream", model=model)


async def read_into(read: list[bytes], stream: AsyncGenerator[WireBytes | Finish, None]) -> None:
    async with aclosing(stream) as items:
        async for item in items:
            assert isinstance(item, WireBytes)
            read.append(item.data)


async def answered(
    relayed: Relayed, adapter: Adapter, endpoint: Endpoint | None = None
) -> tuple[bytes, Finish]:
    """Return the bytes of an answer, and how it ended."""
    passed: list[bytes] = []
    finish = None
    stream = relayed.open(adapter, endpoint or at(), timeouts=TIMEOUTS)
    async with adapter, aclosing(stream) as items:
        async for item in items:
            assert finish is None
            if isinstance(item, WireBytes):
                passed.append(item.data)
            else:
                finish = item
    assert finish is not None
    return b"".join(passed), finish


@pytest.mark.parametrize("wire", ASKS)
async def test_a_stream_of_the_same_wire_comes_to_the_byte_and_is_asked_for_as_it_was(
    wire: str,
) -> None:
    data = BEGINS[wire] + ENDS[wire]
    more: dict[str, Any] = (
        {"stream_options": {"include_usage": True}} if wire == "openai_chat" else {}
    )
    async with ReplayServer([Answer(body=data, headers=STREAM)], max_piece_bytes=40) as server:
        relayed = asked(wire, odd_key={"kept": [1.0]}, **more)
        passed, finish = await answered(relayed, UPSTREAMS[wire](server.url))
    assert passed == data
    assert finish.usage is not None
    assert (finish.usage.input_tokens, finish.usage.output_tokens) == (3, 9)
    sent = msgspec.json.decode(server.received[0].body)
    assert sent == {"model": "m", "stream": True, **ASKS[wire], "odd_key": {"kept": [1.0]}, **more}


def test_a_body_that_nobody_decodes_teaches_of_bodies_alone() -> None:
    relayed = asked("anthropic_messages", tools=[{"name": "grep", "input_schema": {}}])
    estimate = relayed.estimate(at("claude-opus-4-6"))
    assert estimate.counted is not None
    assert (estimate.counted.basis, estimate.counted.beside) == ("body", 500)
    assert relayed.estimate(at("gpt-5")).counted.beside == 0  # type: ignore[union-attr]


async def test_only_the_name_of_the_model_changes_on_the_way() -> None:
    data = BEGINS["anthropic_messages"] + ENDS["anthropic_messages"]
    headers = (("anthropic-version", "2026-10-21"), ("anthropic-beta", "one"))
    async with ReplayServer([Answer(body=data, headers=STREAM)]) as server:
        relayed = asked("anthropic_messages", headers=headers, temperature=0.10)
        adapter = AnthropicAdapter(base_url=server.url, api_key=lambda: "sk-ours-0123456789")
        await answered(relayed, adapter, at("claude-real"))
    [received] = server.received
    sent = msgspec.json.decode(received.body)
    assert sent["model"] == "claude-real"
    assert sent["temperature"] == 0.1
    assert received.headers["anthropic-version"] == "2026-10-21"
    assert received.headers["anthropic-beta"] == "one"
    assert received.headers["x-api-key"] == "sk-ours-0123456789"
    assert "authorization" not in received.headers


async def test_usage_that_the_client_did_not_ask_for_is_asked_for_and_taken_out() -> None:
    data = BEGINS["openai_chat"] + ENDS["openai_chat"]
    async with ReplayServer([Answer(body=data, headers=STREAM)], max_piece_bytes=7) as server:
        passed, finish = await answered(asked("openai_chat"), UPSTREAMS["openai_chat"](server.url))
    sent = msgspec.json.decode(server.received[0].body)
    assert sent["stream_options"] == {"include_usage": True}
    assert b"usage" not in passed
    assert passed.endswith(b"data: [DONE]\n\n")
    assert finish.usage is not None


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("wire", ASKS)
async def test_a_stream_of_any_wire_reaches_a_client_of_any(wire: str, upstream: str) -> None:
    data = BEGINS[upstream] + ENDS[upstream]
    answers = [*before(upstream), Answer(body=data, headers=STREAM)]
    async with ReplayServer(answers, max_piece_bytes=9) as server:
        passed, finish = await answered(asked(wire), UPSTREAMS[upstream](server.url))
    assert b"hello" in passed
    assert any(end in passed for end in GOOD_ENDS)
    assert finish.usage is not None
    assert finish.usage.output_tokens == 9


@pytest.mark.parametrize("ending", ["end", "reset"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("wire", ASKS)
async def test_a_cut_is_an_error_in_the_client_s_wire_and_never_an_end(
    wire: str, upstream: str, ending: Literal["end", "reset"]
) -> None:
    half = ENDS[upstream][:25]
    answer = Answer(body=BEGINS[upstream] + half, headers=STREAM, ending=ending)
    relayed = asked(wire)
    read: list[bytes] = []
    answers = [*before(upstream), answer]
    async with ReplayServer(answers) as server, UPSTREAMS[upstream](server.url) as adapter:
        stream = relayed.open(adapter, at(), timeouts=TIMEOUTS)
        with pytest.raises(IncompleteStreamError) as caught:
            await read_into(read, stream)
    passed = b"".join(read)
    caught.value.message = "lost sk-ours-0123456789"
    passed += relayed.failure(caught.value)
    assert b"hello" in passed
    assert not any(end in passed for end in GOOD_ENDS)
    assert b"sk-ours" not in passed
    told = [line for line in passed.splitlines() if b"lost " in line]
    assert len(told) == (2 if wire == "openai_responses" else 1)  # an error, and what failed
    assert passed.split(b"\n\n")[-2].endswith(told[-1])
    for line in told:
        event = msgspec.json.decode(line.removeprefix(b"data: "))
        assert "error" in event or event["type"] in {"error", "response.failed"}


@pytest.mark.parametrize("stage", ["before the headers", "before content", "in the middle"])
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("wire", ASKS)
async def test_a_client_that_leaves_closes_the_connection_to_the_provider(
    wire: str, upstream: str, stage: str
) -> None:
    quiet = b"\n" if upstream == "ollama" else b": wait\n\n"
    bodies = {"before the headers": b"", "before content": quiet}
    answer = Answer(body=bodies.get(stage, BEGINS[upstream]), headers=STREAM, ending="hold")
    relayed = asked(wire)
    # A client may leave while Ollama is still asked what the model is, too.
    answers = [*before(upstream), answer] if stage == "in the middle" else [answer]
    async with ReplayServer(answers) as server, UPSTREAMS[upstream](server.url) as adapter:
        seen = anyio.Event()

        async def read() -> None:
            async with aclosing(relayed.open(adapter, at(), timeouts=TIMEOUTS)) as items:
                async for _ in items:
                    seen.set()

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await server.arrived.wait()
                if stage == "in the middle":
                    await seen.wait()
                tasks.cancel_scope.cancel()
            await server.left.wait()


async def test_what_another_wire_cannot_answer_is_refused_before_anything_is_sent() -> None:
    async with ReplayServer([Answer(body=b"")]) as server:
        adapter = AnthropicAdapter(base_url=server.url)
        with pytest.raises(InvalidCallError, match="logprobs"):
            await answered(asked("openai_chat", logprobs=True), adapter)
        with pytest.raises(InvalidCallError, match="previous_response_id"):
            await answered(asked("openai_responses", previous_response_id="resp_1"), adapter)
    assert server.received == []


async def test_what_a_provider_is_not_told_is_named() -> None:
    data = BEGINS["anthropic_messages"] + ENDS["anthropic_messages"]
    async with ReplayServer([Answer(body=data, headers=STREAM)]) as server:
        relayed = asked("openai_chat", seed=7, n=1, store=False)
        await answered(relayed, AnthropicAdapter(base_url=server.url))
    assert relayed.ignored == ("seed",)


async def test_several_choices_end_with_the_last_event_of_the_stream_only() -> None:
    one = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    async with ReplayServer([Answer(body=one, headers=STREAM)]) as server:
        with pytest.raises(IncompleteStreamError):
            await answered(asked("openai_chat", n=2), UPSTREAMS["openai_chat"](server.url))


async def test_an_answer_that_was_not_streamed_is_streamed_to_a_client_that_asked_for_it() -> None:
    whole = (
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":9}}'
    )
    async with ReplayServer([Answer(body=whole, headers=JSON)]) as server:
        passed, finish = await answered(asked("openai_chat"), UPSTREAMS["openai_chat"](server.url))
    assert passed.startswith(b"data: {")
    assert passed.endswith(b"data: [DONE]\n\n")
    assert finish.reason == "stop"


@pytest.mark.parametrize("upstream", ["anthropic_messages", "ollama"])
async def test_tokens_are_counted_by_the_provider_or_by_us(upstream: str) -> None:
    async with ReplayServer([Answer(body=b'{"input_tokens":17}', headers=JSON)]) as server:
        counted = asked("anthropic_messages", kind="count", stream=False)
        passed, _ = await answered(counted, UPSTREAMS[upstream](server.url))
    tokens = msgspec.json.decode(passed)["input_tokens"]
    assert tokens == 17 if upstream == "anthropic_messages" else tokens > 0
    assert bool(server.received) == (upstream == "anthropic_messages")


async def test_vectors_come_from_a_provider_of_another_wire_too() -> None:
    vectors = b'{"model":"m","embeddings":[[1.0,0.5],[0.0,2.0]],"prompt_eval_count":4}'
    async with ReplayServer([Answer(body=vectors, headers=JSON)]) as server:
        wanted = asked("openai_embeddings", kind="embed", stream=False, input=["a", "b"])
        passed, finish = await answered(wanted, OllamaAdapter(base_url=server.url))
    answer = msgspec.json.decode(passed)
    assert [one["embedding"] for one in answer["data"]] == [[1.0, 0.5], [0.0, 2.0]]
    assert answer["usage"]["prompt_tokens"] == 4
    assert finish.usage is not None


def test_a_wire_without_counts_or_that_nobody_knows_says_so() -> None:
    with pytest.raises(UsageError, match="counts no tokens"):
        asked("openai_chat", kind="count")
    with pytest.raises(UsageError, match="there is no wire 'gopher'"):
        asked("gopher")
