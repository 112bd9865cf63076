"""The verbs people ask for, and the prompts they render."""

from aiex.assistant.verbs import (
    Run,
    StreamVerb,
    Verb,
)

__all__ = [
    "Run",
    "StreamVerb",
    "Verb",
]
