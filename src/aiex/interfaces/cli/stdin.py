"""What is piped in."""

from __future__ import annotations

import sys

from aiex.core import UsageError

__all__ = ["read_stdin"]

_MOST_BYTES = 4 << 20


def read_stdin() -> str:
    """Return standard input as text; bytes that are no UTF-8 become replacement characters.

    Raises:
        UsageError: It is empty or too large.
    """
    raw = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise UsageError(f"standard input is larger than {_MOST_BYTES >> 20} MB")
    if not raw.strip():
        raise UsageError("standard input is empty", hint="aiex explain FILE")
    return raw.decode("utf-8", errors="replace").removeprefix("\ufeff")
