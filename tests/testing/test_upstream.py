"""The scripted upstream, asked by the official SDKs themselves."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import ollama
import openai
import pytest
from tests.matrix.asks import QUESTIONS
from tests.matrix.clients import MODES, Clients, ClientWire, Seen
from tests.matrix.expected import said, seen
from tests.matrix.questions import OF, PNG, Question
from tests.matrix.scenarios import BROKEN, ERRORS, EVERY, REPLIES, THOUGHT

from aiex.testing.replay import Exchange, load_exchanges
from aiex.testing.upstream import ScriptedUpstream
from aiex.testing.upstream.checks import Refused
from aiex.testing.upstream.wires import WIRES

CLIENT_WIRES: tuple[ClientWire, ...] = ("chat", "responses", "messages")


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(EVERY) as server:
        yield server


@pytest.fixture(scope="module")
def clients(upstream: ScriptedUpstream) -> Iterator[Clients]:
    with Clients(upstream.url) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_is_violated(upstream: ScriptedUpstream) -> Iterator[None]:
    upstream.forget()
    yield
    assert upstream.violations == []


def plain(one: Seen) -> Seen:
    """Leave out what is not compared: the model's full name."""
    return msgspec.structs.replace(one, model="")


@pytest.mark.parametrize("wire", CLIENT_WIRES)
@pytest.mark.parametrize("name", REPLIES)
def test_each_sdk_understands_each_reply(clients: Clients, wire: ClientWire, name: str) -> None:
    expected = seen(said(REPLIES[name], wire), wire)
    found = {mode: plain(clients.ask(wire, mode, name, Question())) for mode in MODES}
    assert found == dict.fromkeys(MODES, expected)


# ---------------------------------------------------------------- what is asked


def can_ask(question: Question, wire: ClientWire) -> bool:
    """Return whether the wire has words for all of *question*."""
    rounds = question.rounds
    thinks = any(one.thought or one.hidden for one in rounds)
    fails = any(result.is_error for one in rounds for result in one.results)
    shows = any(
        result.has_picture or result.has_document for one in rounds for result in one.results
    )
    kinds = {document.kind for document in question.documents}
    is_kept = any(one.startswith("file-") for one in question.pictures)
    match wire:
        case "chat":
            is_shown = shows or is_kept or "address" in kinds
            return not (thinks or fails or is_shown or question.budget)
        case "responses":
            return not (
                fails or question.budget or question.stop or question.seed or question.audio
            )
        case "messages":
            return not (
                question.audio
                or question.any_json
                or question.seed
                or (question.temperature or 0) > 1
                or question.effort in {"none", "minimal"}
                or "\n\n" in question.stop
            )


def meant(question: Question) -> Question:
    """Put what is equal in one form: the pieces of calls and of thoughts."""
    replace = msgspec.structs.replace
    rounds = tuple(
        replace(
            one,
            calls=tuple(replace(c, pieces=(compact(c.arguments),)) for c in one.calls),
            thought=one.thought and replace(one.thought, pieces=("".join(one.thought.pieces),)),
        )
        for one in question.rounds
    )
    return replace(question, rounds=rounds)


def compact(text: str) -> str:
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))


def asks() -> list[Any]:
    return [
        pytest.param(wire, name, id=f"{wire}-{name}")
        for wire in CLIENT_WIRES
        for name, question in QUESTIONS.items()
        if can_ask(question, wire)
    ]


