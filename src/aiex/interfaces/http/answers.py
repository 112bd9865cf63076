"""What answers say beside their bodies: statuses and headers."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

from aiex.core import ErrorInfo, UsageError, outcome_of

__all__ = ["JSON", "Send", "StatusError", "error_headers", "status_of"]

Send = Callable[[Any], Awaitable[None]]
"""ASGI's `send`."""

JSON = (b"content-type", b"application/json")

_KEPT = frozenset(
    {400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 500, 502, 503, 504, 529}
)


class StatusError(UsageError):
    """What HTTP has a status of its own for.

    Attributes:
        status: The status.
    """

    def __init__(self, status: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, transient=status == 408)
        self.status = status


def status_of(info: ErrorInfo) -> int:
    """Return the HTTP status of an answer that says *info*: the provider's own where it has one."""
    if info.status in _KEPT:
        return info.status
    status = outcome_of(info.code).http_status
    return 503 if status == 499 else status  # only a server that ends cancels what still runs


def error_headers(info: ErrorInfo) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell a client whether, and when, to try again.

    Both official SDKs read `x-should-retry` and `retry-after-ms` (openai 3.54, anthropic 1.8).
    """
    headers = [(b"x-should-retry", b"true" if info.transient else b"false")]
    if info.retry_after is not None:
        headers += [
            (b"retry-after", b"%d" % math.ceil(info.retry_after)),
            (b"retry-after-ms", b"%d" % math.ceil(info.retry_after * 1000)),
        ]
    return headers
