"""What our encoders write is understood by the providers' own clients."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import ollama as ollama_client
import openai
import pytest

from aiex.core import (
    Finish,
    IncompleteStreamError,
    ModelReply,
    OverloadedError,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from aiex.testing.replay import Answer, ReplayServer
from aiex.wires import anthropic_messages, deltas_of, ollama, openai_chat, openai_responses

pytestmark = pytest.mark.anyio

ARGUMENTS = '{"for":"zwölf"}'
PROMPT: Any = [{"role": "user", "content": "hi"}]
REPLY = ModelReply(
    parts=(
        ReasoningPart(text="hm", id="rs_1", signature="sig"),
        TextPart(text="Let me\u2028look. \U0001f9ea"),
        ToolCallPart(id="call_1", name="grep", arguments=ARGUMENTS),
        ToolCallPart(id="call_2", name="list", arguments="{}"),
    ),
    finish=Finish(
        reason="tool_calls",
        usage=Usage(
            input_tokens=30, output_tokens=9, cached_input_tokens=10, cache_write_5m_tokens=5
        ),
    ),
)
TEXT = REPLY.text
WHOLE = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
LINES = {"content-type": "application/x-ndjson"}
MADE_AT = "2026-11-24T12:00:00Z"


def streamed(encoder: Any) -> bytes:
    return b"".join(encoder.encode(delta) for delta in deltas_of(REPLY))


def chat_encoder() -> openai_chat.StreamEncoder:
    return openai_chat.StreamEncoder(model="m", reply_id="r", created=1, include_usage=True)


def responses_encoder() -> openai_responses.StreamEncoder:
    return openai_responses.StreamEncoder(model="m", reply_id="r", created=1)


def messages_encoder() -> anthropic_messages.StreamEncoder:
    return anthropic_messages.StreamEncoder(model="m", reply_id="msg_1")


def openai_at(server: ReplayServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="k", max_retries=0)


def anthropic_at(server: ReplayServer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0)


async def test_openai_reads_a_chat_completion() -> None:
    body = openai_chat.encode_reply(REPLY, model="m", reply_id="r", created=1)
    async with (
        ReplayServer([Answer(body=body, headers=WHOLE)]) as server,
        openai_at(server) as client,
    ):
        reply = await client.chat.completions.create(model="m", messages=PROMPT)
    [choice] = reply.choices
    assert choice.message.content == TEXT
    assert choice.finish_reason == "tool_calls"
    names = [
        call.function.name for call in choice.message.tool_calls or [] if call.type == "function"
    ]
    assert names == ["grep", "list"]
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 30
    assert reply.usage.prompt_tokens_details is not None
    assert reply.usage.prompt_tokens_details.cached_tokens == 10


async def test_openai_reads_a_streamed_chat_completion() -> None:
    answer = Answer(body=streamed(chat_encoder()), headers=EVENTS)
    async with (
        ReplayServer([answer], max_piece_bytes=50) as server,
        openai_at(server) as client,
        client.chat.completions.stream(
            model="m", messages=PROMPT, stream_options={"include_usage": True}
        ) as stream,
    ):
        reply = await stream.get_final_completion()
    [choice] = reply.choices
    assert choice.message.content == TEXT
    assert choice.finish_reason == "tool_calls"
    assert [call.function.arguments for call in choice.message.tool_calls or []] == [
        ARGUMENTS,
        "{}",
    ]
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 9


async def test_openai_reads_a_response() -> None:
    body = openai_responses.encode_reply(REPLY, model="m", reply_id="r", created=1)
    async with (
        ReplayServer([Answer(body=body, headers=WHOLE)]) as server,
        openai_at(server) as client,
    ):
        reply = await client.responses.create(model="m", input="hi")
    check_response(reply)


async def test_openai_reads_a_streamed_response() -> None:
    answer = Answer(body=streamed(responses_encoder()), headers=EVENTS)
    async with (
        ReplayServer([answer], max_piece_bytes=50) as server,
        openai_at(server) as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        numbers = [event.sequence_number async for event in stream]
        reply = await stream.get_final_response()
    assert numbers == sorted(set(numbers))
    check_response(reply)


def check_response(reply: Any) -> None:
    assert reply.status == "completed"
    assert reply.output_text == TEXT
    assert [item.type for item in reply.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert reply.output[2].call_id == "call_1"
    assert reply.output[2].arguments == ARGUMENTS
    assert reply.usage.input_tokens_details.cached_tokens == 10


async def test_anthropic_reads_a_message() -> None:
    body = anthropic_messages.encode_reply(REPLY, model="m", reply_id="msg_1")
    async with (
        ReplayServer([Answer(body=body, headers=WHOLE)]) as server,
        anthropic_at(server) as client,
    ):
        reply = await client.messages.create(model="m", max_tokens=9, messages=PROMPT)
    check_message(reply)


async def test_anthropic_reads_a_streamed_message() -> None:
    answer = Answer(body=streamed(messages_encoder()), headers=EVENTS)
    async with (
        ReplayServer([answer], max_piece_bytes=50) as server,
        anthropic_at(server) as client,
        client.messages.stream(model="m", max_tokens=9, messages=PROMPT) as stream,
    ):
        reply = await stream.get_final_message()
    check_message(reply)


def check_message(reply: Any) -> None:
    assert reply.stop_reason == "tool_use"
    thinking, text, first, second = reply.content
    assert (thinking.thinking, thinking.signature) == ("hm", "sig")
    assert text.text == TEXT
    assert (first.id, first.name, first.input) == ("call_1", "grep", json.loads(ARGUMENTS))
    assert second.input == {}
    assert (reply.usage.input_tokens, reply.usage.cache_read_input_tokens) == (15, 10)
    assert reply.usage.cache_creation_input_tokens == 5


async def test_ollama_reads_a_reply_whole_and_streamed() -> None:
    whole = ollama.encode_reply(REPLY, model="m", created_at=MADE_AT)
    lines = streamed(ollama.StreamEncoder(model="m", created_at=MADE_AT))
    answers = [Answer(body=whole, headers=WHOLE), Answer(body=lines, headers=LINES)]
    async with ReplayServer(answers) as server:
        client = ollama_client.AsyncClient(host=server.url)
        reply = await client.chat(model="m", messages=PROMPT)
        parts = [part async for part in await client.chat(model="m", messages=PROMPT, stream=True)]
        await client._client.aclose()
    calls = [reply.message.tool_calls, [c for p in parts for c in p.message.tool_calls or []]]
    for found in calls:
        assert [call.function.arguments for call in found or []] == [json.loads(ARGUMENTS), {}]
    assert reply.message.content == "".join(part.message.content or "" for part in parts) == TEXT
    assert reply.eval_count == parts[-1].eval_count == 9


async def test_openai_raises_what_ends_a_chat_that_failed() -> None:
    encoder = chat_encoder()
    data = encoder.encode(deltas_of(REPLY)[1]) + encoder.error(IncompleteStreamError("it was cut"))
    async with (
        ReplayServer([Answer(body=data, headers=EVENTS)]) as server,
        openai_at(server) as client,
    ):
        stream = await client.chat.completions.create(model="m", messages=PROMPT, stream=True)
        with pytest.raises(openai.APIError, match="it was cut"):
            [chunk async for chunk in stream]


async def test_anthropic_raises_what_ends_a_message_that_failed() -> None:
    encoder = messages_encoder()
    data = encoder.encode(deltas_of(REPLY)[1]) + encoder.error(OverloadedError("too busy"))
    async with (
        ReplayServer([Answer(body=data, headers=EVENTS)]) as server,
        anthropic_at(server) as client,
    ):
        stream = await client.messages.create(model="m", max_tokens=9, messages=PROMPT, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="too busy"):
            [event async for event in stream]
