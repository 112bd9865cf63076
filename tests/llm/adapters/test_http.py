"""The HTTP side of the adapters, against real servers on loopback."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from aiex.core import (
    AiexError,
    AuthenticationError,
    ConfigurationError,
    DeadlineError,
    Delta,
    Finish,
    IncompleteStreamError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    TextDelta,
)
from aiex.llm import Timeouts
from aiex.llm.adapters.http import Upstream
from aiex.testing.replay import Answer, ReplayServer
from aiex.wires import RateLimit, openai_chat

pytestmark = pytest.mark.anyio

SSE = {"content-type": "text/event-stream"}
PATIENT = Timeouts(connect=5, first_token=20, between_chunks=20, total=60)
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def upstream(url: str, *, key: str | None = None, max_reply_bytes: int = 1 << 20) -> Upstream:
    return Upstream(
        url,
        provider="openai",
        decode_error=openai_chat.decode_error,
        api_key=lambda: key,
        max_reply_bytes=max_reply_bytes,
    )


def stream(
    to: Upstream, *, timeouts: Timeouts = PATIENT, body: bytes = b"{}"
) -> AsyncGenerator[Delta, None]:
    return to.stream(
        "/chat",
        body,
        decoder=openai_chat.StreamDecoder(),
        decode_reply=openai_chat.decode_reply,
        timeouts=timeouts,
    )


async def all_of(deltas: AsyncGenerator[Delta, None]) -> list[Delta]:
    async with aclosing(deltas):
        return [delta async for delta in deltas]


async def put(deltas: AsyncGenerator[Delta, None], into: list[Delta]) -> None:
    async for delta in deltas:
        into.append(delta)  # noqa: PERF401 - what came before an error counts


async def error_of(deltas: AsyncGenerator[Delta, None]) -> AiexError:
    with pytest.raises(AiexError) as caught:
        await all_of(deltas)
    return caught.value


@asynccontextmanager
async def serving(
    handle: Callable[[SocketStream], Awaitable[None]],
) -> AsyncGenerator[str, None]:
    """Serve one bare TCP handler for each connection."""

    async def one(client: SocketStream) -> None:
        async with client:
            await handle(client)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        port = listener.extra(SocketAttribute.local_port)
        tasks.start_soon(listener.serve, one)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def until_left(client: SocketStream) -> None:
    try:
        while True:
            await client.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return


# ---------------------------------------------------------------- leaving


async def test_a_closed_generator_closes_the_connection() -> None:
    async with (
        ReplayServer([Answer(body=HELLO, headers=SSE, ending="hold")]) as server,
        upstream(server.url) as to,
    ):
        async with aclosing(stream(to)) as deltas:
            assert await anext(deltas) == TextDelta(text="hello")
            assert not server.left.is_set()
        with anyio.fail_after(1):
            await server.left.wait()


async def test_a_cancelled_stream_closes_the_connection() -> None:
    async with (
        ReplayServer([Answer(body=HELLO, headers=SSE, ending="hold")]) as server,
        upstream(server.url) as to,
    ):
        with anyio.CancelScope() as scope:
            async with aclosing(stream(to)) as deltas:
                async for _ in deltas:
                    scope.cancel()
        assert scope.cancelled_caught
        with anyio.fail_after(1):
            await server.left.wait()


async def test_a_call_that_is_cancelled_before_the_first_byte_closes_the_connection() -> None:
    arrived, left = anyio.Event(), anyio.Event()

    async def never_answer(client: SocketStream) -> None:
        await client.receive()
        arrived.set()
        await until_left(client)
        left.set()

    async with serving(never_answer) as url, upstream(url) as to:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(all_of, stream(to))
                await arrived.wait()
                scope.cancel()
        with anyio.fail_after(1):
            await left.wait()


async def test_a_finished_stream_leaves_its_connection_for_the_next_call() -> None:
    connections: list[SocketStream] = []
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    body = STOP + DONE

    async def answer(client: SocketStream) -> None:
        connections.append(client)
        try:
            while True:
                await client.receive()
                await client.send(head + b"%x\r\n%b\r\n" % (len(body), body))
                await anyio.sleep(0.01)  # many servers end the answer a little after the marker
                await client.send(b"0\r\n\r\n")
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return

    async with serving(answer) as url, upstream(url) as to:
        await all_of(stream(to))
        await all_of(stream(to))
    assert len(connections) == 1


# ---------------------------------------------------------------- time-outs


async def test_no_first_token_in_time_is_an_overload() -> None:
    async with (
        ReplayServer([Answer(body=b": alive\n\n", headers=SSE, ending="hold")]) as server,
        upstream(server.url) as to,
    ):
        error = await error_of(stream(to, timeouts=Timeouts(first_token=0.05)))
        assert isinstance(error, OverloadedError)
        assert error.transient
        with anyio.fail_after(1):
            await server.left.wait()


async def test_keep_alives_do_not_count_as_progress() -> None:
    async def babble(client: SocketStream) -> None:
        await client.receive()
        await client.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await client.send(HELLO)
        try:
            while True:
                await client.send(b": alive\n\n")
                await anyio.sleep(0.005)
        except anyio.BrokenResourceError:
            return

    async with serving(babble) as url, upstream(url) as to:
        error = await error_of(stream(to, timeouts=Timeouts(between_chunks=0.05)))
    assert isinstance(error, IncompleteStreamError)


async def test_a_stall_after_the_first_token_is_an_incomplete_stream() -> None:
    async with (
        ReplayServer([Answer(body=HELLO, headers=SSE, ending="hold")]) as server,
        upstream(server.url) as to,
    ):
        error = await error_of(stream(to, timeouts=Timeouts(between_chunks=0.05)))
    assert isinstance(error, IncompleteStreamError)
    assert error.transient


async def test_the_total_deadline_is_its_own_error() -> None:
    async with (
        ReplayServer([Answer(body=HELLO, headers=SSE, ending="hold")]) as server,
        upstream(server.url) as to,
    ):
        assert isinstance(await error_of(stream(to, timeouts=Timeouts(total=0.1))), DeadlineError)
        with pytest.raises(DeadlineError):
            await to.request("GET", "/models", timeouts=Timeouts(total=0.1))


async def test_a_slow_reader_does_not_count_against_the_provider() -> None:
    async with (
        ReplayServer([Answer(body=HELLO + HELLO + STOP + DONE, headers=SSE)]) as server,
        upstream(server.url) as to,
    ):
        seen = 0
        async for _ in stream(to, timeouts=Timeouts(first_token=5, between_chunks=0.02)):
            seen += 1
            await anyio.sleep(0.04)
    assert seen == 3


async def test_a_server_that_takes_no_connection_is_an_overload() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            async with upstream(f"http://127.0.0.1:{port}") as to:
                error = await error_of(stream(to, timeouts=Timeouts(connect=0.1)))
        finally:
            for one in waiting:
                one.close()
    assert isinstance(error, OverloadedError)
    assert "did not take the connection" in error.message


# ---------------------------------------------------------------- errors


async def test_a_refused_connection_is_a_transient_overload_that_says_where() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with upstream(url) as to:
            error = await error_of(stream(to))
    assert isinstance(error, OverloadedError)
    assert error.transient
    assert error.provider == "openai"
    assert url in error.message


async def test_a_connection_that_is_closed_without_an_answer_is_an_overload() -> None:
    async def hang_up(client: SocketStream) -> None:
        await client.receive()

    async with serving(hang_up) as url, upstream(url) as to:
        assert isinstance(await error_of(stream(to)), OverloadedError)


@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_stream_that_ends_before_its_marker_is_incomplete(ending: str) -> None:
    answer = Answer(body=HELLO, headers=SSE, ending="end" if ending == "end" else "reset")
    async with ReplayServer([answer]) as server, upstream(server.url) as to:
        seen: list[Delta] = []
        with pytest.raises(IncompleteStreamError):
            await put(stream(to), seen)
    assert seen == [TextDelta(text="hello")]


async def test_a_stream_that_is_reset_after_its_marker_only_lacks_its_usage() -> None:
    answer = Answer(body=HELLO + STOP, headers=SSE, ending="reset")
    async with ReplayServer([answer]) as server, upstream(server.url) as to:
        *_, finish = await all_of(stream(to))
    assert isinstance(finish, Finish)
    assert finish.reason == "stop"
    assert finish.usage is None
    assert finish.warnings


async def test_an_error_inside_a_stream_comes_after_the_deltas_before_it() -> None:
    error = b'data: {"error":{"message":"too much","type":"server_error","code":null}}\n\n'
    answer = Answer(body=HELLO + error, headers=SSE)
    async with ReplayServer([answer], max_piece_bytes=4096) as server, upstream(server.url) as to:
        seen: list[Delta] = []
        with pytest.raises(OverloadedError, match="too much") as caught:
            await put(stream(to), seen)
    assert seen == [TextDelta(text="hello")]
    assert caught.value.provider == "openai"


async def test_an_upstream_that_repeats_our_key_does_not_get_it_into_the_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="aiex")
    key = "sk-very-secret-0123456789"
    said = json.dumps({"error": {"message": f"bad key {key}", "code": "invalid_api_key"}})
    answers = [
        Answer(body=said.encode(), status=401, headers={"content-type": "application/json"}),
        Answer(body=b"data: " + said.encode() + b"\n\n", headers=SSE),
    ]
    async with ReplayServer(answers) as server, upstream(server.url, key=key) as to:
        errors = [await error_of(stream(to)), await error_of(stream(to))]
    for error in errors:
        assert isinstance(error, AuthenticationError)
        assert key not in str(error)
        assert key not in error.message
        assert "[key]" in error.message
    assert key not in caplog.text
    assert server.received[0].headers["authorization"] == f"Bearer {key}"


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    answer = Answer(body=b"", status=307, headers={"location": "http://127.0.0.1:9/steal"})
    async with ReplayServer([answer]) as server, upstream(server.url, key="sk-key") as to:
        error = await error_of(stream(to))
    assert isinstance(error, ProviderError)
    assert not error.transient
    assert len(server.received) == 1


async def test_an_answer_larger_than_the_bound_is_refused() -> None:
    many = [
        Answer(body=HELLO * 100, headers=SSE, ending="hold"),
        Answer(body=b"[" + b" " * 5000, headers={"content-type": "application/json"}),
    ]
    async with ReplayServer(many) as server, upstream(server.url, max_reply_bytes=2000) as to:
        error = await error_of(stream(to))
        assert "larger than 2000 bytes" in error.message
        assert not error.transient
        with pytest.raises(OverloadedError, match="larger than 2000 bytes"):
            await to.request("GET", "/models", timeouts=PATIENT)


async def test_a_page_of_a_proxy_is_an_error_with_its_first_words() -> None:
    page = Answer(
        body=b"<html>\n" + b"Bad  gateway " * 100_000,
        status=502,
        headers={"content-type": "text/html", "retry-after": "7"},
    )
    async with ReplayServer([page], max_piece_bytes=1 << 20) as server, upstream(server.url) as to:
        error = await error_of(stream(to))
    assert isinstance(error, OverloadedError)
    assert error.status == 502
    assert error.retry_after == 7
    assert "<html> Bad gateway" in error.message
    assert len(error.message) < 3000


async def test_the_rates_of_the_latest_answer_are_kept() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1.5s",
        "retry-after-ms": "1500",
    }
    async with (
        ReplayServer([Answer(body=b"{}", status=429, headers=headers)]) as server,
        upstream(server.url) as to,
    ):
        error = await error_of(stream(to))
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 1.5
    assert to.rate_limits == (RateLimit(what="requests", limit=60, remaining=0, reset_after=1.5),)


# ---------------------------------------------------------------- requests


async def test_a_body_of_megabytes_arrives_whole() -> None:
    body = json.dumps({"text": "x" * 3_000_000}).encode()
    async with (
        ReplayServer([Answer(body=STOP + DONE, headers=SSE)]) as server,
        upstream(server.url) as to,
    ):
        await all_of(stream(to, body=body))
    [request] = server.received
    assert request.body == body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"


async def test_a_server_that_does_not_stream_is_understood() -> None:
    said = {
        "choices": [
            {"index": 0, "message": {"content": "hello"}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    answer = Answer(
        body=json.dumps(said).encode(), headers={"content-type": "application/json; charset=utf-8"}
    )
    async with ReplayServer([answer]) as server, upstream(server.url) as to:
        text, finish = await all_of(stream(to))
    assert text == TextDelta(text="hello")
    assert isinstance(finish, Finish)
    assert finish.usage is not None


@pytest.mark.parametrize("url", ["ftp://example.com", "localhost:1234", "", "http://"])
def test_an_address_that_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        upstream(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:11434", True),
        ("http://127.0.0.5", True),
        ("http://[::1]:1234/v1", True),
        ("https://api.openai.com/v1", False),
        ("http://192.168.1.7", False),
    ],
)
def test_loopback_is_known_from_the_address(url: str, expected: bool) -> None:
    assert upstream(url).is_loopback is expected
