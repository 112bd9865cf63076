"""Who may see a session, and who may write it."""

from __future__ import annotations

from aiex.context import Sessions
from aiex.core import NotFoundError, Principal, RefusedError, Session, UsageError

__all__ = ["as_seen_by", "find_session", "may_read", "must_own"]

_SHORTEST = 4


def may_read(session: Session, who: Principal) -> bool:
    """Return whether *who* may read what is said in *session*."""
    return session.owner == who.user or who.user in session.shared_with


def as_seen_by(session: Session, who: Principal) -> Session:
    """Return *session* without what only its readers know, if *who* is none of them."""
    if may_read(session, who):
        return session
    return Session(
        id=session.id,
        owner=session.owner,
        created=session.created,
        updated=session.updated,
        model=session.model,
        answered_by=session.answered_by,
        shared_with=session.shared_with,
        parent=session.parent,
        turns=session.turns,
        usage=session.usage,
        revision=session.revision,
    )


async def find_session(
    sessions: Sessions, prefix: str, who: Principal, *, metadata: bool = False
) -> Session:
    """Return the session whose id begins with *prefix*.

    Args:
        sessions: Where they are kept.
        prefix: An id, or a beginning of it.
        who: Who asks; those that they may not see do not count.
        metadata: Whether an administrator may see it who may not read it.

    Raises:
        NotFoundError: There is none.
        UsageError: Several begin with it, or it is too short.
    """
    if len(prefix) < _SHORTEST:
        raise UsageError(f"give {_SHORTEST} or more characters of the id, not {prefix!r}")
    sees_all = metadata and "admin" in who.roles
    found = [s for s in await sessions.beginning(prefix) if sees_all or may_read(s, who)]
    if not found:
        # The same words whether it is somebody else's or not there: whose others are is theirs.
        raise NotFoundError(f"there is no session {prefix!r}", hint="aiex session list shows yours")
    if len(found) > 1:
        ids = ", ".join(session.id for session in found[:8])
        raise UsageError(f"several sessions begin with {prefix!r}: {ids}")
    return found[0]


def must_own(session: Session, who: Principal, what: str) -> None:
    """Return if *session* belongs to *who*.

    Raises:
        RefusedError: It does not; only its owner may do *what* with it.
    """
    if session.owner != who.user:
        raise RefusedError(
            f"session {session.id} belongs to {session.owner}: only they may {what} it",
            hint=f"go on in a copy of your own: aiex chat --resume {session.id} --fork",
        )
