"""Who a key of the gateway belongs to: answered from memory, which follows the store."""

from __future__ import annotations

import hmac
import logging
from datetime import datetime
from hmac import compare_digest
from types import TracebackType
from typing import Final, Self

import anyio
import msgspec
from anyio.abc import TaskGroup

from aiex.cluster import Record, Store
from aiex.context.gateway_keys import GatewayKey, GatewayKeys
from aiex.context.store import GATEWAY_KEY
from aiex.core import AiexError, Principal, UnauthenticatedError, digest_of_key, key_id_of
from aiex.runtime import Clock

__all__ = ["KeyAuthenticator"]

_LOG = logging.getLogger(__name__)
_TABLE: Final = GATEWAY_KEY.name
_KEY: Final = msgspec.json.Decoder(GatewayKey)
_PAGE: Final = 500
_USES_EVERY: Final = 60.0
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 5.0
_NOBODYS: Final = bytes(32)
_HINT: Final = "aiex key create makes a key; send it as a bearer token"


class _Known:
    """A key in memory."""

    __slots__ = ("expires", "key", "principals", "proof", "revoked", "used")

    def __init__(self, key: GatewayKey) -> None:
        self.key = key
        self.proof = bytes.fromhex(key.proof)
        self.expires = key.expires
        self.revoked = key.revoked is not None
        self.principals: dict[str, Principal] = {}
        self.used: datetime | None = None

    def principal(self, interface: str) -> Principal:
        key = self.key
        found = self.principals[interface] = Principal(
            user=key.user,
            interface=interface,
            team=key.team,
            key_id=key.id,
            roles=key.roles,
            models=key.models,
        )
        return found


class KeyAuthenticator:
    """Knows every key. Entered before use; leaving writes down when keys were last used.

    A key that is made or revoked anywhere counts here as soon as the store tells of it, which is
    within a tenth of a second. While the store cannot be read, what is known goes on to count.

    Args:
        keys: The stored keys.
        store: The store that they are in.
        clock: Where time comes from.
        uses_every: Seconds between two times of writing down which keys were used.
    """

    def __init__(
        self, keys: GatewayKeys, store: Store, *, clock: Clock, uses_every: float = _USES_EVERY
    ) -> None:
        self._keys = keys
        self._store = store
        self._clock = clock
        self._uses_every = uses_every
        self._known: dict[str, _Known] = {}
        self._revision = 0
        self._pepper_id = ""
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        pepper = await self._keys.pepper()
        self._pepper_id = pepper.id
        # A copy of a keyed code costs half of what making it anew does.
        self._code = hmac.new(pepper.secret, digestmod="sha256")
        after: Record | None = None
        while True:
            page = await self._store.scan(
                _TABLE, after=None if after is None else after.key, limit=_PAGE
            )
            for record in page:
                self._take(_decoded(record))
            if len(page) < _PAGE:
                break
            after = page[-1]
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._follow)
        self._tasks.start_soon(self._write_uses)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        try:
            return await tasks.__aexit__(kind, error, trace)
        finally:
            with anyio.move_on_after(2.0, shield=True):
                await self._uses()

    def authenticate(self, token: str | None, *, interface: str) -> Principal:
        """Return who *token* belongs to; does not block.

        Raises:
            UnauthenticatedError: There is none, or it is wrong, expired or revoked.
        """
        if not token:
            raise UnauthenticatedError("no key was given", hint=_HINT)
        code = self._code.copy()
        code.update(digest_of_key(token))
        known = self._known.get(key_id_of(token))
        is_right = compare_digest(code.digest(), _NOBODYS if known is None else known.proof)
        if known is None or not is_right:
            raise UnauthenticatedError("the key is not one of this gateway", hint=_HINT)
        now = self._clock.now()
        if known.revoked:
            raise UnauthenticatedError(f"the key {known.key.id} was revoked", hint=_HINT)
        if known.expires is not None and known.expires <= now:
            raise UnauthenticatedError(
                f"the key {known.key.id} expired at {known.expires:%Y-%m-%d %H:%M} UTC", hint=_HINT
            )
        known.used = now
        return known.principals.get(interface) or known.principal(interface)

    def key(self, key_id: str) -> GatewayKey | None:
        """Return the stored key of this identifier; `None` if there is none."""
        known = self._known.get(key_id)
        return None if known is None else known.key

    def _take(self, key: GatewayKey) -> None:
        if key.pepper != self._pepper_id:
            _LOG.warning(
                "the key %s was proved with a secret that is gone; it is not taken", key.id
            )
            self._known.pop(key.id, None)
            return
        known = _Known(key)
        before = self._known.get(key.id)
        known.used = None if before is None else before.used
        self._known[key.id] = known

    async def _follow(self) -> None:
        """Follow the store; a store that cannot be read is tried again, ever more slowly.

        From its beginning: what was read page by page may have missed a key that was written
        meanwhile.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._store.watch(_TABLE, after=self._revision) as changes:
                    async for change in changes:
                        pause = _FIRST_PAUSE
                        if isinstance(change, Record):
                            self._take(_decoded(change))
                            self._revision = change.revision
                        else:
                            self._known.pop(change[0], None)
            except AiexError as error:
                _LOG.warning("keys of the gateway cannot be followed for now: %s", error.message)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _write_uses(self) -> None:
        while True:
            await anyio.sleep(self._uses_every)
            await self._uses()

    async def _uses(self) -> None:
        used = {id_: known.used for id_, known in self._known.items() if known.used is not None}
        if not used:
            return
        for known in self._known.values():
            known.used = None
        try:
            await self._keys.used(used)
        except AiexError as error:
            _LOG.warning("when keys were last used was not written down: %s", error.message)


def _decoded(record: Record) -> GatewayKey:
    return _KEY.decode(record.value)
