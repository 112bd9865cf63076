"""One connection: uvicorn's HTTP/1.1 protocol with bounds, and with word of a client that leaves.

uvicorn bounds neither the head of a request nor its time, and takes what RFC 9112 lets a server
refuse: transfer codings on HTTP/1.0 (section 6.1), requests without or with two Hosts (section
3.2). Read in uvicorn 0.54 on 2026-11-25; only names without an underscore are overridden.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from aiex.interfaces.http.bounds import Bounds

__all__ = ["Connection", "Connections"]

_log = logging.getLogger(__name__)

_NEVER = math.inf
_OFFER = frozenset({b"connection", b"http2-settings", b"upgrade"})


class _Refused(Exception):  # noqa: N818 - it is the answer, not a failure
    """The request is answered at once, and nothing more is read."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connections:
    """What the connections of one server share.

    Args:
        bounds: What each may send and hold.

    Attributes:
        open: All of them.
        listening: Those whose answer has no end of its own, such as published events.
        refused: Number of connections that were too many.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.open: set[Connection] = set()
        self.listening: set[Connection] = set()
        self.refused = 0
        self._answered = asyncio.Event()

    def one_answered(self) -> None:
        """Note that a request was answered to the end, or that nobody waits for it any more."""
        self._answered.set()

    def answering(self) -> list[Connection]:
        """Return the connections whose request is not answered to the end."""
        return [one for one in self.open if one.is_answering]

    def close_idle(self) -> None:
        """Close the connections that wait for a request, and those whose answer has no end."""
        for connection in list(self.listening):
            connection.end()
        for connection in list(self.open):
            if not connection.is_answering:
                connection.transport.close()

    async def wait_until_answered(self, seconds: float) -> None:
        """Return once every request was answered, or after *seconds*."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.answering():
                    self._answered.clear()
                    await self._answered.wait()

    def cancel(self) -> None:
        """Let what still answers end, with word of it."""
        for connection in self.answering():
            connection.end()

    def sweep(self, now: float) -> None:
        """End what has taken too long at *now*, in seconds of the loop's clock."""
        for connection in [one for one in self.open if one.ends_at <= now]:
            connection.expire(now)


