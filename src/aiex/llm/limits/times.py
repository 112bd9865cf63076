"""The store's time, numbered in labels, as a process knows it: between two bounds.

Wall clocks of processes are never asked. A process asks the store what time it is, notes its own
monotonic clock before and after, and from then on knows the store's time between a lower and an
upper bound. All times of the store are integers here, microseconds since 1970, UTC.

**Why no window exceeds its limit.** A window of W seconds is cut into N sub-windows of W/N = w;
each is numbered by the store's time, and that number is the *label* of what is spent in it. The
ledger grants a lease in label k only while labels k - reach .. k hold no more than L together.
With one clock a window that ends in label k begins in label k - N: reach = N, N + 1 labels (61).

Now let the clocks that processes were told differ by up to s, of which the floor m = s div w is
whole labels and d = s - m w the rest. Let t be the time of the slowest clock, so that a process
reads c with t <= c <= t + s. It spends under label k only once its *lower* bound has reached k w,
thus at t >= k w - s. What it spends while its *upper* bound is below (k + 1) w - d is *early*,
thus at t < (k + 1) w - d. So what is early under label k happens in [k w - s, (k + 1) w - d),
which is m + 1 labels long, and a window of W meets N + m + 1 of these: reach = N + m.

What is spent afterwards, until the lower bound shows the next label, is *late* and is kept apart
in the ledger. It happens before (k + 2) w - d (a process that knows the time too badly to be sure
of that stops), one label later than what is early. So a window meets what is late of one label
more, and that is what is summed: all of labels k - reach .. k, and what is late of label
k - reach - 1. Stopping at (k + 1) w - d would make that sum unnecessary but refuse everybody for
d in every w seconds; summing a whole label more would cost 1/N of the limit. Under load nearly
nothing is late, since what a label frees is spent at its begin.

With s = 0.25 s and W = 60 s: m = 0, d = 0.25 s, 61 labels and what is late of one more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiex.llm.limits.values import Limit, Period

__all__ = ["Calendar", "Grid", "Sliding", "StoreTime", "grid_of", "to_datetime", "to_micros"]

_LABELS = 60
_NARROWEST = 100_000  # less and a process would spend its time asking the store for leases
_DRIFT = 0.0005  # the most by which a disciplined clock is slewed, and twice what quartz drifts
_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_DAY = 86_400 * _SECOND
_MONDAY = 4  # 1970-01-05


def to_micros(at: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (at - _EPOCH) // _MICRO


def to_datetime(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware time."""
    return _EPOCH + micros * _MICRO


class Grid(Protocol):
    """How the store's time is numbered for one window."""

    @property
    def name(self) -> str:
        """Name of the window, part of the key of its ledgers."""

    @property
    def reach(self) -> int:
        """How many labels before the present one count with it."""

    @property
    def has_tail(self) -> bool:
        """Whether what is late of the label before those counts too."""

    @property
    def slack(self) -> int:
        """How many labels a sound clock may be behind another one's."""

    def label(self, at: int) -> int:
        """Return the label of a time."""

    def start(self, label: int) -> int:
        """Return when a label begins."""

    def late_from(self, label: int) -> int:
        """Return from when on what is spent under a label is late."""

    def dead_from(self, label: int) -> int:
        """Return from when on nothing may be spent under a label."""


class Sliding:
    """A window that slides.

    Args:
        window: Its length, seconds.
        skew: By how much two clocks of the store may differ, seconds.
    """

    has_tail = True

    def __init__(self, window: float, *, skew: float) -> None:
        micros, apart = round(window * _SECOND), round(skew * _SECOND)
        labels = max(1, min(_LABELS, micros // _NARROWEST))
        self._width = -(-micros // labels)
        whole, self._rest = divmod(apart, self._width)
        self.name = f"{micros}us"
        self.reach = labels + whole
        self.slack = whole + 2

    def label(self, at: int) -> int:
        """Return the label of a time."""
        return at // self._width

    def start(self, label: int) -> int:
        """Return when a label begins."""
        return label * self._width

    def late_from(self, label: int) -> int:
        """Return from when on what is spent under a label is late."""
        return (label + 1) * self._width - self._rest

    def dead_from(self, label: int) -> int:
        """Return from when on nothing may be spent under a label."""
        return (label + 2) * self._width - self._rest


class Calendar:
    """Calendar periods in UTC, one label each.

    What is spent about the end of a period counts to the one that the process was told.

    Args:
        period: Which.
    """

    reach = 0
    has_tail = False
    slack = 1

    def __init__(self, period: Period) -> None:
        self.name: str = period

    def label(self, at: int) -> int:
        """Return the label of a time."""
        if self.name == "month":
            day = to_datetime(at)
            return day.year * 12 + day.month - 1
        days = at // _DAY
        return days if self.name == "day" else (days - _MONDAY) // 7

    def start(self, label: int) -> int:
        """Return when a label begins."""
        if self.name == "month":
            return to_micros(datetime(label // 12, label % 12 + 1, 1, tzinfo=UTC))
        return (label if self.name == "day" else label * 7 + _MONDAY) * _DAY

    def late_from(self, label: int) -> int:
        """Return the end of the period: nothing is late."""
        return self.start(label + 2)

    def dead_from(self, label: int) -> int:
        """Return from when on nothing may be spent under a label."""
        return self.start(label + 1) + _SECOND


def grid_of(limit: Limit, *, skew: float) -> Grid:
    """Return how time is numbered for *limit*, *skew* in seconds."""
    if isinstance(limit.window, str):
        return Calendar(limit.window)
    return Sliding(limit.window, skew=skew)


class StoreTime:
    """Bounds of the store's time by the monotonic clock of this process.

    Times of the monotonic clock are float seconds.
    """

    def __init__(self) -> None:
        self._at = 0
        self._before = 0.0
        self._after = 0.0
        self.is_known = False

    def told(self, before: float, at: int, after: float) -> None:
        """Note that the store said *at* some time between *before* and *after*.

        A slow answer does not replace what is known better, unless the two contradict.
        """
        if self.is_known and after - before > self.uncertainty(after):
            agrees = self.lower(after) <= at + round((after - before) * _SECOND) and (
                self.upper(after) >= at
            )
            if agrees:
                return
        self._before, self._at, self._after = before, at, after
        self.is_known = True

    def uncertainty(self, now: float) -> float:
        """Return how far the bounds are apart at *now*, seconds."""
        return (self.upper(now) - self.lower(now)) / _SECOND

    def lower(self, now: float) -> int:
        """Return a time that the store's has reached at *now*."""
        return self._at + int(max(0.0, now - self._after) * _SECOND * (1 - _DRIFT))

    def upper(self, now: float) -> int:
        """Return a time that the store's has not passed at *now*."""
        return self._at + 1 + int((now - self._before) * _SECOND * (1 + _DRIFT))

    def until_surely(self, at: int) -> float:
        """Return from when on the store's time has surely reached *at*."""
        return self._after + (at - self._at) / (_SECOND * (1 - _DRIFT))

    def until_possibly(self, at: int) -> float:
        """Return from when on the store's time may have reached *at*."""
        return self._before + (at - 1 - self._at) / (_SECOND * (1 + _DRIFT))
