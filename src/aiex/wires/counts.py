"""The answer of an endpoint that counts a prompt's tokens; OpenAI's and Anthropic's agree."""

from __future__ import annotations

import msgspec

from aiex.core import OverloadedError
from aiex.wires.fields import UNREADABLE

__all__ = ["decode_count"]


class _Count(msgspec.Struct):
    input_tokens: int


def decode_count(body: bytes) -> int:
    """Return the prompt's tokens.

    Raises:
        OverloadedError: It is not such an answer.
    """
    try:
        return msgspec.json.decode(body, type=_Count).input_tokens
    except UNREADABLE as error:
        raise OverloadedError(f"the count cannot be read: {error}") from error
