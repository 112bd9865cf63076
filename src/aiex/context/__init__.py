"""What we remember and what we show the model."""

from aiex.context.compress import (
    Fitted,
    Item,
    ShownItem,
    fit,
    fold,
)
from aiex.context.select import (
    Place,
    Reference,
    SymbolIndex,
)

__all__ = [
    "Fitted",
    "Item",
    "Place",
    "Reference",
    "ShownItem",
    "SymbolIndex",
    "fit",
    "fold",
]
