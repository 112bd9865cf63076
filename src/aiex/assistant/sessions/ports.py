"""What writes a session asks of what keeps it, in this process or on a node."""

from __future__ import annotations

from typing import Protocol

from aiex.core import Request, TurnArguments, TurnResult

__all__ = ["AsksTurn"]


class AsksTurn(Protocol):
    """Does what is asked of a session's turn."""

    async def __call__(self, arguments: TurnArguments, request: Request, /) -> TurnResult:
        """Return what came of it.

        Args:
            arguments: What is asked.
            request: Request that is answered in the session, in whose principal's name.

        Raises:
            ConflictError: Another process answers in the session, or has gone on with it.
            NotFoundError: There is no such session, for who asks.
            RefusedError: It is not theirs to write.
            UsageError: Several sessions are meant.
        """
