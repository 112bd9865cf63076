"""Talking to models: adapters, coordinator, strategies, pricing."""

from aiex.llm.ports import (
    Adapter,
    CallRecord,
    CallSink,
    Endpoint,
    Limiter,
    ModelInfo,
    Reservation,
    Strategy,
    Timeouts,
)

__all__ = [
    "Adapter",
    "CallRecord",
    "CallSink",
    "Endpoint",
    "Limiter",
    "ModelInfo",
    "Reservation",
    "Strategy",
    "Timeouts",
]
