"""Requests as other processes see them: stored in batches, followed, stopped, declared gone.

The events of a request are stored as they come, every 100 ms and beside its work, in pieces of
JSON text: a transaction holds the next piece or pieces and how the request stands. Whoever may
want to stop it writes so into that record, which its process looks at before it writes again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Final, Literal, Self

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from aiex.cluster import Record, Store, Write
from aiex.core import (
    AiexError,
    ChildError,
    ConflictError,
    DeadlineError,
    Event,
    Failed,
    InterruptedByUserError,
    NotFoundError,
    When,
)
from aiex.gateway.ports import RequestState
from aiex.gateway.presence import Presence
from aiex.gateway.running import Running
from aiex.gateway.tables import REQUEST, REQUEST_EVENT
from aiex.runtime import Clock

__all__ = ["RequestRecords"]

_LOG = logging.getLogger(__name__)

_EVERY = 0.1  # seconds between two batches; what is over sooner is not stored at all
_LOOK = 1.0  # seconds after which who waits for events looks whether their process lives
_LAST_WAIT = 1.0
_STOP_WAIT = 30.0
_PAGE = 32
_PIECE: Final = 60_000  # characters: four bytes each, or two where they are escaped once more
_PIECES = 16  # of one transaction
_LISTED = 200


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """How a request stands.

    Attributes:
        id: Identifier of the request.
        verb: Its verb.
        user: Who asked.
        interface: Through which door.
        state: Whether it still runs, and how it ended.
        submitted: Aware UTC time of admission.
        submitted_us: The same, microseconds since 1970.
        last_event: Number of its newest stored event.
        owner: Process that runs it.
        stop: Why it shall stop; empty if nobody wants that.
    """

    id: str
    verb: str
    user: str
    interface: str
    state: Literal["running", "finished", "failed"]
    submitted: When
    submitted_us: int
    last_event: int
    owner: str
    stop: str = ""

    def shown(self) -> RequestState:
        return RequestState(
            id=self.id,
            verb=self.verb,
            user=self.user,
            interface=self.interface,
            state=self.state,
            submitted=self.submitted,
            last_event=self.last_event,
        )


class _Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Some events, or a part of them where they are too large for one record.

    Attributes:
        last: Number of the last of the events.
        part: 1 for the first part.
        parts: How many parts there are.
        text: JSON of a list of events.
    """

    last: int
    part: int
    parts: int
    text: str


_STORED = msgspec.json.Decoder(_Stored)
_PIECE_OF = msgspec.json.Decoder(_Piece)
_EVENTS = msgspec.json.Decoder(list[Event])


class _Kept:
    """A request of this process while it is stored.

    Attributes:
        running: The request.
        revision: Revision of its record; 0 before the first.
        last: Number of the last event that is stored.
        stop: Why somebody wants it to stop.
    """

    def __init__(self, running: Running) -> None:
        self.running = running
        self.revision = 0
        self.last = 0
        self.stop = ""


