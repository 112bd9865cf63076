"""The listener: accepts connections, keeps their time, and stops without cutting answers short."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from email.utils import formatdate
from functools import partial
from socket import socket
from typing import Any, Literal

import anyio
from uvicorn.config import Config
from uvicorn.server import ServerState

from aiex.interfaces.http.connection import Connection, Connections
from aiex.interfaces.http.door import Door

__all__ = ["Changed", "serve"]

Changed = Callable[[Literal["started", "draining", "stopped"]], None]
"""Told what a server does from then on."""

_TICK = 0.5
_BACKLOG = 2048
_HANDSHAKE_SECONDS = 10.0
_LAST_WORDS_SECONDS = 2.0


async def serve(
    door: Door,
    sockets: Sequence[socket],
    *,
    connections: Connections,
    stop: asyncio.Event,
    changed: Changed,
    drain_seconds: float,
    tls: ssl.SSLContext | None = None,
    wall: Callable[[], float],
) -> None:
    """Answer what comes in at *sockets* until *stop* is set and what runs then has ended.

    Args:
        door: The application.
        sockets: Bound sockets; they are closed at the end.
        connections: What the connections share.
        stop: Set when no new requests shall be taken.
        changed: Called with what the server does from then on.
        drain_seconds: Seconds that running requests have to end in, from then on.
        tls: What to encrypt with; `None` for nothing.
        wall: Returns the wall time in seconds.
    """
    loop = asyncio.get_running_loop()
    state = ServerState()
    make = partial(Connection, _config(door), state, {}, loop, shared=connections)
    more: dict[str, Any] = {} if tls is None else {"ssl_handshake_timeout": _HANDSHAKE_SECONDS}
    servers = [
        await loop.create_server(make, sock=one, ssl=tls, backlog=_BACKLOG, **more)
        for one in sockets
    ]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_tick, connections, state, wall)
        try:
            changed("started")
            await stop.wait()
            changed("draining")
            door.is_draining = True
            connections.close_idle()
            await connections.wait_until_answered(drain_seconds)
            connections.cancel()
            await connections.wait_until_answered(_LAST_WORDS_SECONDS)
        finally:
            for server in servers:
                server.close()
            with anyio.CancelScope(shield=True):
                await _end(connections, state)
            tasks.cancel_scope.cancel()
    changed("stopped")


async def _end(connections: Connections, state: ServerState) -> None:
    """Close what is still open; what worked for it is waited for."""
    for connection in list(connections.open):
        connection.transport.abort()
    for task in list(state.tasks):
        task.cancel()
    if state.tasks:
        await asyncio.wait(list(state.tasks))


def _config(door: Door) -> Config:
    """Return what uvicorn's protocol needs to know; what it says of requests is not kept."""
    config = Config(
        app=door,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    return config


async def _tick(connections: Connections, state: ServerState, wall: Callable[[], float]) -> None:
    """Keep the header Date, and the time of connections."""
    loop = asyncio.get_running_loop()
    while True:
        state.default_headers = [(b"date", formatdate(wall(), usegmt=True).encode())]
        connections.sweep(loop.time())
        await anyio.sleep(_TICK)
