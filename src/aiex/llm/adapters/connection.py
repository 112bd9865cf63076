"""One connection to an HTTP/1.1 server: requests go out, answers come back piece by piece.

Lean on purpose, since every call of a model goes through it: the parser is C, an answer that comes
in one packet wakes its reader once, and no timer is set here. What it does not know it does not
need: no proxies, no redirects, no cookies, no upgrades, no pipelining.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

__all__ = ["Connection"]

_MOST_FRAMING_BYTES = 64 * 1024
_MOST_UNREAD_BYTES = 256 * 1024
_SENT_APART_BYTES = 64 * 1024


class Connection(asyncio.Protocol):
    """Takes one request after another; made by a `Pool`.

    Args:
        lost: Told when the connection is gone.

    Attributes:
        asked: Requests that it took.
        status: Status of the latest answer; 0 until its head has come.
        headers: The answer's headers, names in lower case; of two of a name the last.
        is_complete: Whether the whole of the answer has come, read or not.
        has_spoken: Whether any byte of the answer has come.
    """

    __slots__ = (
        *("_broken", "_framing", "_is_paused", "_keeps", "_loop", "_lost", "_parser", "_pieces"),
        *("_transport", "_unread", "_waiter", "asked", "has_spoken", "headers", "is_complete"),
        "status",
    )

    def __init__(self, lost: Callable[[Connection], None]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._unread = 0
        self._framing = 0
        self._keeps = True
        self._is_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._broken: str | None = None
        self.asked = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.is_complete = True
        self.has_spoken = False

    @property
    def is_lost(self) -> bool:
        """Whether nothing more can be sent or come."""
        return self._broken is not None or self._transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """Whether it can take another request: the answer has ended, and so has the request."""
        return (
            self.is_complete
            and self._keeps
            and not self._is_paused
            and not self.is_lost
            and not self._transport.get_write_buffer_size()
        )

    def ask(self, head: bytes, body: bytes) -> None:
        """Send a request, and forget what there was of the answer before.

        Args:
            head: Its first line and its headers, with the empty line.
            body: Its body.
        """
        self.asked += 1
        self.status = 0
        self.headers = {}
        self.is_complete = self.has_spoken = False
        self._pieces.clear()
        self._unread = self._framing = 0
        if len(body) > _SENT_APART_BYTES:
            self._transport.write(head)
            self._transport.write(body)
        else:
            self._transport.write(head + body)

    async def answered(self) -> None:
        """Wait for the head of the answer.

        Raises:
            ConnectionError: The connection broke before, or what came is no HTTP.
        """
        while not self.status:
            await self._more()

    def taken(self) -> bytes:
        """Return what has come of the body since it was last read; `b""` for nothing."""
        pieces = self._pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        if self._is_paused:
            self._is_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    async def read(self) -> bytes:
        """Return what `taken` does, waiting for it; `b""` at the end of the body.

        Raises:
            ConnectionError: The connection broke before the end; what had come was returned.
        """
        while not self._pieces and not self.is_complete:
            await self._more()
        return self.taken()

    def abort(self) -> None:
        """Drop the connection now, whatever is under way on it."""
        # A TLS connection that is closed would wait for the other side's goodbye.
        self._transport.abort()

    async def _more(self) -> None:
        if self._broken is not None:
            raise ConnectionError(self._broken)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self, reason: str) -> None:
        if self._broken is None:
            self._broken = reason
        self._transport.abort()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take *transport* for what follows."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse *data*, and wake who waits for it."""
        self.has_spoken = True
        self._framing += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(f"what came is no HTTP: {error}")
        if self._framing > _MOST_FRAMING_BYTES:
            self._break(f"more than {_MOST_FRAMING_BYTES} bytes came that are no body")
        elif (
            self._unread > _MOST_UNREAD_BYTES
            and not self._is_paused
            and not self._transport.is_closing()
        ):
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """End the answer, where nothing but the end of the connection does."""
        if self.status and not self.is_complete and not self._is_framed():
            self.is_complete = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake who waits, in vain."""
        if self._broken is None:
            self._broken = str(exc) if exc is not None else "it was closed"
        self._wake()
        self._lost(self)

    def _is_framed(self) -> bool:
        coding = self.headers.get(b"transfer-encoding", b"")
        return b"content-length" in self.headers or coding.lower().endswith(b"chunked")

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Refuse what nobody asked for."""
        if self.is_complete:
            self._break("an answer came that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what stands behind the body is of no interest."""
        if not self.status:
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Note that the head has come, if it is more than a promise of one (1xx)."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self._keeps = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        self._framing = 0
        if not self.is_complete:
            self._pieces.append(data)
            self._unread += len(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer, or of a promise of one."""
        if self.status:
            self.is_complete = True
        else:
            self.headers = {}
