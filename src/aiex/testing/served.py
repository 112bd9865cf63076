"""A server on a real socket, in front of a gateway whose answers a test writes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from aiex.core import (
    AiexError,
    CompleteArguments,
    Event,
    EventBody,
    Failed,
    Finished,
    ModelChosen,
    Principal,
    Request,
    UnauthenticatedError,
    WireBytes,
)
from aiex.interfaces.http.bounds import Bounds
from aiex.interfaces.http.connection import Connections
from aiex.interfaces.http.door import Authenticate, Door
from aiex.interfaces.http.hosts import Hosts
from aiex.interfaces.http.server import serve
from aiex.interfaces.http.sockets import listen_at

__all__ = [
    "TOKEN",
    "Raw",
    "Script",
    "Served",
    "StubGateway",
    "StubOperations",
    "authenticate",
    "get",
    "hello",
    "post",
    "served",
    "until",
]

TOKEN = "aiex_test_0123456789abcdef0123456789abcdef"  # noqa: S105

Script = Callable[[Request, CompleteArguments], AsyncGenerator[EventBody, None]]


async def hello(request: Request, arguments: CompleteArguments) -> AsyncGenerator[EventBody, None]:
    """Answer with two pieces in a stream, or with one whole."""
    del request
    yield ModelChosen(provider="mock", model="m-1", reason="named")
    if arguments.stream:
        yield WireBytes(data=b'data: {"n":1}\n\n')
        yield WireBytes(data=b"data: [DONE]\n\n")
    else:
        yield WireBytes(data=b'{"ok":true}')
    yield Finished(status="ok", data=msgspec.Raw(b"null"))


class StubOperations:
    """What the door asks an operator's way."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self.names: Sequence[str] = ("mock:m-1", "mock:m-2", "fast")

    async def models(self, principal: Principal) -> Sequence[str]:
        """Return `names`."""
        del principal
        return self.names

    async def ready(self) -> Mapping[str, str]:
        """Return `problems`."""
        return self.problems

    async def report(self, name: str, query: Mapping[str, str]) -> msgspec.Raw:
        """Return what was asked."""
        return msgspec.Raw(msgspec.json.encode({"report": name, "query": query}))

    async def metrics(self) -> str:
        """Return one sample."""
        return "# TYPE aiex_stub gauge\naiex_stub 1\n"


class StubGateway:
    """Runs a script for each request, and remembers what it was asked."""

    def __init__(self, script: Script = hello) -> None:
        self.script = script
        self.asked: list[Request] = []
        self.running = 0
        self.ended = asyncio.Event()
        self.operations = StubOperations()

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Yield what the script yields, as events."""
        self.asked.append(request)
        arguments = msgspec.json.decode(request.arguments, type=CompleteArguments)
        bodies = self.script(request, arguments)
        self.running += 1
        number = 0
        try:
            async for body in bodies:
                number += 1
                yield Event(id=number, request_id=request.id, at=datetime.now(UTC), body=body)
        except AiexError as error:
            failed = Failed(error=error.info())
            yield Event(id=number + 1, request_id=request.id, at=datetime.now(UTC), body=failed)
        finally:
            await bodies.aclose()
            self.running -= 1
            self.ended.set()


def authenticate(token: str | None) -> Principal:
    """Know one token."""
    if token != TOKEN:
        raise UnauthenticatedError("the token is not known", hint="aiex key create makes one")
    return Principal(user="ann", interface="http", key_id="k1")


class Served:
    """A server that runs."""

    def __init__(
        self, door: Door, connections: Connections, stop: asyncio.Event, port: int
    ) -> None:
        self.door = door
        self.connections = connections
        self.stop = stop
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.ended = asyncio.Event()
        self.states: list[str] = []


@asynccontextmanager
async def served(
    gateway: Any,
    *,
    bounds: Bounds | None = None,
    drain_seconds: float = 5.0,
    hosts: Sequence[str] = (),
    let_in: Authenticate = authenticate,
) -> AsyncIterator[Served]:
    """Serve *gateway* at a free port of this machine, to whom *let_in* knows."""
    connections = Connections(bounds or Bounds())
    door = Door(
        gateway,
        authenticate=let_in,
        hosts=Hosts(hosts, loopback=True),
        bounds=connections.bounds,
        connections=connections,
        now=lambda: datetime.now(UTC),
    )
    bound = listen_at("127.0.0.1", 0)
    port = bound.getsockname()[1]
    stop, ready = asyncio.Event(), asyncio.Event()
    one = Served(door, connections, stop, port)

    def changed(state: str) -> None:
        one.states.append(state)
        ready.set()

    async def run() -> None:
        await serve(
            door,
            [bound],
            connections=connections,
            stop=stop,
            changed=changed,
            drain_seconds=drain_seconds,
            wall=lambda: 0.0,
        )
        one.ended.set()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run())
        await ready.wait()
        try:
            yield one
        finally:
            stop.set()
            await task


async def until(claim: Callable[[], bool]) -> None:
    """Return once *claim* is true, of things that have no event of their own.

    Raises:
        TimeoutError: It did not come true within 10 s.
    """
    async with asyncio.timeout(10):
        while not claim():  # noqa: ASYNC110
            await asyncio.sleep(0)


class Raw:
    """A connection whose bytes a test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Raw:
        """Return a connection to *port* of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send *data* as it is."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Return status and headers of the next answer."""
        raw = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        first, *lines = raw.decode().split("\r\n")
        named = dict(line.split(": ", 1) for line in lines if line)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in named.items()}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the next answer, whose length must be known."""
        status, headers = await self.head()
        length = int(headers["content-length"])
        return status, headers, await asyncio.wait_for(self.reader.readexactly(length), 10)

    async def is_closed(self) -> bool:
        """Wait for the other side to close, and return whether nothing came before."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close it in good order."""
        self.writer.close()

    def reset(self) -> None:
        """Leave at once, as a killed program does."""
        found: socket.socket = self.writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


def post(
    path: str = "/v1/chat/completions",
    body: bytes = b'{"model":"m","messages":[]}',
    *,
    token: str | None = TOKEN,
    headers: Sequence[str] = (),
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *, token: str | None = TOKEN, headers: Sequence[str] = ()) -> bytes:
    """Return the bytes of a request."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
