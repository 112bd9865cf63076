"""The HTTP side that all adapters share: one connection pool, four time-outs, bounds, errors.

Nothing here retries a call. A stream that is closed or cancelled drops its connection at once,
because that is what stops the provider's work and its bill.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Protocol, Self, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from aiex.core import (
    AiexError,
    ConfigurationError,
    Delta,
    ModelReply,
    OverloadedError,
    ProviderError,
    redacted,
)
from aiex.llm.adapters.connection import Connection
from aiex.llm.adapters.exchange import Exchange, Watch
from aiex.llm.adapters.pool import Pool
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
_PORTS = {"http": 80, "https": 443}
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_OF_A_PATH = "%/?:@!$&'()*+,;=~"
_MOST_HEADS = 64
_BREAK = re.compile(r"[\r\n\0]")
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
        try:
            parts = urlsplit(base_url)
            if parts.scheme not in _PORTS or not parts.hostname:
                raise ValueError
            self._host = parts.hostname.encode("idna").decode()
            port = parts.port
        except ValueError:
            raise ConfigurationError(
                f"the address of {provider} is no http(s) URL: {redacted(repr(base_url))}"
            ) from None
        login, at, bare_host = parts.netloc.rpartition("@")
        # A login is sent as a header: an error must not show it.
        self._login = unquote(login) if at else None
        self._base_url = urlunsplit(parts._replace(netloc=bare_host)).rstrip("/")
        self._path = parts.path.rstrip("/")
        self._is_tls = parts.scheme == "https"
        self._port = port or _PORTS[parts.scheme]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._usual = {
            "Host": host if self._port == _PORTS[parts.scheme] else f"{host}:{self._port}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",  # a compressed stream would come in lumps
            "User-Agent": "aiex",
        }
        if not reuses_connections:
            self._usual["Connection"] = "close"
        self._provider = provider
        self._decode_error = decode_error
        self._api_key = api_key
        self._headers = headers
        self._max_reply_bytes = max_reply_bytes
        self._reuses_connections = reuses_connections
        self._pool: Pool | None = None
        self._heads: dict[object, bytes] = {}  # they are the same for one call after another
        self.rate_limits: tuple[RateLimit, ...] = ()

    @property
    def is_loopback(self) -> bool:
        """Whether the address is on this machine."""
        try:
            return ipaddress.ip_address(self._host).is_loopback
        except ValueError:
            return self._host == "localhost" or self._host.endswith(".localhost")

    async def __aenter__(self) -> Self:
        self._pool = Pool(self._host, self._port, is_tls=self._is_tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeouts: Timeouts,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> bytes:
        """Return the body of a 2xx answer.

        Args:
            method: HTTP method.
            path: Path below the base address.
            body: Body of the request, JSON.
            timeouts: How long to wait for what; of those for tokens the total takes the place.
            headers: Headers beside those of every call; they win.

        Raises:
            ProviderError: Any other answer, or none.
            LimitError: The answer says that a limit or budget is used up.
            DeadlineError: It took longer than `timeouts.total`.
        """
        key = self._api_key()
        exchange = None
        try:
            exchange = await self._open(
                method, path, body, key=key, timeouts=_whole(timeouts), headers=headers
            )
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
        heard: Heard,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the answer to a POST as they are read.

        Args:
            path: Path below the base address.
            body: Body of the request, JSON.
            headers: Headers beside those of every call; they win.
            timeouts: How long to wait for what.
            heard: What whoever reads the bytes finds in them.

        Raises:
            ProviderError: The answer is not 2xx, or cannot be had.
            LimitError: The same, when a limit or budget was the reason.
            IncompleteStreamError: The stream stalled.
            DeadlineError: It took longer than `timeouts.total`.
        """
        key = self._api_key()
        exchange = None
        try:
            exchange = await self._open(
                "POST", path, body, key=key, timeouts=timeouts, headers=headers
            )
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
    ) -> Exchange:
        """Send a request and return its answer once the head of a 2xx one has come."""
        if self._pool is None:
            raise RuntimeError(f"{type(self).__name__} is used before it is entered")
        head = self._head(method, path, body, key=key, headers=headers)
        exchange = await self._ask(
            head, body or b"", may_repeat=method in _REPEATABLE, timeouts=timeouts
        )
        try:
            if any(b"ratelimit" in name for name in exchange.headers):
                self.rate_limits = rate_limits(_lowered(exchange.headers)) or self.rate_limits
            if 200 <= exchange.status < 300:
                return exchange
            reason = await exchange.beginning(_MAX_ERROR_BYTES)
            _log.info("%s answered %d", self._provider, exchange.status)
            raise self._decode_error(
                exchange.status,
                _lowered(exchange.headers),
                reason[:_MAX_ERROR_BYTES],
                provider=self._provider,
            )
        except BaseException:
            exchange.close()
            raise

    async def _ask(
        self, head: bytes, body: bytes, *, may_repeat: bool, timeouts: Timeouts
    ) -> Exchange:
        """Send a request and return its answer once its head has come.

        A server may close a connection that was idle just when it is used again: then the
        request is sent once more if *may_repeat*.
        """
        pool = cast("Pool", self._pool)
        watch = Watch(timeouts, self._provider)
        connection = pool.idle()
        while True:
            if connection is None:
                connection = await self._connect(pool, watch, timeouts)
            is_again = connection.asked > 0
            exchange = Exchange(
                connection,
                pool,
                watch,
                provider=self._provider,
                max_bytes=self._max_reply_bytes,
                keeps=self._reuses_connections,
            )
            try:
                await exchange.begin(head, body)
            except ConnectionError as error:
                exchange.close()
                if watch.error is not None:
                    raise watch.error from None
                if not (may_repeat and is_again) or connection.has_spoken:
                    raise self._unanswered() from error
                connection = None
            except BaseException:
                exchange.close()
                raise
            else:
                return exchange

    async def _connect(self, pool: Pool, watch: Watch, timeouts: Timeouts) -> Connection:
        loop = asyncio.get_running_loop()
        ends_at = min(loop.time() + timeouts.connect, watch.due)
        limit = asyncio.timeout_at(ends_at)
        try:
            async with limit:
                return await pool.connect()
        except OSError as error:
            if limit.expired() and ends_at == watch.due:
                raise watch.reason() from None
            raise self._unreachable(error, timeouts) from error

    def _head(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        key: str | None,
        headers: Mapping[str, str],
    ) -> bytes:
        """Return the first line and the headers of a request.

        Raises:
            ConfigurationError: One of them would become several.
        """
        told = (method, path, key, *headers.items())
        head = self._heads.get(told)
        if head is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            head = self._heads[told] = self._head_without_body(method, path, key, headers)
        if body is None:
            return head + b"\r\n"
        return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (head, len(body))

    def _head_without_body(
        self, method: str, path: str, key: str | None, headers: Mapping[str, str]
    ) -> bytes:
        sent = {**self._usual, **self._headers(key), **headers}
        if self._login is not None and "Authorization" not in sent:
            login = self._login if ":" in self._login else f"{self._login}:"
            sent["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        lines = [f"{name}: {value}" for name, value in sent.items()]
        lines.insert(0, f"{method} {quote(self._path + path, safe=_OF_A_PATH)} HTTP/1.1")
        if _BREAK.search(" ".join(lines)):
            raise ConfigurationError(
                f"what is sent to {self._provider} has a line break in its headers",
                hint=f"look at the key of {self._provider}: it must be one line",
            )
        return "\r\n".join([*lines, ""]).encode("utf-8", "surrogateescape")

    def _unreachable(self, error: OSError, timeouts: Timeouts) -> ProviderError:
        where = f"{self._provider} at {self._base_url}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return ProviderError(
                f"{where} shows a certificate that is not trusted", provider=self._provider
            )
        if isinstance(error, TimeoutError) and error.errno is None:
            message = f"{where} did not take the connection within {timeouts.connect:g} s"
        else:
            message = f"{where} cannot be reached: {error.strerror or error}"
        return OverloadedError(message, provider=self._provider)

    def _unanswered(self) -> ProviderError:
        broken = OverloadedError(
            f"{self._provider} at {self._base_url} closed the connection without an answer",
            provider=self._provider,
        )
        broken.may_be_billed = True
        return broken

    def _redact(self, error: AiexError, key: str | None) -> None:
        """Take our key out of what the provider said; some repeat it."""
        if key:
            error.message = error.message.replace(key, _REDACTED)
            error.args = (error.message,)
        if isinstance(error, ProviderError) and error.provider is None:
            error.provider = self._provider


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


def _lowered(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {
        name.decode("latin-1"): value.decode("utf-8", "surrogateescape")
        for name, value in headers.items()
    }
