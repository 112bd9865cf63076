"""Whose use a limit or a budget counts."""

from __future__ import annotations

from typing import Final

__all__ = ["SCOPES", "is_scope"]

SCOPES: Final = (
    "all, user:NAME, team:NAME, key:ID, provider:NAME or model:PROVIDER:MODEL; "
    "* as a name means each one of its own"
)
"""The scopes that there are, in words."""

_LONGEST: Final = 300


def is_scope(text: str) -> bool:
    """Return whether *text* is a scope.

    Example:
        >>> is_scope("team:core"), is_scope("model:ollama:qwen3:8b"), is_scope("user:*")
        (True, True, True)
        >>> is_scope("teams:core"), is_scope("user:"), is_scope("model:gpt-5")
        (False, False, False)
    """
    if not text.isprintable() or len(text) > _LONGEST:
        return False
    kind, *names = text.split(":", 2 if text.startswith("model:") else 1)
    kinds = {"all": 0, "user": 1, "team": 1, "key": 1, "provider": 1, "model": 2}
    return len(names) == kinds.get(kind, -1) and all(name.strip() == name != "" for name in names)
