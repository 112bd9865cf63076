"""Who answers a call: the order of endpoints, the one retry loop, failover, restarts, records.

Before the first content everything that may pass is tried again and then elsewhere, inside the
deadline. After it nothing is spliced: either the verb asked for a restart, which is announced, or
the stream ends with an error that says what was used. What was named is the only one tried.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

import anyio
import msgspec

from aiex.core import (
    AiexError,
    BudgetError,
    ContextOverflowError,
    DeadlineError,
    Delta,
    IncompleteStreamError,
    InvalidCallError,
    ModelCall,
    ModelChosen,
    ModelEnded,
    Progress,
    Request,
    Restarted,
    UnavailableError,
    UsageError,
    new_id,
)
from aiex.llm.attempt import Attempt
from aiex.llm.estimates import DEFAULT_OUTPUT, check_cost, estimate_of
from aiex.llm.ports import (
    CallSink,
    Endpoint,
    Estimate,
    Limiter,
    Preparable,
    Reservation,
    Strategy,
    Timeouts,
)
from aiex.llm.pricing import Pricing
from aiex.llm.providers import Providers
from aiex.llm.retry import LONGEST_WAIT, wait_before_retry
from aiex.llm.strategies import in_order, with_failover
from aiex.llm.tokens import TokenCounter
from aiex.runtime import Clock

__all__ = ["CallEvent", "Coordinator"]

_SECONDS_TO_RECORD = 5.0

CallEvent = Progress | ModelChosen | Restarted | ModelEnded | Delta
"""What comes out of a call; the last is `ModelEnded`, right after the `Finish`."""


class Coordinator:
    """Asks models. Entered before use; leaving closes every adapter that was opened.

    Args:
        providers: Who can be asked.
        pricing: Prices calls.
        counter: Counts tokens.
        sink: Takes the record of each attempt.
        clock: Where time comes from.
        entropy: Gives random numbers in [0, 1).
        timeouts: How long to wait, by provider; others get the defaults.
        limiter: Decides whether an attempt may be made; `None` for no limits.
        strategy: Orders the endpoints.
        sleep: Waits.
    """

    def __init__(
        self,
        providers: Providers,
        *,
        pricing: Pricing,
        counter: TokenCounter,
        sink: CallSink,
        clock: Clock,
        entropy: Callable[[], float],
        timeouts: Mapping[str, Timeouts] | None = None,
        limiter: Limiter | None = None,
        strategy: Strategy = in_order,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._providers = providers
        self._pricing = pricing
        self._counter = counter
        self._sink = sink
        self._clock = clock
        self._entropy = entropy
        self._timeouts = timeouts or {}
        self._limiter = limiter
        self._strategy = strategy
        self._sleep = sleep
        self._in_flight: Counter[tuple[str, str]] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._providers.__aexit__(kind, error, trace)

    @property
    def providers(self) -> Providers:
        """Who can be asked."""
        return self._providers

    @property
    def counter(self) -> TokenCounter:
        """What counts tokens."""
        return self._counter

    @property
    def pricing(self) -> Pricing:
        """What prices calls."""
        return self._pricing

    def estimate(self, call: ModelCall, endpoints: Sequence[Endpoint]) -> list[Estimate]:
        """Return what *call* would cost at each of *endpoints*; nothing is sent."""
        return [self._estimate(call, endpoint) for endpoint in endpoints]

    def _estimate(self, call: ModelCall, endpoint: Endpoint) -> Estimate:
        return estimate_of(call, endpoint, counter=self._counter, pricing=self._pricing)

    async def stream(
        self,
        call: ModelCall,
        endpoints: Sequence[Endpoint],
        *,
        request: Request,
        restarts: bool = False,
        spent: int = 0,
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield what happens until a reply is complete; closing it closes the upstream.

        A model that has to be fetched first is, with `Progress`; the time of that does not count.
        Every attempt begins with `ModelChosen`; one of which anything was seen ends with
        `ModelEnded`, also when it broke off. `Restarted` stands before the attempt that begins a
        reply anew.

        Args:
            call: The call; its model is replaced by the endpoint's.
            endpoints: Who may answer; one alone when it was named.
            request: What it is for: principal, deadline and options.
            restarts: Whether a reply that broke off may begin anew, once.
            spent: What the request has cost before, micro-dollars; counts for its `max_cost`.

        Raises:
            IncompleteStreamError: The reply broke off after its first content; its `usage` says
                what that took, by our own count.
            BudgetError: The call could cost more than the request's `max_cost`.
            DeadlineError: Nobody answered in time.
            AiexError: Nobody answered; the error of the last who was asked.
        """
        most = request.options.max_cost
        if most is not None and call.max_output_tokens is None:
            # Without a bound on the reply there is none on its cost.
            call = msgspec.structs.replace(call, max_output_tokens=DEFAULT_OUTPUT)
        order = await self._order(call, endpoints, most=most)
        run = _Run(order, restarts=restarts, ends_at=self._end_of(request, order))
        while True:
            endpoint = run.endpoint
            attempt = self._attempt(call, run)
            try:
                check_cost(attempt.estimate, most=None if most is None else most - spent)
                begun_at = self._clock.monotonic()
                async with aclosing(self._prepare(endpoint, request)) as steps:
                    async for step in steps:
                        yield step
                run.ends_at += self._clock.monotonic() - begun_at
                run.attempts += 1
                yield ModelChosen(
                    provider=endpoint.provider,
                    model=endpoint.model,
                    reason=run.reason,
                    attempt=attempt.number,
                    call_id=attempt.call_id,
                    estimated_input_tokens=attempt.estimate.input_tokens,
                )
                async with aclosing(self._try(attempt, request, run.ends_at)) as deltas:
                    async for delta in deltas:
                        yield delta
            except AiexError as error:
                failure = error
            else:
                yield attempt.ended()
                return
            if attempt.has_content:
                yield attempt.ended()
            spent += attempt.cost or 0
            await self._turn(run, failure, attempt)
            if attempt.has_content:
                yield Restarted(
                    attempt=run.attempts + 1,
                    provider=run.endpoint.provider,
                    model=run.endpoint.model,
                    reason=failure.message,
                )

    async def _order(
        self, call: ModelCall, endpoints: Sequence[Endpoint], *, most: int | None
    ) -> list[Endpoint]:
        """Return *endpoints* in the order of the strategy, those that are too small last."""
        if not endpoints:
            raise UnavailableError("no model can take the call")
        counted = [
            msgspec.structs.replace(e, in_flight=self._in_flight[e.provider, e.model])
            for e in endpoints
        ]
        order = self._strategy(counted, entropy=self._entropy())
        estimates = self.estimate(call, order)
        if any(_is_tight(estimate, most) for estimate in estimates) and (
            await self._counter.sharpen()
        ):
            estimates = self.estimate(call, order)
        sized = sorted(zip(order, estimates, strict=True), key=lambda pair: pair[1].fits is False)
        return [endpoint for endpoint, _ in sized]

    def _end_of(self, request: Request, order: Sequence[Endpoint]) -> float:
        """Return until when (monotonic seconds) the call may take, with all its attempts."""
        seconds = self._timeouts_of(order[0]).total
        if request.deadline is not None:
            left = (request.deadline - self._clock.now()).total_seconds()
            seconds = min(seconds, left)
        return self._clock.monotonic() + seconds

    def _timeouts_of(self, endpoint: Endpoint) -> Timeouts:
        return self._timeouts.get(endpoint.provider) or Timeouts()

    async def _prepare(
        self, endpoint: Endpoint, request: Request
    ) -> AsyncGenerator[Progress, None]:
        adapter = await self._providers.adapter(endpoint.provider)
        if not isinstance(adapter, Preparable):
            return
        prepared = adapter.prepare(endpoint.model, offline=request.options.offline)
        async with aclosing(prepared) as steps:
            async for step in steps:
                yield step

    def _attempt(self, call: ModelCall, run: _Run) -> Attempt:
        endpoint = run.endpoint
        return Attempt(
            msgspec.structs.replace(call, model=endpoint.model),
            endpoint,
            self._estimate(call, endpoint),
            number=run.attempts + 1,
            call_id=new_id("call", now=self._clock.now(), entropy=os.urandom(10)),
            counter=self._counter,
            pricing=self._pricing,
        )

    async def _try(
        self, attempt: Attempt, request: Request, ends_at: float
    ) -> AsyncGenerator[Delta, None]:
        """Yield the reply; whatever happens, settle the reservation and leave a record."""
        left = ends_at - self._clock.monotonic()
        if left <= 0:
            raise DeadlineError("the deadline passed before a model was asked")
        endpoint = attempt.endpoint
        timeouts = msgspec.structs.replace(self._timeouts_of(endpoint), total=left)
        reservation = await self._reserve(attempt, request)
        at, started = self._clock.now(), self._clock.monotonic()
        outcome = "internal"
        self._in_flight[endpoint.provider, endpoint.model] += 1
        try:
            adapter = await self._providers.adapter(endpoint.provider)
            async with aclosing(adapter.stream(attempt.call, timeouts=timeouts)) as deltas:
                async for delta in deltas:
                    if attempt.take(delta, seconds=self._clock.monotonic() - started):
                        yield delta
            if attempt.finish is None:
                raise IncompleteStreamError("the reply had no end", provider=endpoint.provider)
            outcome = "ok"
        except AiexError as error:
            outcome = error.code
            raise
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            outcome = "cancelled" if attempt.finish is None else "ok"
            raise
        finally:
            self._in_flight[endpoint.provider, endpoint.model] -= 1
            has_failed = outcome not in {"ok", "cancelled"}
            with anyio.move_on_after(_SECONDS_TO_RECORD, shield=True):
                attempt.conclude(at=at, has_failed=has_failed)
                if reservation is not None:
                    await reservation.settle(attempt.usage, cost_usd_micros=attempt.cost)
                await self._sink.record(
                    attempt.record(
                        request,
                        at=at,
                        seconds=self._clock.monotonic() - started,
                        outcome=outcome,
                    )
                )

    async def _reserve(self, attempt: Attempt, request: Request) -> Reservation | None:
        if self._limiter is None:
            return None
        return await self._limiter.reserve(
            request.principal,
            attempt.endpoint,
            input_tokens=attempt.estimate.input_tokens,
            output_tokens=attempt.estimate.output_tokens,
            cost_usd_micros=attempt.estimate.cost_usd_micros,
        )

    async def _turn(self, run: _Run, failure: AiexError, attempt: Attempt) -> None:
        """Wait, or turn to another endpoint; raise if there is no next attempt."""
        run.failures[run.endpoint] = failure
        if attempt.has_content:
            if not run.restarts or not failure.transient:
                raise _broken_off(failure, attempt)
            run.restarts = False
        left = run.ends_at - self._clock.monotonic()
        if left <= 0 and not isinstance(failure, DeadlineError):
            raise DeadlineError(
                f"the deadline passed before a model answered; last: {failure.message}"
            ) from failure
        wait = wait_before_retry(
            failure,
            retries=run.retries,
            entropy=self._entropy(),
            # Somebody else who can answer now is better than a long wait.
            seconds_left=min(left, LONGEST_WAIT) if len(run.left) > 1 else left,
        )
        if wait is not None:
            run.again(failure)
            await self._sleep(wait)
        elif not run.elsewhere(failure):
            raise run.final(failure)


