"""When a failed call is tried again, and after how long: pure rules.

Full jitter over a doubling wait (AWS Architecture Blog, "Exponential Backoff And Jitter", read
2026-11-23); what the provider asked for is the least wait; a wait past the deadline is no wait.
"""

from __future__ import annotations

from aiex.core import AiexError

__all__ = ["FIRST_WAIT", "LONGEST_WAIT", "MOST_RETRIES", "RetryBudget", "wait_before_retry"]

MOST_RETRIES = 2
"""Tries at one endpoint after the first."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0


def wait_before_retry(
    error: AiexError, *, retries: int, entropy: float, seconds_left: float | None
) -> float | None:
    """Return the seconds to wait before the same endpoint is tried again; `None` not to.

    Args:
        error: What went wrong.
        retries: Tries at this endpoint after the first, so far.
        entropy: A random number in [0, 1).
        seconds_left: Until the deadline; `None` without one.

    Example:
        >>> from aiex.core import OverloadedError
        >>> wait_before_retry(OverloadedError("busy"), retries=1, entropy=0.5, seconds_left=None)
        0.5
    """
    if not error.transient or retries >= MOST_RETRIES:
        return None
    wait = entropy * min(LONGEST_WAIT, FIRST_WAIT * float(2**retries))
    if error.retry_after is not None:
        wait += error.retry_after
    if seconds_left is not None and wait >= seconds_left:
        return None
    return wait


class RetryBudget:
    """How many retries there may be: a share of the requests, so that no storm begins.

    Every request puts in a part of a retry, and every retry takes a whole one out; what is not
    used is kept up to a bound.

    Args:
        share: Retries a request, 0 to 1.
        most: Retries that can be kept, and what there is at first: a process that asks little may
            retry freely.

    Example:
        >>> budget = RetryBudget(share=0.5, most=1)
        >>> [budget.take(), budget.take()]
        [True, False]
        >>> budget.asked()
        >>> budget.asked()
        >>> budget.take()
        True
    """

    def __init__(self, *, share: float = 0.2, most: float = 10.0) -> None:
        self._share = share
        self._most = most
        self._left = most

    def asked(self) -> None:
        """Note that a request begins."""
        left = self._left + self._share
        self._left = min(self._most, left)

    def take(self) -> bool:
        """Return whether there may be a retry, which is taken then."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
