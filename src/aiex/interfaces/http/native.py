"""Aiex's own API, under `/api/v1`: keys, budgets, sessions, requests and events, for programs.

Imported when it is first asked for. Everything goes through the gateway, as from any other door;
what somebody may do is decided by their roles there, and here for what is no verb.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import anyio
import msgspec

from aiex.core import (
    KEY_ENTROPY_BYTES,
    BudgetArguments,
    ErrorInfo,
    Event,
    Failed,
    Finished,
    KeyArguments,
    KeyResult,
    Missed,
    ModelArguments,
    ModelCalled,
    NodeChanged,
    Passthrough,
    Principal,
    PrincipalRole,
    Published,
    Request,
    RequestChanged,
    RunOptions,
    Said,
    UsageError,
    check_action,
    error_from_info,
    key_id_of,
    may,
    may_follow,
    new_id,
    new_key,
)
from aiex.core.errors import NotFoundError
from aiex.core.types import When
from aiex.gateway import Gateway
from aiex.gateway.admission import from_afar
from aiex.interfaces.http.answers import JSON, Send, StatusError
from aiex.interfaces.http.bodies import read_body
from aiex.interfaces.http.sessions import SESSION_ROUTES, AskedOfSession
from aiex.interfaces.http.wires import encode_comment, encode_event

__all__ = ["PREFIX", "Call", "NativeApi", "query_of"]

PREFIX = "/api/v1"

_BEAT_SECONDS = 15.0
_REQUEST_ID = re.compile(r"req_[0-9a-z]{25}")
_MOST_SAID = 2000
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a client of the API writes it: a `Request` whose principal is its token's.

    Attributes:
        verb: What is asked for; one that needs no files.
        arguments: The verb's arguments.
        id: Identifier, made by the client; empty for one that is made here.
        deadline: Time after which the answer is worth nothing; `None` for none.
        options: Options that every verb takes.
        idempotency_key: The same key within a day is the same request; `None` to skip.
        passthrough: What a client of a model sent; `None` for none.
        schema: Version of `Request` that was meant.
    """

    verb: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    id: str = ""
    deadline: When | None = None
    options: RunOptions = RunOptions()
    idempotency_key: str | None = None
    passthrough: Passthrough | None = None
    schema: int = 1


class NewKeyAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made; each field as in `KeyArguments`."""

    user: str = ""
    team: str | None = None
    name: str = ""
    roles: tuple[PrincipalRole, ...] = ("developer",)
    models: tuple[str, ...] = ()
    expires: When | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class BudgetAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A budget to be set, or removed where the amount is `None`; as in `BudgetArguments`."""

    scope: str = "all"
    amount: int | None = None
    per: Literal["day", "week", "month"] = "month"


