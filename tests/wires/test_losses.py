"""Nothing that a client says is dropped in silence on the way to another wire."""

from __future__ import annotations

import base64
import copy
import json
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from anthropic.types import ContentBlockParam
from anthropic.types import tool_result_block_param as in_results
from anthropic.types.beta import BetaContentBlockParam
from hypothesis import given as given_
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionContentPartParam
from openai.types.responses import ResponseInputContentParam, ResponseInputItemParam
from typing_extensions import get_type_hints, is_typeddict

from aiex.core import InvalidCallError
from aiex.wires import Spoken, anthropic_messages, ollama, openai_chat, openai_responses
from aiex.wires.clients import CLIENT_WIRES
from aiex.wires.losses import carried_over

CHAT, RESPONSES = openai_chat.WIRE, openai_responses.WIRE
MESSAGES, OLLAMA = anthropic_messages.WIRE, ollama.WIRE
CLIENTS = (CHAT, RESPONSES, MESSAGES)
ENCODERS: dict[str, Callable[..., bytes]] = {
    CHAT: openai_chat.encode_request,
    RESPONSES: openai_responses.encode_request,
    MESSAGES: anthropic_messages.encode_request,
    OLLAMA: ollama.encode_request,
}
PAIRS = [(client, spoken) for client in CLIENTS for spoken in ENCODERS if client != spoken]
PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()
NOTES = base64.b64encode(b"m-notes").decode()
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
Json = dict[str, Any]


def told(client: str, body: Json, spoken: str) -> tuple[str, tuple[str, ...]]:
    """Return what a provider is sent of *body*, and what it is not told; both may be refusals."""
    asked = CLIENT_WIRES[client].decode_request(json.dumps(body).encode())
    try:
        call, lost = carried_over(Spoken(wire=spoken), asked.call, asked.unread)
    except InvalidCallError as error:
        return "", (str(error).split(" cannot be asked")[0],)
    return ENCODERS[spoken](call).decode(), lost


# ---------------------------------------------------------------- bodies

USE: Json = {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "m-input"}}
CALL: Json = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '"m-in"'}}
FUNCTION_CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "status": "completed",
    "call_id": "c1",
    "name": "f",
    "arguments": '"m-in"',
}


def said(client: str, content: object, role: str = "user") -> Json:
    """Return a body whose only message has *content*."""
    message = {"role": role, "content": content}
    key = "input" if client == RESPONSES else "messages"
    return {"model": "m", key: [message]} | ({"max_tokens": 9} if client == MESSAGES else {})


def given(client: str, content: object) -> Json:
    """Return a body that ends with the result of a tool."""
    if client == CHAT:
        called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
        result = {"role": "tool", "tool_call_id": "c1", "content": content}
        return {"model": "m", "messages": [called, result]}
    if client == RESPONSES:
        result = {"type": "function_call_output", "call_id": "c1", "output": content}
        return {"model": "m", "input": [FUNCTION_CALL, result]}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": content}
    turns = [{"role": "assistant", "content": [USE]}, {"role": "user", "content": [result]}]
    return {"model": "m", "max_tokens": 9, "messages": turns}


def source(kind: str, **keys: object) -> Json:
    return {"type": "document", "title": "m-title", "context": "m-context"} | {
        "source": {"type": kind} | keys
    }


