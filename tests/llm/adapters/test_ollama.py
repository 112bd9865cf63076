"""The adapter of Ollama, against a server that loads, cuts and refuses as Ollama does."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.core import (
    ContextOverflowError,
    Delta,
    Finish,
    ImagePart,
    IncompleteStreamError,
    Message,
    ModelCall,
    ModelNotFoundError,
    ModelReply,
    OverloadedError,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from aiex.llm import Adapter, ModelInfo, Timeouts
from aiex.llm.adapters.ollama import OllamaAdapter, window_for
from aiex.testing.fake_ollama import FakeOllama, OllamaAnswer, OllamaModel
from aiex.testing.replay import Answer, ReplayServer
from aiex.wires import ReplyBuilder

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect=5, first_token=20, between_chunks=20, total=60)
SCHEMA = msgspec.Raw(b'{"type":"object"}')
LINES = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}
SHOWN: dict[str, Any] = {
    "model_info": {"general.architecture": "llama", "llama.context_length": 8192}
}


def call_of(text: str = "hi", *, model: str = "fake", **fields: Any) -> ModelCall:
    message = Message(role="user", parts=(TextPart(text=text),))
    return ModelCall(model=model, messages=(message,), **fields)


def whole(body: Any, status: int = 200) -> Answer:
    return Answer(body=json.dumps(body).encode(), status=status, headers=JSON)


def lines(*said: Any, **fields: Any) -> Answer:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in said)
    return Answer(body=body, headers=LINES, **fields)


def replayed(answer: Answer, *, loaded: int | None = None) -> ReplayServer:
    running = [] if loaded is None else [{"name": "fake:latest", "context_length": loaded}]
    return ReplayServer([whole(SHOWN), whole({"models": running}), answer])


async def reply_of(deltas: AsyncGenerator[Delta, None]) -> ModelReply:
    builder = ReplyBuilder()
    async with aclosing(deltas):
        async for delta in deltas:
            builder.add(delta)
    return builder.reply()


async def ask(server: FakeOllama | ReplayServer, call: ModelCall) -> ModelReply:
    async with OllamaAdapter(base_url=server.url) as adapter:
        return await reply_of(adapter.stream(call, timeouts=PATIENT))


async def gone(server: FakeOllama) -> bool:
    return await anyio.to_thread.run_sync(server.left.wait, 5)


# ---------------------------------------------------------------- replies


async def test_everything_that_ollama_can_say_is_normalised() -> None:
    answer = OllamaAnswer(thinking="hm", text="Let me look.", calls=(("grep", {"for": "zwölf"}),))
    async with FakeOllama([answer]) as server:
        reply = await ask(server, call_of())
    thought, text, call = reply.parts
    assert thought == ReasoningPart(text="hm")
    assert text == TextPart(text="Let me look.")
    assert isinstance(call, ToolCallPart)
    assert (call.name, json.loads(call.arguments)) == ("grep", {"for": "zwölf"})
    assert reply.finish == Finish(
        reason="tool_calls",
        raw_reason="stop",
        usage=Usage(input_tokens=0, output_tokens=3),
        model="fake",
    )


async def test_everything_that_a_call_can_ask_for_is_sent() -> None:
    parts = (TextPart(text="what is it?"), ImagePart(data="aWJt"))
    call = ModelCall(
        model="fake",
        messages=(Message(role="user", parts=parts),),
        tools=(Tool(name="grep", description="looks", parameters=SCHEMA),),
        response_format=ResponseFormat(kind="json_schema", schema=SCHEMA),
        reasoning_effort="low",
        max_output_tokens=100,
        temperature=0.5,
        seed=7,
        stop=("END",),
        extra={"keep_alive": msgspec.Raw(b"60")},
    )
    async with FakeOllama() as server:
        await ask(server, call)
    assert server.bodies == [
        {
            "model": "fake",
            "messages": [{"role": "user", "content": "what is it?", "images": ["aWJt"]}],
            "stream": True,
            "truncate": False,
            "shift": False,
            "keep_alive": 60,
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "grep",
                        "description": "looks",
                        "parameters": {"type": "object"},
                    },
                }
            ],
            "format": {"type": "object"},
            "think": "low",
            "options": {
                "temperature": 0.5,
                "seed": 7,
                "num_predict": 100,
                "num_ctx": 4096,
                "stop": ["END"],
            },
        }
    ]


async def test_a_result_is_sent_with_the_name_of_its_tool() -> None:
    messages = (
        Message(role="user", parts=(TextPart(text="what is it?"),)),
        Message(
            role="assistant",
            parts=(
                ToolCallPart(id="a", name="grep", arguments="{}"),
                ToolCallPart(id="b", name="ls", arguments="{}"),
            ),
        ),
        Message(
            role="tool",
            parts=(ToolResultPart(id="b", text="two"), ToolResultPart(id="a", text="one")),
        ),
    )
    async with FakeOllama() as server:
        await ask(server, ModelCall(model="fake", messages=messages))
    sent = [(one["tool_name"], one["content"]) for one in server.bodies[0]["messages"][2:]]
    assert sent == [("ls", "two"), ("grep", "one")]


async def test_keys_of_another_wire_are_not_sent() -> None:
    call = call_of(extra={"logit_bias": msgspec.Raw(b"{}")}, wire="openai_chat")
    async with FakeOllama() as server:
        await ask(server, call)
    assert "logit_bias" not in server.bodies[0]
    assert server.bodies[0]["truncate"] is False


# ---------------------------------------------------------------- windows


@given(
    st.integers(0, 1 << 22),
    st.none() | st.integers(512, 1 << 22),
    st.none() | st.integers(512, 1 << 22),
)
def test_a_window_holds_the_call_or_is_the_largest(
    needed: int, largest: int | None, loaded: int | None
) -> None:
    window = window_for(needed, largest=largest, loaded=loaded)
    assert window >= needed or window == largest
    if loaded is not None and loaded >= needed:
        assert window == loaded
    elif largest is not None:
        assert window <= largest


async def test_a_window_is_as_large_as_prompt_and_reply_need() -> None:
    async with FakeOllama() as server:
        await ask(server, call_of("x" * 6_000))
        await ask(server, call_of("x" * 30_000, max_output_tokens=1_000))
        await ask(server, call_of("x" * 75_000))
    assert [window for _, window in server.loads] == [8192, 16384, 32768]


async def test_a_window_that_is_loaded_and_large_enough_is_kept() -> None:
    async with FakeOllama() as server:
        await ask(server, call_of("x" * 30_000))
        await ask(server, call_of())
    assert [body["options"]["num_ctx"] for body in server.bodies] == [16384, 16384]
    assert len(server.loads) == 1


async def test_a_window_is_never_larger_than_the_model_s() -> None:
    async with FakeOllama(models=[OllamaModel(context_length=6_000)]) as server:
        await ask(server, call_of("x" * 9_000))
    assert server.loads == [("fake:latest", 6_000)]


async def test_a_window_that_the_call_names_is_taken() -> None:
    async with FakeOllama() as server:
        await ask(server, call_of("x" * 30_000, context_tokens=12_345))
    assert server.loads == [("fake:latest", 12_345)]


# ---------------------------------------------------------------- prompts that are cut


async def test_a_prompt_that_does_not_fit_is_refused_rather_than_cut() -> None:
    async with FakeOllama(models=[OllamaModel(context_length=4096)]) as server:
        with pytest.raises(ContextOverflowError) as caught:
            await ask(server, call_of("word " * 8_000))
    assert not caught.value.transient
    assert caught.value.status == 400
    assert caught.value.hint is not None


async def test_an_older_server_that_cuts_the_prompt_is_found_out() -> None:
    models = [OllamaModel(context_length=4096)]
    async with FakeOllama(models=models, refuses_overflow=False) as server:
        reply = await ask(server, call_of("word " * 8_000))
    assert reply.text == "fine"
    [warning] = reply.finish.warnings
    assert "2050 tokens" in warning
    assert "a window of 4096" in warning
    assert "cut off" in warning


async def test_a_prompt_that_fills_its_window_was_cut() -> None:
    last = {"done": True, "done_reason": "stop", "prompt_eval_count": 8192, "eval_count": 1}
    async with replayed(lines(last)) as server:
        reply = await ask(server, call_of("word " * 4_000))
    assert len(reply.finish.warnings) == 1


@pytest.mark.parametrize("text", ["hi", "word " * 1_000, "def f(x):\n    return x\n" * 200])
async def test_a_prompt_that_was_read_in_whole_is_no_reason_to_warn(text: str) -> None:
    async with FakeOllama() as server:
        reply = await ask(server, call_of(text))
    assert reply.finish.warnings == ()


async def test_pictures_and_old_thoughts_do_not_look_like_a_cut() -> None:
    pictures = tuple(ImagePart(data="aWJt") for _ in range(3))
    messages = (
        Message(role="user", parts=(TextPart(text="word " * 100), *pictures)),
        Message(role="assistant", parts=(ReasoningPart(text="hm " * 3_000), TextPart(text="no"))),
        Message(role="user", parts=(TextPart(text="and now? " * 50),)),
    )
    async with FakeOllama() as server:
        reply = await ask(server, ModelCall(model="fake", messages=messages))
    assert reply.finish.warnings == ()


async def test_a_count_that_is_left_out_is_unknown() -> None:
    async with FakeOllama([OllamaAnswer(text="fine", counts=False)]) as server:
        reply = await ask(server, call_of("word " * 1_000))
    assert reply.finish.usage is None
    assert reply.finish.warnings == ()


# ---------------------------------------------------------------- errors


async def test_a_model_that_is_not_there_is_told_with_those_like_it() -> None:
    models = [OllamaModel(name="qwen3-coder:30b"), OllamaModel(name="llama3.2:3b")]
    async with FakeOllama(models=models) as server:
        with pytest.raises(ModelNotFoundError) as caught:
            await ask(server, call_of(model="qwen-coder"))
        assert server.bodies == []
    assert not caught.value.transient
    assert caught.value.hint == "did you mean qwen3-coder:30b? If not: ollama pull qwen-coder"


async def test_a_model_that_was_removed_is_looked_up_again() -> None:
    gone = whole({"error": "model 'fake' not found"}, 404)
    tags = whole({"models": [{"name": "fake2:latest"}]})
    answers = [whole(SHOWN), whole({"models": []}), gone, tags, gone, tags]
    async with (
        ReplayServer(answers) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        for _ in range(2):
            with pytest.raises(ModelNotFoundError) as caught:
                await reply_of(adapter.stream(call_of(), timeouts=PATIENT))
            assert "fake2" in (caught.value.hint or "")
    asked = [one.path for one in server.received]
    assert asked == [
        *("/api/show", "/api/ps", "/api/chat", "/api/tags"),
        *("/api/show", "/api/tags"),
    ]


async def test_a_full_queue_may_be_tried_again() -> None:
    async with FakeOllama([OllamaAnswer(status=503, error="server busy")]) as server:
        with pytest.raises(OverloadedError, match="server busy") as caught:
            await ask(server, call_of())
    assert caught.value.transient


async def test_too_little_memory_is_not_tried_again() -> None:
    error = "model requires more system memory (9.1 GiB) than is available (4.0 GiB)"
    async with FakeOllama([OllamaAnswer(status=500, error=error)]) as server:
        with pytest.raises(OverloadedError, match=r"9\.1 GiB") as caught:
            await ask(server, call_of())
    assert not caught.value.transient
    assert caught.value.hint is not None


async def test_an_error_inside_the_stream_ends_it() -> None:
    async with FakeOllama([OllamaAnswer(text="half", error="the runner broke")]) as server:
        with pytest.raises(OverloadedError, match="the runner broke"):
            await ask(server, call_of())


async def test_an_overflow_inside_the_stream_is_one() -> None:
    error = "the input length exceeds the context length"
    async with FakeOllama([OllamaAnswer(text="half", error=error)]) as server:
        with pytest.raises(ContextOverflowError, match="input length"):
            await ask(server, call_of())


async def test_a_stream_that_ends_before_its_last_line_is_incomplete() -> None:
    async with FakeOllama([OllamaAnswer(text="half of it", finish=None)]) as server:
        with pytest.raises(IncompleteStreamError):
            await ask(server, call_of())


async def test_a_stream_cut_at_any_byte_is_incomplete() -> None:
    said = {"message": {"role": "assistant", "content": "zwölf"}, "done": False}
    last = {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}
    answer = lines(said, last)
    cuts = [
        msgspec.structs.replace(answer, cut_at=at, ending=ending)
        for at in range(len(answer.body) - 1)
        for ending in ("end", "reset")
    ]
    running = whole({"models": []})
    answers = [one for cut in cuts for one in (running, cut)]
    async with (
        ReplayServer([whole(SHOWN), *answers]) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        for _ in cuts:
            with pytest.raises(IncompleteStreamError):
                await reply_of(adapter.stream(call_of(), timeouts=PATIENT))


# ---------------------------------------------------------------- waiting and leaving


@pytest.mark.parametrize(("loaded", "seconds"), [(None, "0.15 s"), (8192, "0.05 s")])
async def test_a_model_that_has_to_be_loaded_is_waited_for(
    loaded: int | None, seconds: str
) -> None:
    async with (
        replayed(lines(ending="hold"), loaded=loaded) as server,
        OllamaAdapter(base_url=server.url, load_timeout=0.1) as adapter,
    ):
        hurried = msgspec.structs.replace(PATIENT, first_token=0.05)
        with pytest.raises(OverloadedError, match=f"no token within {seconds}"):
            await reply_of(adapter.stream(call_of(), timeouts=hurried))


async def test_a_server_that_describes_nothing_is_not_waited_for_long() -> None:
    async with (
        ReplayServer([Answer(body=b"", headers=JSON, ending="hold")]) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        hurried = msgspec.structs.replace(PATIENT, first_token=0.05)
        with pytest.raises(OverloadedError, match=r"did not describe fake within 0\.05 s"):
            await reply_of(adapter.stream(call_of(), timeouts=hurried))
        with anyio.fail_after(1):
            await server.left.wait()


async def test_closing_the_stream_closes_the_connection() -> None:
    async with (
        FakeOllama([OllamaAnswer(text="one two", holds=True)]) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        async with aclosing(adapter.stream(call_of(), timeouts=PATIENT)) as deltas:
            await anext(deltas)
            assert not server.left.is_set()
        assert await gone(server)


async def test_cancelling_closes_the_connection() -> None:
    async with (
        FakeOllama([OllamaAnswer(text="one two", holds=True)]) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        with anyio.CancelScope() as scope:
            async with aclosing(adapter.stream(call_of(), timeouts=PATIENT)) as deltas:
                async for _ in deltas:
                    scope.cancel()
        assert scope.cancelled_caught
        assert await gone(server)


# ---------------------------------------------------------------- beside replies


async def test_models_are_listed_with_what_they_can() -> None:
    models = [
        OllamaModel(name="q:8b", capabilities=("completion", "tools", "thinking"), size=5),
        OllamaModel(name="nomic:latest", capabilities=("embedding",), context_length=2048, size=6),
    ]
    async with (
        FakeOllama(models=models) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        await reply_of(adapter.stream(call_of(model="q:8b"), timeouts=PATIENT))
        found = await adapter.models()
        described = await adapter.describe("nomic")
        assert await adapter.describe("absent") is None
    chat = ModelInfo(
        provider="ollama",
        name="q:8b",
        context_tokens=32768,
        is_loaded=True,
        size_bytes=5,
        capabilities=("completion", "tools", "thinking"),
    )
    embedding = ModelInfo(
        provider="ollama",
        name="nomic:latest",
        context_tokens=2048,
        is_loaded=False,
        size_bytes=6,
        kind="embedding",
        capabilities=("embedding",),
    )
    assert found == [chat, embedding]
    assert described == msgspec.structs.replace(embedding, name="nomic", size_bytes=None)


async def test_an_older_server_s_models_are_told_apart_by_family() -> None:
    models = [
        OllamaModel(name="a", capabilities=None),
        OllamaModel(name="b", capabilities=None, family="nomic-bert"),
    ]
    async with (
        FakeOllama(models=models) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        assert [model.kind for model in await adapter.models()] == ["chat", "embedding"]


async def test_a_model_that_cannot_be_described_is_listed_all_the_same() -> None:
    tags = whole({"models": [{"name": "broken:latest"}]})
    answers = [tags, whole({"models": None}), whole({"error": "bad manifest"}, 500)]
    async with ReplayServer(answers) as server, OllamaAdapter(base_url=server.url) as adapter:
        [model] = await adapter.models()
    assert (model.name, model.context_tokens) == ("broken:latest", None)


async def test_texts_are_embedded() -> None:
    async with (
        FakeOllama() as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        found = await adapter.embed("fake", ["four", "letters"])
        with pytest.raises(ModelNotFoundError) as caught:
            await adapter.embed("fakes", ["one"])
    assert found.vectors == ((4.0, 0.5), (7.0, 0.5))
    assert found.input_tokens == 2
    assert caught.value.hint == "did you mean fake:latest? If not: ollama pull fakes"
    assert server.bodies[0] == {"model": "fake", "input": ["four", "letters"], "truncate": False}


async def test_tokens_are_not_counted() -> None:
    async with (
        FakeOllama() as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        assert await adapter.count_tokens(call_of()) is None


async def test_a_server_that_answers_is_probed_without_a_model() -> None:
    async with (
        FakeOllama(models=[]) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        await adapter.probe()
        assert await adapter.models() == []
        assert adapter.is_loopback


async def test_a_server_that_is_not_there_says_how_to_start_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        adapter: Adapter
        async with OllamaAdapter(base_url=url) as adapter:
            with pytest.raises(OverloadedError, match="cannot be reached") as caught:
                await adapter.probe()
            with pytest.raises(OverloadedError):
                await reply_of(adapter.stream(call_of(), timeouts=PATIENT))
    assert caught.value.hint == "start it with: ollama serve"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"models": 1}'])
async def test_what_is_no_ollama_is_an_error(body: bytes) -> None:
    async with (
        ReplayServer([Answer(body=body, headers=JSON)]) as server,
        OllamaAdapter(base_url=server.url) as adapter,
    ):
        with pytest.raises(OverloadedError, match="cannot be read"):
            await adapter.models()
