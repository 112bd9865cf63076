"""What is known of how a family of models counts tokens."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["TokenBasis", "TokenFactor"]

TokenBasis = Literal["bytes", "o200k", "body"]
"""What was counted: a third of the bytes of texts, the tokens of texts by OpenAI's vocabulary, or
a third of the bytes of a request that nobody decoded."""


class TokenFactor(msgspec.Struct, frozen=True, kw_only=True):
    """By what a plain count is multiplied for a family of models.

    Attributes:
        family: Models that share a tokenizer as far as their names tell, such as `qwen`.
        basis: What the plain count is.
        factor: Tokens billed for each that is counted; 0.5 to 2.
        lessons: Prompts that it was learned from; 0 for what is known beforehand.
    """

    family: str
    basis: TokenBasis
    factor: float
    lessons: int = 0
