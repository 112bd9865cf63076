from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
import pytest

from aiex.assistant.key import KeyVerb
from aiex.cluster import Store
from aiex.context import GatewayKey, GatewayKeys
from aiex.core import (
    KEY_ENTROPY_BYTES,
    AiexError,
    AuditLine,
    KeyArguments,
    KeyChanged,
    KeyResult,
    NotFoundError,
    Principal,
    PublishedBody,
    RefusedError,
    RunOptions,
    UsageError,
    new_key,
)
from aiex.sandbox import AuditLog, last_records
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

ADMIN = Principal(user="eve", interface="cli", roles=("admin",))
ANN = Principal(
    user="ann", interface="http", team="core", roles=("developer", "viewer"), models=("openai:*",)
)


class Office:
    """The verb over a real store and a real audit log, and what it told."""

    def __init__(self, store: Store, clock: FakeClock, folder: Path, told: Callable[..., Any]):
        self.keys = GatewayKeys(store, pepper=folder / "pepper")
        self.clock = clock
        self.audit = AuditLog(folder / "audit", now=clock.now)
        self.folder = folder
        self.said: list[PublishedBody] = []
        self._told = told
        self.verb = KeyVerb(
            self.keys, clock=clock, audit=lambda: self.audit, announce=self.said.append
        )

    async def ask(self, who: Principal, *, dry: bool = False, **given: Any) -> KeyResult:
        run = self._told(self.folder)
        run.request = msgspec.structs.replace(
            run.request, principal=who, options=RunOptions(dry_run=dry)
        )
        finished = await self.verb.run(KeyArguments(**given), run)
        return msgspec.json.decode(finished.data, type=KeyResult)

    async def create(self, who: Principal, **given: Any) -> KeyResult:
        key = new_key(os.urandom(KEY_ENTROPY_BYTES))
        return await self.ask(who, action="create", id=key.id, digest=key.digest, **given)

    async def records(self) -> list[AuditLine]:
        folder = self.folder / "audit"
        return list(await anyio.to_thread.run_sync(last_records, folder, 100))


@pytest.fixture
def office(store: Store, clock: FakeClock, tmp_path: Path, told: Any) -> Any:
    opened = Office(store, clock, tmp_path, told)
    yield opened
    opened.audit.close()


async def test_a_key_is_made_listed_and_revoked_and_all_of_it_is_told(office: Office) -> None:
    (made,) = (await office.create(ANN, name="ci")).keys
    assert (made.user, made.team, made.roles, made.models) == (
        "ann",
        "core",
        ("developer",),
        ("openai:*",),
    )
    (listed,) = (await office.ask(ANN, action="list")).keys
    assert listed == made
    office.clock.advance(60)
    (revoked,) = (await office.ask(ANN, action="revoke", id=made.id)).keys
    assert (revoked.state, revoked.revoked, revoked.revoked_by) == (
        "revoked",
        office.clock.now(),
        "ann",
    )

    assert office.said == [
        KeyChanged(id=made.id, state="created", user="ann", by="ann"),
        KeyChanged(id=made.id, state="revoked", user="ann", by="ann"),
    ]
    assert [(r.op, r.kind, r.decision, r.actor.user) for r in await office.records()] == [
        ("key_create", "intent", "allow", "ann"),
        ("key_create", "op", "allow", "ann"),
        ("key_revoke", "intent", "allow", "ann"),
        ("key_revoke", "op", "allow", "ann"),
    ]
    assert all(made.id in (record.reason or "") for record in await office.records())


