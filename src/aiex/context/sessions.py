"""The tables `ai_context_session` and `ai_context_turn`: conversations, safe from a kill.

A session is one record; a turn is one too, and each of its messages is another (in pieces where it
is too large for one). Who answers holds the session's lease while a turn is open, and every write
expects the turn's record as the writer left it: whoever goes on with the session in the meantime
changes that record, so that a writer who was taken for dead writes nothing any more.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import reduce
from typing import Final

import anyio
import msgspec
from msgspec.structs import replace

from aiex.cluster import DELETE, Guard, Lease, Record, Store, Write
from aiex.context.store import AI_CONTEXT_SESSION, AI_CONTEXT_TURN
from aiex.context.writers import Writers
from aiex.core import ConflictError, Entry, NotFoundError, Session, Turn, UsageTotal
from aiex.runtime import Clock

__all__ = ["LEASE_SECONDS", "BegunTurn", "Sessions"]

LEASE_SECONDS: Final = 15.0
"""How long a writer that nothing is heard of is taken for alive."""

_SESSION = AI_CONTEXT_SESSION.name
_TURN = AI_CONTEXT_TURN.name
_KIND: Final = "session"
_PIECE_BYTES: Final = 160_000  # base 64 makes 4 bytes of 3, and a value may have 256 KiB
_MOST_WRITES: Final = 400
_PAGE: Final = 200
_TRIES: Final = 8
_SHORTEST: Final = 4


class BegunTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that is being written.

    Attributes:
        session: Identifier of the session.
        number: Number of the turn.
        revision: Revision of the turn's record.
        writer: Who writes it.
        token: Fencing token.
    """

    session: str
    number: int
    revision: int
    writer: str
    token: int

    @property
    def lease(self) -> Lease:
        """What its writer holds."""
        return Lease(
            kind=_KIND, name=self.session, owner=self.writer, token=self.token, ttl=LEASE_SECONDS
        )

    @property
    def key(self) -> tuple[str, ...]:
        """Key of the turn's record."""
        return _key(self.session, self.number)


class _SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    updated_us: int
    session: Session


