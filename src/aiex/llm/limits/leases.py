"""The limiter of one process: it decides in memory, from what it leases of shared ledgers."""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Protocol, Self

import anyio
import msgspec

from aiex.cluster import DELETE, Store, Write
from aiex.core import (
    AiexError,
    BudgetError,
    ConflictError,
    LimitError,
    Principal,
    RateLimitError,
    StoreBusyError,
    Usage,
    new_id,
)
from aiex.llm.limits.accounts import SLOTS_NAME, Account, Batch, Slots, WindowAccount
from aiex.llm.limits.ledger import (
    ClockBehindError,
    Ledger,
    Member,
    counted,
    free_from,
    held_slots,
    presumed,
)
from aiex.llm.limits.times import StoreTime, grid_of, to_datetime, to_micros
from aiex.llm.limits.values import Limit, LimitSource, LimitUsage, subject_of
from aiex.llm.ports import Endpoint
from aiex.runtime import Clock

__all__ = ["LeasedLimits", "LimitMetrics"]

_log = logging.getLogger(__name__)

_LEDGERS: Final = "limit_ledger"
_MEMBERS: Final = "limit_member"
_TRIES = 30
_PAUSE = 0.002  # seconds; about what one turn of another process takes
_ROUTES = 4096
_PROBE_EVERY = 1.0
_FORGOTTEN_AFTER = 3600.0  # seconds without the store: shares end, and the silent are forgotten
_UNUSED = 300.0
_PAGE = 1000
_CLOSE_WITHIN = 2.0


class Rate(Protocol):
    """A rate as a provider told it; see `wires.RateLimit`."""

    @property
    def what(self) -> str:
        """What is counted."""

    @property
    def limit(self) -> int | None:
        """Most of it."""

    @property
    def remaining(self) -> int | None:
        """What is left."""

    @property
    def reset_after(self) -> float | None:
        """Seconds until all of it is there again."""


class LimitMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """What a process did about limits since it began.

    Attributes:
        reserved: Calls that were let through under at least one limit.
        refused: Calls that were refused.
        shared: Calls that were let through without the store, on this process's share.
        expired: Reservations that nobody settled.
        turns: Turns of ledgers, each at least a read.
        writes: Transactions of the store.
        conflicts: Turns that had to be taken anew because another process was quicker.
        failures: Turns that failed because the store could not be had.
        has_store: Whether the store answered last.
        accounts: Ledgers that are at hand.
        open: Reservations that are not settled.
    """

    reserved: int
    refused: int
    shared: int
    expired: int
    turns: int
    writes: int
    conflicts: int
    failures: int
    has_store: bool
    accounts: int
    open: int


class _Reservation:
    """What one attempt holds.

    Attributes:
        at: When it was made, monotonic seconds.
        takes: What was taken, as account, label and amount.
    """

    __slots__ = ("_owner", "at", "takes")

    def __init__(
        self, owner: LeasedLimits, at: float, takes: list[tuple[Account, int, int]]
    ) -> None:
        self._owner = owner
        self.at = at
        self.takes = takes

    async def settle(self, usage: Usage | None, *, cost_usd_micros: int | None) -> None:
        """Replace the estimate by what was used; `None` when the provider did not say."""
        tokens = None if usage is None else usage.input_tokens + usage.output_tokens
        self._owner.settled(self, tokens, cost_usd_micros)


class _Free:
    """The reservation of a call that no limit counts."""

    __slots__ = ()

    async def settle(self, usage: Usage | None, *, cost_usd_micros: int | None) -> None:
        """Do nothing."""


_FREE = _Free()


