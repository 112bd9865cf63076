"""The list of models, as OpenAI's and as Anthropic's clients read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from aiex.core import ModelNotFoundError, nearest

__all__ = ["model_answer"]

_EPOCH = "1970-01-01T00:00:00Z"


def model_answer(models: Sequence[str], name: str, *, anthropic: bool) -> bytes:
    """Return the body of an answer.

    Args:
        models: What may be asked, as `provider:model`, and aliases.
        name: The one that is meant; empty for all.
        anthropic: Whether Anthropic's shape is wanted instead of OpenAI's.

    Raises:
        ModelNotFoundError: There is none of this name.
    """
    shape = _anthropic if anthropic else _openai
    if name:
        if name not in models:
            near = nearest(name, models)
            raise ModelNotFoundError(
                f"there is no model {name!r}",
                hint=f"did you mean {near}?" if near else "GET /v1/models lists them",
            )
        return msgspec.json.encode(shape(name))
    shapes = [shape(model) for model in models]
    if not anthropic:
        return msgspec.json.encode({"object": "list", "data": shapes})
    return msgspec.json.encode(
        {
            "data": shapes,
            "has_more": False,
            "first_id": models[0] if models else None,
            "last_id": models[-1] if models else None,
        }
    )


def _openai(model: str) -> dict[str, Any]:
    owner = model.partition(":")[0] if ":" in model else "aiex"
    return {"id": model, "object": "model", "created": 0, "owned_by": owner}


def _anthropic(model: str) -> dict[str, Any]:
    return {"type": "model", "id": model, "display_name": model, "created_at": _EPOCH}
