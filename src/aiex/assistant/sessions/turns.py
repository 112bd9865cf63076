"""Answers to who writes a session: whose it is, and which one is meant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from aiex.assistant.sessions.access import find_session, must_own
from aiex.context import BegunTurn, Sessions
from aiex.core import (
    Entry,
    EventBody,
    Finished,
    NotFoundError,
    Principal,
    Request,
    Role,
    Session,
    SessionOrigin,
    Turn,
    TurnArguments,
    TurnResult,
    UsageError,
    WantedSession,
    new_id,
)
from aiex.runtime import Clock

__all__ = ["TurnDesk", "TurnVerb", "copied", "settled"]

_MOST_ENTRIES: Final = 1000
_LONGEST_TITLE: Final = 200


class TurnDesk:
    """Satisfies `AsksTurn` for the sessions of this process's store.

    Args:
        sessions: Where they are kept.
        clock: Where time comes from.
        entropy: Gives random bytes.
    """

    def __init__(
        self, sessions: Sessions, *, clock: Clock, entropy: Callable[[int], bytes]
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._entropy = entropy

    async def __call__(self, arguments: TurnArguments, request: Request, /) -> TurnResult:
        """Return what came of it."""
        who = request.principal
        match arguments.action:
            case "read":
                return await self._read(arguments.wanted, who)
            case "begin":
                return await self._begin(arguments, who)
        session = await self._own(arguments, who)
        _check(arguments.entries, "assistant", "tool")
        begun = BegunTurn(
            session=arguments.session,
            number=arguments.turn,
            revision=arguments.revision,
            writer=arguments.writer,
            token=arguments.token,
        )
        match arguments.action:
            case "write":
                await self._sessions.write(begun, arguments.first, arguments.entries)
            case "renew":
                return TurnResult(turn=begun.number, is_held=await self._sessions.renew(begun))
            case "end":
                session = await self._end(begun, arguments)
        return TurnResult(session=session, turn=begun.number, revision=begun.revision)

    async def _own(self, arguments: TurnArguments, who: Principal) -> Session:
        session = await self._sessions.get(arguments.session)
        if session is None or session.owner != who.user:
            raise NotFoundError(
                f"there is no session {arguments.session!r}", hint="aiex session list shows yours"
            )
        return session

    async def _end(self, begun: BegunTurn, arguments: TurnArguments) -> Session:
        ended = Turn(
            number=begun.number,
            state="done" if arguments.is_done else "broken",
            request_id="",
            started=self._clock.now(),
            model=arguments.model,
            shown=arguments.shown,
            note=arguments.note,
        )
        return await self._sessions.end(
            begun, ended, first=arguments.first, entries=arguments.entries
        )

    async def _read(self, wanted: WantedSession, who: Principal) -> TurnResult:
        session = await self._wanted(wanted, who)
        if session is None:
            return TurnResult()
        past = await self._sessions.turns(session.id)
        return TurnResult(session=session, turn=session.turns, past=past)

    async def _wanted(self, wanted: WantedSession, who: Principal) -> Session | None:
        """Return the session that is meant; `None` for a new one."""
        if wanted.id:
            session = await find_session(self._sessions, wanted.id, who)
        elif wanted.latest:
            found = await self._sessions.list(
                lambda one: one.owner == who.user and one.project == wanted.project, limit=1
            )
            if not found:
                raise NotFoundError(
                    "there is no session of this project yet",
                    hint='aiex chat "TEXT" begins one; aiex session list shows those of others',
                )
            session = found[0]
        elif wanted.fork:
            raise UsageError(
                "a copy of which session?", hint="aiex chat --resume ID --fork, or --continue"
            )
        else:
            return None
        if not wanted.fork:
            must_own(session, who, "go on with")
        return session

    async def _begin(self, arguments: TurnArguments, who: Principal) -> TurnResult:
        _check(arguments.entries, "user")
        if len(arguments.entries) != 1:
            raise UsageError("a turn begins with one message")
        wanted = arguments.wanted
        session = await self._wanted(wanted, who)
        after = wanted.after
        if session is None:
            session = self._new(arguments, who)
        elif wanted.fork:
            session, after = await self._forked(session, wanted, who), None
        turn = Turn(
            number=0,
            state="open",
            request_id=arguments.request_id,
            started=self._clock.now(),
            interface=arguments.interface,
            writer=arguments.writer,
            entries=arguments.entries,
        )
        begun, session, past = await self._sessions.begin(
            session, turn, after=after, model=wanted.model
        )
        return TurnResult(
            session=session,
            turn=begun.number,
            revision=begun.revision,
            token=begun.token,
            past=past,
        )

    def _new(self, arguments: TurnArguments, who: Principal) -> Session:
        now = self._clock.now()
        return Session(
            id=self._new_id(),
            owner=who.user,
            created=now,
            updated=now,
            title=arguments.title[:_LONGEST_TITLE],
            project=arguments.wanted.project,
            root=arguments.wanted.root,
        )

    async def _forked(self, source: Session, wanted: WantedSession, who: Principal) -> Session:
        turns = await self._sessions.turns(source.id)
        session = copied(
            source,
            turns,
            new_id=self._new_id(),
            owner=who.user,
            at=self._clock.now(),
            kind="fork",
        )
        if source.owner != who.user:  # their folder is none of ours
            session = replace(session, project=wanted.project, root=wanted.root)
        return await self._sessions.add(session, settled(turns))

    def _new_id(self) -> str:
        return new_id("ses", now=self._clock.now(), entropy=self._entropy(10))


def copied(
    source: Session,
    turns: Sequence[Turn],
    *,
    new_id: str,
    owner: str,
    at: datetime,
    kind: Literal["fork", "import"],
) -> Session:
    """Return a new session that begins with *turns*, and has used nothing itself."""
    return Session(
        id=new_id,
        owner=owner,
        created=at,
        updated=at,
        title=source.title,
        project=source.project,
        root=source.root,
        model=source.model,
        answered_by=source.answered_by,
        parent=SessionOrigin(id=source.id, turns=len(turns), kind=kind),
        turns=len(turns),
    )


def settled(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return *turns* as a copy has them: one that is still answered elsewhere is broken off."""
    return tuple(
        turn
        if turn.state != "open"
        else replace(turn, state="broken", note="it was being answered when it was copied")
        for turn in turns
    )


def _check(entries: Sequence[Entry], *roles: Role) -> None:
    """Refuse what nobody says in a conversation: such as the words of the system."""
    if len(entries) > _MOST_ENTRIES:
        raise UsageError(f"a turn has at most {_MOST_ENTRIES} messages")
    for entry in entries:
        if entry.message.role not in roles:
            raise UsageError(f"a message of the role {entry.message.role} does not belong here")


class TurnVerb:
    """Satisfies `StreamVerb`: what a process on another machine asks of the sessions here.

    Args:
        desk: Answers.
    """

    name = "turn"
    arguments_type = TurnArguments
    is_quiet = True

    def __init__(self, desk: TurnDesk) -> None:
        self._desk = desk

    async def stream(
        self, arguments: TurnArguments, request: Request
    ) -> AsyncGenerator[EventBody, None]:
        """Yield the answer."""
        result = await self._desk(arguments, request)
        yield Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))
