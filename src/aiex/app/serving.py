"""What a server needs beside the gateway: the token of this machine's own clients."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from aiex.core import ConfigurationError, Principal, UnauthenticatedError

__all__ = ["OwnToken"]

_BYTES = 32
_LONGEST = 200


class OwnToken:
    """A token in a file that only its user can read: who shows it is the user of this machine.

    It is made where there is none. Blocks when it is made.

    Args:
        path: The file.
        user: Name of the user.

    Raises:
        ConfigurationError: The file is not the user's alone, or cannot be read or written.
    """

    def __init__(self, path: Path, *, user: str) -> None:
        self.path = path
        self._token = _read(path) or _make(path)
        self._user = user

    def hold(self, keep: Callable[[str], None]) -> None:
        """Hand the token to what takes secrets out of logs."""
        keep(self._token)

    def principal(self, token: str | None, *, interface: str) -> Principal | None:
        """Return the user of this machine, if *token* is theirs."""
        if token is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        return Principal(
            user=self._user,
            interface=interface,
            roles=("viewer", "developer", "operator", "admin", "auditor"),
        )

    def first(
        self, authenticate: Callable[[str | None], Principal], *, interface: str
    ) -> Callable[[str | None], Principal]:
        """Return what knows this token and, for all others, asks *authenticate*."""

        def known(token: str | None) -> Principal:
            own = self.principal(token, interface=interface)
            if own is not None:
                return own
            if token is None:
                raise UnauthenticatedError(
                    "a token is needed",
                    hint="send it in the header Authorization, as Bearer, or in x-api-key",
                )
            return authenticate(token)

        return known


def _read(path: Path) -> str | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigurationError(f"{path} is no regular file of yours")
        if found.st_mode & 0o077:
            raise ConfigurationError(
                f"{path} can be read by others", hint=f"delete it: a new token is made ({path})"
            )
        token = file.read(_LONGEST).decode("ascii", "replace").strip()
    if len(token) < _BYTES:
        raise ConfigurationError(f"{path} holds no token", hint="delete it: a new one is made")
    return token


def _make(path: Path) -> str:
    """Write a new token, unless another process was faster; return the one that is there."""
    token = f"aiex_local_{secrets.token_urlsafe(_BYTES)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written beside and linked, so that nobody reads half of it.
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(token.encode() + b"\n")
        try:
            os.link(beside, path)
        except FileExistsError:
            return _read(path) or _make(path)
        finally:
            beside.unlink()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    return token
