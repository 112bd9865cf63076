"""What an operator asks of a gateway of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

import msgspec

from aiex.core import AiexError, Principal, Published, Said, UnavailableError
from aiex.gateway.admission import Authenticator
from aiex.gateway.bulletin import Bulletin
from aiex.gateway.ports import Registration, RequestState
from aiex.gateway.presence import Presence

__all__ = ["Askable", "Knows", "LocalOperations", "Report", "Services", "StoreInfo"]

T = TypeVar("T")


class StoreInfo(Protocol):
    """What the gateway needs of a store to describe it."""

    async def info(self) -> Mapping[str, str]:
        """Return what an operator wants to know."""


class Knows(Protocol):
    """The gateway that the operations are of."""

    def verb_names(self) -> Sequence[str]:
        """Return the verbs that it takes, sorted."""

    async def request_states(self) -> Sequence[RequestState]:
        """Return the requests that it knows, newest first."""

    async def request_state(self, request_id: str) -> RequestState:
        """Return how one request stands."""


class Askable(Protocol):
    """Says what somebody may ask."""

    async def models(self, principal: Principal) -> Sequence[str]:
        """Return models as `provider:model`, and aliases."""


Report = Callable[[Mapping[str, str]], Awaitable[msgspec.Raw]]
"""Gives a JSON document for what is asked of it."""


class Services:
    """What a gateway is given by others; what it is not given it does without.

    Args:
        bulletin: Publishes events.
        presence: Registers interfaces.
        authenticator: Knows the keys.
        models: Knows what may be asked.
        ready: For each thing that requests need, a check that returns what keeps it from
            working, or an empty text.
        metrics: Each gives lines of metrics in Prometheus's text form.
        reports: Each gives, for what is asked of it, a JSON document for an operator; by name.
    """

    def __init__(
        self,
        *,
        bulletin: Bulletin | None = None,
        presence: Presence | None = None,
        authenticator: Authenticator | None = None,
        models: Askable | None = None,
        ready: Mapping[str, Callable[[], Awaitable[str]]] | None = None,
        metrics: Sequence[Callable[[], Sequence[str]]] = (),
        reports: Mapping[str, Report] | None = None,
    ) -> None:
        self.bulletin = bulletin
        self.presence = presence
        self.authenticator = authenticator
        self.models = models
        self.ready = ready or {}
        self.metrics = metrics
        self.reports = reports or {}


class LocalOperations:
    """Satisfies `Operations` for a gateway of this process.

    Args:
        gateway: The gateway.
        store: The store.
        services: What there is besides.
    """

    def __init__(self, gateway: Knows, *, store: StoreInfo, services: Services) -> None:
        self._gateway = gateway
        self._store = store
        self._services = services

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Return who *token* belongs to; does not block."""
        return _there(self._services.authenticator, "keys").authenticate(token, interface=interface)

    def register(
        self, name: str, *, capabilities: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Registration]:
        """Make an interface known while the context is entered."""
        presence = _there(self._services.presence, "interfaces")
        bulletin = _there(self._services.bulletin, "events")
        return presence.register(name, capabilities=capabilities, announce=bulletin.announce)

    async def interfaces(self) -> Sequence[Registration]:
        """Return the interfaces that are registered, in all processes."""
        return await _there(self._services.presence, "interfaces").interfaces()

    def subscribe(
        self, pattern: str = ">", *, capacity: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[Published]]:
        """Stream what is published from now on, by all processes."""
        return _there(self._services.bulletin, "events").subscribe(pattern, capacity=capacity)

    async def broadcast(self, text: str, *, by: str, interface: str = "") -> None:
        """Tell all interfaces, or all of one name, *text*."""
        bulletin = _there(self._services.bulletin, "events")
        bulletin.announce(Said(text=text, by=by, interface=interface))

    async def ready(self) -> Mapping[str, str]:
        """Return what keeps this process from taking requests, by name."""
        problems: dict[str, str] = {}
        try:
            await self._store.info()
        except AiexError as error:
            problems["store"] = error.message
        for name, check in self._services.ready.items():
            problem = await check()
            if problem:
                problems[name] = problem
        return problems

    async def metrics(self) -> str:
        """Return the metrics in Prometheus's text form (version 0.0.4)."""
        lines = [line for give in self._services.metrics for line in give()]
        return "".join(f"{line}\n" for line in lines)

    async def report(self, name: str, query: Mapping[str, str]) -> msgspec.Raw:
        """Return a JSON document for who looks after the gateway."""
        return await _there(self._services.reports.get(name), name)(query)

    async def models(self, principal: Principal) -> Sequence[str]:
        """Return what *principal* may ask: models as `provider:model`, and aliases."""
        return await _there(self._services.models, "models").models(principal)

    async def verbs(self) -> Sequence[str]:
        """Return the verbs that it takes, sorted."""
        return self._gateway.verb_names()

    async def requests(self) -> Sequence[RequestState]:
        """Return the requests that it knows, newest first."""
        return await self._gateway.request_states()

    async def request(self, request_id: str) -> RequestState:
        """Return how one request stands."""
        return await self._gateway.request_state(request_id)

    async def store(self) -> Mapping[str, str]:
        """Return what the store says of itself."""
        return await self._store.info()


def _there(service: T | None, what: str) -> T:
    if service is None:
        raise UnavailableError(f"this gateway knows no {what}")
    return service