class Broadcast(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to tell all interfaces, or all of one name."""

    text: str
    interface: str = ""


class Call(NamedTuple):
    """One request of a client.

    Attributes:
        principal: Who asks.
        query: What follows the `?` of the address.
        headers: The headers.
        body: Reads the body.
        scope: ASGI's scope.
        send: ASGI's `send`.
        listens: Says that the answer has no end of its own.
    """

    principal: Principal
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: Callable[[], Awaitable[bytes]]
    scope: Any
    send: Send
    listens: Callable[[], None]


S = TypeVar("S", bound=msgspec.Struct)

_Handler = Callable[[Call, str], Awaitable[None]]


class NativeApi:
    """Answers what is asked under `/api/v1`.

    Args:
        gateway: What it is asked of.
        now: Returns the wall time, aware, UTC.
    """

    def __init__(self, gateway: Gateway, *, now: Callable[[], datetime]) -> None:
        self._gateway = gateway
        self._now = now
        report = self._report
        self._routes: dict[str, dict[str, _Handler]] = {
            "": {"GET": self._about},
            "/models": {"GET": self._models},
            "/keys": {"GET": self._keys, "POST": self._new_key},
            "/keys/*": {"DELETE": self._revoke},
            "/budgets": {"GET": self._budgets, "PUT": self._set_budget},
            "/budgets/report": {"GET": self._spent},
            "/health": {"GET": report("health", "health.show")},
            "/interactions": {"GET": report("interactions", "interactions.list")},
            "/config": {"GET": report("config", "config.show")},
            "/interfaces": {"GET": self._interfaces},
            "/requests": {"GET": self._requests, "POST": self._ask},
            "/requests/*": {"GET": self._request, "DELETE": self._cancel},
            "/requests/*/events": {"GET": self._attach},
            "/events": {"GET": self._events},
            "/broadcast": {"POST": self._broadcast},
        }
        for path, asked in SESSION_ROUTES.items():
            self._routes[path] = {method: self._session(make) for method, make in asked.items()}

    async def __call__(self, method: str, path: str, call: Call) -> None:
        """Answer *call* to *path*, the address without its prefix.

        Raises:
            AiexError: It cannot be answered.
        """
        pattern, name = _pattern(path.removesuffix("/"))
        methods = self._routes.get(pattern)
        if methods is None:
            raise StatusError(
                404, f"there is nothing at {PREFIX}{path}", hint=f"GET {PREFIX} lists what there is"
            )
        handler = methods.get(method)
        if handler is None:
            raise StatusError(405, f"{PREFIX}{path} takes {', '.join(methods)}, not {method}")
        await handler(call, name)

    # ------------------------------------------------------------ what is there

    async def _about(self, call: Call, name: str) -> None:
        del name
        principal = call.principal
        _say(
            call,
            {
                "routes": {f"{PREFIX}{path}": list(found) for path, found in self._routes.items()},
                "user": principal.user,
                "team": principal.team,
                "key_id": principal.key_id,
                "roles": principal.roles,
                "models": principal.models,
            },
        )

    async def _models(self, call: Call, name: str) -> None:
        del name
        await self._verb(call, "model", ModelArguments(action="list"))

    def _report(self, name: str, action: str) -> _Handler:
        async def handler(call: Call, _: str) -> None:
            check_action(call.principal, action)
            said = await self._gateway.operations.report(name, call.query)
            call.scope["aiex"].answer(200, bytes(said), [JSON])

        return handler

    async def _interfaces(self, call: Call, name: str) -> None:
        del name
        check_action(call.principal, "interfaces.list")
        _say(call, {"interfaces": await self._gateway.operations.interfaces()})

    # ------------------------------------------------------------ keys and budgets

    async def _keys(self, call: Call, name: str) -> None:
        del name
        await self._verb(call, "key", KeyArguments(action="list"))

    async def _new_key(self, call: Call, name: str) -> None:
        del name
        asked = _read(await call.body(), NewKeyAsked)
        key = new_key(os.urandom(KEY_ENTROPY_BYTES))
        arguments = KeyArguments(
            action="create", id=key.id, digest=key.digest, **msgspec.structs.asdict(asked)
        )
        data = await self._answer_of(call, "key", arguments)
        result = msgspec.json.decode(data, type=KeyResult)
        shown = msgspec.structs.replace(result, key=key.token)
        _say(call, shown, status=201, headers=[(b"cache-control", b"no-store")])

    async def _revoke(self, call: Call, name: str) -> None:
        key_id = key_id_of(name) if name.startswith("aiex_") else name
        await self._verb(call, "key", KeyArguments(action="revoke", id=key_id))

    async def _budgets(self, call: Call, name: str) -> None:
        del name
        await self._verb(call, "budget", _from_query(call, BudgetArguments, action="show"))

    async def _spent(self, call: Call, name: str) -> None:
        del name
        await self._verb(call, "budget", _from_query(call, BudgetArguments, action="report"))

    async def _set_budget(self, call: Call, name: str) -> None:
        del name
        asked = _read(await call.body(), BudgetAsked)
        arguments = BudgetArguments(action="set", **msgspec.structs.asdict(asked))
        await self._verb(call, "budget", arguments)

    def _session(self, made: AskedOfSession) -> _Handler:
        async def handler(call: Call, name: str) -> None:
            await self._verb(call, "session", made(name, call.query, await call.body()))

        return handler

    async def _verb(self, call: Call, verb: str, arguments: msgspec.Struct) -> None:
        data = await self._answer_of(call, verb, arguments)
        call.scope["aiex"].answer(200, bytes(data), [JSON])

    async def _answer_of(self, call: Call, verb: str, arguments: msgspec.Struct) -> msgspec.Raw:
        """Return what *verb* ended with.

        Raises:
            AiexError: What it failed with.
        """
        asked = Asked(verb=verb, arguments=msgspec.Raw(msgspec.json.encode(arguments)))
        events = self._gateway.run(self._made(asked, call.principal))
        last: Finished | Failed | None = None
        async with aclosing(events):
            async for event in events:
                if isinstance(event.body, Finished | Failed):
                    last = event.body
        if isinstance(last, Finished):
            return last.data
        raise error_from_info(
            ErrorInfo(code="internal", message="no end") if last is None else last.error
        )

    # ------------------------------------------------------------ requests

    def _made(self, asked: Asked, principal: Principal) -> Request:
        if asked.id and not _REQUEST_ID.fullmatch(asked.id):
            raise UsageError(
                "the id of a request is req_ and 25 digits and small letters",
                hint="leave it out, and one is made",
            )
        request = Request(
            id=asked.id or new_id("req", now=self._now(), entropy=os.urandom(10)),
            verb=asked.verb,
            arguments=asked.arguments,
            principal=principal,
            deadline=asked.deadline,
            options=asked.options,
            idempotency_key=asked.idempotency_key,
            passthrough=asked.passthrough,
            schema=asked.schema,
        )
        return from_afar(request, principal)

    async def _ask(self, call: Call, name: str) -> None:
        """Begin a request; a client that takes a stream gets its events, and ends it by leaving."""
        del name
        request = self._made(_read(await call.body(), Asked), call.principal)
        if b"text/event-stream" in call.headers.get(b"accept", b""):
            named = [(b"x-request-id", request.id.encode())]
            await self._stream(call, self._gateway.run(request), headers=named)
            return
        request_id = await self._gateway.submit(request)
        where = f"{PREFIX}/requests/{request_id}".encode()
        _say(call, {"id": request_id}, status=202, headers=[(b"location", where)])

    async def _requests(self, call: Call, name: str) -> None:
        del name
        check_action(call.principal, "requests.list")
        sees_all = may(call.principal.roles, "requests.all")
        states = await self._gateway.operations.requests()
        seen = [one for one in states if sees_all or may_follow(call.principal, one.user)]
        _say(call, {"requests": seen})

    async def _request(self, call: Call, name: str) -> None:
        check_action(call.principal, "requests.list")
        state = await self._gateway.operations.request(name)
        if not (
            may(call.principal.roles, "requests.all") or may_follow(call.principal, state.user)
        ):
            raise _unknown(name)
        _say(call, state)

    async def _cancel(self, call: Call, name: str) -> None:
        await self._check_own(call, name)
        _say(call, {"id": name, "was_running": await self._gateway.cancel(name)})

    async def _attach(self, call: Call, name: str) -> None:
        await self._check_own(call, name)
        said = call.headers.get(b"last-event-id", b"").decode("latin-1")
        after = call.query.get("after") or said or "0"
        if not (after.isascii() and after.isdigit() and len(after) < 16):
            raise UsageError("after must be the number of an event")
        await self._stream(call, self._gateway.attach(name, after=int(after)))

    async def _check_own(self, call: Call, request_id: str) -> None:
        state = await self._gateway.operations.request(request_id)
        if not may_follow(call.principal, state.user):
            raise _unknown(request_id)

    async def _stream(
        self,
        call: Call,
        events: Any,
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Send the events of a request; what keeps it from beginning is an answer of its own."""
        async with aclosing(events):
            first: Event = await anext(events)
            await _begin(call, headers or [])

            async def pieces() -> AsyncIterator[bytes]:
                yield _event(first)
                async for event in events:
                    yield _event(event)

            await _pump(call, pieces())

    # ------------------------------------------------------------ what is published

    async def _events(self, call: Call, name: str) -> None:
        del name
        check_action(call.principal, "events.tail")
        pattern = call.query.get("pattern", ">")
        sees_all = may(call.principal.roles, "requests.all")
        async with self._gateway.operations.subscribe(pattern) as published:
            call.listens()
            await _begin(call, [])

            async def pieces() -> AsyncIterator[bytes]:
                yield encode_comment("listening")
                async for one in published:
                    if sees_all or _is_for(call.principal, one):
                        yield encode_event(msgspec.json.encode(one), event=one.name)

            await _pump(call, pieces())

    async def _broadcast(self, call: Call, name: str) -> None:
        del name
        check_action(call.principal, "broadcast")
        said = _read(await call.body(), Broadcast)
        if not 0 < len(said.text) <= _MOST_SAID:
            raise UsageError(f"text must have 1 to {_MOST_SAID} characters")
        await self._gateway.operations.broadcast(
            said.text, by=call.principal.user, interface=said.interface
        )
        _say(call, {"said": True})


def _pattern(path: str) -> tuple[str, str]:
    """Return the pattern that *path* is one of, and the name in it."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] in {"keys", "requests", "sessions"}:
        name, parts[2] = parts[2], "*"
        return "/".join(parts), name
    return path, ""


def _read(data: bytes, shape: type[S]) -> S:
    read_body(data)
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.DecodeError as error:
        raise UsageError(f"the body does not fit: {error}") from None


def _from_query(call: Call, shape: type[S], *, action: str) -> S:
    known = {field.name for field in msgspec.structs.fields(shape)} - {"action", "amount"}
    unknown = set(call.query) - known
    if unknown:
        raise UsageError(
            f"{min(unknown)!r} is not asked for here",
            hint=f"known: {', '.join(sorted(known))}",
        )
    try:
        return msgspec.convert({**call.query, "action": action}, type=shape)
    except msgspec.ValidationError as error:
        raise UsageError(f"the query does not fit: {error}") from None


def _is_for(principal: Principal, published: Published) -> bool:
    """Return whether who may not see all may see this: what is theirs, and what is said to all."""
    body = published.body
    if isinstance(body, RequestChanged):
        return may_follow(principal, body.user)
    if isinstance(body, ModelCalled):
        return False
    if isinstance(body, Said | NodeChanged | Missed):
        return True
    return getattr(body, "user", None) == principal.user or not (
        hasattr(body, "user") or hasattr(body, "scope")
    )


def _unknown(request_id: str) -> NotFoundError:
    return NotFoundError(f"no request {request_id} is known here")


def query_of(raw: bytes) -> dict[str, str]:
    """Return the query of an address; a name that is there twice is an error."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name in found:
            raise UsageError(f"the query names {name!r} twice")
        found[name] = value
    return found


def _say(
    call: Call, said: Any, *, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = msgspec.json.encode(said)
    call.scope["aiex"].answer(status, body, [JSON, *(headers or [])])


def _event(event: Event) -> bytes:
    return b"id: %d\n" % event.id + encode_event(msgspec.json.encode(event), event="event")


async def _begin(call: Call, headers: list[tuple[bytes, bytes]]) -> None:
    await call.send({"type": "http.response.start", "status": 200, "headers": [*_STREAM, *headers]})


async def _pump(call: Call, pieces: AsyncIterator[bytes]) -> None:
    """Send *pieces*, and a comment where there is none for a while: proxies end what is silent."""
    loop = asyncio.get_running_loop()
    sent_at = loop.time()

    async def beat() -> None:
        while True:
            await anyio.sleep(_BEAT_SECONDS)
            if loop.time() - sent_at >= _BEAT_SECONDS:
                await _write(call, encode_comment("still here"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        async for piece in pieces:
            await _write(call, piece)
            sent_at = loop.time()
        tasks.cancel_scope.cancel()
    await call.send({"type": "http.response.body", "body": b""})


async def _write(call: Call, data: bytes) -> None:
    await call.send({"type": "http.response.body", "body": data, "more_body": True})
