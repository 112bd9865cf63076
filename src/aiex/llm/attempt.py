"""One try at one endpoint: what came of it, what it is billed for, and its record."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aiex.core import (
    AiexError,
    DeadlineError,
    Delta,
    Finish,
    ImagePart,
    ModelCall,
    ModelCalled,
    ModelEnded,
    ProviderError,
    ReasoningDelta,
    RefusalDelta,
    Request,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolResultPart,
    Usage,
    UsageTotal,
    WireBytes,
)
from aiex.llm.estimates import estimate_of
from aiex.llm.ports import Adapter, CallRecord, Endpoint, Estimate, Operation, Relayed, Timeouts
from aiex.llm.pricing import Pricing
from aiex.llm.tokens import TokenCounter

__all__ = ["Attempt", "CallQuestion", "Question", "RelayQuestion", "total_of"]

_PREFIX = 4096
_NOTHING = Usage()


class Attempt:
    """Gathers what one try gives.

    Args:
        endpoint: Who is asked.
        estimate: What it was thought to need.
        number: 1 for the first try of the call.
        call_id: Identifier of the record that is kept of it.
        counter: Counts what came of a reply that was cut.
        pricing: Prices it.

    Attributes:
        endpoint: Who is asked.
        estimate: What it was thought to need.
        number: 1 for the first try of the call.
        call_id: Identifier of the record that is kept of it.
        outcome: `ok`, or the code of the error, or `cancelled`.
        was_sent: Whether anything was sent to the provider.
        finish: The end of the reply; `None` until it has come.
        has_content: Whether any of the reply was seen.
        usage: What it is billed for; `None` if unknown. Known once `conclude` was called.
        is_estimate: Whether *usage* is our own count.
        cost: Micro-dollars; `None` when unpriced or *usage* is unknown.
    """

    __slots__ = (
        *("call_id", "cost", "counter", "endpoint", "estimate", "finish", "has_content"),
        *("is_estimate", "number", "outcome", "price_version", "pricing", "usage", "was_sent"),
    )

    def __init__(
        self,
        endpoint: Endpoint,
        estimate: Estimate,
        *,
        number: int,
        call_id: str,
        counter: TokenCounter,
        pricing: Pricing,
    ) -> None:
        self.endpoint = endpoint
        self.estimate = estimate
        self.number = number
        self.call_id = call_id
        self.counter = counter
        self.pricing = pricing
        self.outcome = "internal"
        self.was_sent = False
        self.finish: Finish | None = None
        self.has_content = False
        self.usage: Usage | None = None
        self.is_estimate = False
        self.cost: int | None = None
        self.price_version: str | None = None

    def open(self, adapter: Adapter, timeouts: Timeouts) -> AsyncGenerator[Any, None]:
        """Return what the try gives, item by item."""
        raise NotImplementedError

    def take(self, item: Any) -> bool:
        """Note *item*; return whether it is passed on.

        Nothing is passed on before the first content, because from then on no other endpoint
        can take over.
        """
        raise NotImplementedError

    def spoken(self) -> int:
        """Return the tokens that came of a reply, by our own count."""
        raise NotImplementedError

    @property
    def operation(self) -> Operation:
        """What is asked for."""
        return "chat"

    def words(self) -> tuple[str | None, str | None]:
        """Return prompt and reply to be kept."""
        return None, None

    def conclude(self, failure: AiexError | None, *, at: datetime) -> None:
        """Find out what the try is billed for.

        Args:
            failure: What ended it; `None` if it came to its end or was left.
            at: When it began, for the prices of that day.
        """
        endpoint, finish = self.endpoint, self.finish
        if finish is not None:
            self.usage = finish.usage
        elif self.has_content:
            self.usage = Usage(input_tokens=self.estimate.input_tokens, output_tokens=self.spoken())
            self.is_estimate = True
        elif not self.was_sent or (failure is not None and not _may_be_billed(failure)):
            self.usage, self.cost = _NOTHING, 0
            return
        usage = self.usage
        if usage is None:
            return
        price = self.pricing.cost(endpoint.provider, endpoint.model, usage, at=at)
        self.cost, self.price_version = (None, "unpriced") if price is None else price
        counted = self.estimate.counted
        if finish is not None and counted is not None:
            self.counter.learn(endpoint.model, counted, billed=usage.input_tokens)

    def ended(self) -> ModelEnded:
        """Return the event that ends it."""
        finish, usage = self.finish, self.usage
        return ModelEnded(
            provider=self.endpoint.provider,
            model=(finish.model if finish is not None else None) or self.endpoint.model,
            finish="error" if finish is None else finish.reason,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_usd_micros=self.cost,
            price_version=self.price_version,
            is_estimate=self.is_estimate,
        )

    def called(self, request: Request, *, seconds: float) -> ModelCalled:
        """Return what is published of it, which took *seconds*."""
        usage = self.usage
        return ModelCalled(
            id=self.call_id,
            request_id=request.id,
            provider=self.endpoint.provider,
            model=self.endpoint.model,
            outcome=self.outcome,
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            cost_usd_micros=self.cost,
            ms=int(seconds * 1000),
        )

    def record(
        self, request: Request, *, at: datetime, seconds: float, first_token: float | None
    ) -> CallRecord:
        """Return what is kept of it.

        Args:
            request: What it was for.
            at: When it began.
            seconds: How long it took.
            first_token: Seconds to its first content; `None` if none came.
        """
        finish, principal = self.finish, request.principal
        prompt, reply = self.words() if request.options.record_prompts else (None, None)
        return CallRecord(
            id=self.call_id,
            request_id=request.id,
            at=at,
            user=principal.user,
            interface=principal.interface,
            verb=request.verb,
            provider=self.endpoint.provider,
            model=self.endpoint.model,
            attempt=self.number,
            outcome=self.outcome,
            estimated_input_tokens=self.estimate.input_tokens,
            duration_ms=int(seconds * 1000),
            answered_by=None if finish is None else finish.model,
            finish=None if finish is None else finish.reason,
            usage=self.usage,
            usage_is_estimated=self.is_estimate,
            cost_usd_micros=self.cost,
            price_version=self.price_version,
            first_token_ms=None if first_token is None else int(first_token * 1000),
            prompt=prompt,
            reply=reply,
            team=principal.team,
            key_id=principal.key_id,
            operation=self.operation,
        )


def _may_be_billed(failure: AiexError) -> bool:
    if isinstance(failure, DeadlineError):
        return True
    return isinstance(failure, ProviderError) and failure.may_be_billed


class _CallAttempt(Attempt):
    """A try at a call of our own, whose deltas are looked at."""

    __slots__ = ("_beside", "_call", "_text")

    def __init__(
        self, call: ModelCall, endpoint: Endpoint, estimate: Estimate, **more: Any
    ) -> None:
        super().__init__(endpoint, estimate, **more)
        self._call = call
        self._text: list[str] = []
        self._beside: list[str] = []

    def open(self, adapter: Adapter, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        call = msgspec.structs.replace(self._call, model=self.endpoint.model)
        return adapter.stream(call, timeouts=timeouts)

    def take(self, item: Delta) -> bool:
        if isinstance(item, Finish):
            self.finish = item
            return True
        if not self.has_content:
            if _is_empty(item):
                return False
            self.has_content = True
        if isinstance(item, TextDelta):
            self._text.append(item.text)
        elif isinstance(item, ReasoningDelta | RefusalDelta):
            self._beside.append(item.text)
        elif isinstance(item, ToolCallDelta):
            self._beside.append(item.arguments)
        return True

    def spoken(self) -> int:
        said = "".join([*self._text, *self._beside])
        return self.counter.text(said, self.endpoint.model)

    def words(self) -> tuple[str | None, str | None]:
        return msgspec.json.encode(self._call.messages).decode(), "".join(self._text)


class _RelayAttempt(Attempt):
    """A try at what a client asked, whose bytes are passed on and not kept."""

    __slots__ = ("_relayed",)

    def __init__(
        self, relayed: Relayed, endpoint: Endpoint, estimate: Estimate, **more: Any
    ) -> None:
        super().__init__(endpoint, estimate, **more)
        self._relayed = relayed

    @property
    def operation(self) -> Operation:
        return self._relayed.operation

    def open(
        self, adapter: Adapter, timeouts: Timeouts
    ) -> AsyncGenerator[WireBytes | Finish, None]:
        return self._relayed.open(adapter, self.endpoint, timeouts=timeouts)

    def take(self, item: WireBytes | Finish) -> bool:
        if type(item) is Finish:
            self.finish = item
            return False
        self.has_content = True
        return True

    def spoken(self) -> int:
        return self._relayed.spoken()


class Question:
    """What is put to one endpoint after another: a call of our own, or what a client asked.

    Args:
        counter: Counts tokens, and learns from what is billed.
        pricing: Prices it.
    """

    is_ours = False
    """Whether we ask for ourselves: then time may be taken, to count closely or to wait."""

    def __init__(self, *, counter: TokenCounter, pricing: Pricing) -> None:
        self._counter = counter
        self._pricing = pricing
        self._estimates: dict[tuple[str, str], Estimate] = {}

    @property
    def affinity(self) -> str:
        """Name under which questions belong together; empty for none."""
        raise NotImplementedError

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that a model must have."""
        raise NotImplementedError

    def estimate(self, endpoint: Endpoint, *, anew: bool = False) -> Estimate:
        """Return what it would need at *endpoint*; made once unless *anew*."""
        key = endpoint.provider, endpoint.model
        found = None if anew else self._estimates.get(key)
        if found is None:
            found = self._estimates[key] = self._estimate(endpoint)
        return found

    def attempt(self, endpoint: Endpoint, *, number: int, call_id: str) -> Attempt:
        """Return a new try at *endpoint*."""
        raise NotImplementedError

    def failure(self, error: AiexError) -> WireBytes | None:
        """Return how an answer that has begun says *error*; `None` where the error is enough."""
        raise NotImplementedError

    def _estimate(self, endpoint: Endpoint) -> Estimate:
        raise NotImplementedError