async def test_a_key_that_was_revoked_is_not_revoked_again(office: Office) -> None:
    (made,) = (await office.create(ANN)).keys
    await office.ask(ANN, action="revoke", id=made.id)
    said, written = len(office.said), len(await office.records())
    (again,) = (await office.ask(ADMIN, action="revoke", id=made.id)).keys
    assert again.revoked_by == "ann"
    assert (len(office.said), len(await office.records())) == (said, written)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"user": "bob"}, "not for bob"),
        ({"roles": ("developer", "admin")}, "role admin"),
        ({"roles": ("auditor",)}, "role auditor"),
        ({"team": "sales"}, "team sales"),
        ({"models": ("openai:gpt-5", "anthropic:opus")}, "may not ask anthropic:opus"),
        ({"models": ("*",)}, "may not ask *"),
    ],
)
async def test_nobody_makes_a_key_that_can_do_more_than_they_may(
    office: Office, given: dict[str, Any], says: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        await office.create(ANN, **given)

    assert says in refused.value.message
    assert await office.keys.list() == []
    assert office.said == []
    (record,) = await office.records()
    assert (record.op, record.decision, record.rule) == ("key_create", "deny", "role")


async def test_an_admin_makes_any_key(office: Office) -> None:
    (made,) = (
        await office.create(
            ADMIN, user="bob", team="sales", roles=("admin", "auditor"), models=("*",)
        )
    ).keys
    assert (made.user, made.team, made.created_by) == ("bob", "sales", "eve")
    assert (made.roles, made.models) == (("admin", "auditor"), ("*",))


async def test_a_key_made_with_a_key_ends_no_later_and_has_no_wider_limits(
    office: Office,
) -> None:
    ends = office.clock.now() + timedelta(days=1)
    first = (
        await office.create(ADMIN, user="ann", expires=ends, tokens_per_minute=10, concurrency=3)
    ).keys[0]
    with_key = msgspec.structs.replace(ANN, key_id=first.id)

    (plain,) = (await office.create(with_key)).keys
    assert (plain.expires, plain.tokens_per_minute, plain.concurrency) == (ends, 10, 3)
    assert plain.requests_per_minute is None
    (asked,) = (
        await office.create(
            with_key,
            expires=ends + timedelta(days=9),
            tokens_per_minute=50,
            concurrency=1,
            requests_per_minute=7,
        )
    ).keys
    assert (asked.expires, asked.tokens_per_minute, asked.concurrency) == (ends, 10, 1)
    assert asked.requests_per_minute == 7


async def test_only_an_admin_sees_and_revokes_keys_of_others(office: Office) -> None:
    (anns,) = (await office.create(ANN)).keys
    (bobs,) = (await office.create(ADMIN, user="bob")).keys

    assert [key.id for key in (await office.ask(ANN, action="list")).keys] == [anns.id]
    everybodys = {key.id for key in (await office.ask(ADMIN, action="list")).keys}
    assert everybodys == {anns.id, bobs.id}
    with pytest.raises(NotFoundError) as hidden:
        await office.ask(ANN, action="revoke", id=bobs.id)
    with pytest.raises(NotFoundError) as absent:
        await office.ask(ANN, action="revoke", id="0" * 10)
    assert hidden.value.message.replace(bobs.id, "0" * 10) == absent.value.message
    assert hidden.value.hint == absent.value.hint
    assert (await office.keys.get(bobs.id)).revoked is None
    await office.ask(ADMIN, action="revoke", id=anns.id)


async def test_a_dry_run_changes_nothing_and_refuses_what_would_be_refused(
    office: Office,
) -> None:
    (made,) = (await office.create(ANN)).keys
    would = await office.ask(ANN, action="create", id="0" * 10, dry=True)
    assert would.would
    assert (await office.ask(ANN, action="revoke", id=made.id, dry=True)).would
    with pytest.raises(RefusedError):
        await office.ask(ANN, action="create", id="0" * 10, roles=("admin",), dry=True)
    (key,) = await office.keys.list()
    assert key.revoked is None


@pytest.mark.parametrize(
    "given",
    [
        {"roles": ()},
        {"concurrency": 0},
        {"user": "a\nb"},
        {"user": " "},
        {"name": "x" * 201},
        {"expires": FakeClock().now()},
    ],
)
async def test_what_makes_no_sense_is_a_usage_error(office: Office, given: Any) -> None:
    with pytest.raises(UsageError):
        await office.create(ADMIN, **given)
    assert await office.keys.list() == []


async def test_a_key_that_could_not_be_stored_is_written_down_as_failed(office: Office) -> None:
    (made,) = (await office.create(ANN)).keys
    with pytest.raises(AiexError):
        await office.ask(ANN, action="create", id=made.id, digest="0" * 64)
    last = (await office.records())[-1]
    assert (last.kind, last.decision) == ("op", "allow")
    assert "failed" in (last.reason or "")


async def test_without_the_audit_log_no_key_is_made(office: Office) -> None:
    def unwritable() -> AuditLog:
        raise RefusedError("the audit log cannot be written")

    office.verb = KeyVerb(
        office.keys, clock=office.clock, audit=unwritable, announce=office.said.append
    )
    with pytest.raises(RefusedError, match="audit log"):
        await office.create(ANN)
    assert await office.keys.list() == []
    stored: list[GatewayKey] = []
    assert list(await office.keys.list()) == stored