class LeasedLimits:
    """Satisfies `Limiter` over a store that processes share; entered before use, left to close.

    A call is decided in memory from what this process holds of each ledger. Only where that does
    not suffice a call waits for a turn of the ledger, with others that wait for the same one, and
    never longer than *patience*. While entered, tasks of its own hand back, renew and probe.
    Leaving tells the ledgers what was spent and gives back what is held.

    Args:
        store: The store, open, with `LIMIT_TABLES`.
        source: The limits in force.
        clock: Where time comes from; only its monotonic time is asked.
        skew: By how much the times may differ that processes are told by the store, seconds.
        patience: The longest that a call waits for the store, seconds.
        heartbeat: How often this process tells the others that it has the store, seconds.
        expires_after: Seconds after which a reservation that nobody settled is given back; longer
            than any call.
        parts: Whether a process may lose the store while others keep it, as in a cluster. Then
            the share of one that is silent is set aside by the others; otherwise only for the
            moment after they were without the store themselves.
        pace: How often to look after what is held, seconds; `None` to leave that to `tend`.
        holder: Name of this process, of this start; made up unless given.
        sleep: How to wait.
    """

    def __init__(
        self,
        store: Store,
        source: LimitSource,
        *,
        clock: Clock,
        skew: float = 0.25,
        patience: float = 1.0,
        heartbeat: float = 5.0,
        expires_after: float = 900.0,
        parts: bool = False,
        pace: float | None = 0.25,
        holder: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._skew = skew
        self._patience = patience
        self._heartbeat = heartbeat
        self._silent = 3 * heartbeat + skew
        self._expires_after = expires_after
        self._parts = parts
        self._pace = pace
        self._holder = holder or new_id("lim", now=clock.now(), entropy=os.urandom(10))
        self._sleep = sleep
        self._stack = AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._tending = anyio.CancelScope()
        self._stirred = anyio.Event()
        self._time = StoreTime()
        self._accounts: dict[tuple[str, ...], Account] = {}
        self._heard: dict[tuple[str, str], list[WindowAccount]] = {}
        self._routes: dict[
            tuple[str | None, ...], tuple[Sequence[Limit], tuple[tuple[int, Account], ...]]
        ] = {}
        self._open: dict[int, _Reservation] = {}
        self._members: dict[str, Member] = {}
        self._among = 1
        self._joined_at = 0
        self._contact_at = 0
        self._beat_due = -math.inf
        self._alone_until = -math.inf
        self._lost = self._was_lost = False
        self._probe_at = -math.inf
        self._reserved = self._refused = self._shared = self._expired = 0
        self._turns = self._writes = self._conflicts = self._failures = 0

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        if self._pace is not None:
            self._tasks.start_soon(self._tend_on, self._pace)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tending.cancel()
        with anyio.move_on_after(_CLOSE_WITHIN, shield=True):
            await self._hand_back()
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
        await self._stack.aclose()  # what was raised inside is not of these tasks

    # Deciding.

    async def reserve(
        self,
        principal: Principal,
        endpoint: Endpoint,
        *,
        input_tokens: int,
        output_tokens: int,
        cost_usd_micros: int | None,
    ) -> _Reservation | _Free:
        """Set aside what the call may use at most.

        Raises:
            RateLimitError: A rate is used up; `retry_after` says for how long.
            BudgetError: A budget is used up.
        """
        accounts = self._matching(principal, endpoint)
        if not accounts:
            return _FREE
        amounts = (1, input_tokens + output_tokens, cost_usd_micros or 0)
        now = self._clock.monotonic()
        for what, account in accounts:
            need = amounts[what]
            if need and not account.can(need, now):
                return await self._wait_and_take(accounts, amounts, now)
        return self._take(accounts, amounts, now)

    def _take(
        self,
        accounts: Sequence[tuple[int, Account]],
        amounts: tuple[int, int, int],
        now: float,
        shared: Sequence[Account] = (),
    ) -> _Reservation:
        takes: list[tuple[Account, int, int]] = []
        for what, account in accounts:
            need = amounts[what]
            if not need:
                takes.append((account, -1, 0))
                continue
            take = account.take_share if account in shared else account.take
            takes.append((account, take(need, now), need))
        reservation = _Reservation(self, now, takes)
        self._open[id(reservation)] = reservation
        self._reserved += 1
        return reservation

    async def _wait_and_take(
        self,
        accounts: Sequence[tuple[int, Account]],
        amounts: tuple[int, int, int],
        now: float,
    ) -> _Reservation:
        ends = now + self._patience
        while True:
            lacking = [
                (account, need)
                for what, account in accounts
                if (need := amounts[what]) and not account.can(need, now)
            ]
            if not lacking:
                return self._take(accounts, amounts, now)
            for account, need in lacking:
                # Who lost a race for what a turn brought asks again, as long as there is time.
                has_lost = now >= ends and not self._lost and not self._hangs(account, now)
                if has_lost or account.is_refused(need, now):
                    self._refused += 1
                    raise _refusal(account, need, now)
            if not self._may_ask(lacking, now, ends):
                return self._take_without_store(accounts, lacking, amounts, now)
            batches = [self._ask(account, need) for account, need in lacking]
            with anyio.move_on_after(max(0.0, ends - now)):
                for batch in batches:
                    await batch.done.wait()
            now = self._clock.monotonic()

    def _hangs(self, account: Account, now: float) -> bool:
        """Return whether the store has kept a turn of *account* waiting for long."""
        return account.turn_since is not None and now - account.turn_since > self._patience / 2

    def _may_ask(self, lacking: Sequence[tuple[Account, int]], now: float, ends: float) -> bool:
        """Return whether a turn of the store may still help."""
        if now >= ends or (self._lost and now < self._probe_at):
            return False
        return all(
            account.turn_since is None or now - account.turn_since < self._patience
            for account, _ in lacking
        )

    def _take_without_store(
        self,
        accounts: Sequence[tuple[int, Account]],
        lacking: Sequence[tuple[Account, int]],
        amounts: tuple[int, int, int],
        now: float,
    ) -> _Reservation:
        for account, need in lacking:
            if account.limit.denies_on_loss or need > self._share(account, now):
                self._refused += 1
                raise RateLimitError(
                    f"Limit {account.limit.id} of {account.subject} cannot be looked up, and what "
                    "this process may give without that is used up: the store does not answer.",
                    hint="aiex doctor says how the store stands",
                    retry_after=_PROBE_EVERY,
                )
        self._shared += 1
        return self._take(accounts, amounts, now, [account for account, _ in lacking])

    def _share(self, account: Account, now: float) -> int:
        """Return what may be taken of *account* although the store is gone."""
        if not self._time.is_known or not self._contact_at:
            return 0
        known_for = (self._contact_at - self._joined_at) / 1_000_000
        gone_for = (self._time.upper(now) - self._contact_at) / 1_000_000
        # The others must have had the time to count this process, and may forget it later.
        if known_for < 2 * self._heartbeat or gone_for > _FORGOTTEN_AFTER:
            return 0
        return account.share(self._among, self._contact_at, self._silent, now)

    def _matching(
        self, principal: Principal, endpoint: Endpoint
    ) -> tuple[tuple[int, Account], ...]:
        limits = self._source.limits_for(principal, endpoint)
        who = (principal.user, principal.team, principal.key_id, endpoint.provider, endpoint.model)
        known = self._routes.get(who)
        if known is not None and known[0] is limits:
            return known[1]
        now = self._clock.monotonic()
        found: dict[tuple[str, ...], tuple[int, Account]] = {}
        for limit in limits:
            subject = subject_of(limit, principal, endpoint)
            if subject is not None:
                account = self._account(limit, subject, now)
                found[account.key] = (_PLACES[limit.what], account)
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        accounts = tuple(found.values())
        self._routes[who] = (limits, accounts)
        return accounts

    def _account(self, limit: Limit, subject: str, now: float) -> Account:
        grid = None if limit.what == "concurrency" else grid_of(limit, skew=self._skew)
        key = (limit.id, SLOTS_NAME if grid is None else grid.name, subject)
        account = self._accounts.get(key)
        if account is not None:
            account.limited(limit)
            return account
        if grid is None:
            account = Slots(
                limit, subject, holder=self._holder, time=self._time, skew=self._skew, now=now
            )
        else:
            account = WindowAccount(
                limit, subject, grid, holder=self._holder, time=self._time, now=now
            )
            self._heard.setdefault((subject, limit.what), []).append(account)
        self._accounts[key] = account
        self._stirred.set()
        return account

    # What becomes of a reservation.

    def settled(self, reservation: _Reservation, tokens: int | None, cost: int | None) -> None:
        """Replace what *reservation* holds by what was used, once; `None` leaves it as it is.

        Args:
            reservation: It.
            tokens: Tokens of prompt and reply.
            cost: Micro-dollars.
        """
        if self._open.pop(id(reservation), None) is None:
            return
        now = self._clock.monotonic()
        for account, label, taken in reservation.takes:
            match account.limit.what:
                case "tokens":
                    used = tokens
                case "cost":
                    used = cost
                case "concurrency":
                    used = 0
                case _:
                    continue
            if used is not None:
                account.settle(label, taken, used, now)

    def told(self, endpoint: Endpoint, rates: Iterable[Rate]) -> None:
        """Note what the provider said is left of its own limits."""
        now = self._clock.monotonic()
        subjects = (
            f"provider:{endpoint.provider}",
            f"model:{endpoint.provider}:{endpoint.model}",
        )
        for rate in rates:
            if rate.remaining is None:
                continue
            for subject in subjects:
                for account in self._heard.get((subject, rate.what), ()):
                    account.hear(rate.remaining, rate.limit, rate.reset_after, now)

    def _expire(self, now: float) -> None:
        """Give back what nobody settled."""
        while self._open:
            oldest = next(iter(self._open.values()))
            if now - oldest.at < self._expires_after:
                return
            self._expired += 1
            self.settled(oldest, 0, 0)

    # Turns of ledgers.

    def _ask(self, account: Account, need: int | None) -> Batch:
        """Return the batch of the next turn of *account*, in which *need* takes part."""
        if self._tasks is None:
            raise StoreBusyError("The limits were closed.")
        batch = account.batch
        if batch is None:
            batch = account.batch = Batch()
        if need is not None:
            batch.needs.append(need)
        if account.turn_since is None:
            account.turn_since = self._clock.monotonic()
            self._tasks.start_soon(self._take_turns, account)
        return batch

    async def _take_turns(self, account: Account) -> None:
        try:
            while account.batch is not None:
                batch, account.batch = account.batch, None
                account.turn_since = self._clock.monotonic()
                try:
                    await self._try_turn(account, batch)
                finally:
                    batch.done.set()
        finally:
            account.turn_since = None

    async def _try_turn(self, account: Account, batch: Batch) -> None:
        try:
            await self._greet()
            await self._turn(account, batch.needs)
        except (AiexError, ClockBehindError, msgspec.MsgspecError) as error:
            batch.is_lost = True
            self._failed(error)
        else:
            self._lost = False

    async def _turn(self, account: Account, needs: Sequence[int], *, keep: bool = True) -> None:
        """Tell a ledger what was spent, and lease of it.

        Raises:
            ClockBehindError: The store's time is not what others were told.
            StoreError: The store could not be had.
        """
        self._turns += 1
        for n in range(_TRIES):
            await self._ask_time()
            record = await self._store.get(_LEDGERS, account.key, level="linearizable")
            ledger = Ledger() if record is None else _ledger_of(record.value)
            now = self._clock.monotonic()
            account.recall(ledger, now)
            turn = account.begin(
                ledger, needs, set_aside=self._set_aside(account, now), keep=keep, now=now
            )
            if turn.is_needed:
                write = Write(
                    table=_LEDGERS,
                    key=account.key,
                    value=msgspec.json.encode(turn.granted.ledger),
                    expect=0 if record is None else record.revision,
                    ttl=account.lasts,
                )
                self._writes += 1
                try:
                    await self._store.transact([write])
                except ConflictError:
                    account.abort(turn)
                    self._conflicts += 1
                    await self._sleep(_PAUSE * (1 + min(n, 10)) * random.random())  # noqa: S311
                    continue
                except BaseException:
                    account.unsure = turn
                    raise
            account.commit(turn, now)
            return
        raise StoreBusyError(
            f"The ledger {'/'.join(account.key)} is changed by others all the time."
        )

    async def _ask_time(self) -> None:
        before = self._clock.monotonic()
        at = to_micros(await self._store.now())
        self._time.told(before, at, self._clock.monotonic())

    def _set_aside(self, account: Account, now: float) -> int:
        if not self._parts and now >= self._alone_until:
            return 0
        if account.limit.denies_on_loss:
            return 0
        since = self._time.lower(now) - round(self._silent * 1_000_000)
        return presumed(self._members, self._holder, account.limit.amount, silent_since=since)

    def _failed(self, error: Exception) -> None:
        now = self._clock.monotonic()
        self._failures += 1
        self._was_lost = True
        self._probe_at = now + _PROBE_EVERY
        self._beat_due = -math.inf  # who is silent must be known before anything is leased
        if not self._lost:
            self._lost = True
            _log.warning("limits have no store: %s", error)

    # Looking after what is held.

    async def _greet(self) -> None:
        """Tell the others of this process, and learn of them, when that is due."""
        now = self._clock.monotonic()
        if now < self._beat_due:
            return
        self._beat_due = now + self._heartbeat
        try:
            await self._beat()
        except BaseException:
            self._beat_due = -math.inf
            raise

    async def _beat(self) -> None:
        await self._ask_time()
        members, after = {}, None
        while True:
            page = await self._store.scan(_MEMBERS, after=after, limit=_PAGE, level="linearizable")
            for record in page:
                members[record.key[0]] = msgspec.json.decode(record.value, type=Member)
            if len(page) < _PAGE:
                break
            after = page[-1].key
        now = self._clock.monotonic()
        at = self._time.lower(now)
        silent = at - round(self._silent * 1_000_000)
        dead = at - round(_FORGOTTEN_AFTER * 1_000_000)
        among = 1 + sum(m.at > silent for name, m in members.items() if name != self._holder)
        writes = [
            Write(table=_MEMBERS, key=(name,), value=DELETE)
            for name, member in members.items()
            if member.at < dead and name != self._holder
        ]
        me = msgspec.json.encode(Member(at=at, among=among))
        writes.append(Write(table=_MEMBERS, key=(self._holder,), value=me))
        self._writes += 1
        await self._store.transact(writes[-500:])
        was_away = at - self._contact_at > round(self._silent * 1_000_000)
        if was_away:
            self._joined_at = at
        if was_away and self._was_lost:
            # What others took without the store is told by then, or counts against their share.
            self._alone_until = now + 3 * _PROBE_EVERY
        self._was_lost = False
        self._members, self._among, self._contact_at = members, among, at

    async def tend(self) -> None:
        """Renew, hand back, and probe the store, where that is due."""
        now = self._clock.monotonic()
        self._expire(now)
        if not self._accounts or (self._lost and now < self._probe_at):
            return
        try:
            await self._greet()
        except (AiexError, msgspec.MsgspecError) as error:
            self._failed(error)
            return
        self._lost = False
        for key, account in list(self._accounts.items()):
            now = self._clock.monotonic()
            if account.turn_since is None and account.is_due(now):
                batch = self._ask(account, None)
                with anyio.move_on_after(self._patience):
                    await batch.done.wait()
                if self._lost:
                    return
            elif now - account.used > _UNUSED and account.is_done() and account.batch is None:
                self._forget(key, account)

    def _forget(self, key: tuple[str, ...], account: Account) -> None:
        del self._accounts[key]
        self._routes.clear()
        if isinstance(account, WindowAccount):
            heard = self._heard[account.subject, account.limit.what]
            heard.remove(account)
            if not heard:
                del self._heard[account.subject, account.limit.what]

    async def _tend_on(self, pace: float) -> None:
        with self._tending:
            while True:
                if not self._accounts and not self._open:
                    self._stirred = anyio.Event()
                    await self._stirred.wait()
                await self.tend()
                await self._sleep(pace)

    async def _hand_back(self) -> None:
        """Tell the ledgers what was spent, and give back what is held."""
        if not self._accounts or self._lost:
            return
        try:
            for account in self._accounts.values():
                while account.turn_since is not None:
                    await self._sleep(_PAUSE)
                if not account.is_done():
                    await self._turn(account, (), keep=False)
            if self._contact_at:
                await self._store.transact(
                    [Write(table=_MEMBERS, key=(self._holder,), value=DELETE)]
                )
        except (AiexError, ClockBehindError, msgspec.MsgspecError) as error:
            _log.warning("leased limits were not handed back: %s", error)

    # Telling.

    async def usage(self, *, limit_id: str | None = None) -> Sequence[LimitUsage]:
        """Return where limits stand, by all that the store and this process know.

        Args:
            limit_id: The limit; `None` for all in force.

        Raises:
            StoreError: The store could not be had.
        """
        await self._ask_time()
        now = self._clock.monotonic()
        found: list[LimitUsage] = []
        for limit in self._source.limits():
            if limit_id is not None and limit.id != limit_id:
                continue
            name = SLOTS_NAME if limit.what == "concurrency" else grid_of(limit, skew=0.0).name
            found += await self._usage_of(limit, name, now)
        return found

    async def _usage_of(self, limit: Limit, name: str, now: float) -> list[LimitUsage]:
        prefix, after = (limit.id, name), None
        ledgers: dict[str, Ledger] = {
            account.subject: Ledger()
            for account in self._accounts.values()
            if account.key[:2] == prefix
        }
        while True:
            page = await self._store.scan(_LEDGERS, prefix, after=after, limit=_PAGE)
            for record in page:
                ledgers[record.key[2]] = _ledger_of(record.value)
            if len(page) < _PAGE:
                break
            after = page[-1].key
        if not ledgers and not limit.scope.endswith("*"):
            ledgers[limit.scope] = Ledger()
        return [self._stands(limit, name, who, ledger, now) for who, ledger in ledgers.items()]

    def _stands(
        self, limit: Limit, name: str, subject: str, ledger: Ledger, now: float
    ) -> LimitUsage:
        account = self._accounts.get((limit.id, name, subject))
        at = self._time.lower(now)
        mine = ledger.holders.get(self._holder)
        at_hand = 0 if account is None else account.at_hand(now)
        if limit.what == "concurrency":
            leased = held_slots(ledger, at)
            ends = max((h.until for h in ledger.holders.values()), default=0)
            return LimitUsage(
                limit=limit,
                subject=subject,
                used=leased - at_hand,
                leased=leased,
                left=max(0, limit.amount - leased + at_hand),
                resets_at=to_datetime(ends) if ends > at else None,
            )
        grid = grid_of(limit, skew=self._skew)
        label = grid.label(at)
        in_all = counted(ledger, grid, label)
        leased = in_all - counted(Ledger(spent=ledger.spent), grid, label)
        used = in_all - leased
        if account is not None:
            first = label - grid.reach
            untold = sum(x for of, x in account.pending().items() if of >= first)
            used += untold
            if mine is not None:  # what it spent of its lease is not leased any more
                leased += at_hand - mine.amount
        free_at = free_from(ledger, grid, limit.amount, limit.amount, label)
        return LimitUsage(
            limit=limit,
            subject=subject,
            used=max(0, used),
            leased=max(0, leased),
            left=max(0, limit.amount - max(0, used) - max(0, leased) + at_hand),
            resets_at=None if free_at is None or not in_all else to_datetime(grid.start(free_at)),
        )

    def metrics(self) -> LimitMetrics:
        """Return what this process did about limits since it began."""
        return LimitMetrics(
            reserved=self._reserved,
            refused=self._refused,
            shared=self._shared,
            expired=self._expired,
            turns=self._turns,
            writes=self._writes,
            conflicts=self._conflicts,
            failures=self._failures,
            has_store=not self._lost,
            accounts=len(self._accounts),
            open=len(self._open),
        )


_PLACES: Final = {"requests": 0, "concurrency": 0, "tokens": 1, "cost": 2}
"""Which of a call's amounts counts, in the order of requests, tokens and cost."""


def _ledger_of(value: bytes) -> Ledger:
    return msgspec.json.decode(value, type=Ledger)


def _refusal(account: Account, need: int, now: float) -> LimitError:
    """Return the error of a call that *account* cannot let through."""
    limit = account.limit
    refused = _refused(account, need, now)
    return refused.reached(limit.id, scope=account.subject, what=limit.what)


def _refused(account: Account, need: int, now: float) -> LimitError:
    limit = account.limit
    per = "at once" if limit.what == "concurrency" else f"a {limit.window}"
    if not isinstance(limit.window, str) and limit.what != "concurrency":
        per = f"in {limit.window:g} s"
    most = f"{limit.amount} micro-dollars" if limit.what == "cost" else f"{limit.amount} calls"
    most = f"{limit.amount} {limit.what}" if limit.what in {"requests", "tokens"} else most
    about = f"Limit {limit.id} of {account.subject}: at most {most} {per}"
    if need > limit.amount:
        message = f"{about}; this call needs {need}."
        if limit.what == "cost" or isinstance(limit.window, str):
            return BudgetError(message, hint="Ask for a shorter reply, or raise the limit.")
        return RateLimitError(
            message, hint="Ask for a shorter reply, or raise the limit.", transient=False
        )
    if isinstance(limit.window, str):
        return BudgetError(f"{about}, and they are used up.", hint="See `aiex budget show`.")
    return RateLimitError(
        f"{about}, and they are used up.", retry_after=account.wait_for(need, now)
    )