class CallQuestion(Question):
    """A call of our own.

    Args:
        call: The call; its model is replaced by the endpoint's.
        counter: Counts its tokens.
        pricing: Prices it.
    """

    is_ours = True

    def __init__(self, call: ModelCall, *, counter: TokenCounter, pricing: Pricing) -> None:
        super().__init__(counter=counter, pricing=pricing)
        self._call = call

    @property
    def affinity(self) -> str:
        """What the prompt begins with: what a provider may still have in its cache."""
        parts = (p for message in self._call.messages for p in message.parts)
        return next((p.text[:_PREFIX] for p in parts if isinstance(p, TextPart)), "")

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that a model must have."""
        needs = {"tools"} if self._call.tools else set()
        for message in self._call.messages:
            for part in message.parts:
                if isinstance(part, ImagePart) or (
                    isinstance(part, ToolResultPart) and part.images
                ):
                    needs.add("vision")
        return frozenset(needs)

    def attempt(self, endpoint: Endpoint, *, number: int, call_id: str) -> Attempt:
        """Return a new try at *endpoint*."""
        return _CallAttempt(
            self._call,
            endpoint,
            self.estimate(endpoint),
            number=number,
            call_id=call_id,
            counter=self._counter,
            pricing=self._pricing,
        )

    def failure(self, error: AiexError) -> WireBytes | None:
        """Return `None`: who asked gets the error itself."""
        del error
        return None

    def _estimate(self, endpoint: Endpoint) -> Estimate:
        return estimate_of(self._call, endpoint, counter=self._counter, pricing=self._pricing)


class RelayQuestion(Question):
    """What a client asked in its own wire.

    Args:
        relayed: It.
        counter: Learns from what is billed.
        pricing: Prices it.
    """

    def __init__(self, relayed: Relayed, *, counter: TokenCounter, pricing: Pricing) -> None:
        super().__init__(counter=counter, pricing=pricing)
        self._relayed = relayed

    @property
    def affinity(self) -> str:
        """Name under which its conversation's calls belong together."""
        return self._relayed.affinity

    @property
    def needs(self) -> frozenset[str]:
        """Capabilities that a model must have."""
        return self._relayed.needs

    def attempt(self, endpoint: Endpoint, *, number: int, call_id: str) -> Attempt:
        """Return a new try at *endpoint*."""
        return _RelayAttempt(
            self._relayed,
            endpoint,
            self.estimate(endpoint),
            number=number,
            call_id=call_id,
            counter=self._counter,
            pricing=self._pricing,
        )

    def failure(self, error: AiexError) -> WireBytes | None:
        """Return the bytes that end the answer."""
        return WireBytes(data=self._relayed.failure(error))

    def _estimate(self, endpoint: Endpoint) -> Estimate:
        return self._relayed.estimate(endpoint)


def _is_empty(delta: Delta) -> bool:
    match delta:
        case ReasoningDelta():
            return not (delta.text or delta.signature or delta.encrypted)
        case TextDelta() | RefusalDelta():
            return not delta.text
        case _:
            return False


def total_of(ended: Sequence[ModelEnded], calls: int, price_version: str | None) -> UsageTotal:
    """Return what several calls used together; tries that gave nothing were billed nothing.

    Args:
        ended: The ends of those that gave anything.
        calls: Tries in all.
        price_version: Version of the price table.
    """
    costs = [e.cost_usd_micros for e in ended]
    last = ended[-1] if ended else None
    return UsageTotal(
        calls=calls,
        input_tokens=sum(e.input_tokens or 0 for e in ended),
        output_tokens=sum(e.output_tokens or 0 for e in ended),
        cost_usd_micros=None if None in costs else sum(cost or 0 for cost in costs),
        price_version=price_version if ended else None,
        provider=None if last is None else last.provider,
        model=None if last is None else last.model,
    )
