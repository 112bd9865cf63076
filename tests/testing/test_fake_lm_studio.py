"""The stand-in for LM Studio, driven by the clients that are made for the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lmstudio
import openai
import pytest

from aiex.testing.fake_lm_studio import FakeLMStudio, LMStudioAnswer, LMStudioModel

HELLO: Any = [{"role": "user", "content": "hi"}]
EMBEDDER = LMStudioModel(key="embed-1", kind="embedding", max_context_length=2048)


@contextmanager
def openai_at(server: FakeLMStudio) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


# ---------------------------------------------------------------- the client of OpenAI


def test_openai_s_client_reads_its_streams_and_whole_replies() -> None:
    answer = LMStudioAnswer(text="two words", reasoning="hm", calls=(("grep", "{}"),))
    with FakeLMStudio([answer]) as server, openai_at(server) as client:
        assert [model.id for model in client.models.list()] == ["fake-1"]
        whole = client.chat.completions.create(model="fake-1", messages=HELLO)
        stream = client.chat.completions.create(model="fake-1", messages=HELLO, stream=True)
        chunks = list(stream)
    message = whole.choices[0].message
    assert message.content == "two words"
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.name == "grep"  # type: ignore[union-attr]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "two words"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2
    assert server.loads == ["fake-1"]


def test_openai_s_client_reads_its_embeddings() -> None:
    with FakeLMStudio(models=[EMBEDDER]) as server, openai_at(server) as client:
        found = client.embeddings.create(
            model="embed-1", input=["four", "letters"], encoding_format="float"
        )
    assert [one.embedding for one in found.data] == [[4.0, 0.5], [7.0, 0.5]]


def test_openai_s_client_sees_its_errors() -> None:
    answers = [
        LMStudioAnswer(status=400, error="Context size has been exceeded."),
        LMStudioAnswer(text="half", error="it broke"),
    ]
    with FakeLMStudio(answers) as server, openai_at(server) as client:
        with pytest.raises(openai.NotFoundError, match="not found"):
            client.chat.completions.create(model="absent", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="Context size"):
            client.chat.completions.create(model="fake-1", messages=HELLO)
        stream = client.chat.completions.create(model="fake-1", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="it broke"):
            list(stream)


# ---------------------------------------------------------------- the client of LM Studio


def test_lm_studio_s_client_reads_its_lists_of_models() -> None:
    models = [LMStudioModel(vision=True), EMBEDDER, LMStudioModel(key="ready", loaded_with=8192)]
    with FakeLMStudio(models=models) as server, lmstudio.Client(server.host) as client:
        downloaded = client.list_downloaded_models()
        only_llms = client.list_downloaded_models("llm")
        [loaded] = client.list_loaded_models()
    assert [model.model_key for model in downloaded] == ["fake-1", "embed-1", "ready"]
    assert [model.model_key for model in only_llms] == ["fake-1", "ready"]
    assert downloaded[0].info.vision
    assert loaded.identifier == "ready"


def test_lm_studio_s_client_reads_a_reply_of_a_model_loaded_on_demand() -> None:
    with (
        FakeLMStudio([LMStudioAnswer(text="two words")]) as server,
        lmstudio.Client(server.host) as client,
    ):
        model = client.llm.model("fake-1")
        reply = model.respond("hi")
        fragments = [fragment.content for fragment in model.respond_stream("hi")]
    assert reply.content == "two words"
    assert reply.stats.stop_reason == "eosFound"
    assert reply.model_info.model_key == "fake-1"
    assert fragments == ["two", " words"]
    assert server.loads == ["fake-1"]
    said = server.bodies[0]["history"]["messages"]
    assert [one["role"] for one in said] == ["user"]


def test_lm_studio_s_client_cancels_a_reply() -> None:
    with (
        FakeLMStudio([LMStudioAnswer(text="one two", holds=True)]) as server,
        lmstudio.Client(server.host) as client,
    ):
        stream = client.llm.model("fake-1").respond_stream("hi")
        for _ in stream:
            stream.cancel()
    assert stream.result().stats.stop_reason == "userStopped"
    assert server.left.is_set()


def test_lm_studio_s_client_reads_an_embedding() -> None:
    with FakeLMStudio(models=[EMBEDDER]) as server, lmstudio.Client(server.host) as client:
        vector = client.embedding.model("embed-1").embed("four")
    assert vector == [4.0, 0.5]


def test_lm_studio_s_client_sees_its_errors() -> None:
    with (
        FakeLMStudio([LMStudioAnswer(error="it broke")]) as server,
        lmstudio.Client(server.host) as client,
    ):
        with pytest.raises(lmstudio.LMStudioError):
            client.llm.model("absent")
        with pytest.raises(lmstudio.LMStudioError, match="it broke"):
            client.llm.model("fake-1").respond("hi")
