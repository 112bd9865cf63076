"""Identifiers: short, sortable by time, safe in a path, a key and a URL."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import datetime

__all__ = ["Entropy", "content_id", "new_id"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_TIME_DIGITS = 9
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


_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


def _base32(number: int, digits: int) -> str:
    """Return *number*, which has at most 50 bits, in *digits* digits of base 32."""
    pairs = _PAIRS  # ten bits at once, and without a loop: identifiers are made for every request
    text = (
        pairs[number >> 40 & 1023]
        + pairs[number >> 30 & 1023]
        + pairs[number >> 20 & 1023]
        + pairs[number >> 10 & 1023]
        + pairs[number & 1023]
    )
    return text[-digits:]


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
    high = int.from_bytes(entropy[:5], "big")
    low = int.from_bytes(entropy[5:_ENTROPY_BYTES], "big")
    return f"{prefix}_{_base32(millis, _TIME_DIGITS)}{_base32(high, 8)}{_base32(low, 8)}"


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
