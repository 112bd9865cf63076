"""Who answers a call: the order of endpoints, the one retry loop, failover, restarts, records.

Before the first content everything that may pass is tried again and then elsewhere, inside the
deadline. After it nothing is spliced: either the verb asked for a restart, which is announced, or
the stream ends with an error that says what was used. What was named is the only one tried.

A call of our own (`stream`) and what a client asked in its own wire (`relay`) go the same way. It
is a hot path: what costs microseconds is done once a call, and nothing a delta.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

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
    WireBytes,
    new_id,
)
from aiex.llm.attempt import Attempt, CallQuestion, Question, RelayQuestion
from aiex.llm.estimates import DEFAULT_OUTPUT, check_cost, estimate_of
from aiex.llm.ports import (
    CallSink,
    Endpoint,
    Estimate,
    Limiter,
    Relayed,
    Reservation,
    Strategy,
    Timeouts,
)
from aiex.llm.pricing import Pricing
from aiex.llm.providers import Providers, allowed_of
from aiex.llm.retry import LONGEST_WAIT, wait_before_retry
from aiex.llm.strategies import in_order, with_failover
from aiex.llm.tokens import TokenCounter
from aiex.runtime import Clock

__all__ = ["CallEvent", "Coordinator"]

_SECONDS_TO_RECORD = 5.0
_USUAL_TIMEOUTS = Timeouts()

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
        return [
            estimate_of(call, endpoint, counter=self._counter, pricing=self._pricing)
            for endpoint in endpoints
        ]

    def stream(
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
        if request.options.max_cost is not None and call.max_output_tokens is None:
            # Without a bound on the reply there is none on its cost.
            call = msgspec.structs.replace(call, max_output_tokens=DEFAULT_OUTPUT)
        question = CallQuestion(call, counter=self._counter, pricing=self._pricing)
        return self._answer(question, endpoints, request, restarts=restarts, spent=spent)

    def relay(
        self, relayed: Relayed, endpoints: Sequence[Endpoint], *, request: Request
    ) -> AsyncGenerator[ModelChosen | WireBytes | ModelEnded, None]:
        """Yield what answers *relayed*, in its client's wire; closing it closes the upstream.

        Every attempt begins with `ModelChosen`, and the one that answers ends with `ModelEnded`.
        An answer that breaks off after its first bytes ends with bytes that say so, and with a
        `ModelEnded` that says what it took, before the error is raised.

        Args:
            relayed: What the client asked.
            endpoints: Who may answer, as `Providers.route` gives them.
            request: What it is for: principal, deadline and options.

        Raises:
            AiexError: As `stream` does.
        """
        question = RelayQuestion(relayed, counter=self._counter, pricing=self._pricing)
        return self._answer(question, endpoints, request, restarts=False, spent=0)

    async def _answer(
        self,
        question: Question,
        endpoints: Sequence[Endpoint],
        request: Request,
        *,
        restarts: bool,
        spent: int,
    ) -> AsyncGenerator[Any, None]:
        most = request.options.max_cost
        order = await self._order(question, endpoints, request)
        run = _Run(order, restarts=restarts, ends_at=self._end_of(request, order))
        while True:
            endpoint = run.endpoint
            attempt = question.attempt(
                endpoint,
                number=run.attempts + 1,
                call_id=new_id("call", now=self._clock.now(), entropy=os.urandom(10)),
            )
            try:
                check_cost(attempt.estimate, most=None if most is None else most - spent)
                adapter = self._providers.opened(endpoint.provider)
                if adapter is None:
                    adapter = await self._providers.adapter(endpoint.provider)
                prepare = getattr(adapter, "prepare", None)
                if prepare is not None:
                    begun_at = self._clock.monotonic()
                    async with aclosing(
                        prepare(endpoint.model, offline=request.options.offline)
                    ) as steps:
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
                tried = _Tried(attempt, await self._reserve(attempt, request, run), self._clock)
                self._in_flight[endpoint.provider, endpoint.model] += 1
                failure: AiexError | None = None
                try:
                    items = attempt.open(adapter, self._timeouts_of(endpoint, run))
                    attempt.was_sent = True
                    try:
                        async for item in items:
                            if attempt.take(item):
                                if tried.first_token is None:
                                    tried.begins()
                                yield item
                    finally:
                        await items.aclose()
                    if attempt.finish is None:
                        raise IncompleteStreamError(
                            "the reply had no end", provider=endpoint.provider
                        )
                    attempt.outcome = "ok"
                except AiexError as error:
                    attempt.outcome = error.code
                    failure = error
                    raise
                except (GeneratorExit, anyio.get_cancelled_exc_class()):
                    attempt.outcome = "cancelled" if attempt.finish is None else "ok"
                    raise
                finally:
                    self._in_flight[endpoint.provider, endpoint.model] -= 1
                    attempt.conclude(failure, at=tried.at)
                    if failure is None and attempt.outcome == "ok":
                        # Neither waits, as a rule; a scope would cost more than both.
                        await self._keep(tried, request)
                    else:
                        with anyio.move_on_after(_SECONDS_TO_RECORD, shield=True):
                            await self._keep(tried, request)
            except AiexError as error:
                broken = error
            else:
                yield attempt.ended()
                return
            if attempt.has_content:
                if not restarts:
                    told = question.failure(broken)
                    if told is not None:
                        yield told
                yield attempt.ended()
            spent += attempt.cost or 0
            await self._turn(run, broken, attempt)
            if attempt.has_content:
                yield Restarted(
                    attempt=run.attempts + 1,
                    provider=run.endpoint.provider,
                    model=run.endpoint.model,
                    reason=broken.message,
                )

    async def _order(
        self, question: Question, endpoints: Sequence[Endpoint], request: Request
    ) -> list[Endpoint]:
        """Return *endpoints* in the order of the strategy, those that are too small last."""
        if not endpoints:
            raise UnavailableError("no model can take the call")
        most = request.options.max_cost
        endpoints = allowed_of(request.principal, endpoints)
        counted = [
            msgspec.structs.replace(e, in_flight=self._in_flight[e.provider, e.model])
            for e in endpoints
        ]
        order = self._strategy(counted, entropy=self._entropy())
        estimates = [question.estimate(endpoint) for endpoint in order]
        if (
            question.can_be_counted
            and any(_is_tight(estimate, most) for estimate in estimates)
            and (await self._counter.sharpen())
        ):
            estimates = [question.estimate(endpoint, anew=True) for endpoint in order]
        sized = sorted(zip(order, estimates, strict=True), key=lambda pair: pair[1].fits is False)
        return [endpoint for endpoint, _ in sized]

    def _end_of(self, request: Request, order: Sequence[Endpoint]) -> float:
        """Return until when (monotonic seconds) the call may take, with all its attempts."""
        seconds = self._patience_for(order[0]).total
        if request.deadline is not None:
            left = (request.deadline - self._clock.now()).total_seconds()
            seconds = min(seconds, left)
        return self._clock.monotonic() + seconds

    def _patience_for(self, endpoint: Endpoint) -> Timeouts:
        return self._timeouts.get(endpoint.provider) or _USUAL_TIMEOUTS

    def _timeouts_of(self, endpoint: Endpoint, run: _Run) -> Timeouts:
        left = run.ends_at - self._clock.monotonic()
        return msgspec.structs.replace(self._patience_for(endpoint), total=left)

    async def _reserve(self, attempt: Attempt, request: Request, run: _Run) -> Reservation | None:
        """Set aside what *attempt* may use.

        Raises:
            DeadlineError: It is too late to ask anybody.
            LimitError: A limit or a budget is used up.
        """
        if run.ends_at - self._clock.monotonic() <= 0:
            raise DeadlineError("the deadline passed before a model was asked")
        if self._limiter is None:
            return None
        estimate = attempt.estimate
        return await self._limiter.reserve(
            request.principal,
            attempt.endpoint,
            input_tokens=estimate.input_tokens,
            output_tokens=estimate.output_tokens,
            cost_usd_micros=estimate.cost_usd_micros,
        )

    async def _keep(self, tried: _Tried, request: Request) -> None:
        """Record what a try came to, and settle what was set aside for it."""
        attempt = tried.attempt
        await self._sink.record(
            attempt.record(
                request,
                at=tried.at,
                seconds=self._clock.monotonic() - tried.started,
                first_token=tried.first_token,
            )
        )
        if tried.reservation is not None:
            await tried.reservation.settle(attempt.usage, cost_usd_micros=attempt.cost)

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


class _Tried:
    """A try under way: since when, and with what set aside for it."""

    __slots__ = ("_clock", "at", "attempt", "first_token", "reservation", "started")

    def __init__(self, attempt: Attempt, reservation: Reservation | None, clock: Clock) -> None:
        self.attempt = attempt
        self.reservation = reservation
        self._clock = clock
        self.at = clock.now()
        self.started = clock.monotonic()
        self.first_token: float | None = None

    def begins(self) -> None:
        """Note that the first of the reply has come."""
        self.first_token = self._clock.monotonic() - self.started


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
