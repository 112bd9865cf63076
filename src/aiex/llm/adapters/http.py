"""The HTTP side that all adapters share: one connection pool, four time-outs, bounds, errors.

Nothing here retries. A stream that is closed or cancelled drops its connection at once, because
that is what stops the provider's work and its bill.
"""

from __future__ import annotations

import io
import ipaddress
import logging
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Protocol, Self, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import anyio
import msgspec

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
from aiex.llm.ports import Timeouts
from aiex.wires import UNREADABLE, RateLimit, StreamDecoder, deltas_of, rate_limits

__all__ = [
    "MAX_REPLY_BYTES",
    "ErrorDecoder",
    "Upstream",
    "UpstreamAdapter",
    "bearer",
    "no_key",
]

MAX_REPLY_BYTES = 256 * 1024 * 1024
"""Most bytes of one answer, a whole stream included; what is larger is a fault or an attack."""

_MAX_ERROR_BYTES = 256 * 1024
_LARGE_BODY_BYTES = 1024 * 1024
_DRAIN_SECONDS = 0.1
_REDACTED = "[key]"

_log = logging.getLogger(__name__)
T = TypeVar("T")


class ErrorDecoder(Protocol):
    """Turns an answer that is not 2xx into an error: a wire's `decode_error`."""

    def __call__(
        self, status: int, headers: Mapping[str, str], body: bytes, *, provider: str
    ) -> AiexError:
        """Return the error that *body* and *headers*, names in lower case, tell of."""


def no_key() -> str | None:
    """Return `None`: the key of a provider that wants none."""
    return None


def bearer(key: str | None) -> Mapping[str, str]:
    """Return the headers that carry *key* as a bearer token; none without a key."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


class _Patience:
    """How long the next wait may be, so that keep-alives and a slow reader do not count."""

    def __init__(self, timeouts: Timeouts, provider: str) -> None:
        self._timeouts = timeouts
        self._provider = provider
        self._left = timeouts.first_token
        self._has_begun = False
        self._ends_at = anyio.current_time() + timeouts.total

    def progress(self) -> None:
        """Note that something was generated."""
        self._has_begun = True
        self._left = self._timeouts.between_chunks

    async def wait(self, step: Awaitable[T]) -> T:
        """Return what *step* gives.

        Raises:
            OverloadedError: The first token did not come in time.
            IncompleteStreamError: The stream stalled.
            DeadlineError: The whole call takes too long.
        """
        begun_at = anyio.current_time()
        is_last = self._ends_at - begun_at <= self._left
        scope = anyio.CancelScope(deadline=min(self._ends_at, begun_at + self._left))
        with scope:
            result = await step
            self._left -= anyio.current_time() - begun_at
            return result
        raise self._error(is_last=is_last)

    def _error(self, *, is_last: bool) -> AiexError:
        if is_last:
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
            connector=aiohttp.TCPConnector(force_close=not self._reuses_connections),
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
        whole = Timeouts(connect=timeouts.connect, first_token=timeouts.total, total=timeouts.total)
        patience = _Patience(whole, self._provider)
        key = self._api_key()
        response = None
        try:
            response = await patience.wait(self._send(method, path, body, key, timeouts))
            return await patience.wait(self._read_all(response))
        except AiexError as error:
            self._redact(error, key)
            raise
        finally:
            if response is not None and not response.content.at_eof():
                _abort(response)

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
        patience = _Patience(timeouts, self._provider)
        key = self._api_key()
        response = None
        try:
            response = await patience.wait(self._send("POST", path, body, key, timeouts))
            if response.content_type == "application/json":
                reply = decode_reply(await patience.wait(self._read_all(response)))
                for delta in deltas_of(reply):
                    yield delta
                return
            received = 0
            while not decoder.is_over:
                data = await patience.wait(self._read_some(response))
                if not data:
                    break
                received += len(data)
                if received > self._max_reply_bytes:
                    raise self._too_large()
                deltas = decoder.feed(data)
                for delta in deltas:
                    yield delta
                if deltas:
                    patience.progress()
            for delta in decoder.end():
                yield delta
            await self._drain(response)
        except AiexError as error:
            self._redact(error, key)
            raise
        finally:
            if response is not None and not response.content.at_eof():
                _abort(response)

    async def _send(
        self, method: str, path: str, body: bytes | None, key: str | None, timeouts: Timeouts
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError(f"{type(self).__name__} is used before it is entered")
        headers = dict(self._headers(key))
        if self._login is not None and "Authorization" not in headers:
            login = self._login if ":" in self._login else f"{self._login}:"
            headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        # aiohttp warns of large bytes, and reads a file piece by piece.
        data = io.BytesIO(body) if body and len(body) > _LARGE_BODY_BYTES else body
        try:
            response = await self._session.request(
                method,
                self._base_url + path,
                data=data,
                headers=headers,
                allow_redirects=False,  # a key goes to the address that it was given for
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error, timeouts) from error
        said = {name.lower(): value for name, value in response.headers.items()}
        self.rate_limits = rate_limits(said) or self.rate_limits
        if response.ok and response.status < 300:
            return response
        try:
            reason = await self._read_all(response, limit=_MAX_ERROR_BYTES)
        finally:
            if not response.content.at_eof():
                _abort(response)
        _log.info("%s answered %d", self._provider, response.status)
        raise self._decode_error(response.status, said, reason, provider=self._provider)

    async def _read_some(self, response: aiohttp.ClientResponse) -> bytes:
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            _log.debug("the connection to %s broke: %s", self._provider, error)
            return b""  # the decoder knows whether this was the end

    async def _read_all(
        self, response: aiohttp.ClientResponse, *, limit: int | None = None
    ) -> bytes:
        """Return the whole body; one that is longer than *limit* is cut there."""
        pieces: list[bytes] = []
        size = 0
        while True:
            try:
                data = await response.content.readany()
            except (aiohttp.ClientError, OSError) as error:
                if limit is not None:
                    break
                raise OverloadedError(
                    f"the connection to {self._provider} broke in the middle of its answer",
                    provider=self._provider,
                ) from error
            if not data:
                break
            pieces.append(data)
            size += len(data)
            if limit is not None and size >= limit:
                break
            if size > self._max_reply_bytes:
                raise self._too_large()
        return b"".join(pieces)[:limit]

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Read what stands after the terminal marker, so that the connection can be used again."""
        with anyio.move_on_after(_DRAIN_SECONDS):
            while await self._read_some(response):
                pass

    def _too_large(self) -> OverloadedError:
        return OverloadedError(
            f"the answer of {self._provider} is larger than {self._max_reply_bytes} bytes",
            transient=False,
            provider=self._provider,
        )

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


def _abort(response: aiohttp.ClientResponse) -> None:
    """Drop the connection now, whatever is still under way on it."""
    connection = response.connection
    transport = None if connection is None else connection.transport
    response.close()
    if transport is not None:
        transport.abort()  # a TLS connection would wait for the other side's goodbye
