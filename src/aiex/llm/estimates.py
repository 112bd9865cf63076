"""What a call would need at an endpoint, before it is made."""

from __future__ import annotations

import msgspec

from aiex.core import BudgetError, ModelCall, TextPart
from aiex.llm.ports import Endpoint, Estimate
from aiex.llm.pricing import Pricing
from aiex.llm.tokens import TokenCounter

__all__ = ["DEFAULT_OUTPUT", "check_cost", "estimate_of"]

DEFAULT_OUTPUT = 4096
"""Tokens that a reply is taken to have at most when its call sets no bound."""


def estimate_of(
    call: ModelCall, endpoint: Endpoint, *, counter: TokenCounter, pricing: Pricing
) -> Estimate:
    """Return what *call* would need at *endpoint*."""
    call = msgspec.structs.replace(call, model=endpoint.model)
    counted = counter.measure(call)
    tokens = counter.tokens(counted, endpoint.model)
    output = call.max_output_tokens or DEFAULT_OUTPUT
    window = endpoint.context_tokens
    return Estimate(
        provider=endpoint.provider,
        model=endpoint.model,
        input_tokens=tokens,
        output_tokens=output,
        cost_usd_micros=pricing.bound(
            endpoint.provider,
            endpoint.model,
            input_tokens=tokens,
            output_tokens=output,
            writes_cache=any(
                isinstance(p, TextPart) and p.cache for m in call.messages for p in m.parts
            ),
        ),
        fits=None if window is None else tokens + output <= window,
        counted=counted,
    )


def check_cost(estimate: Estimate, *, most: int | None) -> None:
    """Return if the call costs at most *most* micro-dollars; `None` allows any cost.

    Raises:
        BudgetError: It could cost more, or nobody knows what it costs.
    """
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
            f"the call could cost ${cost / 1e6:.4f} at {model}, over the "
            f"${max(most, 0) / 1e6:.4f} that are left",
            hint="allow more with --max-cost, or lower --max-tokens",
        )
