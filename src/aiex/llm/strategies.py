"""The rules by which one of several endpoints is chosen.

A strategy is a pure function: it is given the endpoints that can take a call and a random number,
and it returns them in the order in which they are to be tried. It looks at nothing else, keeps
nothing between calls and never drops an endpoint, so what it does can be proved by trying every
order of its input. Whether an endpoint is healthy, allowed or affordable was decided before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiex.llm.ports import Endpoint, Strategy

__all__ = ["STRATEGIES", "in_order", "with_failover"]


def in_order(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints* as the configuration prefers them.

    Among those that it prefers equally the ones on this machine come first, since they cost
    nothing, and then those with the fewest calls under way.

    Args:
        endpoints: Those that can take the call.
        entropy: Not used: the order does not depend on chance.
    """
    del entropy
    return sorted(
        endpoints,
        key=lambda endpoint: (
            endpoint.preference,
            not endpoint.is_loopback,
            endpoint.in_flight,
            endpoint.provider,
            endpoint.model,
        ),
    )


def with_failover(
    ordered: Sequence[Endpoint], failed: Endpoint, *, needs_larger_window: bool
) -> Sequence[Endpoint]:
    """Return what is left to try after *failed* failed.

    Args:
        ordered: Endpoints in the order of the strategy.
        failed: The one that failed.
        needs_larger_window: Whether it failed because the prompt did not fit: then only a
            window that is known to be larger can help.
    """
    left = ordered[ordered.index(failed) + 1 :]
    if not needs_larger_window:
        return left
    window = failed.context_tokens or 0
    return [e for e in left if e.context_tokens is not None and e.context_tokens > window]


STRATEGIES: Mapping[str, Strategy] = {"in_order": in_order}
"""Every strategy by the name that configuration uses."""