@pytest.mark.parametrize(("wire", "name"), asks())
def test_each_question_arrives_as_it_was_asked(
    clients: Clients, upstream: ScriptedUpstream, wire: ClientWire, name: str
) -> None:
    least = 16 if wire == "responses" else 1
    question = msgspec.structs.replace(
        QUESTIONS[name], max_tokens=max(QUESTIONS[name].max_tokens or 0, least)
    )

    answer = clients.ask(wire, "sync whole", "text", question)

    assert answer.trouble is None
    [asked] = upstream.asked
    assert meant(OF[wire](asked.body)) == meant(question)


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("wire", CLIENT_WIRES)
@pytest.mark.parametrize("name", ERRORS)
def test_each_error_reaches_the_sdk(clients: Clients, wire: ClientWire, name: str) -> None:
    troubles = {clients.ask(wire, mode, name, Question()).trouble for mode in MODES}

    [trouble] = troubles
    assert trouble is not None
    fault = ERRORS[name].fault
    assert fault is not None
    assert trouble.status == STATUSES[fault.kind] or (wire, fault.kind) == ("responses", "model")
    assert trouble.retry_after == fault.retry_after


STATUSES = {
    "invalid": 400,
    "overflow": 400,
    "authentication": 401,
    "billing": 402,
    "permission": 403,
    "model": 404,
    "timeout": 408,
    "conflict": 409,
    "too_large": 413,
    "unprocessable": 422,
    "rate_limit": 429,
    "quota": 429,
    "server": 500,
    "bad_gateway": 502,
    "unavailable": 503,
    "gateway_timeout": 504,
    "overloaded": 529,
}


@pytest.mark.parametrize("wire", CLIENT_WIRES)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_has_no_end(clients: Clients, wire: ClientWire, name: str) -> None:
    for mode in ("sync stream", "async stream"):
        seen_ = clients.ask(wire, mode, name, Question())
        fault = BROKEN[name].fault
        is_told = fault is not None or name == "cut-reset"
        assert seen_.finish is None, mode
        assert (seen_.trouble is not None) == is_told or name == "garbage", mode


def test_a_client_that_leaves_is_noticed(upstream: ScriptedUpstream) -> None:
    body = json.dumps({"model": "stall", "messages": [{"role": "user", "content": "a"}]})
    body = body[:-1] + ', "stream": true}'
    host, port = upstream.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(body), body.encode())
        )
        assert connection.recv(4)
        assert not upstream.left.is_set()
    assert upstream.left.wait(5)


# ---------------------------------------------------------------- what is refused

