"""Recorded exchanges with providers, and a server on loopback that answers with their bytes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import msgspec
from aiohttp import web

__all__ = ["Answer", "Exchange", "Received", "ReplayServer", "load_exchange", "load_exchanges"]

_MAX_BODY_BYTES = 64 * 1024 * 1024


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says to one request.

    Attributes:
        body: Bytes of the body.
        status: HTTP status.
        headers: Headers, among them the content type.
        cut_at: Send no more of the body than this many bytes; `None` for all of it.
        ending: What comes after the last byte: a clean end, a connection that is reset, or
            nothing until the client leaves.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    cut_at: int | None = None
    ending: Literal["end", "reset", "hold"] = "end"


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the server was sent.

    Attributes:
        method: HTTP method.
        path: Path and query.
        headers: Headers, names in lower case.
        body: Bytes of the body.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    path: str
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: msgspec.Raw = msgspec.Raw()


class _Response(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: msgspec.Raw = msgspec.Raw()
    stream_text: str | None = None


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded request and its answer.

    Attributes:
        id: Name of the recording.
        provider: Who answered.
        api: Path that was asked.
        request: What was sent.
        response: What came back.
    """

    id: str
    provider: str
    api: str
    request: _Request
    response: _Response

    @property
    def is_stream(self) -> bool:
        """Whether the answer was streamed."""
        return self.response.stream_text is not None

    def events(self) -> list[Any]:
        """Return the JSON of each event or line of a stream, read in the plainest way."""
        lines = (self.response.stream_text or "").split("\n")
        texts = [line.removeprefix("data:").strip() for line in lines]
        return [msgspec.json.decode(text) for text in texts if text.startswith("{")]

    def answer(
        self, *, cut_at: int | None = None, ending: Literal["end", "reset", "hold"] = "end"
    ) -> Answer:
        """Return what a server must say to be the recorded one."""
        text = self.response.stream_text
        body = bytes(self.response.body) if text is None else text.encode()
        default = "application/json" if text is None else "text/event-stream"
        kind = self.response.headers.get("content-type", default)
        headers = {**self.response.headers, "content-type": kind}
        headers.pop("content-length", None)
        status = self.response.status
        return Answer(body=body, status=status, headers=headers, cut_at=cut_at, ending=ending)


def load_exchange(path: Path) -> Exchange:
    """Return the recording in the file *path*."""
    return msgspec.json.decode(path.read_bytes(), type=Exchange)


def load_exchanges(folder: Path) -> tuple[Exchange, ...]:
    """Return the recordings in *folder*, by name; none where there is no such folder."""
    return tuple(load_exchange(path) for path in sorted(folder.glob("*-*.json")))


class ReplayServer:
    """Serves answers in order, whatever is asked, cut into pieces of random size.

    The last answer is repeated. An asynchronous context manager.

    Args:
        answers: What to say.
        seed: Seed of the sizes of the pieces.
        max_piece_bytes: Size of the largest piece.

    Attributes:
        url: Address without a path; set once entered.
        received: Requests, in order.
        arrived: Set at the first request.
        left: Set when a client leaves before its answer has ended.
    """

    def __init__(
        self, answers: Iterable[Answer], *, seed: int = 0, max_piece_bytes: int = 2048
    ) -> None:
        self._answers = deque(answers)
        self._random = random.Random(seed)  # noqa: S311
        self._max_piece_bytes = max_piece_bytes
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.received: list[Received] = []
        self.arrived = anyio.Event()
        self.left = anyio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(
            method=request.method,
            path=request.path_qs,
            headers=headers,
            body=await request.read(),
        )
        self.received.append(received)
        self.arrived.set()
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        is_whole = False
        try:
            await response.prepare(request)
            for piece in self._pieces(answer.body[: answer.cut_at]):
                await response.write(piece)
            if answer.ending == "hold":
                await anyio.sleep_forever()
            is_whole = True
        finally:
            if not is_whole:
                self.left.set()
        if answer.ending == "reset" and request.transport is not None:
            request.transport.abort()
        return response

    def _pieces(self, body: bytes) -> Iterable[bytes]:
        start = 0
        while start < len(body):
            size = self._random.randint(1, self._max_piece_bytes)
            yield body[start : start + size]
            start += size
