"""The table `llm_interaction`: a record of every call of a model, written off the request path."""

from __future__ import annotations

import logging
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup

from aiex.cluster import LIMITS, Record, Store, Write
from aiex.context.blobs import BlobFiles
from aiex.context.spill import SpillFiles
from aiex.context.store import LLM_INTERACTION
from aiex.core import AiexError, NotFoundError, StoreError, Usage, UsageError

__all__ = ["Interaction", "InteractionTotal", "Interactions"]

_LOG = logging.getLogger(__name__)
_TABLE = LLM_INTERACTION.name
_BATCH = 500
_LINGER = 0.05  # seconds; what a killed process loses is at most this and `_STALL`
_STALL = 0.05  # seconds that a transaction may take before its records are put aside as well
_RETRY = 1.0
_PAGE = 500
_SUMMED_PAGE = 5000
_WAITING = 5000
_SPILL_BYTES: Final = 64 << 20
_INLINE_BYTES: Final = LIMITS.value_bytes - 16 * 1024


class Interaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of one call of a model.

    The fields are those of the record that `llm` hands over, whose type this room cannot name
    (neither room imports the other); `Interactions.record` takes them over by name, and a test
    compares the two.

    Attributes:
        id: Identifier of the call.
        request_id: Request that it was made for.
        at: Aware UTC time of its start.
        user: Who asked.
        interface: Through which door.
        verb: For which verb.
        provider: Name of the provider.
        model: Model that was asked.
        answered_by: Model that answered, by the provider's word; `None` if it did not say.
        attempt: 1 for the first try of the request.
        outcome: `ok`, or the code of the error, or `cancelled`.
        finish: Why the model stopped; `None` if it did not get there.
        usage: What was billed; `None` if the provider did not say.
        usage_is_estimated: Whether *usage* is our own count, because the reply was cut.
        cost_usd_micros: Cost in micro-dollars; `None` when unpriced or the usage unknown.
        price_version: Version of the price table, or `unpriced`; `None` if no usage is known.
        estimated_input_tokens: Our own count of the prompt.
        first_token_ms: Milliseconds to the first delta; `None` if none came.
        duration_ms: Milliseconds in all.
        prompt: The messages as JSON, only where the user asked to keep them.
        reply: The reply's text, only where the user asked to keep it.
        team: Team of who asked; `None` without one.
        key_id: Key of the gateway that was used; `None` on one's own machine.
        operation: What the model was asked for.
        schema: Version of this record.
    """

    id: str
    request_id: str
    at: datetime
    user: str
    interface: str
    verb: str
    provider: str
    model: str
    attempt: int
    outcome: str
    estimated_input_tokens: int
    duration_ms: int
    answered_by: str | None = None
    finish: str | None = None
    usage: Usage | None = None
    usage_is_estimated: bool = False
    cost_usd_micros: int | None = None
    price_version: str | None = None
    first_token_ms: int | None = None
    prompt: str | None = None
    reply: str | None = None
    team: str | None = None
    key_id: str | None = None
    operation: Literal["chat", "embeddings", "count_tokens"] = "chat"
    schema: int = 1


class InteractionTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of some calls.

    Attributes:
        key: What they have in common.
        calls: How many.
        failed: How many of them did not end with `ok`.
        input_tokens: Tokens of their prompts, as billed.
        output_tokens: Tokens of their replies, as billed.
        cached_input_tokens: Part of the input that was read from a provider's cache.
        cost_usd_micros: Known cost, micro-dollars.
        unpriced: Calls whose cost is not known; the sum is too low by theirs.
        estimated: Calls whose tokens are our own count.
    """

    key: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cost_usd_micros: int = 0
    unpriced: int = 0
    estimated: int = 0


class _Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored.

    Attributes:
        at_us: Start, microseconds since 1970, by which it is found.
        call: The call; without its texts where they are in a file.
        texts: Digest of the file with prompt and reply.
    """

    at_us: int
    call: Interaction
    texts: str | None = None


class _Texts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    prompt: str | None = None
    reply: str | None = None


class _Tokens(msgspec.Struct, frozen=True, gc=False):
    """The part of a `Usage` that is summed."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0


class _Summed(msgspec.Struct, frozen=True, gc=False):
    """The part of an `Interaction` that is summed; a third of the time of reading all of it."""

    at: str
    user: str
    interface: str
    verb: str
    provider: str
    model: str
    outcome: str
    usage: _Tokens | None = None
    usage_is_estimated: bool = False
    cost_usd_micros: int | None = None
    team: str | None = None
    key_id: str | None = None


