from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiex.llm
from aiex.core import ImagePart, Message, ModelCall, ResponseFormat, TextPart, Tool
from aiex.llm import TokenCounter

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


def test_a_factor_is_learned_from_what_was_billed() -> None:
    counter = TokenCounter()
    for _ in range(50):
        counter.learn("new-1", estimated=counter.text("x" * 3000, "new-1"), billed=1700)
    assert counter.text("x" * 3000, "new-1") == pytest.approx(1700, rel=0.01)
    again = TokenCounter(counter.learned)
    assert again.factor("new-1") == counter.factor("new-1")
    assert again.factor("other-1") == 1.2


def test_what_is_learned_by_length_is_not_used_for_the_tokenizer() -> None:
    counter = TokenCounter({"o200k/new-1": 3.0})
    assert counter.factor("new-1") == 1.2


@pytest.mark.parametrize(("estimated", "billed"), [(100, 200), (1000, 0), (1000, 40), (1000, 9000)])
def test_a_bill_that_cannot_be_for_the_whole_prompt_teaches_nothing(
    estimated: int, billed: int
) -> None:
    counter = TokenCounter()
    counter.learn("new-1", estimated=estimated, billed=billed)
    assert counter.learned == {}


@settings(max_examples=200)
@given(st.text(st.characters()))
def test_any_text_can_be_counted(text: str) -> None:
    counter = TokenCounter()
    assert (counter.text(text, "any") > 0) == bool(text)


def test_broken_unicode_is_counted() -> None:
    assert TokenCounter().text("a\ud800b", "any") > 0
