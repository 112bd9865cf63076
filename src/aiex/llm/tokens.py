"""Counting tokens without asking a provider: by length at once, by a tokenizer where it matters.

The count is multiplied by a factor for the family of the model, and that factor is corrected by
what providers really bill. Measured 2026-11-23 against recorded usage: Claude up to 4.6 needs
1.15 times the o200k count, Claude from 4.7 on 1.55 times, unknown and local models 1.2 times.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping

import anyio
import msgspec

from aiex.core import (
    FilePart,
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
_CREDIBLE = (0.4, 4.0)
_SMALLEST_LESSON = 200
_PIECE = 200_000
_NEW_CLAUDE = re.compile(
    r"claude.*?(?:(?:opus|sonnet|haiku)-(?:4[-.][7-9]|[5-9])|fable|mythos)", re.IGNORECASE
)


class TokenCounter:
    """Estimates the tokens of a text or a call, and learns from real usage.

    It starts with a third of the bytes, which costs nothing and errs on the safe side for code.
    Where a closer count could change a decision, `sharpen` it first.

    Args:
        learned: Factors learned before, as `learned` gave them.
    """

    def __init__(self, learned: Mapping[str, float] | None = None) -> None:
        self._learned = dict(learned or {})
        self._count: Callable[[str], int] = _by_length
        self._basis = "bytes"

    async def sharpen(self) -> bool:
        """Return whether texts are counted by a tokenizer from now on.

        Loads the tokenizer of the `tokens` extra, which takes most of a second; returns `False`
        at once where the extra is not installed.
        """
        if self._basis == "bytes":
            count = await anyio.to_thread.run_sync(_o200k)
            if count is not None:
                self._count, self._basis = count, "o200k"
        return self._basis != "bytes"

    def text(self, text: str, model: str) -> int:
        """Return the estimated tokens of *text* for *model*."""
        return math.ceil(self._count(text) * self.factor(model))

    def size(self, text_bytes: int, model: str, *, beside: int = 0) -> int:
        """Return the estimated tokens of what nobody decoded.

        Args:
            text_bytes: Bytes of text.
            model: Name of the model.
            beside: Tokens of what is no text.
        """
        factor = self._learned.get(f"bytes/{model}") or _family(model)
        return math.ceil(math.ceil(text_bytes / _BYTES_A_TOKEN) * factor) + beside

    def call(self, call: ModelCall) -> int:
        """Return the estimated tokens of a whole prompt: messages, tools and schema."""
        count = sum(
            _A_MESSAGE + sum(self._part(part) for part in message.parts)
            for message in call.messages
        )
        for tool in call.tools:
            count += self._count(tool.name + tool.description) + _A_MESSAGE
            count += self._json(tool.parameters)
        if call.response_format is not None:
            count += self._json(call.response_format.schema)
        return math.ceil(count * self.factor(call.model))

    def factor(self, model: str) -> float:
        """Return by what the plain count is multiplied for *model*."""
        return self._learned.get(f"{self._basis}/{model}") or _family(model)

    def learn(self, model: str, *, estimated: int, billed: int) -> None:
        """Correct the factor of *model* by what a provider billed for a prompt.

        Small prompts teach nothing, since a model's template outweighs them; nor do bills that
        cannot be for the whole prompt, as Ollama's for one whose beginning it still holds.
        """
        if estimated < _SMALLEST_LESSON:
            return
        factor = self.factor(model)
        seen = billed / estimated * factor
        if _CREDIBLE[0] <= seen <= _CREDIBLE[1]:
            self._learned[f"{self._basis}/{model}"] = factor + _LEARNING_RATE * (seen - factor)

    @property
    def learned(self) -> dict[str, float]:
        """Factors by the way of counting and the model, to be kept for the next process."""
        return dict(self._learned)

    def _part(self, part: Part) -> int:
        match part:
            case TextPart() | RefusalPart():
                return self._count(part.text)
            case ToolCallPart():
                return self._count(part.name + part.arguments) + _A_MESSAGE
            case ToolResultPart():
                beside = _A_PICTURE * len(part.images) + sum(map(self._part, part.files))
                return self._count(part.text) + _A_MESSAGE + beside
            case ReasoningPart():
                return self._count(part.text + (part.encrypted or ""))
            case ImagePart():
                return _A_PICTURE
            case FilePart():
                return self._count("".join((part.name or "", part.text or part.data or "")))
            case OpaquePart():
                return self._json(part.json)

    def _json(self, raw: msgspec.Raw) -> int:
        return self._count(bytes(raw).decode("utf-8", "replace"))


@functools.lru_cache(maxsize=1024)
def _family(model: str) -> float:
    name = model.lower()
    if "claude" in name:
        return 1.55 if _NEW_CLAUDE.search(name) else 1.15
    if name.startswith(("gpt-", "o1", "o3", "o4", "chatgpt")):
        return 1.0
    return 1.2


def _by_length(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_A_TOKEN)


@functools.cache
def _o200k() -> Callable[[str], int] | None:
    """Return the count of OpenAI's o200k vocabulary; `None` where the extra is not installed."""
    try:
        import bpe_openai  # noqa: PLC0415
    except ImportError:
        return None
    encoding = bpe_openai.get_encoding("o200k_base")

    def count(text: str) -> int:
        pieces = range(0, len(text), _PIECE)
        return sum(len(encoding.encode_ordinary(text[at : at + _PIECE])) for at in pieces)

    return count
