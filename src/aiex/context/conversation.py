"""Turns as the conversation that a provider takes. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from aiex.core import (
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Turn,
)

__all__ = ["conversation_of"]

_NO_RESULT = "No result: the turn was broken off before it came."
_BROKEN = "(This answer was broken off here.)"
_NO_ANSWER = "(This question was not answered: the turn was broken off.)"


def conversation_of(turns: Sequence[Turn], *, with_tools: bool = True) -> tuple[Message, ...]:
    """Return the messages of *turns* as any provider takes them.

    Every call of a tool is followed by its result and has an identifier that no other has, users
    and the assistant take turns, and what was broken off ends with a note. Thinking and what
    only one wire understands are left out: providers want them back within a turn alone, and
    another may answer the next one.

    Args:
        turns: The turns, from the first.
        with_tools: Whether calls of tools and their results are told; a provider takes them only
            where it is told of tools.
    """
    said = tuple(message for turn in turns for message in _turn(turn))
    return said if with_tools else _without_tools(said)


def _without_tools(messages: Sequence[Message]) -> tuple[Message, ...]:
    kept: list[Message] = []
    for message in messages:
        parts = tuple(
            part for part in message.parts if not isinstance(part, ToolCallPart | ToolResultPart)
        )
        if parts:
            _append(kept, replace(message, parts=parts))
    return tuple(kept)


def _turn(turn: Turn) -> Iterator[Message]:
    said: list[Message] = []
    waiting: dict[str, ToolCallPart] = {}
    ids = _Ids(turn.number)
    for entry in turn.entries:
        message = _plain(ids.made_unique(entry.message), waiting)
        if message is None:
            continue
        if message.role != "tool" and waiting:
            _append(said, _missing(waiting))
        for part in message.parts:
            if isinstance(part, ToolResultPart):
                waiting.pop(part.id, None)
            elif isinstance(part, ToolCallPart):
                waiting[part.id] = part
        _append(said, message)
    if waiting:
        _append(said, _missing(waiting))
    if said and said[-1].role == "user":
        _append(said, _note(_NO_ANSWER))
    elif said and (said[-1].role == "tool" or turn.state != "done"):
        _append(said, _note(_BROKEN))
    yield from said


class _Ids:
    """Names the calls of one turn anew: not every provider gives each a name of its own."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._count = 0
        self._names: dict[str, str] = {}

    def made_unique(self, message: Message) -> Message:
        return replace(message, parts=tuple(map(self._part, message.parts)))

    def _part(self, part: Part) -> Part:
        if isinstance(part, ToolCallPart) and part.id:
            self._count += 1
            self._names[part.id] = f"call_{self._turn}_{self._count}"
            return replace(part, id=self._names[part.id])
        if isinstance(part, ToolResultPart):
            return replace(part, id=self._names.get(part.id, ""))
        return part


def _append(said: list[Message], message: Message) -> None:
    """Add *message*, to the one before it where the same one speaks on."""
    if said and said[-1].role == message.role:
        message = replace(message, parts=_joined(said.pop().parts, message.parts))
    said.append(message)


def _joined(first: tuple[Part, ...], then: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return both, texts that meet as one: not every server takes a message of several."""
    if first and then and isinstance(first[-1], TextPart) and isinstance(then[0], TextPart):
        text = TextPart(text=f"{first[-1].text}\n\n{then[0].text}")
        return (*first[:-1], text, *then[1:])
    return (*first, *then)


def _plain(message: Message, waiting: Mapping[str, ToolCallPart]) -> Message | None:
    """Return *message* without what cannot be sent again; `None` if nothing is left."""
    if message.role not in {"user", "assistant", "tool"}:
        return None
    parts = tuple(
        part
        for part in message.parts
        if _is_kept(part) and not (isinstance(part, ToolResultPart) and part.id not in waiting)
    )
    return replace(message, parts=parts) if parts else None


def _is_kept(part: Part) -> bool:
    match part:
        case ReasoningPart() | OpaquePart():
            return False
        case TextPart():
            return bool(part.text.strip())
        case ToolCallPart():
            return bool(part.id and part.name) and _is_object(part.arguments)
        case _:
            return True


def _is_object(text: str) -> bool:
    """Return whether the arguments of a call came whole."""
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def _missing(waiting: dict[str, ToolCallPart]) -> Message:
    parts = tuple(
        ToolResultPart(id=call.id, text=_NO_RESULT, is_error=True) for call in waiting.values()
    )
    waiting.clear()
    return Message(role="tool", parts=parts)


def _note(text: str) -> Message:
    return Message(role="assistant", parts=(TextPart(text=text),))
