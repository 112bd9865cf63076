"""The door's own Protocol: the same for an assistant in this process and one on a node."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from aiex.core import Event, Request

__all__ = ["Gateway"]


class Gateway(AbstractAsyncContextManager["Gateway"], Protocol):
    """Admits requests, runs their verbs and streams their events.

    Entered before use; leaving it cancels what still runs.
    """

    async def submit(self, request: Request) -> str:
        """Admit *request*, start its verb and return the request's id.

        Raises:
            UsageError: The verb is unknown, or its arguments do not fit.
            DeadlineError: The deadline has passed already.
            RefusedError: The principal may not do this.
        """

    def attach(self, request_id: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the request's events with an id above *after*, old ones first, to the last one.

        Closing the generator leaves the request running.

        Raises:
            NotFoundError: No request of this id is known, or its events are gone.
        """

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it ends with a `Failed` event."""
