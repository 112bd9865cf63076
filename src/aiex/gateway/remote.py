"""A node's gateway, as it is seen from another process or machine: over the node's own API."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import anyio.to_thread
import msgspec

from aiex.core import (
    NODE_VERBS,
    AiexError,
    ConfigurationError,
    ErrorInfo,
    Event,
    IncompleteStreamError,
    Principal,
    Published,
    Request,
    UnavailableError,
    error_from_info,
)
from aiex.gateway.ports import Registration, RequestState
from aiex.wires.sse import SseDecoder, SseEvent

__all__ = ["RemoteGateway", "RemoteOperations", "addresses_of", "is_loopback"]

T = TypeVar("T")

_API = "/api/v1"
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_SILENT_SECONDS = 60.0  # a node says something every 15 seconds while a stream is open


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: ErrorInfo


class _Submitted(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class _Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    was_running: bool


class _Requests(msgspec.Struct, frozen=True, kw_only=True):
    requests: tuple[RequestState, ...]


class _Interfaces(msgspec.Struct, frozen=True, kw_only=True):
    interfaces: tuple[Registration, ...]


class _Names(msgspec.Struct, frozen=True, kw_only=True):
    class Named(msgspec.Struct, frozen=True):
        id: str

    data: tuple[Named, ...]


_EVENT = msgspec.json.Decoder(Event)
_PUBLISHED = msgspec.json.Decoder(Published)
_REFUSAL = msgspec.json.Decoder(_Refusal)


def addresses_of(text: str) -> tuple[str, ...]:
    """Return the addresses that *text* lists, separated by commas or spaces, without paths.

    A token is sent in the clear only on this machine.

    Raises:
        ConfigurationError: One of them is no such address, or nothing encrypts what is sent there.

    Example:
        >>> addresses_of("https://one.example:2439, http://127.0.0.1:2439/")
        ('https://one.example:2439', 'http://127.0.0.1:2439')
    """
    found = []
    for named in text.replace(",", " ").split():
        parts = urlsplit(named)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ConfigurationError(
                f"{named!r} is no address of a server",
                hint="give it as https://HOST:2439; several are separated by commas",
            )
        if parts.username or parts.password:
            raise ConfigurationError(
                f"the address of {parts.hostname} holds a login", hint="give the key in AIEX_TOKEN"
            )
        address = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme == "http" and not is_loopback(address):
            raise ConfigurationError(
                f"{parts.hostname} is another machine, and nothing encrypts what is sent there",
                hint=f"use https://{parts.netloc}",
            )
        found.append(address)
    if not found:
        raise ConfigurationError("no address of a server is named")
    return tuple(found)


def is_loopback(address: str) -> bool:
    """Return whether *address* is reached without leaving this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Link:
    """The connections to a node's addresses.

    Args:
        addresses: As `addresses_of` gives them.
        token: What to show; `None` for nothing.
        ca_file: Certificates to trust instead of the system's; `None` for the system's.
    """

    def __init__(self, addresses: Sequence[str], token: str | None, ca_file: str | None) -> None:
        self._addresses = list(addresses)
        self._token = token
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Be ready to ask."""
        headers = {"User-Agent": "aiex"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        trust: ssl.SSLContext | bool = True
        if self._ca_file is not None:
            try:
                trust = await anyio.to_thread.run_sync(_trusting, self._ca_file)
            except OSError as error:
                raise ConfigurationError(
                    f"the certificates in {self._ca_file} cannot be read: {error.strerror or error}"
                ) from error
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=trust),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(self, method: str, path: str, kind: type[T], body: bytes | None = None) -> T:
        """Return what the node says at *path* of its API.

        Raises:
            AiexError: What it refused with, or that it cannot be reached.
        """
        async with self.opened(method, path, body=body) as response:
            return await self.read(response, kind)

    @asynccontextmanager
    async def opened(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        at: str | None = None,
        streams: bool = False,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Open the answer of the first address that gives one; an error in it is raised."""
        if self._session is None:
            msg = "the gateway is not open: enter it with `async with` first"
            raise RuntimeError(msg)
        headers = {"Accept": "text/event-stream" if streams else "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        prefix = "" if path.startswith("/v1/") or path in {"/readyz", "/metrics"} else _API
        failures = []
        for address in [at] if at is not None else self._addresses:
            try:
                response = await self._session.request(
                    method,
                    f"{address}{prefix}{path}",
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        total=None if streams else _ANSWER_SECONDS,
                        sock_connect=_CONNECT_SECONDS,
                        sock_read=_SILENT_SECONDS,
                    ),
                )
            except (aiohttp.ClientError, OSError) as error:
                failures.append(f"{address}: {_why(error)}")
                if isinstance(error, aiohttp.ClientConnectorError) or method == "GET":
                    continue  # nothing was taken there
                break
            async with response:
                if response.status >= 300:
                    await _refuse(response, address)
                if address != self._addresses[0] and at is None:
                    self._addresses.remove(address)
                    self._addresses.insert(0, address)
                yield response
                return
        raise UnavailableError(
            f"no server answers: {'; '.join(failures)}",
            hint="start one with aiex serve, or unset AIEX_SERVER to work without",
            transient=True,
        )

    async def read(self, response: aiohttp.ClientResponse, kind: type[T]) -> T:
        try:
            data = await response.read()
            return msgspec.json.decode(data, type=kind)
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(
                f"{response.url.origin()} broke off its answer: {_why(error)}", transient=True
            ) from error
        except msgspec.DecodeError as error:
            raise UnavailableError(
                f"what {response.url.origin()} says cannot be read: {error}",
                hint="is it an Aiex server of this release?",
            ) from error


