from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiex.llm
from aiex.core import (
    ImagePart,
    Message,
    ModelCall,
    OpaquePart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolResultPart,
)
from aiex.llm import TokenCounter
from aiex.llm.ports import Counted

SOURCE = Path(aiex.llm.__file__).with_name("coordinator.py").read_text()


def call(*texts: str, model: str = "gpt-5", **options: object) -> ModelCall:
    messages = tuple(Message(role="user", parts=(TextPart(text=text),)) for text in texts)
    return msgspec.structs.replace(ModelCall(model=model, messages=messages), **options)


def test_counting_by_length_never_counts_code_short() -> None:
    bpe = pytest.importorskip("bpe_openai").get_encoding("o200k_base")
    assert TokenCounter().text(SOURCE, "gpt-5") >= len(bpe.encode_ordinary(SOURCE))


@pytest.mark.anyio
async def test_a_sharpened_count_is_the_tokenizers() -> None:
    bpe = pytest.importorskip("bpe_openai").get_encoding("o200k_base")
    counter = TokenCounter()
    assert await counter.sharpen()
    assert counter.text(SOURCE, "gpt-5") == len(bpe.encode_ordinary(SOURCE))


def test_the_tokenizer_is_not_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys; from aiex.llm import TokenCounter; TokenCounter().text('x', 'gpt-5');"
        "sys.exit(any(name.startswith('bpe_openai') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.anyio
async def test_a_very_long_text_is_counted_too() -> None:
    counter = TokenCounter()
    await counter.sharpen()
    assert counter.text("one two " * 200_000, "gpt-5") >= 400_000


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ("gpt-5.4-mini", 1.0),
        ("o3", 1.0),
        ("claude-3-5-sonnet-20241022", 1.15),
        ("claude-haiku-4-5-20251001", 1.15),
        ("claude-sonnet-4-20250514", 1.15),
        ("claude-sonnet-4-6", 1.15),
        ("claude-opus-4-7", 1.55),
        ("claude-opus-4.8", 1.55),
        ("claude-sonnet-5-5", 1.55),
        ("claude-fable-5-2", 1.55),
        ("qwen2.5-coder:14b", 1.2),
    ],
)
def test_each_family_has_its_factor(model: str, factor: float) -> None:
    assert TokenCounter().factor(model) == factor


def test_every_part_of_a_call_is_counted() -> None:
    counter = TokenCounter()
    bare = counter.call(call("Hello."))
    tool = Tool(name="grep", description="Find text.", parameters=msgspec.Raw(b'{"type":"object"}'))
    schema = ResponseFormat(kind="json_schema", schema=msgspec.Raw(b'{"type":"object"}'))
    picture = Message(role="user", parts=(ImagePart(url="https://example.com/a.png"),))
    assert counter.call(call("Hello.", "And again.")) > bare
    assert counter.call(call("Hello.", tools=(tool,))) > bare
    assert counter.call(call("Hello.", response_format=schema)) > bare
    assert counter.call(call("Hello.", messages=(picture,))) > 1000


def prompt(plain: int, **more: Any) -> Counted:
    return Counted(basis="bytes", plain=plain, **more)


def test_a_factor_is_learned_from_what_was_billed_and_holds_for_the_family() -> None:
    counter = TokenCounter()
    for _ in range(50):
        counter.learn("new-1:8b", counter.measure(call("x" * 3000)), billed=1704)
    assert counter.text("x" * 3000, "new-1:8b") == 1700
    assert counter.factor("vendor/New-2") == counter.factor("new-1:8b")
    assert counter.factor("other-1") == 1.2
    again = TokenCounter(counter.learned)
    assert again.factor("new-1") == counter.factor("new-1")
    [learned] = again.learned
    assert (learned.family, learned.basis, learned.lessons) == ("new", "bytes", 50)


def test_the_first_lessons_weigh_most_and_no_later_one_a_lot() -> None:
    counter = TokenCounter()
    counter.learn("new-1", prompt(1000), billed=800)
    assert counter.factor("new-1") == pytest.approx((1.2 + 0.8) / 2)
    for _ in range(100):
        counter.learn("new-1", prompt(1000), billed=800)
    counter.learn("new-1", prompt(1000), billed=1800)
    assert counter.factor("new-1") == pytest.approx(1.0, abs=0.01)


