"""Bytes that are passed on are read along: to the byte, and never taken for ended when cut."""

from __future__ import annotations

import os
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aiex.core import (
    Finish,
    IncompleteStreamError,
    ModelReply,
    OverloadedError,
    TextPart,
    ToolCallPart,
    Usage,
)
from aiex.testing.replay import Exchange, load_exchanges
from aiex.wires import (
    anthropic_messages,
    deltas_of,
    ollama,
    openai_chat,
    openai_responses,
)
from aiex.wires.clients import CLIENT_WIRES
from aiex.wires.scan import SCANNERS, ResponsesScanner, StreamScanner

BESIDE = Path(__file__).resolve().parents[3] / "shared"
RECORDED = Path(os.environ.get("AIEX_TEST_SHARED", BESIDE)) / "recorded"
EXCHANGES = [one for one in load_exchanges(RECORDED) if one.is_stream]
ABSENT = "the recorded exchanges are not beside the project"
MODULES = {
    "/v1/chat/completions": openai_chat,
    "/v1/responses": openai_responses,
    "/v1/messages": anthropic_messages,
    "/api/chat": ollama,
}
REPLY = ModelReply(
    parts=(
        TextPart(text='zwölf \u2028\u2029\x85\x0b\x0c\x1c "error" [DONE] \\n\n\n data: {}'),
        ToolCallPart(id="call_1", name="grep", arguments='{"usage": "é"}'),
        ToolCallPart(id="call_2", name="stop", arguments="{}"),
    ),
    finish=Finish(reason="tool_calls", usage=Usage(input_tokens=3, output_tokens=9)),
)


def written(wire: str, reply: ModelReply = REPLY) -> bytes:
    """Return *reply* as our own encoders stream it."""
    at = datetime(2026, 11, 24, tzinfo=UTC)
    encoder = CLIENT_WIRES[wire].encoder(model="m", reply_id="r", at=at, include_usage=True)
    return b"".join(encoder.encode(delta) for delta in deltas_of(reply))


def own(wire: str) -> bytes:
    return (Path(__file__).with_name("own_streams") / f"{wire}.sse").read_bytes()


SSE = ("openai_chat", "openai_responses", "anthropic_messages")
STREAMS = {
    **{f"{wire}-written": (wire, written(wire)) for wire in SCANNERS},
    **{f"{wire}-documented": (wire, own(wire)) for wire in SSE},
    **{f"{wire}-crlf": (wire, own(wire).replace(b"\n", b"\r\n")) for wire in SSE},
}
MODULE_OF = {module.WIRE: module for module in MODULES.values()}


def decoded(wire: str, data: bytes) -> Finish:
    """Return the end of a stream as a decoder of all of it finds it."""
    decoder = MODULE_OF[wire].StreamDecoder()
    last = [*decoder.feed(data), *decoder.end()][-1]
    assert isinstance(last, Finish)
    return last


def scanned(scanner: StreamScanner, *pieces: bytes) -> bytes:
    passed = [scanner.feed(piece) for piece in pieces]
    return b"".join([*passed, scanner.end()])


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_in_any_two_pieces_is_passed_on_whole_and_read_to_its_end(name: str) -> None:
    wire, data = STREAMS[name]
    expected = decoded(wire, data)
    for cut in range(len(data) + 1):
        scanner = SCANNERS[wire]()
        assert scanned(scanner, data[:cut], data[cut:]) == data
        assert scanner.finish == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", STREAMS)
def test_reads_of_any_size_change_nothing(name: str, size: int) -> None:
    wire, data = STREAMS[name]
    scanner = SCANNERS[wire]()
    assert scanned(scanner, *pieces_of(data, size)) == data
    assert scanner.finish == decoded(wire, data)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_cut_at_any_byte_ends_well_only_where_a_decoder_says_so(name: str) -> None:
    wire, data = STREAMS[name]
    for cut in range(len(data)):
        decoder, scanner = MODULE_OF[wire].StreamDecoder(), SCANNERS[wire]()
        decoder.feed(data[:cut])
        scanner.feed(data[:cut])
        try:
            decoder.end()
        except IncompleteStreamError:
            with pytest.raises(IncompleteStreamError):
                scanner.end()
        else:
            scanner.end()
            assert scanner.finish is not None


