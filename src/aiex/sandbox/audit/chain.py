"""The chain that holds the records of the audit log together. Pure.

A line is the JSON of one record, ASCII, in a fixed order of fields. It names the code of the line
before it (`prev`) and ends with its own (`mac`): HMAC-SHA256, under a key of this machine, of
everything before that. So a line that was edited does not verify, and one that was removed, moved
or put in does not fit its neighbours.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Final

import msgspec

from aiex.core import AuditLine, AuditRecord

__all__ = ["FIRST_PREV", "Link", "Seal", "decode_line"]

FIRST_PREV: Final = "0" * 64
"""What the first record of a log names as the code of the one before it."""

_MAC_FIELD: Final = b',"mac":"'
_SUFFIX: Final = len(_MAC_FIELD) + 64 + len(b'"}')


class Link(msgspec.Struct, frozen=True):
    """What of a line the chain needs.

    Attributes:
        seq: Number in the log.
        prev: Code of the record before.
        mac: Code of this one.
    """

    seq: int
    prev: str
    mac: str


class _Fields(msgspec.Struct):
    seq: int
    prev: str


_decode_fields = msgspec.json.Decoder(_Fields).decode
_decode_line = msgspec.json.Decoder(AuditLine).decode
_encode = msgspec.json.Encoder().encode


class Seal:
    """Makes and checks the codes of lines.

    Args:
        key: The key of this machine, 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._hmac = hmac.new(key, digestmod="sha256")
        self.key_id = hashlib.sha256(key).hexdigest()[:12]

    def code(self, data: bytes) -> str:
        """Return the code of *data*, 64 hexadecimal digits."""
        mac = self._hmac.copy()
        mac.update(data)
        return mac.hexdigest()

    def line(
        self, record: AuditRecord, *, seq: int, at: datetime, node: str, prev: str
    ) -> tuple[bytes, str]:
        """Return the line of *record*, without its end, and its code.

        Args:
            record: The record.
            seq: Its number.
            at: Aware time.
            node: Name of this machine.
            prev: Code of the record before.
        """
        stamp = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        head = {
            "v": 1, "seq": seq, "ts": stamp, "node": node, "key_id": self.key_id, "prev": prev,
        }  # fmt: skip
        body = _ascii(_encode(head)[:-1] + b"," + _encoded(record)[1:-1])
        mac = self.code(body)
        return body + _MAC_FIELD + mac.encode() + b'"}', mac

    def link(self, line: bytes) -> Link | None:
        """Return the place in the chain that *line* proves to have; `None` if it proves none."""
        body, rest = line[:-_SUFFIX], line[-_SUFFIX:]
        if len(rest) != _SUFFIX or not rest.startswith(_MAC_FIELD) or not rest.endswith(b'"}'):
            return None
        try:
            mac = rest[len(_MAC_FIELD) : -2].decode("ascii")
            if not hmac.compare_digest(self.code(body), mac):
                return None
            fields = _decode_fields(body + b"}")
        except (UnicodeDecodeError, msgspec.DecodeError):
            return None
        return Link(fields.seq, fields.prev, mac)


def decode_line(line: bytes) -> AuditLine | None:
    """Return what *line* says, whether or not it is true; `None` if it is no record."""
    try:
        return _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _encoded(record: AuditRecord) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:  # a name that is not UTF-8: half a surrogate pair stands for a byte
        return _encode(_spelled_out(msgspec.to_builtins(record)))


def _spelled_out(value: object) -> object:
    """Return *value* with the halves of surrogate pairs as their escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list | tuple):
        return [_spelled_out(item) for item in value]
    if isinstance(value, dict):
        return {name: _spelled_out(item) for name, item in value.items()}
    return value


def _ascii(body: bytes) -> bytes:
    """Return the JSON object *body*, whose end is still open, with ASCII alone."""
    if body.isascii() and b"\x7f" not in body:
        return body
    text = json.dumps(json.loads(body + b"}"), separators=(",", ":"))
    return text[:-1].replace("\x7f", "\\u007f").encode("ascii")
