"""Who has a prompt in a cache already: calls that belong together go to one endpoint.

A name that was seen goes where it went before; a new one goes where rendezvous hashing sends it
(Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998), so that every
node sends it to the same endpoint without asking another. One that is busier than the others is
left alone all the same: a cache saves less than a queue costs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from aiex.llm.ports import Endpoint

__all__ = ["Affinity", "is_overloaded", "rendezvous"]

_MOST_NAMES = 20_000
_SLACK = 4


class Affinity:
    """Remembers where names went.

    Args:
        most: Names that are remembered; the one not seen for longest is forgotten first.
    """

    def __init__(self, *, most: int = _MOST_NAMES) -> None:
        self._most = most
        self._went: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    def prefer(self, name: str, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        """Return the one of *endpoints* where *name* belongs; `None` if that one is overloaded."""
        went = self._went.get(_digest(name))
        best = next((e for e in endpoints if (e.provider, e.model) == went), None)
        if best is None:
            best = rendezvous(name, endpoints)
        return None if best is None or is_overloaded(best, endpoints) else best

    def note(self, name: str, endpoint: Endpoint) -> None:
        """Note that *endpoint* answered a call of *name*."""
        key = _digest(name)
        self._went[key] = endpoint.provider, endpoint.model
        self._went.move_to_end(key)
        if len(self._went) > self._most:
            self._went.popitem(last=False)

    def __len__(self) -> int:
        return len(self._went)


def rendezvous(name: str, endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """Return the one of *endpoints* that *name* hashes to; `None` if there is none.

    Without one of the others the answer is the same, and without itself every name that it had
    goes to another of the rest.
    """
    key = _digest(name)
    return max(
        endpoints,
        key=lambda e: blake2b(f"{e.provider}:{e.model}".encode(), key=key, digest_size=8).digest(),
        default=None,
    )


def is_overloaded(endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> bool:
    """Return whether *endpoint* has so many calls under way that another is quicker."""
    return endpoint.in_flight > 2 * min(e.in_flight for e in endpoints) + _SLACK


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
