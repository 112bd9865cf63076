"""The table `ai_context`: what was shown to a model and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from aiex.cluster import Record, Store, Write
from aiex.context.store import AI_CONTEXT
from aiex.core import Span

__all__ = ["Shown", "ShownContext", "ShownPiece"]

_TABLE = AI_CONTEXT.name
_PIECES = 500  # a record stays far below the store's limit even with long paths


class ShownPiece(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a file as a model saw it.

    Attributes:
        path: File, relative to the root; empty if it came from none.
        span: Bytes of the file; `None` if it came from none.
        sha256: Digest of the text that was shown.
        reason: Why it was chosen.
        tokens: Its tokens.
        form: `whole`, `shorter` or `cut`.
    """

    path: str
    sha256: str
    reason: str
    tokens: int
    span: Span | None = None
    form: str = "whole"


class ShownContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call of a model was shown.

    Attributes:
        request_id: Request that it was shown for.
        call_id: Call, as in `llm_interaction`.
        at: Aware UTC time.
        model: As `provider:model`.
        pieces: In the order shown.
        left_out: Paths, or path and place, of what did not fit.
        schema: Version of this record.
    """

    request_id: str
    call_id: str
    at: datetime
    model: str
    pieces: tuple[ShownPiece, ...]
    left_out: tuple[str, ...] = ()
    schema: int = 1


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a context: one with very many pieces takes several rows."""

    at_us: int
    context: ShownContext


_ROW = msgspec.json.Decoder(_Row)


class Shown:
    """Keeps contexts for 90 days.

    Args:
        store: With `TABLES`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, context: ShownContext) -> None:
        """Keep *context*.

        Raises:
            StoreError: It cannot be written.
        """
        count = max(len(context.pieces), len(context.left_out), 1)
        at_us = round(context.at.timestamp() * 1_000_000)
        writes = [
            Write(
                table=_TABLE,
                key=(context.request_id, context.call_id, f"{start // _PIECES:06}"),
                value=msgspec.json.encode(
                    _Row(
                        at_us=at_us,
                        context=msgspec.structs.replace(
                            context,
                            pieces=context.pieces[start : start + _PIECES],
                            left_out=context.left_out[start : start + _PIECES],
                        ),
                    )
                ),
            )
            for start in range(0, count, _PIECES)
        ]
        await self._store.transact(writes)

    async def of(self, request_id: str) -> Sequence[ShownContext]:
        """Return what was shown for a request, call by call."""
        found: dict[str, ShownContext] = {}
        after: tuple[str, ...] | None = None
        while page := await self._store.scan(_TABLE, (request_id,), after=after, limit=32):
            for record in page:
                _join(found, record)
            after = page[-1].key
        return sorted(found.values(), key=lambda context: context.at)

    async def recent(self, *, limit: int = 20) -> Sequence[ShownContext]:
        """Return what was shown last, newest first; of very large ones the first 500 pieces."""
        page = await self._store.query(_TABLE, "at", descending=True, limit=limit)
        found: dict[str, ShownContext] = {}
        for record in sorted(page, key=lambda record: record.key):
            _join(found, record)
        return sorted(found.values(), key=lambda context: context.at, reverse=True)


def _join(found: dict[str, ShownContext], record: Record) -> None:
    part = _ROW.decode(record.value).context
    known = found.get(part.call_id)
    if known is not None:
        part = msgspec.structs.replace(
            known,
            pieces=known.pieces + part.pieces,
            left_out=known.left_out + part.left_out,
        )
    found[part.call_id] = part
