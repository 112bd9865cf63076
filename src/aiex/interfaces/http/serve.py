"""A server from its settings: what may be listened at, who is let in, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from socket import AF_UNIX, gethostname, socket

import anyio
import msgspec

from aiex.core import ConfigurationError
from aiex.gateway import Gateway
from aiex.interfaces.http.bounds import Bounds
from aiex.interfaces.http.connection import Connections
from aiex.interfaces.http.door import Authenticate, Door
from aiex.interfaces.http.hosts import Hosts
from aiex.interfaces.http.server import Changed, serve
from aiex.interfaces.http.siblings import Siblings
from aiex.interfaces.http.sockets import is_loopback, listen_at, listen_on_path

__all__ = ["CAPABILITIES", "Serving", "address_of", "check", "open_socket", "run_server"]

CAPABILITIES = ("stream", "openai_chat", "openai_responses", "anthropic_messages", "native")
"""What the interface can do, as it is registered."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What a server shall be.

    Attributes:
        host: Address to listen at.
        port: Its port; 0 for any free one.
        socket: Path of a Unix socket to listen at instead; `None` for none.
        hosts: Further names that clients may know it by.
        tls_cert: File of the certificate and its chain; `None` for no TLS.
        tls_key: File of its key.
        plain_behind_tls_proxy: Whether a proxy in front has the TLS.
        drain_seconds: Seconds that running requests have to end in at a stop.
        bounds: How much it takes.
    """

    host: str = "127.0.0.1"
    port: int = 2439
    socket: Path | None = None
    hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    plain_behind_tls_proxy: bool = False
    drain_seconds: float = 30.0
    bounds: Bounds = Bounds()


def check(serving: Serving) -> None:
    """Refuse what would show keys and prompts to others.

    Raises:
        ConfigurationError: The address is reached from other machines, and nothing encrypts.
    """
    if (serving.tls_cert is None) != (serving.tls_key is None):
        raise ConfigurationError(
            "server.tls_cert and server.tls_key go together", hint="set both, or neither"
        )
    if serving.socket is not None or is_loopback(serving.host):
        return
    if serving.tls_cert is None and not serving.plain_behind_tls_proxy:
        raise ConfigurationError(
            f"{serving.host} is reached from other machines, and nothing encrypts",
            hint="set server.tls_cert and server.tls_key, or server.plain_behind_tls_proxy to "
            "true where a proxy in front does",
        )


def open_socket(serving: Serving) -> socket:
    """Return the bound socket of a server.

    Raises:
        ConfigurationError: It cannot listen there.
    """
    if serving.socket is not None:
        return listen_on_path(serving.socket)
    return listen_at(serving.host, serving.port)


def address_of(serving: Serving, bound: socket) -> str:
    """Return what clients are told."""
    if bound.family == AF_UNIX:
        return f"unix:{serving.socket}"
    scheme = "http" if serving.tls_cert is None else "https"
    host = f"[{serving.host.strip('[]')}]" if ":" in serving.host else serving.host
    return f"{scheme}://{host}:{bound.getsockname()[1]}"


def _tls(serving: Serving) -> ssl.SSLContext | None:
    if serving.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(serving.tls_cert, serving.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificate cannot be used: {error}") from error
    return context


def _hosts(serving: Serving) -> Hosts:
    is_local = serving.socket is not None or is_loopback(serving.host)
    names = [serving.host, *serving.hosts]
    return Hosts(names if is_local else [*names, gethostname()], loopback=is_local)


async def run_server(
    gateway: Gateway,
    serving: Serving,
    bound: socket,
    *,
    authenticate: Authenticate,
    changed: Changed,
    siblings: Siblings | None = None,
) -> None:
    """Serve until a signal asks for an end, and all that runs has ended.

    SIGTERM and SIGINT let what runs end by itself; a second one ends it at once.

    Args:
        gateway: What requests are submitted to; entered.
        serving: What the server shall be; checked.
        bound: Its socket, which is closed at the end.
        authenticate: Says who asks.
        changed: Called with what the server does from then on.
        siblings: The workers that serve beside this one; `None` if it is alone.
    """
    tls = await anyio.to_thread.run_sync(_tls, serving)
    connections = Connections(serving.bounds)
    door = Door(
        gateway,
        authenticate=authenticate,
        hosts=_hosts(serving),
        bounds=serving.bounds,
        connections=connections,
        now=lambda: datetime.now(UTC),
        siblings=siblings,
    )
    stop = asyncio.Event()
    async with AsyncExitStack() as opened, anyio.create_task_group() as tasks:
        if siblings is not None:
            await opened.enter_async_context(siblings.answering(door.metrics_text))
        tasks.start_soon(_stop_on_signal, stop, connections)
        await serve(
            door,
            [bound],
            connections=connections,
            stop=stop,
            changed=changed,
            drain_seconds=serving.drain_seconds,
            tls=tls,
            wall=time.time,
        )
        tasks.cancel_scope.cancel()


async def _stop_on_signal(stop: asyncio.Event, connections: Connections) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                connections.cancel()
            stop.set()
