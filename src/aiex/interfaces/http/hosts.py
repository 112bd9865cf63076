"""Under which names a server may be asked, so that no web page can reach it through a browser.

A page of `evil.example` may let its own name point to 127.0.0.1 (DNS rebinding), or post to
`http://127.0.0.1:2439`; what gives both away are the headers Host and Origin.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Hosts", "host_name"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MOST_KNOWN = 256


def host_name(authority: str) -> str | None:
    """Return the name in `name:port`, in lower case and without brackets; `None` if it is none.

    Example:
        >>> host_name("[::1]:2439"), host_name("Localhost"), host_name("a:b:c")
        ('::1', 'localhost', None)
    """
    authority = authority.lower()
    if authority.startswith("["):
        name, bracket, rest = authority[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else None
        if not bracket or (rest and port is None):
            return None
    else:
        name, colon, rest = authority.partition(":")
        port = rest if colon else None
    if port is not None and not (port.isascii() and port.isdigit()):
        return None
    return name.removesuffix(".") or None


class Hosts:
    """The names that a request may be addressed to.

    Args:
        names: Names and addresses, besides those of the machine itself.
        loopback: Whether the machine's own names count, as for a server that only it reaches.
    """

    def __init__(self, names: Iterable[str], *, loopback: bool) -> None:
        self._names = {name.lower().strip("[]").removesuffix(".") for name in names}
        if loopback:
            self._names.update(_LOOPBACK)
        self._known: dict[bytes, bool] = {}

    def takes(self, host: bytes, *, local: str | None = None) -> bool:
        """Return whether a request to *host* is for us.

        Args:
            host: The header Host.
            local: Address that the client connected to: no name, so nobody can make it theirs.
        """
        found = self._known.get(host)
        if found is None:
            name = host_name(host.decode("latin-1"))
            found = name is not None and name in self._names
            if not found and name is not None and local is not None and name == local:
                return True
            if len(self._known) < _MOST_KNOWN:
                self._known[host] = found
        return found

    def is_own(self, origin: bytes, host: bytes) -> bool:
        """Return whether a page of *origin* is one of ours, served under *host*."""
        scheme, _, authority = origin.lower().partition(b"://")
        return scheme in {b"http", b"https"} and authority == host.lower()