CHAT: dict[str, Any] = {"model": "text", "messages": [{"role": "user", "content": "a"}]}
MESSAGES: dict[str, Any] = {**CHAT, "max_tokens": 2000}
RESPONSES: dict[str, Any] = {"model": "text", "input": "a"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "c", "content": "a"}
OPEN_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def talk(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a"}, *messages]}


def says(*blocks: dict[str, Any], role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


REFUSED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "/v1/chat/completions": [
        ({"unknown": 1}, "unknown: Extra inputs"),
        ({"messages": []}, "empty array"),
        ({"messages": [{"role": "user", "content": "a", "wrong": 1}]}, "wrong: Extra inputs"),
        ({"messages": [{"role": "user", "content": None}]}, "string"),
        ({"messages": [{"role": "user", "content": []}]}, "empty array"),
        ({"messages": [{"role": "assistant", "content": None}]}, "without 'tool_calls'"),
        (talk({"role": "tool", "tool_call_id": "c", "content": "a"}), "preceding message"),
        (talk({"role": "assistant", "tool_calls": [CALL]}), "no tool message responds"),
        (
            talk({"role": "assistant", "tool_calls": [CALL]}, {"role": "user", "content": "a"}),
            "must be followed by tool messages",
        ),
        (
            talk(
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "other", "content": "a"},
            ),
            "preceding message",
        ),
        (talk({"role": "assistant", "tool_calls": [CALL, CALL]}), "not unique"),
        ({"tools": []}, "empty array"),
        ({"tool_choice": "auto"}, "only allowed when 'tools'"),
        ({"parallel_tool_calls": True}, "only allowed when 'tools'"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "does not match"),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": OPEN_SCHEMA, "strict": True},
                    }
                ]
            },
            "additionalProperties",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": OPEN_SCHEMA}}},
            "name",
        ),
        ({"response_format": {"type": "json_object"}}, "word 'json'"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "at once"),
        ({"temperature": 2.5}, "between"),
        ({"temperature": "1"}, "valid number"),
        ({"stream_options": {"include_usage": True}}, "only allowed when 'stream'"),
        ({"stop": ["a"] * 5}, "between 1 and 4"),
        (
            talk(says({"type": "image_url", "image_url": {"url": "x.png"}}, role="user")),
            "neither an address",
        ),
        (
            talk(
                says(
                    {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}},
                    role="user",
                )
            ),
            "no image/jpeg",
        ),
    ],
    "/v1/responses": [
        ({"unknown": 1}, "unknown: Extra inputs"),
        ({"input": []}, "empty array"),
        ({"max_output_tokens": 5}, "between 16"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "a"}]},
            "No tool call found",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]},
            "No tool output found",
        ),
        (
            {"input": [{"type": "reasoning", "id": "rs_other", "summary": []}]},
            "not found",
        ),
        (
            {"input": [{"type": "reasoning", "id": THOUGHT.id, "summary": []}]},
            "without its required following item",
        ),
        (
            {
                "input": [
                    {
                        "type": "reasoning",
                        "id": THOUGHT.id,
                        "summary": [],
                        "encrypted_content": "x",
                    },
                    {"role": "assistant", "content": "a"},
                ]
            },
            "could not be verified",
        ),
        (
            {"input": [says({"type": "input_text", "text": "a"})]},
            "Invalid value: 'input_text'",
        ),
        ({"tool_choice": "required"}, "must be specified with 'tools'"),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "a",
                        "schema": OPEN_SCHEMA,
                        "strict": True,
                    }
                }
            },
            "additionalProperties",
        ),
    ],
    "/v1/messages": [
        ({"unknown": 1}, "unknown: Extra inputs"),
        ({"temperature": 0.5}, "temperature: Extra inputs"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "first message"),
        (talk(says({"type": "text", "text": "a"})), "must end with a user"),
        (talk(says({"type": "text", "text": ""}, role="user")), "non-empty"),
        (talk(says(USE), {"role": "user", "content": "a"}), "without `tool_result`"),
        (talk(says(RESULT, role="user")), "unexpected `tool_use_id`"),
        (talk(says(USE), says(RESULT, RESULT, role="user")), "single result"),
        (talk(says(USE, USE), says(RESULT, role="user")), "unique"),
        (
            talk(says(USE), says({"type": "text", "text": "a"}, RESULT, role="user")),
            "must come first",
        ),
        (talk(says(USE, role="user")), "only be in `assistant`"),
        (talk(says({**USE, "id": "a.b"}), says(RESULT, role="user")), "does not match"),
        (
            talk(
                says({"type": "thinking", "thinking": "a", "signature": ""}),
                {"role": "user", "content": "a"},
            ),
            "Invalid `signature`",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "at least 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "greater than"),
        ({"tool_choice": {"type": "auto"}}, "while providing tools"),
        ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "must be 'object'"),
        ({"stop_sequences": [" "]}, "non-whitespace"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": OPEN_SCHEMA}}},
            "additionalProperties",
        ),
    ],
    "/api/chat": [
        ({"unknown": 1}, "unknown field"),
        ({"options": {"max_tokens": 1}}, "unknown field"),
        ({"messages": [{"role": "developer", "content": "a"}]}, "developer"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "str"),
        (talk({"role": "tool", "content": "a"}), "without its call"),
        (
            talk(
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
            ),
            "no results",
        ),
        (
            talk(
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}]}
            ),
            "object",
        ),
        ({"messages": [{"role": "user", "images": ["x"]}]}, "base64"),
        ({"format": "text"}, "format"),
    ],
}
HEADERS = {
    "authorization": "Bearer k",
    "content-type": "application/json",
    "anthropic-version": "2026-10-21",
}
BODIES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/api/chat": CHAT,
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_a_provider_would_refuse_is_refused(path: str) -> None:
    wire = WIRES[path]
    assert wire.check(path, HEADERS, json.dumps(BODIES[path]).encode())
    for change, reason in REFUSED[path]:
        with pytest.raises(Refused) as caught:
            wire.check(path, HEADERS, json.dumps(BODIES[path] | change).encode())
        assert reason in caught.value.what, change


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_no_json_object_is_refused(path: str) -> None:
    for body in (b"", b"[]", b"null", b"{", b'{"model": "\xff"}'):
        with pytest.raises(Refused):
            WIRES[path].check(path, HEADERS, body)