TEXT: Json = {"type": "text", "text": "m-text"}
CACHED = {"cache_control": {"type": "ephemeral"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
FOUND: Json = {
    "type": "search_result",
    "source": "m-source",
    "title": "m-title",
    "content": [TEXT, TEXT | CACHED],
}
BODIES: dict[str, tuple[str, Json]] = {
    "chat name": (
        CHAT,
        {"model": "m", "messages": [{"role": "user", "name": "m-name", "content": "m-text"}]},
    ),
    "chat picture": (
        CHAT,
        said(
            CHAT,
            [
                TEXT | CACHED,
                {
                    "type": "image_url",
                    "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "m-detail"},
                },
            ],
        ),
    ),
    "chat pdf": (
        CHAT,
        said(CHAT, [{"type": "file", "file": {"file_data": PDF, "filename": "m-name"}}]),
    ),
    "chat text file": (
        CHAT,
        said(
            CHAT,
            [{"type": "file", "file": {"file_data": f"data:text/markdown;base64,{NOTES}"}}],
        ),
    ),
    "chat kept file": (CHAT, said(CHAT, [{"type": "file", "file": {"file_id": "m-id"}}])),
    "chat audio": (
        CHAT,
        said(CHAT, [{"type": "input_audio", "input_audio": {"data": "m-data", "format": "wav"}}]),
    ),
    "chat spoken": (
        CHAT,
        {
            "model": "m",
            "messages": [
                {"role": "assistant", "audio": {"id": "m-audio"}, "content": "m-text"},
                {"role": "assistant", "reasoning_content": "m-thought", "content": "m-text"},
                {"role": "assistant", "refusal": "m-refusal"},
            ],
        },
    ),
    "chat custom call": (
        CHAT,
        {
            "model": "m",
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "custom", "custom": {"name": "m", "input": "m-in"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "m-text"},
            ],
        },
    ),
    "chat format": (
        CHAT,
        said(CHAT, "m-text")
        | {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "n",
                    "description": "m-what",
                    "schema": {"type": "object"},
                },
            }
        },
    ),
    "chat result": (CHAT, given(CHAT, [TEXT])),
    "responses picture": (
        RESPONSES,
        said(
            RESPONSES,
            [
                {"type": "input_text", "text": "m-text", "prompt_cache_breakpoint": "m-mark"},
                {
                    "type": "input_image",
                    "image_url": f"data:image/png;base64,{PNG}",
                    "detail": "m-detail",
                },
            ],
        ),
    ),
    "responses kept picture": (
        RESPONSES,
        said(RESPONSES, [{"type": "input_image", "file_id": "m-id", "detail": "low"}]),
    ),
    "responses pdf": (
        RESPONSES,
        said(
            RESPONSES,
            [
                {
                    "type": "input_file",
                    "file_data": f"data:application/pdf;base64,{PDF}",
                    "filename": "m-name.pdf",
                    "detail": "m-detail",
                }
            ],
        ),
    ),
    "responses address": (
        RESPONSES,
        said(
            RESPONSES,
            [{"type": "input_file", "file_url": "https://example.com/m-address"}],
        ),
    ),
    "responses kept file": (
        RESPONSES,
        said(RESPONSES, [{"type": "input_file", "file_id": "m-id"}]),
    ),
    "responses turn": (
        RESPONSES,
        {
            "model": "m",
            "input": [
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [{"type": "summary_text", "text": "m-thought"}],
                    "encrypted_content": "m-hidden",
                },
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "phase": "m-phase",
                    "content": [
                        {
                            "type": "output_text",
                            "text": "m-text",
                            "annotations": [{"type": "url_citation", "url": "m-cited"}],
                        },
                        {"type": "refusal", "refusal": "m-refusal"},
                    ],
                },
                {"type": "message", "role": "user", "content": "m-next"},
            ],
        },
    ),
    "responses result": (
        RESPONSES,
        given(
            RESPONSES,
            [
                {"type": "input_text", "text": "m-text"},
                {"type": "input_file", "file_data": PDF, "filename": "m-name.pdf"},
            ],
        ),
    ),
    "messages texts": (
        MESSAGES,
        said(
            MESSAGES,
            [
                TEXT | CACHED,
                source("text", media_type="text/plain", data="m-document") | CACHED,
                source("content", content="m-document"),
                source("content", content=[TEXT, TEXT | CACHED]),
                FOUND | CACHED,
            ],
        ),
    ),
    "messages pdf": (
        MESSAGES,
        said(MESSAGES, [source("base64", media_type="application/pdf", data=PDF)]),
    ),
    "messages address": (
        MESSAGES,
        said(MESSAGES, [source("url", url="https://example.com/m-address")]),
    ),
    "messages kept file": (MESSAGES, said(MESSAGES, [source("file", file_id="m-id")])),
    "messages pictures in a document": (
        MESSAGES,
        said(MESSAGES, [source("content", content=[TEXT, PICTURE])]),
    ),
    "messages kept picture": (
        MESSAGES,
        said(MESSAGES, [{"type": "image", "source": {"type": "file", "file_id": "m-id"}}]),
    ),
    "messages citations": (
        MESSAGES,
        said(MESSAGES, [FOUND | {"citations": {"enabled": True}}]),
    ),
    "messages picture of an assistant": (MESSAGES, said(MESSAGES, [PICTURE], role="assistant")),
    "messages turn": (
        MESSAGES,
        said(
            MESSAGES,
            [
                {"type": "thinking", "thinking": "m-thought", "signature": "m-signature"},
                {"type": "redacted_thinking", "data": "m-hidden"},
                TEXT | {"citations": [{"type": "char_location", "cited_text": "m-cited"}]},
                {"type": "compaction", "content": "m-summary"},
            ],
            role="assistant",
        ),
    ),
    "messages result": (
        MESSAGES,
        given(
            MESSAGES,
            [TEXT | CACHED, TEXT, FOUND, source("text", media_type="text/plain", data="m-doc")],
        ),
    ),
    "messages result with a pdf": (
        MESSAGES,
        given(MESSAGES, [source("base64", media_type="application/pdf", data=PDF)]),
    ),
    "messages result with a reference": (
        MESSAGES,
        given(MESSAGES, [{"type": "tool_reference", "tool_name": "m-name"}]),
    ),
}


