"""What our stand-ins for local servers share: how they start, and how their streams end."""

from __future__ import annotations

import abc
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import anyio
import anyio.from_thread
from aiohttp import web

__all__ = ["LoopbackServer"]


class LoopbackServer(abc.ABC):
    """An HTTP server on a free port of loopback.

    As an asynchronous context manager it runs in the loop that enters it; as a plain one, for
    clients that block and for tests of whole processes, in a thread of its own.

    Attributes:
        url: Address without a path; set once entered.
        left: Set when a client leaves a stream before its end.
    """

    def __init__(self) -> None:
        self._exits = ExitStack()
        self.url = ""
        self.left = threading.Event()

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

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    @property
    def host(self) -> str:
        """Address and port, without the scheme."""
        return self.url.partition("://")[2]

    @abc.abstractmethod
    def _routes(self) -> Iterable[web.RouteDef]:
        """Return what is served."""

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_routes(self._routes())
        self._closing = anyio.Event()
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        self._closing.set()
        await self._runner.cleanup()

    async def _stream(
        self, request: web.Request, kind: str, pieces: Iterable[bytes], *, holds: bool
    ) -> web.StreamResponse:
        """Send *pieces*; one that *holds* stops after the first until somebody leaves."""
        response = web.StreamResponse(headers={"Content-Type": kind})
        try:
            await response.prepare(request)
            for piece in pieces:
                await response.write(piece)
                if holds:
                    await self._closing.wait()
                    break
        except (ConnectionError, anyio.get_cancelled_exc_class()):
            self.left.set()
            raise
        return response