def test_a_violation_is_told_in_the_wire_and_kept(upstream: ScriptedUpstream) -> None:
    tool: Any = {"role": "tool", "tool_call_id": "c", "content": "a"}
    with (
        openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="k", max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="preceding message"),
    ):
        client.chat.completions.create(model="text", messages=[tool])
    first: Any = {"role": "assistant", "content": "a"}
    with (
        anthropic.Anthropic(base_url=upstream.url, api_key="k", max_retries=0) as client2,
        pytest.raises(anthropic.BadRequestError, match="first message"),
    ):
        client2.messages.create(model="text", max_tokens=5, messages=[first])
    assert [one.path for one in upstream.violations] == ["/v1/chat/completions", "/v1/messages"]
    upstream.forget()


# ---------------------------------------------------------------- beside answers


def test_ollama_s_own_client_chats_and_lists(upstream: ScriptedUpstream) -> None:
    client = ollama.Client(host=upstream.url, headers={"Connection": "close"})
    asked: Any = {"model": "thought-call", "messages": [{"role": "user", "content": "a"}]}

    lines = list(client.chat(**asked, stream=True))
    whole = client.chat(**asked)

    assert "".join(line.message.content or "" for line in lines) == whole.message.content
    assert "".join(line.message.thinking or "" for line in lines) == whole.message.thinking
    [call] = whole.message.tool_calls or []
    assert call.function.arguments == {"for": "zwölf 🧪"}
    assert (whole.done_reason, whole.prompt_eval_count, whole.eval_count) == ("stop", 17, 9)
    assert {one.model for one in client.list().models} == {f"{name}:latest" for name in EVERY}
    assert client.embed(model="text", input=["abc"]).embeddings == [[3.0, 0.5, -0.25]]


def test_models_counts_and_vectors_are_there(upstream: ScriptedUpstream) -> None:
    with (
        openai.OpenAI(base_url=f"{upstream.url}/v1", api_key="k", max_retries=0) as one,
        anthropic.Anthropic(base_url=upstream.url, api_key="k", max_retries=0) as other,
    ):
        asked: Any = {"model": "text", "messages": [{"role": "user", "content": "a"}]}
        assert {m.id for m in one.models.list()} == set(EVERY)
        assert {m.id for m in other.models.list()} == set(EVERY)
        assert one.models.retrieve("text").id == "text"
        assert other.messages.count_tokens(**asked).input_tokens == 17
        assert one.responses.input_tokens.count(model="text", input="a").input_tokens == 17
        assert one.embeddings.create(model="text", input=["abc"]).data[0].embedding[0] == 3.0
        with pytest.raises(openai.NotFoundError):
            one.chat.completions.create(**(asked | {"model": "absent"}))


# ---------------------------------------------------------------- against the recordings

BESIDE = Path(__file__).resolve().parents[3] / "shared"
EXCHANGES = load_exchanges(Path(os.environ.get("AIEX_TEST_SHARED", BESIDE)) / "recorded")
ABSENT = "the recorded exchanges are not beside the project"
# Their requests hold what this upstream does not know: tools that run at the provider, beta
# keys, or identifiers of another conversation.
OTHERS = {
    "anthropic-46375f1a3cc4",
    "anthropic-a35465e84060",
    "ollama-18e6e12a6993",
}
OF_ANOTHER_TALK = ("signature", "not found", "could not be verified", "`data`")


