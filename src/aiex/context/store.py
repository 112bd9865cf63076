"""The tables of this room, for `app` to hand to the store."""

from __future__ import annotations

from aiex.cluster import Index, TableSpec

__all__ = [
    "AI_CONTEXT",
    "AI_CONTEXT_SESSION",
    "AI_CONTEXT_TURN",
    "BUDGET",
    "CHANGE",
    "CODE_ANALYSIS_CACHE",
    "GATEWAY_KEY",
    "GATEWAY_KEY_USE",
    "LLM_INTERACTION",
    "TABLES",
    "TOKEN_FACTOR",
]

_DAY = 24 * 3600.0

AI_CONTEXT = TableSpec(
    name="ai_context",
    indexes=(Index(name="at", field="at_us"),),
    max_age=90 * _DAY,
)
"""What was shown to a model and why; see `shown`."""

AI_CONTEXT_SESSION = TableSpec(
    name="ai_context_session",
    indexes=(Index(name="updated", field="updated_us"),),
)
"""Sessions, without what is said in them; see `sessions`."""

AI_CONTEXT_TURN = TableSpec(name="ai_context_turn")
"""The turns of sessions and what is said in them; see `sessions`. Unlike what a single call was
shown, they are kept until their session is deleted."""

CODE_ANALYSIS_CACHE = TableSpec(
    name="code_analysis_cache",
    replicated=False,
    max_age=7 * _DAY,
    max_records=50_000,
)
"""What was computed from file contents; see `cache`."""

LLM_INTERACTION = TableSpec(
    name="llm_interaction",
    indexes=(Index(name="at", field="at_us"),),
)
"""Every call of a model; see `interactions`."""

CHANGE = TableSpec(
    name="change",
    indexes=(Index(name="created", field="created_us"),),
)
"""Stored proposals; see `changes`."""

GATEWAY_KEY = TableSpec(
    name="gateway_key",
    indexes=(Index(name="user", field="user"),),
)
"""Keys of the gateway, as proofs; see `gateway_keys`."""

GATEWAY_KEY_USE = TableSpec(name="gateway_key_use")
"""When each was last used, apart from what is said of it: a use must not undo a revocation."""

BUDGET = TableSpec(name="budget")
"""How much money may be spent; see `budgets`."""

TOKEN_FACTOR = TableSpec(name="token_factor", replicated=False, max_records=500)
"""How families of models count tokens; see `token_factors`."""

TABLES: tuple[TableSpec, ...] = (
    AI_CONTEXT,
    AI_CONTEXT_SESSION,
    AI_CONTEXT_TURN,
    CODE_ANALYSIS_CACHE,
    LLM_INTERACTION,
    CHANGE,
    GATEWAY_KEY,
    GATEWAY_KEY_USE,
    BUDGET,
    TOKEN_FACTOR,
)
"""All of them."""
