"""The verbs people ask for, and the prompts they render."""

from aiex.assistant.verbs import (
    Run,
    Verb,
)

__all__ = [
    "Run",
    "Verb",
]
