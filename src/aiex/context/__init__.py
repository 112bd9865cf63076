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

__all__ = [
    "TABLES",
    "AnalysisCache",
    "BlobFiles",
    "Budget",
    "Budgets",
    "CacheKey",
    "Change",
    "ChangeStatus",
    "Changes",
    "Chunk",
    "DigestCache",
    "FileStat",
    "Fitted",
    "FittedConversation",
    "Form",
    "GatewayKey",
    "GatewayKeys",
    "Interaction",
    "InteractionTotal",
    "Interactions",
    "Item",
    "KeyAuthenticator",
    "Place",
    "Reference",
    "Shown",
    "ShownContext",
    "ShownItem",
    "ShownPiece",
    "SymbolIndex",
    "TokenFactors",
    "change_id",
    "fit",
    "fit_conversation",
    "forms_of",
    "names_called",
    "plan_summaries",
]
