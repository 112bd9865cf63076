from __future__ import annotations

import ollama
import pytest

from aiex.testing.fake_ollama import FakeOllama, OllamaAnswer, OllamaModel

HELLO = [{"role": "user", "content": "hi"}]


def test_the_official_client_reads_its_streams_and_whole_replies() -> None:
    answer = OllamaAnswer(text="two words", thinking="hm", calls=(("grep", {"for": "x"}),))
    with FakeOllama([answer]) as server, ollama.Client(host=server.url) as client:
        whole = client.chat("fake", HELLO, options={"num_ctx": 8192})
        lines = list(client.chat("fake", HELLO, stream=True))
    assert whole.message.content == "two words"
    assert whole.message.thinking == "hm"
    assert whole.message.tool_calls is not None
    assert whole.message.tool_calls[0].function.arguments == {"for": "x"}
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "stop", 2)
    assert "".join(line.message.content or "" for line in lines) == "two words"
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert server.loads == [("fake:latest", 8192), ("fake:latest", 4096)]
    assert server.bodies[0]["messages"] == HELLO


def test_the_official_client_reads_its_lists_of_models() -> None:
    models = [OllamaModel(), OllamaModel(name="e:1", capabilities=("embedding",), family="bert")]
    with FakeOllama(models=models) as server, ollama.Client(host=server.url) as client:
        assert [model.model for model in client.list().models] == ["fake:latest", "e:1"]
        shown = client.show("fake")
        assert client.ps().models == []
        client.chat("fake", HELLO)
        [running] = client.ps().models
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 32768
    assert (running.name, running.context_length) == ("fake:latest", 4096)


def test_the_official_client_reads_its_embeddings() -> None:
    with FakeOllama() as server, ollama.Client(host=server.url) as client:
        embedded = client.embed("fake", ["four", "letters"])
    assert [list(vector) for vector in embedded.embeddings] == [[4.0, 0.5], [7.0, 0.5]]


def test_the_official_client_sees_its_errors() -> None:
    answers = [OllamaAnswer(status=503, error="busy"), OllamaAnswer(text="half", error="broken")]
    with FakeOllama(answers) as server, ollama.Client(host=server.url) as client:
        with pytest.raises(ollama.ResponseError, match="not found") as missing:
            client.chat("absent", HELLO)
        with pytest.raises(ollama.ResponseError, match="busy") as busy:
            client.chat("fake", HELLO)
        with pytest.raises(ollama.ResponseError, match="broken"):
            list(client.chat("fake", HELLO, stream=True))
    assert (missing.value.status_code, busy.value.status_code) == (404, 503)


def test_a_prompt_that_is_too_long_is_cut_without_a_word() -> None:
    long = [{"role": "user", "content": "word " * 8000}]
    with FakeOllama() as server, ollama.Client(host=server.url) as client:
        reply = client.chat("fake", long)
    assert reply.prompt_eval_count == 4 + (4096 - 4) // 2
