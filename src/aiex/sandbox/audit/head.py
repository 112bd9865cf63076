"""Where the audit log ends: a small file beside it, so that a tail that was cut off shows.

It is rewritten in place, in one write of a fixed length, under the lock of the log.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

import msgspec

from aiex.sandbox.audit.chain import FIRST_PREV, Seal

__all__ = ["HEAD_NAME", "Head", "HeadFile", "read_head"]

HEAD_NAME: Final = "head"
_LENGTH: Final = 512
_LABEL: Final = b"head "
_encode = msgspec.json.Encoder().encode


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the log.

    Attributes:
        segment: Name of the file that is written; empty before the first.
        size: Bytes of it that count.
        seq: Number of the last record; 0 before the first.
        mac: Code of the last record.
        day: UTC day on which the segment began, such as `2026-11-25`.
        checked_seq: Last record that a checkpoint covers.
        checked_at: POSIX time of that checkpoint, seconds; of the log's beginning without one.
    """

    segment: str = ""
    size: int = 0
    seq: int = 0
    mac: str = FIRST_PREV
    day: str = ""
    checked_seq: int = 0
    checked_at: float = 0.0


class _Signed(msgspec.Struct, frozen=True, kw_only=True):
    mac: str
    head: msgspec.Raw


def read_head(directory: Path, seal: Seal) -> Head | None:
    """Return the end of the log in *directory*; `None` if nothing credible says where it is."""
    try:
        raw = (directory / HEAD_NAME).read_bytes()
    except OSError:
        return None
    return _decoded(raw, seal)


class HeadFile:
    """The file, held open; what this process wrote itself last need not be checked again.

    Args:
        handle: Handle of the file, which its owner closes.
        seal: Makes the codes.
    """

    def __init__(self, handle: int, seal: Seal) -> None:
        self._handle = handle
        self._seal = seal
        self._last: tuple[bytes, Head] = (b"", Head())

    def read(self) -> Head | None:
        """Return the end of the log; `None` if nothing credible says where it is.

        Raises:
            OSError: It cannot be read.
        """
        raw = os.pread(self._handle, _LENGTH, 0)
        return self._last[1] if raw == self._last[0] else _decoded(raw, self._seal)

    def write(self, head: Head) -> None:
        """Rewrite the file.

        Raises:
            OSError: It cannot be written.
        """
        body = _encode(head)
        raw = b'{"mac":"' + self._seal.code(_LABEL + body).encode() + b'","head":' + body + b"}"
        raw = raw.ljust(_LENGTH - 1) + b"\n"
        os.pwrite(self._handle, raw, 0)
        self._last = (raw, head)


def _decoded(raw: bytes, seal: Seal) -> Head | None:
    try:
        signed = msgspec.json.decode(raw.rstrip(b" \n"), type=_Signed)
        head = msgspec.json.decode(signed.head, type=Head)
    except msgspec.DecodeError:
        return None
    return head if hmac.compare_digest(signed.mac, seal.code(_LABEL + bytes(signed.head))) else None
