"""What a limit is, whom it is for, and where limits come from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, Protocol

import msgspec

from aiex.core import ConfigurationError, Principal
from aiex.llm.ports import Endpoint

__all__ = [
    "EACH",
    "FixedLimits",
    "Limit",
    "LimitSource",
    "LimitUsage",
    "OnStoreLoss",
    "Period",
    "What",
    "subject_of",
]

What = Literal["requests", "tokens", "concurrency", "cost"]
"""What is counted; `cost` is in micro-dollars."""

Period = Literal["day", "week", "month"]
"""A calendar period in UTC; weeks begin on Monday."""

OnStoreLoss = Literal["local_share", "deny"]
"""What holds once the store is gone and a lease is spent."""

EACH: Final = "*"
"""As a name in a scope: everybody of that kind has the whole limit for himself."""

_SHORTEST = 1.0
_LONGEST = 3600.0


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The most of something that a scope may use in a window.

    Attributes:
        id: Stable name; what was used is kept under it.
        scope: `all`, `user:NAME`, `team:NAME`, `key:ID`, `provider:NAME` or
            `model:PROVIDER:MODEL`; the name `*` means each its own.
        what: What is counted. Tokens are those of prompt and reply together.
        amount: The most of it: requests, tokens, calls at once, or micro-dollars.
        window: Seconds that slide (1 to 3600), or a calendar period; nothing to `concurrency`.
        on_store_loss: What holds when the store cannot be reached and what was leased is spent;
            `None` for the default: `deny` for `cost`, `local_share` for the rest.

    Raises:
        ConfigurationError: A field is outside of what is allowed.
    """

    id: str
    scope: str
    what: What
    amount: int
    window: float | Period = 60.0
    on_store_loss: OnStoreLoss | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ConfigurationError("A limit has no id.")
        if self.amount < 0:
            raise ConfigurationError(f"Limit {self.id}: the amount {self.amount} is below 0.")
        if not isinstance(self.window, str) and not _SHORTEST <= self.window <= _LONGEST:
            raise ConfigurationError(
                f"Limit {self.id}: a window of {self.window:g} s; expected 1 to 3600 s, "
                "or day, week or month."
            )
        kind, *names = self.scope.split(":", 2 if self.scope.startswith("model:") else 1)
        if (len(names), kind) not in _KINDS or not all(names):
            raise ConfigurationError(
                f"Limit {self.id}: the scope {self.scope!r}; expected all, user:NAME, team:NAME, "
                "key:ID, provider:NAME or model:PROVIDER:MODEL."
            )

    @property
    def denies_on_loss(self) -> bool:
        """Whether nothing beyond what is leased is given once the store is gone."""
        if self.on_store_loss is None:
            return self.what == "cost"
        return self.on_store_loss == "deny"


_KINDS = {(0, "all"), (1, "user"), (1, "team"), (1, "key"), (1, "provider"), (2, "model")}


def subject_of(limit: Limit, principal: Principal, endpoint: Endpoint) -> str | None:
    """Return for whom a call counts under *limit*, a scope without `*`; `None` if it does not.

    Example:
        >>> ann = Principal(user="ann", interface="cli")
        >>> each = Limit(id="l", scope="user:*", what="requests", amount=9)
        >>> subject_of(each, ann, Endpoint(provider="openai", model="gpt-5"))
        'user:ann'
    """
    kind, _, name = limit.scope.partition(":")
    if kind == "all":
        return "all"
    if kind == "model":
        provider, _, model = name.partition(":")
        if provider not in {EACH, endpoint.provider} or model not in {EACH, endpoint.model}:
            return None
        return f"model:{endpoint.provider}:{endpoint.model}"
    actual = {
        "user": principal.user,
        "team": principal.team,
        "key": principal.key_id,
        "provider": endpoint.provider,
    }[kind]
    return f"{kind}:{actual}" if actual and name in {EACH, actual} else None


class LimitSource(Protocol):
    """Where the limits in force come from."""

    def limits_for(self, principal: Principal, endpoint: Endpoint) -> Sequence[Limit]:
        """Return the limits that a call counts under, their scopes as they are written.

        From memory and fast. While nothing changed it should return the same object, which
        spares the work of looking at it again.
        """

    def limits(self) -> Sequence[Limit]:
        """Return all limits in force."""


class FixedLimits:
    """Satisfies `LimitSource` with limits that never change.

    Args:
        limits: The limits, each with an id of its own.

    Raises:
        ConfigurationError: Two have the same id.
    """

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        if len({limit.id for limit in limits}) < len(limits):
            raise ConfigurationError("Two limits have the same id.")
        self._found: dict[tuple[str | None, ...], tuple[Limit, ...]] = {}

    def limits_for(self, principal: Principal, endpoint: Endpoint) -> Sequence[Limit]:
        """Return the limits that a call counts under."""
        who = (principal.user, principal.team, principal.key_id, endpoint.provider, endpoint.model)
        found = self._found.get(who)
        if found is None:
            found = tuple(x for x in self._limits if subject_of(x, principal, endpoint) is not None)
            if len(self._found) >= 1024:
                self._found.clear()
            self._found[who] = found
        return found

    def limits(self) -> Sequence[Limit]:
        """Return all limits."""
        return self._limits


class LimitUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Where a limit stands.

    Attributes:
        limit: The limit.
        subject: Whose use it is: the scope, with the name that `*` stood for.
        used: What was used in the window, reservations that are not settled included; may be
            above the amount where more was billed than was reserved.
        leased: What processes hold and have not told to have spent; those that were killed too.
        left: What may still be leased or is leased by this process and unspent; at least 0.
        resets_at: Aware UTC time at which all of it is free again if nothing more is used; for
            `concurrency`, when the leases of now end; `None` if nothing is used.
    """

    limit: Limit
    subject: str
    used: int
    leased: int
    left: int
    resets_at: datetime | None = None
