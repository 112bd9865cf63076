"""The application that answers requests: a raw ASGI callable for what is asked often.

What is not asked often, the API of Aiex itself, is imported when it is first asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from aiex.core import (
    AiexError,
    CompleteArguments,
    Entropy,
    ErrorInfo,
    Event,
    Failed,
    Finished,
    ModelChosen,
    Notice,
    Passthrough,
    Principal,
    RefusedError,
    Request,
    Restarted,
    UsageError,
    WireBytes,
    new_id,
)
from aiex.gateway import Gateway
from aiex.interfaces.http.answers import (
    JSON,
    Send,
    StatusError,
    error_headers,
    status_of,
)
from aiex.interfaces.http.bodies import Body, read_body
from aiex.interfaces.http.bounds import Bounds
from aiex.interfaces.http.connection import Connection, Connections
from aiex.interfaces.http.hosts import Hosts
from aiex.interfaces.http.metrics import Metrics
from aiex.interfaces.http.models import model_answer
from aiex.interfaces.http.siblings import Siblings
from aiex.interfaces.http.wires import (
    ANTHROPIC,
    CHAT,
    NATIVE,
    ROUTES,
    Route,
    Wire,
    error_body,
    stream_error,
)

if TYPE_CHECKING:
    from aiex.interfaces.http.native import NativeApi

__all__ = ["Authenticate", "Door"]

Receive = Callable[[], Awaitable[Any]]
Headers = dict[bytes, bytes]

_TOKEN_NAMES = frozenset(
    {"access_token", "api-key", "api_key", "apikey", "auth", "key", "secret", "token", "x-api-key"}
)
_SESSION_HEADERS = (b"x-session-id", b"session_id", b"session-id", b"x-claude-code-session-id")
_STOPPING = ErrorInfo(
    code="overloaded",
    message="the server is about to stop",
    hint="try again: another one, or the next, will answer",
    transient=True,
    retry_after=1.0,
)
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Authenticate(Protocol):
    """Says who shows a token."""

    def __call__(self, token: str | None, /) -> Principal:
        """Return who *token* belongs to; does not block.

        Raises:
            UnauthenticatedError: There is none, or it is wrong, expired or revoked.
        """


class _ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


class Door:
    """Answers requests.

    Args:
        gateway: What they are submitted to.
        authenticate: Says who asks.
        hosts: Names that the server may be asked under.
        bounds: What it takes.
        connections: What its connections share.
        now: Returns the wall time, aware, UTC.
        siblings: The workers that serve beside this one; `None` if it is alone.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        authenticate: Authenticate,
        hosts: Hosts,
        bounds: Bounds,
        connections: Connections,
        now: Callable[[], Any],
        siblings: Siblings | None = None,
    ) -> None:
        self._gateway = gateway
        self._authenticate = authenticate
        self._hosts = hosts
        self._bounds = bounds
        self._connections = connections
        self._now = now
        self._siblings = siblings
        self._random_bytes = Entropy()
        self._api: NativeApi | None = None
        self.metrics = Metrics()
        self.is_draining = False

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        connection: Connection = scope["aiex"]
        headers: Headers = dict(scope["headers"])
        path: str = scope["path"]
        connection.running = asyncio.current_task(connection.loop)
        if connection.has_left:
            return
        try:
            await self._answer(path, headers, scope, receive, send)
        except _ClientLeftError:
            pass
        except asyncio.CancelledError:
            if connection.is_ending:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
                await self._say_stopping(_wire_of(path, headers), scope, send)
            elif not connection.has_left:
                raise
        except AiexError as error:
            self._say(scope, _wire_of(path, headers), error.info(), [])

    async def _answer(
        self, path: str, headers: Headers, scope: Any, receive: Receive, send: Send
    ) -> None:
        self._check_addressed(headers, scope)
        if path == "/livez":
            scope["aiex"].answer(200, b"ok\n", [(b"content-type", b"text/plain")])
            return
        if scope["query_string"]:
            _refuse_token(scope["query_string"])
        principal = self._authenticate(_token(headers))
        if self.is_draining and path not in {"/readyz", "/metrics"}:
            self._refuse_draining(path, headers, scope)
            return
        route = ROUTES.get(path)
        if route is not None and scope["method"] == "POST":
            await self._ask(route, principal, headers, scope, receive, send)
        else:
            await self._answer_rest(path, principal, headers, scope, receive, send)

    # ------------------------------------------------------------ who may ask at all

    def _check_addressed(self, headers: Headers, scope: Any) -> None:
        server = scope["server"]
        host = headers.get(b"host", b"")
        if not self._hosts.takes(host, local=None if server is None else server[0]):
            raise StatusError(
                421,
                "the request is addressed to another server",
                hint="add the name to the setting server.hosts, if it is this one's",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._hosts.is_own(origin, host):
            raise RefusedError("a page of another origin may not ask this server")

    # ------------------------------------------------------------ asking a model

    async def _ask(
        self,
        route: Route,
        principal: Principal,
        headers: Headers,
        scope: Any,
        receive: Receive,
        send: Send,
    ) -> None:
        """Pass the request on to the gateway, and its answer back as it comes."""
        connection: Connection = scope["aiex"]
        started = connection.loop.time()
        wire = route.wire
        self.metrics.in_flight += 1
        status = 499
        try:
            data = await self._body(headers, scope, receive)
            body = read_body(data)
            request = self._request(route, principal, headers, data, body)
            events = self._gateway.run(request)
            async with aclosing(events):
                status = await self._pass_on(
                    events, wire, request, body.flag("stream"), scope, send, started
                )
        except AiexError as error:
            info = error.info()
            status = status_of(info)
            self._say(scope, wire, info, [])
        finally:
            self.metrics.in_flight -= 1
            self.metrics.answered("complete", wire.name, status, connection.loop.time() - started)

    def _request(
        self, route: Route, principal: Principal, headers: Headers, data: bytes, body: Body
    ) -> Request:
        kind = route.kind
        arguments = CompleteArguments(
            kind=kind,
            model=body.text("model"),
            stream=kind == "complete" and body.flag("stream"),
            max_output_tokens=body.number(*route.limit_keys) if kind == "complete" else None,
            affinity=_affinity(headers, body),
        )
        kept = route.wire.kept
        return Request(
            id=new_id("req", now=self._now(), entropy=self._random_bytes(10)),
            verb="complete",
            arguments=msgspec.Raw(msgspec.json.encode(arguments)),
            principal=principal,
            passthrough=Passthrough(
                wire=route.wire.name,
                body=data,
                headers=tuple(
                    (name.decode(), headers[name].decode("latin-1"))
                    for name in kept
                    if name in headers
                ),
            ),
        )

    async def _pass_on(
        self,
        events: AsyncGenerator[Event, None],
        wire: Wire,
        request: Request,
        streams: bool,
        scope: Any,
        send: Send,
        started: float,
    ) -> int:
        """Send the answer's bytes as they come, and return the HTTP status."""
        connection: Connection = scope["aiex"]
        chosen: ModelChosen | Restarted | None = None
        notices: list[tuple[bytes, bytes]] = []
        has_begun = False
        async for event in events:
            body = event.body
            if type(body) is WireBytes:
                connection.sent = body.data
                if has_begun:
                    await send({"type": "http.response.body", "body": body.data, "more_body": True})
                    continue
                self.metrics.began(wire.name, connection.loop.time() - started)
                said = [*_said(request, chosen), *notices]
                if not streams:
                    connection.answer(200, body.data, [JSON, *said])
                else:
                    await send(
                        {
                            "type": "http.response.start",
                            "status": 200,
                            "headers": [*_STREAM, *said],
                        }
                    )
                    await send({"type": "http.response.body", "body": body.data, "more_body": True})
                has_begun = True
            elif isinstance(body, ModelChosen | Restarted):
                chosen = body
            elif isinstance(body, Notice):
                notices.append((b"x-aiex-notice", _header(body.text)))
            elif isinstance(body, Failed):
                if has_begun:  # its bytes have said so, in the client's wire
                    break
                status = status_of(body.error)
                self._say(scope, wire, body.error, _said(request, chosen))
                return status
            elif isinstance(body, Finished) and not has_begun:
                info = ErrorInfo(code="internal", message="the answer is empty")
                self._say(scope, wire, info, _said(request, chosen))
                return 500
        if streams and has_begun:
            await send({"type": "http.response.body", "body": b""})
        return 200

    async def _body(self, headers: Headers, scope: Any, receive: Receive) -> bytes:
        """Return the request's body.

        Raises:
            AiexError: It is compressed, too large or too slow.
        """
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise StatusError(415, "bodies may not be compressed", hint="send it as it is")
        most = self._bounds.body_bytes
        length = headers.get(b"content-length")
        if length is not None and int(length) > most:
            raise StatusError(413, f"a body may have {most} bytes")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeftError
        data: bytes = message["body"]
        if message["more_body"]:
            data = await self._rest_of_body(data, receive)
        scope["aiex"].flow.resume_reading()  # or a client that leaves would not be noticed
        return data

    async def _rest_of_body(self, first: bytes, receive: Receive) -> bytes:
        pieces = [first]
        size = len(first)
        seconds = self._bounds.body_seconds
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientLeftError
                    pieces.append(message["body"])
                    size += len(message["body"])
                    if size > self._bounds.body_bytes:
                        raise StatusError(413, f"a body may have {self._bounds.body_bytes} bytes")
                    if not message["more_body"]:
                        return b"".join(pieces)
        except TimeoutError:
            raise StatusError(408, f"the body took longer than {seconds:g} s") from None

    # ------------------------------------------------------------ all other addresses

    async def _answer_rest(
        self,
        path: str,
        principal: Principal,
        headers: Headers,
        scope: Any,
        receive: Receive,
        send: Send,
    ) -> None:
        method = scope["method"]
        if path in ROUTES:
            raise StatusError(405, f"{path} takes POST, not {method}")
        if path.startswith("/v1/models"):
            if method not in {"GET", "HEAD"}:
                raise StatusError(405, f"{path} takes GET, not {method}")
            models = await self._gateway.operations.models(principal)
            name = path[len("/v1/models/") :]
            body = model_answer(models, name, anthropic=b"anthropic-version" in headers)
            scope["aiex"].answer(200, body, [JSON])
        elif path == "/readyz":
            await self._readyz(scope)
        elif path.startswith("/api/v1/") or path == "/api/v1":
            await self._answer_native(path, principal, headers, scope, receive, send)
        elif path == "/metrics":
            kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
            text = await self.metrics_text()
            if self._siblings is not None:
                text = await self._siblings.gathered(text)
            scope["aiex"].answer(200, text.encode(), [kind])
        else:
            raise StatusError(404, f"there is nothing at {path}")

    async def _answer_native(
        self,
        path: str,
        principal: Principal,
        headers: Headers,
        scope: Any,
        receive: Receive,
        send: Send,
    ) -> None:
        if self._api is None:
            # Not the hot path: who asks only for models never pays for it.
            from aiex.interfaces.http.native import NativeApi

            self._api = NativeApi(self._gateway, now=self._now)
        from aiex.interfaces.http.native import PREFIX, Call, query_of

        connection: Connection = scope["aiex"]
        call = Call(
            principal=principal,
            query=query_of(scope["query_string"]),
            headers=headers,
            body=lambda: self._body(headers, scope, receive),
            scope=scope,
            send=send,
            listens=lambda: self._connections.listening.add(connection),
        )
        try:
            await self._api(scope["method"], path.removeprefix(PREFIX), call)
        except AiexError as error:
            if not connection.cycle.response_started:
                raise
            last = stream_error(NATIVE, error.info(), last=b"\n\n")
            await send({"type": "http.response.body", "body": last, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._connections.listening.discard(connection)

    async def _readyz(self, scope: Any) -> None:
        missing = {"draining": "the server is about to stop"} if self.is_draining else {}
        missing |= await self._gateway.operations.ready()
        said = {"ready": not missing, "missing": missing}
        body = msgspec.json.encode(said)
        scope["aiex"].answer(503 if missing else 200, body, [JSON])

    async def metrics_text(self) -> str:
        """Return the metrics of this process, in Prometheus's text form."""
        connections = self._connections
        own = self.metrics.text(connections=len(connections.open), refused=connections.refused)
        return own + await self._gateway.operations.metrics()

    # ------------------------------------------------------------ what goes wrong

    def _refuse_draining(self, path: str, headers: Headers, scope: Any) -> None:
        self._say(scope, _wire_of(path, headers), _STOPPING, [], close=True)

    async def _say_stopping(self, wire: Wire, scope: Any, send: Send) -> None:
        """Say that the server stops to a client whose answer is not complete."""
        connection: Connection = scope["aiex"]
        if not connection.cycle.response_started:
            self._say(scope, wire, _STOPPING, [], close=True)
            return
        # Only a stream is still being answered then.
        if scope["path"] in ROUTES or wire is NATIVE:
            sent = b"\n\n" if wire is NATIVE else connection.sent
            last = stream_error(wire, _STOPPING, last=sent)
            await send({"type": "http.response.body", "body": last, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        connection.transport.close()

    def _say(
        self,
        scope: Any,
        wire: Wire,
        info: ErrorInfo,
        headers: list[tuple[bytes, bytes]],
        *,
        close: bool = False,
    ) -> None:
        """Answer with an error, in the client's wire."""
        connection: Connection = scope["aiex"]
        if connection.has_left or connection.cycle.response_started:
            return
        said = [JSON, *error_headers(info), *headers]
        if info.code == "unauthenticated":
            said.append((b"www-authenticate", b"Bearer"))
        is_unread = connection.cycle.more_body
        connection.answer(status_of(info), error_body(wire, info), said, close=close or is_unread)


def _token(headers: Headers) -> str | None:
    """Return what the client shows, as OpenAI's clients or as Anthropic's do it."""
    shown = headers.get(b"authorization")
    if shown is not None:
        scheme, _, token = shown.partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip().decode("latin-1")
    key = headers.get(b"x-api-key")
    return None if key is None else key.decode("latin-1")


def _refuse_token(query: bytes) -> None:
    """Refuse an address with a token in it: addresses are logged by whoever passes them on."""
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name.lower() in _TOKEN_NAMES or value.startswith("aiex_"):
            raise UsageError(
                "a token does not belong in an address",
                hint="send it in the header Authorization, as Bearer, and make a new one",
            )


def _wire_of(path: str, headers: Headers) -> Wire:
    route = ROUTES.get(path)
    if route is not None:
        return route.wire
    if path.startswith("/api/"):
        return NATIVE
    return ANTHROPIC if b"anthropic-version" in headers else CHAT


def _affinity(headers: Headers, body: Body) -> str:
    """Return what a client calls its conversation by; empty if it does not."""
    for name in _SESSION_HEADERS:
        if name in headers:
            return headers[name].decode("latin-1")
    return body.word("prompt_cache_key")


def _said(request: Request, chosen: ModelChosen | Restarted | None) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell what answered."""
    named = request.id.encode()
    headers = [(b"x-request-id", named), (b"request-id", named)]
    if chosen is not None:
        headers += [
            (b"x-aiex-provider", _header(chosen.provider)),
            (b"x-aiex-model", _header(chosen.model)),
        ]
    return headers


def _header(text: str) -> bytes:
    return text.encode("ascii", "replace") if text.isprintable() else b"?"
