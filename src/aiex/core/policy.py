"""Who may do what: pure decisions over roles, verbs and models.

A role is a set of actions, and what somebody may do is the union over their roles: no role takes
anything away. What is not named here nobody may do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from aiex.core.errors import RefusedError
from aiex.core.types import Principal, PrincipalRole

__all__ = [
    "EVERY_ROLE",
    "GRANTS",
    "NODE_VERBS",
    "check_action",
    "is_model_allowed",
    "may",
    "may_follow",
    "roles_for",
]

EVERY_ROLE: Final[tuple[PrincipalRole, ...]] = (
    "viewer",
    "developer",
    "operator",
    "admin",
    "auditor",
)
"""Every role: what a user has on their own machine."""

_VIEWER: Final = frozenset(
    {
        *("doctor", "sandbox.status", "model.list"),
        *("change.list", "change.show", "change.diff"),
        *("events.tail", "interfaces.list", "requests.list"),
        *("session.list", "session.show", "session.export"),
        # Of these the verb gives to whoever is no administrator what is their own.
        *("key.create", "key.list", "key.revoke", "budget.show", "budget.report"),
    }
)
_DEVELOPER: Final = _VIEWER | {
    *("complete", "explain", "analyze", "create_module", "create_project"),
    *("context.index", "context.search", "context.pack", "context.map"),
    *("context.status", "context.forget"),
    *("change.apply", "model.test", "sandbox.test"),
    *("chat", "turn.read", "turn.begin", "turn.write", "turn.renew", "turn.end"),
    *("session.import", "session.delete", "session.share", "session.handoff"),
}
_OPERATOR: Final = _VIEWER | {
    *("model.test", "model.pull", "model.update", "sandbox.test"),
    *("requests.all", "broadcast", "health.show", "node.drain"),
}
_ADMIN: Final = (
    _DEVELOPER
    | _OPERATOR
    | {
        *("budget.set", "model.use", "interactions.list", "config.show", "config.set"),
    }
)
_AUDITOR: Final = _VIEWER | {
    *("audit.tail", "audit.search", "audit.verify", "audit.export"),
    *("interactions.list", "config.show", "requests.all"),
}

GRANTS: Final[Mapping[PrincipalRole, frozenset[str]]] = {
    "viewer": _VIEWER,
    "developer": _DEVELOPER,
    "operator": _OPERATOR,
    "admin": _ADMIN,
    "auditor": _AUDITOR,
}
"""The actions of each role: a verb, or a verb and what it is asked to do."""

NODE_VERBS: Final = frozenset({"audit", "budget", "complete", "key", "model", "session", "turn"})
"""Verbs that another machine may ask a node for. The others work on a user's files, which a node
never touches: they run where the files are."""


@lru_cache(maxsize=256)
def _granted(roles: tuple[PrincipalRole, ...]) -> frozenset[str]:
    return frozenset[str]().union(*(GRANTS[role] for role in roles))


def may(roles: Iterable[PrincipalRole], action: str) -> bool:
    """Return whether one of *roles* allows *action*.

    Example:
        >>> may(("developer",), "complete"), may(("developer",), "budget.set")
        (True, False)
    """
    return action in _granted(tuple(roles))


def roles_for(action: str) -> tuple[PrincipalRole, ...]:
    """Return the roles that allow *action*, the one that allows least first.

    Example:
        >>> roles_for("budget.set")
        ('admin',)
    """
    having = [role for role in EVERY_ROLE if action in GRANTS[role]]
    return tuple(sorted(having, key=lambda role: len(GRANTS[role])))


def check_action(principal: Principal, action: str) -> None:
    """Return if *principal* may do *action*.

    Raises:
        RefusedError: It may not; says which role may.
    """
    if action in _granted(principal.roles):
        return
    having = roles_for(action)
    needed = " or ".join(having) or "no role"
    raise RefusedError(
        f"{principal.user} may not do {action.replace('.', ' ')}: that takes the role {needed}",
        hint=f"ask for a key with it: aiex key create --role {having[0]}" if having else None,
    )


def is_model_allowed(patterns: Iterable[str], model: str) -> bool:
    """Return whether one of *patterns* means *model*.

    Args:
        patterns: As in `Principal.models`: `provider:model`, where `*` stands for any text; none
            at all allow every model.
        model: Model as `provider:model`.

    Example:
        >>> is_model_allowed(("ollama:*",), "ollama:qwen3"), is_model_allowed((), "openai:gpt-5")
        (True, True)
        >>> is_model_allowed(("ollama:*",), "openai:gpt-5")
        False
    """
    patterns = tuple(patterns)
    return not patterns or any(_means(pattern, model) for pattern in patterns)


def _means(pattern: str, model: str) -> bool:
    """Return whether *model* is *pattern* with some text in the place of each `*`."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == model
    *middle, last = rest
    if not model.startswith(first) or len(model) < len(first) + len(last):
        return False
    at, end = len(first), len(model) - len(last)
    for piece in middle:  # the first place is always the best one
        at = model.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return model.endswith(last)


def may_follow(principal: Principal, owner: str) -> bool:
    """Return whether *principal* may read and stop the requests of the user *owner*.

    What a request answers is for its user alone, whatever the role of who asks.
    """
    return principal.user == owner
