"""The door's own Protocol: the same for an assistant in this process and one on a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from aiex.core import Event, Principal, Published, Request

__all__ = ["Gateway", "Operations", "Registration", "RequestState"]


class RequestState(msgspec.Struct, frozen=True, kw_only=True):
    """Where one request stands.

    Attributes:
        id: Identifier of the request.
        verb: Its verb.
        user: Who asked.
        interface: Through which door.
        state: Whether it still runs, and how it ended.
        submitted: Aware UTC time of admission.
        last_event: Number of its newest event; 0 before the first.
    """

    id: str
    verb: str
    user: str
    interface: str
    state: Literal["running", "finished", "failed"]
    submitted: datetime
    last_event: int


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """An interface that is known to a gateway.

    Attributes:
        id: Identifier of the registration, made by the gateway.
        name: Its name, such as `cli` or `http`.
        capabilities: What it can do, such as `stream`, `diff` or `ask`.
        node: Node that it registered at.
        since: Aware UTC time.
    """

    id: str
    name: str
    capabilities: tuple[str, ...]
    node: str
    since: datetime


class Operations(Protocol):
    """What an operator asks of a gateway, beside the verbs."""

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Return who *token* belongs to; does not block.

        Raises:
            UnauthenticatedError: There is none, or it is wrong, expired or revoked.
        """

    def register(
        self, name: str, *, capabilities: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Registration]:
        """Make an interface known while the context is entered."""

    async def interfaces(self) -> Sequence[Registration]:
        """Return the interfaces that are registered, on all nodes and in all processes."""

    def subscribe(
        self, pattern: str = ">", *, capacity: int = 1000
    ) -> AbstractAsyncContextManager[AsyncIterator[Published]]:
        """Stream what is published from now on, by all nodes and processes.

        A subscriber that falls further behind than *capacity* loses the oldest, and is told so
        by a `Missed` in their place.

        Args:
            pattern: A name, in which `*` stands for one word and a last `>` for the rest.
            capacity: Most events that wait for the subscriber.
        """

    async def broadcast(self, text: str, *, by: str, interface: str = "") -> None:
        """Tell all interfaces, or all of one name, *text*; published as `said.broadcast`."""

    async def ready(self) -> Mapping[str, str]:
        """Return what keeps this process from taking requests, by name; empty when it is ready."""

    async def metrics(self) -> str:
        """Return the metrics in Prometheus's text form (version 0.0.4)."""

    async def report(self, name: str, query: Mapping[str, str]) -> msgspec.Raw:
        """Return a JSON document for who looks after the gateway.

        Args:
            name: `health`, `interactions` or `config`.
            query: What of it is wanted; texts by name.

        Raises:
            UsageError: The query is none that the report knows.
            UnavailableError: This gateway has no such report.
        """

    async def models(self, principal: Principal) -> Sequence[str]:
        """Return what *principal* may ask: models as `provider:model`, and aliases."""

    async def verbs(self) -> Sequence[str]:
        """Return the verbs that it takes, sorted."""

    async def requests(self) -> Sequence[RequestState]:
        """Return the requests that it knows, newest first."""

    async def request(self, request_id: str) -> RequestState:
        """Return how one request stands, in whatever process it runs.

        Raises:
            NotFoundError: No request of this id is known.
        """

    async def store(self) -> Mapping[str, str]:
        """Return what the store says of itself: backend, place, size, version, sequence."""


class Gateway(AbstractAsyncContextManager["Gateway"], Protocol):
    """Admits requests, runs their verbs and streams their events.

    Entered before use; leaving it cancels what still runs.
    """

    @property
    def operations(self) -> Operations:
        """What an operator asks."""

    async def submit(self, request: Request) -> str:
        """Admit *request*, start its verb and return the request's id.

        Raises:
            UsageError: The verb is unknown, or its arguments do not fit.
            RefusedError: The principal may not ask for it.
            DeadlineError: The deadline has passed already.
            ConflictError: A request of this id is known already.
        """

    def run(self, request: Request) -> AsyncGenerator[Event, None]:
        """Admit *request* and yield its events; closing the generator ends the request.

        The short way for a client that waits for its answer. Others may attach to the request
        all the same, while it runs and for a while after.

        Raises:
            AiexError: It is not admitted, as with `submit`.
        """

    def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the request's events with an id above *after*, old ones first, to the last one.

        The request may run in another process that shares the store. Closing the generator
        leaves it running.

        Raises:
            NotFoundError: No request of this id is known, or the events asked for are gone.
        """

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it ends with a `Failed` event.

        Returns once its verb has stopped.
        """
