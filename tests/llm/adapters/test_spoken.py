"""Adapters say in which wire they ask, which is what a call is fitted to."""

from __future__ import annotations

import pytest

from aiex.llm import Adapter
from aiex.llm.adapters.anthropic import AnthropicAdapter
from aiex.llm.adapters.lm_studio import LMStudioAdapter
from aiex.llm.adapters.ollama import OllamaAdapter
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.wires import Spoken


@pytest.mark.parametrize(
    ("adapter", "wire", "takes_thinking"),
    [
        (OpenAIAdapter(), "openai_chat", False),
        (OpenAIAdapter(api="responses"), "openai_responses", False),
        (AnthropicAdapter(), "anthropic_messages", False),
        (OllamaAdapter(), "ollama", True),
        (LMStudioAdapter(), "openai_chat", True),
    ],
)
def test_an_adapter_says_in_which_wire_it_asks(
    adapter: Adapter, wire: str, takes_thinking: bool
) -> None:
    assert adapter.spoken == Spoken(wire=wire, takes_thinking=takes_thinking)
