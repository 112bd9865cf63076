"""The recorded exchanges, replayed through the adapters over a real socket.

What is expected is worked out here from the recordings, by other means than our codecs.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from aiex.core import (
    AiexError,
    Finish,
    IncompleteStreamError,
    InvalidCallError,
    Message,
    ModelCall,
    ModelNotFoundError,
    ModelReply,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from aiex.llm import Adapter, Timeouts
from aiex.llm.adapters.anthropic import AnthropicAdapter
from aiex.llm.adapters.http import Upstream
from aiex.llm.adapters.ollama import OllamaAdapter
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.testing.replay import Answer, Exchange, ReplayServer, load_exchanges
from aiex.wires import (
    ReplyBuilder,
    anthropic_messages,
    ollama,
    openai_chat,
    openai_responses,
)
from aiex.wires.openai_chat import Dialect

pytestmark = pytest.mark.anyio

BESIDE = Path(__file__).resolve().parents[4] / "shared"
EXCHANGES = load_exchanges(Path(os.environ.get("AIEX_TEST_SHARED", BESIDE)) / "recorded")
ABSENT = "the recorded exchanges are not beside the project"


def each_exchange(wanted: Callable[[Exchange], bool]) -> pytest.MarkDecorator:
    """Run a test once for each recording that is *wanted*."""
    found = [pytest.param(one, id=one.id) for one in EXCHANGES if wanted(one)]
    absent = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=ABSENT))
    return pytest.mark.parametrize("exchange", found or [absent])


TIMEOUTS = Timeouts(connect=5, first_token=20, between_chunks=20, total=60)

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
OLLAMA = "/api/chat"
COUNT, INPUT_TOKENS, EMBED = (
    MESSAGES + "/count_tokens",
    RESPONSES + "/input_tokens",
    "/v1/embeddings",
)
OLD_EMBED = "/api/embeddings"

REPLAYED = {
    ("openai", CHAT): 18,
    ("ollama", CHAT): 2,
    ("openai", RESPONSES): 22,
    ("anthropic", MESSAGES): 25,
    ("ollama", OLLAMA): 2,
}
CALLED = {
    ("anthropic", COUNT): 3,
    ("openai", INPUT_TOKENS): 1,
    ("openai", EMBED): 2,
    ("ollama", OLD_EMBED): 1,
}
OLD_WIRE = "text completions, a wire that no current model is offered on"
GENERATE = "Ollama's generate, in whose place Aiex uses chat"
BACKGROUND = "a later look at a reply made in the background, which Aiex never asks for"
STORED = "acts on a conversation that the provider stores, and Aiex stores its own"
LEFT_OUT = {
    "anthropic-985962a9d333": OLD_WIRE,
    "ollama-16f186517ec8": GENERATE,
    "ollama-d36a535f6661": GENERATE,
    "openai-00aebb0edb5a": BACKGROUND,
    "openai-3c00aded9474": OLD_WIRE,
    "openai-3d546b5f9abe": BACKGROUND,
    "openai-4200c3da42c3": STORED,
    "openai-44b2b6bf53c4": STORED,
    "openai-554856288e23": BACKGROUND,
    "openai-7f043342fa0d": OLD_WIRE,
    "openai-ce12efe36aa1": BACKGROUND,
    "openai-f46c2740bc3a": BACKGROUND,
}


def test_every_recording_is_replayed_called_or_left_out_for_a_reason() -> None:
    if not EXCHANGES:
        pytest.skip(ABSENT)
    counted = Counter((one.provider, one.api) for one in EXCHANGES)
    assert {key: counted[key] for key in REPLAYED} == REPLAYED
    assert {key: counted[key] for key in CALLED} == CALLED
    rest = {one.id for one in EXCHANGES if (one.provider, one.api) not in REPLAYED | CALLED}
    assert rest == set(LEFT_OUT)
    assert sum(REPLAYED.values()) == 69
    assert sum(REPLAYED.values()) + sum(CALLED.values()) + len(LEFT_OUT) == len(EXCHANGES) == 88


# ---------------------------------------------------------------- what the recordings say


def expected_chat(exchange: Exchange) -> dict[str, Any]:
    if exchange.is_stream:
        chunks = exchange.events()
        said = [c["delta"] for e in chunks for c in e["choices"]]
        reasons = [c["finish_reason"] for e in chunks for c in e["choices"]]
    else:
        chunks = [json.loads(bytes(exchange.response.body))]
        said = [chunks[0]["choices"][0]["message"]]
        reasons = [chunks[0]["choices"][0]["finish_reason"]]
    calls: dict[int, list[str]] = {}
    for one in said:
        for number, call in enumerate(one.get("tool_calls") or []):
            at = calls.setdefault(call.get("index", number), ["", "", ""])
            at[0] += call.get("id") or ""
            at[1] += call["function"].get("name") or ""
            at[2] += call["function"].get("arguments") or ""
    [raw] = [reason for reason in reasons if reason]
    usages = [e["usage"] for e in chunks if e.get("usage")]
    return {
        "text": "".join(one.get("content") or "" for one in said),
        "reasoning": "".join(one.get("reasoning") or "" for one in said),
        "refusal": "".join(one.get("refusal") or "" for one in said),
        "calls": [tuple(call) for _, call in sorted(calls.items())],
        "reason": raw,
        "raw_reason": raw,
        "usage": expected_openai_usage(usages[-1], "prompt", "completion") if usages else None,
        "model": chunks[0]["model"],
    }


def expected_openai_usage(usage: dict[str, Any], read: str, written: str) -> Usage:
    details = usage.get(f"{read}_tokens_details") or {}
    return Usage(
        input_tokens=usage[f"{read}_tokens"],
        output_tokens=usage[f"{written}_tokens"],
        cached_input_tokens=details.get("cached_tokens", 0),
        cache_write_5m_tokens=details.get("cache_write_tokens", 0),
        reasoning_tokens=(usage.get(f"{written}_tokens_details") or {}).get("reasoning_tokens", 0),
    )


def expected_responses(exchange: Exchange) -> dict[str, Any]:
    if exchange.is_stream:
        [said] = [e["response"] for e in exchange.events() if e["type"] == "response.completed"]
    else:
        said = json.loads(bytes(exchange.response.body))
    assert said["status"] == "completed"
    items = said["output"]
    contents = [c for item in items if item["type"] == "message" for c in item["content"]]
    calls = [item for item in items if item["type"] == "function_call"]
    thoughts = [item["summary"] for item in items if item["type"] == "reasoning"]
    return {
        "text": "".join(c["text"] for c in contents if c["type"] == "output_text"),
        "reasoning": "".join("\n\n".join(s["text"] for s in summary) for summary in thoughts),
        "refusal": "".join(c["refusal"] for c in contents if c["type"] == "refusal"),
        "calls": [(call["call_id"], call["name"], call["arguments"]) for call in calls],
        "reason": "tool_calls" if calls else "stop",
        "raw_reason": "completed",
        "usage": expected_openai_usage(said["usage"], "input", "output"),
        "model": said["model"],
    }


REASON_OF = {"end_turn": "stop", "tool_use": "tool_calls"}


def expected_messages(exchange: Exchange) -> dict[str, Any]:
    if exchange.is_stream:
        said = assembled(exchange.events())
    else:
        said = json.loads(bytes(exchange.response.body))
    usage = said["usage"]
    split = usage.get("cache_creation") or {}
    written = usage.get("cache_creation_input_tokens") or 0
    read = usage.get("cache_read_input_tokens") or 0
    hour = split.get("ephemeral_1h_input_tokens", 0)
    content = said["content"]
    return {
        "text": "".join(b["text"] for b in content if b["type"] == "text"),
        "reasoning": "".join(b["thinking"] for b in content if b["type"] == "thinking"),
        "refusal": "",
        "calls": [(b["id"], b["name"], b["input"]) for b in content if b["type"] == "tool_use"],
        "reason": REASON_OF[said["stop_reason"]],
        "raw_reason": said["stop_reason"],
        "usage": Usage(
            input_tokens=usage["input_tokens"] + read + written,
            output_tokens=usage["output_tokens"],
            cached_input_tokens=read,
            cache_write_5m_tokens=written - hour,
            cache_write_1h_tokens=hour,
            reasoning_tokens=(usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
        ),
        "model": said["model"],
    }


def assembled(events: list[Any]) -> dict[str, Any]:
    """Put a streamed message together as Anthropic's documentation says."""
    said: dict[str, Any] = {}
    pieces: dict[int, str] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                said = event["message"]
            case "content_block_start":
                said["content"].append(event["content_block"])
            case "content_block_delta":
                block, delta = said["content"][event["index"]], event["delta"]
                for key in ("text", "thinking", "signature"):
                    if key in delta:
                        block[key] += delta[key]
                if "citation" in delta:
                    block["citations"].append(delta["citation"])
                if "partial_json" in delta:
                    index = event["index"]
                    pieces[index] = pieces.get(index, "") + delta["partial_json"]
                    block["input"] = json.loads(pieces[index]) if is_json(pieces[index]) else {}
            case "message_delta":
                said |= event["delta"]
                said["usage"] |= event["usage"]
    return said


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def expected_ollama(exchange: Exchange) -> dict[str, Any]:
    said = json.loads(bytes(exchange.response.body))
    return {
        "text": said["message"]["content"],
        "reasoning": "",
        "refusal": "",
        "calls": [],
        "reason": said["done_reason"],
        "raw_reason": said["done_reason"],
        "usage": Usage(input_tokens=said["prompt_eval_count"], output_tokens=said["eval_count"]),
        "model": said["model"],
    }


