"""Who answers a call: candidates, the one retry loop, failover, and a record of every attempt.

Before the first content everything that may pass is tried again and then elsewhere, inside the
deadline. After it nothing is spliced: either the verb asked for a restart, which is announced, or
the stream ends with the error. An endpoint that was named is the only one tried.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
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
    Finish,
    IncompleteStreamError,
    ModelCall,
    ModelChosen,
    ModelEnded,
    ReasoningDelta,
    Request,
    Restarted,
    TextDelta,
    UnavailableError,
    Usage,
    UsageTotal,
    new_id,
)
from aiex.llm.ports import CallRecord, CallSink, Endpoint, Limiter, Reservation, Strategy, Timeouts
from aiex.llm.pricing import Pricing
from aiex.llm.providers import Providers
from aiex.llm.retry import wait_before_retry
from aiex.llm.strategies import in_order, with_failover
from aiex.llm.tokens import TokenCounter
from aiex.runtime import Clock

__all__ = ["CallEvent", "Coordinator", "Estimate", "total_of"]

_DEFAULT_OUTPUT = 4096

CallEvent = ModelChosen | Restarted | ModelEnded | Delta
"""What comes out of a call; the last is `ModelEnded`, right after the `Finish`."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a call would cost at one endpoint.

    Attributes:
        provider: Name of the provider.
        model: Name of the model.
        input_tokens: Estimated tokens of the prompt.
        output_tokens: Most tokens of the reply.
        cost_usd_micros: Most that it would cost, micro-dollars; `None` when unpriced.
        fits: Whether prompt and reply fit into its window; `None` if the window is unknown.
    """

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd_micros: int | None
    fits: bool | None


class Coordinator:
    """Asks models. Entered before use; leaving closes every adapter that was opened.

    Args:
        providers: Who can be asked.
        pricing: Prices calls.
        counter: Counts tokens.
        sink: Takes the record of each attempt.
        clock: Where time comes from.
        timeouts: How long to wait, by provider; others get the defaults.
        limiter: Decides whether an attempt may be made; `None` for no limits.
        strategy: Orders the endpoints.
        entropy: Gives random numbers in [0, 1).
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
        timeouts: dict[str, Timeouts] | None = None,
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
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._providers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

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
        tokens = self._counter.call(msgspec.structs.replace(call, model=endpoint.model))
        output = call.max_output_tokens or _DEFAULT_OUTPUT
        window = endpoint.context_tokens
        return Estimate(
            provider=endpoint.provider,
            model=endpoint.model,
            input_tokens=tokens,
            output_tokens=output,
            cost_usd_micros=self._cost(endpoint, tokens, output),
            fits=None if window is None else tokens + output <= window,
        )

    def _cost(self, endpoint: Endpoint, input_tokens: int, output_tokens: int) -> int | None:
        usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
        price = self._pricing.price(endpoint.provider, endpoint.model, usage)
        return None if price is None else price.micros

    async def stream(
        self,
        call: ModelCall,
        endpoints: Sequence[Endpoint],
        *,
        request: Request,
        restarts: bool = False,
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield what happens until a reply is complete; closing it closes the upstream.

        Args:
            call: The call; its model is replaced by the endpoint's.
            endpoints: Who may answer; one alone when it was named.
            request: What it is for: principal, deadline and options.
            restarts: Whether a reply that broke off may begin anew, once.

        Raises:
            AiexError: Nobody answered, or the reply broke off after its first content.
        """
        run = _Attempts(request, self._strategy(endpoints, entropy=self._entropy()), restarts)
        while True:
            endpoint = run.endpoint
            estimate = self._estimate(call, endpoint)
            self._refuse_over_cost(request, estimate)
            run.attempt += 1
            yield ModelChosen(
                provider=endpoint.provider,
                model=endpoint.model,
                reason=run.reason,
                attempt=run.attempt,
                estimated_input_tokens=estimate.input_tokens,
            )
            attempt = _Attempt(self, call, endpoint, estimate, request, run)
            try:
                async with aclosing(attempt.deltas()) as deltas:
                    async for delta in deltas:
                        yield delta
            except AiexError as error:
                if not await self._goes_on(error, run, said=attempt.said):
                    raise run.final(error) from error
                if attempt.said:
                    yield Restarted(
                        attempt=run.attempt + 1,
                        provider=run.endpoint.provider,
                        model=run.endpoint.model,
                        reason=error.message,
                    )
                continue
            yield attempt.ended()
            return

    def _refuse_over_cost(self, request: Request, estimate: Estimate) -> None:
        most = request.options.max_cost
        if most is None:
            return
        model = f"{estimate.provider}:{estimate.model}"
        cost = estimate.cost_usd_micros
        if cost is None:
            raise BudgetError(
                f"{model} has no known price, so --max-cost cannot be kept",
                hint="name a priced model, or set its price in the configuration",
            )
        if cost > most:
            raise BudgetError(
                f"the call could cost ${cost / 1e6:.4f} at {model}, over the ${most / 1e6:.4f} "
                "allowed",
                hint="allow more with --max-cost, or lower --max-tokens",
            )

    async def _goes_on(self, error: AiexError, run: _Attempts, *, said: bool) -> bool:
        """Wait or turn to another endpoint; return whether there is a next attempt."""
        run.errors.append((run.endpoint, error))
        if said:
            if not run.restarts or not error.transient:
                return False
            run.restarts = False
        left = self._seconds_left(run.request)
        if left is not None and left <= 0:
            raise DeadlineError("the deadline passed before a model answered") from error
        wait = wait_before_retry(
            error, retries=run.retries, entropy=self._entropy(), seconds_left=left
        )
        if wait is not None:
            run.retries += 1
            run.reason = f"again after {error.code}"
            await self._sleep(wait)
            return True
        return run.turn(error)

    def _seconds_left(self, request: Request) -> float | None:
        if request.deadline is None:
            return None
        return (request.deadline - self._clock.now()).total_seconds()

    def timeouts_of(self, endpoint: Endpoint, request: Request) -> Timeouts:
        """Return how long to wait for *endpoint*, the request's deadline included."""
        timeouts = self._timeouts.get(endpoint.provider, Timeouts())
        left = self._seconds_left(request)
        if left is None or left >= timeouts.total:
            return timeouts
        return msgspec.structs.replace(timeouts, total=max(left, 0.001))


class _Attempts:
    """Where one request stands among its endpoints."""

    def __init__(self, request: Request, order: Sequence[Endpoint], restarts: bool) -> None:
        if not order:
            raise UnavailableError("no model can take the call")
        self.request = request
        self.left = list(order)
        self.restarts = restarts
        self.attempt = 0
        self.retries = 0
        self.reason = "named" if len(order) == 1 else "first in order"
        self.errors: list[tuple[Endpoint, AiexError]] = []

    @property
    def endpoint(self) -> Endpoint:
        return self.left[0]

    def turn(self, error: AiexError) -> bool:
        """Return whether another endpoint is left, which is the current one then."""
        larger = isinstance(error, ContextOverflowError)
        left = list(with_failover(self.left, self.endpoint, needs_larger_window=larger))
        if not left:
            return False
        self.reason = f"{self.endpoint.provider} failed: {error.code}"
        self.left = left
        self.retries = 0
        return True

    def final(self, error: AiexError) -> AiexError:
        """Return what to raise: the error, told of the others if several endpoints failed."""
        tried = dict(self.errors)
        if len(tried) > 1:
            told = "; ".join(f"{e.provider}:{e.model}: {said.message}" for e, said in tried.items())
            error.message = f"no model answered: {told}"
            error.args = (error.message,)
        return error


class _Attempt:
    """One try at one endpoint, from the reservation to its record."""

    def __init__(
        self,
        coordinator: Coordinator,
        call: ModelCall,
        endpoint: Endpoint,
        estimate: Estimate,
        request: Request,
        run: _Attempts,
    ) -> None:
        self._of = coordinator
        self._call = msgspec.structs.replace(call, model=endpoint.model)
        self._endpoint = endpoint
        self._estimate = estimate
        self._request = request
        self._number = run.attempt
        self._finish: Finish | None = None
        self._cost: int | None = None
        self._version: str | None = None
        self._first: float | None = None
        self._reply: list[str] = []
        self.said = False

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """Yield the reply; whatever happens, leave a record and settle the reservation."""
        reservation = await self._reserve()
        clock = self._of._clock  # noqa: SLF001 - two classes of one state machine
        at, started = clock.now(), clock.monotonic()
        outcome = "cancelled"
        try:
            adapter = await self._of.providers.adapter(self._endpoint.provider)
            timeouts = self._of.timeouts_of(self._endpoint, self._request)
            async with aclosing(adapter.stream(self._call, timeouts=timeouts)) as deltas:
                async for delta in deltas:
                    if isinstance(delta, Finish):
                        self._finish = delta
                    else:
                        self._note(delta, clock.monotonic() - started)
                    yield delta
            if self._finish is None:
                raise IncompleteStreamError(
                    "the reply had no end", provider=self._endpoint.provider
                )
            outcome = "ok"
        except AiexError as error:
            outcome = error.code
            raise
        finally:
            with anyio.CancelScope(shield=True):
                self._price()
                if reservation is not None:
                    usage = self._finish.usage if self._finish is not None else None
                    await reservation.settle(usage, cost_usd_micros=self._cost)
                duration = clock.monotonic() - started
                await self._of._sink.record(  # noqa: SLF001
                    self._record(at, outcome, duration_ms=int(duration * 1000))
                )

    def _record(self, at: datetime, outcome: str, *, duration_ms: int) -> CallRecord:
        finish = self._finish
        keep = self._request.options.record_prompts
        return CallRecord(
            id=new_id("call", now=at, entropy=os.urandom(10)),
            request_id=self._request.id,
            at=at,
            user=self._request.principal.user,
            interface=self._request.principal.interface,
            verb=self._request.verb,
            provider=self._endpoint.provider,
            model=self._endpoint.model,
            attempt=self._number,
            outcome=outcome,
            estimated_input_tokens=self._estimate.input_tokens,
            duration_ms=duration_ms,
            answered_by=None if finish is None else finish.model,
            finish=None if finish is None else finish.reason,
            usage=None if finish is None else finish.usage,
            cost_usd_micros=self._cost,
            price_version=self._version,
            first_token_ms=None if self._first is None else int(self._first * 1000),
            prompt=msgspec.json.encode(self._call.messages).decode() if keep else None,
            reply="".join(self._reply) if keep else None,
        )

    async def _reserve(self) -> Reservation | None:
        limiter = self._of._limiter  # noqa: SLF001
        if limiter is None:
            return None
        return await limiter.reserve(
            self._request.principal,
            self._endpoint,
            input_tokens=self._estimate.input_tokens,
            output_tokens=self._estimate.output_tokens,
            cost_usd_micros=self._estimate.cost_usd_micros,
        )

    def _note(self, delta: Delta, seconds: float) -> None:
        if isinstance(delta, TextDelta) and not delta.text:
            return
        if isinstance(delta, ReasoningDelta) and not delta.text:
            return
        self.said = True
        if self._first is None:
            self._first = seconds
        if isinstance(delta, TextDelta) and self._request.options.record_prompts:
            self._reply.append(delta.text)

    def _price(self) -> None:
        usage = self._finish.usage if self._finish is not None else None
        if usage is None:
            return
        price = self._of.pricing.price(self._endpoint.provider, self._endpoint.model, usage)
        self._cost = None if price is None else price.micros
        self._version = "unpriced" if price is None else price.version
        self._of.counter.learn(
            self._endpoint.model,
            estimated=self._estimate.input_tokens,
            billed=usage.input_tokens,
        )

    def ended(self) -> ModelEnded:
        """Return the event that ends a complete reply."""
        usage = self._finish.usage if self._finish is not None else None
        return ModelEnded(
            provider=self._endpoint.provider,
            model=(self._finish.model if self._finish is not None else None)
            or self._endpoint.model,
            finish=self._finish.reason if self._finish is not None else "unknown",
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_usd_micros=self._cost,
        )


def total_of(ended: Sequence[ModelEnded], calls: int, price_version: str | None) -> UsageTotal:
    """Return what several replies used together.

    Args:
        ended: The ends of the complete ones.
        calls: Attempts in all.
        price_version: Version of the price table.
    """
    known = all(e.cost_usd_micros is not None for e in ended) and calls == len(ended)
    last = ended[-1] if ended else None
    return UsageTotal(
        calls=calls,
        input_tokens=sum(e.input_tokens or 0 for e in ended),
        output_tokens=sum(e.output_tokens or 0 for e in ended),
        cost_usd_micros=sum(e.cost_usd_micros or 0 for e in ended) if known else None,
        price_version=price_version if ended else None,
        provider=None if last is None else last.provider,
        model=None if last is None else last.model,
    )
