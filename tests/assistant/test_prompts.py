from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.assistant import prompts
from aiex.core import Message, TextPart


def words(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


@given(st.text("`a\n ~", max_size=60))
def test_no_code_can_close_the_fence_around_it(code: str) -> None:
    _, user = prompts.explain(
        kind="file",
        facts="- none",
        context=[("a.py:", code)],
        detail="basic",
        focus=None,
        question=None,
    )
    said = words(user).split("a.py:\n", 1)[1]
    fence = re.match("`+", said)
    assert fence
    inside = said[fence.end() + 1 :].split(f"\n{fence[0]}\n")[0]
    assert fence[0] not in inside
    assert inside == code.rstrip("\n")


@pytest.mark.parametrize("focus", ["architecture", "patterns", "performance", "security"])
def test_what_was_asked_for_is_asked_of_the_model(focus: prompts.Focus) -> None:
    plain, focused = (
        prompts.explain(
            kind="symbol",
            facts="- a function",
            context=[("x.py:", "x = 1")],
            detail="advanced",
            focus=choice,
            question="Why?",
        )
        for choice in (None, focus)
    )
    assert "an expert" in words(plain[0])
    assert words(plain[1]).endswith("Why?")
    assert words(focused[1]) != words(plain[1])


def test_a_repair_keeps_the_conversation_and_names_the_problem() -> None:
    asked = prompts.create_module(
        name="a.b", path="src/a/b.py", language="python", description="Adds.", examples=[]
    )
    again = prompts.repair(asked, reply="nonsense", problem="it is no Python")
    assert again[: len(asked)] == asked
    assert [message.role for message in again[len(asked) :]] == ["assistant", "user"]
    assert "it is no Python" in words(again[-1])
