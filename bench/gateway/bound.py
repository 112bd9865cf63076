"""The least that a proxy of this make costs: uvicorn and aiohttp, and nothing of Aiex.

    python bench/gateway/bound.py PORT UPSTREAM_URL

A raw ASGI callable that passes bodies on and bytes back, without looking at either.
"""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import uvicorn
import yarl


class Bound:
    """The callable."""

    def __init__(self, upstream: str) -> None:
        self._url = yarl.URL(upstream)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        async with self._session.post(
            self._url, data=body, headers={"content-type": "application/json"}
        ) as response:
            kind = response.headers["content-type"].encode()
            await send(
                {
                    "type": "http.response.start",
                    "status": response.status,
                    "headers": [(b"content-type", kind)],
                }
            )
            while data := await response.content.readany():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        Bound(sys.argv[2]),
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
