"""What a wire can carry comes back from it as it was."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import (
    Finish,
    FinishReason,
    ImagePart,
    Message,
    ModelCall,
    ModelReply,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from aiex.wires import (
    StreamDecoder,
    anthropic_messages,
    collect,
    deltas_of,
    ollama,
    openai_chat,
    openai_responses,
)
from aiex.wires.lines import one_line
from aiex.wires.ndjson import NdjsonDecoder, encode_line
from aiex.wires.opaque import is_block
from aiex.wires.openai_chat import Dialect
from aiex.wires.sse import SseDecoder, SseEvent, encode_event

words = st.text(min_size=1, max_size=12)
# Every character at which str.splitlines cuts and a wire must not.
texts = st.text(min_size=1, max_size=20) | st.sampled_from(
    ["a\u2028b", "\x85", "\v\f\x1c", "é\r\n"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(words, values, max_size=3).map(
    lambda value: msgspec.Raw(one_line(msgspec.json.encode(value)))
)
object_texts = objects.map(lambda raw: bytes(raw).decode())
numbers = st.floats(0, 1, allow_nan=False)
counts = st.integers(1, 10**6)
maybe = st.none
base64s = st.sampled_from(["aGVsbG8=", "AAAA"])
urls = st.sampled_from(["https://example.com/a.png", "http://[::1]/ü"])
extras = st.dictionaries(st.sampled_from(["x_one", "x_two"]), objects, max_size=2)


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def lists(*parts: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(st.one_of(*parts), min_size=1, max_size=4).map(tuple)


text_parts = st.builds(TextPart, text=texts)
cached_parts = st.builds(TextPart, text=texts, cache=st.booleans())
image_urls = st.builds(ImagePart, url=urls)
image_data = st.builds(ImagePart, data=base64s, media_type=st.just("image/png"))
calls = st.builds(ToolCallPart, id=words, name=words, arguments=texts)
object_calls = st.builds(ToolCallPart, id=words, name=words, arguments=object_texts)
results = st.builds(ToolResultPart, id=words, text=st.text(max_size=9))
named_results = st.builds(ToolResultPart, id=words, text=st.text(max_size=9), name=sometimes(words))
signed = st.builds(ReasoningPart, text=texts, signature=words)
redacted = st.builds(ReasoningPart, encrypted=words)
numbered = st.builds(ReasoningPart, text=st.text(max_size=5), id=words, encrypted=sometimes(words))


def said_by(role: Any, parts: st.SearchStrategy[Any], **more: Any) -> st.SearchStrategy[Message]:
    return st.builds(Message, role=st.just(role), parts=parts, **more)


def joined(*options: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Part, ...]]:
    """Parts that a wire keeps in an order of its own: each option gives none, one or several."""
    return st.tuples(*(st.lists(one, max_size=2) for one in options)).map(
        lambda found: tuple(part for some in found for part in some)
    )


def one_of_each(*options: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.tuples(*(st.lists(one, max_size=1) for one in options)).map(
        lambda found: tuple(part for some in found for part in some)
    )


tools = st.lists(
    st.builds(
        Tool, name=words, description=st.text(max_size=9), parameters=objects, strict=maybe()
    ),
    max_size=2,
).map(tuple)
choices = st.sampled_from([None, "auto", "none", "required", "tool:grep"])
formats = st.builds(
    ResponseFormat,
    kind=st.just("json_schema"),
    name=words,
    schema=objects,
    strict=sometimes(st.booleans()),
    description=sometimes(words),
)


def call_of(messages: st.SearchStrategy[Any], wire: str, **more: Any) -> Any:
    fields: dict[str, Any] = {
        "model": words,
        "messages": messages,
        "tools": tools,
        "temperature": sometimes(numbers),
        "top_p": sometimes(numbers),
        "max_output_tokens": counts,
        "extra": extras,
    }
    return st.builds(ModelCall, **(fields | more), wire=st.just(wire))


def conversation(*options: st.SearchStrategy[Message]) -> st.SearchStrategy[Any]:
    return st.lists(st.one_of(*options), max_size=4).map(tuple)


def alternating(
    user: st.SearchStrategy[Message], assistant: st.SearchStrategy[Message]
) -> st.SearchStrategy[Any]:
    pairs = st.lists(st.tuples(user, assistant), max_size=2)
    return pairs.map(lambda found: tuple(message for pair in found for message in pair))


chat_calls = call_of(
    conversation(
        said_by("system", lists(text_parts)),
        said_by("developer", lists(text_parts)),
        said_by("user", lists(text_parts, image_urls, image_data), name=sometimes(words)),
        said_by("assistant", one_of_each(st.builds(ReasoningPart, text=texts), text_parts)),
        said_by("assistant", joined(text_parts, calls).filter(lambda parts: len(parts) > 0)),
        said_by("tool", named_results.map(lambda part: (part,))),
    ),
    openai_chat.WIRE,
    tool_choice=choices,
    parallel_tool_calls=sometimes(st.booleans()),
    stop=st.lists(words, max_size=2).map(tuple),
    seed=sometimes(counts),
    response_format=sometimes(formats | st.just(ResponseFormat(kind="json_object"))),
    reasoning_effort=sometimes(words),
    user=sometimes(words),
)

responses_calls = call_of(
    st.tuples(
        st.lists(said_by("system", text_parts.map(lambda part: (part,))), max_size=1),
        alternating(
            said_by("user", lists(text_parts, image_urls, image_data))
            | said_by("developer", lists(text_parts))
            | said_by("tool", results.map(lambda part: (part,))),
            said_by("assistant", lists(text_parts, calls, numbered)),
        ),
    ).map(lambda found: (*found[0], *found[1])),
    openai_responses.WIRE,
    tool_choice=choices,
    parallel_tool_calls=sometimes(st.booleans()),
    response_format=sometimes(formats | st.just(ResponseFormat(kind="text"))),
    reasoning_effort=sometimes(words),
    user=sometimes(words),
)

blocks = st.builds(
    lambda keys: OpaquePart(
        wire=anthropic_messages.WIRE,
        json=msgspec.Raw(msgspec.json.encode({"type": "server_tool_use", "input": keys})),
    ),
    objects,
)
images_of_results = st.lists(image_urls | image_data, max_size=2).map(tuple)
anthropic_results = st.builds(
    ToolResultPart,
    id=words,
    text=st.text(max_size=9),
    is_error=st.booleans(),
    images=images_of_results,
)
anthropic_calls = call_of(
    st.tuples(
        st.lists(said_by("system", lists(cached_parts)), max_size=1),
        conversation(
            said_by("user", lists(cached_parts, image_urls, image_data, anthropic_results)),
            said_by("assistant", lists(cached_parts, object_calls, signed, redacted, blocks)),
        ),
    ).map(lambda found: (*found[0], *found[1])),
    anthropic_messages.WIRE,
    tool_choice=choices,
    stop=st.lists(words, max_size=2).map(tuple),
    response_format=sometimes(
        st.builds(ResponseFormat, kind=st.just("json_schema"), schema=objects)
    ),
    reasoning_effort=sometimes(st.sampled_from(["low", "high", "max"])),
    reasoning_budget=sometimes(counts),
    user=sometimes(words),
)

ollama_images = st.builds(ImagePart, data=base64s)
ollama_calls = call_of(
    conversation(
        said_by("system", text_parts.map(lambda part: (part,))),
        said_by("user", st.tuples(text_parts, ollama_images)),
        said_by(
            "assistant",
            st.tuples(st.builds(ReasoningPart, text=texts), text_parts, object_calls),
        ),
        said_by(
            "tool",
            st.builds(
                ToolResultPart,
                id=words,
                text=st.text(max_size=9),
                name=sometimes(words),
                images=st.lists(ollama_images, max_size=2).map(tuple),
            ).map(lambda part: (part,)),
        ),
    ),
    ollama.WIRE,
    stop=st.lists(words, max_size=2).map(tuple),
    seed=sometimes(counts),
    context_tokens=sometimes(counts),
    response_format=sometimes(
        st.builds(ResponseFormat, kind=st.just("json_schema"), schema=objects)
        | st.just(ResponseFormat(kind="json_object"))
    ),
    reasoning_effort=sometimes(st.sampled_from(["none", "low", "high"])),
)


@given(call=chat_calls, stream=st.booleans())
def test_a_call_comes_back_from_chat_completions(call: ModelCall, stream: bool) -> None:
    dialect = Dialect(reasoning_key="reasoning_content")
    found = openai_chat.decode_request(
        openai_chat.encode_request(call, stream=stream, dialect=dialect)
    )
    assert found.call == call
    assert found.stream == stream == found.include_usage


@given(call=responses_calls, stream=st.booleans())
def test_a_call_comes_back_from_responses(call: ModelCall, stream: bool) -> None:
    found = openai_responses.decode_request(openai_responses.encode_request(call, stream=stream))
    assert found.call == call
    assert found.stream == stream


@given(call=anthropic_calls, stream=st.booleans())
def test_a_call_comes_back_from_messages(call: ModelCall, stream: bool) -> None:
    body = anthropic_messages.encode_request(call, stream=stream)
    found = anthropic_messages.decode_request(body)
    assert found.call == call
    assert found.stream == stream


@given(call=ollama_calls, stream=st.booleans())
def test_a_call_comes_back_from_ollama(call: ModelCall, stream: bool) -> None:
    found = ollama.decode_request(ollama.encode_request(call, stream=stream))
    assert found.call == call
    assert found.stream == stream


# ---------------------------------------------------------------- replies

MODEL, REPLY = "model-1", "reply-1"
few = st.integers(0, 9)
plain_counts = {
    "input_tokens": counts,
    "output_tokens": counts,
    "cached_input_tokens": few,
    "cache_write_5m_tokens": few,
    "reasoning_tokens": few,
}
plain_usages = st.builds(Usage, **plain_counts)
chat_usages = st.builds(Usage, **plain_counts, input_audio_tokens=few, output_audio_tokens=few)
ollama_usages = st.builds(Usage, input_tokens=counts, output_tokens=counts)
anthropic_usages = st.builds(
    lambda new, read, minutes, hour, output: Usage(
        input_tokens=new + read + minutes + hour,
        output_tokens=output,
        cached_input_tokens=read,
        cache_write_5m_tokens=minutes,
        cache_write_1h_tokens=hour,
    ),
    *[st.integers(0, 10**6)] * 5,
)


def replies(
    parts: st.SearchStrategy[Any],
    usages: st.SearchStrategy[Any],
    raw_reasons: dict[FinishReason, str],
    *,
    reply_id: str | None = REPLY,
) -> st.SearchStrategy[ModelReply]:
    def build(said: tuple[Part, ...], usage: Usage | None, is_cut: bool) -> ModelReply:
        kinds = {type(part) for part in said}
        reason: FinishReason = "stop"
        if is_cut:
            reason = "length"
        elif ToolCallPart in kinds:
            reason = "tool_calls"
        elif RefusalPart in kinds:
            reason = "refusal"
        finish = Finish(
            reason=reason,
            raw_reason=raw_reasons[reason],
            usage=usage,
            model=MODEL,
            reply_id=reply_id,
        )
        return ModelReply(parts=said, finish=finish)

    return st.builds(build, parts, sometimes(usages), st.booleans())


chat_replies = replies(
    st.tuples(
        one_of_each(
            st.builds(ReasoningPart, text=texts), text_parts, st.builds(RefusalPart, text=texts)
        ),
        st.lists(calls, max_size=2, unique_by=lambda part: part.id),
    ).map(lambda found: (*found[0], *found[1])),
    chat_usages,
    {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "refusal": "stop"},
)
responses_replies = replies(
    lists(text_parts, st.builds(RefusalPart, text=texts), calls, numbered),
    plain_usages,
    {
        "stop": "completed",
        "length": "max_output_tokens",
        "tool_calls": "completed",
        "refusal": "completed",
    },
)
anthropic_replies = replies(
    lists(text_parts, object_calls, signed, redacted, blocks),
    anthropic_usages,
    {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "refusal": "refusal"},
)
ollama_replies = replies(
    one_of_each(st.builds(ReasoningPart, text=texts), text_parts, object_calls, object_calls),
    ollama_usages,
    {"stop": "stop", "length": "length", "tool_calls": "stop", "refusal": "stop"},
    reply_id=None,
)


def bare(reply: ModelReply, *, ids: bool) -> ModelReply:
    """Leave out what an encoder adds: keys such as the ids of items."""
    kept = [part for part in reply.parts if not isinstance(part, OpaquePart) or is_block(part)]
    if not ids:
        kept = [
            ReasoningPart(text=part.text, encrypted=part.encrypted)
            if isinstance(part, ReasoningPart)
            else part
            for part in kept
        ]
    return ModelReply(parts=tuple(kept), finish=reply.finish)


def decoded(decoder: StreamDecoder, pieces: Sequence[bytes], cuts: Sequence[int]) -> ModelReply:
    data = b"".join(pieces)
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    deltas = []
    for start, end in itertools.pairwise(places):
        deltas += decoder.feed(data[start:end])
    return collect([*deltas, *decoder.end()])


cuts = st.lists(st.integers(0, 10**6), max_size=5)


@given(reply=chat_replies, cuts=cuts)
def test_a_reply_comes_back_from_chat_completions(reply: ModelReply, cuts: list[int]) -> None:
    body = openai_chat.encode_reply(reply, model=MODEL, reply_id=REPLY, created=1)
    assert openai_chat.decode_reply(body) == reply
    encoder = openai_chat.StreamEncoder(model=MODEL, reply_id=REPLY, created=1, include_usage=True)
    pieces = [encoder.encode(delta) for delta in deltas_of(reply)]
    assert decoded(openai_chat.StreamDecoder(), pieces, cuts) == reply


@given(reply=responses_replies, cuts=cuts)
def test_a_reply_comes_back_from_responses(reply: ModelReply, cuts: list[int]) -> None:
    body = openai_responses.encode_reply(reply, model=MODEL, reply_id=REPLY, created=1)
    assert bare(openai_responses.decode_reply(body), ids=True) == reply
    encoder = openai_responses.StreamEncoder(model=MODEL, reply_id=REPLY, created=1)
    pieces = [encoder.encode(delta) for delta in deltas_of(reply)]
    found = decoded(openai_responses.StreamDecoder(), pieces, cuts)
    assert bare(found, ids=False) == bare(reply, ids=False)


@given(reply=anthropic_replies, cuts=cuts)
def test_a_reply_comes_back_from_messages(reply: ModelReply, cuts: list[int]) -> None:
    expected = reply
    if reply.finish.usage is None:  # the wire cannot leave it out, so nothing becomes zero
        finish = msgspec.structs.replace(reply.finish, usage=Usage())
        expected = ModelReply(parts=reply.parts, finish=finish)
    body = anthropic_messages.encode_reply(reply, model=MODEL, reply_id=REPLY)
    assert anthropic_messages.decode_reply(body) == expected
    encoder = anthropic_messages.StreamEncoder(model=MODEL, reply_id=REPLY)
    pieces = [encoder.encode(delta) for delta in deltas_of(reply)]
    assert decoded(anthropic_messages.StreamDecoder(), pieces, cuts) == expected


@given(reply=ollama_replies, cuts=cuts)
def test_a_reply_comes_back_from_ollama(reply: ModelReply, cuts: list[int]) -> None:
    body = ollama.encode_reply(reply, model=MODEL, created_at="2026-11-24T12:00:00Z")
    assert ollama.decode_reply(body) == reply
    encoder = ollama.StreamEncoder(model=MODEL, created_at="2026-11-24T12:00:00Z")
    pieces = [encoder.encode(delta) for delta in deltas_of(reply)]
    assert decoded(ollama.StreamDecoder(), pieces, cuts) == reply


@given(reply=anthropic_replies | responses_replies)
def test_deltas_of_a_reply_make_the_reply(reply: ModelReply) -> None:
    assert collect(deltas_of(reply)) == reply


# ---------------------------------------------------------------- framing


@given(
    events=st.lists(
        st.builds(
            SseEvent,
            data=texts.map(msgspec.json.encode),
            event=sometimes(st.sampled_from(["ping", "message_stop"])),
        ),
        max_size=5,
    ),
    cuts=cuts,
)
def test_events_come_back_however_the_bytes_are_cut(
    events: list[SseEvent], cuts: list[int]
) -> None:
    data = b"".join(encode_event(event.data, event=event.event) for event in events)
    decoder = SseDecoder()
    found = fed(decoder.feed, data, cuts)
    assert [(one.event, json.loads(one.data)) for one in found] == [
        (one.event, json.loads(one.data)) for one in events
    ]
    assert data.decode().splitlines() == data.decode().split("\n")[:-1]
    assert decoder.end() is None


@given(lines=st.lists(texts.map(msgspec.json.encode), max_size=5), cuts=cuts)
def test_lines_come_back_however_the_bytes_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    decoder = NdjsonDecoder()
    data = b"".join(map(encode_line, lines))
    assert list(map(json.loads, fed(decoder.feed, data, cuts))) == list(map(json.loads, lines))
    assert data.decode().splitlines() == data.decode().split("\n")[:-1]
    assert decoder.end() is None


def fed(feed: Callable[[bytes], list[Any]], data: bytes, cuts: list[int]) -> list[Any]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    pieces = itertools.pairwise(places)
    return [one for start, end in pieces for one in feed(data[start:end])]


@pytest.mark.parametrize(
    "wire", [openai_chat, openai_responses, anthropic_messages], ids=lambda wire: wire.WIRE
)
@given(body=st.binary(max_size=200))
def test_no_bytes_make_a_stream_decoder_raise_before_its_end(wire: Any, body: bytes) -> None:
    wire.StreamDecoder().feed(b"data: " + body + b"\n\n")