class _TurnRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of the table of turns: a turn without its entries, an entry, or a piece of one.

    Attributes:
        turn: The turn, without entries.
        entry: One of its entries.
        pieces: In how many records an entry is that is too large for one.
        data: A piece of such an entry's JSON, base 64.
    """

    turn: Turn | None = None
    entry: Entry | None = None
    pieces: int = 0
    data: str = ""


_SESSION_ROW = msgspec.json.Decoder(_SessionRow)
_TURN_ROW = msgspec.json.Decoder(_TurnRow)
_ENTRY = msgspec.json.Decoder(Entry)


class Sessions:
    """Keeps sessions. Who may see or change which is for the caller to decide.

    Args:
        store: With `TABLES`.
        clock: Where time comes from.
        writers: Knows which processes of this machine live.
    """

    def __init__(self, store: Store, *, clock: Clock, writers: Writers) -> None:
        self._store = store
        self._clock = clock
        self._writers = writers

    # ------------------------------------------------------------ reading

    async def get(self, session_id: str) -> Session | None:
        """Return the session, or `None`."""
        record = await self._store.get(_SESSION, (session_id,)) if session_id else None
        return None if record is None else _session(record)

    async def beginning(self, prefix: str) -> Sequence[Session]:
        """Return the sessions whose id begins with *prefix*, of very many the first 200."""
        if len(prefix) < _SHORTEST:
            return ()
        exact = await self.get(prefix)
        if exact is not None:
            return (exact,)
        following = await self._store.scan(_SESSION, after=(prefix,), limit=_PAGE)
        return [_session(r) for r in following if r.key[0].startswith(prefix)]

    async def list(
        self, wanted: Callable[[Session], bool], *, limit: int = 50
    ) -> Sequence[Session]:
        """Return the sessions that are *wanted*, the one that was used last first."""
        found: list[Session] = []
        after: Record | None = None
        while True:
            page = await self._store.query(
                _SESSION, "updated", descending=True, after=after, limit=_PAGE
            )
            found += [session for record in page if wanted(session := _session(record))]
            if len(page) < _PAGE or len(found) >= limit:
                return found[:limit]
            after = page[-1]

    async def turns(self, session_id: str) -> tuple[Turn, ...]:
        """Return the turns of a session, from the first.

        One whose writer has died is shown as broken off, though nobody has written that yet.
        """
        turns = _turns([record async for record in self._records(session_id)])
        if turns and turns[-1].state == "open" and await self._holder(session_id) is None:
            turns[-1] = self._broken(turns[-1])
        return tuple(turns)

    async def _records(self, *prefix: str) -> AsyncIterator[Record]:
        after: tuple[str, ...] | None = None
        while page := await self._store.scan(_TURN, prefix, after=after, limit=_PAGE):
            for record in page:
                yield record
            after = page[-1].key

    # ------------------------------------------------------------ writing a turn

    async def begin(
        self,
        session: Session,
        turn: Turn,
        *,
        after: int | None = None,
        model: str | None = None,
    ) -> tuple[BegunTurn, Session, tuple[Turn, ...]]:
        """Open a turn, and return it, the session, and the turns before it.

        A turn that its writer left open is broken off, with all that it had written.

        Args:
            session: As it was read; with the revision 0, a new one.
            turn: The turn as it begins; its number and token are made here.
            after: Number of the last turn as the writer knows it; `None` for whatever it is.
            model: Model that is named from now on; `None` to leave that as it is.

        Raises:
            ConflictError: Another process writes the session, or has gone on with it.
            NotFoundError: It was deleted since it was read.
        """
        lease = await self._hold(session.id, turn.writer)
        try:
            return await self._begin(session, turn, lease, after, model)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._store.leases.release(lease)
            raise

    async def _begin(
        self, session: Session, turn: Turn, lease: Lease, after: int | None, model: str | None
    ) -> tuple[BegunTurn, Session, tuple[Turn, ...]]:
        past: tuple[Turn, ...] = ()
        is_new = not session.revision
        for _ in range(_TRIES):
            if not is_new:
                was, session = session, await self._there(session.id)
                if session.owner != was.owner:
                    raise ConflictError(f"session {session.id} belongs to {session.owner} by now")
                past = tuple(_turns([r async for r in self._records(session.id)]))
            if after is not None and session.turns != after:
                raise ConflictError(
                    f"session {session.id} has {session.turns} turns by now, not {after}: another "
                    "process went on with it",
                    hint=_go_on(session.id),
                )
            begun = replace(turn, number=session.turns + 1, token=lease.token)
            writes = []
            if past and past[-1].state == "open":
                past = (*past[:-1], self._broken(past[-1]))
                writes.append(_head(session.id, past[-1]))
                session = replace(session, usage=session.usage.plus(past[-1].usage))
            session = replace(
                session,
                turns=begun.number,
                updated=begun.started,
                model=model or session.model,
            )
            writes += [
                _session_write(session),
                _head(session.id, begun, expect=0),
                *_entry_writes(session.id, begun.number, 0, begun.entries),
            ]
            try:
                revision = await self._store.transact(writes)
            except ConflictError:
                if is_new:
                    raise
                continue  # somebody shared it in between
            written = BegunTurn(
                session=session.id,
                number=begun.number,
                revision=revision,
                writer=begun.writer,
                token=lease.token,
            )
            return written, replace(session, revision=revision), past
        raise _busy(session.id)

    async def write(self, turn: BegunTurn, first: int, entries: Sequence[Entry]) -> None:
        """Write *entries* of a turn from the place *first* on, new ones and longer ones.

        Safe to repeat.

        Raises:
            ConflictError: The turn was taken from its writer.
        """
        writes = _entry_writes(turn.session, turn.number, first, entries)
        await self._transact(writes, [_guard(turn)], turn)

    async def renew(self, turn: BegunTurn) -> bool:
        """Return whether the turn is still its writer's; if so it stays so for a while."""
        leases = self._store.leases
        if not await leases.renew(turn.lease) and not await leases.acquire(
            _KIND, turn.session, owner=turn.writer, ttl=LEASE_SECONDS
        ):
            return False
        record = await self._store.get(_TURN, turn.key)
        return record is not None and record.revision == turn.revision

    async def end(
        self, begun: BegunTurn, ended: Turn, *, first: int, entries: Sequence[Entry]
    ) -> Session:
        """Close a turn, and return the session.

        Args:
            begun: The turn as it was begun.
            ended: How it ended: its state, its model and what else is known then. What it used
                is summed up here.
            first: Place of the first of *entries* in the turn.
            entries: Messages that are new or longer since the last write.

        Raises:
            ConflictError: The turn was taken from its writer.
        """
        record = await self._store.get(_TURN, begun.key)
        if record is None or record.revision != begun.revision:
            raise _taken(begun)
        before = _entries_of([r async for r in self._records(*begun.key)]).get(begun.key, [])
        was = _TURN_ROW.decode(record.value).turn
        if was is None or was.writer != begun.writer:
            raise _taken(begun)
        turn = replace(
            ended,
            number=begun.number,
            request_id=was.request_id,
            started=was.started,
            interface=was.interface,
            writer=was.writer,
            token=was.token,
            ended=self._clock.now(),
            usage=_used([*before[:first], *entries]),
        )
        writes = _entry_writes(begun.session, begun.number, first, entries)
        for _ in range(_TRIES):
            session = await self._there(begun.session)
            session = replace(
                session,
                updated=turn.ended or session.updated,
                answered_by=turn.model or session.answered_by,
                usage=session.usage.plus(turn.usage),
            )
            head = _head(begun.session, turn, expect=begun.revision)
            try:
                await self._store.transact([*writes[:_MOST_WRITES], head, _session_write(session)])
            except ConflictError as error:
                now = await self._store.get(_TURN, begun.key)
                if now is None or now.revision != begun.revision:
                    raise _taken(begun) from error
                continue  # somebody shared it in between
            await self._store.leases.release(begun.lease)
            return await self._there(begun.session)
        raise _busy(begun.session)

    # ------------------------------------------------------------ whole sessions

    async def add(self, session: Session, turns: Sequence[Turn]) -> Session:
        """Store a new session with *turns* and return it; it is there once all of it is."""
        writes: list[Write] = []
        for turn in turns:
            writes.append(_head(session.id, turn, expect=0))
            writes += _entry_writes(session.id, turn.number, 0, turn.entries)
        for start in range(0, len(writes), _MOST_WRITES):
            await self._store.transact(writes[start : start + _MOST_WRITES])
        revision = await self._store.transact([_session_write(session)])
        return replace(session, revision=revision)

    async def change(self, session_id: str, changed: Callable[[Session], Session]) -> Session:
        """Return the session as *changed* makes it, stored.

        Raises:
            NotFoundError: There is none.
        """
        for _ in range(_TRIES):
            session = changed(await self._there(session_id))
            try:
                revision = await self._store.transact([_session_write(session)])
            except ConflictError:
                continue
            return replace(session, revision=revision)
        raise _busy(session_id)

    async def alone(
        self, session_id: str, writer: str, changed: Callable[[Session], Session]
    ) -> Session:
        """Return the session as *changed* makes it, while nobody writes a turn of it.

        Raises:
            ConflictError: Somebody does.
            NotFoundError: There is none.
        """
        lease = await self._hold(session_id, writer)
        try:
            return await self.change(session_id, changed)
        finally:
            with anyio.CancelScope(shield=True):
                await self._store.leases.release(lease)

    async def delete(self, session_id: str, writer: str) -> None:
        """Remove a session with everything that was said in it. Safe to repeat.

        Raises:
            ConflictError: Somebody writes a turn of it.
        """
        lease = await self._hold(session_id, writer)
        try:
            keys = [record.key async for record in self._records(session_id)]
            keys.reverse()  # the record that names it goes last, so that a kill leaves no orphans
            for start in range(0, len(keys), _MOST_WRITES):
                await self._store.transact(
                    [
                        Write(table=_TURN, key=key, value=DELETE)
                        for key in keys[start : start + _MOST_WRITES]
                    ]
                )
            await self._store.transact([Write(table=_SESSION, key=(session_id,), value=DELETE)])
        finally:
            with anyio.CancelScope(shield=True):
                await self._store.leases.release(lease)

    # ------------------------------------------------------------ who writes

    async def _hold(self, session_id: str, writer: str) -> Lease:
        await anyio.to_thread.run_sync(self._writers.live)
        await self._holder(session_id)  # lets go what a dead process holds
        lease = await self._store.leases.acquire(_KIND, session_id, owner=writer, ttl=LEASE_SECONDS)
        if lease is None:
            raise ConflictError(
                f"session {session_id} is being answered by another process",
                hint=f"wait for it, or go on in a copy: aiex chat --resume {session_id} --fork; a "
                f"process on another machine that died is found out after {LEASE_SECONDS:.0f} s",
                transient=True,
                retry_after=1.0,
            )
        return lease

    async def _holder(self, session_id: str) -> Lease | None:
        """Return who writes the session; what a dead process of this machine holds is let go."""
        leases = self._store.leases
        held = await leases.holder(_KIND, session_id)
        if held is None:
            return None
        process = held.owner.partition(".")[0]
        if not await anyio.to_thread.run_sync(self._writers.is_gone, process):
            return held
        await leases.release(held)
        await anyio.to_thread.run_sync(self._writers.forget, process)
        return None

    def _broken(self, turn: Turn) -> Turn:
        return replace(
            turn,
            state="broken",
            ended=self._clock.now(),
            usage=_used(turn.entries),
            note="the process that answered was ended",
        )

    async def _there(self, session_id: str) -> Session:
        session = await self.get(session_id)
        if session is None:
            raise NotFoundError(
                f"there is no session {session_id!r}", hint="aiex session list shows those that are"
            )
        return session

    async def _transact(
        self, writes: Sequence[Write], guards: Sequence[Guard], turn: BegunTurn
    ) -> None:
        if not writes:
            return
        try:
            for start in range(0, len(writes), _MOST_WRITES):
                await self._store.transact(writes[start : start + _MOST_WRITES], guards=guards)
        except ConflictError as error:
            raise _taken(turn) from error


