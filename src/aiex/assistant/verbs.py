"""What a verb is, and what the gateway hands it while it runs."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from aiex.core import EventBody, Finished, Request

__all__ = ["Run", "Verb"]

A_contra = TypeVar("A_contra", bound=msgspec.Struct, contravariant=True)


class Run(Protocol):
    """One request while its verb runs."""

    @property
    def request(self) -> Request:
        """The request."""

    async def emit(self, body: EventBody) -> None:
        """Send one event; `Finished` and `Failed` are the gateway's to send."""


class Verb(Protocol[A_contra]):
    """Something that people ask for. Collaborators are taken in `__init__`."""

    @property
    def name(self) -> str:
        """Name of the verb, such as `explain`."""

    @property
    def arguments_type(self) -> type[A_contra]:
        """Type that `Request.arguments` is decoded to, once, at admission."""

    async def run(self, arguments: A_contra, run: Run) -> Finished:
        """Do it and return the last event's body; failures are raised."""
