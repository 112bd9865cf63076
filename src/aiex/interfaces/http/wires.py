"""The wires that clients speak: where each is asked, and how it says that something went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from aiex.core import AiexError, ErrorInfo, error_from_info
from aiex.wires import anthropic_messages, openai_chat, openai_responses
from aiex.wires.sse import encode_comment, encode_event

__all__ = [
    "ANTHROPIC",
    "CHAT",
    "EMBEDDINGS",
    "NATIVE",
    "RESPONSES",
    "ROUTES",
    "Route",
    "Wire",
    "encode_comment",
    "encode_event",
    "error_body",
    "stream_error",
]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """A wire, as the door needs to know it.

    Attributes:
        name: Its name, as `Passthrough.wire` has it.
        encode_error: Returns the body that says an error.
        error_event: Name of the event that ends a stream which failed; `None` for none.
        kept: Headers of requests that change what the wire means.
    """

    name: str
    encode_error: Callable[[AiexError], bytes]
    error_event: str | None = None
    kept: tuple[bytes, ...] = ()


CHAT = Wire(name="openai_chat", encode_error=openai_chat.encode_error)
RESPONSES = Wire(
    name="openai_responses", encode_error=openai_responses.encode_error, error_event="error"
)
EMBEDDINGS = Wire(name="openai_embeddings", encode_error=openai_chat.encode_error)
NATIVE = Wire(
    name="native",
    encode_error=lambda error: msgspec.json.encode({"error": error.info()}),
    error_event="error",
)
"""Aiex's own: an `ErrorInfo`, whole."""

ANTHROPIC = Wire(
    name="anthropic_messages",
    encode_error=anthropic_messages.encode_error,
    error_event="error",
    kept=(b"anthropic-beta", b"anthropic-version"),
)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """An address at which models are asked.

    Attributes:
        wire: Wire that is spoken there.
        kind: What is asked for.
        limit_keys: Keys of the body that bound the reply's tokens, the first that is there counts.
    """

    wire: Wire
    kind: Literal["complete", "count", "embed"] = "complete"
    limit_keys: tuple[str, ...] = ("max_tokens",)


ROUTES: dict[str, Route] = {
    "/v1/chat/completions": Route(wire=CHAT, limit_keys=("max_completion_tokens", "max_tokens")),
    "/v1/responses": Route(wire=RESPONSES, limit_keys=("max_output_tokens",)),
    "/v1/responses/input_tokens": Route(wire=RESPONSES, kind="count"),
    "/v1/embeddings": Route(wire=EMBEDDINGS, kind="embed"),
    "/v1/messages": Route(wire=ANTHROPIC),
    "/v1/messages/count_tokens": Route(wire=ANTHROPIC, kind="count"),
}
"""Where models are asked, always by POST."""


def error_body(wire: Wire, info: ErrorInfo) -> bytes:
    """Return what *wire* says about *info*, with what to do next."""
    error = error_from_info(info)
    if wire is NATIVE:
        return wire.encode_error(error)
    if info.hint:
        error.message = f"{info.message} ({info.hint})"
    return wire.encode_error(error)


_SEQUENCE = re.compile(rb'"sequence_number": ?([0-9]{1,9})')


def stream_error(wire: Wire, info: ErrorInfo, *, last: bytes) -> bytes:
    """Return what ends a stream of *wire* that cannot go on.

    Args:
        wire: The wire.
        info: Why.
        last: The bytes that were sent last.
    """
    data = error_body(wire, info)
    if wire is RESPONSES:
        numbers = _SEQUENCE.findall(last)
        said = msgspec.json.decode(data, type=dict[str, dict[str, Any]])["error"]
        number = int(numbers[-1]) + 1 if numbers else 0
        data = msgspec.json.encode({**said, "type": "error", "sequence_number": number})
    begun = b"" if last.endswith((b"\n\n", b"\r\n\r\n")) else b"\n\n"
    return begun + encode_event(data, event=wire.error_event)
