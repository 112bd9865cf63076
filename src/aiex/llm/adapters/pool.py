"""The connections to one server: opened when they are needed, kept for a while to be used again."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable

import aiohappyeyeballs
import anyio

from aiex.llm.adapters.connection import Connection

__all__ = ["Pool"]

_ADDRESS_SECONDS = 60.0
_NEXT_ADDRESS_SECONDS = 0.25
_CLOSING_SECONDS = 1.0

_Addresses = list[
    tuple[
        int | socket.AddressFamily,
        int | socket.SocketKind,
        int,
        str,
        tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
    ]
]


@functools.cache
def _usual_trust() -> ssl.SSLContext:
    """Return what trusts whom the system trusts; made once, since that takes long."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Pool:
    """The connections to one server, in the event loop that it is made in.

    How many are open at once is for the limits to say; how many wait to be used again has a bound.

    Args:
        host: Name or address of the server.
        port: Its port.
        is_tls: Whether to speak TLS with it.
        trust: Says which certificates are trusted; may block.
        most_idle: Most connections that wait to be used again.
        idle_seconds: How long they wait.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        is_tls: bool,
        trust: Callable[[], ssl.SSLContext] = _usual_trust,
        most_idle: int = 256,
        idle_seconds: float = 15.0,
    ) -> None:
        self._host = host
        self._port = port
        self._is_tls = is_tls
        self._trust = trust
        self._most_idle = most_idle
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = None
        self._addresses: _Addresses = []
        self._looked_up = 0.0
        self._looking_up = asyncio.Lock()
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    def idle(self) -> Connection | None:
        """Return the connection that was used last of those that wait; `None` if none does."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if not connection.is_lost:
                return connection
        return None

    async def connect(self) -> Connection:
        """Return a new connection.

        Raises:
            OSError: There is none to be had; `ssl.SSLError` where TLS is the reason.
        """
        async with self._looking_up:
            await self._look_up()
        link = await aiohappyeyeballs.start_connection(
            self._addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1
        )
        try:
            # Nothing may come for minutes while a model thinks.
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._forget),
                sock=link,
                ssl=self._tls,
                server_hostname=self._host.rstrip(".") if self._is_tls else None,
            )
        except BaseException:
            link.close()
            raise
        if not connection.is_lost:
            self._open.add(connection)
        return connection

    def give_back(self, connection: Connection, *, keeps: bool) -> None:
        """Take *connection* back; drop it if something is still under way on it, or not *keeps*."""
        if not keeps or not connection.is_reusable:
            connection.abort()
            return
        if len(self._idle) >= self._most_idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.abort()
        self._idle[connection] = self._loop.time()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._idle_seconds, self._sweep)

    async def aclose(self) -> None:
        """Drop all connections, those in use too."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in self._open:
            connection.abort()
        self._idle.clear()
        with anyio.move_on_after(_CLOSING_SECONDS):
            while self._open:
                self._emptied.clear()
                await self._emptied.wait()

    async def _look_up(self) -> None:
        """Find out where the server is and whom to trust, unless that is known."""
        if self._is_tls and self._tls is None:
            self._tls = await anyio.to_thread.run_sync(self._trust)
        if not self._addresses or self._loop.time() - self._looked_up > _ADDRESS_SECONDS:
            self._addresses = list(
                await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            )
            self._looked_up = self._loop.time()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if not self._open:
            self._emptied.set()

    def _sweep(self) -> None:
        """Drop what nobody has used for long."""
        self._sweeping = None
        for connection, since in list(self._idle.items()):
            if since + self._idle_seconds > self._loop.time():
                self._sweeping = self._loop.call_at(since + self._idle_seconds, self._sweep)
                return
            del self._idle[connection]
            connection.abort()