@pytest.mark.parametrize("name", STREAMS)
def test_nothing_of_half_an_event_is_passed_on_before_its_end(name: str) -> None:
    wire, data = STREAMS[name]
    end = re.compile(rb"\n" if wire == ollama.WIRE else rb"\n\r?\n")
    borders = [0, *(found.end() for found in end.finditer(data))]
    for cut in range(len(data) + 1):
        passed = SCANNERS[wire]().feed(data[:cut])
        assert len(passed) == max(border for border in borders if border <= cut)


@pytest.mark.parametrize("size", [1000, 70_000])
@pytest.mark.parametrize("wire", SCANNERS)
def test_an_event_larger_than_what_is_held_is_passed_on_and_read(wire: str, size: int) -> None:
    reply = msgspec.structs.replace(REPLY, parts=(TextPart(text="long \u2028" * 40_000),))
    data = written(wire, reply)
    scanner = SCANNERS[wire]()
    assert scanned(scanner, *pieces_of(data, size)) == data
    assert scanner.finish == decoded(wire, data)


def test_a_last_event_larger_than_any_buffer_still_tells_status_and_usage() -> None:
    begin = b'data: {"type":"response.output_text.delta","item_id":"i","delta":"x"}\n\n'
    text = b"y" * (17 * 1024 * 1024)
    last = (
        b'data: {"type":"response.completed","response":{"status":"completed",'
        b'"output":[{"text":"%b"}],"usage":{"input_tokens":3,"output_tokens":9,'
        b'"input_tokens_details":{"cached_tokens":2}}}}\n\n' % text
    )
    scanner = ResponsesScanner()
    assert scanned(scanner, begin, *pieces_of(last, 1024 * 1024)) == begin + last
    assert scanner.finish is not None
    assert scanner.finish.reason == "stop"
    assert scanner.finish.usage is not None
    assert scanner.finish.usage.output_tokens == 9


def test_a_large_event_that_is_cut_leaves_the_stream_open() -> None:
    scanner = SCANNERS["openai_chat"]()
    scanner.feed(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    assert scanner.feed(b'data: {"choices":[{"index":0,"delta":{"content":"' + b"a" * 70_000)
    assert scanner.is_open
    with pytest.raises(IncompleteStreamError):
        scanner.end()


ERRORS = {
    "openai_chat": b'data: {"error":{"message":"busy sk-secret","type":"server_error"}}\n\n',
    "openai_responses": (
        b'event: error\ndata: {"type":"error","code":"server_error",'
        b'"message":"busy sk-secret","sequence_number":3}\n\n'
    ),
    "anthropic_messages": (
        b'event: error\ndata: {"type":"error","error":'
        b'{"type":"overloaded_error","message":"busy sk-secret"}}\n\n'
    ),
    "ollama": b'{"error":"busy sk-secret"}\n',
}
FIRST = {
    "openai_chat": b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n',
    "openai_responses": b'data: {"type":"response.output_text.delta","delta":"hello"}\n\n',
    "anthropic_messages": (
        b'data: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
        b'data: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"hello"}}\n\n'
    ),
    "ollama": b'{"message":{"role":"assistant","content":"hello"},"done":false}\n',
}


@pytest.mark.parametrize("wire", SCANNERS)
def test_an_error_inside_a_stream_is_told_once_without_the_keys_that_we_hold(wire: str) -> None:
    data = FIRST[wire] + ERRORS[wire]
    for cut in range(len(data) + 1):
        scanner = SCANNERS[wire](redact=lambda text: text.replace("sk-secret", "***"))
        passed = scanner.feed(data[:cut]) + scanner.feed(data[cut:])
        assert b"sk-secret" not in passed
        assert passed.count(b"busy ***") == 1
        assert scanner.has_told
        with pytest.raises(OverloadedError):
            scanner.end()


def test_nothing_follows_an_error() -> None:
    scanner = SCANNERS["anthropic_messages"]()
    scanner.feed(FIRST["anthropic_messages"] + ERRORS["anthropic_messages"])
    assert scanner.feed(b'data: {"type":"message_stop"}\n\n') == b""


SIGNS_OF_LIFE = {
    "openai_chat": (
        b": wait\n\n",
        b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"choices":[]}\n\n',
    ),
    "openai_responses": (
        b'data: {"type":"response.created","response":{"id":"resp_7"}}\n\n',
        b'data: {"type":"response.in_progress","response":{"id":"resp_7"}}\n\n',
    ),
    "anthropic_messages": (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":1}}}\n\n',
        b'event: ping\ndata: {"type":"ping"}\n\n',
        (
            b'data: {"type":"content_block_start","index":0,'
            b'"content_block":{"type":"text","text":""}}\n\n'
        ),
    ),
    "ollama": (b'{"message":{"role":"assistant","content":""},"done":false}\n',),
}


