"""Calls of a model whose server does its worst: what is sent, what is made of what comes."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream
from tests.llm.adapters.raw import Server, always, certificate_of, hold, serving

from aiex.core import (
    AiexError,
    ConfigurationError,
    DeadlineError,
    Delta,
    Finish,
    IncompleteStreamError,
    OverloadedError,
    ProviderError,
    TextDelta,
)
from aiex.llm import Timeouts
from aiex.llm.adapters.http import Upstream
from aiex.wires import openai_chat

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect=5, first_token=20, between_chunks=20, total=60)
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
STREAM = HELLO + STOP + b"data: [DONE]\n\n"
SAID = b'{"data":[]}'


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


def upstream(url: str, *, key: str | None = None, **more: Any) -> Upstream:
    return Upstream(
        url,
        provider="openai",
        decode_error=openai_chat.decode_error,
        api_key=lambda: key,
        **more,
    )


def stream(to: Upstream, *, timeouts: Timeouts = PATIENT) -> AsyncGenerator[Delta, None]:
    return to.stream(
        "/chat",
        b"{}",
        decoder=openai_chat.StreamDecoder(),
        decode_reply=openai_chat.decode_reply,
        timeouts=timeouts,
    )


async def all_of(deltas: AsyncGenerator[Delta, None]) -> list[Delta]:
    async with aclosing(deltas):
        return [delta async for delta in deltas]


def sized(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*head, b"", body])


def chunked(*pieces: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\n\r\n"
    )


# ---------------------------------------------------------------- what is sent


async def test_a_request_is_sent_as_it_should_be() -> None:
    sent: list[bytes] = []

    async def note(client: ByteStream) -> None:
        sent.append(await client.receive())
        await client.send(sized(SAID))

    async with serving(note) as server, upstream(f"{server.url}/v1/", key="sk-1") as to:
        await to.request("POST", "/a%20b?c=%20d", b"{}", timeouts=PATIENT)
    host = server.url.removeprefix("http://").encode()
    assert sent == [
        b"POST /v1/a%20b?c=%20d HTTP/1.1\r\n"
        b"Host: " + host + b"\r\n"
        b"Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: aiex\r\n"
        b"Authorization: Bearer sk-1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        b"\r\n{}"
    ]


async def test_a_login_in_the_address_is_sent_as_a_header() -> None:
    sent: list[bytes] = []

    async def note(client: ByteStream) -> None:
        sent.append(await client.receive())
        await client.send(sized(SAID))

    async with (
        serving(note) as server,
        upstream(f"http://me%40home:secret@127.0.0.1:{server.port}") as to,
    ):
        await to.request("GET", "/models", timeouts=PATIENT)
    assert b"\r\nAuthorization: Basic bWVAaG9tZTpzZWNyZXQ=\r\n" in sent[0]
    assert b"Content" not in sent[0]


@pytest.mark.parametrize("key", ["sk-1\r\nX: y", "sk-1\n", "sk-1\0"])
async def test_a_key_of_several_lines_is_not_sent(key: str) -> None:
    async with serving(hold) as server, upstream(server.url, key=key) as to:
        with pytest.raises(ConfigurationError, match="line break") as caught:
            await to.request("GET", "/models", timeouts=PATIENT)
        assert "sk-1" not in str(caught.value)
        assert server.came == 0


@pytest.mark.parametrize("url", ["http://a:99999", "http://a:b", "http://a..b", "https://[::1"])
def test_an_address_that_cannot_be_asked_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="no http"):
        upstream(url)


# ---------------------------------------------------------------- connections


async def drop_after_one(client: ByteStream) -> None:
    """Answer one request; close the connection at the next."""
    await client.receive()
    await client.send(sized(SAID))
    await client.receive()


async def test_what_only_asks_is_sent_again_when_a_kept_connection_was_closed() -> None:
    async with serving(drop_after_one) as server, upstream(server.url) as to:
        for _ in range(4):
            assert await to.request("GET", "/models", timeouts=PATIENT) == SAID
        assert server.came == 4


async def test_a_call_of_a_model_is_not_sent_twice() -> None:
    async with serving(drop_after_one) as server, upstream(server.url) as to:
        await to.request("POST", "/chat", b"{}", timeouts=PATIENT)
        with pytest.raises(OverloadedError, match="without an answer") as caught:
            await to.request("POST", "/chat", b"{}", timeouts=PATIENT)
        assert caught.value.may_be_billed
        assert server.came == 1


async def test_what_began_to_be_answered_is_not_sent_twice() -> None:
    async def begin(client: ByteStream) -> None:
        await client.receive()
        await client.send(sized(SAID))
        await client.receive()
        await client.send(b"HTTP/1.1 200")

    async with serving(begin) as server, upstream(server.url) as to:
        await to.request("GET", "/models", timeouts=PATIENT)
        with pytest.raises(OverloadedError, match="without an answer"):
            await to.request("GET", "/models", timeouts=PATIENT)
        assert server.came == 1


async def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    async def close(client: ByteStream) -> None:
        await client.receive()

    async with serving(close) as server, upstream(server.url) as to:
        with pytest.raises(OverloadedError, match="without an answer"):
            await to.request("GET", "/models", timeouts=PATIENT)
        assert server.came == 1


async def test_connections_are_not_kept_where_that_was_asked_for() -> None:
    async with (
        serving(always(sized(SAID))) as server,
        upstream(server.url, reuses_connections=False) as to,
    ):
        for _ in range(3):
            await to.request("GET", "/models", timeouts=PATIENT)
        assert server.came == 3
        await server.until_all_left()


async def test_a_certificate_that_is_not_trusted_is_said_so(tmp_path: Path) -> None:
    _, tls = certificate_of("localhost", tmp_path)
    async with (
        serving(hold, tls=tls) as server,
        upstream(f"https://localhost:{server.port}") as to,
    ):
        with pytest.raises(ProviderError, match="certificate that is not trusted") as caught:
            await all_of(stream(to))
    assert not caught.value.transient


async def test_no_tls_where_it_is_expected_is_an_overload() -> None:
    async with (
        serving(always(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server,
        upstream(f"https://localhost:{server.port}") as to,
    ):
        with pytest.raises(OverloadedError, match="cannot be reached"):
            await all_of(stream(to))


# ---------------------------------------------------------------- answers


async def test_a_stream_that_is_cut_anywhere_is_an_error_until_its_marker_has_come() -> None:
    answer = chunked(HELLO, STOP, b"data: [DONE]\n\n")
    marker = answer.index(STOP) + len(STOP.rstrip())
    left = iter(range(len(answer)))

    async def cut(client: ByteStream) -> None:
        await client.receive()
        await client.send(answer[: next(left)])

    async with serving(cut) as server, upstream(server.url) as to:
        for size in range(len(answer)):
            if size >= marker:
                assert isinstance((await all_of(stream(to)))[-1], Finish)
                continue
            with pytest.raises(AiexError) as caught:
                await all_of(stream(to))
            is_begun = size >= answer.index(b"\r\n\r\n") + 4
            assert type(caught.value) is (IncompleteStreamError if is_begun else OverloadedError)
        await server.until_all_left()


async def test_a_document_that_is_cut_anywhere_is_an_error() -> None:
    answer = sized(SAID, b"Content-Type: application/json")
    left = iter(range(len(answer)))

    async def cut(client: ByteStream) -> None:
        await client.receive()
        await client.send(answer[: next(left)])

    async with serving(cut) as server, upstream(server.url) as to:
        for size in range(len(answer)):
            is_begun = size >= answer.index(b"\r\n\r\n") + 4
            said = "in the middle of its answer" if is_begun else "without an answer"
            with pytest.raises(OverloadedError, match=said):
                await to.request("POST", "/chat", b"{}", timeouts=PATIENT)


async def test_a_stream_that_comes_byte_by_byte_is_whole() -> None:
    async def drip(client: ByteStream) -> None:
        await client.receive()
        for byte in chunked(HELLO, STOP, b"data: [DONE]\n\n"):
            await client.send(bytes([byte]))

    async with serving(drip) as server, upstream(server.url) as to:
        text, finish = await all_of(stream(to))
    assert text == TextDelta(text="hello")
    assert isinstance(finish, Finish)


async def test_headers_without_end_are_refused() -> None:
    async def talk(client: ByteStream) -> None:
        await client.receive()
        await client.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await client.send(b"X-Much: " + b"a" * 8000 + b"\r\n")

    async with serving(talk) as server, upstream(server.url) as to:
        with pytest.raises(OverloadedError, match="without an answer"):
            await all_of(stream(to))
        await server.until_all_left()


@pytest.mark.parametrize(
    ("coding", "body"), [(b"gzip", gzip.compress(SAID)), (b"deflate", zlib.compress(SAID))]
)
async def test_what_comes_compressed_all_the_same_is_read(coding: bytes, body: bytes) -> None:
    async with (
        serving(always(sized(body, b"Content-Encoding: " + coding))) as server,
        upstream(server.url) as to,
    ):
        assert await to.request("GET", "/models", timeouts=PATIENT) == SAID


async def test_what_is_small_but_becomes_large_is_refused() -> None:
    bomb = sized(gzip.compress(b" " * 50_000_000), b"Content-Encoding: gzip")
    async with (
        serving(always(bomb)) as server,
        upstream(server.url, max_reply_bytes=1_000_000) as to,
    ):
        tracemalloc.start()
        try:
            with pytest.raises(OverloadedError, match="larger than 1000000 bytes"):
                await to.request("GET", "/models", timeouts=PATIENT)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 10_000_000


async def test_what_says_that_it_is_compressed_and_is_not_is_an_error() -> None:
    async with (
        serving(always(sized(SAID, b"Content-Encoding: gzip"))) as server,
        upstream(server.url) as to,
    ):
        with pytest.raises(OverloadedError, match="in the middle of its answer"):
            await to.request("GET", "/models", timeouts=PATIENT)


async def test_many_calls_at_once_get_each_its_own_answer() -> None:
    async def echo(client: ByteStream) -> None:
        while True:
            asked = await client.receive()
            await client.send(sized(asked.partition(b"\r\n\r\n")[2]))

    async with serving(echo) as server, upstream(server.url) as to:

        async def ask(number: int) -> None:
            body = b"%d" % number
            assert await to.request("POST", "/chat", body, timeouts=PATIENT) == body

        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(ask, number)
    assert server.came <= 1000


# ---------------------------------------------------------------- time


async def test_drops_that_are_no_progress_do_not_put_the_end_off() -> None:
    async def drip(client: ByteStream) -> None:
        await client.receive()
        await client.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            await client.send(b":\n\n")
            await anyio.sleep(0.002)

    async with serving(drip) as server, upstream(server.url) as to:
        with pytest.raises(OverloadedError, match=r"no token within 0\.05 s"):
            await all_of(stream(to, timeouts=Timeouts(first_token=0.05)))
        await server.until_all_left()


async def test_progress_puts_the_end_off_but_not_that_of_the_whole() -> None:
    async def tell(client: ByteStream) -> None:
        await client.receive()
        await client.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while True:
            await client.send(HELLO)
            await anyio.sleep(0.002)

    async with serving(tell) as server, upstream(server.url) as to:
        with pytest.raises(DeadlineError, match=r"within 0\.3 s"):
            await all_of(stream(to, timeouts=Timeouts(between_chunks=0.15, total=0.3)))
        await server.until_all_left()


async def test_a_first_token_may_take_longer_than_the_wait_between_two() -> None:
    async def late(client: ByteStream) -> None:
        await client.receive()
        await client.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await anyio.sleep(0.1)
        await client.send(STREAM)

    async with serving(late) as server, upstream(server.url) as to:
        deltas = await all_of(stream(to, timeouts=Timeouts(first_token=20, between_chunks=0.02)))
    assert len(deltas) == 2


async def test_a_head_that_does_not_come_is_timed_too() -> None:
    async with serving(hold) as server, upstream(server.url) as to:
        with pytest.raises(OverloadedError, match="no token within") as caught:
            await all_of(stream(to, timeouts=Timeouts(first_token=0.05)))
        assert caught.value.may_be_billed
        await server.until_all_left()


async def test_tls_that_is_not_agreed_is_timed_as_part_of_connecting() -> None:
    async with (
        serving(hold) as server,
        upstream(f"https://localhost:{server.port}") as to,
    ):
        with pytest.raises(OverloadedError, match="did not take the connection") as caught:
            await all_of(stream(to, timeouts=Timeouts(connect=0.05)))
        assert not caught.value.may_be_billed
        await server.until_all_left()


# ---------------------------------------------------------------- leaving


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Ty",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + HELLO,
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n[",
    ],
)
async def test_who_leaves_at_any_stage_closes_the_connection(begun: bytes) -> None:
    arrived = anyio.Event()

    async def begin(client: ByteStream) -> None:
        await client.receive()
        if begun:
            await client.send(begun)
        arrived.set()
        await hold(client)

    async with serving(begin) as server, upstream(server.url) as to:
        await left_behind(to, arrived, server)


async def left_behind(to: Upstream, arrived: anyio.Event, server: Server) -> None:
    """Cancel a call once it has *arrived*, and see that nothing is left of it."""
    before = asyncio.all_tasks()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(all_of, stream(to))
        await arrived.wait()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    await server.until_all_left()
    assert {task for task in asyncio.all_tasks() - before if "serv" not in repr(task)} == set()
