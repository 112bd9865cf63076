"""`key`: makes, lists and revokes the keys of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from typing import Final, Literal

import anyio.to_thread
import msgspec

from aiex.assistant.verbs import Run
from aiex.context import GatewayKey, GatewayKeys
from aiex.core import (
    Actor,
    AiexError,
    AuditRecord,
    Finished,
    KeyArguments,
    KeyChanged,
    KeyResult,
    NotFoundError,
    Principal,
    RefusedError,
    UsageError,
)
from aiex.llm import Announce
from aiex.runtime import Clock
from aiex.sandbox import AuditLog

__all__ = ["KeyVerb"]

_LONGEST_NAME: Final = 200
_HINT: Final = "ask somebody with the role admin"


class KeyVerb:
    """The verb.

    Who does not have the role admin sees, makes and revokes only keys of their own, which may do
    no more than they may.

    Args:
        keys: The stored keys.
        clock: Where time comes from.
        audit: Opens the audit log; blocks.
        announce: Tells of keys that were made or revoked.
    """

    name = "key"
    arguments_type = KeyArguments

    def __init__(
        self,
        keys: GatewayKeys,
        *,
        clock: Clock,
        audit: Callable[[], AuditLog],
        announce: Announce,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._audit = audit
        self._announce = announce

    async def run(self, arguments: KeyArguments, run: Run) -> Finished:
        """Do what was asked for."""
        match arguments.action:
            case "create":
                result = await self._create(arguments, run)
            case "list":
                result = await self._list(run.request.principal)
            case "revoke":
                result = await self._revoke(arguments, run)
        return Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))

    async def _create(self, arguments: KeyArguments, run: Run) -> KeyResult:
        who = run.request.principal
        asked = GatewayKey(
            id=arguments.id,
            proof="",
            pepper=(await self._keys.pepper()).id,
            user=_named(arguments.user or who.user, "the user"),
            created=self._clock.now(),
            created_by=who.user,
            name=_named(arguments.name, "what the key is for") if arguments.name else "",
            team=arguments.team,
            roles=arguments.roles,
            models=arguments.models,
            expires=arguments.expires,
            requests_per_minute=arguments.requests_per_minute,
            tokens_per_minute=arguments.tokens_per_minute,
            concurrency=arguments.concurrency,
        )
        if asked.expires is not None and asked.expires <= asked.created:
            raise UsageError(
                f"the key would have expired already, at {asked.expires:%Y-%m-%d %H:%M} UTC",
                hint="name a time to come, such as --expires 90d",
            )
        limits = (asked.requests_per_minute, asked.tokens_per_minute, asked.concurrency)
        if any(most is not None and most < 1 for most in limits):
            raise UsageError("a limit is 1 or more", hint="revoke a key that may do nothing")
        if not asked.roles:
            raise UsageError("a key needs a role", hint="--role developer")
        audited = _Audited(self._audit, run, "key_create", asked)
        key = await audited.allowed(lambda: self._within(asked, who))
        if run.request.options.dry_run:
            return await self._result("create", [key], would=True)
        key = await audited.change(self._keys.add(key, digest=arguments.digest))
        self._announce(KeyChanged(id=key.id, state="created", user=key.user, by=who.user))
        return await self._result("create", [key])

    async def _within(self, asked: GatewayKey, who: Principal) -> GatewayKey:
        """Return the key that *who* may make when they ask for *asked*.

        Raises:
            RefusedError: It could do more than they may.
        """
        if "admin" in who.roles:
            return asked
        if asked.user != who.user:
            raise RefusedError(f"you may make keys for yourself, not for {asked.user}", hint=_HINT)
        more = [role for role in asked.roles if role not in who.roles]
        if more:
            raise RefusedError(f"you do not have the role {', '.join(more)} yourself", hint=_HINT)
        if asked.team not in {None, who.team}:
            raise RefusedError(f"you are not of the team {asked.team}", hint=_HINT)
        models = asked.models or who.models
        wider = [model for model in models if who.models and not _is_within(model, who.models)]
        if wider:
            raise RefusedError(f"you may not ask {', '.join(wider)} yourself", hint=_HINT)
        mine = None if who.key_id is None else await self._keys.get(who.key_id)
        asked = msgspec.structs.replace(asked, team=who.team, models=models)
        return asked if mine is None else _tightest(asked, mine)

    async def _list(self, who: Principal) -> KeyResult:
        user = None if "admin" in who.roles else who.user
        return await self._result("list", await self._keys.list(user=user))

    async def _revoke(self, arguments: KeyArguments, run: Run) -> KeyResult:
        who = run.request.principal
        key = await self._keys.get(arguments.id)
        audited = _Audited(self._audit, run, "key_revoke", key)

        async def check() -> GatewayKey:
            if "admin" not in who.roles and key.user != who.user:
                # The same words as for a key that is not there: whose others are is theirs.
                raise NotFoundError(
                    f"there is no key {key.id!r}", hint="aiex key list shows those that are"
                )
            return key

        await audited.allowed(check)
        if run.request.options.dry_run:
            return await self._result("revoke", [key], would=True)
        if key.revoked is not None:
            return await self._result("revoke", [key])
        now = self._clock.now()
        revoked = await audited.change(self._keys.revoke(key.id, at=now, by=who.user))
        self._announce(KeyChanged(id=key.id, state="revoked", user=key.user, by=who.user))
        return await self._result("revoke", [revoked])

    async def _result(
        self,
        action: Literal["create", "list", "revoke"],
        keys: Sequence[GatewayKey],
        *,
        would: bool = False,
    ) -> KeyResult:
        now, pepper = self._clock.now(), (await self._keys.pepper()).id
        used = await self._keys.last_used([key.id for key in keys]) if action != "create" else {}
        views = tuple(key.view(now=now, pepper=pepper, last_used=used.get(key.id)) for key in keys)
        return KeyResult(action=action, keys=views, would=would)


class _Audited:
    """Writes down one change of a key: before it, after it, or that it was refused."""

    def __init__(self, audit: Callable[[], AuditLog], run: Run, op: str, key: GatewayKey) -> None:
        principal = run.request.principal
        about = f"key {key.id} of {key.user}, {', '.join(key.roles)}"
        self._open = audit
        self._intent = AuditRecord(
            op_id=run.request.id,
            kind="intent",
            actor=Actor(user=principal.user, interface=principal.interface, agent=principal.agent),
            op=op,
            reason=about,
        )

    async def allowed(self, check: Callable[[], Awaitable[GatewayKey]]) -> GatewayKey:
        """Return what *check* returns; if it refuses, that is written down."""
        try:
            return await check()
        except (RefusedError, NotFoundError) as error:
            denied = msgspec.structs.replace(
                self._intent,
                kind="op",
                decision="deny",
                rule="role",
                reason=f"{self._intent.reason}: {error.message}",
            )
            await self._write(denied)
            raise

    async def change(self, changing: Coroutine[None, None, GatewayKey]) -> GatewayKey:
        """Return what *changing* returns, written down before it begins and when it has ended."""
        with closing(changing):
            await self._write(self._intent)
            ended = msgspec.structs.replace(self._intent, kind="op")
            try:
                key = await changing
            except AiexError as error:
                reason = f"{ended.reason}: failed: {error.message}"
                await self._write(msgspec.structs.replace(ended, reason=reason))
                raise
            await self._write(ended)
            return key

    async def _write(self, record: AuditRecord) -> None:
        await anyio.to_thread.run_sync(lambda: self._open().record(record))


def _named(text: str, what: str) -> str:
    if not text.strip() or len(text) > _LONGEST_NAME or not text.isprintable():
        raise UsageError(f"{what} is told in one line of up to {_LONGEST_NAME} characters")
    return text.strip()


def _is_within(pattern: str, patterns: Sequence[str]) -> bool:
    """Return whether every model of *pattern* is one of *patterns*."""
    return any(pattern == one or fnmatchcase(pattern, one) for one in patterns)


def _tightest(asked: GatewayKey, mine: GatewayKey) -> GatewayKey:
    """Return the key *asked*, made with *mine*: it ends no later and its limits are no wider."""
    tighter = {}
    for name in ("expires", "requests_per_minute", "tokens_per_minute", "concurrency"):
        both = [v for v in (getattr(asked, name), getattr(mine, name)) if v is not None]
        tighter[name] = min(both, default=None)
    return msgspec.structs.replace(asked, **tighter)
