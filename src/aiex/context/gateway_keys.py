"""The table `gateway_key`: who may use the gateway. What is stored proves keys and makes none."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import anyio.to_thread
import msgspec

from aiex.cluster import Record, Store, Write
from aiex.context.store import GATEWAY_KEY, GATEWAY_KEY_USE
from aiex.core import (
    ConflictError,
    KeyView,
    NotFoundError,
    PrincipalRole,
    StoreCorruptError,
    StoreError,
    UsageError,
    is_key_id,
)

__all__ = ["GatewayKey", "GatewayKeys", "Pepper", "read_pepper"]

_TABLE = GATEWAY_KEY.name
_USES = GATEWAY_KEY_USE.name
_PAGE = 500
_PEPPER_BYTES: Final = 32
_DIGEST_DIGITS: Final = 64
_REVOKE_TRIES: Final = 5


class Pepper(msgspec.Struct, frozen=True, kw_only=True):
    """The secret without which the stored proofs are worth nothing.

    Attributes:
        secret: 32 bytes.
        id: Which one it is: 12 hexadecimal digits of a code made with it.
    """

    secret: bytes
    id: str

    def __repr__(self) -> str:
        return f"Pepper(id={self.id!r})"

    def proof(self, digest: bytes) -> str:
        """Return HMAC-SHA256 of the *digest* of a key, hexadecimal."""
        return hmac.digest(self.secret, digest, "sha256").hex()


def read_pepper(path: Path) -> Pepper:
    """Return the secret in the file *path*, which is made with mode 0600 if it is absent. Blocks.

    Processes that make it at the same time agree on one.

    Raises:
        StoreError: It cannot be read or made.
        StoreCorruptError: What is there is no such secret.
    """
    try:
        with suppress(FileNotFoundError):
            return _pepper(path, path.read_bytes())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(handle, "wb") as file:  # noqa: PTH123
                file.write(secrets.token_bytes(_PEPPER_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # somebody was faster: theirs counts
                path.hardlink_to(new)
        finally:
            new.unlink(missing_ok=True)
        return _pepper(path, path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"{path}, which proves the keys of the gateway, cannot be had: {error.strerror}.",
            hint="Check free space and rights of its directory.",
        ) from error


def _pepper(path: Path, secret: bytes) -> Pepper:
    if len(secret) != _PEPPER_BYTES:
        raise StoreCorruptError(
            f"{path} is damaged: it has {len(secret)} bytes instead of {_PEPPER_BYTES}.",
            hint="Restore it from a backup; without it no key of the gateway can be proved.",
        )
    return Pepper(secret=secret, id=hmac.digest(secret, b"aiex pepper", "sha256").hex()[:12])


class GatewayKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as it is stored.

    Attributes:
        id: Its identifier.
        proof: HMAC-SHA256, with the pepper, of the SHA-256 of the key; hexadecimal.
        pepper: Which pepper that was.
        user: Whose it is.
        created: Aware UTC time.
        created_by: Who made it.
        name: What it is for.
        team: Team whose limits and budget count too; `None` without one.
        roles: What its bearer may do.
        models: Models that it may ask, as patterns; empty for all.
        expires: Aware UTC time from which it is not taken any more; `None` for never.
        revoked: Aware UTC time of its revocation; `None` if it was not.
        revoked_by: Who revoked it.
        requests_per_minute: Most requests; `None` for no limit of its own.
        tokens_per_minute: Most tokens; `None` for no limit of its own.
        concurrency: Most calls at a time; `None` for no limit of its own.
        schema: Version of this record.
    """

    id: str
    proof: str
    pepper: str
    user: str
    created: datetime
    created_by: str
    name: str = ""
    team: str | None = None
    roles: tuple[PrincipalRole, ...] = ()
    models: tuple[str, ...] = ()
    expires: datetime | None = None
    revoked: datetime | None = None
    revoked_by: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    schema: int = 1

    def view(self, *, now: datetime, pepper: str, last_used: datetime | None) -> KeyView:
        """Return what may be shown of it.

        Args:
            now: Aware UTC time.
            pepper: Which pepper counts.
            last_used: When it was last used; `None` if it never was.
        """
        return KeyView(
            id=self.id,
            user=self.user,
            state="revoked"
            if self.revoked is not None
            else "expired"
            if self.expires is not None and self.expires <= now
            else "active"
            if self.pepper == pepper
            else "unusable",
            created=self.created,
            created_by=self.created_by,
            name=self.name,
            team=self.team,
            roles=self.roles,
            models=self.models,
            expires=self.expires,
            revoked=self.revoked,
            revoked_by=self.revoked_by,
            last_used=last_used,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            concurrency=self.concurrency,
        )


