"""Identifiers: short, sortable by time, safe in a path, a key and a URL."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import datetime

__all__ = ["Entropy", "content_id", "new_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_ENTROPY_BYTES = 10


_POOL_BYTES = 4096


class Entropy:
    """Random bytes for identifiers, asked for in large pieces: each ask lets other threads run.

    Not for secrets: what is not given out yet stays in memory.

    Args:
        source: Gives that many random bytes.
    """

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._pool = b""
        self._at = 0
        self._process = 0

    def __call__(self, count: int, /) -> bytes:
        """Return *count* bytes that nobody was given before, in no process."""
        at, end = self._at, self._at + count
        if end > len(self._pool) or self._process != os.getpid():
            self._pool = self._source(max(_POOL_BYTES, count))
            self._process = os.getpid()
            at, end = 0, count
        self._at = end
        return self._pool[at:end]


_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)  # ten bits at once


def new_id(prefix: str, *, now: datetime, entropy: bytes) -> str:
    """Return an identifier such as `req_1kdvdna00r3c5v6b7n8m9p0q2`.

    Identifiers of one prefix sort by the millisecond in which they were made.

    Args:
        prefix: What the identifier names, lower-case letters.
        now: Wall time, aware.
        entropy: At least 10 random bytes; 80 bits of them are used.

    Raises:
        ValueError: *entropy* is too short.

    Example:
        >>> from datetime import UTC
        >>> new_id("req", now=datetime(2026, 1, 1, tzinfo=UTC), entropy=bytes(10))
        'req_1kdvdna000000000000000000'
    """
    if len(entropy) < _ENTROPY_BYTES:
        msg = f"{_ENTROPY_BYTES} random bytes are needed, got {len(entropy)}"
        raise ValueError(msg)
    millis = int(now.timestamp() * 1000)
    chance = int.from_bytes(entropy[:_ENTROPY_BYTES])
    pairs = _PAIRS
    return (  # without loops and calls: identifiers are made for every request
        f"{prefix}_{_ALPHABET[millis >> 40 & 31]}"
        f"{pairs[millis >> 30 & 1023]}{pairs[millis >> 20 & 1023]}"
        f"{pairs[millis >> 10 & 1023]}{pairs[millis & 1023]}"
        f"{pairs[chance >> 70]}{pairs[chance >> 60 & 1023]}"
        f"{pairs[chance >> 50 & 1023]}{pairs[chance >> 40 & 1023]}"
        f"{pairs[chance >> 30 & 1023]}{pairs[chance >> 20 & 1023]}"
        f"{pairs[chance >> 10 & 1023]}{pairs[chance & 1023]}"
    )


def content_id(*parts: str, digits: int = 12) -> str:
    """Return a stable identifier of *parts*: the same parts give the same identifier for ever.

    Args:
        parts: Texts whose order counts; any text is allowed.
        digits: Length of the answer in hexadecimal digits, 1 to 64.

    Example:
        >>> content_id("ruff:F401", "a.py", "import os")
        '2e27ce5d0007'
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()[:digits]