def _key(session_id: str, turn: int, *more: int) -> tuple[str, ...]:
    return (session_id, f"{turn:06}", *(f"{number:04}" for number in more))


def _session(record: Record) -> Session:
    return replace(_SESSION_ROW.decode(record.value).session, revision=record.revision)


def _session_write(session: Session) -> Write:
    row = _SessionRow(
        updated_us=round(session.updated.timestamp() * 1_000_000),
        session=replace(session, revision=0),
    )
    return Write(
        table=_SESSION,
        key=(session.id,),
        value=msgspec.json.encode(row),
        expect=session.revision,
    )


def _head(session_id: str, turn: Turn, *, expect: int | None = None) -> Write:
    row = _TurnRow(turn=replace(turn, entries=()))
    return Write(
        table=_TURN,
        key=_key(session_id, turn.number),
        value=msgspec.json.encode(row),
        expect=expect,
    )


def _guard(turn: BegunTurn) -> Guard:
    return Guard(table=_TURN, key=turn.key, max_revision=turn.revision)


def _entry_writes(session_id: str, turn: int, first: int, entries: Sequence[Entry]) -> list[Write]:
    return [
        write
        for place, entry in enumerate(entries, first)
        for write in _writes_of(session_id, turn, place, entry)
    ]


def _writes_of(session_id: str, turn: int, place: int, entry: Entry) -> Iterator[Write]:
    raw = msgspec.json.encode(entry)
    if len(raw) <= _PIECE_BYTES:
        row = _TurnRow(entry=entry)
    else:
        pieces = [raw[at : at + _PIECE_BYTES] for at in range(0, len(raw), _PIECE_BYTES)]
        for number, piece in enumerate(pieces):
            part = _TurnRow(data=base64.b64encode(piece).decode("ascii"))
            yield Write(
                table=_TURN,
                key=_key(session_id, turn, place, number),
                value=msgspec.json.encode(part),
            )
        row = _TurnRow(pieces=len(pieces))
    yield Write(table=_TURN, key=_key(session_id, turn, place), value=msgspec.json.encode(row))


