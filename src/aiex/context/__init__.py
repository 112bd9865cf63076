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
from aiex.context.compress.conversation import (
    FittedConversation,
    fit_conversation,
    plan_summaries,
)
from aiex.context.compress.forms import (
    Form,
    forms_of,
)
from aiex.context.compress.items import (
    Fitted,
    Item,
    ShownItem,
    fit,
)
from aiex.context.compress.turns import (
    Chunk,
)
from aiex.context.conversation import (
    conversation_of,
)
from aiex.context.gateway_keys import (
    GatewayKey,
    GatewayKeys,
)
from aiex.context.index import (
    Changed,
    ContextIndex,
    IndexUpdate,
    ReadFile,
)
from aiex.context.interactions import (
    Interaction,
    Interactions,
    InteractionTotal,
)
from aiex.context.outline import (
    outline,
)
from aiex.context.pack import (
    Packed,
    pack,
)
from aiex.context.query import (
    understand,
)
from aiex.context.references import (
    Place,
    Reference,
    SymbolIndex,
    names_called,
)
from aiex.context.select import (
    Hit,
    Selection,
    Selector,
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
from aiex.context.token_factors import (
    TokenFactors,
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
    "Changed",
    "Changes",
    "Chunk",
    "ContextIndex",
    "DigestCache",
    "FileStat",
    "Fitted",
    "FittedConversation",
    "Form",
    "GatewayKey",
    "GatewayKeys",
    "Hit",
    "IndexUpdate",
    "Interaction",
    "InteractionTotal",
    "Interactions",
    "Item",
    "KeyAuthenticator",
    "Packed",
    "Place",
    "ReadFile",
    "Reference",
    "Selection",
    "Selector",
    "Sessions",
    "Shown",
    "ShownContext",
    "ShownItem",
    "ShownPiece",
    "SymbolIndex",
    "TokenFactors",
    "Writers",
    "change_id",
    "conversation_of",
    "fit",
    "fit_conversation",
    "forms_of",
    "names_called",
    "outline",
    "pack",
    "plan_summaries",
    "understand",
]
