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
from aiex.context.shown import (
    Shown,
    ShownContext,
    ShownPiece,
)
from aiex.context.store import (
    TABLES,
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
    "Changed",
    "Changes",
    "ContextIndex",
    "DigestCache",
    "FileStat",
    "Fitted",
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
    "Shown",
    "ShownContext",
    "ShownItem",
    "ShownPiece",
    "SymbolIndex",
    "change_id",
    "fit",
    "fold",
    "names_called",
    "outline",
    "pack",
    "understand",
]