def _turns(records: Sequence[Record]) -> list[Turn]:
    """Return the turns that *records* hold, which are in the order of their keys."""
    entries = _entries_of(records)
    rows = ((record.key, _TURN_ROW.decode(record.value).turn) for record in records)
    return [
        replace(turn, entries=tuple(entries.get(key, ()))) for key, turn in rows if turn is not None
    ]


def _entries_of(records: Sequence[Record]) -> dict[tuple[str, ...], list[Entry]]:
    """Return the entries that *records* hold, by the key of their turn."""
    rows = {record.key: _TURN_ROW.decode(record.value) for record in records}
    entries: dict[tuple[str, ...], list[Entry]] = {}
    for key, row in rows.items():
        if row.entry is not None:
            entries.setdefault(key[:2], []).append(row.entry)
        elif row.pieces:
            found = [rows.get((*key, f"{number:04}")) for number in range(row.pieces)]
            raw = b"".join(base64.b64decode(piece.data) for piece in found if piece is not None)
            entries.setdefault(key[:2], []).append(_ENTRY.decode(raw))
    return entries


def _used(entries: Sequence[Entry]) -> UsageTotal:
    return reduce(UsageTotal.plus, (e.usage for e in entries if e.usage is not None), UsageTotal())


def _taken(turn: BegunTurn) -> ConflictError:
    return ConflictError(
        f"turn {turn.number} of session {turn.session} was taken over by another process",
        hint=_go_on(turn.session),
    )


def _busy(session_id: str) -> ConflictError:
    return ConflictError(
        f"session {session_id} is changed all the time",
        hint="try again",
        transient=True,
    )


def _go_on(session_id: str) -> str:
    return (
        f"aiex session show {session_id} shows what was said; go on after it with aiex chat "
        f"--resume {session_id}, or in a copy with --fork"
    )
