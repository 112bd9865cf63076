"""What `key` answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.types import PrincipalRole, When

__all__ = ["KeyResult", "KeyState", "KeyView"]

KeyState = Literal["active", "expired", "revoked", "unusable"]
"""Whether a key is taken: `unusable` if the secret is gone that its proof was made with."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key of the gateway as it may be shown: never the key itself.

    Attributes:
        id: Its identifier.
        user: Whose it is.
        state: Whether it is taken.
        created: Aware UTC time.
        created_by: Who made it.
        name: What it is for.
        team: Team whose limits and budget count too; `None` without one.
        roles: What its bearer may do.
        models: Models that it may ask, as patterns; empty for all.
        expires: Aware UTC time from which it is not taken any more; `None` for never.
        revoked: Aware UTC time of its revocation; `None` if it was not.
        revoked_by: Who revoked it; `None` if nobody did.
        last_used: Aware UTC time, to a minute; `None` if it never was.
        requests_per_minute: Most requests; `None` for no limit of its own.
        tokens_per_minute: Most tokens; `None` for no limit of its own.
        concurrency: Most calls at a time; `None` for no limit of its own.
    """

    id: str
    user: str
    state: KeyState
    created: When
    created_by: str
    name: str = ""
    team: str | None = None
    roles: tuple[PrincipalRole, ...] = ()
    models: tuple[str, ...] = ()
    expires: When | None = None
    revoked: When | None = None
    revoked_by: str | None = None
    last_used: When | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class KeyResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for.

    Attributes:
        action: What was asked.
        keys: The keys that it is about, newest first.
        key: For `create`, the key. Only the door that made it puts it here, for who asked: the
            gateway's own events never have it.
        would: Whether it was a dry run, and nothing was made or revoked.
    """

    action: Literal["create", "list", "revoke"]
    keys: tuple[KeyView, ...] = ()
    key: str = ""
    would: bool = False
