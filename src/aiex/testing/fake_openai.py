"""A server on loopback that speaks OpenAI's chat wire and says what a test tells it to."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.from_thread
import msgspec
from aiohttp import web

__all__ = ["FakeOpenAI", "Scripted"]


class Scripted(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.

    Attributes:
        text: The reply, streamed word by word.
        status: HTTP status; anything but 200 answers with *error* instead.
        error: Body of an error, as OpenAI writes it: `type`, `code` and `message`; with status
            200 it comes in the stream, after the text.
        headers: Further headers.
        finish: Finish reason; `None` to cut the stream before it.
        holds: Stop after the first word until the client leaves or the server is closed.
    """

    text: str = ""
    status: int = 200
    error: dict[str, str] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    finish: str | None = "stop"
    holds: bool = False


class FakeOpenAI:
    """Serves `/v1/chat/completions` and `/v1/models` in a thread of its own.

    A plain context manager, so that tests of whole processes need no event loop. Answers are
    taken in order; the last one is repeated.

    Attributes:
        url: Base address, with `/v1`; set once entered.
        bodies: JSON bodies received, in order.
        left: Times (monotonic seconds) at which a client left a stream before its end.
    """

    def __init__(self, answers: Iterable[Scripted], *, models: Iterable[str] = ("fake-1",)) -> None:
        self._answers = deque(answers)
        self._models = tuple(models)
        self._exits = ExitStack()
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.left: list[float] = []

    def __enter__(self) -> Self:
        portal = self._exits.enter_context(anyio.from_thread.start_blocking_portal())
        self._closing = portal.call(anyio.Event)
        runner = portal.call(self._start)
        self._exits.callback(portal.call, runner.cleanup)
        self._exits.callback(portal.call, self._closing.set)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/v1/models", self._list)
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return runner

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self._models]}
        )

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if answer.status != 200:
            return web.json_response(
                {"error": answer.error}, status=answer.status, headers=answer.headers
            )
        if not body.get("stream"):
            return web.json_response(_whole(body["model"], answer))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", **answer.headers}
        )
        await response.prepare(request)
        try:
            await self._stream(response, body["model"], answer)
        except (ConnectionError, anyio.get_cancelled_exc_class()):
            self.left.append(time.monotonic())
            raise
        return response

    async def _stream(self, response: web.StreamResponse, model: str, answer: Scripted) -> None:
        words = answer.text.split(" ")
        for number, word in enumerate(words):
            text = word if number == len(words) - 1 else f"{word} "
            await response.write(_chunk(model, {"content": text}, None))
            if answer.holds:
                await self._closing.wait()
                return
        if answer.error:
            await response.write(b"data: " + json.dumps({"error": answer.error}).encode() + b"\n\n")
            return
        if answer.finish is None:
            return
        await response.write(_chunk(model, {}, answer.finish))
        usage = {"id": "fake", "model": model, "choices": [], "usage": _usage(answer)}
        await response.write(b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n")


def _usage(answer: Scripted) -> dict[str, int]:
    words = len(answer.text.split())
    return {"prompt_tokens": 11, "completion_tokens": words, "total_tokens": 11 + words}


def _chunk(model: str, delta: dict[str, str], finish: str | None) -> bytes:
    chunk = {
        "id": "fake",
        "object": "chat.completion.chunk",
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _whole(model: str, answer: Scripted) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text}
    return {
        "id": "fake",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
        "usage": _usage(answer),
    }