@pytest.mark.parametrize("wire", SCANNERS)
def test_only_content_opens_the_gate(wire: str) -> None:
    scanner = SCANNERS[wire]()
    for event in SIGNS_OF_LIFE[wire]:
        scanner.feed(event)
        assert not scanner.has_content
    scanner.feed(FIRST[wire])
    assert scanner.has_content


def test_signs_of_life_are_no_progress() -> None:
    scanner = SCANNERS["anthropic_messages"]()
    scanner.feed(FIRST["anthropic_messages"])
    before = scanner.progress
    scanner.feed(b'event: ping\ndata: {"type":"ping"}\n\n')
    assert scanner.progress == before
    scanner.feed(FIRST["anthropic_messages"])
    assert scanner.progress > before


def test_usage_that_the_client_did_not_ask_for_is_read_and_taken_out() -> None:
    data = written("openai_chat")
    asked = [event for event in data.split(b"\n\n") if b'"choices":[]' not in event]
    for size in (1, 50, len(data)):
        scanner = SCANNERS["openai_chat"](drops_usage=True)
        assert scanned(scanner, *pieces_of(data, size)) == b"\n\n".join(asked)
        assert scanner.finish is not None
        assert scanner.finish.usage == Usage(input_tokens=3, output_tokens=9)


def test_the_end_of_one_of_several_choices_is_not_the_end() -> None:
    data = FIRST["openai_chat"] + (
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    )
    scanner = SCANNERS["openai_chat"](needs_marker=True)
    scanner.feed(data)
    with pytest.raises(IncompleteStreamError):
        scanner.end()
    scanner = SCANNERS["openai_chat"](needs_marker=True)
    assert scanned(scanner, data, b"data: [DONE]\n\n") == data + b"data: [DONE]\n\n"


def test_a_response_s_number_and_name_are_known_for_the_error_that_may_follow() -> None:
    scanner = ResponsesScanner()
    scanner.feed(b'data: {"type":"response.created","response":{"id":"resp_7"},')
    scanner.feed(b'"sequence_number":0}\n\n')
    scanner.feed(
        b'data: {"type":"response.output_text.delta","delta":"a","sequence_number":41}\n\n'
    )
    assert (scanner.reply_id, scanner.sequence) == ("resp_7", 41)


def test_an_empty_piece_of_arguments_is_passed_on() -> None:
    data = (
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c",'
        b'"function":{"name":"f","arguments":""}}]}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
        b'"function":{"arguments":""}}]}}]}\n\n'
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    )
    scanner = SCANNERS["openai_chat"]()
    assert scanned(scanner, data) == data
    assert scanner.finish is not None
    assert scanner.finish.reason == "tool_calls"


@pytest.mark.parametrize(
    "exchange",
    EXCHANGES or [pytest.param(None, marks=pytest.mark.skip(reason=ABSENT))],
    ids=lambda one: getattr(one, "id", "absent"),
)
def test_a_recorded_stream_is_passed_on_and_ends_as_a_decoder_says(exchange: Exchange) -> None:
    module = MODULES.get(exchange.api)
    if module is None:
        pytest.skip(f"{exchange.api} is no wire of clients")
    data = (exchange.response.stream_text or "").encode()
    expected = decoded(module.WIRE, data)
    rng = random.Random(exchange.id)
    sizes = [1, 7, 4096, len(data), rng.randrange(1, len(data))]
    for size in sizes:
        scanner = SCANNERS[module.WIRE]()
        assert scanned(scanner, *pieces_of(data, size)) == data
        assert scanner.finish == expected
