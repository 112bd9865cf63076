"""The sessions of a node, for a verb that answers in them from this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from aiex.core import (
    Entropy,
    Event,
    Failed,
    Finished,
    Request,
    TurnArguments,
    TurnResult,
    UnavailableError,
    error_from_info,
    new_id,
)
from aiex.runtime import Clock

__all__ = ["NodeTurns"]


class NodeTurns:
    """Satisfies `AsksTurn` with the verb `turn` of a node.

    Args:
        run: Runs a request at the node.
        is_loopback: Whether the node is on this machine.
        clock: Where time comes from.
    """

    def __init__(
        self,
        run: Callable[[Request], AsyncGenerator[Event, None]],
        *,
        is_loopback: bool,
        clock: Clock,
    ) -> None:
        self._run = run
        self._is_loopback = is_loopback
        self._clock = clock
        self._entropy = Entropy()

    async def __call__(self, arguments: TurnArguments, request: Request, /) -> TurnResult:
        """Return what the node answers."""
        if request.options.offline and not self._is_loopback:
            raise UnavailableError(
                "the server is on another machine, and --offline forbids to ask it",
                hint="leave --offline out, or unset AIEX_SERVER",
            )
        asked = Request(
            id=new_id("req", now=self._clock.now(), entropy=self._entropy(10)),
            verb="turn",
            arguments=msgspec.Raw(msgspec.json.encode(arguments)),
            principal=request.principal,
        )
        async with aclosing(self._run(asked)) as events:
            async for event in events:
                if isinstance(event.body, Failed):
                    raise error_from_info(event.body.error)
                if isinstance(event.body, Finished):
                    return msgspec.json.decode(event.body.data, type=TurnResult)
        raise UnavailableError("the server did not say what became of the turn", transient=True)
