"""Requests of a gateway: a line each."""

from __future__ import annotations

import msgspec

from aiex.core import Finished
from aiex.gateway import RequestState
from aiex.interfaces.cli.console import Console, safe

__all__ = [
    "RequestsResult",
    "StoppedResult",
    "show",
    "show_requests_cancel",
    "show_requests_list",
]


class RequestsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `requests list` found.

    Attributes:
        requests: The requests, newest first.
    """

    requests: tuple[RequestState, ...]


class StoppedResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `requests cancel` did.

    Attributes:
        id: The request.
        was_running: Whether it still ran; it has stopped then.
    """

    id: str
    was_running: bool


def show(finished: Finished, console: Console) -> None:
    """Write the result of a request that was attached to, as it is."""
    console.line(msgspec.json.format(bytes(finished.data), indent=2).decode())


def show_requests_list(finished: Finished, console: Console) -> None:
    """Write the requests."""
    found = msgspec.json.decode(finished.data, type=RequestsResult).requests
    if not found:
        console.line("no request is known: those that ended stay for a while")
    for one in found:
        at = one.submitted.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        console.line(
            safe(f"{one.id}  {one.state:<8}  {at}  {one.verb}  {one.user} ({one.interface})")
        )


def show_requests_cancel(finished: Finished, console: Console) -> None:
    """Write whether it was stopped."""
    result = msgspec.json.decode(finished.data, type=StoppedResult)
    console.line(f"{result.id} {'was stopped' if result.was_running else 'had ended before'}")