class Connection(HttpToolsProtocol):
    """One connection of a client.

    Attributes:
        ends_at: Time of the loop's clock at which it has taken too long.
        running: Task to be cancelled when the client leaves; `None` if none shall be.
        has_left: Whether the client has left.
        sent: The bytes of a stream that were sent last.
        is_ending: Whether the server stops, and what runs shall say so and end.
    """

    def __init__(self, *args: Any, shared: Connections, **more: Any) -> None:
        super().__init__(*args, **more)
        self._shared = shared
        self._bounds = shared.bounds
        self.ends_at = _NEVER
        self.running: asyncio.Task[Any] | None = None
        self.has_left = False
        self.is_ending = False
        self.sent = b""
        self._closes = False
        self._is_deaf = False  # what it sends is thrown away: it was answered for good
        self._in_head = False
        self._head_bytes = 0
        self._hosts = 0
        self._is_coded = False
        self._wants_websocket = False
        self._again = b""  # head of a request that offered another protocol

    # ------------------------------------------------------------ the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.ends_at = self.loop.time() + self._bounds.header_seconds
        if len(self._shared.open) >= self._bounds.connections:
            self._shared.refused += 1
            self._answer_alone(503, "too many connections are open", [b"retry-after: 1\r\n"])
        self._shared.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what still works for a client that is gone."""
        self._shared.open.discard(self)
        self._leave()
        self._shared.one_answered()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Treat a client that sends no more as one that left: it is closed in both ways."""
        self._leave()
        super().eof_received()

    def _leave(self) -> None:
        self.has_left = True
        unanswered = self._unanswered()
        if unanswered is not None:  # or its end without an answer would be logged as a fault
            unanswered.disconnected = True
            unanswered.message_event.set()
        running, self.running = self.running, None
        if running is not None:
            running.cancel()

    @property
    def is_answering(self) -> bool:
        """Whether a request was begun and is not answered to the end."""
        return self._in_head or self._unanswered() is not None

    def _unanswered(self) -> RequestResponseCycle | None:
        """Return the request that is not answered to the end; `None` if there is none."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def end(self) -> None:
        """Let what runs say that the server stops, and end."""
        self.is_ending = True
        running, self.running = self.running, None
        if running is None:
            self.transport.abort()
        else:
            running.cancel()

    def expire(self, now: float) -> None:
        """End the connection, which has taken too long at *now*."""
        if self._in_head and not self._is_deaf:
            self._answer_alone(408, "the head of the request took too long")
        elif self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()
        else:
            self.transport.close()
            self.ends_at = now + self._bounds.linger_seconds

    def pause_writing(self) -> None:
        """Give a client that does not read a while to begin."""
        super().pause_writing()
        self.ends_at = self.loop.time() + self._bounds.unread_seconds

    def resume_writing(self) -> None:
        """Go on with a client that reads."""
        is_idle = self._unanswered() is None
        self.ends_at = self.loop.time() + self._bounds.idle_seconds if is_idle else _NEVER
        super().resume_writing()

    # ------------------------------------------------------------ requests

    def data_received(self, data: bytes) -> None:
        """Feed the parser; refuse what it or we do not take."""
        if self._is_deaf:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            head, self._again = self._again, b""
            self.data_received(head + data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._refuse(error.__context__)
        except httptools.HttpParserError:
            self._answer_alone(400, "this is no valid HTTP/1.1 request")
        else:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > self._bounds.header_bytes:
                    self._answer_alone(431, "the head of the request is too large")

    def _refuse(self, reason: BaseException | None) -> None:
        if isinstance(reason, _Refused):
            if reason.status:
                self._answer_alone(reason.status, str(reason))
        else:
            self._answer_alone(400, "this is no valid HTTP/1.1 request")

    def on_message_begin(self) -> None:
        """Begin a request; a second one before the first was answered is thrown away."""
        unanswered = self._unanswered()
        if unanswered is not None:
            # To queue it would stop reading, and so the news of a client that leaves.
            self._is_deaf = True
            unanswered.keep_alive = False
            raise _Refused(0, "pipelined")
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = self._hosts = 0
        self._is_coded = self._wants_websocket = False
        self.ends_at = self.loop.time() + self._bounds.header_seconds

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        if len(self.url) > self._bounds.header_bytes:
            raise _Refused(414, "the target of the request is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        name = name.lower()
        self.headers.append((name, value))
        self._head_bytes += len(name) + len(value)
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"transfer-encoding":
            self._is_coded = True
        elif name == b"upgrade":
            self._wants_websocket = b"websocket" in value.lower()

    def on_headers_complete(self) -> None:
        """Start the request, if its head is one that we take."""
        self._in_head = False
        self.ends_at = _NEVER
        if self._head_bytes > self._bounds.header_bytes:
            raise _Refused(431, "the head of the request is too large")
        if len(self.headers) > self._bounds.headers:
            raise _Refused(431, f"a request may have {self._bounds.headers} headers")
        if self._hosts != 1:
            raise _Refused(400, "a request needs one Host header, and no second one")
        if self._is_coded and self.parser.get_http_version() == "1.0":
            raise _Refused(400, "HTTP/1.0 has no transfer codings")
        if self._wants_websocket:
            raise _Refused(400, "there is no WebSocket here")
        if not self.url.startswith(b"/"):
            raise _Refused(400, "the target of a request must be a path")
        if self.parser.should_upgrade():
            # The parser takes what follows for the other protocol, and it is the body: the
            # offer of a protocol may be passed over (RFC 9110, section 7.8).
            self._again = self._head_without_offer()
            return
        super().on_headers_complete()
        self.scope["aiex"] = self  # type: ignore[typeddict-unknown-key]

    def _head_without_offer(self) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] not in _OFFER]
        return b"\r\n".join([*lines, b"", b""])

    def on_message_complete(self) -> None:
        """Note that a request's body is complete."""
        if not self._again:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read why there is none."""
        self.server_state.total_requests += 1
        self.running = None
        self._shared.one_answered()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.cycle.more_body or self._closes:
            self._linger()
        elif not self.flow.write_paused:
            self.ends_at = self.loop.time() + self._bounds.idle_seconds

    # ------------------------------------------------------------ answers

    def answer(
        self,
        status: int,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        close: bool = False,
    ) -> None:
        """Answer the request with a body that is whole; nothing happens if the client has left.

        Head and body go out in one write; ASGI's `send` would make two of them.

        Args:
            status: HTTP status.
            body: The body.
            headers: Headers, without the body's length.
            close: Whether to take no more requests on the connection.

        Raises:
            RuntimeError: A header has a line break.
        """
        cycle = self.cycle
        if cycle.disconnected:
            return
        said = [*cycle.default_headers, *headers, (b"content-length", b"%d" % len(body))]
        if close or not cycle.keep_alive:
            said.append((b"connection", b"close"))
        head = b"\r\n".join([b"%b: %b" % header for header in said])
        if head.count(b"\n") != len(said) - 1 or head.count(b"\r") != len(said) - 1:
            raise RuntimeError("a header of the answer has a line break")
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        sent = b"" if self.scope["method"] == "HEAD" else body
        self.transport.write(b"%b%b\r\n\r\n%b" % (STATUS_LINE[status], head, sent))
        cycle.message_event.set()
        if close:
            self._closes = True
        elif not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be read."""
        self._answer_alone(400, msg)

    def _answer_alone(self, status: int, message: str, headers: list[bytes] | None = None) -> None:
        """Answer without the application, and take no more of this client."""
        if self.transport.is_closing() or self._is_deaf:
            return
        unanswered = self._unanswered()
        if unanswered is not None:
            if unanswered.response_started:  # what we write would be read as a part of it
                self.transport.abort()
                return
            self._leave()
        body = _body(status, message)
        head = [
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"connection: close\r\n",
            *(headers or []),
            b"\r\n",
            body,
        ]
        self.transport.write(b"".join(head))
        self._linger()

    def _linger(self) -> None:
        """Let the client read its answer: to close with bytes unread would destroy it on its way.

        See RFC 9112, section 9.6.
        """
        self._is_deaf = True
        self._in_head = False
        self.ends_at = self.loop.time() + self._bounds.linger_seconds
        with suppress(OSError, NotImplementedError):
            if self.transport.can_write_eof():
                self.transport.write_eof()


def _body(status: int, message: str) -> bytes:
    """Return an error that clients of both OpenAI's and Anthropic's wires can read."""
    kind = "overloaded_error" if status == 503 else "invalid_request_error"
    said = f'"type":"{kind}","message":"{message}","param":null,"code":null'
    return f'{{"type":"error","error":{{{said}}}}}'.encode()