EXPECTED = {
    CHAT: expected_chat,
    RESPONSES: expected_responses,
    MESSAGES: expected_messages,
    OLLAMA: expected_ollama,
}


def found_in(reply: ModelReply, exchange: Exchange) -> dict[str, Any]:
    calls = [part for part in reply.parts if isinstance(part, ToolCallPart)]
    is_object = exchange.api == MESSAGES  # arguments are an object on that wire
    return {
        "text": reply.text,
        "reasoning": "".join(p.text for p in reply.parts if isinstance(p, ReasoningPart)),
        "refusal": "".join(p.text for p in reply.parts if isinstance(p, RefusalPart)),
        "calls": [
            (call.id, call.name, json.loads(call.arguments) if is_object else call.arguments)
            for call in calls
        ],
        "reason": reply.finish.reason,
        "raw_reason": reply.finish.raw_reason,
        "usage": reply.finish.usage,
        "model": reply.finish.model,
    }


# ---------------------------------------------------------------- bodies


def same(body: Any, api: str) -> Any:
    """Return *body* in one of the forms that mean the same to the provider.

    Every rule is a difference that our request may have from the recorded one:

    - `null` is a key left out, and so are the empty `instructions`, `description`, `tools`,
      `options` and `format`;
    - a text and a list of one text block are the same, and so is a list of one user's message
      and the text as `input`;
    - `is_error: false`, `ttl: 5m` and `type: message` are the defaults;
    - `output_format` is the beta's name of `output_config.format`;
    - `stream` and `stream_options`: the adapters always stream and always ask for the usage;
    - `truncate`, `shift` and `num_ctx`: the adapter of Ollama always names them, and the tool
      of a result (`tool_name`), by its call;
    - empty `content` beside tool calls is none.
    """
    body = {key: value for key, value in body.items() if key not in {"stream", "stream_options"}}
    if "output_format" in body:
        body["output_config"] = {"format": body.pop("output_format")}
    if isinstance(body.get("input"), str) and api == RESPONSES:
        body["input"] = [{"role": "user", "content": body["input"]}]
    if api == OLLAMA:
        body = {key: value for key, value in body.items() if key not in {"truncate", "shift"}}
        options = body.get("options") or {}
        body["options"] = {key: value for key, value in options.items() if key != "num_ctx"}
        body["messages"] = [
            {key: value for key, value in message.items() if key != "tool_name"}
            for message in body["messages"]
        ]
    return plain(body, "")


