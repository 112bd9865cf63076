"""What of a call another wire has no words for: refused where the answer would be another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from aiex.core import InvalidCallError, ModelCall, Tool
from aiex.wires import anthropic_messages, ollama, openai_chat, openai_responses

__all__ = ["ignored_by"]

_AS_IF_ABSENT: Final = frozenset({b"null", b"false", b"[]", b"{}", b"0", b'""'})
_DEFAULTS: Final = {"n": b"1", "modalities": b'["text"]', "truncation": b'"disabled"'}
_CARRIED: Final = frozenset({"safety_identifier"})  # as the user

_REFUSED: Final[Mapping[str, frozenset[str]]] = {
    openai_chat.WIRE: frozenset({"audio", "logprobs", "modalities", "n", "top_logprobs"}),
    openai_responses.WIRE: frozenset(
        {"background", "conversation", "previous_response_id", "prompt"}
    ),
    anthropic_messages.WIRE: frozenset({"container", "mcp_servers"}),
}
"""Keys of each wire without which the answer is not the one that was asked for."""


def _is_warm(call: ModelCall) -> bool:
    return call.temperature is not None and call.temperature > 1


def _wants_any_json(call: ModelCall) -> bool:
    return call.response_format is not None and call.response_format.kind == "json_object"


_LOST: Final[Mapping[str, Mapping[str, Callable[[ModelCall], bool]]]] = {
    openai_chat.WIRE: {"reasoning_budget": lambda call: call.reasoning_budget is not None},
    openai_responses.WIRE: {
        "reasoning_budget": lambda call: call.reasoning_budget is not None,
        "seed": lambda call: call.seed is not None,
        "stop": lambda call: bool(call.stop),
    },
    anthropic_messages.WIRE: {
        "response_format": _wants_any_json,
        "seed": lambda call: call.seed is not None,
        "temperature": _is_warm,
    },
    ollama.WIRE: {
        "parallel_tool_calls": lambda call: call.parallel_tool_calls is not None,
        "reasoning_budget": lambda call: call.reasoning_budget is not None,
        "tool_choice": lambda call: call.tool_choice not in {None, "auto"},
        "user": lambda call: call.user is not None,
    },
}
"""What a call can say in nobody's wire, and one of the wires cannot."""


def ignored_by(spoken: str, call: ModelCall) -> tuple[str, ...]:
    """Return what of *call* a provider that speaks *spoken* is not told, sorted.

    Args:
        spoken: Wire of the provider; not the one that the call came in.
        call: The call, as it was read from a client.

    Raises:
        InvalidCallError: Without it the answer would not be the one that was asked for.
    """
    given = {
        name
        for name, raw in call.extra.items()
        if name not in _CARRIED
        and (said := bytes(raw).strip()) not in _AS_IF_ABSENT
        and said != _DEFAULTS.get(name)
    }
    refused = given & _REFUSED.get(call.wire or "", frozenset())
    if refused:
        name = min(refused)
        raise InvalidCallError(
            f"{name} cannot be asked of {call.model}, whose provider speaks another wire",
            hint=f"leave {name} out, or name a model that is reached in the wire that you speak",
        )
    lost = {name for name, is_lost in _LOST.get(spoken, {}).items() if is_lost(call)}
    hosted = {f"tools.{_kind_of(tool)}" for tool in call.tools if _is_hosted(tool)}
    return tuple(sorted(given | lost | hosted))


def _is_hosted(tool: Tool) -> bool:
    return tool.opaque is not None and not bytes(tool.parameters)


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


def _kind_of(tool: Tool) -> str:
    if tool.opaque is None:
        return tool.name
    return msgspec.json.decode(tool.opaque.json, type=_Kind).type or tool.name
