"""Who answers a call: the order of endpoints, the one retry loop, failover, restarts, records.

Before the first content everything that may pass is tried again and then elsewhere, inside the
deadline. After it nothing is spliced: either the verb asked for a restart, which is announced, or
the stream ends with an error that says what was used. What was named is the only one tried.

A call of our own (`stream`) and what a client asked in its own wire (`relay`) go the same way. It
is a hot path: what costs microseconds is done once a call, and nothing a delta.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, NamedTuple, Self

import anyio
import msgspec

from aiex.core import (
    AiexError,
    BudgetError,
    ContextOverflowError,
    DeadlineError,
    Delta,
    Entropy,
    IncompleteStreamError,
    InvalidCallError,
    ModelCall,
    ModelChosen,
    ModelEnded,
    OverloadedError,
    Progress,
    RateLimitError,
    Request,
    Restarted,
    UnavailableError,
    UsageError,
    WireBytes,
    nearest,
    new_id,
)
from aiex.llm.affinity import Affinity
from aiex.llm.attempt import Attempt, CallQuestion, Question, RelayQuestion
from aiex.llm.estimates import DEFAULT_OUTPUT, check_cost, estimate_of
from aiex.llm.health import Health, Place
from aiex.llm.ports import (
    Adapter,
    Announce,
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
from aiex.llm.retry import LONGEST_WAIT, RetryBudget, wait_before_retry
from aiex.llm.strategies import LEAVES_TO_CHANCE, STRATEGIES, in_order, with_failover
from aiex.llm.tokens import TokenCounter
from aiex.runtime import Clock

__all__ = ["CallEvent", "Coordinator"]

_SECONDS_TO_RECORD = 5.0
_SECONDS_TO_PROBE = 2.0
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
        strategy: Orders the endpoints, where a request names none.
        health: Knows who can be asked; `None` for one that knows nothing yet.
        announce: Told of every call that ended; `None` to tell nobody.
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
        health: Health | None = None,
        announce: Announce | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._providers = providers
        self._pricing = pricing
        self._counter = counter
        self._sink = sink
        self._clock = clock
        self._entropy = entropy
        self._random_bytes = Entropy()
        self._timeouts = timeouts or {}
        self._limiter = limiter
        self._strategy = strategy
        self._sleep = sleep
        self._announce = announce
        self._health = health or Health(announce=announce)
        self._affinity = Affinity()
        self._retries = RetryBudget()
        self._is_watched = False
        self._hears = getattr(limiter, "told", None)
        self._told: dict[str, object] = {}

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
    def health(self) -> Health:
        """Who can be asked, and how busy they are."""
        return self._health

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
        run = _Run(order, restarts=restarts, ends_at=self._end_of(request, order.endpoints))
        self._retries.asked()
        while True:
            endpoint = run.endpoint
            attempt = question.attempt(
                endpoint,
                number=run.attempts + 1,
                call_id=new_id("call", now=self._clock.now(), entropy=self._random_bytes(10)),
            )
            try:
                if most is not None:
                    check_cost(attempt.estimate, most=most - spent)
                place = self._health.place(endpoint)
                if not place.is_free and not run.retries:
                    await self._look_at(endpoint)
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
                tried = _Tried(attempt, place, self._clock)
                tried.reservation = await self._reserve(attempt, request, run)
                self._health.begin(place)
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
                    self._note(tried, failure, adapter)
                    if attempt.outcome == "ok":
                        # Neither waits, as a rule; a scope would cost more than both.
                        await self._keep(tried, request)
                    else:
                        with anyio.move_on_after(_SECONDS_TO_RECORD, shield=True):
                            await self._keep(tried, request)
            except AiexError as error:
                broken = error
            else:
                if run.affinity:
                    self._affinity.note(run.affinity, endpoint)
                yield attempt.ended()
                return
            if attempt.has_content:
                if not restarts:
                    told = question.failure(broken)
                    if told is not None:
                        yield told
                yield attempt.ended()
            spent += attempt.cost or 0
            await self._turn(run, broken, attempt, waits=question.is_ours)
            if attempt.has_content:
                yield Restarted(
                    attempt=run.attempts + 1,
                    provider=run.endpoint.provider,
                    model=run.endpoint.model,
                    reason=broken.message,
                )

    async def _order(
        self, question: Question, endpoints: Sequence[Endpoint], request: Request
    ) -> _Order:
        """Return *endpoints* in the order in which they are to be tried.

        Those that are too small for the call come last, and before them those that are stopped.
        """
        if not endpoints:
            raise UnavailableError("no model can take the call")
        options = request.options
        endpoints = _able(question, allowed_of(request.principal, endpoints))
        estimates = [question.estimate(endpoint) for endpoint in endpoints]
        if (
            question.is_ours
            and any(_is_tight(estimate, options.max_cost) for estimate in estimates)
            and (await self._counter.sharpen())
        ):
            estimates = [question.estimate(endpoint, anew=True) for endpoint in endpoints]
        strategy = self._strategy if options.strategy is None else _named(options.strategy)
        if len(endpoints) == 1:
            return _Order(list(endpoints), "the only one", "")
        known = [
            self._known(endpoint, estimate)
            for endpoint, estimate in zip(endpoints, estimates, strict=True)
        ]
        order = list(strategy(known, entropy=self._entropy()))
        now = self._clock.monotonic()
        groups: dict[Endpoint, tuple[bool, bool, int]] = {
            endpoint: (
                question.estimate(endpoint).fits is False,
                not self._may_ask(endpoint, now),
                endpoint.step,
            )
            for endpoint in order
        }
        order.sort(key=groups.__getitem__)
        reason = "first in order" if strategy is in_order else f"first by {_name_of(strategy)}"
        affinity = question.affinity if strategy in LEAVES_TO_CHANCE else ""
        if affinity:
            equals = [e for e in order if groups[e] == groups[order[0]]]
            home = self._affinity.prefer(affinity, equals)
            if home is not None and home is not order[0]:
                order.remove(home)
                order.insert(0, home)
                reason = "its cache may know the prompt"
        return _Order(order, reason, affinity)

    def _may_ask(self, endpoint: Endpoint, now: float) -> bool:
        """Return whether *endpoint* is well, or a probe that nobody else makes may show that."""
        if self._health.allows(endpoint, now=now):
            return True
        return not self._is_watched and self._health.wants_probe(endpoint, now=now)

    def _known(self, endpoint: Endpoint, estimate: Estimate) -> Endpoint:
        """Return *endpoint* with what a strategy may want to know of it."""
        place = self._health.place(endpoint)
        return msgspec.structs.replace(
            endpoint,
            in_flight=place.in_flight,
            first_token=place.first_token,
            cost_usd_micros=estimate.cost_usd_micros,
            turn=place.turn,
        )

    async def _look_at(self, endpoint: Endpoint) -> None:
        """Return if *endpoint*, which was stopped, may be asked, by a probe where one is due.

        Raises:
            RateLimitError: Its provider asked to be left alone for longer.
            AiexError: The probe failed.
        """
        now = self._clock.monotonic()
        wait = self._health.cooling(endpoint, now=now)
        if wait > 0:
            raise RateLimitError(
                f"{endpoint.provider} asked to be left alone for {wait:.1f} s more",
                retry_after=wait,
            )
        if self._health.wants_probe(endpoint, now=now):
            self._health.probing(endpoint.provider)
            error = await self._probe(endpoint.provider)
            if error is not None:
                raise error

    async def _probe(self, name: str) -> AiexError | None:
        """Ask the provider *name* whether it is there; return what is wrong with it."""
        failure: AiexError | None = None
        has_ended = False
        try:
            with anyio.fail_after(_SECONDS_TO_PROBE):
                adapter = await self._providers.adapter(name)
                await adapter.probe()
            has_ended = True
        except AiexError as error:
            failure, has_ended = error, True
        except TimeoutError:
            failure = OverloadedError(f"{name} did not answer a probe", provider=name)
            has_ended = True
        finally:
            if not has_ended:
                self._health.unprobed(name)
        self._health.probed(name, failure, now=self._clock.monotonic())
        return failure

    async def watch(self, *, every: float = 1.0, idle: float = 15.0) -> None:
        """Probe who is stopped or idle, and keep routes fresh, until cancelled.

        For a process that stays: with it no request waits for a probe or for who serves what.

        Args:
            every: Seconds between two looks.
            idle: Seconds without a call after which a provider on this machine is probed.
        """
        self._is_watched = True
        try:
            while True:
                async with anyio.create_task_group() as tasks:
                    for name in self._health.due(now=self._clock.monotonic(), idle=idle):
                        tasks.start_soon(self._probe, name)
                    tasks.start_soon(self._providers.refresh)
                await self._sleep(every)
        finally:
            self._is_watched = False

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
        run.is_refused = True
        reservation = await self._limiter.reserve(
            request.principal,
            attempt.endpoint,
            input_tokens=estimate.input_tokens,
            output_tokens=estimate.output_tokens,
            cost_usd_micros=estimate.cost_usd_micros,
        )
        run.is_refused = False
        return reservation

    def _note(self, tried: _Tried, failure: AiexError | None, adapter: Adapter) -> None:
        """Note what a try came to: for its bill, for health, and for the limits."""
        attempt, endpoint = tried.attempt, tried.attempt.endpoint
        attempt.conclude(failure, at=tried.at)
        now = self._clock.monotonic()
        if failure is not None:
            self._health.failed(endpoint, tried.place, failure, now=now)
        elif attempt.outcome == "ok":
            self._health.succeeded(endpoint, tried.place, now=now, first_token=tried.first_token)
        else:
            self._health.left(tried.place)
        if self._hears is not None:
            rates = getattr(adapter, "rate_limits", None)
            if rates and rates is not self._told.get(endpoint.provider):
                self._told[endpoint.provider] = rates
                self._hears(endpoint, rates)

    async def _keep(self, tried: _Tried, request: Request) -> None:
        """Record what a try came to, and settle what was set aside for it."""
        attempt = tried.attempt
        seconds = self._clock.monotonic() - tried.started
        record = attempt.record(
            request, at=tried.at, seconds=seconds, first_token=tried.first_token
        )
        await self._sink.record(record)
        if self._announce is not None:
            self._announce(attempt.called(request, seconds=seconds))
        if tried.reservation is not None:
            await tried.reservation.settle(attempt.usage, cost_usd_micros=attempt.cost)

    async def _turn(self, run: _Run, failure: AiexError, attempt: Attempt, *, waits: bool) -> None:
        """Wait, or turn to another endpoint; raise if there is no next attempt.

        Args:
            run: Where the call stands.
            failure: What went wrong.
            attempt: With what.
            waits: Whether a long wait is better than an error that says how long it would be.
        """
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
        # Somebody else who can answer now is better than a long wait.
        is_patient = waits and len(run.left) == 1
        wait = wait_before_retry(
            failure,
            retries=run.retries,
            entropy=self._entropy(),
            seconds_left=left if is_patient else min(left, LONGEST_WAIT),
        )
        if wait is not None and self._stays(run, attempt, waits=waits):
            run.again(failure)
            await self._sleep(wait)
        elif not run.elsewhere(failure):
            raise run.final(failure)

    def _stays(self, run: _Run, attempt: Attempt, *, waits: bool) -> bool:
        """Return whether the same endpoint is tried again, which takes of the retries there are."""
        now = self._clock.monotonic()
        if not self._health.allows(run.endpoint, now=now) and any(
            self._may_ask(endpoint, now) for endpoint in run.left[1:]
        ):
            return False
        if run.is_refused:  # by our own limits, which nobody's retries can hurt
            return waits
        return not attempt.was_sent or self._retries.take()


class _Tried:
    """A try under way: where, since when, and with what set aside for it."""

    __slots__ = ("_clock", "at", "attempt", "first_token", "place", "reservation", "started")

    def __init__(self, attempt: Attempt, place: Place, clock: Clock) -> None:
        self.attempt = attempt
        self.place = place
        self.reservation: Reservation | None = None
        self._clock = clock
        self.at = clock.now()
        self.started = clock.monotonic()
        self.first_token: float | None = None

    def begins(self) -> None:
        """Note that the first of the reply has come."""
        self.first_token = self._clock.monotonic() - self.started


class _Order(NamedTuple):
    """Who is asked, in which order, why the first one, and what binds the call to it."""

    endpoints: list[Endpoint]
    reason: str
    affinity: str


class _Run:
    """Where one call stands among its endpoints."""

    def __init__(self, order: _Order, *, restarts: bool, ends_at: float) -> None:
        self.left = order.endpoints
        self.reason = order.reason
        self.affinity = order.affinity
        self.restarts = restarts
        self.ends_at = ends_at
        self.attempts = 0
        self.retries = 0
        self.is_refused = False
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


def _name_of(strategy: Strategy) -> str:
    return next((name for name, one in STRATEGIES.items() if one is strategy), "its strategy")


def _named(name: str) -> Strategy:
    strategy = STRATEGIES.get(name)
    if strategy is None:
        near = nearest(name, STRATEGIES)
        raise UsageError(
            f"there is no strategy {name!r}",
            hint=f"did you mean {near}?" if near else f"strategies: {', '.join(STRATEGIES)}",
        )
    return strategy


def _able(question: Question, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Return those of *endpoints* that are not known to lack what is needed.

    One that is alone stays: it was named, and its provider can say best what it cannot do.

    Raises:
        InvalidCallError: All lack it.
    """
    if len(endpoints) == 1:
        return endpoints
    needs = question.needs
    if not needs:
        return endpoints
    able = [e for e in endpoints if not e.capabilities or needs.issubset(e.capabilities)]
    if not able:
        names = ", ".join(f"{e.provider}:{e.model}" for e in endpoints)
        raise InvalidCallError(
            f"none of {names} can take {' and '.join(sorted(needs))}",
            hint="name a model that can; aiex model list --json shows what each can do",
        )
    return able


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
