"""The table `token_factor`: how each family of models counts tokens, as it was learned here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from aiex.cluster import Store, Write
from aiex.context.store import TOKEN_FACTOR
from aiex.core import TokenFactor

__all__ = ["TokenFactors"]

_TABLE = TOKEN_FACTOR.name
_MOST = 500
_FACTOR = msgspec.json.Decoder(TokenFactor)


class TokenFactors:
    """Keeps what was learned, for the next process on this machine.

    Of two processes that learn of one family the last one counts: each has learned from the same
    bills, and a lesson more or less changes little.

    Args:
        store: With `TABLES`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[tuple[str, ...], TokenFactor] = {}

    async def load(self) -> Sequence[TokenFactor]:
        """Return what is kept, at most 500; of what another version wrote, nothing."""
        found = []
        for record in await self._store.scan(_TABLE, limit=_MOST):
            try:
                factor = _FACTOR.decode(record.value)
            except msgspec.ValidationError:
                continue
            self._kept[record.key] = factor
            found.append(factor)
        return found

    async def keep(self, factors: Iterable[TokenFactor]) -> int:
        """Return how many of *factors* were written: those that are not kept as they are.

        Raises:
            StoreError: They cannot be written.
        """
        changed: dict[tuple[str, ...], TokenFactor] = {
            (one.family, one.basis): one
            for one in factors
            if self._kept.get((one.family, one.basis)) != one
        }
        if changed:
            await self._store.transact(
                [
                    Write(table=_TABLE, key=key, value=msgspec.json.encode(one))
                    for key, one in changed.items()
                ]
            )
            self._kept.update(changed)
        return len(changed)
