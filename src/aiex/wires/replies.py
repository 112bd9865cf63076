"""Deltas to a whole reply, and a whole reply to deltas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiex.core import (
    CitationDelta,
    Delta,
    Finish,
    IncompleteStreamError,
    ModelReply,
    OpaqueDelta,
    OpaquePart,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
)
from aiex.wires.opaque import citation_keys, is_block

__all__ = ["ReplyBuilder", "collect", "deltas_of"]


class _Slot:
    """What has come of one index so far."""

    def __init__(self) -> None:
        self.kind: type[Delta] | None = None
        self.pieces: list[str] = []
        self.id: str | None = None
        self.name: str | None = None
        self.signature: str | None = None
        self.encrypted: str | None = None
        self.citations: list[OpaquePart] = []
        self.opaque: list[OpaquePart] = []

    def parts(self) -> Iterator[Part]:
        text = "".join(self.pieces)
        if self.kind is TextDelta:
            yield TextPart(text=text)
        elif self.kind is RefusalDelta:
            yield RefusalPart(text=text)
        elif self.kind is ToolCallDelta:
            yield ToolCallPart(id=self.id or "", name=self.name or "", arguments=text)
        elif self.kind is ReasoningDelta:
            yield ReasoningPart(
                text=text, id=self.id, signature=self.signature, encrypted=self.encrypted
            )
        if self.citations:
            yield citation_keys(self.citations)
        yield from self.opaque


class ReplyBuilder:
    """Puts deltas together.

    Example:
        >>> builder = ReplyBuilder()
        >>> builder.add(TextDelta(text="Hel"))
        >>> builder.add(TextDelta(text="lo"))
        >>> builder.parts()
        (TextPart(text='Hello', cache=False),)
    """

    def __init__(self) -> None:
        self._slots: dict[int, _Slot] = {}
        self.finish: Finish | None = None
        """The end of the reply; `None` until it has come."""

    def add(self, delta: Delta) -> None:
        """Take the next delta."""
        if isinstance(delta, Finish):
            self.finish = delta
            return
        slot = self._slots.setdefault(delta.index, _Slot())
        if isinstance(delta, CitationDelta):
            slot.citations.append(delta.part)
            return
        if isinstance(delta, OpaqueDelta):
            slot.opaque.append(delta.part)
            return
        slot.kind = type(delta)
        if isinstance(delta, ToolCallDelta):
            slot.pieces.append(delta.arguments)
            slot.id = delta.id or slot.id
            slot.name = delta.name or slot.name
            return
        slot.pieces.append(delta.text)
        if isinstance(delta, ReasoningDelta):
            slot.id = delta.id or slot.id
            slot.signature = delta.signature or slot.signature
            slot.encrypted = delta.encrypted or slot.encrypted

    def parts(self) -> tuple[Part, ...]:
        """Return the parts that have come so far, in order of their index."""
        return tuple(part for _, slot in sorted(self._slots.items()) for part in slot.parts())

    def reply(self) -> ModelReply:
        """Return the whole reply.

        Raises:
            IncompleteStreamError: No `Finish` has come.
        """
        if self.finish is None:
            raise IncompleteStreamError("the reply has not ended")
        return ModelReply(parts=self.parts(), finish=self.finish)


def collect(deltas: Iterable[Delta]) -> ModelReply:
    """Return the reply that *deltas* make.

    Raises:
        IncompleteStreamError: They hold no `Finish`.
    """
    builder = ReplyBuilder()
    for delta in deltas:
        builder.add(delta)
    return builder.reply()


def deltas_of(reply: ModelReply) -> list[Delta]:
    """Return the deltas that `collect` makes *reply* of, one a part."""
    deltas: list[Delta] = []
    index = -1
    for part in reply.parts:
        if not isinstance(part, OpaquePart) or is_block(part) or index < 0:
            index += 1
        deltas.append(_delta(part, index))
    deltas.append(reply.finish)
    return deltas


def _delta(part: Part, index: int) -> Delta:
    match part:
        case TextPart():
            return TextDelta(text=part.text, index=index)
        case RefusalPart():
            return RefusalDelta(text=part.text, index=index)
        case ToolCallPart():
            return ToolCallDelta(index=index, id=part.id, name=part.name, arguments=part.arguments)
        case ReasoningPart():
            return ReasoningDelta(
                text=part.text,
                index=index,
                id=part.id,
                signature=part.signature,
                encrypted=part.encrypted,
            )
        case OpaquePart():
            return OpaqueDelta(index=index, part=part)
        case _:
            raise TypeError(f"a reply cannot hold a {type(part).__name__}")
