"""Where the audit log ends: a small file beside it, so that a tail that was cut off shows.

It is rewritten in place, in one write of a fixed length, under the lock of the log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from aiex.sandbox.audit.records import FIRST_PREV, Seal

__all__ = ["HEAD_NAME", "Head", "read_head", "write_head"]

HEAD_NAME: Final = "head"
_LENGTH: Final = 512


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
    head: Head
    mac: str


def _code(head: Head, seal: Seal) -> str:
    return seal.code(b"head " + msgspec.json.encode(head))


def read_head(directory: Path, seal: Seal) -> Head | None:
    """Return the end of the log in *directory*; `None` if nothing credible says where it is."""
    try:
        raw = (directory / HEAD_NAME).read_bytes()
        signed = msgspec.json.decode(raw.rstrip(b" \n"), type=_Signed)
    except (OSError, msgspec.DecodeError):
        return None
    return signed.head if signed.mac == _code(signed.head, seal) else None


def write_head(handle: int, head: Head, seal: Seal) -> None:
    """Rewrite the file behind *handle*.

    Raises:
        OSError: It cannot be written.
    """
    signed = msgspec.json.encode(_Signed(head=head, mac=_code(head, seal)))
    os.pwrite(handle, signed.ljust(_LENGTH - 1) + b"\n", 0)
