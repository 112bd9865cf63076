"""What a verb is, and what the gateway hands it while it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from aiex.core import EventBody, Finished, Request

__all__ = ["Run", "StreamVerb", "Verb"]

A = TypeVar("A", bound=msgspec.Struct)


class Run(Protocol):
    """One request while its verb runs."""

    @property
    def request(self) -> Request:
        """The request."""

    async def emit(self, body: EventBody) -> None:
        """Send one event; `Finished` and `Failed` are the gateway's to send."""


class Verb(Protocol[A]):
    """Something that people ask for. Collaborators are taken in `__init__`."""

    @property
    def name(self) -> str:
        """Name of the verb, such as `explain`."""

    @property
    def arguments_type(self) -> type[A]:
        """Type that `Request.arguments` is decoded to, once, at admission."""

    async def run(self, arguments: A, run: Run) -> Finished:
        """Do it and return the last event's body; failures are raised."""


@runtime_checkable
class StreamVerb(Protocol[A]):
    """A verb that gives its events as it goes: for answers whose every piece must be cheap.

    One with an `is_quiet` that is true is not told of, and not remembered once it has ended: what
    asks for it many times a second is itself part of a request.
    """

    @property
    def name(self) -> str:
        """Name of the verb, such as `complete`."""

    @property
    def arguments_type(self) -> type[A]:
        """Type that `Request.arguments` is decoded to, once, at admission."""

    def stream(self, arguments: A, request: Request) -> AsyncGenerator[EventBody, None]:
        """Yield the bodies of the events, the last of which is a `Finished`; failures are raised.

        Closing the generator ends the work at once.
        """
