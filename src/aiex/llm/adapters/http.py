"""The HTTP side that all adapters share: one connection pool, four time-outs, bounds, errors.

Nothing here retries. A stream that is closed or cancelled drops its connection at once, because
that is what stops the provider's work and its bill.
"""

from __future__ import annotations

import asyncio
import functools
import io
import ipaddress
import logging
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Protocol, Self, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import anyio
import msgspec
import yarl

from aiex.core import (
    AiexError,
    ConfigurationError,
    DeadlineError,
    Delta,
    IncompleteStreamError,
    ModelReply,
    OverloadedError,
    ProviderError,
    redacted,
)
from aiex.llm.ports import Heard, Timeouts
from aiex.wires import UNREADABLE, RateLimit, StreamDecoder, deltas_of, rate_limits

__all__ = [
    "MAX_REPLY_BYTES",
    "ErrorDecoder",
    "Upstream",
    "UpstreamAdapter",
    "bearer",
    "flattened",
    "no_key",
]

MAX_REPLY_BYTES = 256 * 1024 * 1024
"""Most bytes of one answer, a whole stream included; what is larger is a fault or an attack."""

_MAX_ERROR_BYTES = 256 * 1024
_LARGE_BODY_BYTES = 1024 * 1024
_DRAIN_SECONDS = 0.1
_DNS_SECONDS = 60
_MOST_URLS = 64
_REDACTED = "[key]"
_NO_HEADERS: Mapping[str, str] = {}

_log = logging.getLogger(__name__)
T = TypeVar("T")


class ErrorDecoder(Protocol):
    """Turns an answer that is not 2xx into an error: a wire's `decode_error`."""

    def __call__(
        self, status: int, headers: Mapping[str, str], body: bytes, *, provider: str
    ) -> AiexError:
        """Return the error that *body* and *headers*, names in lower case, tell of."""


async def flattened(
    batches: AsyncGenerator[Sequence[Delta], None],
) -> AsyncGenerator[Delta, None]:
    """Yield the deltas of *batches* one by one."""
    async with aclosing(batches):
        async for batch in batches:
            for delta in batch:
                yield delta


def no_key() -> str | None:
    """Return `None`: the key of a provider that wants none."""
    return None


