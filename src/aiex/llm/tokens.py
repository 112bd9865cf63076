"""Counting tokens without asking a provider: by a tokenizer where one is installed, else by length.

The count is multiplied by a factor for the family of the model and corrected by what providers
really billed. Factors measured 2026-11-23 against recorded usage: Claude up to 4.6 needs 1.15
times the o200k count, Claude from 4.7 on 1.55 times, unknown and local models 1.2 times.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable

from aiex.core import (
    ImagePart,
    ModelCall,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["TokenCounter"]

_BYTES_A_TOKEN = 3  # the safe side for code: 4 is short by up to 40 %
_A_MESSAGE = 4
_A_PICTURE = 1600
_LEARNING_RATE = 0.2
_BOUNDS = (0.5, 3.0)
_SMALLEST_LESSON = 200
_NEW_CLAUDE = re.compile(
    r"claude.*?(?:(?:opus|sonnet|haiku)-(?:4-[7-9]|[5-9])|fable|mythos)", re.IGNORECASE
)


class TokenCounter:
    """Estimates the tokens of a text or a call, and learns from real usage.

    Args:
        learned: Factors learned before, by model.
    """

    def __init__(self, learned: dict[str, float] | None = None) -> None:
        self._learned = dict(learned or {})

    def text(self, text: str, model: str) -> int:
        """Return the estimated tokens of *text* for *model*."""
        return math.ceil(_raw(text) * self.factor(model))

    def call(self, call: ModelCall) -> int:
        """Return the estimated tokens of a whole prompt: messages, tools and schema."""
        raw = sum(
            _A_MESSAGE + sum(_part(part) for part in message.parts) for message in call.messages
        )
        for tool in call.tools:
            raw += _raw(tool.name + tool.description) + _A_MESSAGE
            raw += _raw(bytes(tool.parameters or b"").decode("utf-8", "replace"))
        if call.response_format is not None and call.response_format.schema is not None:
            raw += _raw(bytes(call.response_format.schema).decode("utf-8", "replace"))
        return math.ceil(raw * self.factor(call.model))

    def factor(self, model: str) -> float:
        """Return by what the plain count is multiplied for *model*."""
        return self._learned.get(model) or _family(model)

    def learn(self, model: str, *, estimated: int, billed: int) -> None:
        """Correct the factor of *model* by what a provider billed for a prompt."""
        if estimated < _SMALLEST_LESSON or billed <= 0:
            return
        factor = self.factor(model)
        seen = min(max(billed / estimated * factor, _BOUNDS[0]), _BOUNDS[1])
        self._learned[model] = factor + _LEARNING_RATE * (seen - factor)

    @property
    def learned(self) -> dict[str, float]:
        """Factors by model, to be kept for the next process."""
        return dict(self._learned)


def _family(model: str) -> float:
    name = model.lower()
    if "claude" in name:
        return 1.55 if _NEW_CLAUDE.search(name) else 1.15
    if name.startswith(("gpt", "o1", "o3", "o4", "chatgpt")):
        return 1.0
    return 1.2


def _part(part: Part) -> int:
    match part:
        case TextPart() | RefusalPart():
            return _raw(part.text)
        case ToolCallPart():
            return _raw(part.name + part.arguments) + _A_MESSAGE
        case ToolResultPart():
            return _raw(part.text) + _A_MESSAGE + _A_PICTURE * len(part.images)
        case ReasoningPart():
            return _raw(part.text + (part.encrypted or ""))
        case ImagePart():
            return _A_PICTURE
        case OpaquePart():
            return _raw(bytes(part.json).decode("utf-8", "replace"))


def _raw(text: str) -> int:
    count = _tokenizer()
    return count(text) if count is not None else math.ceil(len(text.encode()) / _BYTES_A_TOKEN)


@functools.cache
def _tokenizer() -> Callable[[str], int] | None:
    """Return the o200k count of the `tokens` extra; `None` where it is not installed."""
    try:
        import bpe_openai  # noqa: PLC0415 - 75 MB, and optional
    except ImportError:
        return None
    encoding = bpe_openai.get_encoding("o200k_base")
    return lambda text: int(encoding.count(text))