EMPTY_MEANS_NONE = {"instructions", "description", "tools", "options", "format"}
DEFAULTS = {("is_error", False), ("ttl", "5m"), ("type", "message")}
TEXT_LISTS = {"content", "system"}


def plain(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        kept = {name: plain(one, name) for name, one in value.items() if one is not None}
        kept = {n: v for n, v in kept.items() if v or n not in EMPTY_MEANS_NONE}
        if kept.get("tool_calls") and not kept.get("content"):
            kept.pop("content", None)
        return {
            n: v for n, v in kept.items() if isinstance(v, list | dict) or (n, v) not in DEFAULTS
        }
    if isinstance(value, list):
        if key in TEXT_LISTS and len(value) == 1 and value[0].keys() == {"type", "text"}:
            return value[0]["text"]
        return [plain(one, "") for one in value]
    return value


# ---------------------------------------------------------------- replays


WIRES: dict[str, Any] = {
    CHAT: openai_chat,
    RESPONSES: openai_responses,
    INPUT_TOKENS: openai_responses,
    MESSAGES: anthropic_messages,
    COUNT: anthropic_messages,
    OLLAMA: ollama,
}


def call_of(exchange: Exchange) -> ModelCall:
    call: ModelCall = WIRES[exchange.api].decode_request(bytes(exchange.request.body)).call
    return call


def adapter_for(exchange: Exchange, url: str) -> Adapter:
    if exchange.provider == "anthropic":
        return AnthropicAdapter(base_url=url, api_key=lambda: "sk-test")
    if exchange.api == OLLAMA:
        return OllamaAdapter(base_url=url)
    return OpenAIAdapter(
        base_url=url + "/v1",
        provider=exchange.provider,
        api="responses" if exchange.api.startswith(RESPONSES) else "chat",
        counts_tokens=True,
        # Ollama's imitation calls thinking `reasoning`, and OpenAI's wire has none.
        dialect=Dialect(reasoning_key="reasoning" if exchange.provider == "ollama" else None),
        api_key=lambda: "sk-test",
    )


SHOWN = {"model_info": {"general.architecture": "x", "x.context_length": 8192}}
# What the adapter of Ollama asks first: the model's largest window, and the one it is loaded with.
BEFORE = {OLLAMA: [SHOWN, {"models": []}]}


def answers(exchange: Exchange) -> list[Answer]:
    headers = {"content-type": "application/json"}
    before = [
        Answer(body=json.dumps(one).encode(), headers=headers)
        for one in BEFORE.get(exchange.api, [])
    ]
    return [*before, exchange.answer()]


async def replay(exchange: Exchange, server: ReplayServer) -> ModelReply:
    builder = ReplyBuilder()
    last = None
    async with adapter_for(exchange, server.url) as adapter:
        async for delta in adapter.stream(call_of(exchange), timeouts=TIMEOUTS):
            builder.add(delta)
            last = delta
    assert isinstance(last, Finish)
    return builder.reply()


def is_replayed(exchange: Exchange) -> bool:
    return (exchange.provider, exchange.api) in REPLAYED


@each_exchange(is_replayed)
async def test_a_recorded_exchange_replays_over_a_socket(exchange: Exchange) -> None:
    async with ReplayServer(answers(exchange), seed=int(exchange.id[-6:], 16)) as server:
        if exchange.response.status == 200:
            reply = await replay(exchange, server)
            assert found_in(reply, exchange) == EXPECTED[exchange.api](exchange)
        else:
            with pytest.raises(AiexError) as caught:
                await replay(exchange, server)
            wanted = {404: ModelNotFoundError, 400: InvalidCallError}[exchange.response.status]
            assert type(caught.value) is wanted
            assert not caught.value.transient
            said = json.loads(bytes(exchange.response.body))["error"]["message"]
            assert said in caught.value.message
    assert len(server.received) == len(answers(exchange))
    request = server.received[-1]
    assert request.method == "POST"
    assert request.path == exchange.api
    sent = json.loads(request.body)
    recorded = json.loads(bytes(exchange.request.body))
    assert same(sent, exchange.api) == same(recorded, exchange.api)
    assert sent["stream"] is True
    if exchange.api == OLLAMA:
        assert sent["options"]["num_ctx"] == 8192
        assert (sent["truncate"], sent["shift"]) == (False, False)


OWN_STREAMS = Path(__file__).resolve().parents[2] / "wires" / "own_streams"


@pytest.mark.parametrize(
    ("provider", "api", "text", "calls", "thinking"),
    [
        ("openai", CHAT, "zwölf 🧪", [("call_1", "grep", '{"for":1}')], ""),
        ("openai", RESPONSES, "zwölf 🧪", [], ""),
        ("anthropic", MESSAGES, "", [("toolu_1", "grep", {"for": "ö"})], "hm 🧪"),
    ],
)
async def test_a_stream_of_our_own_replays_over_a_socket(
    provider: str, api: str, text: str, calls: list[Any], thinking: str
) -> None:
    body = (OWN_STREAMS / f"{WIRES[api].WIRE}.sse").read_text()
    asked = ModelCall(model="m", messages=(Message(role="user", parts=(TextPart(text="hi"),)),))
    recorded = {
        "id": "own-000001",
        "provider": provider,
        "api": api,
        "request": {
            "method": "POST",
            "path": api,
            "body": json.loads(WIRES[api].encode_request(asked)),
        },
        "response": {"status": 200, "stream_text": body},
    }
    exchange = msgspec.json.decode(json.dumps(recorded), type=Exchange)
    async with ReplayServer(answers(exchange), max_piece_bytes=7) as server:
        found = found_in(await replay(exchange, server), exchange)
    assert (found["text"], found["calls"], found["reasoning"]) == (text, calls, thinking)
    assert found["reason"] == ("tool_calls" if calls else "stop")
    assert found["usage"] == Usage(input_tokens=3, output_tokens=9)
    [request] = server.received
    assert (request.method, request.path) == ("POST", api)
    assert "hi" in request.body.decode()


@each_exchange(lambda one: one.api in {COUNT, INPUT_TOKENS})
async def test_a_recorded_count_of_tokens_is_the_call_s_answer(exchange: Exchange) -> None:
    async with (
        ReplayServer([exchange.answer()]) as server,
        adapter_for(exchange, server.url) as adapter,
    ):
        count = await adapter.count_tokens(call_of(exchange))
    assert count == json.loads(bytes(exchange.response.body))["input_tokens"]
    [request] = server.received
    assert request.path == exchange.api
    sent, recorded = json.loads(request.body), json.loads(bytes(exchange.request.body))
    assert same(sent, exchange.api) == same(recorded, exchange.api)


@each_exchange(lambda one: one.api == EMBED)
async def test_a_recorded_embedding_is_the_call_s_answer(exchange: Exchange) -> None:
    recorded = json.loads(bytes(exchange.request.body))
    async with (
        ReplayServer([exchange.answer()]) as server,
        adapter_for(exchange, server.url) as adapter,
    ):
        if exchange.response.status == 404:
            with pytest.raises(ModelNotFoundError):
                await adapter.embed(recorded["model"], recorded["input"])
        else:
            answer = await adapter.embed(recorded["model"], recorded["input"])
            said = json.loads(bytes(exchange.response.body))
            assert answer.model == said["model"]
            assert answer.input_tokens == said["usage"]["prompt_tokens"]
            assert len(answer.vectors) == len(recorded["input"])
            # The recorded vector is base64 of float32, four bytes a number.
            assert len(answer.vectors[0]) == len(said["data"][0]["embedding"]) * 3 // 16
            assert sum(number**2 for number in answer.vectors[0]) == pytest.approx(1, abs=1e-3)
    [request] = server.received
    sent = json.loads(request.body)
    # Every imitator gives numbers, and few give base64, so that is what the adapter asks for.
    assert sent | {"encoding_format": recorded["encoding_format"]} == recorded


@each_exchange(lambda one: one.api == OLD_EMBED)
async def test_a_recorded_embedding_of_ollama_is_read(exchange: Exchange) -> None:
    async with (
        ReplayServer([exchange.answer()]) as server,
        Upstream(server.url, provider="ollama", decode_error=ollama.decode_error) as upstream,
    ):
        body = bytes(exchange.request.body)
        answer = await upstream.request("POST", OLD_EMBED, body, timeouts=TIMEOUTS)
    said = json.loads(bytes(exchange.response.body))
    vectors = ollama.decode_embedding(answer, model="asked").vectors
    assert vectors == (tuple(said["embedding"]),)


# ---------------------------------------------------------------- what is kept


def recorded_reply(exchange: Exchange) -> Any:
    """Return the reply as the provider would have it back in the next request."""
    if exchange.is_stream:
        events = exchange.events()
        if exchange.api == MESSAGES:
            return assembled(events)["content"]
        return [e["item"] for e in events if e["type"] == "response.output_item.done"]
    said = json.loads(bytes(exchange.response.body))
    match exchange.api:
        case "/v1/messages":
            return said["content"]
        case "/v1/responses":
            return said["output"]
        case "/v1/chat/completions":
            message = said["choices"][0]["message"]
            for call in message.get("tool_calls") or []:
                call.pop("index", None)  # Ollama numbers them also where they are whole
            return [message]
        case _:
            return [said["message"]]


def sent_back(reply: ModelReply, exchange: Exchange) -> Any:
    """Return the reply as our next request holds it."""
    message = Message(role="assistant", parts=reply.parts)
    call = ModelCall(model="m", messages=(message,), wire=WIRES[exchange.api].WIRE)
    if exchange.api == CHAT:
        dialect = Dialect(reasoning_key="reasoning")
        return json.loads(openai_chat.encode_request(call, dialect=dialect))["messages"]
    body = json.loads(WIRES[exchange.api].encode_request(call))
    if exchange.api == MESSAGES:
        return body["messages"][0]["content"]
    return body["input" if exchange.api == RESPONSES else "messages"]


def said_in(value: Any) -> Any:
    """Return *value* without the keys that say nothing: null, and empty lists and texts."""
    if isinstance(value, dict):
        kept = {key: said_in(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in (None, [], "")}
    return [said_in(one) for one in value] if isinstance(value, list) else value


def is_recorded_reply(exchange: Exchange) -> bool:
    # A streamed chat completion has no whole message to be compared with.
    is_chat_stream = exchange.api == CHAT and exchange.is_stream
    return is_replayed(exchange) and exchange.response.status == 200 and not is_chat_stream


@each_exchange(is_recorded_reply)
async def test_nothing_of_a_recorded_reply_is_lost_when_it_goes_back(exchange: Exchange) -> None:
    async with ReplayServer(answers(exchange)) as server:
        reply = await replay(exchange, server)
    assert said_in(sent_back(reply, exchange)) == said_in(recorded_reply(exchange))


KEPT_KEYS = {
    CHAT: {"moderation", "n", "web_search_options"},
    RESPONSES: {
        "background",
        "context_management",
        "include",
        "reasoning",  # what is left of it: how its summary shall be
        "service_tier",
        "store",
    },
    MESSAGES: {"cache_control", "thinking"},  # thinking: adaptive
    COUNT: {"cache_control", "thinking"},
    INPUT_TOKENS: set[str](),
    OLLAMA: set[str](),
}
# References to tools, sound, a file, and the ids of items that were said before.
KEPT_PARTS = {CHAT: 1, RESPONSES: 3, MESSAGES: 1, COUNT: 1}


def test_what_a_call_only_passes_on_is_little_and_named() -> None:
    if not EXCHANGES:
        pytest.skip(ABSENT)
    keys: dict[str, set[str]] = {api: set() for api in KEPT_KEYS}
    parts: Counter[str] = Counter()
    for exchange in EXCHANGES:
        if exchange.api in KEPT_KEYS:
            call = call_of(exchange)
            keys[exchange.api] |= call.extra.keys()
            every = [part for message in call.messages for part in message.parts]
            parts[exchange.api] += sum(isinstance(part, OpaquePart) for part in every)
    assert keys == KEPT_KEYS
    assert {api: count for api, count in parts.items() if count} == KEPT_PARTS


MARKERS = {
    CHAT: b'"finish_reason":"',
    RESPONSES: b'{"type":"response.completed"',
    MESSAGES: b'{"type":"message_stop"',
}
FIRST_STREAMS = {
    one.api: one.id for one in reversed(EXCHANGES) if one.is_stream and one.api in MARKERS
}


@each_exchange(lambda one: FIRST_STREAMS.get(one.api) == one.id)
@pytest.mark.parametrize("ending", ["end", "reset"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
async def test_a_recorded_stream_that_is_cut_on_the_wire_is_incomplete(
    exchange: Exchange, ending: Literal["end", "reset"], share: float
) -> None:
    marker_at = exchange.answer().body.index(MARKERS[exchange.api])
    answer = exchange.answer(cut_at=int(marker_at * share), ending=ending)
    async with ReplayServer([answer]) as server:
        with pytest.raises(IncompleteStreamError) as caught:
            await replay(exchange, server)
    assert caught.value.transient
