"""Signed statements of where the log stood, to be kept where whoever cuts the log cannot reach.

A checkpoint is a signed note as C2SP describes it (signed-note and tlog-checkpoint, read
2026-11-25): the log's origin, the number of its records and the code of the last one, signed with
Ed25519. The code of a chain stands where a Merkle root would.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from aiex.core import ConfigurationError

__all__ = ["Anchor", "Checkpoint", "FileAnchor", "open_note", "sign_note", "verifier_key"]

_ALGORITHM = b"\x01"  # Ed25519, by C2SP's signed-note


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log stood.

    Attributes:
        origin: Name of the log.
        seq: Number of its last record.
        mac: Code of that record, 64 hexadecimal digits.
    """

    origin: str
    seq: int
    mac: str


class Anchor(Protocol):
    """A place for checkpoints that outlives the log."""

    def publish(self, note: str) -> None:
        """Keep *note*.

        Raises:
            OSError: It cannot be kept.
        """

    def notes(self) -> Iterator[str]:
        """Yield what was kept, oldest first.

        Raises:
            ConfigurationError: There is no such place.
        """


class FileAnchor:
    """Keeps checkpoints in a file: one JSON string a line. Best on another machine's disk.

    Args:
        path: The file; made with the first checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def publish(self, note: str) -> None:
        """Append *note*, and return once it is on disk."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self._path, flags, 0o600)
        try:
            os.write(handle, msgspec.json.encode(note) + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)

    def notes(self) -> Iterator[str]:
        """Yield the notes, oldest first; a last line that a kill cut short is none."""
        try:
            lines = self._path.open("rb")
        except OSError as error:
            raise ConfigurationError(
                f"the checkpoints {self._path} cannot be read ({error.strerror})",
                hint="name the file that they were sent to: aiex audit verify --anchor FILE",
            ) from error
        with lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                try:
                    yield msgspec.json.decode(line, type=str)
                except msgspec.DecodeError:
                    yield line.decode("utf-8", "replace")


def _public(seed: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - 30 ms
        Ed25519PrivateKey,
    )

    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _key_hash(origin: str, public: bytes) -> bytes:
    return hashlib.sha256(origin.encode() + b"\n" + _ALGORITHM + public).digest()[:4]


def verifier_key(origin: str, seed: bytes) -> str:
    """Return the public key in the form of signed notes, for those who check without our key."""
    public = _public(seed)
    key = base64.b64encode(_ALGORITHM + public).decode()
    return f"{origin}+{_key_hash(origin, public).hex()}+{key}"


def sign_note(checkpoint: Checkpoint, seed: bytes) -> str:
    """Return *checkpoint* as a signed note.

    Args:
        checkpoint: What to state.
        seed: Seed of the Ed25519 key, 32 bytes.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - 30 ms
        Ed25519PrivateKey,
    )

    root = base64.b64encode(bytes.fromhex(checkpoint.mac)).decode()
    text = f"{checkpoint.origin}\n{checkpoint.seq}\n{root}\n"
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(text.encode())
    signed = base64.b64encode(_key_hash(checkpoint.origin, _public(seed)) + signature).decode()
    return f"{text}\n\u2014 {checkpoint.origin} {signed}\n"


def open_note(note: str, origin: str, seed: bytes) -> Checkpoint | None:
    """Return what *note* states; `None` if the log *origin* did not sign it.

    Args:
        note: The signed note.
        origin: Name of the log that must have signed.
        seed: Seed of its key, 32 bytes.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - 30 ms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    text, _, signatures = note.partition("\n\n")
    public = _public(seed)
    wanted = _key_hash(origin, public)
    for line in signatures.splitlines():
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\u2014" or words[1] != origin:
            continue
        try:
            raw = base64.b64decode(words[2], validate=True)
            if raw[:4] != wanted:
                continue
            Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], (text + "\n").encode())
            named, seq, root = text.split("\n")[:3]
            mac = base64.b64decode(root, validate=True).hex()
            number = int(seq)
        except (ValueError, InvalidSignature):
            continue
        if named == origin:
            return Checkpoint(origin=named, seq=number, mac=mac)
    return None
