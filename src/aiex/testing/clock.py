"""A clock that stands still until it is turned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["FakeClock"]


class FakeClock:
    """Satisfies `runtime.Clock`; starts at 2026-01-01 00:00 UTC unless told otherwise."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the wall time, aware, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Turn both times forward by *seconds*."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
