from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from aiex.cluster import Store
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, GatewayKey, GatewayKeys, KeyAuthenticator
from aiex.context.gateway_keys import read_pepper
from aiex.core import (
    KEY_ENTROPY_BYTES,
    ConflictError,
    NewKey,
    NotFoundError,
    Principal,
    StoreCorruptError,
    UnauthenticatedError,
    UsageError,
    new_key,
)
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def keys(store: Store, tmp_path: Path) -> GatewayKeys:
    return GatewayKeys(store, pepper=tmp_path / "pepper")


async def made(keys: GatewayKeys, clock: FakeClock, **more: Any) -> NewKey:
    key = new_key(os.urandom(KEY_ENTROPY_BYTES))
    given: dict[str, Any] = {"user": "ann", "created_by": "ann", "roles": ("developer",)}
    stored = GatewayKey(id=key.id, proof="", pepper="", created=clock.now(), **{**given, **more})
    await keys.add(stored, digest=key.digest)
    return key


async def until_refused(authenticator: KeyAuthenticator, key: NewKey) -> UnauthenticatedError:
    with anyio.fail_after(10):
        while True:
            try:
                authenticator.authenticate(key.token, interface="http")
            except UnauthenticatedError as error:
                return error
            await anyio.sleep(0.001)


async def until_known(authenticator: KeyAuthenticator, key: NewKey) -> Principal:
    with anyio.fail_after(10):
        while True:
            try:
                return authenticator.authenticate(key.token, interface="http")
            except UnauthenticatedError:
                await anyio.sleep(0.001)


async def test_a_key_says_who_asks(store: Store, keys: GatewayKeys, clock: FakeClock) -> None:
    key = await made(
        keys, clock, user="bob", team="core", roles=("developer", "viewer"), models=("openai:*",)
    )
    async with KeyAuthenticator(keys, store, clock=clock) as authenticator:
        assert authenticator.authenticate(key.token, interface="http") == Principal(
            user="bob",
            interface="http",
            team="core",
            key_id=key.id,
            roles=("developer", "viewer"),
            models=("openai:*",),
        )
        assert authenticator.authenticate(key.token, interface="mcp").interface == "mcp"
        assert authenticator.authenticate(key.token, interface="http").interface == "http"


async def test_what_is_not_a_key_of_this_gateway_is_refused(
    store: Store, keys: GatewayKeys, clock: FakeClock
) -> None:
    key = await made(keys, clock)
    other = new_key(os.urandom(KEY_ENTROPY_BYTES))
    swapped = other.token.replace(other.id, key.id)
    wrong = [
        None,
        "",
        "aiex_",
        key.id,
        key.token[:-1],
        key.token + "A",
        key.token.upper(),
        f" {key.token}",
        other.token,
        swapped,
        "\ud800" + key.token,
        "é" * 100,
        "x" * 100_000,
    ]
    async with KeyAuthenticator(keys, store, clock=clock) as authenticator:
        for token in wrong:
            with pytest.raises(UnauthenticatedError) as refused:
                authenticator.authenticate(token, interface="http")
            assert not token or token not in str(refused.value)


async def test_a_key_ends_at_its_time(store: Store, keys: GatewayKeys, clock: FakeClock) -> None:
    key = await made(keys, clock, expires=clock.now() + timedelta(seconds=10))
    async with KeyAuthenticator(keys, store, clock=clock) as authenticator:
        clock.advance(9.9)
        authenticator.authenticate(key.token, interface="http")
        clock.advance(0.1)
        with pytest.raises(UnauthenticatedError, match="expired"):
            authenticator.authenticate(key.token, interface="http")


async def test_what_others_make_and_revoke_counts_here(
    store: Store, keys: GatewayKeys, clock: FakeClock, tmp_path: Path
) -> None:
    async with (
        KeyAuthenticator(keys, store, clock=clock) as authenticator,
        SqliteStore(tmp_path / "store.db", TABLES, clock=clock) as elsewhere,
    ):
        others = GatewayKeys(elsewhere, pepper=tmp_path / "pepper")
        key = await made(others, clock)
        assert (await until_known(authenticator, key)).key_id == key.id

        await others.revoke(key.id, at=clock.now(), by="eve")
        assert "revoked" in (await until_refused(authenticator, key)).message


async def test_more_keys_than_a_page_are_known(
    store: Store, keys: GatewayKeys, clock: FakeClock
) -> None:
    made_keys = [await made(keys, clock, user=f"u{number % 3}") for number in range(510)]
    async with KeyAuthenticator(keys, store, clock=clock) as authenticator:
        for key in made_keys:
            authenticator.authenticate(key.token, interface="http")
    assert len(await keys.list()) == 510
    assert {key.user for key in await keys.list(user="u1")} == {"u1"}
    assert len(await keys.list(user="u1")) == 170


