"""A conversation taken apart where it can be cut: into turns, steps and chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from aiex.core import Message, Part, ReasoningPart, RefusalPart, TextPart, ToolCallPart
from aiex.core import ToolResultPart as Result

__all__ = ["Chunk", "Turns", "lines_in", "take_apart"]

_CHUNK_CHARACTERS = 8000
_RULES = ("system", "developer")


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Turns that are summarised together.

    Where one ends depends on what is said up to there alone, so that a conversation that goes on
    has the same chunks again, whatever model it is for.

    Attributes:
        digest: SHA-256 of the messages, hexadecimal.
        messages: They, without instructions of the system, which are never left out.
        first: Number of the first turn, from 0.
        turns: How many turns.
    """

    digest: str
    messages: tuple[Message, ...]
    first: int
    turns: int


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, taken apart. Joined again, its pieces are what it was.

    Attributes:
        head: Instructions of the system before everything else.
        turns: What follows; each but the first begins with what a user said. No call of a tool
            stands in another than its result.
        steps: The last turn: what the user said, then a piece for every time that the model was
            asked. No call of a tool stands in another than its result.
        chunks: All turns but the last.
    """

    head: tuple[Message, ...]
    turns: tuple[tuple[Message, ...], ...]
    steps: tuple[tuple[Message, ...], ...]
    chunks: tuple[Chunk, ...]


def take_apart(messages: Sequence[Message]) -> Turns:
    """Return *messages* in pieces."""
    at = next((n for n, m in enumerate(messages) if m.role not in _RULES), len(messages))
    head, rest = messages[:at], messages[at:]
    whole = _whole_before(rest)
    turns = _split(rest, [n for n in whole if _is_said_by_user(rest[n])])
    last = turns[-1] if turns else ()
    steps = _split(last, [n for n in _whole_before(last) if last[n].role == "assistant"])
    if not steps or last[0].role != "user":
        steps = (last,)  # nothing says what the steps were for
    return Turns(
        head=tuple(head), turns=turns or ((),), steps=steps, chunks=tuple(_chunks(turns[:-1]))
    )


def lines_in(messages: Sequence[Message]) -> int:
    """Return the lines of text in *messages*."""
    texts = (_text_of(part) for message in messages for part in message.parts)
    return sum(text.count("\n") + (text[-1:] not in {"", "\n"}) for text in texts)


def _whole_before(messages: Sequence[Message]) -> list[int]:
    """Return the places, from 0, before which no call is left without its result."""
    called: dict[str, int] = {}
    crossed = [0] * (len(messages) + 1)
    for number, message in enumerate(messages):
        for part in message.parts:
            if isinstance(part, ToolCallPart):
                called[part.id] = number
            elif isinstance(part, Result) and part.id in called:
                # A cut at any place after the call, up to the result, parts them.
                crossed[called[part.id] + 1] += 1
                crossed[number + 1] -= 1
    whole = []
    depth = 0
    for number in range(len(messages)):
        depth += crossed[number]
        if not depth:
            whole.append(number)
    return whole


def _is_said_by_user(message: Message) -> bool:
    return message.role == "user" and not any(isinstance(part, Result) for part in message.parts)


def _split(messages: Sequence[Message], places: Sequence[int]) -> tuple[tuple[Message, ...], ...]:
    starts = [0, *(place for place in places if place)]
    ends = [*starts[1:], len(messages)]
    return tuple(
        tuple(messages[start:end]) for start, end in zip(starts, ends, strict=True) if start < end
    )


def _chunks(turns: Sequence[Sequence[Message]]) -> list[Chunk]:
    chunks: list[Chunk] = []
    gathered: list[Message] = []
    first = 0
    size = 0
    for number, turn in enumerate(turns):
        gathered += [message for message in turn if message.role not in _RULES]
        size += sum(len(_text_of(part)) for message in turn for part in message.parts)
        if size >= _CHUNK_CHARACTERS or number == len(turns) - 1:
            digest = hashlib.sha256(msgspec.json.encode(gathered)).hexdigest()
            chunk = Chunk(
                digest=digest, messages=tuple(gathered), first=first, turns=number + 1 - first
            )
            chunks.append(chunk)
            gathered, first, size = [], number + 1, 0
    return chunks


def _text_of(part: Part) -> str:
    match part:
        case TextPart() | RefusalPart() | ReasoningPart() | Result():
            return part.text
        case ToolCallPart():
            return part.arguments
        case _:
            return ""
