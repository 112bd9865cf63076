"""One try at one endpoint: what came of it, what it is billed for, and its record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from aiex.core import (
    Delta,
    Finish,
    ModelCall,
    ModelEnded,
    ReasoningDelta,
    RefusalDelta,
    Request,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageTotal,
)
from aiex.llm.ports import CallRecord, Endpoint, Estimate
from aiex.llm.pricing import Pricing
from aiex.llm.tokens import TokenCounter

__all__ = ["Attempt", "total_of"]


class Attempt:
    """Gathers what one try gives.

    Args:
        call: The call, its model being the endpoint's.
        endpoint: Who is asked.
        estimate: What it was thought to need.
        number: 1 for the first try of the call.
        call_id: Identifier of the record that is kept of it.
        counter: Counts what came of a reply that was cut.
        pricing: Prices it.

    Attributes:
        call: The call.
        endpoint: Who is asked.
        estimate: What it was thought to need.
        number: 1 for the first try of the call.
        call_id: Identifier of the record that is kept of it.
        finish: The end of the reply; `None` until it has come.
        has_content: Whether any of the reply was seen.
        usage: What it is billed for; `None` if unknown. Known once `conclude` was called.
        is_estimate: Whether *usage* is our own count.
        cost: Micro-dollars; `None` when unpriced or *usage* is unknown.
    """

    def __init__(
        self,
        call: ModelCall,
        endpoint: Endpoint,
        estimate: Estimate,
        *,
        number: int,
        call_id: str,
        counter: TokenCounter,
        pricing: Pricing,
    ) -> None:
        self.call = call
        self.endpoint = endpoint
        self.estimate = estimate
        self.number = number
        self.call_id = call_id
        self._counter = counter
        self._pricing = pricing
        self._first_token: float | None = None
        self._text: list[str] = []
        self._beside: list[str] = []
        self.finish: Finish | None = None
        self.has_content = False
        self.usage: Usage | None = None
        self.is_estimate = False
        self.cost: int | None = None
        self._price_version: str | None = None

    def take(self, delta: Delta, *, seconds: float) -> bool:
        """Note *delta*, which came *seconds* after the start; return whether it says anything.

        Nothing is passed on before the first content, because from then on no other endpoint
        can take over.
        """
        if isinstance(delta, Finish):
            self.finish = delta
            return True
        if not self.has_content:
            if _is_empty(delta):
                return False
            self.has_content = True
            self._first_token = seconds
        if isinstance(delta, TextDelta):
            self._text.append(delta.text)
        elif isinstance(delta, ReasoningDelta | RefusalDelta):
            self._beside.append(delta.text)
        elif isinstance(delta, ToolCallDelta):
            self._beside.append(delta.arguments)
        return True

    def conclude(self, *, at: datetime, has_failed: bool) -> None:
        """Find out what the try is billed for.

        Args:
            at: When it began, for the prices of that day.
            has_failed: Whether it ended with an error; before any content that costs nothing.
        """
        model = self.endpoint.model
        if self.finish is not None:
            self.usage = self.finish.usage
        elif self.has_content:
            said = self._counter.text("".join([*self._text, *self._beside]), model)
            self.usage = Usage(input_tokens=self.estimate.input_tokens, output_tokens=said)
            self.is_estimate = True
        elif has_failed:
            self.usage, self.cost = Usage(), 0
            return
        if self.usage is None:
            return
        price = self._pricing.price(self.endpoint.provider, model, self.usage, at=at)
        self.cost = None if price is None else price.micros
        self._price_version = "unpriced" if price is None else price.version
        if self.finish is not None:
            self._counter.learn(
                model, estimated=self.estimate.input_tokens, billed=self.usage.input_tokens
            )

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
            price_version=self._price_version,
            is_estimate=self.is_estimate,
        )

    def record(self, request: Request, *, at: datetime, seconds: float, outcome: str) -> CallRecord:
        """Return what is kept of it."""
        finish = self.finish
        keeps_words = request.options.record_prompts
        first = self._first_token
        return CallRecord(
            id=self.call_id,
            request_id=request.id,
            at=at,
            user=request.principal.user,
            interface=request.principal.interface,
            verb=request.verb,
            provider=self.endpoint.provider,
            model=self.endpoint.model,
            attempt=self.number,
            outcome=outcome,
            estimated_input_tokens=self.estimate.input_tokens,
            duration_ms=int(seconds * 1000),
            answered_by=None if finish is None else finish.model,
            finish=None if finish is None else finish.reason,
            usage=self.usage,
            usage_is_estimated=self.is_estimate,
            cost_usd_micros=self.cost,
            price_version=self._price_version,
            first_token_ms=None if first is None else int(first * 1000),
            prompt=msgspec.json.encode(self.call.messages).decode() if keeps_words else None,
            reply="".join(self._text) if keeps_words else None,
            team=request.principal.team,
            key_id=request.principal.key_id,
        )


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
