"""What a scripted upstream says, in nobody's wire."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Billed",
    "CallTool",
    "Delivery",
    "Fault",
    "FaultKind",
    "FinishKind",
    "Hide",
    "Refuse",
    "Say",
    "Saying",
    "Scenario",
    "Think",
]

FinishKind = Literal[
    "stop",
    "stop_sequence",
    "length",
    "window",
    "tool_calls",
    "content_filter",
    "refusal",
    "pause",
]
FaultKind = Literal[
    "invalid",
    "overflow",
    "authentication",
    "billing",
    "permission",
    "model",
    "timeout",
    "conflict",
    "too_large",
    "unprocessable",
    "rate_limit",
    "quota",
    "server",
    "bad_gateway",
    "unavailable",
    "gateway_timeout",
    "overloaded",
]


class Say(msgspec.Struct, frozen=True, tag="say"):
    """Text.

    Attributes:
        pieces: What is streamed at once each; empty pieces are sent too.
    """

    pieces: tuple[str, ...]


class Think(msgspec.Struct, frozen=True, tag="think"):
    """Thinking that is shown.

    Attributes:
        pieces: What is streamed at once each.
        signature: Signature of it (Anthropic).
        id: Identifier of it (OpenAI responses).
        encrypted: All of it as OpenAI takes it back; `None` where it was not asked for.
    """

    pieces: tuple[str, ...]
    signature: str = "c2lnbmVkIGJ5IHRoZSB1cHN0cmVhbQ=="
    id: str = "rs_5f0c1a"
    encrypted: str | None = "gAAAAABpVGhpbmtpbmc="


class Hide(msgspec.Struct, frozen=True, tag="hide"):
    """Thinking that is not shown.

    Attributes:
        data: All of it as its provider takes it back.
        id: Identifier of it (OpenAI responses).
    """

    data: str = "ZW5jcnlwdGVkIHRoaW5raW5n"
    id: str = "rs_5f0c1b"


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """Words of refusal.

    Attributes:
        pieces: What is streamed at once each.
    """

    pieces: tuple[str, ...]


class CallTool(msgspec.Struct, frozen=True, tag="call"):
    """A call of a tool.

    Attributes:
        id: Identifier of the call.
        name: Name of the tool.
        pieces: What is streamed at once each of the arguments' JSON.
    """

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The whole JSON."""
        return "".join(self.pieces)


Saying = Say | Think | Hide | Refuse | CallTool


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a reply is billed.

    Attributes:
        input: All tokens of the prompt.
        output: All tokens of the reply.
        cached: Part of the input that was read from a cache.
        written_5m: Part of the input that was written to a cache of five minutes.
        written_1h: Part of the input that was written to a cache of an hour.
        reasoning: Part of the output that was thinking.
    """

    input: int = 17
    output: int = 9
    cached: int = 0
    written_5m: int = 0
    written_1h: int = 0
    reasoning: int = 0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A failure as the provider tells of it.

    Attributes:
        kind: What went wrong.
        in_stream: Whether it comes inside an answer of status 200, after what was said.
        retry_after: Seconds that it asks to wait; `None` for no word of it.
        as_event: On the wire of responses, an `error` event in place of `response.failed`.
    """

    kind: FaultKind
    in_stream: bool = False
    retry_after: str | None = None
    as_event: bool = False


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How the bytes of an answer are given.

    Attributes:
        piece_bytes: Bytes of each write; `None` for one write an event.
        cut_after: Events after which it stops in the middle of the next one; `None` for never.
            Without a stream it stops in the middle of the body.
        ending: What comes then: the end of the answer, as if it were whole; a connection that
            is reset; or nothing until the client leaves.
        garbage: Sent in place of the rest; `None` for the beginning of the next event.
    """

    piece_bytes: int | None = None
    cut_after: int | None = None
    ending: Literal["end", "reset", "hold"] = "end"
    garbage: str | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.

    Attributes:
        says: What the model says, in order.
        finish: Why it stops.
        billed: What it bills; `None` if it does not say.
        fault: What goes wrong; `None` for nothing.
        delivery: How the bytes are given.
        then: The answer to a request that ends with results of tools; `None` for this one.
    """

    says: tuple[Saying, ...] = ()
    finish: FinishKind = "stop"
    billed: Billed | None = Billed()
    fault: Fault | None = None
    delivery: Delivery = Delivery()
    then: Scenario | None = None
