"""Conversations as they are kept: a session, its turns, and what is said in them."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.events import UsageTotal
from aiex.core.ids import content_id
from aiex.core.messages import Message
from aiex.core.results_explain import CostEstimate, ShownContext
from aiex.core.types import When

__all__ = [
    "SESSION_DOCUMENT",
    "ChatBegun",
    "ChatResult",
    "Entry",
    "Session",
    "SessionDocument",
    "SessionOrigin",
    "SessionResult",
    "Turn",
    "TurnResult",
    "TurnState",
    "project_id",
]

TurnState = Literal["open", "done", "broken"]
"""Whether a turn is being answered, was answered, or was broken off."""

SESSION_DOCUMENT = 1
"""Version of `SessionDocument` that is written, and the newest that is read."""


def project_id(node: str, root: str) -> str:
    """Return the identifier of the project at the folder *root* of the machine *node*.

    Example:
        >>> project_id("desk", "/home/ada/shop"), project_id("desk", "")
        ('16710eb0406b', '')
    """
    return content_id("project", node, root) if root else ""


class SessionOrigin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a session was made of.

    Attributes:
        id: Identifier of the other session.
        turns: How many of its turns this one begins with.
        kind: `fork`, or `import` of an exported one.
    """

    id: str
    turns: int
    kind: Literal["fork", "import"] = "fork"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a turn.

    Attributes:
        message: What was said.
        call_id: Record of the call that said it; empty for what no model said.
        usage: What that call used; `None` for no call, or while it is under way.
    """

    message: Message
    call_id: str = ""
    usage: UsageTotal | None = None


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request and its answer, with the calls of tools between them.

    Attributes:
        number: Number within the session, 1 for the first.
        state: Whether it is answered.
        request_id: Request that it belongs to; what a model was shown is kept under it, too.
        started: Aware UTC time.
        ended: Aware UTC time; `None` while it is open.
        interface: Door that asked.
        model: Who answered, as `provider:model`; `None` if nobody has.
        usage: What it used.
        shown: What of the project the model was shown.
        note: Why it was broken off; empty if it was not.
        writer: Process that writes it.
        token: Fencing token that it was begun with.
        entries: What was said, in order; the first is the user's.
    """

    number: int
    state: TurnState
    request_id: str
    started: When
    ended: When | None = None
    interface: str = ""
    model: str | None = None
    usage: UsageTotal = UsageTotal()
    shown: tuple[ShownContext, ...] = ()
    note: str = ""
    writer: str = ""
    token: int = 0
    entries: tuple[Entry, ...] = ()


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation, without what is said in it.

    Attributes:
        id: Identifier, `ses_` and 25 digits and small letters.
        owner: User whose it is.
        created: Aware UTC time.
        updated: Aware UTC time of the newest turn's beginning or end.
        title: Its first words; empty for who may not read it.
        project: Identifier of the project that it is about.
        root: Absolute path of the project's root on the machine where it was begun; empty
            without one.
        model: Model that the owner named for it; `None` to choose at every turn.
        answered_by: Who answered last, as `provider:model`; `None` if nobody has.
        shared_with: Users who may read it, sorted.
        parent: What it was made of; `None` for nothing.
        turns: How many turns it has.
        usage: What its turns used; those that it was made with do not count.
        revision: Revision of the stored record; 0 before it is stored.
        schema: Version of this record.
    """

    id: str
    owner: str
    created: When
    updated: When
    title: str = ""
    project: str = ""
    root: str = ""
    model: str | None = None
    answered_by: str | None = None
    shared_with: tuple[str, ...] = ()
    parent: SessionOrigin | None = None
    turns: int = 0
    usage: UsageTotal = UsageTotal()
    revision: int = 0
    schema: int = 1


class SessionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A session as it is exported and imported.

    Attributes:
        session: The session.
        turns: Its turns, from the first.
        exported: Aware UTC time.
        kind: What this document is.
        schema: Version of this shape.
    """

    session: Session
    turns: tuple[Turn, ...]
    exported: When
    kind: Literal["aiex.session"] = "aiex.session"
    schema: int = SESSION_DOCUMENT


class SessionResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `session` answers.

    Attributes:
        action: What was asked.
        sessions: The sessions that it is about, newest first.
        turns: For `show`, the turns of the one, as far as who asks may read them.
        document: For `export`, the whole of it, without secrets.
        is_readable: For `show`, whether who asks may read the turns.
        would: Whether it was a dry run, and nothing was changed.
    """

    action: Literal["list", "show", "export", "import", "delete", "share", "handoff"]
    sessions: tuple[Session, ...] = ()
    turns: tuple[Turn, ...] = ()
    document: SessionDocument | None = None
    is_readable: bool = True
    would: bool = False


class TurnResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `turn` answers to who writes a session.

    Attributes:
        session: The session as it is now; `None` for a new one that is only read.
        turn: Number of the turn.
        revision: Revision of the turn, which the next write names.
        token: Fencing token of the turn.
        past: The turns before it, when it is begun or read.
        is_held: Whether the turn is still its writer's.
    """

    session: Session | None = None
    turn: int = 0
    revision: int = 0
    token: int = 0
    past: tuple[Turn, ...] = ()
    is_held: bool = True


class ChatBegun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of an answer before its first word.

    Attributes:
        session: Identifier of the session; empty for a dry run of a new one.
        turn: Number of the turn.
        parent: Session that it was forked from; `None` if it was not.
    """

    session: str
    turn: int
    parent: str | None = None


class ChatResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `chat` answers.

    Attributes:
        session: The session as it is now; `None` for a dry run of a new one.
        turn: Number of the turn.
        text: The answer; `None` for a dry run.
        tools: Calls of tools that it took, each in a line.
        context: What of the project the model was shown.
        left_out: Turns that did not fit in the model's window.
        estimates: What it would cost at each endpoint, for a dry run.
    """

    session: Session | None
    turn: int
    text: str | None = None
    tools: tuple[str, ...] = ()
    context: tuple[ShownContext, ...] = ()
    left_out: int = 0
    estimates: tuple[CostEstimate, ...] = ()
