"""Fitting a conversation into a window: what is said last stays, what was said first goes first.

A conversation that a provider takes is still one afterwards: a call of a tool goes with its
result, speakers take turns, nothing is empty. What stands for what was left out is a note inside
a message of the user, never a message of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from aiex.context.compress.excerpts import closed, excerpt
from aiex.context.compress.turns import Chunk, Turns, lines_in, take_apart
from aiex.core import LeftOut, Message, Part, TextPart, ToolCallPart, ToolResultPart

__all__ = ["CountMessage", "FittedConversation", "Plan", "fit_conversation", "plan_summaries"]

_RESULTS = (1600, 400, 0)  # characters of a result of a tool, the more the better
_SHARE_OF_SUMMARIES = 0.25
_RULES = ("system", "developer")

CountMessage = Callable[[Message], int]
"""Tokens of a message, by whatever counts for the model at hand."""


class FittedConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation as it is sent.

    Attributes:
        messages: What is sent.
        tokens: Its tokens.
        fits: Whether they are within the budget; if not, nothing more could be left out.
        left_out: What is not sent, oldest first.
    """

    messages: tuple[Message, ...]
    tokens: int
    fits: bool = True
    left_out: tuple[LeftOut, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What should be summarised so that a conversation fits.

    Attributes:
        chunks: Turns next to those that stay, oldest first; empty if it fits without.
    """

    chunks: tuple[Chunk, ...] = ()


class _Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One way to make it shorter.

    Attributes:
        turns: How many of the oldest turns go.
        summaries: How many of the chunks that go, oldest first, have no summary either.
        shortened: Of how many of the oldest turns that stay the results are shortened.
        steps: How many of the oldest steps of the last turn go.
        level: How short results in the steps of the last turn but the last one are: 0 for
            whole, else a place in `_RESULTS`, from 1.
        last: The same for the last step.
    """

    turns: int = 0
    summaries: int = 0
    shortened: int = 0
    steps: int = 0
    level: int = 0
    last: int = 0


def fit_conversation(
    messages: Sequence[Message],
    budget: int,
    count: CountMessage,
    *,
    summaries: Mapping[str, str] | None = None,
) -> FittedConversation:
    """Return *messages*, made to fit into *budget* tokens.

    Instructions of the system and what the user said last stay as they are, and so do the newest
    turns as long as possible. First the results of tools in older turns are cut down to their
    beginning and end, oldest first; then the oldest turns go, and a summary or a note stands for
    them. If that is not enough, the same is done to the steps of the last turn. The same input
    gives the same output, and what fits comes back as it is.

    Args:
        messages: The conversation, which a provider would take.
        budget: Tokens there are.
        count: Counts the tokens of a message.
        summaries: Summaries by the digest of the chunk that they stand for, as `plan_summaries`
            wanted them; turns then go by whole chunks.
    """
    total = sum(map(count, messages))
    if total <= budget:
        return FittedConversation(messages=tuple(messages), tokens=total)
    cutter = _Cutter(take_apart(messages), count, summaries or {})
    cut = cutter.find(budget)
    built, left_out = cutter.build(cut), cutter.left_out(cut)
    tokens = cutter.tokens(cut)
    if tokens >= total:  # notes would be longer than what they stand for
        built, left_out, tokens = tuple(messages), (), total
    return FittedConversation(
        messages=built, tokens=tokens, fits=tokens <= budget, left_out=left_out
    )


def plan_summaries(
    messages: Sequence[Message], budget: int, count: CountMessage, *, summary_tokens: int
) -> Plan:
    """Return which chunks should be summarised so that *messages* fit into *budget* tokens.

    They are the newest of those that have to go: no more than a quarter of the budget is for
    summaries, and a note stands for what went before.

    Args:
        messages: The conversation.
        budget: Tokens there are.
        count: Counts the tokens of a message.
        summary_tokens: Most tokens of one summary.
    """
    if sum(map(count, messages)) <= budget:
        return Plan()
    turns = take_apart(messages)
    chunks = turns.chunks
    cutter = _Cutter(turns, count, {})
    most = max(1, int(budget * _SHARE_OF_SUMMARIES) // summary_tokens)

    def fits(number: int) -> bool:
        gone = chunks[number - 1].first + chunks[number - 1].turns if number else 0
        cut = _Cut(turns=gone, shortened=len(turns.turns))
        return cutter.tokens(cut) + min(number, most) * summary_tokens <= budget

    number = min(bisect_left(range(len(chunks) + 1), True, key=fits), len(chunks))
    return Plan(chunks=chunks[max(0, number - most) : number])


class _Gone(NamedTuple):
    """Turns that go together."""

    first: int
    turns: int
    messages: Sequence[Message]
    summary: str | None


class _Cutter:
    """Makes a conversation shorter in one way or another."""

    def __init__(self, turns: Turns, count: CountMessage, summaries: Mapping[str, str]) -> None:
        self._turns = turns
        self._count = count
        self._summaries = summaries
        self._counted: dict[int, tuple[Message, int]] = {}
        self._short: dict[tuple[int, int], tuple[Message, Message]] = {}
        self._names = {
            part.id: part.name
            for message in chain.from_iterable(turns.turns)
            for part in message.parts
            if isinstance(part, ToolCallPart)
        }

    def find(self, budget: int) -> _Cut:
        """Return the way that loses least of those that fit; else the one that loses most."""
        older = len(self._turns.turns) - 1
        drops = list(range(older + 1))
        if self._summaries:
            drops = [0]
            for chunk in self._turns.chunks:
                drops.append(drops[-1] + chunk.turns)
        ways = [_Cut(turns=drop, shortened=older - drop) for drop in drops]
        best = self._first_that_fits(ways, budget)
        if best is None:
            return self._cut_last_turn(older, budget)
        kept = older - best.turns
        less = [_Cut(turns=best.turns, shortened=number) for number in range(kept + 1)]
        return self._first_that_fits(less, budget) or best

    def _cut_last_turn(self, older: int, budget: int) -> _Cut:
        """Return how the last turn fits when all others are gone."""
        steps = max(0, len(self._turns.steps) - 2)
        chunks = len(self._turns.chunks)
        ways = [_Cut(turns=older, summaries=number) for number in range(chunks + 1)]
        for level in range(1, len(_RESULTS)):
            ways.append(msgspec.structs.replace(ways[-1], level=level))
        ways += [msgspec.structs.replace(ways[-1], steps=number) for number in range(1, steps + 1)]
        for last in range(1, len(_RESULTS) + 1):
            ways.append(msgspec.structs.replace(ways[-1], level=len(_RESULTS), last=last))
        return self._first_that_fits(ways, budget) or ways[-1]

    def _first_that_fits(self, ways: Sequence[_Cut], budget: int) -> _Cut | None:
        """Return the first of *ways*, each shorter than the one before, that fits."""
        at = bisect_left(ways, True, key=lambda cut: self.tokens(cut) <= budget)
        return ways[at] if at < len(ways) else None

    def tokens(self, cut: _Cut) -> int:
        """Return the tokens of what is left."""
        return sum(map(self._tokens_of, self.build(cut)))

    def build(self, cut: _Cut) -> tuple[Message, ...]:
        """Return what is left."""
        turns = self._turns
        gone, kept = turns.turns[: cut.turns], turns.turns[cut.turns : -1]
        rules = [message for turn in gone for message in turn if message.role in _RULES]
        older: list[Message] = []
        for number, turn in enumerate(kept):
            level = 1 if number < cut.shortened else 0
            older += [self._shortened(message, level) for message in turn]
        last = self._last_turn(cut)
        body = [*older, *last]
        notes = self._notes(cut)
        if notes and body:
            body[0] = msgspec.structs.replace(body[0], parts=(*notes, *body[0].parts))
        return (*turns.head, *rules, *body)

    def _last_turn(self, cut: _Cut) -> list[Message]:
        first, *steps = self._turns.steps
        asked = list(first)
        rules: list[Message] = []
        gone = steps[: cut.steps]
        if gone:
            tokens = sum(self._tokens_of(message) for step in gone for message in step)
            note = _note(f"{_counted(len(gone), 'step')} left out, about {tokens} tokens")
            asked[0] = msgspec.structs.replace(asked[0], parts=(*asked[0].parts, note))
            rules = [m for step in gone for m in step if m.role in _RULES]
        kept = steps[cut.steps :]
        out = [*asked, *rules]
        if not steps:  # the turn is one piece
            return [self._shortened(message, cut.last) for message in out]
        for number, step in enumerate(kept):
            level = cut.last if number == len(kept) - 1 else cut.level
            out += [self._shortened(message, level) for message in step]
        return out

    def _notes(self, cut: _Cut) -> list[Part]:
        """Return what stands for the turns that go."""
        return [
            _said_of_turns(one.turns, sum(map(self._tokens_of, one.messages)))
            if one.summary is None
            else _said_of_summary(one.turns, one.summary)
            for one in self._gone(cut)
        ]

    def _gone(self, cut: _Cut) -> list[_Gone]:
        """Return the turns that go: by their summaries, and those between them together."""
        gone: list[_Gone] = []
        first = 0
        for number, chunk in enumerate(self._turns.chunks):
            end = chunk.first + chunk.turns
            summary = self._summary_of(cut, number)
            if end > cut.turns or summary is None:
                continue
            if first < chunk.first:
                gone.append(self._untold(first, chunk.first))
            gone.append(_Gone(chunk.first, chunk.turns, chunk.messages, summary))
            first = end
        if first < cut.turns:
            gone.append(self._untold(first, cut.turns))
        return gone

    def _untold(self, first: int, end: int) -> _Gone:
        told = chain.from_iterable(self._turns.turns[first:end])
        messages = tuple(message for message in told if message.role not in _RULES)
        return _Gone(first, end - first, messages, None)

    def _summary_of(self, cut: _Cut, number: int) -> str | None:
        if number < cut.summaries:
            return None
        return self._summaries.get(self._turns.chunks[number].digest)

    def left_out(self, cut: _Cut) -> tuple[LeftOut, ...]:
        """Return what is missing, oldest first."""
        turns = self._turns
        out = [
            self._left_out(one.messages, _turns_named(one.first, one.turns), one.summary)
            for one in self._gone(cut)
        ]
        for number, turn in enumerate(turns.turns[cut.turns : -1]):
            if number < cut.shortened:
                out += self._shortened_in(turn, 1)
        first, *steps = turns.steps
        if cut.steps:
            gone = [m for step in steps[: cut.steps] for m in step if m.role not in _RULES]
            out.append(
                self._left_out(gone, f"{_counted(cut.steps, 'step')} of the last turn", None)
            )
        if not steps:
            out += self._shortened_in(first, cut.last)
        for number, step in enumerate(steps[cut.steps :]):
            is_last = number == len(steps) - cut.steps - 1
            out += self._shortened_in(step, cut.last if is_last else cut.level)
        return tuple(out)

    def _left_out(self, messages: Sequence[Message], what: str, summary: str | None) -> LeftOut:
        saved = sum(map(self._tokens_of, messages))
        if summary is None:
            return LeftOut(what=what, how="dropped", lines=lines_in(messages), tokens=saved)
        stands = Message(role="user", parts=(TextPart(text=summary),))
        tokens = max(0, saved - self._count(stands))
        return LeftOut(what=what, how="summarised", lines=lines_in(messages), tokens=tokens)

    def _shortened_in(self, messages: Sequence[Message], level: int) -> list[LeftOut]:
        out = []
        for message in messages:
            short = self._shortened(message, level)
            if short is message:
                continue
            saved = self._tokens_of(message) - self._tokens_of(short)
            lines = sum(
                excerpt(part.text, _RESULTS[level - 1])[1]
                for part in message.parts
                if isinstance(part, ToolResultPart)
            )
            names = [
                part.name or self._names.get(part.id) or "a tool"
                for part in message.parts
                if isinstance(part, ToolResultPart)
            ]
            what = f"what {' and '.join(dict.fromkeys(names))} gave"
            out.append(LeftOut(what=what, how="shortened", lines=lines, tokens=max(0, saved)))
        return out

    def _tokens_of(self, message: Message) -> int:
        known = self._counted.get(id(message))
        if known is None:  # the message is kept beside, so that no other gets its id
            known = self._counted[id(message)] = (message, self._count(message))
        return known[1]

    def _shortened(self, message: Message, level: int) -> Message:
        """Return *message* with shorter results of tools; itself if there are none."""
        if not level or not any(isinstance(part, ToolResultPart) for part in message.parts):
            return message
        known = self._short.get((id(message), level))
        if known is None:
            most = _RESULTS[level - 1]
            parts = tuple(
                _short_result(part, most) if isinstance(part, ToolResultPart) else part
                for part in message.parts
            )
            is_same = all(a is b for a, b in zip(parts, message.parts, strict=True))
            short = message if is_same else msgspec.structs.replace(message, parts=parts)
            known = self._short[id(message), level] = (message, short)
        return known[1]


def _short_result(part: ToolResultPart, most: int) -> ToolResultPart:
    text, _ = excerpt(part.text, most)
    if part.images:
        note = f"[... {_counted(len(part.images), 'picture')} left out ...]"
        text = f"{closed(text).rstrip(chr(10))}\n{note}" if text else note
    elif text == part.text:
        return part
    return msgspec.structs.replace(part, text=text, images=())


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _turns_named(first: int, count: int) -> str:
    return f"turn {first + 1}" if count == 1 else f"turns {first + 1} to {first + count}"


def _note(said: str) -> TextPart:
    return TextPart(text=f"[... {said} ...]\n")


def _said_of_turns(turns: int, tokens: int) -> TextPart:
    return _note(f"{_counted(turns, 'earlier turn')} left out, about {tokens} tokens")


def _said_of_summary(turns: int, summary: str) -> TextPart:
    text = closed(summary.strip("\n")).rstrip("\n")
    heading = f"[... {_counted(turns, 'earlier turn')} left out; a summary of them: ...]"
    return TextPart(text=f"{heading}\n{text}\n[... end of the summary ...]\n")
