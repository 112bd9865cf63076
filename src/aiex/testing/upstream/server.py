"""A server on loopback that speaks as four providers do, and takes only what they take."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import anyio.from_thread
import msgspec

from aiex.testing.upstream.checks import Refused
from aiex.testing.upstream.listing import listed
from aiex.testing.upstream.scenario import Delivery, Fault, Scenario
from aiex.testing.upstream.wire import Answer
from aiex.testing.upstream.wires import WIRES

__all__ = ["Asked", "ScriptedUpstream", "Violation"]

_MAX_HEAD_BYTES = 64 * 1024
_PHRASES = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 429: b"Too Many Requests"}


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the provider would not have taken.

    Attributes:
        path: Path that was asked.
        model: Model that was named.
        what: What is wrong with it.
    """

    path: str
    model: str
    what: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was taken, and what was said to it.

    Attributes:
        path: Path that was asked, without its query.
        headers: Headers, names in lower case.
        raw: Its body.
        body: The same, read; empty for a GET.
        sent: Bytes of the answer's body, as far as they were sent.
    """

    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: Mapping[str, Any]
    sent: bytearray = msgspec.field(default_factory=bytearray)


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    path: str
    headers: dict[str, str]


class _Gone(Exception):  # noqa: N818 - the end of a connection that was wanted
    """Nothing more can be said on this connection."""


class ScriptedUpstream:
    """Answers each request with the scenario of its model's name.

    A plain context manager, which serves from a thread of its own. A model without a scenario is
    one that the provider does not have.

    Args:
        scenarios: Scenarios by the name of the model; Ollama's names may end with `:latest`.

    Attributes:
        url: Address without a path; set once entered.
        violations: Requests that were refused because no provider would take them.
        asked: Requests that were taken, in order.
        left: Set when a client left before its answer had ended.
    """

    def __init__(self, scenarios: Mapping[str, Scenario]) -> None:
        self.scenarios = dict(scenarios)
        self.url = ""
        self.violations: list[Violation] = []
        self.asked: list[Asked] = []
        self.left = threading.Event()
        self._exits = ExitStack()
        self._connections: set[asyncio.StreamWriter] = set()
        self._answers = 0

    def __enter__(self) -> Self:
        portal = self._exits.enter_context(anyio.from_thread.start_blocking_portal())
        portal.call(self._start)
        self._exits.callback(portal.call, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def forget(self) -> None:
        """Forget what was asked and violated so far."""
        self.violations.clear()
        self.asked.clear()
        self.left.clear()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while await self._serve(reader, writer):
                pass
        except _Gone:
            pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether another may follow."""
        try:
            head = _read_head(await reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        raw = await _read_body(reader, head.headers)
        answer, delivery, asked = self._answer(head, raw)
        await _Writer(reader, writer, asked.sent).write(answer, delivery)
        return True

    def _answer(self, head: _Head, raw: bytes) -> tuple[Answer, Delivery, Asked]:
        wire = WIRES.get(head.path)
        plain = Delivery()
        if wire is None or head.method != "POST":
            asked = Asked(path=head.path, headers=head.headers, raw=raw, body={})
            self.asked.append(asked)
            return listed(head.path, head.headers, raw, self.scenarios), plain, asked
        try:
            body = wire.check(head.path, head.headers, raw)
        except Refused as refused:
            asked = Asked(path=head.path, headers=head.headers, raw=raw, body={})
            wrong = Violation(path=head.path, model=_model_in(raw), what=refused.what)
            self.violations.append(wrong)
            return wire.fault(Fault(kind="invalid"), said=refused.what), plain, asked
        asked = Asked(path=head.path, headers=head.headers, raw=raw, body=body)
        self.asked.append(asked)
        scenario = self.scenarios.get(str(body["model"]).removesuffix(":latest"))
        if scenario is None:
            return wire.fault(Fault(kind="model"), said=_absent(body["model"])), plain, asked
        if scenario.then is not None and wire.has_results(body):
            scenario = scenario.then
        self._answers += 1
        if scenario.fault is not None and not scenario.fault.in_stream:
            return wire.fault(scenario.fault), plain, asked
        answer = wire.answer(head.path, scenario, body, number=self._answers)
        return answer, scenario.delivery, asked


def _absent(model: object) -> str:
    return f"The model `{model}` does not exist or you do not have access to it."


def _model_in(raw: bytes) -> str:
    try:
        return str(msgspec.json.decode(raw)["model"])
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError):
        return ""


def _read_head(data: bytes) -> _Head:
    first, *lines = data.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = [line.split(":", 1) for line in lines if line]
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    return _Head(method=method, path=path.partition("?")[0], headers=headers)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    pieces: list[bytes] = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readline()
    return b"".join(pieces)


class _Writer:
    """Gives one answer as its delivery says."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytearray
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = sent
        self._is_chunked = False

    async def write(self, answer: Answer, delivery: Delivery) -> None:
        self._is_chunked = answer.kind != "application/json"
        self._writer.write(self._head(answer))
        events = answer.events
        if delivery.cut_after is None:
            for event in events:
                await self._event(event, delivery.piece_bytes)
            await self._end()
            return
        count = min(delivery.cut_after, len(events) - 1)
        for event in events[:count]:
            await self._event(event, delivery.piece_bytes)
        rest = events[count]
        if delivery.garbage is not None:
            await self._event(delivery.garbage.encode(), delivery.piece_bytes)
        else:
            await self._event(rest[: len(rest) // 2], delivery.piece_bytes)
        await self._break(delivery)

    def _head(self, answer: Answer) -> bytes:
        headers = {"Content-Type": answer.kind, **answer.headers}
        if self._is_chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(sum(map(len, answer.events)))
        phrase = _PHRASES.get(answer.status, b"Status")
        lines = [b"HTTP/1.1 %d %s" % (answer.status, phrase)]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    async def _event(self, event: bytes, piece_bytes: int | None) -> None:
        size = piece_bytes or max(len(event), 1)
        for start in range(0, len(event), size):
            piece = event[start : start + size]
            self._sent += piece
            framed = b"%x\r\n%s\r\n" % (len(piece), piece) if self._is_chunked else piece
            self._writer.write(framed)
            await self._writer.drain()
            await asyncio.sleep(0)  # the next piece is a write of its own

    async def _end(self) -> None:
        if self._is_chunked:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def _break(self, delivery: Delivery) -> None:
        if delivery.ending == "hold":
            await self._reader.read(1)
            raise ConnectionResetError
        if delivery.ending == "end" and self._is_chunked:
            await self._end()
            return
        await self._writer.drain()
        if delivery.ending == "reset":
            connection = self._writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._writer.transport.abort()
        raise _Gone
