"""The table `change`: stored proposals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from aiex.cluster import LIMITS, Record, Store, Write
from aiex.context.blobs import BlobFiles
from aiex.context.store import CHANGE
from aiex.core import (
    FileEdit,
    NotChecked,
    NotFoundError,
    ToolRun,
    UsageError,
    content_id,
    digest_of,
)

__all__ = ["Change", "ChangeStatus", "Changes", "change_id"]

_TABLE = CHANGE.name
_SHORTEST = 4
_INLINE_BYTES: Final = LIMITS.value_bytes - 4 * 1024
_MOST_EDITS = 1000

ChangeStatus = Literal["proposed", "applied", "failed"]


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A proposal, with what is known of it.

    Attributes:
        id: 12 hexadecimal digits, made by `change_id`.
        request_id: Request that made it.
        created: Aware UTC time.
        verb: Verb that made it.
        user: Who asked.
        interface: Through which door.
        root: Absolute path of the project's root on the caller's machine.
        edits: What it writes.
        diff_sha256: Digest of the unified diff that was shown.
        summary: What it does, in one line.
        model: As `provider:model`; `None` if no model was asked.
        cost_usd_micros: What it cost, micro-dollars; `None` when that is not known.
        checks: What was run on it.
        not_checked: What a complete proof would have run.
        status: What became of it.
        op_id: Operation of the sandbox's journal that wrote it; `None` before.
        applied: Aware UTC time; `None` if it was not.
        error: Why it failed; `None` if it did not.
        revision: Revision of the stored record; 0 before it is stored.
        schema: Version of this record.
    """

    id: str
    request_id: str
    created: datetime
    verb: str
    user: str
    interface: str
    root: str
    edits: tuple[FileEdit, ...]
    diff_sha256: str
    summary: str = ""
    model: str | None = None
    cost_usd_micros: int | None = None
    checks: tuple[ToolRun, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    status: ChangeStatus = "proposed"
    op_id: str | None = None
    applied: datetime | None = None
    error: str | None = None
    revision: int = 0
    schema: int = 1


class _Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored.

    Attributes:
        created_us: Microseconds since 1970, by which it is listed.
        change: The change; its edits without their content where that is in files.
        contents: SHA-256 of each edit's content, `None` for a deletion; `None` as a whole
            where the content is in the edits.
    """

    created_us: int
    change: Change
    contents: tuple[str | None, ...] | None = None


_ROW = msgspec.json.Decoder(_Row)


def change_id(request_id: str, diff_sha256: str) -> str:
    """Return the identifier of the change that a request makes with this diff."""
    return content_id("change", request_id, diff_sha256)


class Changes:
    """Stores proposals and says what became of them.

    Args:
        store: With `TABLES`.
        blobs: Where contents go that are too large for the store.
    """

    def __init__(self, store: Store, blobs: BlobFiles) -> None:
        self._store = store
        self._blobs = blobs

    async def add(self, change: Change) -> Change:
        """Return *change* as it is stored now.

        Raises:
            ConflictError: A change of this id is stored already.
            UsageError: It has more edits than one change may have.
            StoreError: It cannot be written.
        """
        return await self._put(change, expect=0)

    async def get(self, prefix: str) -> Change:
        """Return the change whose id begins with *prefix*, contents and all.

        Raises:
            NotFoundError: There is none.
            UsageError: *prefix* is too short, or several begin with it.
        """
        found = await self._beginning(prefix)
        if not found:
            raise NotFoundError(
                f"No change {prefix!r} is known.", hint="aiex change list shows those that are."
            )
        if len(found) > 1:
            ids = ", ".join(record.key[0] for record in found)
            raise UsageError(f"Several changes begin with {prefix!r}: {ids}.")
        return await self._filled(found[0])

    async def short_id(self, change: Change) -> str:
        """Return the shortest beginning of its id, 4 digits or more, that no other change has."""
        for length in range(_SHORTEST, len(change.id)):
            if len(await self._beginning(change.id[:length])) == 1:
                return change.id[:length]
        return change.id

    async def list(
        self, *, root: str | None = None, status: ChangeStatus | None = None, limit: int = 50
    ) -> Sequence[Change]:
        """Return changes, newest first.

        Contents too large for the store only come with `get`; `after` is empty bytes here.

        Args:
            root: Only those of this project.
            status: Only those of this status.
            limit: Most changes to return.
        """
        found: list[Change] = []
        after: Record | None = None
        while True:
            page = await self._store.query(
                _TABLE, "created", descending=True, after=after, limit=limit
            )
            for record in page:
                change = _change(record)
                if root in {None, change.root} and status in {None, change.status}:
                    found.append(change)
            if len(page) < limit or len(found) >= limit:
                return found[:limit]
            after = page[-1]

    async def mark_applied(self, change: Change, *, op_id: str, at: datetime) -> Change:
        """Return the change as applied.

        Args:
            change: As it was read; its revision is the one expected.
            op_id: Operation of the sandbox's journal that wrote it.
            at: Aware UTC time.

        Raises:
            ConflictError: The record is not what it was when it was read.
        """
        applied = msgspec.structs.replace(
            change, status="applied", op_id=op_id, applied=at, error=None
        )
        return await self._put(applied, expect=change.revision)

    async def mark_failed(self, change: Change, *, error: str) -> Change:
        """Return the change as failed for the reason *error*.

        Raises:
            ConflictError: The record is not what it was when it was read.
        """
        failed = msgspec.structs.replace(change, status="failed", error=error)
        return await self._put(failed, expect=change.revision)

    async def _put(self, change: Change, *, expect: int) -> Change:
        if len(change.edits) > _MOST_EDITS:
            raise UsageError(
                f"A change may have {_MOST_EDITS} files, this one has {len(change.edits)}."
            )
        value = await self._row(msgspec.structs.replace(change, revision=0))
        write = Write(table=_TABLE, key=(change.id,), value=value, expect=expect)
        revision = await self._store.transact([write])
        return msgspec.structs.replace(change, revision=revision)

    async def _row(self, change: Change) -> bytes:
        created_us = round(change.created.timestamp() * 1_000_000)
        if sum(len(edit.after or b"") for edit in change.edits) < _INLINE_BYTES // 2:
            value = msgspec.json.encode(_Row(created_us=created_us, change=change))
            if len(value) <= _INLINE_BYTES:
                return value
        await self._blobs.put_many([e.after for e in change.edits if e.after is not None])
        contents = tuple(
            None if edit.after is None else digest_of(edit.after) for edit in change.edits
        )
        bare = tuple(
            msgspec.structs.replace(edit, after=None if edit.after is None else b"")
            for edit in change.edits
        )
        return msgspec.json.encode(
            _Row(
                created_us=created_us,
                change=msgspec.structs.replace(change, edits=bare),
                contents=contents,
            )
        )

    async def _filled(self, record: Record) -> Change:
        change, contents = _change(record), _ROW.decode(record.value).contents
        if contents is None:
            return change
        by_digest = await self._blobs.get_many([d for d in contents if d is not None])
        edits = tuple(
            edit if digest is None else msgspec.structs.replace(edit, after=by_digest[digest])
            for edit, digest in zip(change.edits, contents, strict=True)
        )
        return msgspec.structs.replace(change, edits=edits)

    async def _beginning(self, prefix: str) -> Sequence[Record]:
        if len(prefix) < _SHORTEST:
            raise UsageError(f"Give {_SHORTEST} or more characters of the id, not {prefix!r}.")
        exact = await self._store.get(_TABLE, (prefix,))
        if exact is not None:
            return [exact]
        following = await self._store.scan(_TABLE, after=(prefix,), limit=8)
        return [record for record in following if record.key[0].startswith(prefix)]


def _change(record: Record) -> Change:
    return msgspec.structs.replace(_ROW.decode(record.value).change, revision=record.revision)