class RemoteGateway:
    """Satisfies `gateway.Gateway` for a node. Entered before use.

    Of several addresses each request takes the first that answers; one that has begun to answer
    keeps it. What was submitted is asked for at the address that took it.

    Args:
        addresses: As `addresses_of` gives them.
        token: What to show; `None` for nothing.
        ca_file: Certificates to trust instead of the system's; `None` for the system's.

    Attributes:
        is_loopback: Whether all of it is on this machine.
    """

    def __init__(
        self, addresses: Sequence[str], *, token: str | None, ca_file: str | None = None
    ) -> None:
        self.is_loopback = all(map(is_loopback, addresses))
        self._link = _Link(addresses, token, ca_file)
        self._taken_by: dict[str, str] = {}
        self._operations = RemoteOperations(self._link)

    async def __aenter__(self) -> Self:
        await self._link.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._link.close()

    @property
    def operations(self) -> RemoteOperations:
        """What an operator asks."""
        return self._operations

    async def submit(self, request: Request) -> str:
        """Let the node admit *request* and return its id."""
        async with self._link.opened("POST", "/requests", body=_sent(request)) as response:
            said = await self._link.read(response, _Submitted)
            self._remember(said.id, response)
            return said.id

    async def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Let the node admit *request* and yield its events; closing the generator ends it."""
        stream = self._link.opened("POST", "/requests", body=_sent(request), streams=True)
        async with stream as response:
            self._remember(request.id, response)
            async for event in _events(response):
                yield event

    async def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the request's events above *after* to the last one."""
        path = f"/requests/{quote(request_id, safe='')}/events?after={after}"
        at = self._taken_by.get(request_id)
        async with self._link.opened("GET", path, at=at, streams=True) as response:
            async for event in _events(response):
                yield event

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it has stopped then."""
        path = f"/requests/{quote(request_id, safe='')}"
        at = self._taken_by.get(request_id)
        async with self._link.opened("DELETE", path, at=at) as response:
            return (await self._link.read(response, _Cancelled)).was_running

    def _remember(self, request_id: str, response: aiohttp.ClientResponse) -> None:
        self._taken_by[request_id] = str(response.url.origin())


class RemoteOperations:
    """Satisfies `gateway.Operations` for a node.

    Args:
        link: The connections to it.
    """

    def __init__(self, link: _Link) -> None:
        self._link = link

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Refuse: a node says itself who asks."""
        del token, interface
        raise UnavailableError("a client of a node lets nobody in")

    def register(
        self, name: str, *, capabilities: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Registration]:
        """Refuse: only a process that shares the node's store is registered there."""
        del name, capabilities
        raise UnavailableError("a client of a node is not registered there")

    async def interfaces(self) -> Sequence[Registration]:
        """Return the interfaces that are registered at the node."""
        return (await self._link.ask("GET", "/interfaces", _Interfaces)).interfaces

    @asynccontextmanager
    async def subscribe(
        self, pattern: str = ">", *, capacity: int = 1000
    ) -> AsyncGenerator[AsyncIterator[Published], None]:
        """Stream what is published from now on; the node bounds what waits for this process."""
        del capacity
        path = f"/events?pattern={quote(pattern, safe='')}"
        async with self._link.opened("GET", path, streams=True) as response:

            async def published() -> AsyncIterator[Published]:
                async for said in _said(response):
                    yield _PUBLISHED.decode(said.data)

            yield published()

    async def broadcast(self, text: str, *, by: str, interface: str = "") -> None:
        """Tell all interfaces, or all of one name, *text*; in the name of who shows the token."""
        del by
        body = msgspec.json.encode({"text": text, "interface": interface})
        await self._link.ask("POST", "/broadcast", dict[str, Any], body)

    async def ready(self) -> Mapping[str, str]:
        """Return what keeps the node from taking requests; empty when it is ready."""
        try:
            await self._link.ask("GET", "/readyz", dict[str, Any])
        except AiexError as error:
            return {"server": error.message}
        return {}

    async def metrics(self) -> str:
        """Return the node's metrics in Prometheus's text form."""
        async with self._link.opened("GET", "/metrics") as response:
            return await response.text()

    async def models(self, principal: Principal) -> Sequence[str]:
        """Return what may be asked there."""
        del principal
        return [one.id for one in (await self._link.ask("GET", "/v1/models", _Names)).data]

    async def verbs(self) -> Sequence[str]:
        """Return the verbs that a node takes from afar."""
        return sorted(NODE_VERBS)

    async def requests(self) -> Sequence[RequestState]:
        """Return the requests that the node knows, newest first."""
        return (await self._link.ask("GET", "/requests", _Requests)).requests

    async def request(self, request_id: str) -> RequestState:
        """Return how one request stands."""
        path = f"/requests/{quote(request_id, safe='')}"
        return await self._link.ask("GET", path, RequestState)

    async def report(self, name: str, query: Mapping[str, str]) -> msgspec.Raw:
        """Return a JSON document for an operator."""
        asked = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        return await self._link.ask("GET", f"/{name}" + (f"?{asked}" if asked else ""), msgspec.Raw)

    async def store(self) -> Mapping[str, str]:
        """Return what is known of the node's store from here: nothing."""
        return {}


