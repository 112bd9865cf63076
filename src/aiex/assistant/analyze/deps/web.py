"""Asking services over HTTP: bounded, patient with what passes, done with what is dead."""

from __future__ import annotations

import random
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import anyio
import anyio.to_thread
import msgspec

from aiex.core import NotFoundError, UnavailableError
from aiex.llm import wait_before_retry

__all__ = ["Web", "WebLimits", "decoded", "host_of"]

_SILENT_TRIES = 3

T = TypeVar("T")


class WebLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a service's time and memory an answer may take.

    Attributes:
        connect: Seconds to wait for a connection.
        answer: Seconds for one whole answer.
        max_bytes: Most bytes of one answer.
    """

    connect: float = 5.0
    answer: float = 30.0
    max_bytes: int = 64 << 20


class Web:
    """A pool of connections, which is entered before use.

    A host that cannot be connected to, or that gives no answer several times in a row, is given
    up: what else would be asked of it fails at once with the same reason.

    Args:
        limits: How much an answer may take.
        certificates: File of the authorities to trust; `None` for the system's.
        logins: User and password by host.
        entropy: Gives a random number in [0, 1) for the waits between tries.
    """

    def __init__(
        self,
        *,
        limits: WebLimits = WebLimits(),  # noqa: B008 - it is frozen
        certificates: Path | None = None,
        logins: Mapping[str, tuple[str, str]] | None = None,
        entropy: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits
        self._certificates = certificates
        self._logins = logins or {}
        self._entropy = entropy
        self._down: dict[str, str] = {}
        self._silent: dict[str, int] = {}
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = await anyio.to_thread.run_sync(_tls, self._certificates)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(
                total=self._limits.answer, sock_connect=self._limits.connect
            ),
            headers={"User-Agent": "aiex"},
            trust_env=True,  # proxies, as pip, npm and go have them
        )
        self._session = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session = None
        await self._stack.aclose()

    async def get(self, url: str, *, accept: str = "application/json") -> tuple[str, bytes]:
        """Return the kind and the bytes of what stands at *url*.

        Raises:
            NotFoundError: Nothing does.
            UnavailableError: It cannot be had.
        """
        return await self._ask("GET", url, accept, None)

    async def post(self, url: str, body: bytes) -> bytes:
        """Return the answer to *body*, JSON.

        Raises:
            NotFoundError: Nothing answers there.
            UnavailableError: It cannot be had.
        """
        return (await self._ask("POST", url, "application/json", body))[1]

    async def _ask(
        self, method: str, url: str, accept: str, body: bytes | None
    ) -> tuple[str, bytes]:
        host = host_of(url)
        for retries in range(10):
            if host in self._down:
                raise UnavailableError(self._down[host])
            try:
                answer = await self._once(method, url, accept, body)
            except UnavailableError as error:
                wait = wait_before_retry(
                    error, retries=retries, entropy=self._entropy(), seconds_left=None
                )
                if wait is None or wait > self._limits.answer:
                    self._note_silence(host, error)
                    raise
                await anyio.sleep(wait)
            else:
                self._silent[host] = 0
                return answer
        raise AssertionError

    def _note_silence(self, host: str, error: UnavailableError) -> None:
        if not error.transient:
            return  # it does answer
        self._silent[host] = self._silent.get(host, 0) + 1
        if self._silent[host] >= _SILENT_TRIES or isinstance(error, _NoConnectionError):
            self._down[host] = error.message

    async def _once(
        self, method: str, url: str, accept: str, body: bytes | None
    ) -> tuple[str, bytes]:
        if self._session is None:
            raise RuntimeError(f"{type(self).__name__} is used before it is entered")
        host = host_of(url)
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/json"
        login = self._logins.get(urlsplit(url).hostname or "")
        if login is not None:
            # aiohttp takes it away again where an answer leads to another host.
            headers["Authorization"] = f"Basic {b64encode(':'.join(login).encode()).decode()}"
        try:
            async with self._session.request(
                method,
                _without_login(url),
                data=body,
                headers=headers,
                max_redirects=5,
            ) as response:
                _check_status(response, host)
                return response.content_type, await self._body(response, host)
        except aiohttp.ClientConnectorCertificateError as error:
            raise UnavailableError(f"{host} shows a certificate that is not trusted") from error
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or str(error.os_error) or type(error).__name__
            raise _NoConnectionError(f"{host} cannot be reached: {reason}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise _NoConnectionError(
                f"{host} did not take the connection within {self._limits.connect:g} s"
            ) from error
        except TimeoutError as error:
            raise UnavailableError(
                f"{host} did not answer within {self._limits.answer:g} s", transient=True
            ) from error
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, ValueError) as error:
            raise UnavailableError(f"{host} leads to no address that can be asked") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(f"{host} broke the connection", transient=True) from error

    async def _body(self, response: aiohttp.ClientResponse, host: str) -> bytes:
        pieces = bytearray()
        async for piece in response.content.iter_any():
            pieces += piece
            if len(pieces) > self._limits.max_bytes:
                raise UnavailableError(
                    f"the answer of {host} is larger than {self._limits.max_bytes} bytes"
                )
        return bytes(pieces)


class _NoConnectionError(UnavailableError):
    """There is nobody at the other end."""

    def __init__(self, message: str) -> None:
        super().__init__(message, transient=True)


def _check_status(response: aiohttp.ClientResponse, host: str) -> None:
    status = response.status
    if status in {404, 410}:
        raise NotFoundError(f"{host} knows nothing of it")
    if status in {401, 403, 407}:
        raise UnavailableError(f"{host} answered {status}: it wants a login")
    if status >= 300:
        raise UnavailableError(
            f"{host} answered {status} {response.reason or ''}".rstrip(),
            transient=status in {408, 425, 429} or status >= 500,
            retry_after=_seconds(response.headers.get("Retry-After", "")),
        )


def _seconds(text: str) -> float | None:
    return float(text) if text.isdigit() and len(text) < 6 else None


def decoded(decode: Callable[[bytes], T], body: bytes, host: str) -> T:
    """Return what *decode* makes of an answer.

    Raises:
        UnavailableError: It cannot be read.
    """
    try:
        return decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise UnavailableError(f"the answer of {host} cannot be read: {error}") from error


def host_of(url: str) -> str:
    """Return host and port of an address, without any login.

    Example:
        >>> host_of("https://me:secret@example.org:8080/simple")
        'example.org:8080'
    """
    return urlsplit(url).netloc.rpartition("@")[2]


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UnavailableError(f"{host_of(url) or 'an address'} is no http(s) address")
    return urlunsplit(parts._replace(netloc=host_of(url)))


def _tls(certificates: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates)
