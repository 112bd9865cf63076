"""Talking to models: adapters, coordinator, strategies, pricing."""

from aiex.llm.attempt import (
    total_of,
)
from aiex.llm.catalogue import (
    CATALOGUE,
    KnownModel,
    WheelFile,
)
from aiex.llm.coordinator import (
    CallEvent,
    Coordinator,
)
from aiex.llm.download import (
    Access,
)
from aiex.llm.health import (
    Health,
)
from aiex.llm.installed import (
    InstalledModel,
    ModelFolder,
)
from aiex.llm.ports import (
    Adapter,
    Announce,
    CallRecord,
    CallSink,
    Endpoint,
    Estimate,
    Forwarding,
    Limiter,
    ModelInfo,
    Preparable,
    Relayed,
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
from aiex.llm.pull import (
    Puller,
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
from aiex.llm.wheels import (
    PackageIndex,
)

__all__ = [
    "CATALOGUE",
    "FIRST_WAIT",
    "LOCAL_PROVIDERS",
    "LONGEST_WAIT",
    "MOST_RETRIES",
    "STRATEGIES",
    "Access",
    "Adapter",
    "Announce",
    "CallEvent",
    "CallRecord",
    "CallSink",
    "Coordinator",
    "Endpoint",
    "Estimate",
    "Forwarding",
    "Health",
    "InstalledModel",
    "KnownModel",
    "Limiter",
    "ModelFolder",
    "ModelInfo",
    "ModelPrices",
    "PackageIndex",
    "Preparable",
    "Price",
    "PriceTable",
    "Pricing",
    "Provider",
    "ProviderState",
    "Providers",
    "Puller",
    "Rate",
    "Rates",
    "Relayed",
    "Reservation",
    "Strategy",
    "Timeouts",
    "TokenCounter",
    "WheelFile",
    "derive_table",
    "encode_table",
    "in_order",
    "load_table",
    "total_of",
    "wait_before_retry",
    "with_failover",
]