def _trusting(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _sent(request: Request) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(request, root=None))


async def _said(response: aiohttp.ClientResponse) -> AsyncIterator[SseEvent]:
    """Yield what a stream of the node says; an error in it is raised."""
    decoder = SseDecoder()
    where = str(response.url.origin())
    try:
        async for data in response.content.iter_any():
            for said in decoder.feed(data):
                if said.event == "error":
                    raise error_from_info(_REFUSAL.decode(said.data).error)
                yield said
    except (aiohttp.ClientError, OSError) as error:
        raise IncompleteStreamError(f"{where} broke off: {_why(error)}") from error
    except msgspec.DecodeError as error:
        raise UnavailableError(f"what {where} says cannot be read: {error}") from error


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """Yield the events of a request up to the last one."""
    async for said in _said(response):
        event = _EVENT.decode(said.data)
        yield event
        if event.is_last:
            return
    raise IncompleteStreamError(f"{response.url.origin()} ended before the request did")


async def _refuse(response: aiohttp.ClientResponse, address: str) -> NoReturn:
    data = await response.read()
    try:
        info = _REFUSAL.decode(data).error
    except msgspec.DecodeError:
        raise UnavailableError(
            f"{address} answers {response.status}",
            hint="is it an Aiex server?",
            transient=response.status >= 500,
        ) from None
    if info.code == "unauthenticated":
        hint = "set AIEX_TOKEN to a key of that server: aiex key create makes one there"
        info = msgspec.structs.replace(info, hint=hint)
    raise error_from_info(info)


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted (AIEX_CA_FILE names others to trust)"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return str(error) or type(error).__name__
