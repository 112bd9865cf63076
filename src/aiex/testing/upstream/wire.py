"""What each wire of the scripted upstream gives to its server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from aiex.testing.upstream.scenario import Fault, Scenario

__all__ = ["Answer", "Wire", "encoded", "sse"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered.

    Attributes:
        events: The body, an event each; one for a body that is not streamed.
        kind: Its content type.
        status: HTTP status.
        headers: Further headers.
    """

    events: Sequence[bytes]
    kind: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Wire(Protocol):
    """One wire, as a provider speaks it."""

    def check(self, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the *body* of a request.

        Raises:
            Refused: The provider would not take it.
        """

    def has_results(self, body: Mapping[str, Any]) -> bool:
        """Return whether the conversation ends with results of tools."""

    def answer(
        self, path: str, scenario: Scenario, body: Mapping[str, Any], *, number: int
    ) -> Answer:
        """Return the answer; *number* makes its identifiers differ from others'."""

    def fault(self, fault: Fault, *, said: str = "") -> Answer:
        """Return the answer that tells of *fault*, in the words *said* if there are any."""


def encoded(value: object) -> bytes:
    """Return *value* as JSON, with characters beyond ASCII as they are."""
    return msgspec.json.encode(value)


def sse(data: bytes, event: str | None = None) -> bytes:
    """Return a server-sent event."""
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    return head + b"data: " + data + b"\n\n"
