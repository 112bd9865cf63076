"""Where a server listens."""

from __future__ import annotations

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = ["ServeResult", "show"]


class ServeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `serve` says once it takes requests.

    Attributes:
        address: A URL, or `unix:` and a path.
        token_file: File with the token that clients of this machine show; never the token.
        pid: Process to send SIGTERM to.
        workers: Processes that serve.
    """

    address: str
    token_file: str
    pid: int
    workers: int


def show(finished: Finished, console: Console) -> None:
    """Write where it listens, and where the token is."""
    result = msgspec.json.decode(finished.data, type=ServeResult)
    many = f", {result.workers} workers" if result.workers > 1 else ""
    console.line(f"listens at {result.address}{many}")
    console.line(f"the token is in {result.token_file}")
