"""How a server ends: nobody new is let in, what runs may end, and the rest is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from aiex.core import CompleteArguments, EventBody, Finished, Request, WireBytes
from aiex.testing.served import Raw, StubGateway, get, post, served, until

pytestmark = pytest.mark.anyio

STREAM = b'{"model":"m","stream":true,"messages":[]}'


class Held:
    """A script whose second half waits for a test."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(
        self, request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        yield WireBytes(data=b'data: {"n":1,"sequence_number":4}\n\n')
        await self.go.wait()
        yield WireBytes(data=b"data: [DONE]\n\n")
        yield Finished(status="ok", data=b"null")  # type: ignore[arg-type]


async def test_what_runs_ends_in_peace_while_nobody_new_is_let_in() -> None:
    held = Held()
    gateway = StubGateway(held)
    async with served(gateway, drain_seconds=30) as server:
        runs, idle = await Raw.open(server.port), await Raw.open(server.port)
        await runs.send(post(body=STREAM))
        await runs.head()
        await runs.reader.readuntil(b'"n":1')
        await idle.send(get("/livez"))
        await idle.answer()

        server.stop.set()
        assert await idle.is_closed()
        new = await Raw.open(server.port)
        await new.send(get("/readyz"))
        status, _, body = await new.answer()
        assert status == 503
        assert b"draining" in body
        await new.send(post(body=STREAM))
        status, headers, body = await new.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert int(headers["retry-after"]) >= 1
        assert b"about to stop" in body
        live = await Raw.open(server.port)
        await live.send(get("/livez"))
        assert (await live.answer())[0] == 200
        assert not server.ended.is_set()

        held.go.set()
        assert b"[DONE]" in await asyncio.wait_for(runs.reader.read(), 10)
        await asyncio.wait_for(server.ended.wait(), 10)
        assert server.states == ["started", "draining", "stopped"]
        for raw in (runs, idle, new, live):
            raw.close()
    assert len(gateway.asked) == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/chat/completions", (b"data: ", b'"error"')),
        ("/v1/responses", (b"event: error", b'"sequence_number":5')),
        ("/v1/messages", (b"event: error", b'"overloaded_error"')),
    ],
)
async def test_a_stream_that_takes_too_long_is_cut_with_an_error_in_its_wire(
    path: str, said: tuple[bytes, ...]
) -> None:
    gateway = StubGateway(Held())
    async with served(gateway, drain_seconds=0.1) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(path, STREAM))
        await raw.head()
        await raw.reader.readuntil(b'"n":1')
        server.stop.set()
        rest = await asyncio.wait_for(raw.reader.read(), 10)
        for one in (*said, b"about to stop"):
            assert one in rest
        assert rest.endswith(b"0\r\n\r\n")  # the body is complete: no client takes it for a cut
        await asyncio.wait_for(server.ended.wait(), 10)
        raw.close()
    assert not gateway.running


async def test_a_request_without_an_answer_yet_is_told_to_come_again() -> None:
    async def silent(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        await asyncio.Event().wait()
        yield WireBytes(data=b"")

    gateway = StubGateway(silent)
    async with served(gateway, drain_seconds=0.1) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(body=STREAM))
        await until(lambda: gateway.running == 1)
        server.stop.set()
        status, headers, _ = await raw.answer()
        assert (status, headers["x-should-retry"]) == (503, "true")
        await asyncio.wait_for(server.ended.wait(), 10)
        raw.close()
    assert not gateway.running


async def test_a_client_that_does_not_read_cannot_keep_the_server_from_ending() -> None:
    async def endless(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        while True:
            yield WireBytes(data=b"x" * 65536)

    gateway = StubGateway(endless)
    async with served(gateway, drain_seconds=0.1) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(body=STREAM))
        await until(lambda: any(one.flow.write_paused for one in server.connections.open))
        server.stop.set()
        await asyncio.wait_for(server.ended.wait(), 10)
        raw.close()
    assert not gateway.running