def bearer(key: str | None) -> Mapping[str, str]:
    """Return the headers that carry *key* as a bearer token; none without a key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


class _Watch:
    """Breaks an exchange off that takes too long: one timer, which is set again only when it rings.

    Keep-alives do not count as progress, and the time in which nobody reads does not count at all.

    Args:
        timeouts: How long to wait for what.
        provider: Name of the provider, for errors.

    Attributes:
        error: Why the exchange was broken off; `None` if it was not.
    """

    def __init__(self, timeouts: Timeouts, provider: str) -> None:
        self._timeouts = timeouts
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._ends_at = self._since + timeouts.total
        self._left = timeouts.first_token
        self._has_begun = False
        self._is_waiting = True
        self._response: aiohttp.ClientResponse | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.error: AiexError | None = None

    @property
    def due(self) -> float:
        """When (by the loop's clock) the present wait has taken too long."""
        return min(self._since + self._left, self._ends_at)

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Watch over the body of *response* from now on."""
        self._response = response
        self.rest()
        self._set(self._loop.time() + self._left)

    def wait(self) -> None:
        """Count the time from now on."""
        self._since = self._loop.time()
        self._is_waiting = True

    def rest(self) -> None:
        """Do not count the time until the next `wait`."""
        self._is_waiting = False
        self._left -= self._loop.time() - self._since

    def progress(self) -> None:
        """Note that something was generated."""
        self._left = self._timeouts.between_chunks
        if not self._has_begun:
            self._has_begun = True
            self._set(self._loop.time() + self._left)  # which may be sooner than it was set for

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        now = self._loop.time()
        due = self.due if self._is_waiting else min(now + self._left, self._ends_at)
        if now < due:
            self._set(due)
            return
        self.error = self.reason()
        if self._response is not None:
            _abort(self._response)

    def _set(self, at: float) -> None:
        self.stop()
        self._timer = self._loop.call_at(min(at, self._ends_at), self._ring)

    def reason(self) -> AiexError:
        """Return the error of a wait that has taken too long."""
        if self._ends_at <= self._since + self._left:
            seconds = self._timeouts.total
            return DeadlineError(f"{self._provider} did not finish within {seconds:g} s")
        if self._has_begun:
            seconds = self._timeouts.between_chunks
            return IncompleteStreamError(
                f"{self._provider} sent nothing for {seconds:g} s in the middle of its answer",
                provider=self._provider,
            )
        seconds = self._timeouts.first_token
        late = OverloadedError(
            f"{self._provider} sent no token within {seconds:g} s", provider=self._provider
        )
        late.may_be_billed = True
        return late


class Upstream:
    """One provider's address, and the pool of connections to it. Entered before use.

    Args:
        base_url: Address that paths are appended to, `http` or `https`.
        provider: Name of the provider, for errors.
        decode_error: The wire's reading of an answer that is not 2xx.
        api_key: Gives the key for each call, or `None`; must not block.
        headers: Gives the headers for a key; by default a bearer token.
        max_reply_bytes: Most bytes of one answer.
        reuses_connections: Whether to keep connections; some servers close them when they are
            about to be used again.

    Attributes:
        rate_limits: Rates that the latest answer told of.

    Raises:
        ConfigurationError: *base_url* is no such address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        decode_error: ErrorDecoder,
        api_key: Callable[[], str | None] = no_key,
        headers: Callable[[str | None], Mapping[str, str]] = bearer,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        reuses_connections: bool = True,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(
                f"the address of {provider} is no http(s) URL: {redacted(repr(base_url))}"
            )
        self._host = parts.hostname
        login, at, bare_host = parts.netloc.rpartition("@")
        # A login is sent as a header: an error must not show it, and aiohttp takes none beside
        # the header of a key.
        self._login = unquote(login) if at else None
        self._base_url = urlunsplit(parts._replace(netloc=bare_host)).rstrip("/")
        self._provider = provider
        self._decode_error = decode_error
        self._api_key = api_key
        self._headers = headers
        self._max_reply_bytes = max_reply_bytes
        self._reuses_connections = reuses_connections
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, yarl.URL] = {}
        self.rate_limits: tuple[RateLimit, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether the address is on this machine."""
        try:
            return ipaddress.ip_address(self._host).is_loopback
        except ValueError:
            return self._host == "localhost" or self._host.endswith(".localhost")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # How many calls may run at once is for the limits to say, not for the pool.
            connector=aiohttp.TCPConnector(
                limit=0, ttl_dns_cache=_DNS_SECONDS, force_close=not self._reuses_connections
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            # A compressed stream would come in lumps.
            headers={"Accept-Encoding": "identity", "User-Agent": "aiex"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def request(
        self, method: str, path: str, body: bytes | None = None, *, timeouts: Timeouts
    ) -> bytes:
        """Return the body of a 2xx answer.

        Raises:
            ProviderError: Any other answer, or none.
            LimitError: The answer says that a limit or budget is used up.
            DeadlineError: It took longer than `timeouts.total`.
        """
        key = self._api_key()
        exchange = None
        try:
            exchange = await self._open(method, path, body, key=key, timeouts=_whole(timeouts))
            return await exchange.rest()
        except AiexError as error:
            self._redact(error, key)
            raise
        finally:
            if exchange is not None:
                exchange.close()

    async def read(
        self, path: str, kind: type[T], *, timeouts: Timeouts, body: bytes | None = None
    ) -> T:
        """Return what a 2xx answer says: of a POST if there is a *body*, else of a GET.

        Raises:
            OverloadedError: It says something else than a *kind*.
            AiexError: As `request` does.
        """
        method = "GET" if body is None else "POST"
        answer = await self.request(method, path, body, timeouts=timeouts)
        try:
            return msgspec.json.decode(answer, type=kind)
        except UNREADABLE as error:
            raise OverloadedError(
                f"what {self._provider} says at {path} cannot be read: {error}",
                provider=self._provider,
            ) from error

    async def stream(
        self,
        path: str,
        body: bytes,
        *,
        decoder: StreamDecoder,
        decode_reply: Callable[[bytes], ModelReply],
        timeouts: Timeouts,
    ) -> AsyncGenerator[Delta, None]:
        """Yield the deltas of the answer to a POST; the last one is a `Finish`.

        An answer that is one JSON document, from a server that does not stream, is taken too.

        Args:
            path: Path below the base address.
            body: Body of the request, JSON.
            decoder: A new decoder of the wire.
            decode_reply: The wire's reading of an answer that is not streamed.
            timeouts: How long to wait for what.

        Raises:
            IncompleteStreamError: The stream ended, or stalled, before its terminal marker.
            ProviderError: The provider answered with an error, also inside the stream.
            LimitError: The same, when a limit or budget was the reason.
            DeadlineError: It took longer than `timeouts.total`.
        """
        batches = self.batches(
            path, body, decoder=decoder, decode_reply=decode_reply, timeouts=timeouts
        )
        async with aclosing(flattened(batches)) as deltas:
            async for delta in deltas:
                yield delta

    async def batches(
        self,
        path: str,
        body: bytes,
        *,
        decoder: StreamDecoder,
        decode_reply: Callable[[bytes], ModelReply],
        timeouts: Timeouts,
    ) -> AsyncGenerator[Sequence[Delta], None]:
        """Yield what `stream` yields, together what was read together."""
        key = self._api_key()
        exchange = None
        try:
            exchange = await self._open("POST", path, body, key=key, timeouts=timeouts)
            if exchange.is_document:
                yield deltas_of(decode_reply(await exchange.rest()))
                return
            while not decoder.is_over:
                data = await exchange.read()
                if not data:
                    break
                deltas = decoder.feed(data)
                if deltas:
                    yield deltas
                    exchange.progress()
            if deltas := decoder.end():
                yield deltas
            await exchange.drain()
        except AiexError as error:
            self._redact(error, key)
            raise
        finally:
            if exchange is not None:
                exchange.close()

    async def forward(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        heard: Heard | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the answer to a POST as they are read.

        Args:
            path: Path below the base address.
            body: Body of the request, JSON.
            headers: Headers beside those of every call; they win.
            timeouts: How long to wait for what.
            heard: What whoever reads the bytes finds in them; `None` for an answer that is not
                a stream, which comes whole.

        Raises:
            ProviderError: The answer is not 2xx, or cannot be had.
            LimitError: The same, when a limit or budget was the reason.
            IncompleteStreamError: The stream stalled.
            DeadlineError: It took longer than `timeouts.total`.
        """
        key = self._api_key()
        exchange = None
        waits = timeouts if heard is not None else _whole(timeouts)
        try:
            exchange = await self._open(
                "POST", path, body, key=key, timeouts=waits, headers=headers
            )
            if heard is None:
                yield await exchange.rest()
                return
            seen = heard.progress
            while data := await exchange.read():
                yield data
                if heard.is_over:
                    await exchange.drain()
                    return
                if heard.progress != seen:
                    seen = heard.progress
                    exchange.progress()
        except AiexError as error:
            self._redact(error, key)
            raise
        finally:
            if exchange is not None:
                exchange.close()

    async def _open(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        key: str | None,
        timeouts: Timeouts,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> _Exchange:
        """Send a request and return its answer once the head of a 2xx one has come."""
        watch = _Watch(timeouts, self._provider)
        limit = asyncio.timeout_at(watch.due)
        try:
            async with limit:
                response = await self._send(
                    method, path, body, key=key, headers=headers, timeouts=timeouts
                )
        except TimeoutError:
            if not limit.expired():
                raise
            raise watch.reason() from None
        return _Exchange(response, watch, provider=self._provider, max_bytes=self._max_reply_bytes)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        key: str | None,
        headers: Mapping[str, str],
        timeouts: Timeouts,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError(f"{type(self).__name__} is used before it is entered")
        sent = {**self._headers(key), **headers}
        if self._login is not None and "Authorization" not in sent:
            login = self._login if ":" in self._login else f"{self._login}:"
            sent["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        # aiohttp warns of large bytes, and reads a file piece by piece.
        data = io.BytesIO(body) if body and len(body) > _LARGE_BODY_BYTES else body
        try:
            response = await self._session.request(
                method,
                self._url(path),
                data=data,
                headers=sent,
                allow_redirects=False,  # a key goes to the address that it was given for
                timeout=_client_timeout(timeouts.connect),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error, timeouts) from error
        if any("ratelimit" in name.lower() for name in response.headers):
            self.rate_limits = rate_limits(_lowered(response)) or self.rate_limits
        if 200 <= response.status < 300:
            return response
        reason = await self._read_error(response)
        _log.info("%s answered %d", self._provider, response.status)
        raise self._decode_error(
            response.status, _lowered(response), reason, provider=self._provider
        )

    def _url(self, path: str) -> yarl.URL:
        url = self._urls.get(path)
        if url is None:
            url = yarl.URL(self._base_url + path, encoded="%" in path)
            if len(self._urls) < _MOST_URLS:
                self._urls[path] = url
        return url

    async def _read_error(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the beginning of a body that says what went wrong."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < _MAX_ERROR_BYTES and (data := await response.content.readany()):
                pieces.append(data)
                size += len(data)
        except (aiohttp.ClientError, OSError):
            pass  # the status says enough
        finally:
            if not response.content.at_eof():
                _abort(response)
        return b"".join(pieces)[:_MAX_ERROR_BYTES]

    def _unreachable(self, error: Exception, timeouts: Timeouts) -> ProviderError:
        where = f"{self._provider} at {self._base_url}"
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return ProviderError(
                f"{where} shows a certificate that is not trusted", provider=self._provider
            )
        was_sent = False
        if isinstance(error, TimeoutError):
            message = f"{where} did not take the connection within {timeouts.connect:g} s"
        elif isinstance(error, aiohttp.ClientConnectorError):
            message = f"{where} cannot be reached: {error.os_error.strerror or error.os_error}"
        else:
            message = f"{where} closed the connection without an answer"
            was_sent = True
        broken = OverloadedError(message, provider=self._provider)
        broken.may_be_billed = was_sent
        return broken

    def _redact(self, error: AiexError, key: str | None) -> None:
        """Take our key out of what the provider said; some repeat it."""
        if key:
            error.message = error.message.replace(key, _REDACTED)
            error.args = (error.message,)
        if isinstance(error, ProviderError) and error.provider is None:
            error.provider = self._provider


class _Exchange:
    """An answer whose head has come. Closed in the end, whatever happened."""

    def __init__(
        self, response: aiohttp.ClientResponse, watch: _Watch, *, provider: str, max_bytes: int
    ) -> None:
        self._response = response
        self._content = response.content
        self._watch = watch
        self._provider = provider
        self._max_bytes = max_bytes
        self._received = 0
        self.progress = watch.progress
        watch.begin(response)

    @property
    def is_document(self) -> bool:
        """Whether the answer is one JSON document, from a server that does not stream."""
        return self._response.content_type == "application/json"

    async def read(self, *, is_whole_needed: bool = False) -> bytes:
        """Return the next bytes; `b""` at the end, or where the connection broke.

        Args:
            is_whole_needed: Whether a connection that broke is an error, because nothing in the
                bytes themselves tells of it.
        """
        self._watch.wait()
        try:
            data = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            _log.debug("the connection to %s broke: %s", self._provider, error)
            if is_whole_needed and self._watch.error is None:
                raise OverloadedError(
                    f"the connection to {self._provider} broke in the middle of its answer",
                    provider=self._provider,
                ) from error
            data = b""
        self._watch.rest()
        if not data and self._watch.error is not None:
            raise self._watch.error
        self._received += len(data)
        if self._received > self._max_bytes:
            raise OverloadedError(
                f"the answer of {self._provider} is larger than {self._max_bytes} bytes",
                transient=False,
                provider=self._provider,
            )
        return data

    async def rest(self) -> bytes:
        """Return the whole body."""
        pieces: list[bytes] = []
        while data := await self.read(is_whole_needed=True):
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def drain(self) -> None:
        """Read what stands after the terminal marker, so that the connection can be used again."""
        if not self._content.at_eof():
            with anyio.move_on_after(_DRAIN_SECONDS):
                while await self.read():
                    pass

    def close(self) -> None:
        """Give the connection back, or drop it if something is still under way on it."""
        self._watch.stop()
        if not self._content.at_eof():
            _abort(self._response)


class UpstreamAdapter:
    """What adapters over one upstream share.

    Args:
        upstream: The way to the provider.
        provider: Name of the provider.
        timeouts: For everything but `stream`, which gets its own.
    """

    def __init__(self, upstream: Upstream, *, provider: str, timeouts: Timeouts | None) -> None:
        self._upstream = upstream
        self._provider = provider
        self._timeouts = timeouts or Timeouts(total=60.0)

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._provider

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached without leaving this machine."""
        return self._upstream.is_loopback

    @property
    def rate_limits(self) -> tuple[RateLimit, ...]:
        """Rates that the latest answer told of."""
        return self._upstream.rate_limits

    async def __aenter__(self) -> Self:
        await self._upstream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._upstream.__aexit__(kind, error, trace)


def _whole(timeouts: Timeouts) -> Timeouts:
    """Return *timeouts* for an answer that comes in one piece, of which nothing shows progress."""
    return Timeouts(
        connect=timeouts.connect,
        first_token=timeouts.total,
        between_chunks=timeouts.total,
        total=timeouts.total,
    )


@functools.lru_cache(maxsize=32)
def _client_timeout(connect: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect)


def _lowered(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _abort(response: aiohttp.ClientResponse) -> None:
    """Drop the connection now, whatever is still under way on it."""
    connection = response.connection
    transport = None if connection is None else connection.transport
    response.close()
    if transport is not None:
        transport.abort()  # a TLS connection would wait for the other side's goodbye
