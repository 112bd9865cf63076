"""Staying alive, knowing no domain: supervisor, processes, clock."""

from aiex.runtime.clock import (
    Clock,
    SystemClock,
)
from aiex.runtime.process import (
    ChildProcess,
)
from aiex.runtime.supervisor import (
    Child,
    Restarts,
    Started,
    Supervisor,
)

__all__ = [
    "Child",
    "ChildProcess",
    "Clock",
    "Restarts",
    "Started",
    "Supervisor",
    "SystemClock",
]
