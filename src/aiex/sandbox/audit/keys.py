"""The key of the audit log: 32 random bytes in a private file, made with the log.

The signing key of checkpoints is derived from it, so that there is one secret to keep. Who has it
can forge the log of this machine: only an anchor elsewhere shows that.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from aiex.core import ConfigurationError, RefusedError

__all__ = ["KEY_NAME", "make_key", "read_key", "signing_seed"]

KEY_NAME: Final = "audit.key"
_BYTES: Final = 32


def read_key(directory: Path) -> bytes | None:
    """Return the key of the log in *directory*; `None` if there is none.

    Raises:
        RefusedError: Others than its owner can read it, or it is no key.
    """
    path = directory / KEY_NAME
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(f"the audit key {path} cannot be read ({error.strerror})") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
            raise RefusedError(
                f"the audit key {path} is open to others than its owner, so it proves nothing",
                hint=f"chmod 600 {path}, and ask how that came about",
            )
        text = os.read(handle, 4096).decode("ascii", "replace").strip()
    finally:
        os.close(handle)
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise RefusedError(
            f"{path} holds no audit key: expected {2 * _BYTES} hexadecimal digits",
            hint="restore it from a backup, or move the folder away to begin a new log",
        )
    return key


def make_key(directory: Path) -> bytes:
    """Make a key for a log that begins now, under the log's lock, and return it.

    Raises:
        OSError: It cannot be written.
        ConfigurationError: There is a key already.
    """
    path = directory / KEY_NAME
    key = secrets.token_bytes(_BYTES)
    part = directory / f"{KEY_NAME}.{os.getpid()}.part"
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, key.hex().encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(part, path)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists already") from error
    finally:
        os.unlink(part)  # noqa: PTH108 - beside the calls above
    return key


def signing_seed(key: bytes) -> bytes:
    """Return the 32 bytes that the Ed25519 key of checkpoints is made of."""
    return hashlib.sha256(b"aiex audit checkpoint\n" + key).digest()
