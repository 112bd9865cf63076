"""Talking to models: adapters, coordinator, strategies, pricing."""

from aiex.llm.attempt import (
    total_of,
)
from aiex.llm.coordinator import (
    CallEvent,
    Coordinator,
)
from aiex.llm.estimates import (
    Estimate,
)
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
from aiex.llm.prices import (
    derive_table,
    encode_table,
    load_table,
)
from aiex.llm.pricing import (
    LOCAL_PROVIDERS,
    ModelPrices,
    Price,
    PriceTable,
    Pricing,
    Rate,
    Rates,
)
from aiex.llm.providers import (
    Provider,
    Providers,
    ProviderState,
)
from aiex.llm.retry import (
    FIRST_WAIT,
    LONGEST_WAIT,
    MOST_RETRIES,
    wait_before_retry,
)
from aiex.llm.strategies import (
    STRATEGIES,
    in_order,
    with_failover,
)
from aiex.llm.tokens import (
    TokenCounter,
)

__all__ = [
    "FIRST_WAIT",
    "LOCAL_PROVIDERS",
    "LONGEST_WAIT",
    "MOST_RETRIES",
    "STRATEGIES",
    "Adapter",
    "CallEvent",
    "CallRecord",
    "CallSink",
    "Coordinator",
    "Endpoint",
    "Estimate",
    "Limiter",
    "ModelInfo",
    "ModelPrices",
    "Price",
    "PriceTable",
    "Pricing",
    "Provider",
    "ProviderState",
    "Providers",
    "Rate",
    "Rates",
    "Reservation",
    "Strategy",
    "Timeouts",
    "TokenCounter",
    "derive_table",
    "encode_table",
    "in_order",
    "load_table",
    "total_of",
    "wait_before_retry",
    "with_failover",
]