class _Use(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime


_KEY = msgspec.json.Decoder(GatewayKey)
_USE = msgspec.json.Decoder(_Use)


class GatewayKeys:
    """Stores keys and what becomes of them.

    Args:
        store: With `TABLES`.
        pepper: File of the secret that proofs are made with; made when it is first needed.
    """

    def __init__(self, store: Store, *, pepper: Path) -> None:
        self._store = store
        self._pepper_file = pepper
        self._pepper: Pepper | None = None

    async def pepper(self) -> Pepper:
        """Return the secret that proofs are made with.

        Raises:
            StoreError: It cannot be had.
        """
        if self._pepper is None:
            self._pepper = await anyio.to_thread.run_sync(read_pepper, self._pepper_file)
        return self._pepper

    async def add(self, key: GatewayKey, *, digest: str) -> GatewayKey:
        """Return *key* as it is stored now, with its proof.

        Args:
            key: The key; its proof and pepper do not count.
            digest: SHA-256 of the key, hexadecimal.

        Raises:
            UsageError: The identifier or the digest is none.
            ConflictError: There is a key of this identifier already.
        """
        if not is_key_id(key.id):
            raise UsageError(f"{key.id!r} is no identifier of a key.")
        if len(digest) != _DIGEST_DIGITS or not set(digest) <= set("0123456789abcdef"):
            raise UsageError("The digest of a new key is the SHA-256 of it, 64 digits.")
        pepper = await self.pepper()
        proof = pepper.proof(bytes.fromhex(digest))
        proved = msgspec.structs.replace(key, proof=proof, pepper=pepper.id)
        await self._put(proved, expect=0)
        return proved

    async def get(self, key_id: str) -> GatewayKey:
        """Return a key.

        Raises:
            NotFoundError: There is none.
        """
        return _decoded(await self._record(key_id))

    async def list(self, *, user: str | None = None) -> Sequence[GatewayKey]:
        """Return keys, newest first.

        Args:
            user: Only those of this user.
        """
        found: list[GatewayKey] = []
        after: Record | None = None
        while True:
            if user is None:
                page = await self._store.scan(
                    _TABLE, after=None if after is None else after.key, limit=_PAGE
                )
            else:
                page = await self._store.query(_TABLE, "user", equal=user, after=after, limit=_PAGE)
            found += map(_decoded, page)
            if len(page) < _PAGE:
                return sorted(found, key=lambda key: (key.created, key.id), reverse=True)
            after = page[-1]

    async def revoke(self, key_id: str, *, at: datetime, by: str) -> GatewayKey:
        """Return the key as revoked; one that is already keeps its time.

        Args:
            key_id: Which.
            at: Aware UTC time.
            by: Who revokes it.

        Raises:
            NotFoundError: There is no such key.
            ConflictError: It is written by others again and again.
        """
        for _ in range(_REVOKE_TRIES):
            record = await self._record(key_id)
            key = _decoded(record)
            if key.revoked is not None:
                return key
            revoked = msgspec.structs.replace(key, revoked=at, revoked_by=by)
            with suppress(ConflictError):
                await self._put(revoked, expect=record.revision)
                return revoked
        raise ConflictError(f"The key {key_id} is being changed by others; try again.")

    async def _record(self, key_id: str) -> Record:
        found = await self._store.get(_TABLE, (key_id,)) if is_key_id(key_id) else None
        if found is None:
            raise NotFoundError(
                f"there is no key {key_id!r}", hint="aiex key list shows those that are"
            )
        return found

    async def _put(self, key: GatewayKey, *, expect: int) -> None:
        value = msgspec.json.encode(key)
        await self._store.transact([Write(table=_TABLE, key=(key.id,), value=value, expect=expect)])

    async def used(self, uses: Mapping[str, datetime]) -> None:
        """Write down when keys were last used, by their identifiers; aware UTC times."""
        writes = [
            Write(table=_USES, key=(key_id,), value=msgspec.json.encode(_Use(at=at)))
            for key_id, at in uses.items()
        ]
        for start in range(0, len(writes), _PAGE):
            await self._store.transact(writes[start : start + _PAGE])

    async def last_used(self, key_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return when each of the keys was last used; those that never were are not in it."""
        records = await self._store.get_many(_USES, [(key_id,) for key_id in key_ids])
        return {
            record.key[0]: _USE.decode(record.value).at for record in records if record is not None
        }


def _decoded(record: Record) -> GatewayKey:
    return _KEY.decode(record.value)
