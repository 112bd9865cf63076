"""What must arrive: what an upstream's wire can say, told as the client's wire can tell it.

`told` is what a client sees that speaks with the provider itself. `relayed` is what it sees
through the gateway, where the two wires differ: the loss of each step is one line here, and one
row in the documentation.
"""

from __future__ import annotations

import msgspec
from tests.matrix.clients import ClientWire, Seen, Tokens
from tests.matrix.questions import WireName

from aiex.testing.upstream import (
    Billed,
    CallTool,
    FinishKind,
    Hide,
    Refuse,
    Say,
    Scenario,
    Think,
)

__all__ = ["Answered", "said", "seen"]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A reply, in nobody's wire."""

    text: str = ""
    refusal: str = ""
    thinking: str = ""
    signature: str = ""
    hidden: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    finish: FinishKind = "stop"
    billed: Billed | None = None


def _of(scenario: Scenario) -> Answered:
    found: dict[str, list[str]] = {"text": [], "refusal": [], "thinking": []}
    signature = hidden = ""
    calls = []
    for one in scenario.says:
        match one:
            case Say():
                found["text"] += one.pieces
            case Refuse():
                found["refusal"] += one.pieces
            case Think():
                found["thinking"] += one.pieces
                signature = one.signature
            case Hide():
                hidden = one.data
            case CallTool():
                arguments = one.arguments.replace('": ', '":').replace('", ', '",')
                calls.append((one.id, one.name, arguments))
    return Answered(
        **{name: "".join(pieces) for name, pieces in found.items()},
        signature=signature,
        hidden=hidden,
        calls=tuple(calls),
        finish=scenario.finish,
        billed=scenario.billed,
    )


_CHAT_FINISHES: dict[FinishKind, FinishKind] = {
    "stop_sequence": "stop",
    "window": "length",
    "pause": "stop",
}
_RESPONSE_FINISHES = _CHAT_FINISHES
_MESSAGE_FINISHES: dict[FinishKind, FinishKind] = {"content_filter": "refusal"}
_OLLAMA_FINISHES: dict[FinishKind, FinishKind] = {
    **_CHAT_FINISHES,
    "content_filter": "stop",
    "refusal": "stop",
}


def said(scenario: Scenario, upstream: WireName, *, encrypted: bool = False) -> Answered:
    """Return what a provider that speaks *upstream* says of *scenario*.

    Args:
        scenario: What it would say.
        upstream: Its wire.
        encrypted: Whether it was asked for its thinking in encrypted form (responses).
    """
    it = _of(scenario)
    replace = msgspec.structs.replace
    match upstream:
        case "chat":
            finish = _CHAT_FINISHES.get(it.finish, it.finish)
            if finish == "refusal" and not it.refusal:
                finish = "stop"
            return replace(it, signature="", hidden="", finish=finish)
        case "responses":
            finish = _RESPONSE_FINISHES.get(it.finish, it.finish)
            if finish == "refusal" and not it.refusal:
                finish = "stop"
            shown = Think(()).encrypted or ""
            return replace(
                it,
                signature=shown if encrypted and it.thinking else "",
                hidden=it.hidden if encrypted else "",
                finish=finish,
            )
        case "messages":
            finish = _MESSAGE_FINISHES.get(it.finish, it.finish)
            calls = tuple((i, name, text or "{}") for i, name, text in it.calls)
            return replace(
                it,
                text=it.text + it.refusal,
                refusal="",
                finish=finish,
                calls=calls,
                billed=it.billed or Billed(),
            )
        case "ollama":
            finish = _OLLAMA_FINISHES.get(it.finish, it.finish)
            billed = it.billed and Billed(input=it.billed.input, output=it.billed.output)
            calls = tuple(("", name, text or "{}") for _, name, text in it.calls)
            return replace(
                it,
                text=it.text + it.refusal,
                refusal="",
                signature="",
                hidden="",
                finish=finish,
                calls=calls,
                billed=billed,
            )


_WORDS: dict[ClientWire, dict[FinishKind, str]] = {
    "chat": {
        "stop": "stop",
        "stop_sequence": "stop",
        "length": "length",
        "window": "length",
        "tool_calls": "tool_calls",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "pause": "stop",
    },
    "responses": {
        "stop": "completed",
        "stop_sequence": "completed",
        "length": "max_output_tokens",
        "window": "max_output_tokens",
        "tool_calls": "completed",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "pause": "completed",
    },
    "messages": {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "window": "model_context_window_exceeded",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "refusal": "refusal",
        "pause": "pause_turn",
    },
}


def seen(it: Answered, client: ClientWire) -> Seen:
    """Return what a client of the wire *client* sees of a reply."""
    finish = _WORDS[client][it.finish]
    if it.refusal and it.finish == "refusal" and client != "messages":
        finish = _WORDS[client]["stop"]  # the refusal itself says it
    tokens = None
    if it.billed is not None:
        tokens = Tokens(
            input=it.billed.input,
            output=it.billed.output,
            cached=it.billed.cached,
            written=it.billed.written_5m + it.billed.written_1h,
            reasoning=it.billed.reasoning,
        )
    is_messages = client == "messages"
    return Seen(
        text=it.text + it.refusal if is_messages else it.text,
        refusal="" if is_messages else it.refusal,
        thinking=it.thinking,
        signature="" if client == "chat" else it.signature,
        hidden="" if client == "chat" else it.hidden,
        calls=it.calls,
        finish=finish,
        usage=tokens,
    )