def is_taken(exchange: Exchange) -> bool:
    return exchange.api in WIRES and exchange.response.status == 200 and exchange.id not in OTHERS


def test_what_a_provider_took_is_taken() -> None:
    if not EXCHANGES:
        pytest.skip(ABSENT)
    headers = {**HEADERS, "anthropic-version": "2023-06-01"}
    taken = 0
    refused: dict[str, str] = {}
    for exchange in filter(is_taken, EXCHANGES):
        try:
            WIRES[exchange.api].check(exchange.api, headers, bytes(exchange.request.body))
        except Refused as error:
            refused[exchange.id] = error.what
        else:
            taken += 1
    assert {k: w for k, w in refused.items() if not any(x in w for x in OF_ANOTHER_TALK)} == {}
    assert taken > 45


# Keys that no recording shows, and that the SDKs' types have.
NOT_RECORDED = {
    "/v1/chat/completions": {
        "choices.delta.reasoning_content",
        "choices.delta.refusal",
        "choices.message.reasoning_content",
        "usage.prompt_tokens_details.cache_write_tokens",
    },
    "/v1/responses": {
        "incomplete_details.reason",
        "item.content.refusal",
        "item.summary.text",
        "item.summary.type",
        "output.content.refusal",
        "part.refusal",
        "response.output.content.refusal",
        "response.output.summary.text",
        "response.output.summary.type",
        "usage.input_tokens_details.cache_write_tokens",
    },
    "/v1/messages": {"usage.output_tokens_details", "content.data", "content_block.data"},
    "/api/chat": {
        "message.thinking",
        "message.tool_calls",
        "message.tool_calls.function",
        "message.tool_calls.function.arguments",
        "message.tool_calls.function.name",
    },
}


def keys_of(value: Any, place: str = "") -> Iterator[str]:
    """Give every key of a JSON document with its place; what a user wrote is not looked into."""
    if isinstance(value, list):
        for one in value:
            yield from keys_of(one, place)
    elif isinstance(value, dict):
        for name, one in value.items():
            here = f"{place}.{name}".removeprefix(".")
            yield here
            if name not in {"parameters", "input", "arguments", "metadata", "moderation", "tools"}:
                yield from keys_of(one, here)


def shape_of(events: Iterable[Any]) -> dict[str, set[str]]:
    shapes: dict[str, set[str]] = {}
    for event in events:
        kind = event.get("type", event.get("object", "line"))
        shapes.setdefault(kind, set()).update(keys_of(event))
    return shapes


def said_by(path: str, name: str) -> list[Any]:
    asked = {**BODIES[path], "stream": True}
    if path == "/v1/chat/completions":
        asked["stream_options"] = {"include_usage": True}
    if path == "/v1/responses":
        asked["include"] = ["reasoning.encrypted_content"]
    streamed = WIRES[path].answer(path, REPLIES[name], asked, number=1).events
    whole = WIRES[path].answer(path, REPLIES[name], {**asked, "stream": False}, number=1).events
    lines = b"".join(streamed).decode().split("\n") + [one.decode() for one in whole]
    texts = [line.removeprefix("data:").strip() for line in lines]
    return [json.loads(text) for text in texts if text.startswith("{")]


@pytest.mark.parametrize("path", NOT_RECORDED)
def test_what_is_said_has_no_key_that_a_provider_never_wrote(path: str) -> None:
    recorded: dict[str, set[str]] = {}
    for exchange in EXCHANGES:
        if exchange.api == path and exchange.response.status == 200:
            events = exchange.events() or [json.loads(bytes(exchange.response.body))]
            for kind, keys in shape_of(events).items():
                recorded.setdefault(kind, set()).update(keys)
    if not recorded:
        pytest.skip(ABSENT)
    invented: set[str] = set()
    for name in REPLIES:
        for kind, keys in shape_of(said_by(path, name)).items():
            if kind in recorded:
                invented |= keys - recorded[kind]
    assert {key for key in invented if key not in NOT_RECORDED[path]} == set()
