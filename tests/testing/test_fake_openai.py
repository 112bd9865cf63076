from __future__ import annotations

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from aiex.testing.fake_openai import FakeOpenAI, Scripted

HELLO: ChatCompletionUserMessageParam = {"role": "user", "content": "hi"}


def test_the_official_client_reads_its_streams_and_whole_replies() -> None:
    with FakeOpenAI([Scripted(text="two words")]) as server:
        client = openai.OpenAI(base_url=server.url, api_key="k", max_retries=0)
        with client:
            assert [model.id for model in client.models.list()] == ["fake-1"]
            whole = client.chat.completions.create(model="m", messages=[HELLO])
            assert whole.choices[0].message.content == "two words"
            stream = client.chat.completions.create(model="m", messages=[HELLO], stream=True)
            chunks = list(stream)
        said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert "".join(said) == "two words"
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 2
        assert server.bodies[0]["messages"] == [HELLO]


def test_the_official_client_sees_its_errors() -> None:
    error = {"type": "insufficient_quota", "code": "insufficient_quota", "message": "no more"}
    with (
        FakeOpenAI([Scripted(status=429, error=error)]) as server,
        openai.OpenAI(base_url=server.url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.RateLimitError, match="no more"),
    ):
        client.chat.completions.create(model="m", messages=[HELLO])
