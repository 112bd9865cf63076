"""A turn while it is answered: what was said by now, on its way to the store."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Literal

import anyio
from msgspec.structs import replace

from aiex.assistant.sessions.ports import AsksTurn
from aiex.core import (
    AiexError,
    ConflictError,
    Entry,
    Message,
    ModelChosen,
    ModelEnded,
    NotFoundError,
    Part,
    Progress,
    Request,
    Restarted,
    Session,
    ShownContext,
    TurnArguments,
    TurnResult,
    UsageTotal,
)
from aiex.llm import CallEvent
from aiex.runtime import Clock
from aiex.wires import ReplyBuilder

__all__ = ["TurnWriter"]

_LOG = logging.getLogger(__name__)
_EVERY: Final = 0.1  # seconds: most of an answer that a kill may lose
_RENEW: Final = 4.0  # seconds: a quarter of the lease


class TurnWriter:
    """Keeps the entries of one turn, and sends what is new to what keeps the session.

    Args:
        ask: What keeps the session.
        begun: The turn as it was begun.
        writer: Name that it was begun under.
        request: Request that is answered.
        first: The user's entry, which is kept already.
        clock: Where time comes from.

    Attributes:
        entries: What was said and is over.
    """

    def __init__(
        self,
        ask: AsksTurn,
        begun: TurnResult,
        *,
        writer: str,
        request: Request,
        first: Entry,
        clock: Clock,
    ) -> None:
        self._ask = ask
        self._begun = begun
        self._writer = writer
        self._request = request
        self._clock = clock
        self._renewed = clock.monotonic()
        self._kept = 1
        self._reply = ReplyBuilder()
        self._call_id = ""
        self._is_longer = False
        self.entries: list[Entry] = [first]

    def hear(self, event: CallEvent) -> None:
        """Take what happens in a call of a model."""
        match event:
            case ModelChosen():
                self._call_id = event.call_id
                self._reply = ReplyBuilder()
            case Restarted():
                self._reply = ReplyBuilder()
            case Progress() | ModelEnded():
                pass
            case _:
                self._reply.add(event)
                self._is_longer = True

    def say(self, parts: Sequence[Part], *, usage: UsageTotal | None = None) -> None:
        """Take a reply that is over; empty parts are none."""
        if parts or usage is not None:
            message = Message(role="assistant", parts=tuple(parts))
            self.entries.append(Entry(message=message, call_id=self._call_id, usage=usage))
        self._reply, self._is_longer = ReplyBuilder(), False

    def give(self, results: Sequence[Part]) -> None:
        """Take the results of tools."""
        self.entries.append(Entry(message=Message(role="tool", parts=tuple(results))))

    async def keep_on(self) -> None:
        """Send what is new, again and again, until it is cancelled.

        Raises:
            ConflictError: The turn was taken from this writer.
        """
        while True:
            await anyio.sleep(_EVERY)
            try:
                await self.flush()
                await self._renew()
            except (ConflictError, NotFoundError):
                raise
            except AiexError as error:  # what is kept in memory is sent with the next flush
                _LOG.warning("a turn could not be kept for now: %s", error.message)

    async def flush(self) -> None:
        """Send what is new."""
        entries = self._new()
        if not entries:
            return
        over = len(self.entries)
        first, self._is_longer = self._kept, False
        try:
            await self._ask(self._asked("write", first=first, entries=entries), self._request)
        except BaseException:
            self._is_longer = True
            raise
        self._kept = over

    def _new(self) -> tuple[Entry, ...]:
        live: tuple[Entry, ...] = ()
        if self._is_longer:
            parts = self._reply.parts()
            live = (Entry(message=Message(role="assistant", parts=parts), call_id=self._call_id),)
        return (*self.entries[self._kept :], *live)

    async def _renew(self) -> None:
        now = self._clock.monotonic()
        if now - self._renewed < _RENEW:
            return
        answer = await self._ask(self._asked("renew"), self._request)
        if not answer.is_held:
            raise ConflictError(
                f"turn {self._begun.turn} of the session was taken over by another process",
                hint="aiex session list shows where it went on",
            )
        self._renewed = now

    async def end(
        self,
        *,
        is_done: bool,
        note: str = "",
        model: str | None = None,
        shown: Sequence[ShownContext] = (),
    ) -> Session | None:
        """Close the turn and return the session as it is then."""
        asked = self._asked("end", first=self._kept, entries=self._new())
        asked = replace(asked, is_done=is_done, note=note, model=model, shown=tuple(shown))
        return (await self._ask(asked, self._request)).session

    def _asked(
        self,
        action: Literal["write", "renew", "end"],
        *,
        first: int = 0,
        entries: tuple[Entry, ...] = (),
    ) -> TurnArguments:
        begun = self._begun
        return TurnArguments(
            action=action,
            writer=self._writer,
            session="" if begun.session is None else begun.session.id,
            turn=begun.turn,
            revision=begun.revision,
            token=begun.token,
            first=first,
            entries=entries,
        )