class _SummedRow(msgspec.Struct, frozen=True, gc=False):
    at_us: int
    call: _Summed


class _Sum:
    """A sum while calls are added to it."""

    __slots__ = InteractionTotal.__struct_fields__[1:]

    def __init__(self) -> None:
        self.calls = self.failed = self.cost_usd_micros = self.unpriced = self.estimated = 0
        self.input_tokens = self.output_tokens = self.cached_input_tokens = 0

    def add(self, call: _Summed) -> None:
        """Add *call*."""
        self.calls += 1
        if call.outcome != "ok":
            self.failed += 1
        usage = call.usage
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.cached_input_tokens += usage.cached_input_tokens
        if call.cost_usd_micros is None:
            self.unpriced += 1
        else:
            self.cost_usd_micros += call.cost_usd_micros
        if call.usage_is_estimated:
            self.estimated += 1

    def total(self, key: str) -> InteractionTotal:
        """Return the sum under *key*."""
        return InteractionTotal(key=key, **{name: getattr(self, name) for name in self.__slots__})


_ROW = msgspec.json.Decoder(_Row)
_SUMMED = msgspec.json.Decoder(_SummedRow)
_TEXTS = msgspec.json.Decoder(_Texts)
_LINE = msgspec.json.Decoder(Interaction)

By = Literal["provider", "model", "user", "team", "key", "verb", "interface", "day", "outcome"]
_KEYS: dict[By, Callable[[_Summed], str]] = {
    "provider": lambda call: call.provider,
    "model": lambda call: f"{call.provider}:{call.model}",
    "user": lambda call: call.user,
    "team": lambda call: call.team or "",
    "key": lambda call: call.key_id or "",
    "verb": lambda call: call.verb,
    "interface": lambda call: call.interface,
    "day": lambda call: call.at[:10],
    "outcome": lambda call: call.outcome,
}


class _Turn:
    """A transaction that is under way.

    Attributes:
        ended: Set once it was written, or was not.
        is_written: Whether it was.
        is_over: Set once what was put aside was looked at, too.
    """

    __slots__ = ("ended", "is_over", "is_written")

    def __init__(self) -> None:
        self.ended = anyio.Event()
        self.is_written = False
        self.is_over = anyio.Event()


