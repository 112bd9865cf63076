"""The door's own Protocol: the same for an assistant in this process and one on a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from aiex.core import Event, Request

__all__ = ["Gateway", "Operations", "RequestState"]


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


class Operations(Protocol):
    """What an operator asks of a gateway, beside the verbs."""

    async def verbs(self) -> Sequence[str]:
        """Return the verbs that it takes, sorted."""

    async def requests(self) -> Sequence[RequestState]:
        """Return the requests that it knows, newest first."""

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
            DeadlineError: The deadline has passed already.
            ConflictError: A request of this id is known already.
        """

    def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the request's events with an id above *after*, old ones first, to the last one.

        Closing the generator leaves the request running.

        Raises:
            NotFoundError: No request of this id is known, or the events asked for are gone.
        """

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it ends with a `Failed` event.

        Returns once its verb has stopped.
        """
