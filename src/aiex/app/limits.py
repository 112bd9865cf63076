"""Limits of the settings, of keys and of budgets, brought before the calls that they count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio

from aiex.app.settings import LimitSettings
from aiex.assistant.budget import Spent
from aiex.cluster import Record, Store
from aiex.context import Budget, Budgets, GatewayKey
from aiex.context.budgets import budget_of
from aiex.context.store import BUDGET
from aiex.core import AiexError, LimitError, LimitReached, Principal, StoreError
from aiex.llm.limits import LeasedLimits, Limit, LimitMetrics
from aiex.llm.limits.values import subject_of
from aiex.runtime import Child, Clock, Started, Supervisor

if TYPE_CHECKING:
    from aiex.llm import Announce, Endpoint, Reservation

__all__ = ["HouseLimits", "LimitsInForce", "limits_of"]

_LOG = logging.getLogger(__name__)
_MOST_FOUND: Final = 4096
_FIRST_PAUSE: Final = 0.1
_LAST_PAUSE: Final = 5.0
_SECONDS: Final[Mapping[str, float]] = {"minute": 60.0, "hour": 3600.0}

KeyOf = Callable[[str], GatewayKey | None]
"""Returns a key of the gateway, from memory, by its identifier."""


def limits_of(settings: Mapping[str, LimitSettings]) -> Iterator[Limit]:
    """Yield the limits of a table of settings; a cap of calls at once has no window."""
    for name, one in settings.items():
        window = _SECONDS.get(one.per, one.per)
        for what in ("requests", "tokens", "concurrency"):
            amount = getattr(one, what)
            if amount is not None:
                yield Limit(
                    id=f"{name}/{what}",
                    scope=one.scope,
                    what=what,
                    amount=amount,
                    window=60.0 if what == "concurrency" else window,  # type: ignore[arg-type]
                    on_store_loss=one.on_store_loss,
                )


def _limits_of_key(key: GatewayKey) -> Iterator[Limit]:
    amounts = (
        ("requests", key.requests_per_minute),
        ("tokens", key.tokens_per_minute),
        ("concurrency", key.concurrency),
    )
    for what, amount in amounts:
        if amount is not None:
            yield Limit(id=f"key/{key.id}/{what}", scope=f"key:{key.id}", what=what, amount=amount)  # type: ignore[arg-type]


class LimitsInForce:
    """Satisfies `LimitSource`: what settings, keys and budgets say, from memory.

    Args:
        fixed: The limits of the settings.
    """

    def __init__(self, fixed: Iterable[Limit]) -> None:
        self._fixed = tuple(fixed)
        self._budgets: tuple[Limit, ...] = ()
        self._keys: dict[str, tuple[Limit, ...]] = {}
        self._found: dict[tuple[str | None, ...], Sequence[Limit]] = {}
        self.key_of: KeyOf = lambda _: None

    def budgeted(self, budgets: Iterable[Budget]) -> None:
        """Let *budgets* count, and no others."""
        limits = tuple(
            Limit(id=one.id, scope=one.scope, what="cost", amount=one.amount, window=one.per)
            for one in budgets
        )
        if limits != self._budgets:
            self._budgets = limits
            self._found.clear()

    def limits_for(self, principal: Principal, endpoint: Endpoint) -> Sequence[Limit]:
        """Return the limits that a call counts under."""
        who = (principal.user, principal.team, principal.key_id, endpoint.provider, endpoint.model)
        found = self._found.get(who)
        if found is None:
            of_key = self._of_key(principal.key_id)
            found = tuple(
                limit
                for limit in (*self._fixed, *of_key, *self._budgets)
                if subject_of(limit, principal, endpoint) is not None
            )
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[who] = found
        return found

    def _of_key(self, key_id: str | None) -> tuple[Limit, ...]:
        if key_id is None:
            return ()
        found = self._keys.get(key_id)
        if found is None:
            key = self.key_of(key_id)
            found = () if key is None else tuple(_limits_of_key(key))
            if len(self._keys) >= _MOST_FOUND:
                self._keys.clear()
            self._keys[key_id] = found
        return found

    def limits(self) -> Sequence[Limit]:
        """Return all limits in force; of keys, those that were used."""
        of_keys = [limit for limits in self._keys.values() for limit in limits]
        return (*self._fixed, *of_keys, *self._budgets)


class HouseLimits:
    """Satisfies `Limiter`; what it counts with is opened at the first call.

    What this process holds is given back when its supervisor ends. Budgets that are set anywhere
    count here as soon as the store tells of them, which is within a tenth of a second; while it
    cannot be read, those that are known go on to count.

    Args:
        store: The store, open by the first call.
        settings: The limits of the settings, by their names.
        clock: Where time comes from.
        supervisor: Returns what keeps this running.
        announce: Publishes an event.
    """

    def __init__(
        self,
        store: Store,
        settings: Mapping[str, LimitSettings],
        *,
        clock: Clock,
        supervisor: Callable[[], Supervisor],
        announce: Announce,
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._announce = announce
        self._budgets = Budgets(store)
        self.source = LimitsInForce(limits_of(settings))
        self._known: dict[tuple[str, ...], Budget] = {}
        self._limits: LeasedLimits | None = None
        self._opening = anyio.Lock()

    async def open(self) -> LeasedLimits:
        """Return what counts, once the budgets are known.

        Raises:
            StoreError: They cannot be had.
        """
        async with self._opening:
            if self._limits is None:
                await self._look()
                await self._supervisor().start(Child(name="limits", run=self._run))
        if self._limits is None:
            raise StoreError("limits cannot be counted for now", transient=True)
        return self._limits

    def metrics(self) -> LimitMetrics | None:
        """Return what this process did about limits; `None` before the first call."""
        return None if self._limits is None else self._limits.metrics()

    async def _run(self, started: Started) -> None:
        async with LeasedLimits(self._store, self.source, clock=self._clock) as limits:
            self._limits = limits
            started()
            await self._follow()

    async def _follow(self) -> None:
        """Follow the budgets; a store that cannot be read is tried again, ever more slowly."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with self._store.watch(BUDGET.name) as changes:
                    await self._look()
                    async for change in changes:
                        pause = _FIRST_PAUSE
                        if self._is_news(change):
                            await self._look()
            except AiexError as error:
                _LOG.warning("budgets cannot be followed for now: %s", error.message)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _look(self) -> None:
        """Let the budgets count that there are.

        Raises:
            StoreError: They cannot be read.
        """
        found = await self._budgets.list()
        self._known = {(one.scope, one.per): one for one in found}
        self.source.budgeted(found)

    def _is_news(self, change: Record | tuple[str, ...]) -> bool:
        """Return whether *change* is not known yet: a watch begins with all that there is."""
        if isinstance(change, Record):
            return self._known.get(change.key) != budget_of(change)
        return change in self._known

    async def reserve(
        self,
        principal: Principal,
        endpoint: Endpoint,
        *,
        input_tokens: int,
        output_tokens: int,
        cost_usd_micros: int | None,
    ) -> Reservation:
        """Set aside what the call may use at most.

        Raises:
            RateLimitError: A rate is used up; `retry_after` says for how long.
            BudgetError: A budget is used up.
            StoreError: This is the first call, and the budgets cannot be had.
        """
        limits = self._limits or await self.open()
        try:
            return await limits.reserve(
                principal,
                endpoint,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_usd_micros=cost_usd_micros,
            )
        except LimitError as error:
            if error.limit:
                self._announce(
                    LimitReached(
                        limit=error.limit,
                        scope=error.scope,
                        what=error.what,
                        retry_after=error.retry_after,
                    )
                )
            raise

    def told(self, endpoint: Endpoint, rates: Any) -> None:
        """Take what a provider said of its own limits."""
        if self._limits is not None:
            self._limits.told(endpoint, rates)

    async def spent(self, budgets: Sequence[Budget]) -> Mapping[str, Sequence[Spent]]:
        """Return who spent what of each budget, by its id; nothing for one nobody spent of."""
        limits = await self.open()
        await self._look()
        return {
            budget.id: [
                Spent(subject=one.subject, spent=one.used, leased=one.leased, left=one.left)
                for one in await limits.usage(limit_id=budget.id)
            ]
            for budget in budgets
        }
