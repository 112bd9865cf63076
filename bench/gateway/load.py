"""Clients that cost next to nothing: keep-alive connections over httptools.

    python bench/gateway/load.py JSON

The JSON says: host, port, path, key, model, stream, connections, requests. What came is printed as
JSON: seconds in all, the latency of each request, and for streams the delay of each chunk against
the time that the provider wrote into it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

import httptools

_TIME = re.compile(rb"t=(\d+) ")


class Client(asyncio.Protocol):
    """One connection, one request after another."""

    def __init__(self, ask: bytes, report: Report) -> None:
        self._ask = ask
        self._report = report
        self._parser = httptools.HttpResponseParser(self)
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _next(self) -> None:
        if self._report.left <= 0:
            self._transport.close()
            return
        self._report.left -= 1
        self._begun = time.monotonic_ns()
        self._transport.write(self._ask)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._report.errors.append(repr(error))
            self._transport.close()

    def on_message_begin(self) -> None:
        self._body: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        self._report.chunks += body.count(b'"delta"')
        self._report.delays.extend(self._now - int(at) for at in _TIME.findall(body))
        if len(self._body) < 4:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._report.errors.append(b"".join(self._body).decode("utf-8", "replace")[:300])
        self._report.latencies.append(self._now - self._begun)
        self._next()


class Report:
    """What came."""

    def __init__(self, requests: int) -> None:
        self.left = requests
        self.chunks = 0
        self.latencies: list[int] = []
        self.delays: list[int] = []
        self.errors: list[str] = []


def request(asked: dict[str, Any]) -> bytes:
    body = json.dumps(
        {
            "model": asked["model"],
            "stream": asked["stream"],
            "max_tokens": 64,
            "messages": [
                {"role": "system", "content": "You answer briefly."},
                {"role": "user", "content": "What would a model say here? " * 4},
            ],
        }
    ).encode()
    head = (
        f"POST {asked['path']} HTTP/1.1\r\nhost: {asked['host']}:{asked['port']}\r\n"
        f"authorization: Bearer {asked['key']}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(asked: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    report = Report(asked["requests"])
    ask = request(asked)
    begun = time.monotonic()
    clients: list[Client] = []
    for number in range(asked["connections"]):
        _, client = await loop.create_connection(
            lambda: Client(ask, report), asked["host"], asked["port"]
        )
        clients.append(client)
        if asked["stream"] and number % 20 == 19:
            await asyncio.sleep(0.01)
    for client in clients:
        await client.closed
    return {
        "seconds": time.monotonic() - begun,
        "requests": len(report.latencies),
        "chunks": report.chunks,
        "latencies": report.latencies,
        "delays": report.delays,
        "errors": report.errors[:5],
        "failed": len(report.errors),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
