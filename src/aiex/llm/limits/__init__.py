"""Limits and budgets that hold over all processes that share a store."""

from aiex.llm.limits.leases import (
    LeasedLimits,
    LimitMetrics,
)
from aiex.llm.limits.ledger import (
    LIMIT_TABLES,
)
from aiex.llm.limits.values import (
    EACH,
    FixedLimits,
    Limit,
    LimitSource,
    LimitUsage,
    OnStoreLoss,
    Period,
)

__all__ = [
    "EACH",
    "LIMIT_TABLES",
    "FixedLimits",
    "LeasedLimits",
    "Limit",
    "LimitMetrics",
    "LimitSource",
    "LimitUsage",
    "OnStoreLoss",
    "Period",
]
