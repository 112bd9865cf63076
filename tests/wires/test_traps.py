"""The traps of each wire, each seen in a peer, an SDK or a recording."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from aiex.core import (
    CitationDelta,
    Finish,
    ImagePart,
    IncompleteStreamError,
    InvalidCallError,
    Message,
    ModelCall,
    ModelReply,
    OpaqueDelta,
    OpaquePart,
    OverloadedError,
    ReasoningPart,
    RefusalPart,
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
    ollama,
    openai_chat,
    openai_responses,
)
from aiex.wires.lines import LineSplitter
from aiex.wires.sse import encode_comment


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def read(decoder: StreamDecoder, data: bytes) -> ModelReply:
    deltas = decoder.feed(data)
    return collect([*deltas, *decoder.end()])


def delta(**said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def stop(reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


DONE = b"data: [DONE]\n\n"


def call_with(*messages: Message, **more: Any) -> ModelCall:
    return ModelCall(model="m", messages=messages, **more)


def sent(body: bytes) -> Any:
    return json.loads(body)


# ---------------------------------------------------------------- chat completions


def test_chunks_without_choices_are_no_trouble_in_chat() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    later: Any = {"choices": [], "moderation": {"flagged": False}, "usage": None}
    reply = read(
        openai_chat.StreamDecoder(), sse({"choices": []}, delta(content="hi"), stop(), usage, later)
    )
    assert reply.text == "hi"
    assert reply.finish.usage == Usage(input_tokens=5, output_tokens=2)
    assert b'"moderation"' in bytes(reply.parts[1].json)  # type: ignore[union-attr]


def test_parallel_calls_with_one_index_stay_apart_in_chat() -> None:
    first = {"index": 0, "id": "a", "function": {"name": "one", "arguments": "{}"}}
    second = {"index": 0, "id": "b", "function": {"name": "two", "arguments": '{"x":'}}
    rest = {"index": 0, "function": {"arguments": "1}"}}
    reply = read(
        openai_chat.StreamDecoder(),
        sse(
            delta(tool_calls=[first]), delta(tool_calls=[second]), delta(tool_calls=[rest]), stop()
        ),
    )
    assert reply.parts == (
        ToolCallPart(id="a", name="one", arguments="{}"),
        ToolCallPart(id="b", name="two", arguments='{"x":1}'),
    )
    assert reply.finish.reason == "tool_calls"


def test_an_id_that_is_repeated_with_every_piece_is_one_call_in_chat() -> None:
    pieces = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": p}} for p in "{}"]
    reply = read(openai_chat.StreamDecoder(), sse(*(delta(tool_calls=[p]) for p in pieces), stop()))
    assert reply.parts == (ToolCallPart(id="a", name="f", arguments="{}"),)


def test_done_without_a_finish_reason_is_unknown_and_said_so_in_chat() -> None:
    reply = read(openai_chat.StreamDecoder(), sse(delta(content="cut at the window")) + DONE)
    assert reply.finish.reason == "unknown"
    assert reply.finish.warnings


def test_line_separators_inside_a_text_do_not_cut_an_event() -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
    raw = b"data: " + msgspec.json.encode(delta(content=text)) + b"\n\n"
    assert text.encode()[1:4] in raw
    assert read(openai_chat.StreamDecoder(), raw + sse(stop())).text == text


def test_an_empty_choice_with_more_choices_is_said_in_chat() -> None:
    choices = [
        {"index": 1, "message": {"content": "no"}, "finish_reason": "stop"},
        {"index": 0, "message": {"content": "yes"}, "finish_reason": "stop"},
    ]
    reply = openai_chat.decode_reply(json.dumps({"choices": choices}).encode())
    assert reply.text == "yes"
    assert "2 choices" in reply.finish.warnings[0]


def test_a_refusal_is_its_own_part_and_reason_in_chat() -> None:
    reply = read(
        openai_chat.StreamDecoder(), sse(delta(refusal="I "), delta(refusal="won't"), stop())
    )
    assert reply.parts == (RefusalPart(text="I won't"),)
    assert reply.finish.reason == "refusal"


def test_annotations_and_logprobs_are_kept_in_chat() -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://example.com"}}
    said = delta(content="so") | {}
    said["choices"][0]["logprobs"] = {"content": [{"token": "so", "logprob": -1}]}
    deltas = openai_chat.StreamDecoder().feed(sse(said, delta(annotations=[note]), stop()))
    assert any(isinstance(one, CitationDelta) for one in deltas)
    assert any(isinstance(one, OpaqueDelta) for one in deltas)


def test_a_message_without_content_keeps_its_keys_in_chat() -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "f"}}
    result = {"role": "tool", "tool_call_id": "a", "name": "f", "content": "1", "x_key": 2}
    body = json.dumps({"model": "m", "messages": [called, result]}).encode()
    found = openai_chat.decode_request(body)
    [part] = [p for p in found.call.messages[1].parts if isinstance(p, ToolResultPart)]
    assert part.name == "f"
    assert sent(openai_chat.encode_request(found.call))["messages"] == [
        called | {"content": ""},
        result,
    ]
    elsewhere = sent(ollama.encode_request(found.call))["messages"]
    assert [message["role"] for message in elsewhere] == ["assistant", "tool"]
    assert elsewhere[1] == {
        "role": "tool",
        "content": "1",
        "tool_name": "f",
        "tool_call_id": "a",
    }


def test_sound_is_counted_and_goes_back_by_its_id_in_chat() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 8,
        "prompt_tokens_details": {"audio_tokens": 7},
        "completion_tokens_details": {"audio_tokens": 6},
    }
    said = [
        delta(audio={"id": "audio_1", "data": "AA"}),
        delta(audio={"data": "BB", "transcript": "hi"}),
        stop(),
        {"choices": [], "usage": usage},
    ]
    reply = read(openai_chat.StreamDecoder(), sse(*said) + DONE)
    assert reply.finish.usage == Usage(
        input_tokens=9, output_tokens=8, input_audio_tokens=7, output_audio_tokens=6
    )
    back = call_with(Message(role="assistant", parts=reply.parts))
    [message] = sent(openai_chat.encode_request(back))["messages"]
    assert message["audio"] == {"id": "audio_1"}


def test_pictures_of_results_follow_as_the_user_s_in_chat() -> None:
    picture = ImagePart(data="AAAA", media_type="image/png")
    body = openai_chat.encode_request(
        call_with(
            Message(role="tool", parts=(ToolResultPart(id="a", text="1", images=(picture,)),)),
            Message(role="tool", parts=(ToolResultPart(id="b", text="2"),)),
            Message(role="user", parts=(TextPart(text="go on"),)),
        )
    )
    roles = [message["role"] for message in sent(body)["messages"]]
    assert roles == ["tool", "tool", "user", "user"]


def test_a_dialect_changes_what_is_sent_in_chat() -> None:
    call = call_with(
        Message(role="developer", parts=(TextPart(text="be brief"),)), max_output_tokens=9
    )
    dialect = openai_chat.Dialect(max_tokens_key="max_tokens", developer_role=False)
    body = sent(openai_chat.encode_request(call, dialect=dialect))
    assert body["max_tokens"] == 9
    assert body["messages"][0]["role"] == "system"


def test_a_safety_identifier_is_the_user_on_every_wire() -> None:
    body = {"model": "m", "messages": [], "safety_identifier": "u1"}
    call = openai_chat.decode_request(json.dumps(body).encode()).call
    assert sent(openai_chat.encode_request(call))["safety_identifier"] == "u1"
    assert "user" not in sent(openai_chat.encode_request(call))
    assert sent(anthropic_messages.encode_request(call))["metadata"] == {"user_id": "u1"}


def test_extra_keys_stay_on_the_wire_that_they_came_from() -> None:
    body = {"model": "m", "messages": [], "logit_bias": {"1": 2}, "n": 1}
    call = openai_chat.decode_request(json.dumps(body).encode()).call
    assert sent(openai_chat.encode_request(call))["logit_bias"] == {"1": 2}
    assert "logit_bias" not in sent(anthropic_messages.encode_request(call))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"{}",
        b'{"model":1,"messages":[],"input":[]}',
        b'{"model":"m","messages":{},"input":{}}',
        b'{"model":"m","messages":[1],"input":[1]}',
        b'{"model":"m","messages":[{"role":"king"}],"input":[{"role":"king"}]}',
    ],
)
@pytest.mark.parametrize(
    "wire", [openai_chat, openai_responses, anthropic_messages, ollama], ids=lambda wire: wire.WIRE
)
def test_a_body_that_is_no_call_is_refused_with_its_place(wire: Any, body: bytes) -> None:
    with pytest.raises(InvalidCallError):
        wire.decode_request(body)


@pytest.mark.parametrize(
    "wire", [openai_chat, openai_responses, anthropic_messages, ollama], ids=lambda wire: wire.WIRE
)
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b"<html>", b'{"content":[1]}'])
def test_a_body_that_is_no_reply_is_a_transient_error(wire: Any, body: bytes) -> None:
    with pytest.raises((OverloadedError, IncompleteStreamError)) as caught:
        wire.decode_reply(body)
    assert caught.value.transient


def test_tools_that_are_not_functions_stay_on_their_wire() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    body = {"model": "m", "messages": [], "max_tokens": 1, "tools": [tool]}
    call = anthropic_messages.decode_request(json.dumps(body).encode()).call
    assert sent(anthropic_messages.encode_request(call))["tools"] == [tool]
    assert "tools" not in sent(openai_chat.encode_request(call))


def test_a_function_with_keys_of_its_wire_is_still_offered_on_the_others() -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
    body = {"model": "m", "messages": [], "max_tokens": 1, "tools": [tool]}
    call = anthropic_messages.decode_request(json.dumps(body).encode()).call
    assert sent(anthropic_messages.encode_request(call))["tools"] == [tool]
    [offered] = sent(openai_chat.encode_request(call))["tools"]
    assert offered["function"]["name"] == "f"
    assert offered["function"]["parameters"] == {"type": "object"}


# ---------------------------------------------------------------- messages


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": said}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def begin(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "c", "usage": usage}}


def closing(reason: str, *, usage: dict[str, Any] | None = None, **more: Any) -> list[Any]:
    said = {"stop_reason": reason} | more
    return [{"type": "message_delta", "delta": said, "usage": usage}, {"type": "message_stop"}]


def message(*events: Any) -> ModelReply:
    return read(anthropic_messages.StreamDecoder(), sse(*events))


def test_usage_is_cumulative_and_counts_the_cache_in_messages() -> None:
    first = {
        "input_tokens": 3,
        "output_tokens": 1,
        "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 5},
    }
    reply = message(
        begin(**first),
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 4}},
        *closing("end_turn", usage={"output_tokens": 9}),
    )
    assert reply.finish.usage == Usage(
        input_tokens=20,
        output_tokens=9,
        cached_input_tokens=10,
        cache_write_5m_tokens=2,
        cache_write_1h_tokens=5,
    )


def test_blocks_may_be_open_side_by_side_in_messages() -> None:
    reply = message(
        begin(),
        start(0, type="thinking", thinking="", signature=""),
        start(1, type="tool_use", id="t1", name="f", input={}),
        piece(0, type="thinking_delta", thinking="hm"),
        piece(1, type="input_json_delta", partial_json=""),
        start(2, type="text", text=""),
        piece(1, type="input_json_delta", partial_json='{"a"'),
        piece(2, type="text_delta", text="hello"),
        piece(0, type="signature_delta", signature="sig"),
        end(0),
        piece(1, type="input_json_delta", partial_json=": 1}"),
        end(1),
        {"type": "ping"},
        {"type": "something_new"},
        end(2),
        *closing("tool_use"),
    )
    assert reply.parts == (
        ReasoningPart(text="hm", signature="sig"),
        ToolCallPart(id="t1", name="f", arguments='{"a": 1}'),
        TextPart(text="hello"),
    )


def test_a_call_without_arguments_has_an_empty_object_in_messages() -> None:
    reply = message(
        begin(), start(0, type="tool_use", id="t", name="f", input={}), end(0), *closing("tool_use")
    )
    assert reply.parts == (ToolCallPart(id="t", name="f", arguments="{}"),)


def test_a_tool_that_runs_at_anthropic_is_kept_whole() -> None:
    reply = message(
        begin(),
        start(0, type="server_tool_use", id="s", name="web_search", input={}),
        piece(0, type="input_json_delta", partial_json='{"query": "x"}'),
        end(0),
        start(1, type="compaction", content=""),
        piece(1, type="compaction_delta", content="so "),
        piece(1, type="compaction_delta", content="far"),
        end(1),
        *closing("pause_turn"),
    )
    use, compaction = reply.parts
    assert isinstance(use, OpaquePart)
    assert isinstance(compaction, OpaquePart)
    whole = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    assert sent(bytes(use.json)) == whole
    assert sent(bytes(compaction.json)) == {"type": "compaction", "content": "so far"}
    assert reply.finish.reason == "pause"
    call = call_with(Message(role="assistant", parts=reply.parts))
    [again] = sent(anthropic_messages.encode_request(call))["messages"]
    assert again["content"][0] == whole


def test_hidden_thinking_goes_back_unchanged_in_messages() -> None:
    reply = message(
        begin(), start(0, type="redacted_thinking", data="xyz"), end(0), *closing("end_turn")
    )
    assert reply.parts == (ReasoningPart(encrypted="xyz"),)
    call = call_with(Message(role="assistant", parts=reply.parts))
    [again] = sent(anthropic_messages.encode_request(call))["messages"]
    assert again["content"] == [{"type": "redacted_thinking", "data": "xyz"}]


def test_thinking_of_another_provider_is_not_sent_to_anthropic_or_openai() -> None:
    call = call_with(
        Message(role="assistant", parts=(ReasoningPart(text="hm"), TextPart(text="hi")))
    )
    assert b"hm" not in anthropic_messages.encode_request(call)
    assert b"hm" not in openai_responses.encode_request(call)
    assert b"hm" not in openai_chat.encode_request(call)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("something_new", "unknown"),
    ],
)
def test_stop_reasons_of_messages(raw: str, expected: str) -> None:
    finish = message(begin(), *closing(raw)).finish
    assert (finish.reason, finish.raw_reason) == (expected, raw)


def test_the_stop_sequence_is_kept_and_not_sent_back_in_messages() -> None:
    reply = message(
        begin(),
        start(0, type="text", text="hi"),
        end(0),
        *closing("stop_sequence", stop_sequence="END"),
    )
    kept = [part for part in reply.parts if isinstance(part, OpaquePart)]
    assert sent(bytes(kept[0].json)) == {"stop_sequence": "END"}
    body = sent(anthropic_messages.encode_reply(reply, model="c", reply_id="msg_1"))
    assert body["stop_sequence"] == "END"
    call = call_with(Message(role="assistant", parts=reply.parts))
    assert b"END" not in anthropic_messages.encode_request(call)


def test_an_overload_after_200_is_an_error_in_messages() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    decoder = anthropic_messages.StreamDecoder()
    decoder.feed(b"event: error\n" + sse(begin(), error))
    with pytest.raises(OverloadedError, match="Overloaded") as caught:
        decoder.end()
    assert caught.value.transient


def test_results_of_parallel_calls_are_one_message_in_messages() -> None:
    body = anthropic_messages.encode_request(
        call_with(
            Message(role="tool", parts=(ToolResultPart(id="a", text="1"),)),
            Message(role="tool", parts=(ToolResultPart(id="b", text="2", is_error=True),)),
            Message(role="user", parts=(TextPart(text="go on"),)),
        )
    )
    first, second = sent(body)["messages"]
    assert [block["tool_use_id"] for block in first["content"]] == ["a", "b"]
    assert second["role"] == "user"


def test_empty_texts_are_not_sent_in_messages() -> None:
    body = anthropic_messages.encode_request(
        call_with(Message(role="assistant", parts=(TextPart(text=""),)))
    )
    assert sent(body)["messages"] == []


def test_a_cache_of_an_hour_and_keys_of_blocks_come_back_in_messages() -> None:
    block = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
    hour = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "t"} | hour, block | hour]}]
    body = {"model": "m", "max_tokens": 1, "messages": messages}
    call = anthropic_messages.decode_request(json.dumps(body).encode()).call
    assert sent(anthropic_messages.encode_request(call))["messages"] == messages
    # The other wires still get the result and the text.
    roles = [one["role"] for one in sent(openai_chat.encode_request(call))["messages"]]
    assert roles == ["tool", "user"]


def test_one_call_at_a_time_is_asked_for_in_messages() -> None:
    tool = Tool(name="f", parameters=msgspec.Raw(b"{}"))
    body = anthropic_messages.encode_request(call_with(tools=(tool,), parallel_tool_calls=False))
    assert sent(body)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    found = anthropic_messages.decode_request(body).call
    assert found.parallel_tool_calls is False


# ---------------------------------------------------------------- responses


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"id": "r", "status": status} | more}


def test_a_response_that_is_cut_short_says_why() -> None:
    reply = read(
        openai_responses.StreamDecoder(),
        sse(response("incomplete", incomplete_details={"reason": "max_output_tokens"})),
    )
    assert (reply.finish.reason, reply.finish.raw_reason) == ("length", "max_output_tokens")


def test_a_response_that_failed_is_an_error() -> None:
    decoder = openai_responses.StreamDecoder()
    decoder.feed(sse(response("failed", error={"code": "server_error", "message": "sorry"})))
    with pytest.raises(OverloadedError, match="sorry"):
        decoder.end()


def test_a_response_that_came_only_with_its_last_event_is_read() -> None:
    text = {"type": "output_text", "text": "all at once", "annotations": []}
    item = {"type": "message", "role": "assistant", "content": [text]}
    reply = read(openai_responses.StreamDecoder(), sse(response("completed", output=[item])))
    assert reply.text == "all at once"


def test_summaries_of_one_thought_stay_apart_in_responses() -> None:
    kind = "response.reasoning_summary_text.delta"
    summary = [{"type": "summary_text", "text": text} for text in ("one", "two")]
    item = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "e"}
    reply = read(
        openai_responses.StreamDecoder(),
        sse(
            {"type": kind, "output_index": 0, "summary_index": 0, "delta": "one"},
            {"type": kind, "output_index": 0, "summary_index": 1, "delta": "two"},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            response("completed"),
        ),
    )
    thought = reply.parts[0]
    assert thought == ReasoningPart(text="one\n\ntwo", id="rs_1", encrypted="e")
    call = call_with(Message(role="assistant", parts=reply.parts))
    assert sent(openai_responses.encode_request(call))["input"] == [item]


def test_annotations_come_once_in_responses() -> None:
    note = {"type": "url_citation", "url": "https://example.com"}
    text = {"type": "output_text", "text": "so", "annotations": [note]}
    item = {"type": "message", "id": "m1", "role": "assistant", "content": [text]}
    added = {"type": "response.output_text.annotation.added", "annotation": note}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    said = {"type": "response.output_text.delta", "delta": "so"}
    reply = read(openai_responses.StreamDecoder(), sse(said, added, done, response("completed")))
    cited = [
        one for one in reply.parts if isinstance(one, OpaquePart) and b"url_" in bytes(one.json)
    ]
    assert len(cited) == 1
    call = call_with(Message(role="assistant", parts=reply.parts))
    [again] = sent(openai_responses.encode_request(call))["input"]
    assert again == item


def test_two_messages_of_one_turn_stay_two_in_responses() -> None:
    items: list[Any] = [
        {
            "type": "message",
            "id": f"msg_{phase}",
            "role": "assistant",
            "phase": phase,
            "content": [{"type": "output_text", "text": phase, "annotations": []}],
        }
        for phase in ("commentary", "final_answer")
    ]
    reply = read(openai_responses.StreamDecoder(), sse(response("completed", output=items)))
    call = call_with(Message(role="assistant", parts=reply.parts))
    assert sent(openai_responses.encode_request(call))["input"] == items


def test_a_call_of_ours_is_not_stored_at_openai() -> None:
    call = call_with(Message(role="user", parts=(TextPart(text="hi"),)), reasoning_effort="low")
    body = sent(openai_responses.encode_request(call))
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]


def test_a_file_in_a_result_comes_back_in_responses() -> None:
    output = [{"type": "input_file", "file_url": "https://example.com/a.pdf"}]
    item = {"type": "function_call_output", "call_id": "c", "output": output}
    body = {"model": "m", "input": [item]}
    call = openai_responses.decode_request(json.dumps(body).encode()).call
    assert sent(openai_responses.encode_request(call))["input"] == [item]


# ---------------------------------------------------------------- ollama


def line(**keys: Any) -> bytes:
    return json.dumps({"model": "m", "created_at": "2026-11-24T12:00:00Z"} | keys).encode() + b"\n"


def test_parallel_calls_of_ollama_are_not_glued_into_one() -> None:
    calls = [{"function": {"name": "f", "arguments": {"n": n}}} for n in (1, 2)]
    data = line(message={"content": "", "tool_calls": calls}, done=False) + line(
        message={"content": ""}, done=True, done_reason="stop", prompt_eval_count=3, eval_count=4
    )
    reply = read(ollama.StreamDecoder(), data)
    first, second = reply.parts
    assert isinstance(first, ToolCallPart)
    assert isinstance(second, ToolCallPart)
    assert (sent(first.arguments.encode()), sent(second.arguments.encode())) == ({"n": 1}, {"n": 2})
    assert first.id != second.id
    assert reply.finish.reason == "tool_calls"
    # An identifier that we made is not sent back.
    body = sent(ollama.encode_request(call_with(Message(role="assistant", parts=reply.parts))))
    assert all("id" not in call for call in body["messages"][0]["tool_calls"])


def test_an_error_line_in_a_stream_of_ollama_is_an_error() -> None:
    decoder = ollama.StreamDecoder()
    deltas = decoder.feed(
        line(message={"content": "so"}, done=False) + b'{"error":"out of memory"}\n'
    )
    assert len(deltas) == 1
    with pytest.raises(OverloadedError, match="out of memory"):
        decoder.end()


def test_usage_that_ollama_leaves_out_is_unknown() -> None:
    data = line(message={"content": "hi"}, done=True, done_reason="stop", eval_count=1)
    assert read(ollama.StreamDecoder(), data).finish.usage is None


def test_a_picture_by_address_is_refused_for_ollama() -> None:
    picture = ImagePart(url="https://example.com/a.png")
    with pytest.raises(InvalidCallError):
        ollama.encode_request(call_with(Message(role="user", parts=(picture,))))


def test_thinking_without_a_level_stays_as_it_was_for_ollama() -> None:
    body = {
        "model": "m",
        "messages": [],
        "think": True,
        "keep_alive": "5m",
        "options": {"top_k": 4},
    }
    call = ollama.decode_request(json.dumps(body).encode()).call
    again = sent(ollama.encode_request(call))
    assert again == body | {"stream": True}


# ---------------------------------------------------------------- framing


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "wire", [openai_chat, openai_responses, anthropic_messages, ollama], ids=lambda wire: wire.WIRE
)
def test_json_that_is_nested_too_deeply_is_an_error_like_any_other(wire: Any) -> None:
    body = b'{"model":"m","type":"x","a":' + DEEP + b',"error":' + DEEP + b"}"
    with pytest.raises(InvalidCallError):
        wire.decode_request(body)
    with pytest.raises(OverloadedError):
        wire.decode_reply(body)
    decoder = wire.StreamDecoder()
    decoder.feed(body + b"\n" if wire is ollama else b"data: " + body + b"\n\n")
    with pytest.raises(OverloadedError):
        decoder.end()
    assert isinstance(wire.decode_error(500, {}, body), OverloadedError)


def test_a_line_without_end_is_refused() -> None:
    lines = LineSplitter(max_line_bytes=10)
    for _ in range(10):
        lines.feed(b"x")
    with pytest.raises(OverloadedError):
        lines.feed(b"x")


def test_a_comment_is_no_delta() -> None:
    decoder = openai_chat.StreamDecoder()
    assert decoder.feed(encode_comment("alive") + encode_comment()) == []


def test_a_finish_ends_what_is_read() -> None:
    decoder = openai_chat.StreamDecoder()
    deltas = decoder.feed(sse(stop()) + DONE + sse(delta(content="late")))
    assert [type(one) for one in deltas] == [Finish]
    assert decoder.feed(sse(delta(content="later"))) == []