class _Run:
    """Where one call stands among its endpoints."""

    def __init__(self, order: Sequence[Endpoint], *, restarts: bool, ends_at: float) -> None:
        self.left = list(order)
        self.restarts = restarts
        self.ends_at = ends_at
        self.attempts = 0
        self.retries = 0
        self.reason = "the only one" if len(order) == 1 else "first in order"
        self.failures: dict[Endpoint, AiexError] = {}

    @property
    def endpoint(self) -> Endpoint:
        """Who is asked now."""
        return self.left[0]

    def again(self, failure: AiexError) -> None:
        """Stay with the endpoint."""
        self.retries += 1
        self.reason = f"again after {failure.code}"

    def elsewhere(self, failure: AiexError) -> bool:
        """Return whether another endpoint is left, which is the current one then."""
        if isinstance(failure, DeadlineError | InvalidCallError | UsageError):
            return False
        left = with_failover(
            self.left,
            self.endpoint,
            needs_larger_window=isinstance(failure, ContextOverflowError),
        )
        if not left:
            return False
        self.reason = f"{self.endpoint.provider} failed: {failure.code}"
        self.left = list(left)
        self.retries = 0
        return True

    def final(self, failure: AiexError) -> AiexError:
        """Return what to raise: *failure*, with what the others said if several were asked."""
        if len(self.failures) > 1:
            told = "; ".join(
                f"{endpoint.provider}:{endpoint.model}: {said.message}"
                for endpoint, said in self.failures.items()
            )
            failure.message = f"no model answered: {told}"
            failure.args = (failure.message,)
        return failure


def _is_tight(estimate: Estimate, most: int | None) -> bool:
    """Return whether a closer count could change what is done."""
    try:
        check_cost(estimate, most=most)
    except BudgetError:
        return estimate.cost_usd_micros is not None
    return estimate.fits is False


def _broken_off(failure: AiexError, attempt: Attempt) -> AiexError:
    """Return the error of a reply of which a part was seen, with what that part took."""
    if isinstance(failure, DeadlineError):
        return failure
    if isinstance(failure, IncompleteStreamError):
        broken = failure
    else:
        broken = IncompleteStreamError(
            f"{attempt.endpoint.provider} broke off: {failure.message}",
            hint=failure.hint,
            provider=attempt.endpoint.provider,
        )
        broken.__cause__ = failure
    broken.usage = attempt.usage
    return broken
