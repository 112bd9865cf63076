"""Counting tokens without asking a provider: by length at once, by a tokenizer where it matters.

The count of the texts is multiplied by a factor for the family of the model, and that factor is
corrected by what providers really bill. What is no text (pictures, the frame around a message,
what a provider adds for tools) has no factor. Measured 2026-11-23 against recorded usage: Claude
up to 4.6 needs 1.15 times the o200k count, Claude from 4.7 on 1.55 times, unknown and local models
1.2 times. bench/tokens.py measures how far all this is from recorded bills.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence

import anyio
import msgspec

from aiex.core import (
    FilePart,
    ImagePart,
    Message,
    ModelCall,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    TokenBasis,
    TokenFactor,
    ToolCallPart,
    ToolResultPart,
)
from aiex.llm.ports import Counted

__all__ = ["TokenCounter"]

_BYTES_A_TOKEN = 3  # the safe side for code: 4 is short by up to 40 %
_A_MESSAGE = 4
_A_PICTURE = 1600
_CLAUDE_TOOLS = 500  # recorded: 250 to 530, older models less; the safe side
_CLAUDE_SCHEMA = 90  # recorded: 88 to 93
_CLAUDE_THINKS = 29  # recorded: 28 to 30
_SLOWEST_LEARNING = 0.2
_CREDIBLE = (0.3, 4.0)
_BOUNDS = (0.5, 2.0)
_SMALLEST_LESSON = 200
_PIECE = 200_000
_NEW_CLAUDE = re.compile(
    r"claude.*?(?:(?:opus|sonnet|haiku)-(?:4[-.][7-9]|[5-9])|fable|mythos)", re.IGNORECASE
)
_STEM = re.compile(r"[a-z]+")


class TokenCounter:
    """Estimates the tokens of a text or a call, and learns from real usage.

    It starts with a third of the bytes, which costs nothing and errs on the safe side for code.
    Where a closer count could change a decision, `sharpen` it first.

    Args:
        learned: Factors learned before, as `learned` gave them.
    """

    def __init__(self, learned: Iterable[TokenFactor] = ()) -> None:
        self._learned = {(one.basis, one.family): one for one in learned}
        self._count: Callable[[str], int] = _by_length
        self._basis: TokenBasis = "bytes"

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

    def message(self, message: Message, model: str) -> int:
        """Return the estimated tokens of *message* for *model*; those of several add up."""
        plain, beside, _ = self._message(message)
        return math.ceil(plain * self.factor(model)) + beside

    def call(self, call: ModelCall) -> int:
        """Return the estimated tokens of a whole prompt: messages, tools and schema."""
        return self.tokens(self.measure(call), call.model)

    def measure(self, call: ModelCall) -> Counted:
        """Return the count of a whole prompt, which `tokens` makes an estimate."""
        plain, beside, is_clear = 0, _added(call), True
        for message in call.messages:
            texts, other, clear = self._message(message)
            plain, beside, is_clear = plain + texts, beside + other, is_clear and clear
        for tool in call.tools:
            plain += self._count(tool.name + tool.description) + self._json(tool.parameters)
            beside += _A_MESSAGE
            is_clear = is_clear and (tool.opaque is None or bool(bytes(tool.parameters)))
        if call.response_format is not None:
            plain += self._json(call.response_format.schema)
        return Counted(basis=self._basis, plain=plain, beside=beside, is_clear=is_clear)

    @staticmethod
    def measure_body(
        text_bytes: int, *, model: str = "", beside: int = 0, has_tools: bool = False
    ) -> Counted:
        """Return the count of a request that nobody decoded.

        Args:
            text_bytes: Bytes of text.
            model: Name of the model; empty where it does not matter.
            beside: Tokens of what is no text.
            has_tools: Whether it offers tools.
        """
        if has_tools and _is_claude(model):
            beside += _CLAUDE_TOOLS
        return Counted(basis="body", plain=math.ceil(text_bytes / _BYTES_A_TOKEN), beside=beside)

    def tokens(self, counted: Counted, model: str) -> int:
        """Return the estimated tokens for *model* of what was counted."""
        return math.ceil(counted.plain * self._factor(counted.basis, model)) + counted.beside

    def factor(self, model: str) -> float:
        """Return by what the count of a text is multiplied for *model*."""
        return self._factor(self._basis, model)

    def _factor(self, basis: TokenBasis, model: str) -> float:
        family, known = _family(model)
        learned = self._learned.get((basis, family))
        return known if learned is None else learned.factor

    def learn(self, model: str, counted: Counted, *, billed: int) -> None:
        """Correct the factor of the family of *model* by what was billed for a prompt.

        The first lessons weigh most; later ones a fifth. Small prompts teach nothing, since a
        model's template outweighs them; nor do those that are mostly no text; nor bills that
        cannot be for the whole prompt, as Ollama's for one whose beginning it still holds.
        """
        if not counted.is_clear or counted.plain < max(_SMALLEST_LESSON, counted.beside):
            return
        seen = (billed - counted.beside) / counted.plain
        if not _CREDIBLE[0] <= seen <= _CREDIBLE[1]:
            return
        family, known = _family(model)
        old = self._learned.get(
            (counted.basis, family),
            TokenFactor(family=family, basis=counted.basis, factor=known),
        )
        rate = max(_SLOWEST_LEARNING, 1 / (old.lessons + 2))
        factor = old.factor + rate * (seen - old.factor)
        self._learned[counted.basis, family] = TokenFactor(
            family=family,
            basis=counted.basis,
            factor=min(max(factor, _BOUNDS[0]), _BOUNDS[1]),
            lessons=old.lessons + 1,
        )

    @property
    def learned(self) -> Sequence[TokenFactor]:
        """What was learned, by family and basis, to be shown or kept for the next process."""
        return sorted(self._learned.values(), key=lambda one: (one.family, one.basis))

    def _message(self, message: Message) -> tuple[int, int, bool]:
        """Return the plain count, the tokens of what is no text, and whether that is all."""
        plain, beside, is_clear = 0, _A_MESSAGE, True
        for part in message.parts:
            texts, other = self._part(part)
            plain, beside = plain + texts, beside + other
            is_clear = is_clear and not isinstance(part, OpaquePart)
        return plain, beside, is_clear

    def _part(self, part: Part) -> tuple[int, int]:
        match part:
            case TextPart() | RefusalPart():
                return self._count(part.text), 0
            case ToolCallPart():
                return self._count(part.name + part.arguments), _A_MESSAGE
            case ToolResultPart():
                plain, beside = self._count(part.text), _A_MESSAGE + _A_PICTURE * len(part.images)
                return plain + sum(map(self._file, part.files)), beside
            case ReasoningPart():
                return self._count(part.text + (part.encrypted or "")), 0
            case ImagePart():
                return 0, _A_PICTURE
            case FilePart():
                return self._file(part), 0
            case OpaquePart():
                return self._json(part.json), 0

    def _file(self, part: FilePart) -> int:
        return self._count("".join((part.name or "", part.text or part.data or "")))

    def _json(self, raw: msgspec.Raw) -> int:
        return self._count(bytes(raw).decode("utf-8", "replace"))


def _is_claude(model: str) -> bool:
    return "claude" in model.lower()


def _added(call: ModelCall) -> int:
    """Return the tokens that a provider adds to a prompt of its own accord."""
    if not _is_claude(call.model):
        return 0
    return (
        (_CLAUDE_TOOLS if call.tools else 0)
        + (_CLAUDE_SCHEMA if call.response_format is not None else 0)
        + (_CLAUDE_THINKS if call.reasoning_budget or call.reasoning_effort else 0)
    )


@functools.lru_cache(maxsize=1024)
def _family(model: str) -> tuple[str, float]:
    """Return the family of a model, and its factor as long as nothing was learned."""
    name = model.lower().rpartition("/")[2]
    if _is_claude(name):
        return ("claude-4.7", 1.55) if _NEW_CLAUDE.search(name) else ("claude", 1.15)
    if name.startswith(("gpt-", "o1", "o3", "o4", "chatgpt")):
        return "gpt", 1.0
    stem = _STEM.search(name)
    return (stem[0] if stem else "other"), 1.2


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