_SHOWN = ("picture", "pdf", "file", "audio", "address", "texts", "document", "citations")


def leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a client says, each with the keys and kinds that lead to it."""
    if isinstance(value, dict):
        kind = (str(value["type"]),) if "type" in value else ()
        for name, one in value.items():
            yield from leaves(one, (*path, *kind, name))
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one, path)
    elif isinstance(value, str) and ("m-" in value or value.endswith((PDF, PNG, NOTES))):
        yield path, value


@pytest.mark.parametrize(
    ("spoken", "name"),
    [(spoken, name) for name, (wire, _) in BODIES.items() for spoken in ENCODERS if spoken != wire],
)
def test_whatever_a_client_says_is_there_or_refused_or_named(spoken: str, name: str) -> None:
    client, body = BODIES[name]

    sent, lost = told(client, body, spoken)

    names = {one.rpartition(".")[2].split()[0] for one in lost}
    if not sent:
        assert len(names) == 1
        [refused] = names
        assert any(refused in {*path, *one} for path, one in objects(body)), lost
        return
    for path, value in leaves(body):
        shown = value.strip('"').rpartition(",")[2]
        is_there = shown in sent or (shown == NOTES and "m-notes" in sent)
        assert is_there or names & set(path), (path, value, lost)


ZIP: Json = {
    "type": "input_file",
    "filename": "a.zip",
    "file_data": "data:application/zip;base64,UEs=",
}
NOT_UTF8 = {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,/w=="}


@pytest.mark.parametrize("file", [ZIP, NOT_UTF8])
@pytest.mark.parametrize("spoken", [MESSAGES, OLLAMA])
def test_a_file_that_is_no_text_and_no_pdf_is_refused(spoken: str, file: Json) -> None:
    assert told(RESPONSES, said(RESPONSES, [file]), spoken) == ("", ("input.input_file",))


def test_a_pdf_without_a_kind_is_known_by_how_it_begins() -> None:
    sent, lost = told(*BODIES["chat pdf"], MESSAGES)

    [message] = json.loads(sent)["messages"]
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    assert message["content"] == [{"type": "document", "source": source, "title": "m-name"}]
    assert lost == ()


def test_a_title_becomes_the_name_of_a_file() -> None:
    sent, _ = told(*BODIES["messages pdf"], CHAT)

    [message] = json.loads(sent)["messages"]
    data = f"data:application/pdf;base64,{PDF}"
    assert message["content"] == [
        {"type": "text", "text": "m-context"},
        {"type": "file", "file": {"filename": "m-title.pdf", "file_data": data}},
    ]


def test_a_message_of_which_nothing_is_left_is_left_out() -> None:
    call = {"type": "web_search_call", "id": "ws_1"}
    body = {"model": "m", "input": [call, {"role": "user", "content": "a"}]}

    sent, lost = told(RESPONSES, body, CHAT)

    assert [message["role"] for message in json.loads(sent)["messages"]] == ["user"]
    assert lost == ("input.web_search_call",)


def test_on_its_own_wire_only_what_nobody_read_is_named() -> None:
    content = [TEXT | {"x_unheard": 1}, {"type": "input_audio", "input_audio": {"data": "m-data"}}]

    sent, lost = told(CHAT, said(CHAT, content) | {"logprobs": True}, CHAT)

    assert "m-data" in sent
    assert lost == ("messages.x_unheard",)


def test_thinking_without_an_identifier_is_read() -> None:
    summary = [{"type": "summary_text", "text": "m-thought"}]
    thought = {"type": "reasoning", "summary": summary, "encrypted_content": "m-hidden"}
    body = {"model": "m", "input": [thought, FUNCTION_CALL]}

    _, lost = told(RESPONSES, body, MESSAGES)

    assert lost == ("input.reasoning",)


def test_what_is_named_fits_into_a_header() -> None:
    strange = {"a\r\nset-cookie: b": 1, "ü" * 99: 1} | {f"x{number:02}": 1 for number in range(60)}

    _, lost = told(CHAT, said(CHAT, "a") | strange, MESSAGES)

    assert len(lost) == 33
    assert lost[-1] == "30 more"
    assert all(name.isascii() and name.isprintable() and len(name) <= 64 for name in lost)
    assert "a\\r\\nset-cookie: b" in lost


SHOWN = {
    wire: [
        block
        for name, (client, body) in BODIES.items()
        if client == wire and name.endswith(_SHOWN) and "result" not in name
        for message in body["input" if wire == RESPONSES else "messages"]
        for block in message["content"]
    ]
    for wire in CLIENTS
}


@given_(st.data(), st.sampled_from(PAIRS))
def test_a_message_is_told_as_its_parts_are(data: st.DataObject, pair: tuple[str, str]) -> None:
    client, spoken = pair
    blocks = data.draw(st.lists(st.sampled_from(SHOWN[client]), min_size=1, max_size=5))
    alone = [told(client, said(client, [block]), spoken) for block in blocks]

    sent, lost = told(client, said(client, blocks), spoken)

    refused = [names for one, names in alone if not one]
    if refused:
        assert (sent, lost) == ("", min(refused))
    else:
        assert set(lost) == {name for _, names in alone for name in names}
        bodies = [json.loads(one) for one, _ in alone]
        assert texts_in(json.loads(sent)) == [text for one in bodies for text in texts_in(one)]


def texts_in(body: object) -> list[str]:
    """Return what the messages of a body say, in its order; Ollama's in one."""
    if isinstance(body, str):
        return re.findall(r"m-(?:(?!m-)[a-z])+|https://[^\"]*|file-[a-z0-9]+", body)
    inner = list(body.values()) if isinstance(body, dict) else body
    return [text for one in inner for text in texts_in(one)] if isinstance(inner, list) else []


