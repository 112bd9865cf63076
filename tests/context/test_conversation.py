from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiex.context import conversation_of, fit_conversation
from aiex.core import (
    Entry,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Turn,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)


def turn(*messages: Message, state: Any = "done") -> Turn:
    entries = tuple(Entry(message=message) for message in messages)
    return Turn(number=1, state=state, request_id="req_1", started=AT, entries=entries)


def user(text: str) -> Message:
    return Message(role="user", parts=(TextPart(text=text),))


def assistant(*parts: Part) -> Message:
    return Message(role="assistant", parts=parts)


def result(*ids: str, text: str = "here") -> Message:
    return Message(role="tool", parts=tuple(ToolResultPart(id=one, text=text) for one in ids))


def call(one: str, arguments: str = "{}") -> ToolCallPart:
    return ToolCallPart(id=one, name="read_file", arguments=arguments)


def check_legal(messages: Sequence[Message]) -> None:
    """A provider takes *messages*: calls and results pair up, and the two speak by turns."""
    waiting: set[str] = set()
    before = ""
    for message in messages:
        assert message.parts
        assert message.role in {"user", "assistant", "tool"}
        assert message.role != before
        if message.role == "tool":
            results = [p.id for p in message.parts if isinstance(p, ToolResultPart)]
            assert sorted(results) == sorted(waiting)
            waiting = set()
        else:
            assert not waiting
        for part in message.parts:
            if isinstance(part, TextPart):
                assert part.text.strip()
            if isinstance(part, ToolCallPart):
                waiting.add(part.id)
        before = message.role
    assert not waiting


PART = st.one_of(
    st.sampled_from(["", " ", "words"]).map(lambda text: TextPart(text=text)),
    st.just(ReasoningPart(text="hm", signature="s")),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["{}", '{"path"', ""])).map(
        lambda drawn: call(*drawn)
    ),
)
SAID = st.one_of(
    st.sampled_from(["", "why?"]).map(user),
    st.lists(PART, max_size=3, unique_by=lambda p: getattr(p, "id", id(p))).map(
        lambda parts: assistant(*parts)
    ),
    st.lists(st.sampled_from("abc"), max_size=3, unique=True).map(lambda ids: result(*ids)),
)
TURN = st.builds(
    lambda said, state: turn(user("first"), *said, state=state),
    st.lists(SAID, max_size=6),
    st.sampled_from(["done", "broken"]),
)


@given(st.lists(TURN, max_size=4))
def test_whatever_was_kept_a_provider_takes_it(turns: list[Turn]) -> None:
    check_legal([*conversation_of(turns), user("next")])


@given(st.lists(TURN, min_size=1, max_size=4), st.integers(0, 80))
def test_whatever_is_cut_a_provider_takes_the_rest(turns: list[Turn], budget: int) -> None:
    messages = [*conversation_of(turns), user("next")]

    fitted = fit_conversation(messages, budget, lambda message: len(str(message.parts)) // 8)

    check_legal(fitted.messages)
    assert fitted.messages[0].role == "user"
    assert "next" in str(fitted.messages[-1].parts)


@given(st.lists(TURN, max_size=4))
def test_without_tools_a_provider_takes_it_too(turns: list[Turn]) -> None:
    messages = [*conversation_of(turns, with_tools=False), user("next")]

    check_legal(messages)
    assert {message.role for message in messages} <= {"user", "assistant"}


def test_a_call_without_a_result_gets_one_and_the_answer_an_end() -> None:
    broken = turn(user("why?"), assistant(TextPart(text="I look."), call("a")), state="broken")

    question, answer, missing, end = conversation_of([broken])

    assert question == user("why?")
    assert answer.parts[1] == call("call_1_1")
    (told,) = missing.parts
    assert isinstance(told, ToolResultPart)
    assert told.is_error
    assert "broken off" in told.text
    assert "broken off" in str(end.parts)


def test_half_an_answer_keeps_its_words_and_says_that_it_is_half() -> None:
    _, answer = conversation_of(
        [turn(user("why?"), assistant(TextPart(text="Bec")), state="broken")]
    )

    (text,) = answer.parts
    assert isinstance(text, TextPart)
    assert text.text.startswith("Bec\n\n(This answer was broken off")


def test_a_question_without_any_answer_is_followed_by_a_note() -> None:
    _, answer = conversation_of([turn(user("why?"), state="broken")])

    assert answer.role == "assistant"
    assert "not answered" in str(answer.parts)


def test_thinking_is_not_sent_again_with_another_turn() -> None:
    thought = ReasoningPart(text="hm", signature="s")

    _, answer = conversation_of([turn(user("why?"), assistant(thought, TextPart(text="So.")))])

    assert answer == assistant(TextPart(text="So."))


def test_calls_of_the_same_name_are_told_apart() -> None:
    twice = turn(user("why?"), assistant(call("a")), result("a"), assistant(call("a")), result("a"))

    _, first, one, second, two, _ = conversation_of([twice])

    assert first.parts == (call("call_1_1"),)
    assert second.parts == (call("call_1_2"),)
    assert [p.id for m in (one, two) for p in m.parts if isinstance(p, ToolResultPart)] == [
        "call_1_1",
        "call_1_2",
    ]


def test_half_a_call_is_left_out() -> None:
    said = assistant(TextPart(text="I look."), call("a", '{"path": "sh'))

    _, answer = conversation_of([turn(user("why?"), said, state="broken")])

    assert not any(isinstance(part, ToolCallPart) for part in answer.parts)
