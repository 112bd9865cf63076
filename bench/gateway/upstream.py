"""A provider that costs next to nothing: chat completions over httptools, made for measuring.

    python bench/gateway/upstream.py PORT

What it answers is told by the model's name: `plain` at once; `paced-40-80` 40 chunks a second, 80
chunks; `burst-2000` 2,000 chunks as fast as they are taken. Each chunk carries the time at which
it was written (monotonic nanoseconds, the same clock for all processes of a machine).
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

import httptools

_MODEL = re.compile(rb'"model"\s*:\s*"(?:[a-z]+:)?(?:gpt-5.4-mini:)?([a-z]+)(?:-(\d+))?(?:-(\d+))?')
_USAGE = b'"usage":{"prompt_tokens":20,"completion_tokens":12,"total_tokens":32}'
_PLAIN = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Twelve words that stand for what a model could have '
    b'said here."},"finish_reason":"stop"}],' + _USAGE + b"}"
)
_HEAD = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'


def chunk(content: str) -> bytes:
    """Return one event of a stream."""
    return (
        _HEAD
        + b'"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
        % content.encode()
    )


_FIRST = (
    _HEAD + b'"choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"finish_reason":null}]}\n\n'
)
_LAST = (
    _HEAD
    + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    + _HEAD
    + b'"choices":[],'
    + _USAGE
    + b"}\n\ndata: [DONE]\n\n"
)


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Provider(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""
        self._task: asyncio.Task[None] | None = None
        self._resume = asyncio.Event()
        self._resume.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._resume.clear()

    def resume_writing(self) -> None:
        self._resume.set()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        found = _MODEL.search(self._body)
        kind, first, second = found.groups() if found else (b"plain", None, None)
        if kind == b"paced":
            self._task = asyncio.ensure_future(self._paced(int(first or 40), int(second or 80)))
        elif kind == b"burst":
            self._task = asyncio.ensure_future(self._burst(int(first or 2000)))
        else:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (len(_PLAIN), _PLAIN)
            )

    def _begin(self) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n" + _piece(_FIRST)
        )

    def _end(self) -> None:
        self._transport.write(_piece(_LAST) + b"0\r\n\r\n")

    async def _paced(self, rate: int, count: int) -> None:
        self._begin()
        begun = asyncio.get_running_loop().time()
        for number in range(count):
            due = begun + number / rate
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            self._transport.write(_piece(chunk(f"t={time.monotonic_ns()} ")))
        self._end()

    async def _burst(self, count: int) -> None:
        self._begin()
        for _ in range(count // 20):
            await self._resume.wait()
            self._transport.write(
                b"".join(_piece(chunk(f"t={time.monotonic_ns()} ")) for _ in range(20))
            )
        self._end()


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