class Interactions:
    """Takes records without waiting, and writes them in batches beside the work.

    Entered before use. Satisfies `CallSink` of `llm`. When the store cannot be written, or takes
    its time, the records go to JSON lines in files of *spill*, which are read back when it can be
    written again, by this or a later process; a record that was written twice is one record, by
    its id. A killed process loses at most what was recorded in its last tenth of a second.

    Args:
        store: With `TABLES`.
        spill: Directory for what could not be written.
        blobs: Where prompts and replies go that are too large for the store.
        redact: Takes secrets out of the prompts and replies that are kept.
        close_within: Seconds that leaving may wait for the store before it spills; a
            transaction that waits for another process is waited for besides.

    Attributes:
        put_aside: Records that went to files since it began.
    """

    def __init__(
        self,
        store: Store,
        *,
        spill: Path,
        blobs: BlobFiles,
        redact: Callable[[str], str] = str,
        close_within: float = 2.0,
    ) -> None:
        self._store = store
        self._redact = redact
        self._files = SpillFiles(spill, name="interactions", most_bytes=_SPILL_BYTES)
        self._blobs = blobs
        self._close_within = close_within
        self._waiting: deque[Interaction] = deque()
        self._writing: list[Interaction] = []
        self._arrived = anyio.Event()
        self._settled = anyio.Event()
        self._in_haste = anyio.Event()
        self._turn: _Turn | None = None
        self._retry_at = 0.0
        self._has_spilled = True  # an earlier process may have
        self._tasks: TaskGroup | None = None
        self._lost = 0
        self.put_aside = 0

    @property
    def lost(self) -> int:
        """Records that could be kept nowhere."""
        return self._lost

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._write_all)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        if self._tasks is None:
            return None
        with anyio.move_on_after(self._close_within, shield=True):
            await self.flush()
        self._tasks.cancel_scope.cancel()
        try:
            return await self._tasks.__aexit__(kind, error, trace)
        finally:
            with anyio.CancelScope(shield=True):
                await self._put_aside([*self._writing, *self._waiting])
                await anyio.to_thread.run_sync(self._files.close)
            self._writing = []
            self._waiting.clear()

    async def record(self, call: msgspec.Struct) -> None:
        """Keep *call*, which has the fields of `Interaction`; never waits and never raises."""
        if len(self._waiting) >= _WAITING:
            self._lost += 1
            _LOG.warning("an interaction record was dropped: too many wait for the store")
            return
        self._waiting.append(self._kept(Interaction(**msgspec.structs.asdict(call))))
        self._arrived.set()

    def _kept(self, call: Interaction) -> Interaction:
        if call.prompt is None and call.reply is None:
            return call
        return msgspec.structs.replace(
            call,
            prompt=None if call.prompt is None else self._redact(call.prompt),
            reply=None if call.reply is None else self._redact(call.reply),
        )

    async def flush(self) -> None:
        """Return once all that was recorded is in the store, or put aside if it takes nothing."""
        while not self._is_settled():
            self._in_haste.set()
            self._arrived.set()
            await self._settled.wait()
        self._in_haste = anyio.Event()

    def _is_settled(self) -> bool:
        """Return whether nothing is left to do before the next record or the next try."""
        return not (self._waiting or self._writing or self._turn or self._can_take_back())

    def _can_take_back(self) -> bool:
        return self._has_spilled and anyio.current_time() >= self._retry_at

    async def _write_all(self) -> None:
        await self._keep()
        while True:
            if not self._waiting and (self._turn is not None or not self._can_take_back()):
                self._arrived = anyio.Event()
                if self._turn is None:
                    self._settled.set()
                with anyio.move_on_after(_RETRY if self._has_spilled else math.inf):
                    await self._arrived.wait()
                if self._settled.is_set():  # somebody may wait for one that is not
                    self._settled = anyio.Event()
            if 0 < len(self._waiting) < _BATCH:
                # Others that come soon are written with it: a transaction costs more than a
                # record, and what it costs is the requests' time as well.
                with anyio.move_on_after(_LINGER):
                    await self._in_haste.wait()
            while self._waiting and len(self._writing) < _BATCH:
                self._writing.append(self._waiting.popleft())
            if self._writing or self._can_take_back():
                await self._keep()

    async def _keep(self) -> None:
        """Write what is being written, or put it aside where the store does not take it at once."""
        is_written = False
        with anyio.move_on_after(_STALL):
            if self._turn is not None:
                await self._turn.is_over.wait()
            if self._tasks is not None and anyio.current_time() >= self._retry_at:
                turn = self._turn = _Turn()
                self._tasks.start_soon(self._take_turn, turn, tuple(self._writing))
                await turn.ended.wait()
                is_written = turn.is_written
        if not is_written:
            await self._put_aside(self._writing)
        self._writing = []

    async def _take_turn(self, turn: _Turn, calls: Sequence[Interaction]) -> None:
        """Write *calls*, and after them what was put aside."""
        try:
            await self._write(calls)
            turn.is_written = True
            turn.ended.set()
            if self._has_spilled:
                await self._take_back()
        except AiexError as error:
            _LOG.warning("interaction records are put aside: %s", error.message)
            self._has_spilled = True
            self._retry_at = anyio.current_time() + _RETRY
        finally:
            self._turn = None
            turn.ended.set()
            turn.is_over.set()
            self._arrived.set()

    async def _write(self, calls: Sequence[Interaction]) -> None:
        writes = [
            Write(table=_TABLE, key=(call.id,), value=await self._row(call)) for call in calls
        ]
        if writes:
            await self._store.transact(writes)

    async def _row(self, call: Interaction) -> bytes:
        at_us = round(call.at.timestamp() * 1_000_000)
        value = msgspec.json.encode(_Row(at_us=at_us, call=call))
        if len(value) <= _INLINE_BYTES:
            return value
        texts = msgspec.json.encode(_Texts(prompt=call.prompt, reply=call.reply))
        (digest,) = await self._blobs.put_many([texts])
        bare = msgspec.structs.replace(call, prompt=None, reply=None)
        return msgspec.json.encode(_Row(at_us=at_us, call=bare, texts=digest))

    async def _put_aside(self, calls: Sequence[Interaction]) -> None:
        if not calls:
            return
        lines = [msgspec.json.encode(call) for call in calls]
        try:
            await anyio.to_thread.run_sync(self._files.append, lines)
            self.put_aside += len(calls)
        except StoreError as error:
            self._lost += len(calls)
            _LOG.warning("%d interaction records were lost: %s", len(calls), error.message)
        self._has_spilled = True

    async def _take_back(self) -> None:
        """Write what was put aside, by this process or by one that is gone.

        Raises:
            AiexError: The store does not take it.
        """
        self._has_spilled = False
        await anyio.to_thread.run_sync(self._files.close)
        for path in await anyio.to_thread.run_sync(self._files.files):
            with ExitStack() as held:
                try:
                    taken = self._files.taken(path)
                    lines = await anyio.to_thread.run_sync(held.enter_context, taken)
                    calls = await anyio.to_thread.run_sync(_decoded, lines or ())
                except (OSError, msgspec.DecodeError) as error:
                    _LOG.warning("%s was not read back: %s", path, error)
                    continue
                if lines is None:
                    continue
                for start in range(0, len(calls), _BATCH):
                    await self._write(calls[start : start + _BATCH])
                await anyio.to_thread.run_sync(path.unlink, True)

    async def get(self, call_id: str) -> Interaction:
        """Return one call with its prompt and reply, where they were kept.

        Raises:
            NotFoundError: There is no such call.
        """
        record = await self._store.get(_TABLE, (call_id,))
        if record is None:
            raise NotFoundError(f"No call of a model {call_id!r} is known.")
        row = _ROW.decode(record.value)
        if row.texts is None:
            return row.call
        texts = _TEXTS.decode((await self._blobs.get_many([row.texts]))[row.texts])
        return msgspec.structs.replace(row.call, prompt=texts.prompt, reply=texts.reply)

    async def list(
        self, *, since: datetime | None = None, until: datetime | None = None, limit: int = 100
    ) -> Sequence[Interaction]:
        """Return calls, newest first; texts too large for the store only come with `get`.

        Args:
            since: Aware time of the first.
            until: Aware time before which the last began.
            limit: Most calls to return.
        """
        found: list[Interaction] = []
        async for call in self._newest_first(since, until, page=min(limit, _PAGE)):
            found.append(call)
            if len(found) >= limit:
                break
        return found

    async def totals(
        self,
        *,
        by: By,
        since: datetime | None = None,
        until: datetime | None = None,
        user: str | None = None,
    ) -> Sequence[InteractionTotal]:
        """Return sums, largest known cost first, then by key; days in their order.

        A call without a team or key counts under an empty one.

        Args:
            by: What the calls of one sum have in common.
            since: Aware time of the first.
            until: Aware time before which the last began.
            user: Whose calls; `None` for everybody's.

        Raises:
            UsageError: There is no such grouping.
        """
        if by not in _KEYS:
            raise UsageError(f"Calls are summed by {', '.join(_KEYS)}, not by {by!r}.")
        key_of = _KEYS[by]
        sums: defaultdict[str, _Sum] = defaultdict(_Sum)
        async for records in self._pages(since, until, page=_SUMMED_PAGE):
            for record in records:
                call = _SUMMED.decode(record.value).call
                if user is None or call.user == user:
                    sums[key_of(call)].add(call)
        totals = [one.total(key) for key, one in sums.items()]
        if by == "day":
            return sorted(totals, key=lambda total: total.key)
        return sorted(totals, key=lambda total: (-total.cost_usd_micros, total.key))

    async def _newest_first(
        self, since: datetime | None, until: datetime | None, *, page: int
    ) -> AsyncIterator[Interaction]:
        async for records in self._pages(since, until, page=page):
            for record in records:
                yield _ROW.decode(record.value).call

    async def _pages(
        self, since: datetime | None, until: datetime | None, *, page: int
    ) -> AsyncIterator[Sequence[Record]]:
        after: Record | None = None
        below = None if until is None else _micros(until)
        while True:
            records = await self._store.query(
                _TABLE,
                "at",
                at_least=None if since is None else _micros(since),
                below=below,
                descending=True,
                after=after,
                limit=page,
            )
            yield records
            if len(records) < page:
                return
            after = records[-1]
            # Without it every page would pass over all that came before it.
            below = _SUMMED.decode(after.value).at_us + 1


def _micros(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def _decoded(lines: Sequence[bytes]) -> Sequence[Interaction]:
    return [_LINE.decode(line) for line in lines if line]