class RequestRecords:
    """Stores the requests of this process, and reads those of others; entered before use.

    A request that ends within 100 ms leaves nothing behind: nobody could have known of it.

    Args:
        store: With `TABLES`.
        presence: Says which processes live.
        clock: Where time comes from.
        redact: Takes the secrets that are held out of what is stored.
        sleep: Waits.
    """

    def __init__(
        self,
        store: Store,
        presence: Presence,
        *,
        clock: Clock,
        redact: Callable[[str], str] = str,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store = store
        self._presence = presence
        self._clock = clock
        self._redact = redact
        self._sleep = sleep
        self._kept: dict[str, _Kept] = {}
        self._tasks: TaskGroup | None = None
        self._is_storing = False

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
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
            with anyio.move_on_after(_LAST_WAIT, shield=True), suppress(AiexError):
                for kept in list(self._kept.values()):
                    if kept.revision:
                        await self._write(kept)

    def keep(self, running: Running) -> None:
        """Store *running* from now on, until it has ended; does not wait."""
        self._kept[running.request.id] = _Kept(running)
        if not self._is_storing and self._tasks is not None:
            self._is_storing = True
            self._tasks.start_soon(self._store_all)

    async def _store_all(self) -> None:
        try:
            while self._kept:
                await self._sleep(_EVERY)
                for kept in list(self._kept.values()):
                    try:
                        await self._write(kept)
                    except AiexError as error:
                        _LOG.debug("events wait for the store: %s", error.message)
        finally:
            self._is_storing = False

    async def _write(self, kept: _Kept) -> None:
        """Store what is new of a request, and forget it once all is stored."""
        running, request_id = kept.running, kept.running.request.id
        if not kept.revision and running.journal.is_closed:
            del self._kept[request_id]
            return
        if kept.revision and not await self._is_ours(kept):
            del self._kept[request_id]
            return
        events = self._new_events(kept)
        while events:
            events = await self._write_some(kept, events)
        if running.journal.is_closed and kept.last == running.journal.last_id:
            del self._kept[request_id]

    async def _is_ours(self, kept: _Kept) -> bool:
        """Return whether the request is still this process's; stop it if somebody wants that."""
        record = await self._store.get(REQUEST.name, (kept.running.request.id,))
        if record is None:
            return False
        if record.revision == kept.revision:
            return True
        kept.revision = record.revision
        stored = _STORED.decode(record.value)
        if stored.stop and not kept.stop:
            kept.stop = stored.stop
            kept.running.interrupt(InterruptedByUserError(stored.stop))
        return stored.state == "running"  # if not, we were taken for dead

    def _new_events(self, kept: _Kept) -> list[Event]:
        journal = kept.running.journal
        try:
            return journal.since(kept.last)
        except NotFoundError:  # more since the last time than is kept: readers see the gap
            return journal.kept()

    async def _write_some(self, kept: _Kept, events: list[Event]) -> list[Event]:
        """Store as many of *events* as go into one transaction, and return the others."""
        if not kept.revision:
            await self._presence.hold()
        count, pieces = self._pieces(events)
        key = kept.running.request.id
        writes = [
            Write(
                table=REQUEST_EVENT.name,
                key=(key, f"{events[0].id:010d}", f"{piece.part:05d}"),
                value=msgspec.json.encode(piece),
            )
            for piece in pieces
        ]
        state = self._state_of(kept, last=events[count - 1].id)
        head = Write(
            table=REQUEST.name,
            key=(key,),
            value=msgspec.json.encode(state),
            expect=kept.revision,
        )
        kept.revision = await self._store.transact([head, *writes])
        kept.last = state.last_event
        return events[count:]

    def _pieces(self, events: Sequence[Event]) -> tuple[int, list[_Piece]]:
        """Return how many of *events* go together, and their pieces."""
        texts: list[str] = []
        size = 0
        for event in events:
            text = self._redact(msgspec.json.encode(event).decode())
            size += len(text) + 1
            if texts and size > _PIECE * _PIECES:
                break
            texts.append(text)
        whole = f"[{','.join(texts)}]"
        parts = [whole[at : at + _PIECE] for at in range(0, len(whole), _PIECE)]
        last = events[len(texts) - 1].id
        return len(texts), [
            _Piece(last=last, part=number, parts=len(parts), text=text)
            for number, text in enumerate(parts, 1)
        ]

    def _state_of(self, kept: _Kept, *, last: int) -> _Stored:
        shown = kept.running.state()
        has_ended = kept.running.journal.is_closed and last == kept.running.journal.last_id
        return _Stored(
            id=shown.id,
            verb=shown.verb,
            user=shown.user,
            interface=shown.interface,
            state=shown.state if has_ended else "running",
            submitted=shown.submitted,
            submitted_us=round(shown.submitted.timestamp() * 1_000_000),
            last_event=last,
            owner=self._presence.owner,
            stop=kept.stop,
        )

    async def states(self) -> Sequence[RequestState]:
        """Return the requests that are stored, newest first, at most 200."""
        records = await self._store.query(REQUEST.name, "submitted", descending=True, limit=_LISTED)
        stored = [(record, _STORED.decode(record.value)) for record in records]
        living = await self._presence.living(
            one.owner for _, one in stored if one.state == "running"
        )
        shown: list[RequestState] = []
        for record, one in stored:
            is_dead = one.state == "running" and one.owner not in living
            shown.append((await self._bury(record, one) if is_dead else one).shown())
        return shown

    async def state(self, request_id: str) -> RequestState:
        """Return how one request stands.

        Raises:
            NotFoundError: None of this id is stored.
        """
        return (await self._stored(request_id))[1].shown()

    async def _stored(self, request_id: str) -> tuple[Record, _Stored]:
        record = await self._store.get(REQUEST.name, (request_id,))
        if record is None:
            raise NotFoundError(
                f"no request {request_id} is known",
                hint="requests are kept for a day; those that end within 100 ms are not",
            )
        stored = _STORED.decode(record.value)
        if stored.state == "running":
            living = await self._presence.living([stored.owner])
            if stored.owner not in living:
                stored = await self._bury(record, stored)
        return record, stored

    async def _bury(self, record: Record, stored: _Stored) -> _Stored:
        """Write down that the process of a request is gone, and return how it stands then."""
        gone = ChildError("the process that ran the request is gone", hint="ask again")
        event = Event(
            id=stored.last_event + 1,
            request_id=stored.id,
            at=self._clock.now(),
            body=Failed(error=gone.info()),
        )
        after = replace(stored, state="failed", last_event=event.id)
        _, pieces = self._pieces([event])
        try:
            await self._store.transact(
                [
                    Write(
                        table=REQUEST.name,
                        key=record.key,
                        value=msgspec.json.encode(after),
                        expect=record.revision,
                    ),
                    *(
                        Write(
                            table=REQUEST_EVENT.name,
                            key=(stored.id, f"{event.id:010d}", f"{piece.part:05d}"),
                            value=msgspec.json.encode(piece),
                        )
                        for piece in pieces
                    ),
                ]
            )
        except ConflictError:  # it lives after all, or somebody else wrote it down
            found = await self._store.get(REQUEST.name, record.key)
            return stored if found is None else _STORED.decode(found.value)
        return after

    async def follow(self, request_id: str, *, after: int) -> AsyncGenerator[Event, None]:
        """Yield the stored events above *after*, and those that come, to the last one.

        Raises:
            NotFoundError: The request is not known, or the events asked for are gone.
        """
        reader = _Reader(request_id, after)
        while True:
            page = await self._store.scan(
                REQUEST_EVENT.name, (request_id,), after=reader.key, limit=_PAGE
            )
            for record in page:
                for event in reader.take(record):
                    yield event
                    if event.is_last:
                        return
            if page:
                continue
            _, stored = await self._stored(request_id)
            if stored.state == "running":
                await self._change(request_id, reader.revision)
            elif stored.last_event <= reader.seen:
                return
            elif stored.last_event == reader.found:  # it ended between the two looks
                raise reader.gap(stored.last_event)
            else:
                reader.found = stored.last_event

    async def _change(self, request_id: str, revision: int) -> None:
        """Return when there are newer events than *revision*, or after a while."""
        with anyio.move_on_after(_LOOK):
            async with self._store.watch(
                REQUEST_EVENT.name, (request_id,), after=revision
            ) as changes:
                async for _ in changes:
                    return

    async def cancel(self, request_id: str) -> bool:
        """Return whether the request was still running; it has stopped then.

        Raises:
            NotFoundError: The request is not known.
            DeadlineError: Its process lives, and did not stop it within 30 s.
        """
        while True:
            record, stored = await self._stored(request_id)
            if stored.state != "running":
                return False
            asked = replace(stored, stop="the request was cancelled")
            with suppress(ConflictError):
                await self._store.transact(
                    [
                        Write(
                            table=REQUEST.name,
                            key=record.key,
                            value=msgspec.json.encode(asked),
                            expect=record.revision,
                        )
                    ]
                )
                break
        with anyio.move_on_after(_STOP_WAIT):
            async with aclosing(self.follow(request_id, after=stored.last_event)) as events:
                async for _ in events:
                    pass
            return True
        raise DeadlineError(f"request {request_id} did not stop within {_STOP_WAIT:g} s")


class _Reader:
    """Puts pieces together to events, none twice and none left out.

    Attributes:
        key: Key of the last piece; `None` before the first.
        revision: Its revision.
        seen: Number of the last event that was given.
        found: Last event that the record of an ended request speaks of, once that was read.
    """

    def __init__(self, request_id: str, after: int) -> None:
        self._request_id = request_id
        self._parts: list[str] = []
        self.key: tuple[str, ...] | None = None
        self.revision = 0
        self.seen = after
        self.found = 0

    def take(self, record: Record) -> Iterator[Event]:
        """Yield the new events that *record* completes."""
        self.key, self.revision = record.key, max(self.revision, record.revision)
        piece = _PIECE_OF.decode(record.value)
        self._parts.append(piece.text)
        if piece.part < piece.parts:
            return
        text, self._parts = "".join(self._parts), []
        if piece.last <= self.seen:
            return
        for event in _EVENTS.decode(text):
            if event.id > self.seen + 1:
                raise self.gap(event.id - 1)
            if event.id == self.seen + 1:
                self.seen = event.id
                yield event

    def gap(self, last: int) -> NotFoundError:
        """Return the error that tells of events that are gone."""
        return NotFoundError(
            f"events {self.seen + 1} to {last} of request {self._request_id} are no longer kept",
            hint="attach again without a starting point",
        )
