"""What a question would cost, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiex.core import CostEstimate

__all__ = ["costs_in_words"]


def costs_in_words(estimates: Sequence[CostEstimate]) -> Iterator[str]:
    """Yield a line for each provider that could be asked."""
    for estimate in estimates:
        cost = estimate.cost_usd_micros
        price = "unpriced" if cost is None else f"at most ${cost / 1_000_000:.6f}"
        fits = "" if estimate.fits is not False else "  (does not fit its window)"
        yield (
            f"would send {estimate.input_tokens} tokens to {estimate.provider}:{estimate.model}, "
            f"reply up to {estimate.output_tokens}: {price}{fits}"
        )
