"""What of a call another wire has no words for: refused where the answer would be another one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from aiex.core import InvalidCallError, ModelCall, ResponseFormat, Tool
from aiex.wires import anthropic_messages, ollama, openai_chat, openai_responses
from aiex.wires.carried import Carrier, says_nothing
from aiex.wires.streams import Spoken

__all__ = ["carried_over"]

_DEFAULTS: Final = {"n": b"1", "modalities": b'["text"]', "truncation": b'"disabled"'}
_CARRIED: Final = frozenset({"safety_identifier"})  # as the user

_REFUSED: Final[Mapping[str, frozenset[str]]] = {
    openai_chat.WIRE: frozenset(
        {"audio", "function_call", "functions", "logprobs", "modalities", "n", "top_logprobs"}
    ),
    openai_responses.WIRE: frozenset(
        {"background", "conversation", "previous_response_id", "prompt"}
    ),
    anthropic_messages.WIRE: frozenset({"container", "mcp_servers"}),
}
"""Keys of each wire without which the answer is not the one that was asked for."""

_MOST_NAMES: Final = 32
_LONGEST_NAME: Final = 64
_TOOL_KEYS: Final = frozenset(
    {"type", "function", "name", "description", "parameters", "input_schema", "strict"}
)


def _is_warm(call: ModelCall) -> bool:
    return call.temperature is not None and call.temperature > 1


def _wants_any_json(call: ModelCall) -> bool:
    wanted = call.response_format or ResponseFormat(kind="text")
    return wanted.kind != "text" and not bytes(wanted.schema)


def _is_described(call: ModelCall) -> bool:
    return call.response_format is not None and bool(call.response_format.description)


def _has_blank_stop(call: ModelCall) -> bool:
    return not all(map(str.strip, call.stop))


def _is_strict(call: ModelCall) -> bool:
    return any(tool.strict for tool in call.tools)


_LOST: Final[Mapping[str, Mapping[str, Callable[[ModelCall], bool]]]] = {
    openai_chat.WIRE: {"reasoning_budget": lambda call: call.reasoning_budget is not None},
    openai_responses.WIRE: {
        "reasoning_budget": lambda call: call.reasoning_budget is not None,
        "seed": lambda call: call.seed is not None,
        "stop": lambda call: bool(call.stop),
    },
    anthropic_messages.WIRE: {
        "response_format": _wants_any_json,
        "response_format.description": _is_described,
        "seed": lambda call: call.seed is not None,
        "stop": _has_blank_stop,
        "temperature": _is_warm,
    },
    ollama.WIRE: {
        "parallel_tool_calls": lambda call: call.parallel_tool_calls is not None,
        "reasoning_budget": lambda call: call.reasoning_budget is not None,
        "response_format.description": _is_described,
        "tool_choice": lambda call: call.tool_choice not in {None, "auto"},
        "tools.strict": _is_strict,
        "user": lambda call: call.user is not None,
    },
}
"""What a call can say in nobody's wire, and one of the wires cannot."""


def carried_over(
    spoken: Spoken, call: ModelCall, unread: Mapping[str, msgspec.Raw]
) -> tuple[ModelCall, tuple[str, ...]]:
    """Return *call* as a provider can be told it, and what it is not told of it, sorted.

    Args:
        spoken: What the provider understands.
        call: The call, as it was read from a client.
        unread: What of the client's body *call* does not hold; see `WireRequest.unread`.

    Raises:
        InvalidCallError: Without it the answer would not be the one that was asked for.
    """
    left = {name for name, raw in unread.items() if not says_nothing(raw)}
    if call.wire == spoken.wire:
        return call, _names(left)
    if spoken.wire == ollama.WIRE:
        call = _thoughtless(call)
    carrier = Carrier(spoken, call.wire or "")
    messages = carrier.messages(call.messages)
    given = set(_given(call))
    refused = carrier.refused | (given & _REFUSED.get(call.wire or "", frozenset()))
    if refused:
        name = min(refused)
        raise InvalidCallError(
            f"{name} cannot be asked of {call.model}, whose provider speaks another wire",
            hint=f"leave {name} out, or name a model that is reached in the wire that you speak",
        )
    tools = tuple(
        msgspec.structs.replace(tool, opaque=None) for tool in call.tools if not _is_hosted(tool)
    )
    hosted = {f"tools.{name}" for tool in call.tools for name in _untold(tool)}
    call = msgspec.structs.replace(call, messages=messages, tools=tools)
    lost = {name for name, is_lost in _LOST.get(spoken.wire, {}).items() if is_lost(call)}
    if not tools:  # there is nothing to choose from, and some providers mind
        lost |= {"tool_choice"} if (call.tool_choice or "auto") not in {"auto", "none"} else set()
        call = msgspec.structs.replace(call, tool_choice=None, parallel_tool_calls=None)
    if spoken.wire == anthropic_messages.WIRE:
        call = msgspec.structs.replace(call, stop=tuple(filter(str.strip, call.stop)))
    return call, _names(left | carrier.lost | given | lost | hosted)


def _names(lost: Iterable[str]) -> tuple[str, ...]:
    """Return what is lost in words that fit into a header; the client chose some of them."""
    names = sorted(ascii(name)[1:-1][:_LONGEST_NAME] for name in lost)
    more = len(names) - _MOST_NAMES
    return tuple(names) if more <= 0 else (*names[:_MOST_NAMES], f"{more} more")


def _thoughtless(call: ModelCall) -> ModelCall:
    """Return *call*; where it wants no thinking in Anthropic's words, in words for all wires."""
    said = call.extra.get("thinking")
    is_off = said is not None and _type_in(said) == "disabled"
    if call.reasoning_effort is not None or call.wire != anthropic_messages.WIRE or not is_off:
        return call
    extra = {name: raw for name, raw in call.extra.items() if name != "thinking"}
    return msgspec.structs.replace(call, reasoning_effort="none", extra=extra)


def _given(call: ModelCall) -> Iterator[str]:
    for name, raw in call.extra.items():
        said = bytes(raw).strip()
        if name not in _CARRIED and not says_nothing(said) and said != _DEFAULTS.get(name):
            yield name


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


def _type_in(raw: msgspec.Raw) -> str:
    return msgspec.json.decode(raw, type=_Kind).type


def _kind_of(tool: Tool) -> str:
    return "" if tool.opaque is None else _type_in(tool.opaque.json)


def _is_hosted(tool: Tool) -> bool:
    """Return whether *tool* is none that any wire can offer: no function with a schema."""
    is_function = _kind_of(tool) in {"", "function"}
    return tool.opaque is not None and not is_function and not bytes(tool.parameters)


def _untold(tool: Tool) -> Iterator[str]:
    """Yield what no other wire is told of *tool*: its kind, or further keys of a function."""
    if tool.opaque is None:
        return
    if _is_hosted(tool):
        yield _kind_of(tool)
        return
    keys = msgspec.json.decode(tool.opaque.json, type=dict[str, msgspec.Raw])
    inner = keys.get("function", msgspec.Raw(b"{}"))
    for name, raw in (keys | msgspec.json.decode(inner, type=dict[str, msgspec.Raw])).items():
        if name not in _TOOL_KEYS and not says_nothing(raw):
            yield name