@given(st.lists(st.tuples(st.integers(200, 10**6), st.floats(0, 10)), max_size=30))
def test_a_factor_stays_sane_whatever_is_billed(lessons: list[tuple[int, float]]) -> None:
    counter = TokenCounter()
    for plain, ratio in lessons:
        counter.learn("new-1", prompt(plain), billed=int(plain * ratio))
    assert 0.5 <= counter.factor("new-1") <= 2.0


def test_what_is_no_text_has_no_factor() -> None:
    counter = TokenCounter()
    counter.learn("new-1", prompt(1000, beside=900), billed=1000 + 900)
    assert counter.factor("new-1") == pytest.approx(1.1)
    assert counter.tokens(prompt(1000, beside=900), "new-1") == 1100 + 900


@pytest.mark.anyio
async def test_what_is_learned_by_length_is_not_used_for_the_tokenizer() -> None:
    pytest.importorskip("bpe_openai")
    counter = TokenCounter()
    by_length = counter.measure(call(SOURCE, model="new-1"))
    assert await counter.sharpen()
    # A call that was counted before is billed after.
    counter.learn("new-1", by_length, billed=by_length.plain)
    counter.learn("new-1", counter.measure_body(3000), billed=500)
    assert counter.factor("new-1") == 1.2
    assert [(one.basis, one.lessons) for one in counter.learned] == [("body", 1), ("bytes", 1)]


@pytest.mark.parametrize(
    ("counted", "billed"),
    [
        (prompt(100), 200),
        (prompt(1000), 0),
        (prompt(1000), 40),
        (prompt(1000), 9000),
        (prompt(1000, beside=1600), 2600),
        (prompt(1000, is_clear=False), 1000),
    ],
)
def test_a_bill_that_says_little_about_the_texts_teaches_nothing(
    counted: Counted, billed: int
) -> None:
    counter = TokenCounter()
    counter.learn("new-1", counted, billed=billed)
    assert counter.learned == []


def test_a_tool_of_the_providers_own_makes_a_bill_unclear() -> None:
    counter = TokenCounter()
    raw = msgspec.Raw(b'{"type":"web_search_20250305","name":"web_search"}')
    search = Tool(name="web_search", opaque=OpaquePart(wire="anthropic_messages", json=raw))
    own = Tool(name="grep", parameters=msgspec.Raw(b"{}"))
    assert not counter.measure(call("Hello.", tools=(search,))).is_clear
    assert counter.measure(call("Hello.", tools=(own,))).is_clear


def test_what_claude_is_told_about_tools_schemas_and_thinking_is_counted() -> None:
    counter = TokenCounter()
    bare = counter.call(call("Hello.", model="claude-opus-4-6"))
    tool = Tool(name="a", parameters=msgspec.Raw(b"{}"))
    schema = ResponseFormat(kind="json_schema", schema=msgspec.Raw(b"{}"))
    for more, least in (
        ({"tools": (tool,)}, 500),
        ({"response_format": schema}, 90),
        ({"reasoning_budget": 1024}, 29),
    ):
        assert counter.call(call("Hello.", model="claude-opus-4-6", **more)) >= bare + least
        assert counter.call(call("Hello.", model="gpt-5", **more)) < bare + 20
    body = counter.measure_body(300, model="claude-opus-4-6", has_tools=True)
    assert (body.plain, body.beside) == (100, 500)


def test_messages_add_up_to_what_a_call_of_them_has() -> None:
    counter = TokenCounter()
    picture = Message(role="user", parts=(ImagePart(url="https://example.com/a.png"),))
    result = Message(role="tool", parts=(ToolResultPart(id="1", text="found " * 40),))
    asked = call("Hello.", "And again.", model="new-1")
    asked = msgspec.structs.replace(asked, messages=(*asked.messages, picture, result))
    added = sum(counter.message(message, "new-1") for message in asked.messages)
    assert counter.call(asked) <= added <= counter.call(asked) + len(asked.messages)


@settings(max_examples=200)
@given(st.text(st.characters()))
def test_any_text_can_be_counted(text: str) -> None:
    counter = TokenCounter()
    assert (counter.text(text, "any") > 0) == bool(text)


def test_broken_unicode_is_counted() -> None:
    assert TokenCounter().text("a\ud800b", "any") > 0
