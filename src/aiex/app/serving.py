"""The gateway of a server, and who it lets in: keys, and the token of this machine's clients."""

from __future__ import annotations

import hmac
import os
import platform
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread

from aiex.app.compose import House, open_gateway, user_name
from aiex.app.config import Loaded
from aiex.app.keys import Ask
from aiex.app.node import SERVER
from aiex.app.operating import Operating
from aiex.app.providers import learning, watching
from aiex.context import KeyAuthenticator
from aiex.core import (
    EVERY_ROLE,
    ConfigurationError,
    Principal,
    PublishedBody,
    Redactor,
    UnauthenticatedError,
)
from aiex.gateway.admission import Authenticator
from aiex.gateway.local import LocalGateway

__all__ = ["Node", "OwnToken", "open_node"]

_BYTES = 32
_LONGEST = 200


class OwnToken:
    """A token in a file that only its user can read: who shows it is the user of this machine.

    It is made where there is none. Blocks when it is made.

    Args:
        path: The file.

    Raises:
        ConfigurationError: The file is not the user's alone, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._token = _read(path) or _make(path)

    def hold(self, keep: Callable[[str], None]) -> None:
        """Hand the token to what takes secrets out of logs."""
        keep(self._token)

    def is_it(self, token: str) -> bool:
        """Return whether *token* is the one in the file."""
        return hmac.compare_digest(token.encode(), self._token.encode())


class _OwnFirst:
    """Takes who shows this machine's own token for its user, and asks *others* for the rest."""

    def __init__(self, own: OwnToken, user: str, others: Authenticator | None) -> None:
        self._own = own
        self._user = user
        self._others = others
        self._principals: dict[str, Principal] = {}

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Return who *token* belongs to; does not block."""
        if not token:
            raise UnauthenticatedError(
                "a token is needed",
                hint="send it in the header Authorization, as Bearer, or in x-api-key",
            )
        if self._own.is_it(token):
            if interface not in self._principals:
                self._principals[interface] = Principal(
                    user=self._user, interface=interface, roles=EVERY_ROLE
                )
            return self._principals[interface]
        if self._others is None:
            raise UnauthenticatedError("the token is not one of this gateway")
        return self._others.authenticate(token, interface=interface)


class Node(NamedTuple):
    """What serves clients.

    Attributes:
        gateway: Ready to be entered; leaving it closes everything.
        announce: Publishes an event; never waits and never raises.
        name: Name of the node in what is published.
    """

    gateway: LocalGateway
    announce: Callable[[PublishedBody], None]
    name: str


async def open_node(
    loaded: Loaded, env: Mapping[str, str], own: OwnToken, *, redact: Redactor, ask: Ask | None
) -> Node:
    """Return a gateway that clients with keys may be served from.

    Args:
        loaded: The settings in force.
        env: Environment variables.
        own: The token of this machine's own clients.
        redact: Takes secrets out of what is kept and said.
        ask: Asks for the passphrase of the keys; `None` if there is nobody to ask.

    Raises:
        StoreError: The store cannot be opened.
    """
    announce: list[Callable[[PublishedBody], None]] = []

    async def let_in(
        house: House, opened: AsyncExitStack
    ) -> tuple[Authenticator, Mapping[str, Any]]:
        announce.append(house.services.bulletin.announce)
        keys = KeyAuthenticator(house.gateway_keys(), house.store, clock=house.clock)
        await opened.enter_async_context(keys)
        house.limits().source.key_of = keys.key
        await house.limits().open()
        await anyio.to_thread.run_sync(house.coordinator)  # it reads the table of prices
        await house.supervisor.start(watching(house))
        await house.supervisor.start(learning(house))
        operating = Operating(house, loaded)
        house.services.bulletin.heard.append(operating.count)
        return _OwnFirst(own, user_name(), keys), {
            "models": operating,
            "metrics": [operating.metrics],
            "reports": operating.reports,
        }

    own_env = {name: value for name, value in env.items() if name != SERVER}
    gateway = await open_gateway(loaded, own_env, redact=redact, ask=ask, let_in=let_in)
    assert isinstance(gateway, LocalGateway)  # since it is nobody's client
    return Node(gateway, announce[0], platform.node())


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