async def test_nothing_that_is_stored_is_a_key(
    store: Store, keys: GatewayKeys, clock: FakeClock, tmp_path: Path
) -> None:
    key = await made(keys, clock)
    record = await store.get("gateway_key", (key.id,))
    assert record is not None
    stored = json.loads(record.value)

    secret = key.token.split("_", 2)[2]
    everything = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("*")))  # noqa: ASYNC240
    assert secret.encode() not in everything
    assert key.digest not in stored.values()
    assert stored["proof"] == (await keys.pepper()).proof(bytes.fromhex(key.digest))
    pepper = tmp_path / "pepper"
    assert stat.S_IMODE(pepper.stat().st_mode) == 0o600
    assert pepper.read_bytes() not in (tmp_path / "store.db").read_bytes()


async def test_uses_are_written_down_now_and_then(
    store: Store, keys: GatewayKeys, clock: FakeClock
) -> None:
    used, unused = await made(keys, clock), await made(keys, clock)
    async with (
        store.watch("gateway_key_use") as uses,
        KeyAuthenticator(keys, store, clock=clock, uses_every=0.001) as authenticator,
    ):
        clock.advance(60)
        authenticator.authenticate(used.token, interface="http")
        with anyio.fail_after(10):
            await anext(uses)
    assert await keys.last_used([used.id, unused.id]) == {used.id: clock.now()}


async def test_uses_are_written_down_at_the_end(
    store: Store, keys: GatewayKeys, clock: FakeClock
) -> None:
    key = await made(keys, clock)
    async with KeyAuthenticator(keys, store, clock=clock) as authenticator:
        authenticator.authenticate(key.token, interface="http")
        # What is said of a key again must not forget that it was used.
        await keys.revoke(key.id, at=clock.now(), by="eve")
        await until_refused(authenticator, key)
    assert await keys.last_used([key.id]) == {key.id: clock.now()}


class Failing:
    """A store whose watch breaks as often as it is told to."""

    def __init__(self, store: Store, times: int) -> None:
        self._store = store
        self.times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def watch(self, *args: Any, **more: Any) -> AsyncIterator[Any]:
        if self.times:
            self.times -= 1
            raise StoreCorruptError("the disk is gone")
        async with self._store.watch(*args, **more) as changes:
            yield changes


async def test_a_store_that_fails_is_followed_again_and_what_is_known_counts_meanwhile(
    store: Store, keys: GatewayKeys, clock: FakeClock
) -> None:
    key = await made(keys, clock)
    failing: Any = Failing(store, times=2)
    async with KeyAuthenticator(keys, failing, clock=clock) as authenticator:
        authenticator.authenticate(key.token, interface="http")
        await keys.revoke(key.id, at=clock.now(), by="eve")
        await until_refused(authenticator, key)
    assert failing.times == 0


async def test_a_key_is_revoked_once(keys: GatewayKeys, clock: FakeClock) -> None:
    key = await made(keys, clock)
    first = clock.now()
    await keys.revoke(key.id, at=first, by="eve")
    clock.advance(5)
    again = await keys.revoke(key.id, at=clock.now(), by="bob")
    assert (again.revoked, again.revoked_by) == (first, "eve")
    with pytest.raises(NotFoundError):
        await keys.revoke("0000000000", at=first, by="eve")
    with pytest.raises(NotFoundError):
        await keys.get("../../etc")


async def test_only_a_key_with_a_free_identifier_and_a_digest_is_stored(
    keys: GatewayKeys, clock: FakeClock
) -> None:
    key = await made(keys, clock)
    stored = await keys.get(key.id)
    with pytest.raises(ConflictError):
        await keys.add(stored, digest=key.digest)
    for digest in ("", key.digest[:-1], key.digest.upper(), "z" * 64):
        with pytest.raises(UsageError, match="digest"):
            await keys.add(stored, digest=digest)
    wrong = GatewayKey(
        id="no id", proof="", pepper="", user="a", created=clock.now(), created_by="a"
    )
    with pytest.raises(UsageError, match="identifier"):
        await keys.add(wrong, digest=key.digest)


async def test_processes_that_make_the_pepper_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "state" / "pepper"
    with ThreadPoolExecutor(8) as pool:
        made_peppers = await anyio.to_thread.run_sync(
            lambda: {pepper.secret for pepper in pool.map(read_pepper, [path] * 32)}
        )
    assert len(made_peppers) == 1
    assert [one.name for one in path.parent.iterdir()] == ["pepper"]


async def test_without_its_pepper_a_key_proves_nothing_and_says_so(
    store: Store, keys: GatewayKeys, clock: FakeClock, tmp_path: Path
) -> None:
    key = await made(keys, clock)
    (tmp_path / "pepper").unlink()
    anew = GatewayKeys(store, pepper=tmp_path / "pepper")
    async with KeyAuthenticator(anew, store, clock=clock) as authenticator:
        with pytest.raises(UnauthenticatedError):
            authenticator.authenticate(key.token, interface="http")
    stored, pepper = await anew.get(key.id), await anew.pepper()
    view = stored.view(now=clock.now(), pepper=pepper.id, last_used=None)
    assert view.state == "unusable"


async def test_a_damaged_pepper_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "pepper").write_bytes(b"short")
    with pytest.raises(StoreCorruptError, match="damaged"):
        await GatewayKeys(store, pepper=tmp_path / "pepper").pepper()
