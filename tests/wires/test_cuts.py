"""A stream that was cut says so, wherever the cut was."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from aiex.core import (
    Finish,
    IncompleteStreamError,
    ModelReply,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from aiex.testing.replay import Exchange, load_exchanges
from aiex.wires import (
    StreamDecoder,
    anthropic_messages,
    collect,
    deltas_of,
    ollama,
    openai_chat,
    openai_responses,
)

BESIDE = Path(__file__).resolve().parents[3] / "shared"
EXCHANGES = load_exchanges(Path(os.environ.get("AIEX_TEST_SHARED", BESIDE)) / "recorded")
ABSENT = "the recorded exchanges are not beside the project"

DECODERS: dict[str, Callable[[], StreamDecoder]] = {
    "/v1/chat/completions": openai_chat.StreamDecoder,
    "/v1/responses": openai_responses.StreamDecoder,
    "/v1/messages": anthropic_messages.StreamDecoder,
}
MARKERS = {
    "/v1/chat/completions": re.compile(rb'^data: .*"finish_reason":"[a-z_]+".*\}', re.MULTILINE),
    "/v1/responses": re.compile(rb'^data: \{"type":"response\.completed".*\}', re.MULTILINE),
    "/v1/messages": re.compile(rb'^data: \{"type":"message_stop" *\}', re.MULTILINE),
}
SMALL_BYTES = 8_500
RANDOM_CUTS = 25


def each_stream(wanted: Callable[[Exchange], bool]) -> pytest.MarkDecorator:
    found = [
        pytest.param(one, id=one.id)
        for one in EXCHANGES
        if one.is_stream and one.api in DECODERS and wanted(one)
    ]
    absent = pytest.param(None, id="absent", marks=pytest.mark.skip(reason=ABSENT))
    return pytest.mark.parametrize("exchange", found or [absent])


def is_small(exchange: Exchange) -> bool:
    return len(exchange.response.stream_text or "") <= SMALL_BYTES


def end_of_marker(data: bytes, marker: re.Pattern[bytes]) -> int:
    [found] = marker.finditer(data)
    return found.end()


def check(decoder: StreamDecoder, data: bytes, cut: int, marker_end: int) -> None:
    deltas = decoder.feed(data[:cut])
    if cut < marker_end:
        with pytest.raises(IncompleteStreamError):
            decoder.end()
        assert not any(isinstance(delta, Finish) for delta in deltas)
        return
    deltas += decoder.end()
    [finish] = [delta for delta in deltas if isinstance(delta, Finish)]
    assert finish is deltas[-1]
    assert finish.reason in {"stop", "tool_calls"}


def check_all(exchange: Exchange, cuts: Iterable[int] | None = None) -> None:
    data = (exchange.response.stream_text or "").encode()
    marker_end = end_of_marker(data, MARKERS[exchange.api])
    for cut in range(len(data) + 1) if cuts is None else cuts:
        check(DECODERS[exchange.api](), data, cut % (len(data) + 1), marker_end)


@each_stream(is_small)
def test_a_recorded_stream_cut_at_any_byte_is_reported(exchange: Exchange) -> None:
    check_all(exchange)


@each_stream(lambda one: True)
def test_every_recorded_stream_cut_at_random_is_reported(exchange: Exchange) -> None:
    rng = random.Random(exchange.id)
    size = len((exchange.response.stream_text or "").encode())
    check_all(exchange, [rng.randrange(size) for _ in range(RANDOM_CUTS)] + [size])


def test_the_sample_holds_every_wire() -> None:
    if not EXCHANGES:
        pytest.skip(ABSENT)
    sample = {
        one.api for one in EXCHANGES if one.is_stream and one.api in DECODERS and is_small(one)
    }
    assert sample == set(DECODERS)


# Written as the providers' documentation has them: pings, spaces inside data, all kinds of blocks.
OWN_STREAMS = {
    api: (Path(__file__).with_name("own_streams") / f"{wire}.sse").read_bytes()
    for api, wire in {
        "/v1/chat/completions": "openai_chat",
        "/v1/responses": "openai_responses",
        "/v1/messages": "anthropic_messages",
    }.items()
}


@pytest.mark.parametrize("line_feed", [b"\n", b"\r\n"])
@pytest.mark.parametrize("api", OWN_STREAMS)
def test_a_stream_cut_at_any_byte_is_reported(api: str, line_feed: bytes) -> None:
    data = OWN_STREAMS[api].replace(b"\n", line_feed)
    marker_end = end_of_marker(data, MARKERS[api])
    for cut in range(len(data) + 1):
        check(DECODERS[api](), data, cut, marker_end)


@pytest.mark.parametrize("api", OWN_STREAMS)
def test_a_stream_in_any_two_pieces_is_the_same(api: str) -> None:
    data = OWN_STREAMS[api]
    whole = read(DECODERS[api](), data)
    assert whole.finish.usage == Usage(input_tokens=3, output_tokens=9)
    for cut in range(len(data) + 1):
        assert read(DECODERS[api](), data[:cut], data[cut:]) == whole


def read(decoder: StreamDecoder, *pieces: bytes) -> ModelReply:
    deltas = [delta for piece in pieces for delta in decoder.feed(piece)]
    return collect([*deltas, *decoder.end()])


def test_a_cut_after_the_finish_reason_only_lacks_the_usage() -> None:
    encoder = openai_chat.StreamEncoder(model="m", reply_id="r", created=1, include_usage=True)
    data = b"".join(encoder.encode(delta) for delta in deltas_of(REPLY))
    marker_end = end_of_marker(data, MARKERS["/v1/chat/completions"])
    usage_end = data.index(b"\n\ndata: [DONE]")
    for cut in range(marker_end, len(data) + 1):
        decoder = openai_chat.StreamDecoder()
        *_, finish = [*decoder.feed(data[:cut]), *decoder.end()]
        assert isinstance(finish, Finish)
        assert (finish.usage is None) == bool(finish.warnings) == (cut < usage_end)


REPLY = ModelReply(
    parts=(
        ReasoningPart(text="hm\u2028é"),
        TextPart(text="zwölf \U0001f9ea"),
        ToolCallPart(id="call_1", name="grep", arguments='{"for": "é"}'),
    ),
    finish=Finish(
        reason="tool_calls", raw_reason="stop", usage=Usage(input_tokens=3, output_tokens=9)
    ),
)


def test_a_stream_of_ollama_cut_at_any_byte_is_reported() -> None:
    encoder = ollama.StreamEncoder(model="m", created_at="2026-11-24T12:00:00Z")
    data = b"".join(encoder.encode(delta) for delta in deltas_of(REPLY))
    marker_end = len(data) - 1  # the last line's line feed may be missing
    for cut in range(len(data) + 1):
        check(ollama.StreamDecoder(), data, cut, marker_end)


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_only_the_three_last_events_of_a_response_end_it(status: str) -> None:
    data = b'data: {"type":"response.%b","response":{"status":"%b"}}\n\n'
    decoder = openai_responses.StreamDecoder()
    decoder.feed(b'data: {"type":"response.in_progress","response":{"status":"in_progress"}}\n\n')
    assert not decoder.is_over
    decoder.feed(data % (status.encode(), status.encode()))
    assert decoder.is_over
