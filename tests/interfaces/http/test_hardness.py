"""What clients may not do, and what they cannot break for others."""

from __future__ import annotations

import asyncio
import gc
import gzip
import resource
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from aiex.core import CompleteArguments, EventBody, Request, WireBytes
from aiex.interfaces.http.bounds import Bounds
from aiex.testing.served import TOKEN, Raw, StubGateway, get, post, served, until

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
BODY = b'{"model":"m"}'
STREAM = b'{"model":"m","stream":true}'


def _head(*lines: str, first: str = "POST /v1/chat/completions HTTP/1.1") -> bytes:
    host = [] if any(line.lower().startswith("host") for line in lines) else ["Host: localhost"]
    return "\r\n".join([first, *host, f"Authorization: Bearer {TOKEN}", *lines, "", ""]).encode()


SECOND = post(CHAT, BODY)

FRAMINGS = {
    "length and chunked": _head("Content-Length: 5", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + SECOND,
    "chunked and length": _head("Transfer-Encoding: chunked", "Content-Length: 5")
    + b"0\r\n\r\n"
    + SECOND,
    "two lengths": _head("Content-Length: 13", "Content-Length: 14") + BODY + SECOND,
    "a list of lengths": _head("Content-Length: 13, 13") + BODY,
    "a signed length": _head("Content-Length: +13") + BODY,
    "a length that is none": _head("Content-Length: abc") + BODY,
    "an unknown coding": _head("Transfer-Encoding: gzip") + BODY,
    "chunked and not last": _head("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "chunked on 1.0": _head(
        "Transfer-Encoding: chunked", first="POST /v1/chat/completions HTTP/1.0"
    )
    + b"d\r\n"
    + BODY
    + b"\r\n0\r\n\r\n",
    "a bad chunk size": _head("Transfer-Encoding: chunked") + b"xyz\r\n" + BODY,
    "a signed chunk size": _head("Transfer-Encoding: chunked") + b"+d\r\n" + BODY,
    "a chunk longer than said": _head("Transfer-Encoding: chunked") + b"3\r\n" + BODY,
    "a huge chunk size": _head("Transfer-Encoding: chunked") + b"f" * 40 + b"\r\n",
    "a NUL in a header": _head("X-A: a\0b"),
    "a NUL in a name": _head("X\0A: b"),
    "a bare CR in a header": _head("X-A: a\rX-B: b"),
    "a bare LF": _head().replace(b"\r\n", b"\n"),
    "a folded header": _head("X-A: a\r\n Transfer-Encoding: chunked"),
    "a folded coding": _head("Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n",
    "a space before the colon": _head("Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "no name": _head(": b"),
    "no Host": _head("Content-Length: 0").replace(b"Host: localhost\r\n", b""),
    "two Hosts": _head("Host: localhost", "Host: evil.example", "Content-Length: 0"),
    "two equal Hosts": _head("Host: localhost", "Host: localhost", "Content-Length: 0"),
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/3.0": _head(first="GET /livez HTTP/3.0"),
    "a whole address": _head(first="GET http://evil.example/livez HTTP/1.1"),
    "a tunnel": _head(first="CONNECT evil.example:443 HTTP/1.1"),
    "a WebSocket": _head(
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        first="GET /v1/responses HTTP/1.1",
    ),
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_a_request_that_two_servers_could_read_differently_is_refused(name: str) -> None:
    gateway = StubGateway()
    async with served(gateway) as server:
        raw = await Raw.open(server.port)
        await raw.send(FRAMINGS[name])
        status, headers, _ = await raw.answer()
        assert status == 400
        assert headers["connection"] == "close"
        assert await raw.is_closed()  # nothing that followed was taken for a request
        raw.close()
    assert gateway.asked == []


async def test_another_protocol_that_is_merely_offered_is_passed_over() -> None:
    gateway = StubGateway()
    more = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
    async with served(gateway) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(CHAT, BODY, headers=more))
        assert (await raw.answer())[0] == 200
        raw.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("LOCALHOST:80", 200),
        ("localhost.", 200),
        ("[::1]:80", 200),
        ("box.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("evil.example:80@localhost", 421),
        ("localhost, evil.example", 421),
        ("10.0.0.1", 421),
        ("", 421),
        ("[::1", 421),
        ("localhost:x", 421),
        ("localhost/", 421),
    ],
)
async def test_a_request_to_another_name_is_refused_before_its_token_is_looked_at(
    host: str, status: int
) -> None:
    async with served(StubGateway(), hosts=["box.example"]) as server:
        raw = await Raw.open(server.port)
        for token in (None, TOKEN):
            path = "/livez" if token is None else "/v1/models"
            await raw.send(
                get(path, token=token).replace(b"Host: 127.0.0.1", b"Host: " + host.encode())
            )
            assert (await raw.answer())[0] == status
        raw.close()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:2439", 200),
        ("https://127.0.0.1:2439", 200),
        ("http://127.0.0.1", 403),
        ("http://127.0.0.1:9999", 403),
        ("http://localhost:2439", 403),
        ("https://evil.example", 403),
        ("http://127.0.0.1:2439.evil.example", 403),
        ("null", 403),
        ("file://", 403),
        ("chrome-extension://abc", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("path", ["/livez", "/v1/models"])
async def test_a_page_of_another_origin_is_refused(origin: str, status: int, path: str) -> None:
    async with served(StubGateway()) as server:
        raw = await Raw.open(server.port)
        asked = get(path, headers=[f"Origin: {origin}"])
        await raw.send(asked.replace(b"Host: 127.0.0.1", b"Host: 127.0.0.1:2439"))
        got, headers, _ = await raw.answer()
        assert got == status
        assert not [name for name in headers if name.startswith("access-control")]
        raw.close()


ROUTES = [
    *(("POST", path) for path in (CHAT, "/v1/responses", "/v1/embeddings", "/v1/messages")),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses/input_tokens"),
    *(("GET", path) for path in ("/v1/models", "/v1/models/m", "/readyz", "/metrics")),
    *(("GET", f"/api/v1/{name}") for name in ("keys", "budgets", "health", "interactions")),
    *(("GET", f"/api/v1/{name}") for name in ("config", "models", "interfaces", "events")),
    *(("POST", f"/api/v1/{name}") for name in ("requests", "keys", "broadcast")),
    *(("GET", f"/api/v1/requests/req_1{rest}") for rest in ("", "/events")),
    ("GET", "/api/v1/openapi.json"),
    ("DELETE", "/api/v1/keys/k1"),
    ("PUT", "/api/v1/budgets"),
    ("GET", "/"),
    ("GET", "/nothing/here"),
    ("OPTIONS", CHAT),
    ("GET", "/livez/"),
    ("GET", "//livez"),
    ("GET", "/%2e/livez"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_address_but_one_asks_for_a_token(method: str, path: str) -> None:
    gateway = StubGateway()
    async with served(gateway) as server:
        for shown in (None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
            raw = await Raw.open(server.port)
            asked = post(path, BODY, token=shown) if method == "POST" else get(path, token=shown)
            await raw.send(asked.replace(asked.split(b" ")[0], method.encode(), 1))
            status, headers, body = await raw.answer()
            assert status == 401, shown
            assert headers["www-authenticate"] == "Bearer"
            assert not shown or shown.encode() not in body
            raw.close()
    assert gateway.asked == []


@pytest.mark.parametrize(
    "query",
    [
        f"api_key={TOKEN}",
        f"token={TOKEN}",
        "key=abc",
        "ACCESS_TOKEN=x",
        f"a=1&b={TOKEN}",
        f"x={TOKEN.replace('_', '%5f')}",
    ],
)
async def test_a_token_in_an_address_is_refused_even_if_it_is_right(query: str) -> None:
    async with served(StubGateway()) as server:
        raw = await Raw.open(server.port)
        await raw.send(get(f"/v1/models?{query}"))
        status, _, body = await raw.answer()
        assert status == 400
        assert b"address" in body
        raw.close()


@pytest.mark.parametrize(
    "data",
    [
        _head("X-Long: " + "a" * 9000),
        _head("X-Longer: " + "a" * 1_000_000),
        b"GET /" + b"a" * 9000,
        _head(*[f"X-{number}: {'a' * 90}" for number in range(90)]),
        _head(*[f"X-{number}: a" for number in range(150)]),
        _head()[:-4] + b"\r\nX: " + b"a" * 9000,
    ],
    ids=["long", "very long", "long target", "much in all", "many", "never ending"],
)
async def test_a_head_is_bounded(data: bytes) -> None:
    bounds = Bounds(header_bytes=8000, headers=100)
    async with served(StubGateway(), bounds=bounds) as server:
        raw = await Raw.open(server.port)
        for start in range(0, len(data), 4096):
            raw.writer.write(data[start : start + 4096])
        status, _, _ = await raw.answer()
        assert status in {414, 431}
        raw.close()


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTTP/1.1\r\nHo", b"\r\n", b"P"])
async def test_a_head_that_takes_too_long_is_given_up(begun: bytes) -> None:
    async with served(StubGateway(), bounds=Bounds(header_seconds=0.1)) as server:
        raw = await Raw.open(server.port)
        await raw.send(begun)
        if len(begun) > 2 or begun == b"P":
            assert (await raw.answer())[0] == 408
        assert await raw.is_closed()
        raw.close()


async def test_a_connection_that_asks_nothing_more_is_closed() -> None:
    async with served(StubGateway(), bounds=Bounds(idle_seconds=0.1)) as server:
        raw = await Raw.open(server.port)
        await raw.send(get("/livez"))
        assert (await raw.answer())[0] == 200
        await raw.send(b"\r\n")
        assert await raw.is_closed()
        raw.close()


async def test_too_many_connections_are_refused_with_a_reason() -> None:
    async with served(StubGateway(), bounds=Bounds(connections=3)) as server:
        held = [await Raw.open(server.port) for _ in range(3)]
        for raw in held:
            await raw.send(get("/livez"))
            assert (await raw.answer())[0] == 200
        more = await Raw.open(server.port)
        status, headers, _ = await more.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert await more.is_closed()
        held[0].close()
        await held[0].writer.wait_closed()
        await until(lambda: len(server.connections.open) == 2)
        again = await Raw.open(server.port)
        await again.send(get("/livez"))
        assert (await again.answer())[0] == 200
        for raw in (*held, more, again):
            raw.close()


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent() -> None:
    gateway = StubGateway()
    async with served(gateway, bounds=Bounds(body_bytes=1000)) as server:
        raw = await Raw.open(server.port)
        await raw.send(_head("Content-Length: 1001"))
        status, headers, body = await raw.answer()
        assert (status, headers["connection"]) == (413, "close")
        assert b"1000" in body
        raw.close()
    assert gateway.asked == []


async def test_a_body_that_grows_too_large_is_refused_and_the_answer_arrives() -> None:
    gateway = StubGateway()
    async with served(gateway, bounds=Bounds(body_bytes=100_000)) as server:
        raw = await Raw.open(server.port)
        raw.writer.write(_head("Transfer-Encoding: chunked"))
        for _ in range(100):
            raw.writer.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        assert (await raw.answer())[0] == 413
        raw.close()
    assert gateway.asked == []


async def test_a_body_that_takes_too_long_is_given_up() -> None:
    gateway = StubGateway()
    async with served(gateway, bounds=Bounds(body_seconds=0.1)) as server:
        raw = await Raw.open(server.port)
        await raw.send(_head("Content-Length: 13") + BODY[:5])
        assert (await raw.answer())[0] == 408
        raw.close()
    assert gateway.asked == []


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused(coding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    async with served(StubGateway()) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(CHAT, bomb, headers=[f"Content-Encoding: {coding}"]))
        assert (await raw.answer())[0] == 415
        raw.close()


async def test_a_second_request_before_the_first_is_answered_is_not_read() -> None:
    gateway = StubGateway()
    async with served(gateway) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(CHAT, BODY) + post("/v1/messages", BODY))
        status, headers, _ = await raw.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await raw.is_closed()
        raw.close()
    assert len(gateway.asked) == 1


# ---------------------------------------------------------------- what others do


@pytest.fixture
def many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))


async def _is_served(port: int) -> None:
    raw = await Raw.open(port)
    for _ in range(20):
        await raw.send(post(CHAT, BODY))
        assert (await raw.answer())[0] == 200
    raw.close()


@pytest.mark.usefixtures("many_files")
async def test_idle_connections_and_slow_bodies_do_not_keep_others_from_being_served() -> None:
    gateway = StubGateway()
    async with served(gateway) as server:
        idle = [await Raw.open(server.port) for _ in range(2000)]
        slow = [await Raw.open(server.port) for _ in range(300)]
        for raw in slow:
            await raw.send(_head("Content-Length: 100000") + b"{")
        await _is_served(server.port)
        for raw in slow:
            await raw.send(b" ")
        await _is_served(server.port)
        await until(lambda: len(server.connections.open) == 2300)
        for raw in (*idle, *slow):
            raw.close()
    assert len(gateway.asked) == 40


@pytest.mark.usefixtures("many_files")
async def test_a_thousand_slow_streams_are_held_and_each_gets_each_piece() -> None:
    turn = asyncio.Condition()
    number = 0

    async def slow(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        for mine in range(1, 5):
            async with turn:
                await turn.wait_for(lambda: number >= mine)  # noqa: B023
            yield WireBytes(data=b"data: %d\n\n" % mine)

    gateway = StubGateway(slow)
    async with served(gateway) as server:
        streams = [await Raw.open(server.port) for _ in range(1000)]
        for raw in streams:
            await raw.send(post(CHAT, STREAM))
        await until(lambda: gateway.running == 1000)
        for piece in range(1, 5):
            async with turn:
                number = piece
                turn.notify_all()
            for raw in streams:
                await asyncio.wait_for(raw.reader.readuntil(b"data: %d\n\n" % piece), 20)
        assert len(server.connections.answering()) <= 1000
        for raw in streams:
            raw.close()
        await until(lambda: not gateway.running)


async def test_clients_that_do_not_read_stop_the_flow_from_above_and_nobody_else() -> None:
    given = 0

    async def endless(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        nonlocal given
        while arguments.stream:
            given += 1
            yield WireBytes(data=b"x" * 65536)
            await asyncio.sleep(0)
        yield WireBytes(data=b"{}")

    gateway = StubGateway(endless)
    async with served(gateway) as server:
        unread = [await Raw.open(server.port) for _ in range(40)]
        for raw in unread:
            await raw.send(post(CHAT, STREAM))
        before = -1
        while before != given or gateway.running < 40:
            before = given
            await asyncio.sleep(0.05)
        assert given < 40 * 200  # what the kernel's buffers hold, and no more of it
        await _is_served(server.port)
        held = sum(one.transport.get_write_buffer_size() for one in server.connections.open)
        assert held < 40 * 200_000
        for raw in unread:
            raw.close()
        await until(lambda: not gateway.running)


async def test_a_client_that_never_reads_is_let_go() -> None:
    async def endless(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        while True:
            yield WireBytes(data=b"x" * 65536)

    gateway = StubGateway(endless)
    async with served(gateway, bounds=Bounds(unread_seconds=0.1)) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(CHAT, STREAM))
        await asyncio.wait_for(gateway.ended.wait(), 10)
        assert not server.connections.open
        raw.close()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


STAGES = ["in the head", "in the body", "before content", "in the stream", "unread", "reset"]


@pytest.mark.parametrize("stage", STAGES)
async def test_nothing_is_left_of_clients_that_leave(
    stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        if stage in {"in the stream", "unread"}:
            yield WireBytes(data=b"data: 1\n\n")
        while stage == "unread":
            yield WireBytes(data=b"x" * 65536)
        await asyncio.Event().wait()

    gateway = StubGateway(script)
    async with served(gateway) as server:
        asked = post(CHAT, STREAM)
        await asyncio.sleep(0)
        files, tasks = _open_files(), len(asyncio.all_tasks())
        for _ in range(10):
            leavers = [await Raw.open(server.port) for _ in range(50)]
            for raw in leavers:
                cut = {"in the head": asked[:60], "in the body": asked[:-5]}.get(stage, asked)
                await raw.send(cut)
                if stage in {"in the stream", "unread"}:
                    await raw.head()
            await until(lambda: len(server.connections.open) == 50)
            if stage not in {"in the head", "in the body"}:
                await until(lambda: gateway.running == 50)
            for raw in leavers:
                if stage == "reset":
                    raw.reset()
                else:
                    raw.close()
            await until(lambda: not server.connections.open and not gateway.running)
            for raw in leavers:
                await raw.writer.wait_closed()
        del leavers, raw
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= tasks
        assert _open_files() <= files
        assert server.door.metrics.in_flight == 0
        from aiex.interfaces.http.connection import Connection

        assert not [one for one in gc.get_objects() if isinstance(one, Connection)]
    assert not caplog.records  # to leave is no fault, and who leaves cannot fill a log
