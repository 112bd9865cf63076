"""One request and its answer, watched over: how long it may take, and how large it may be."""

from __future__ import annotations

import asyncio
import logging
import zlib

import anyio

from aiex.core import (
    AiexError,
    DeadlineError,
    IncompleteStreamError,
    OverloadedError,
)
from aiex.llm.adapters.connection import Connection
from aiex.llm.adapters.pool import Pool
from aiex.llm.ports import Timeouts

__all__ = ["Exchange", "Watch"]

_DRAIN_SECONDS = 0.1
_EITHER_HEADER = 32 + zlib.MAX_WBITS  # of gzip or of zlib

_log = logging.getLogger(__name__)


class Watch:
    """Breaks an exchange off that takes too long: one timer, which is set again only when it rings.

    Keep-alives do not count as progress, and the time in which nobody reads does not count at all.

    Args:
        timeouts: How long to wait for what; counted from now on.
        provider: Name of the provider, for errors.

    Attributes:
        error: Why the exchange was broken off; `None` if it was not.
    """

    __slots__ = (
        *("_connection", "_ends_at", "_has_begun", "_is_waiting", "_left", "_loop", "_provider"),
        *("_since", "_timeouts", "_timer", "error"),
    )

    def __init__(self, timeouts: Timeouts, provider: str) -> None:
        self._timeouts = timeouts
        self._provider = provider
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._ends_at = self._since + timeouts.total
        self._left = timeouts.first_token
        self._has_begun = False
        self._is_waiting = True
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.error: AiexError | None = None

    @property
    def due(self) -> float:
        """When (by the loop's clock) the present wait has taken too long."""
        return min(self._since + self._left, self._ends_at)

    def over(self, connection: Connection) -> None:
        """Watch over what comes on *connection* from now on."""
        self._connection = connection
        if self._timer is None:
            self._set(self.due)

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
        self._has_begun = True

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()

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

    def _ring(self) -> None:
        now = self._loop.time()
        due = self.due if self._is_waiting else min(now + self._left, self._ends_at)
        if now < due:
            self._set(due)
            return
        self.error = self.reason()
        if self._connection is not None:
            self._connection.abort()

    def _set(self, due: float) -> None:
        # Progress may bring the end of a wait nearer, but never nearer than this; so that it need
        # not set the timer.
        at = min(due, self._loop.time() + self._timeouts.between_chunks, self._ends_at)
        self._timer = self._loop.call_at(at, self._ring)


class Exchange:
    """A request and its answer. Closed in the end, whatever happened.

    Args:
        connection: What they go over, and nothing else meanwhile.
        pool: Where it came from.
        watch: Watches over the time.
        provider: Name of the provider, for errors.
        max_bytes: Most bytes of the answer's body.
        keeps: Whether the connection may be used again.
    """

    __slots__ = (
        *("_connection", "_inflate", "_keeps", "_max_bytes", "_pool", "_provider", "_received"),
        *("_watch", "progress"),
    )

    def __init__(
        self,
        connection: Connection,
        pool: Pool,
        watch: Watch,
        *,
        provider: str,
        max_bytes: int,
        keeps: bool,
    ) -> None:
        self._connection = connection
        self._pool = pool
        self._watch = watch
        self._provider = provider
        self._max_bytes = max_bytes
        self._keeps = keeps
        self._received = 0
        self._inflate: zlib._Decompress | None = None
        self.progress = watch.progress

    @property
    def status(self) -> int:
        """Status of the answer."""
        return self._connection.status

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers of the answer, names in lower case."""
        return self._connection.headers

    @property
    def is_document(self) -> bool:
        """Whether the answer is one JSON document, from a server that does not stream."""
        kind = self.headers.get(b"content-type", b"").partition(b";")[0]
        return kind.strip().lower() == b"application/json"

    async def begin(self, head: bytes, body: bytes) -> None:
        """Send the request, and wait for the head of the answer.

        Raises:
            ConnectionError: The connection broke before; `Watch.error` says if that was the watch.
        """
        self._watch.over(self._connection)
        self._connection.ask(head, body)
        await self._connection.answered()
        self._watch.rest()
        if self.headers.get(b"content-encoding", b"").lower() in {b"gzip", b"x-gzip", b"deflate"}:
            # It was asked for none; some do it all the same.
            self._inflate = zlib.decompressobj(_EITHER_HEADER)

    async def read(self, *, is_whole_needed: bool = False) -> bytes:
        """Return the next bytes; `b""` at the end, or where the connection broke.

        Args:
            is_whole_needed: Whether a connection that broke is an error, because nothing in the
                bytes themselves tells of it.
        """
        try:
            data = await self._next()
        except (OSError, zlib.error) as error:
            _log.debug("the connection to %s broke: %s", self._provider, error)
            if is_whole_needed and self._watch.error is None:
                raise OverloadedError(
                    f"the connection to {self._provider} broke in the middle of its answer",
                    provider=self._provider,
                ) from error
            data = b""
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

    async def _next(self) -> bytes:
        while True:
            data = self._connection.taken()
            if not data:
                self._watch.wait()
                data = await self._connection.read()
                self._watch.rest()
            if not data or self._inflate is None:
                return data
            most = self._max_bytes - self._received + 1
            if data := self._inflate.decompress(data, most):
                return data

    async def rest(self) -> bytes:
        """Return the whole body."""
        pieces: list[bytes] = []
        while data := await self.read(is_whole_needed=True):
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def beginning(self, size: int) -> bytes:
        """Return at least the first *size* bytes of the body, or what there is of it."""
        pieces: list[bytes] = []
        while sum(map(len, pieces)) < size and (data := await self.read()):
            pieces.append(data)
        return b"".join(pieces)

    async def drain(self) -> None:
        """Read what stands after the terminal marker, so that the connection can be used again."""
        if not self._connection.is_complete:
            with anyio.move_on_after(_DRAIN_SECONDS):
                while await self.read():
                    pass

    def close(self) -> None:
        """Give the connection back, or drop it if something is still under way on it."""
        self._watch.stop()
        self._pool.give_back(self._connection, keeps=self._keeps)
