"""What we remember and what we show the model."""

from aiex.context.authenticator import (
    KeyAuthenticator,
)
from aiex.context.blobs import (
    BlobFiles,
)
from aiex.context.budgets import (
    Budget,
    Budgets,
)
from aiex.context.cache import (
    AnalysisCache,
    CacheKey,
    DigestCache,
    FileStat,
)
from aiex.context.changes import (
    Change,
    Changes,
    ChangeStatus,
    change_id,
)
from aiex.context.compress import (
    Fitted,
    Item,
    ShownItem,
    fit,
    fold,
)
from aiex.context.conversation import (
    FittedConversation,
    conversation_of,
    fit_conversation,
)
from aiex.context.gateway_keys import (
    GatewayKey,
    GatewayKeys,
)
from aiex.context.interactions import (
    Interaction,
    Interactions,
    InteractionTotal,
)
from aiex.context.select import (
    Place,
    Reference,
    SymbolIndex,
    names_called,
)
from aiex.context.sessions import (
    LEASE_SECONDS,
    BegunTurn,
    Sessions,
)
from aiex.context.shown import (
    Shown,
    ShownContext,
    ShownPiece,
)
from aiex.context.store import (
    TABLES,
)
from aiex.context.writers import (
    Writers,
)

__all__ = [
    "LEASE_SECONDS",
    "TABLES",
    "AnalysisCache",
    "BegunTurn",
    "BlobFiles",
    "Budget",
    "Budgets",
    "CacheKey",
    "Change",
    "ChangeStatus",
    "Changes",
    "DigestCache",
    "FileStat",
    "Fitted",
    "FittedConversation",
    "GatewayKey",
    "GatewayKeys",
    "Interaction",
    "InteractionTotal",
    "Interactions",
    "Item",
    "KeyAuthenticator",
    "Place",
    "Reference",
    "Sessions",
    "Shown",
    "ShownContext",
    "ShownItem",
    "ShownPiece",
    "SymbolIndex",
    "Writers",
    "change_id",
    "conversation_of",
    "fit",
    "fit_conversation",
    "fold",
    "names_called",
]
