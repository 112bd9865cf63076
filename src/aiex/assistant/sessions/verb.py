"""`session`: lists, shows, exports, imports, deletes, shares and hands off sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from aiex.assistant.sessions.access import as_seen_by, find_session, may_read, must_own
from aiex.assistant.sessions.turns import copied, settled
from aiex.context import Sessions
from aiex.core import (
    SESSION_DOCUMENT,
    Entry,
    EventBody,
    Finished,
    NotFoundError,
    OpaquePart,
    Part,
    Principal,
    ReasoningPart,
    Redactor,
    RefusedError,
    Request,
    Session,
    SessionArguments,
    SessionDocument,
    SessionResult,
    Turn,
    UsageError,
    nearest,
    new_id,
)
from aiex.runtime import Clock

__all__ = ["SessionVerb", "Users"]

_MOST_LISTED: Final = 1000
_MOST_TURNS: Final = 10_000
_MOST_ENTRIES: Final = 1000

Users = Callable[[], Awaitable[Collection[str]]]
"""Returns the names of the users who have a key of this gateway."""


class _Did(Protocol):
    async def __call__(self, arguments: SessionArguments, request: Request, /) -> SessionResult: ...


class SessionVerb:
    """Satisfies `StreamVerb`.

    A session is its owner's; who it is shared with reads it, an administrator sees what it is and
    what it cost, and not what was said.

    Args:
        sessions: Where they are kept.
        clock: Where time comes from.
        entropy: Gives random bytes.
        redact: Takes secrets out of what is exported.
        users: Knows who there is.
    """

    name = "session"
    arguments_type = SessionArguments

    def __init__(
        self,
        sessions: Sessions,
        *,
        clock: Clock,
        entropy: Callable[[int], bytes],
        redact: Redactor,
        users: Users,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._entropy = entropy
        self._redact = redact
        self._users = users
        self._actions: dict[str, _Did] = {
            "list": self._list,
            "show": self._show,
            "export": self._export,
            "import": self._import,
            "delete": self._delete,
            "share": self._share,
            "handoff": self._handoff,
        }

    async def stream(
        self, arguments: SessionArguments, request: Request
    ) -> AsyncGenerator[EventBody, None]:
        """Yield the answer."""
        result = await self._actions[arguments.action](arguments, request)
        yield Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))

    async def _list(self, arguments: SessionArguments, request: Request) -> SessionResult:
        who = request.principal
        if arguments.everybody and "admin" not in who.roles:
            raise RefusedError(
                f"{who.user} may not list everybody's sessions: that takes the role admin",
                hint="aiex session list shows yours",
            )

        def is_wanted(session: Session) -> bool:
            is_there = arguments.project in {None, session.project}
            return is_there and (arguments.everybody or may_read(session, who))

        most = max(1, min(arguments.most, _MOST_LISTED))
        found = await self._sessions.list(is_wanted, limit=most)
        seen = tuple(as_seen_by(session, who) for session in found)
        return SessionResult(action="list", sessions=seen)

    async def _show(self, arguments: SessionArguments, request: Request) -> SessionResult:
        who = request.principal
        session = await find_session(self._sessions, arguments.id, who, metadata=True)
        if not may_read(session, who):
            seen = as_seen_by(session, who)
            return SessionResult(action="show", sessions=(seen,), is_readable=False)
        turns = await self._sessions.turns(session.id)
        return SessionResult(action="show", sessions=(session,), turns=turns)

    async def _export(self, arguments: SessionArguments, request: Request) -> SessionResult:
        session = await find_session(self._sessions, arguments.id, request.principal)
        turns = await self._sessions.turns(session.id)
        document = SessionDocument(
            session=replace(session, revision=0),
            turns=tuple(map(_bare, turns)),
            exported=self._clock.now(),
        )
        raw = self._redact.data(msgspec.Raw(msgspec.json.encode(document)))
        clean = msgspec.json.decode(raw, type=SessionDocument)
        return SessionResult(action="export", sessions=(clean.session,), document=clean)

    async def _import(self, arguments: SessionArguments, request: Request) -> SessionResult:
        document = arguments.document
        if document is None:
            raise UsageError("there is nothing to import", hint="aiex session import FILE")
        _check(document)
        turns = tuple(replace(turn, writer="", token=0) for turn in settled(document.turns))
        session = copied(
            document.session,
            turns,
            new_id=new_id("ses", now=self._clock.now(), entropy=self._entropy(10)),
            owner=request.principal.user,
            at=self._clock.now(),
            kind="import",
        )
        session = replace(
            session,
            project=arguments.project or "",
            root="" if arguments.project is None else session.root,
        )
        if request.options.dry_run:
            return SessionResult(action="import", sessions=(session,), would=True)
        session = await self._sessions.add(session, turns)
        return SessionResult(action="import", sessions=(session,))

    async def _delete(self, arguments: SessionArguments, request: Request) -> SessionResult:
        session = await self._own(arguments, request, "delete")
        if not request.options.dry_run:
            await self._sessions.delete(session.id, _writer(request))
        would = request.options.dry_run
        return SessionResult(action="delete", sessions=(session,), would=would)

    async def _share(self, arguments: SessionArguments, request: Request) -> SessionResult:
        session = await self._own(arguments, request, "share")
        user = arguments.user
        if arguments.remove and user not in session.shared_with:
            raise NotFoundError(f"session {session.id} is not shared with {user!r}")
        if not arguments.remove:
            await self._must_be_there(user, request.principal)

        def shared(one: Session) -> Session:
            others = {*one.shared_with} - {user} if arguments.remove else {*one.shared_with, user}
            return replace(one, shared_with=tuple(sorted(others)))

        if request.options.dry_run:
            return SessionResult(action="share", sessions=(shared(session),), would=True)
        session = await self._sessions.change(session.id, shared)
        return SessionResult(action="share", sessions=(session,))

    async def _handoff(self, arguments: SessionArguments, request: Request) -> SessionResult:
        session = await self._own(arguments, request, "hand off")
        await self._must_be_there(arguments.user, request.principal)

        def handed(one: Session) -> Session:
            readers = {*one.shared_with, one.owner} - {arguments.user}
            return replace(one, owner=arguments.user, shared_with=tuple(sorted(readers)))

        if request.options.dry_run:
            return SessionResult(action="handoff", sessions=(handed(session),), would=True)
        session = await self._sessions.alone(session.id, _writer(request), handed)
        return SessionResult(action="handoff", sessions=(session,))

    async def _own(self, arguments: SessionArguments, request: Request, what: str) -> Session:
        session = await find_session(self._sessions, arguments.id, request.principal)
        must_own(session, request.principal, what)
        return session

    async def _must_be_there(self, user: str, who: Principal) -> None:
        if user == who.user:
            raise UsageError(f"the session is {user}'s already", hint="name another user")
        users = await self._users()
        if user in users:
            return
        others = sorted(set(users) - {who.user})
        near = nearest(user, others)
        if near is not None:
            hint = f"did you mean {near}?"
        elif others:
            hint = f"users with a key: {', '.join(others[:10])}"
        else:
            hint = "nobody else has a key here: a server has several users, see AIEX_SERVER"
        raise NotFoundError(f"no user {user!r} has a key of this gateway", hint=hint)


def _writer(request: Request) -> str:
    return f"session.{request.id}"


def _bare(turn: Turn) -> Turn:
    """Return *turn* without what only its provider and its writer know."""
    entries = []
    for entry in turn.entries:
        parts = tuple(part for part in map(_plain, entry.message.parts) if part is not None)
        entries.append(replace(entry, message=replace(entry.message, parts=parts)))
    return replace(turn, writer="", token=0, entries=tuple(entries))


def _plain(part: Part) -> Part | None:
    match part:
        case OpaquePart():
            return None
        case ReasoningPart():
            return ReasoningPart(text=part.text) if part.text else None
        case _:
            return part


def _check(document: SessionDocument) -> None:
    """Refuse a document that is none.

    Raises:
        UsageError: It is damaged, or of a newer Aiex.
    """
    if document.schema > SESSION_DOCUMENT:
        raise UsageError(
            f"the session was exported by a newer Aiex (schema {document.schema}; this one knows "
            f"{SESSION_DOCUMENT})",
            hint="upgrade this Aiex",
        )
    if len(document.turns) > _MOST_TURNS:
        raise UsageError(f"a session has at most {_MOST_TURNS} turns")
    for number, turn in enumerate(document.turns, 1):
        if turn.number != number:
            raise UsageError(f"turn {number} of the session is missing or stands elsewhere")
        _check_entries(number, turn.entries)


def _check_entries(number: int, entries: tuple[Entry, ...]) -> None:
    if not entries or entries[0].message.role != "user" or len(entries) > _MOST_ENTRIES:
        raise UsageError(f"turn {number} of the session does not begin with what a user says")
    for entry in entries[1:]:
        if entry.message.role not in {"assistant", "tool"}:
            raise UsageError(
                f"turn {number} of the session has a message of the role {entry.message.role}"
            )
