"""Where a server listens: an address of this machine, or a Unix socket of its user."""

from __future__ import annotations

import os
import socket
import stat
from ipaddress import ip_address
from pathlib import Path

from aiex.core import ConfigurationError

__all__ = ["is_loopback", "listen_at", "listen_on_path"]

_USERS_ONLY = 0o177


def is_loopback(host: str) -> bool:
    """Return whether *host* can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listen_at(host: str, port: int) -> socket.socket:
    """Return a bound socket at *host*; other processes of the same user may share its port.

    Raises:
        ConfigurationError: The address is none of this machine, or is in use.
    """
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"{host} is no address: {error.strerror}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"cannot listen at {host} port {port}: {error.strerror}",
            hint="choose another with --port, or end what listens there",
        ) from error
    made.setblocking(False)
    return made


def listen_on_path(path: Path) -> socket.socket:
    """Return a socket at *path* that only this user can connect to.

    A socket that nobody listens on any more is replaced.

    Raises:
        ConfigurationError: Somebody listens there, or something else is there.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        before = os.umask(_USERS_ONLY)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
    except (OSError, ConfigurationError) as error:
        made.close()
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"cannot listen at {path}: {error.strerror or error}") from error
    made.setblocking(False)
    return made


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigurationError(f"{path} is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()  # left by a server that was killed
        else:
            raise ConfigurationError(f"a server listens at {path} already")
