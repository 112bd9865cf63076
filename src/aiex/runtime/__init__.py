"""Staying alive, knowing no domain: supervisor, processes, clock."""

from aiex.runtime.clock import (
    Clock,
    SystemClock,
)

__all__ = [
    "Clock",
    "SystemClock",
]
