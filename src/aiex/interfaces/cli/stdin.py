"""What is piped in."""

from __future__ import annotations

import os
import stat
import sys

from aiex.core import UsageError

__all__ = ["is_terminal", "piped_text", "read_stdin"]

_MOST_BYTES = 4 << 20


def is_terminal() -> bool:
    """Return whether standard input is a terminal, or closed: there is nothing to read then."""
    return sys.stdin is None or sys.stdin.isatty()


def read_stdin() -> str:
    """Return standard input as text; bytes that are no UTF-8 become replacement characters.

    Raises:
        UsageError: It is empty or too large.
    """
    raw = _read()
    if not raw.strip():
        raise UsageError("standard input is empty", hint="aiex explain FILE")
    return _text(raw)


def piped_text() -> str | None:
    """Return what a pipe or a file at standard input holds; `None` for nothing.

    A terminal is not read, nor a device: whoever starts a program without an input gives it one
    of these.

    Raises:
        UsageError: It is too large.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return None
    raw = _read()
    return _text(raw) if raw.strip() else None


def _read() -> bytes:
    raw = b"" if sys.stdin is None else sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise UsageError(f"standard input is larger than {_MOST_BYTES >> 20} MB")
    return raw


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace").removeprefix("\ufeff")
