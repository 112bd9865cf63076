"""A client that leaves ends the call of the model, at whatever stage it was."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.interfaces.http.nodes import Client, node

from aiex.testing.served import Raw, post

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"word "},"finish_reason":null}]}\n\n'
)
BODY = b'{"model":"openai:m-1","stream":true,"messages":[{"role":"user","content":"hello"}]}'
STAGES = ("before the head", "before content", "in the stream", "unread")


class Upstream:
    """Answers as far as a stage, and then waits for the other side to leave."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.port = 0
        self.open = 0
        self.seen = 0
        self.changed = asyncio.Condition()

    async def _count(self, by: int) -> None:
        async with self.changed:
            self.open += by
            self.seen += by > 0
            self.changed.notify_all()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counted = False
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                body = b'{"object":"list","data":[{"id":"m-1","object":"model"}]}'
                said = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
                writer.write(said + b"content-length: %d\r\n\r\n" % len(body) + body)
                return
            lower = head.lower()
            if b"content-length: " in lower:
                length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            counted = True
            await self._count(1)
            if self.stage != "before the head":
                writer.write(HEAD)
            if self.stage in {"in the stream", "unread"}:
                writer.write(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK))
            while self.stage == "unread":
                many = CHUNK * 200
                writer.write(b"%x\r\n%b\r\n" % (len(many), many))
                await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            if counted:
                await self._count(-1)

    async def until_open(self, count: int) -> None:
        """Return once *count* calls are under way."""
        async with self.changed, asyncio.timeout(20):
            await self.changed.wait_for(lambda: self.open == count)


@asynccontextmanager
async def upstream(stage: str) -> AsyncIterator[Upstream]:
    one = Upstream(stage)
    server = await asyncio.start_server(one.answer, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    async with server:
        yield one


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def _leave(client: Client, one: Upstream, stage: str, count: int) -> None:
    raws = [await Raw.open(client.server.port) for _ in range(count)]
    for raw in raws:
        await raw.send(post(body=BODY, token=client.token))
    await one.until_open(count)
    if stage == "in the stream":
        for raw in raws:
            await raw.reader.readuntil(b"word")
    for number, raw in enumerate(raws):
        if number % 2:
            raw.reset()
        else:
            raw.close()
    await one.until_open(0)


@pytest.mark.parametrize("stage", STAGES)
async def test_the_call_ends_when_its_client_leaves_and_nothing_is_left(
    stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        upstream(stage) as one,
        node(tmp_path, openai=f"http://127.0.0.1:{one.port}/v1") as client,
    ):
        await _leave(client, one, stage, 2)  # what is kept from then on is open
        gc.collect()
        files, tasks = _open_files(), len(asyncio.all_tasks())
        for _ in range(5):
            await _leave(client, one, stage, 20)
        assert one.seen == 102  # none was asked a second time for nobody
        assert not client.server.connections.answering()
        gc.collect()
        async with asyncio.timeout(10):
            while len(asyncio.all_tasks()) > tasks or _open_files() > files:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        states = (await client.ask("GET", "/requests"))[1]["requests"]
        assert not [state for state in states if state["state"] == "running"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