# ---------------------------------------------------------------- keys that nobody knows

WHOLE: dict[str, Json] = {
    CHAT: {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}},
        },
        "stream_options": {"include_usage": True},
    },
    RESPONSES: {
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
    },
    MESSAGES: {
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "s"}],
    },
}
ALL = BODIES | {f"keys of {wire}": (wire, said(wire, "a") | WHOLE[wire]) for wire in CLIENTS}


def objects(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield the objects of which a wire knows every key, with the keys and kinds above them."""
    if isinstance(value, list):
        for one in value:
            yield from objects(one, path)
    if not isinstance(value, dict):
        return
    kind = (str(value["type"]),) if "type" in value else ()
    yield (*path, *kind), value
    for name, one in value.items():
        is_free = name in {"input_schema", "parameters", "schema"}
        if not is_free and (name, *kind) != ("input", "tool_use"):
            yield from objects(one, (*path, *kind, name))


@pytest.mark.parametrize("name", ALL)
def test_a_key_that_nobody_knows_is_named_wherever_it_is(name: str) -> None:
    client, body = ALL[name]
    for spoken in ENCODERS:
        if spoken == client:
            continue
        for at, (path, _) in enumerate(objects(body)):
            changed = copy.deepcopy(body)
            list(objects(changed))[at][1]["x_unheard"] = 1

            sent, lost = told(client, changed, spoken)

            names = {one.rpartition(".")[2] for one in lost}
            assert not sent or names & {*path, "x_unheard"}, (spoken, path, lost)


# ---------------------------------------------------------------- every kind that is documented


def kinds_in(union: Any) -> Iterator[str]:
    """Yield what a union of the SDK's types calls its arms."""
    for one in union if isinstance(union, tuple) else typing.get_args(union):
        if isinstance(one, str):
            yield one
        elif is_typeddict(one):
            yield from kinds_in((get_type_hints(one).get("type"),))
        else:
            yield from kinds_in(one)


READ = {  # what has words in nobody's wire, and samples above
    "document",
    "file",
    "function_call",
    "function_call_output",
    "image",
    "image_url",
    "input_file",
    "input_image",
    "input_text",
    "message",
    "output_text",
    "reasoning",
    "redacted_thinking",
    "refusal",
    "search_result",
    "text",
    "thinking",
    "tool_result",
    "tool_use",
}
KINDS = sorted(
    {
        *((CHAT, "user", one) for one in kinds_in(ChatCompletionContentPartParam)),
        *((RESPONSES, "user", one) for one in kinds_in(ResponseInputContentParam)),
        *((RESPONSES, "", one) for one in kinds_in(ResponseInputItemParam)),
        *((MESSAGES, "user", one) for one in kinds_in(ContentBlockParam)),
        *((MESSAGES, "assistant", one) for one in kinds_in(ContentBlockParam)),
        *((MESSAGES, "assistant", one) for one in kinds_in(BetaContentBlockParam)),
        *((MESSAGES, "tool", one) for one in kinds_in(in_results.Content)),
    }
)


def test_the_sdks_name_the_kinds() -> None:
    assert len(KINDS) > 80


@pytest.mark.parametrize(("client", "role", "kind"), [one for one in KINDS if one[2] not in READ])
def test_every_kind_of_content_is_refused_or_named(client: str, role: str, kind: str) -> None:
    block = {"type": kind, "id": "m-id", "call_id": "m-call"}
    body = said(client, [block], role)
    if role == "tool":
        body = given(client, [block])
    elif not role:
        body = {"model": "m", "input": [block, {"role": "user", "content": "a"}]}
    for spoken in ENCODERS:
        if spoken != client:
            sent, lost = told(client, body, spoken)
            assert [one.rpartition(".")[2] for one in lost] == [kind], (spoken, sent)
            assert not sent or role not in {"user", "tool"}, "what a user gave is refused"
