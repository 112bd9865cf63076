"""The rules by which one of several endpoints is chosen.

A strategy is a pure function: it is given the endpoints that can take a call, with what is known
of each, and a random number, and it returns them in the order in which they are to be tried. It
looks at nothing else, keeps nothing between calls and never drops an endpoint, so what it does can
be proved by trying every order of its input. Whether an endpoint is healthy, allowed or affordable
was decided before, and what is said of fallback chains holds whatever it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiex.llm.ports import Endpoint, Strategy

__all__ = [
    "LEAVES_TO_CHANCE",
    "STRATEGIES",
    "cost",
    "in_order",
    "latency",
    "load_balanced",
    "local_affinity",
    "random",
    "round_robin",
    "with_failover",
]


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


def random(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints* shuffled, each order as likely as another.

    Args:
        endpoints: Those that can take the call.
        entropy: A random number in [0, 1).
    """
    left = sorted(endpoints, key=_identity)
    order = []
    while left:
        # What the choice leaves of the number is as random as the whole of it was.
        entropy *= len(left)
        at = min(int(entropy), len(left) - 1)
        entropy -= at
        order.append(left.pop(at))
    return order


def round_robin(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints* with the one first whose turn is longest ago.

    Args:
        endpoints: Those that can take the call.
        entropy: Not used: everybody's turn comes.
    """
    del entropy
    return sorted(endpoints, key=lambda e: (e.turn, e.preference, *_identity(e)))


def load_balanced(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints* with the less loaded of two first that chance picks.

    The load is the time to the first token of late times the calls under way and this one (peak
    EWMA, as in Finagle's `Balancers.p2cPeakEwma`; two choices: Mitzenmacher, "The Power of Two
    Choices in Randomized Load Balancing", 2001). The least loaded one of all would be sent
    everything by everybody who looks at the same moment. The rest follow by their load.

    Args:
        endpoints: Those that can take the call.
        entropy: A random number in [0, 1).
    """
    if len(endpoints) < 2:
        return list(endpoints)
    load = _load_among(endpoints)
    found = sorted(endpoints, key=_identity)
    scaled = entropy * len(found)
    one = min(int(scaled), len(found) - 1)
    other = min(int((scaled - one) * (len(found) - 1)), len(found) - 2)
    other += other >= one
    best = min(found[one], found[other], key=load)
    rest = [endpoint for endpoint in found if endpoint is not best]
    return [best, *sorted(rest, key=load)]


def local_affinity(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints* with those of this machine first, then those of one's other machines.

    Among those that are equally near the less loaded of two goes first.

    Args:
        endpoints: Those that can take the call.
        entropy: A random number in [0, 1).
    """
    groups: list[list[Endpoint]] = [[], [], []]
    for endpoint in endpoints:
        groups[0 if endpoint.is_loopback else 1 if endpoint.node != "local" else 2].append(endpoint)
    return [endpoint for group in groups for endpoint in load_balanced(group, entropy=entropy)]


def cost(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints*, the cheapest for this call first and those without a price last.

    Args:
        endpoints: Those that can take the call.
        entropy: Not used: the order does not depend on chance.
    """
    del entropy
    return sorted(
        endpoints,
        key=lambda e: (
            e.cost_usd_micros is None,
            e.cost_usd_micros or 0,
            e.preference,
            e.in_flight,
            *_identity(e),
        ),
    )


def latency(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
    """Return *endpoints*, the one first whose first token came soonest of late.

    One that was never asked goes before them, so that it is known from then on.

    Args:
        endpoints: Those that can take the call.
        entropy: Not used: the order does not depend on chance.
    """
    del entropy
    return sorted(
        endpoints,
        key=lambda e: (
            -1.0 if e.first_token is None else e.first_token,
            e.in_flight,
            e.preference,
            *_identity(e),
        ),
    )


def _identity(endpoint: Endpoint) -> tuple[str, str, str]:
    return endpoint.provider, endpoint.model, endpoint.node


def _load_among(endpoints: Sequence[Endpoint]) -> Callable[[Endpoint], tuple[Any, ...]]:
    """Return what tells the load of one of *endpoints*; one never asked counts as the quickest."""
    known = [e.first_token for e in endpoints if e.first_token is not None]
    quickest = min(known, default=1.0)

    def load(endpoint: Endpoint) -> tuple[Any, ...]:
        seconds = quickest if endpoint.first_token is None else endpoint.first_token
        waits = seconds * (endpoint.in_flight + 1)
        return waits, endpoint.in_flight, endpoint.preference, *_identity(endpoint)

    return load


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


STRATEGIES: Mapping[str, Strategy] = {
    "in_order": in_order,
    "random": random,
    "round_robin": round_robin,
    "load_balanced": load_balanced,
    "local_affinity": local_affinity,
    "cost": cost,
    "latency": latency,
}
"""Every strategy by the name that configuration uses."""

LEAVES_TO_CHANCE = frozenset({random, round_robin, load_balanced, local_affinity})
"""Those that would as well take another endpoint, so that a call may stay with the one that has
its prompt in a cache."""
