from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiex.context import fit_conversation, plan_summaries
from aiex.context.compress.excerpts import closing_fences, lines_of
from aiex.context.compress.turns import take_apart
from aiex.core import ImagePart, Message, Part, Role, TextPart, ToolCallPart, ToolResultPart

LONG = "".join(f"line {n} of what came out\n" for n in range(200))
FENCED = "Look:\n\n```py\n" + "x = 1\n" * 400 + "```\n\nThat is all.\n"
MINIFIED = '{"rows":[' + ",".join(str(n) for n in range(3000)) + "]}"


def size(message: Message) -> int:
    return 4 + len(msgspec.json.encode(message.parts)) // 3


def total(messages: Sequence[Message]) -> int:
    return sum(map(size, messages))


def said(role: Role, *parts: Part | str) -> Message:
    made = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return Message(role=role, parts=made)


def called(number: int, arguments: str = '{"for":"x"}') -> ToolCallPart:
    return ToolCallPart(id=f"call_{number}", name="grep", arguments=arguments)


def gave(number: int, text: str) -> ToolResultPart:
    return ToolResultPart(id=f"call_{number}", text=text)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Conversations that every provider takes, results of tools in either kind of message."""
    words = st.sampled_from(["hello", "why?\n```\ncode\n```", "long " * 300, LONG])
    results = st.sampled_from(["", "ok", LONG, FENCED, MINIFIED, "```\nopen " * 90])
    in_user_messages = draw(st.booleans())
    messages = [said("system", "You help.")] * draw(st.integers(0, 2))
    if draw(st.booleans()):
        messages.append(said("assistant", "Welcome."))
    number = 0
    for turn in range(draw(st.integers(1, 6))):
        messages.append(said("user", draw(words)))
        if turn and draw(st.booleans()):
            messages.append(said("system", "A new rule."))
        for _ in range(draw(st.integers(0, 3))):
            count = draw(st.integers(1, 2))
            calls = [called(number + n, '{"all":"%s"}' % ("y" * 50)) for n in range(count)]
            messages.append(said("assistant", "I look.", *calls))
            pictures = (ImagePart(url="https://example.org/a.png"),) * draw(st.integers(0, 1))
            answers = [
                msgspec.structs.replace(gave(number + n, draw(results)), images=pictures)
                for n in range(count)
            ]
            number += count
            if in_user_messages:
                messages.append(said("user", *answers))
            else:
                messages += [said("tool", answer) for answer in answers]
            if draw(st.integers(0, 4)) == 0:
                messages.append(said("system", "Another rule."))
        messages.append(said("assistant", draw(words)))
    if draw(st.booleans()):
        messages.append(said("user", draw(words)))
    return messages


def refusal(messages: Sequence[Message]) -> str | None:
    """Return why some provider would refuse *messages*; `None` if all take them."""
    spoken = [m for m in messages if m.role not in {"system", "developer"}]
    if any(not m.parts for m in messages):
        return "an empty message"
    texts = [p.text for m in messages for p in m.parts if isinstance(p, TextPart)]
    if not all(text.strip() for text in texts):
        return "an empty text"
    sides = ["assistant" if m.role == "assistant" else "user" for m in spoken]
    results = [any(isinstance(p, ToolResultPart) for p in m.parts) for m in spoken]
    for (one, other), (first, second) in zip(pairwise(sides), pairwise(results), strict=True):
        if one == other and not (first and second):
            return "speakers do not take turns"
    open_calls: set[str] = set()
    for message in spoken:
        answers = {p.id for p in message.parts if isinstance(p, ToolResultPart)}
        if not answers <= open_calls:
            return "a result without its call"
        open_calls -= answers
        if open_calls and not answers:
            return "a call without its result"
        open_calls |= {p.id for p in message.parts if isinstance(p, ToolCallPart)}
    return "a call without its result at the end" if open_calls else None


def texts_of(messages: Sequence[Message]) -> list[str]:
    return [
        part.text
        for message in messages
        for part in message.parts
        if isinstance(part, TextPart | ToolResultPart)
    ]


def has_open_fence(text: str) -> bool:
    return closing_fences(lines_of(text))[-1] is not None


@settings(max_examples=400, deadline=None)
@given(conversations(), st.integers(0, 110), st.booleans(), st.data())
def test_what_comes_out_fits_or_says_so_and_no_provider_refuses_it(
    messages: list[Message], percent: int, summarised: bool, data: st.DataObject
) -> None:
    assert refusal(messages) is None
    budget = total(messages) * percent // 100
    summaries = {}
    if summarised:
        plan = plan_summaries(messages, budget, size, summary_tokens=50)
        text = data.draw(st.sampled_from(["They said hello.", "Code:\n```py\nx = 1\n"]))
        summaries = {c.digest: text for c in plan.chunks if data.draw(st.booleans())}
    fitted = fit_conversation(messages, budget, size, summaries=summaries)

    assert refusal(fitted.messages) is None
    assert fitted.tokens == total(fitted.messages)
    assert fitted.fits is (fitted.tokens <= budget)
    assert fitted.tokens <= total(messages)
    assert bool(fitted.left_out) is (list(fitted.messages) != messages)
    # Instructions, and what the user said last, are kept whole and in order.
    rules = [m for m in messages if m.role == "system"]
    assert [m for m in fitted.messages if m.role == "system"] == rules
    asked = [p for m in messages if m.role == "user" for p in m.parts if isinstance(p, TextPart)]
    assert asked[-1] in [p for m in fitted.messages for p in m.parts]
    # A call is never changed; a fence is never left open where none was.
    calls = [p for m in messages for p in m.parts if isinstance(p, ToolCallPart)]
    kept = [p for m in fitted.messages for p in m.parts if isinstance(p, ToolCallPart)]
    assert kept == calls[len(calls) - len(kept) :]
    known = set(texts_of(messages))
    assert not any(has_open_fence(text) for text in texts_of(fitted.messages) if text not in known)
    # The same again gives the same, and nothing more goes.
    again = fit_conversation(messages, budget, size, summaries=summaries)
    assert again == fitted
    if fitted.fits:
        assert fit_conversation(fitted.messages, budget, size).messages == fitted.messages


@settings(max_examples=100, deadline=None)
@given(conversations())
def test_a_larger_budget_never_keeps_fewer_turns(messages: list[Message]) -> None:
    whole = total(messages)
    users = [
        sum(m.role == "user" for m in fit_conversation(messages, budget, size).messages)
        for budget in range(0, whole + 10, max(1, whole // 12))
    ]
    assert users == sorted(users)


def test_what_fits_comes_back_as_it_is() -> None:
    messages = (said("user", "a"), said("assistant", "b"))
    fitted = fit_conversation(messages, total(messages), size)
    assert (fitted.messages, fitted.left_out, fitted.fits) == (messages, (), True)


TALK = [
    said("system", "You help."),
    said("user", "one"),
    said("assistant", called(1)),
    said("tool", gave(1, LONG)),
    said("assistant", "first"),
    said("user", "two"),
    said("assistant", called(2)),
    said("tool", gave(2, LONG)),
    said("assistant", "second"),
    said("user", "three"),
    said("assistant", called(3)),
    said("tool", gave(3, LONG)),
    said("assistant", "third"),
    said("user", "four"),
]


def result(messages: Sequence[Message], number: int) -> str | None:
    parts = [p for m in messages for p in m.parts if isinstance(p, ToolResultPart)]
    return next((p.text for p in parts if p.id == f"call_{number}"), None)


def test_the_oldest_results_are_shortened_before_any_turn_goes() -> None:
    fitted = fit_conversation(TALK, total(TALK) - 500, size)

    assert len(fitted.messages) == len(TALK)
    assert result(fitted.messages, 2) == result(fitted.messages, 3) == LONG
    short = result(fitted.messages, 1) or ""
    assert short.startswith("line 0 of what came out\nline 1 ")
    assert short.endswith("line 199 of what came out\n")
    [left] = fitted.left_out
    assert f"[... {left.lines} lines left out ...]\n" in short
    assert (left.what, left.how) == ("what grep gave", "shortened")
    assert left.tokens == total(TALK) - fitted.tokens


def test_then_the_oldest_turns_go_and_a_note_says_how_many() -> None:
    fitted = fit_conversation(TALK, 700, size)

    note, text = fitted.messages[1].parts
    assert isinstance(note, TextPart)
    assert note.text.startswith("[... 2 earlier turns left out, about ")
    assert text == TextPart(text="three")
    assert [m.role for m in fitted.messages] == ["system", "user", "assistant", "tool",
                                                 "assistant", "user"]  # fmt: skip
    assert [(left.what, left.how) for left in fitted.left_out] == [
        ("turns 1 to 2", "dropped"),
        ("what grep gave", "shortened"),
    ]


def test_a_turn_of_very_many_steps_loses_the_oldest_of_them() -> None:
    steps = [
        message
        for n in range(40)
        for message in (said("assistant", called(n)), said("tool", gave(n, LONG)))
    ]
    messages = [said("user", "Do it all."), *steps]
    fitted = fit_conversation(messages, 3000, size)

    assert fitted.fits
    assert fitted.messages[-1] == messages[-1]  # what it just saw is whole
    question, note = fitted.messages[0].parts
    assert question == TextPart(text="Do it all.")
    assert isinstance(note, TextPart)
    assert "steps left out, about " in note.text
    assert fitted.left_out[0].what.endswith("steps of the last turn")
    assert refusal(fitted.messages) is None


def test_what_cannot_fit_says_so() -> None:
    fitted = fit_conversation([said("user", "word " * 1000)], 100, size)
    assert not fitted.fits
    assert fitted.messages == (said("user", "word " * 1000),)


def test_a_summary_stands_for_its_turns_and_the_rest_is_a_note() -> None:
    long = [
        message
        for n in range(6)
        for message in (said("user", f"question {n}"), said("assistant", f"{n} " + "word " * 1000))
    ]
    messages = [*long, said("user", "last")]
    plan = plan_summaries(messages, 4000, size, summary_tokens=100)
    assert [(c.first, c.turns) for c in plan.chunks] == [(0, 2), (2, 2)]

    summaries = {plan.chunks[1].digest: "They counted to three."}
    fitted = fit_conversation(messages, 4000, size, summaries=summaries)

    first, summary, question = fitted.messages[0].parts
    assert isinstance(first, TextPart)
    assert isinstance(summary, TextPart)
    assert first.text.startswith("[... 2 earlier turns left out, about ")
    assert summary.text == (
        "[... 2 earlier turns left out; a summary of them: ...]\n"
        "They counted to three.\n[... end of the summary ...]\n"
    )
    assert question == TextPart(text="question 4")
    assert [(left.what, left.how) for left in fitted.left_out] == [
        ("turns 1 to 2", "dropped"),
        ("turns 3 to 4", "summarised"),
    ]


def test_a_conversation_that_goes_on_has_the_same_chunks_again() -> None:
    turns = [
        message
        for n in range(12)
        for message in (said("user", f"question {n}"), said("assistant", f"{n} " + "word " * 700))
    ]
    digests = []
    for end in (8, 16, 24):
        messages = [*turns[:end], said("user", "and?")]
        digests.append([c.digest for c in take_apart(messages).chunks if c.turns == 3])
    assert digests[0] == digests[1][:1] == digests[2][:1]
    assert digests[1] == digests[2][:2]
    assert [len(one) for one in digests] == [1, 2, 4]


def test_what_fits_needs_no_summary() -> None:
    assert plan_summaries(TALK, total(TALK), size, summary_tokens=10).chunks == ()
    assert plan_summaries(TALK, total(TALK) - 500, size, summary_tokens=10).chunks == ()


@pytest.mark.parametrize("text", [LONG, FENCED, MINIFIED, "```\nopen " * 90])
def test_the_newest_result_is_shortened_only_when_nothing_else_helps(text: str) -> None:
    messages = [said("user", "look"), said("assistant", called(1)), said("tool", gave(1, text))]
    fitted = fit_conversation(messages, 300, size)
    short = result(fitted.messages, 1) or ""
    assert fitted.fits
    assert 0 < len(short) < len(text)
    assert " left out ...]" in short
    assert not has_open_fence(short)


def test_a_call_and_its_result_stay_together_though_the_user_spoke_between_them() -> None:
    messages = [
        said("user", LONG),
        said("assistant", called(1)),
        said("user", "wait"),
        said("tool", gave(1, LONG)),
        said("assistant", LONG),
        said("user", "two"),
    ]
    for budget in range(0, total(messages), 50):
        parts = [p for m in fit_conversation(messages, budget, size).messages for p in m.parts]
        calls = sum(isinstance(part, ToolCallPart) for part in parts)
        assert calls == sum(isinstance(part, ToolResultPart) for part in parts)


def test_where_nobody_asked_no_step_goes_and_nothing_is_put_in_the_models_mouth() -> None:
    messages = [
        message
        for n in range(5)
        for message in (said("assistant", "I look.", called(n)), said("tool", gave(n, LONG)))
    ]
    fitted = fit_conversation(messages, 50, size)

    assert not fitted.fits
    assert [m for m in fitted.messages if m.role == "assistant"] == messages[::2]
    assert {left.how for left in fitted.left_out} == {"shortened"}


def test_instructions_inside_a_turn_are_not_summarised() -> None:
    turn = [said("user", "a"), said("system", "A rule."), said("assistant", "word " * 2000)]
    messages = [*turn, said("user", "last")]
    plan = plan_summaries(messages, 100, size, summary_tokens=10)
    assert [m.role for m in plan.chunks[0].messages] == ["user", "assistant"]


def test_summaries_that_do_not_fit_either_go_oldest_first() -> None:
    messages = [
        message
        for n in range(3)
        for message in (said("user", f"question {n}"), said("assistant", "word " * 1700))
    ]
    messages.append(said("user", "last"))
    chunks = take_apart(messages).chunks
    summaries = {chunk.digest: "They spoke. " * 50 for chunk in chunks}
    fitted = fit_conversation(messages, 500, size, summaries=summaries)

    assert fitted.fits
    assert [(left.what, left.how) for left in fitted.left_out] == [
        ("turns 1 to 2", "dropped"),
        ("turn 3", "summarised"),
    ]


def test_no_more_than_a_quarter_of_the_budget_is_for_summaries_of_the_newest_that_go() -> None:
    messages = [
        message
        for n in range(20)
        for message in (said("user", f"question {n}"), said("assistant", "word " * 1700))
    ]
    messages.append(said("user", "last"))
    plan = plan_summaries(messages, 8000, size, summary_tokens=500)

    assert [(c.first, c.turns) for c in plan.chunks] == [(14, 1), (15, 1), (16, 1), (17, 1)]
    summaries = {c.digest: "word " * 300 for c in plan.chunks}
    fitted = fit_conversation(messages, 8000, size, summaries=summaries)
    assert [left.what for left in fitted.left_out] == [
        "turns 1 to 14", "turn 15", "turn 16", "turn 17", "turn 18",
    ]  # fmt: skip
    assert fitted.fits


def test_pictures_of_old_results_go_and_it_is_said() -> None:
    picture = ImagePart(url="https://example.org/" + "a" * 3000)
    seen = msgspec.structs.replace(gave(1, "a screen"), images=(picture,))
    messages = [
        said("user", "look"), said("assistant", called(1)), said("tool", seen),
        said("assistant", "seen"), said("user", "and?"),
    ]  # fmt: skip
    fitted = fit_conversation(messages, 200, size)
    assert result(fitted.messages, 1) == "a screen\n[... 1 picture left out ...]"
    assert fitted.fits
