"""The embedded model: a child that may crash, hang or never start, and takes nothing along.

Most of it is shown with a small server that speaks as the real one does; the last part asks the
real one, where the extra `local` and its model are there.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

from aiex.core import (
    AiexError,
    ContextOverflowError,
    Delta,
    Finish,
    IncompleteStreamError,
    InvalidCallError,
    Message,
    ModelCall,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    ResponseFormat,
    TextDelta,
    TextPart,
    UnavailableError,
)
from aiex.llm import Timeouts
from aiex.llm.adapters.local import SERVER_PROGRAM, LocalAdapter
from aiex.runtime import Supervisor, SystemClock

pytestmark = pytest.mark.anyio

MODEL = "smollm2-135m"
FAKE = """
import http.server, json, os, sys, threading

model, name = sys.argv[1], sys.argv[3]
token = sys.stdin.readline().strip()
with open(f"{name}.starts", "a") as file:
    print(json.dumps({"pid": os.getpid(), "argv": sys.argv, "token": token}), file=file)

def watch():
    while os.read(0, 4096):
        pass
    os._exit(0)

threading.Thread(target=watch, daemon=True).start()

if name == "silent":
    threading.Event().wait()
if name == "refused":
    print("0.00 E llama: error loading model: its head is gone", file=sys.stderr, flush=True)
    print(json.dumps({"error": "Failed to init server"}), flush=True)
    sys.exit(1)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(f"{name}.bodies", "a") as file:
            print(json.dumps(body), file=file)
        if self.headers["Authorization"] != f"Bearer {token}":
            self.answer(401, {"error": {"message": "Invalid API Key", "code": 401}})
        elif self.path == "/v1/responses/input_tokens":
            self.answer(200, {"object": "response.input_tokens", "input_tokens": 7})
        else:
            self.reply(body["messages"][-1]["content"])

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def event(self, delta, finish=None, **more):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk = {"object": "chat.completion.chunk", "model": name, "choices": [choice], **more}
        self.wfile.write(f"data: {json.dumps(chunk)}\\n\\n".encode())
        self.wfile.flush()

    def reply(self, asked):
        if asked == "crash":
            os._exit(9)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.event({"role": "assistant", "content": "hello "})
        if asked == "crash later":
            os._exit(9)
        if asked == "hold":
            self.connection.recv(1)  # until the other side closes it
            open("closed", "w").close()
            return
        self.event({"content": asked})
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        self.event({}, "stop", usage=usage)
        self.wfile.write(b"data: [DONE]\\n\\n")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(json.dumps({"port": server.server_port}), flush=True)
if name == "mortal":
    sys.exit(1)
server.serve_forever()
"""


class Start(msgspec.Struct):
    pid: int
    argv: list[str]
    token: str


def put(folder: Path, *names: str, context: int = 2048) -> None:
    """Put models into *folder*: heads of GGUF files, with nothing behind."""
    key = b"general.architecture"
    window = b"llama.context_length"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
    head += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, 5) + b"llama"
    head += struct.pack("<Q", len(window)) + window + struct.pack("<II", 4, context)
    for name in names:
        (folder / f"{name}.gguf").write_bytes(head)


def starts(folder: Path, name: str) -> list[Start]:
    """Return how often the server of a model was started, and with what."""
    lines = (folder / f"{name}.starts").read_text().splitlines()
    return [msgspec.json.decode(line, type=Start) for line in lines]


def bodies(folder: Path, name: str) -> list[Any]:
    """Return what the server of a model was asked."""
    return [json.loads(line) for line in (folder / f"{name}.bodies").read_text().splitlines()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def adapter_of(
    folder: Path, program: Sequence[str] = (sys.executable, "-c", FAKE)
) -> AsyncIterator[LocalAdapter]:
    clock = SystemClock()
    async with Supervisor(clock=clock, entropy=lambda: 0.0) as supervisor:
        adapter = LocalAdapter(
            folder,
            supervisor=supervisor,
            clock=clock,
            entropy=lambda: 0.0,
            program=program,
        )
        async with adapter:
            yield adapter


def call_of(text: str, model: str = "mine", *, tokens: int | None = None) -> ModelCall:
    message = Message(role="user", parts=(TextPart(text=text),))
    return ModelCall(model=model, messages=(message,), max_output_tokens=tokens)


async def asked(
    adapter: LocalAdapter, call: ModelCall, *, timeouts: Timeouts | None = None
) -> list[Delta]:
    async with aclosing(adapter.stream(call, timeouts=timeouts or Timeouts())) as deltas:
        return [delta async for delta in deltas]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def test_a_model_is_started_at_its_first_call_and_kept(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    async with adapter_of(tmp_path) as adapter:
        described = await adapter.describe("mine")
        assert described is not None
        assert (described.context_tokens, described.is_loaded) == (2048, False)
        assert await adapter.count_tokens(call_of("you")) is None
        assert text_of(await asked(adapter, call_of("you"))) == "hello you"
        deltas = await asked(adapter, call_of("again"))
        assert await adapter.count_tokens(call_of("you")) == 7
        described = await adapter.describe("mine")
        assert described is not None
        assert described.is_loaded
    assert isinstance(deltas[-1], Finish)
    assert deltas[-1].usage is not None
    assert (deltas[-1].usage.input_tokens, deltas[-1].model) == (3, "mine")
    (start,) = starts(tmp_path, "mine")
    assert not is_alive(start.pid)


async def test_the_server_is_told_its_token_where_nobody_reads_it(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    async with adapter_of(tmp_path) as adapter:
        await asked(adapter, call_of("you"))
    (start,) = starts(tmp_path, "mine")
    assert len(start.token) > 30
    assert not any(start.token in argument for argument in start.argv)
    assert start.argv[1:] == [
        str(tmp_path / "mine.gguf"),
        "--name",
        "mine",
        "--context",
        "2048",
    ]


async def test_a_window_is_not_larger_than_memory_should_be_spent_on(tmp_path: Path) -> None:
    put(tmp_path, "mine", context=1_000_000)
    async with adapter_of(tmp_path) as adapter:
        described = await adapter.describe("mine")
    assert described is not None
    assert described.context_tokens == 4096


@pytest.mark.parametrize(
    ("asks", "error"), [("crash", OverloadedError), ("crash later", IncompleteStreamError)]
)
async def test_a_crash_is_an_error_that_may_pass_and_the_next_call_is_answered(
    tmp_path: Path, asks: str, error: type[ProviderError]
) -> None:
    put(tmp_path, "mine")
    async with adapter_of(tmp_path) as adapter:
        with pytest.raises(error) as caught:
            await asked(adapter, call_of(asks))
        assert caught.value.transient
        assert caught.value.hint == "the server of mine crashed; it is started again"
        assert text_of(await asked(adapter, call_of("you"))) == "hello you"
    first, second = starts(tmp_path, "mine")
    assert first.pid != second.pid


async def test_a_server_that_crashes_again_and_again_is_given_up_until_the_next_call(
    tmp_path: Path,
) -> None:
    put(tmp_path, "mortal")
    async with adapter_of(tmp_path) as adapter:
        for _ in range(10):
            with pytest.raises(ProviderError) as caught:
                await asked(adapter, call_of("you", "mortal"))
            if not caught.value.transient:
                break
        assert "again and again" in caught.value.message
        before = len(starts(tmp_path, "mortal"))
        with pytest.raises(ProviderError):
            await asked(adapter, call_of("you", "mortal"))
    assert before == 4
    assert len(starts(tmp_path, "mortal")) > before


async def test_a_reply_that_is_not_wanted_any_more_is_closed_at_the_server(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    async with adapter_of(tmp_path) as adapter:
        async with aclosing(adapter.stream(call_of("hold"), timeouts=Timeouts())) as deltas:
            await anext(deltas)
        assert text_of(await asked(adapter, call_of("you"))) == "hello you"
        with anyio.fail_after(10):
            while not (tmp_path / "closed").exists():  # noqa: ASYNC110  # another process
                await anyio.sleep(0.01)
    assert len(starts(tmp_path, "mine")) == 1


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    put(tmp_path, "silent")
    started = tmp_path / "silent.starts"
    async with adapter_of(tmp_path) as adapter, anyio.create_task_group() as tasks:
        tasks.start_soon(asked, adapter, call_of("you", "silent"))
        while not started.exists() or not started.read_text():  # noqa: ASYNC110
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    (start,) = starts(tmp_path, "silent")
    assert not is_alive(start.pid)


async def test_a_model_that_takes_too_long_to_load_is_an_error_that_may_pass(
    tmp_path: Path,
) -> None:
    put(tmp_path, "silent", "mine")
    async with adapter_of(tmp_path) as adapter:
        with pytest.raises(OverloadedError, match="was not loaded within"):
            await asked(adapter, call_of("you", "silent"), timeouts=Timeouts(first_token=0.05))
        assert text_of(await asked(adapter, call_of("you"))) == "hello you"


async def test_two_calls_at_once_start_one_server(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    async with adapter_of(tmp_path) as adapter, anyio.create_task_group() as tasks:
        tasks.start_soon(asked, adapter, call_of("you"))
        tasks.start_soon(asked, adapter, call_of("too"))
    assert len(starts(tmp_path, "mine")) == 1


async def test_a_model_that_nobody_uses_makes_room_for_another(tmp_path: Path) -> None:
    put(tmp_path, "mine", "yours")
    async with adapter_of(tmp_path) as adapter:
        async with aclosing(adapter.stream(call_of("hold"), timeouts=Timeouts())) as deltas:
            await anext(deltas)
            await asked(adapter, call_of("you", "yours"))
            assert is_alive(starts(tmp_path, "mine")[0].pid)
        put(tmp_path, "theirs")
        await asked(adapter, call_of("you", "theirs"))
        assert not is_alive(starts(tmp_path, "mine")[0].pid)
        assert not is_alive(starts(tmp_path, "yours")[0].pid)


async def test_what_the_server_says_of_a_model_that_cannot_be_loaded_is_passed_on(
    tmp_path: Path,
) -> None:
    put(tmp_path, "refused")
    async with adapter_of(tmp_path) as adapter:
        with pytest.raises(ProviderError, match="its head is gone") as caught:
            await asked(adapter, call_of("you", "refused"))
    assert not caught.value.transient


async def test_a_file_that_is_no_model_is_refused_before_anything_is_started(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.gguf").write_bytes(b"<html>")
    async with adapter_of(tmp_path) as adapter:
        with pytest.raises(ProviderError, match="not a GGUF file"):
            await asked(adapter, call_of("you"))
        assert "mine" not in {model.name for model in await adapter.models()}
    assert not (tmp_path / "mine.starts").exists()


async def test_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async with adapter_of(tmp_path) as adapter:
        for name in ("mine", "../mine", "family:8b"):
            assert await adapter.describe(name) is None
            with pytest.raises(ModelNotFoundError):
                await asked(adapter, call_of("you", name))
        with pytest.raises(InvalidCallError):
            await adapter.embed("mine", ["text"])


async def test_a_known_model_is_served_before_it_is_there_but_not_fetched_offline(
    tmp_path: Path,
) -> None:
    async with adapter_of(tmp_path) as adapter:
        (info,) = await adapter.models()
        assert (info.name, info.context_tokens) == ("smollm2-135m", 4096)
        with pytest.raises(UnavailableError, match="--offline") as caught:
            await anext(adapter.prepare("smollm2-135m", offline=True))
        assert caught.value.hint == "aiex model pull smollm2-135m"
        put(tmp_path, "smollm2-135m")
        assert [step async for step in adapter.prepare("smollm2-135m", offline=True)] == []
        assert [step async for step in adapter.prepare("mine", offline=True)] == []


async def test_a_model_that_goes_in_circles_is_kept_from_it_where_the_call_says_nothing(
    tmp_path: Path,
) -> None:
    put(tmp_path, MODEL, "mine")
    plain = call_of("you", MODEL)
    wish = {"repeat_penalty": msgspec.Raw(b"1.5")}
    wished = msgspec.structs.replace(plain, temperature=1.0, extra=wish, wire="openai_chat")
    strict = msgspec.structs.replace(plain, response_format=ResponseFormat(kind="json_object"))
    async with adapter_of(tmp_path) as adapter:
        for call in (plain, wished, strict, call_of("you", "mine")):
            await asked(adapter, call)
    first, second, third = bodies(tmp_path, MODEL)
    [other] = bodies(tmp_path, "mine")
    assert (first["temperature"], first["top_p"], first["repeat_penalty"]) == (0.3, 0.9, 1.1)
    assert first["dry_multiplier"] == 0.8
    assert (second["temperature"], second["repeat_penalty"]) == (1.0, 1.5)
    assert third["temperature"] == 0.3
    assert not {"repeat_penalty", "dry_multiplier"} & third.keys()
    assert not {"temperature", "repeat_penalty", "dry_multiplier"} & other.keys()


@pytest.mark.slow
async def test_the_real_model_answers_counts_and_overflows(real_models: Path) -> None:
    async with adapter_of(real_models, SERVER_PROGRAM) as adapter:
        call = call_of("Say hello.", MODEL, tokens=8)
        deltas = await asked(adapter, call)
        assert text_of(deltas)
        assert isinstance(deltas[-1], Finish)
        assert deltas[-1].reason == "length"
        assert deltas[-1].model == MODEL
        assert deltas[-1].usage is not None
        assert deltas[-1].usage.output_tokens == 8
        assert await adapter.count_tokens(call) == deltas[-1].usage.input_tokens
        with pytest.raises(ContextOverflowError):
            await asked(adapter, call_of("word " * 6000, MODEL))
        async with aclosing(adapter.stream(call_of("Count.", MODEL), timeouts=Timeouts())) as cut:
            await anext(cut)
        assert text_of(await asked(adapter, call))


@pytest.mark.slow
async def test_the_real_server_follows_a_schema(real_models: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    wanted = ResponseFormat(
        kind="json_schema", name="person", schema=msgspec.Raw(json.dumps(schema).encode())
    )
    call = msgspec.structs.replace(
        call_of("Ann is 30 years old. Who is it?", MODEL, tokens=100), response_format=wanted
    )
    async with adapter_of(real_models, SERVER_PROGRAM) as adapter:
        said = json.loads(text_of(await asked(adapter, call)))
    assert said.keys() == {"name", "age"}
    assert type(said["age"]) is int


@pytest.mark.slow
async def test_the_real_server_is_started_again_after_it_was_killed(
    real_models: Path, children_of: Callable[[int, str], list[int]]
) -> None:
    async def kill_in_the_middle(adapter: LocalAdapter) -> None:
        call = call_of("Count to a thousand.", MODEL)
        async with aclosing(adapter.stream(call, timeouts=Timeouts())) as deltas:
            await anext(deltas)
            [server] = children_of(os.getpid(), "local_server.py")
            os.kill(server, signal.SIGKILL)
            async for _ in deltas:
                pass

    async with adapter_of(real_models, SERVER_PROGRAM) as adapter:
        with pytest.raises(IncompleteStreamError) as caught:
            await kill_in_the_middle(adapter)
        assert caught.value.transient
        assert caught.value.hint == f"the server of {MODEL} crashed; it is started again"
        assert text_of(await asked(adapter, call_of("Say hello.", MODEL, tokens=8)))


@pytest.mark.slow
async def test_the_real_server_says_what_is_wrong_with_a_file(
    real_models: Path, tmp_path: Path
) -> None:
    with (real_models / f"{MODEL}.gguf").open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(4_000_000))
    async with adapter_of(tmp_path, SERVER_PROGRAM) as adapter:
        with pytest.raises(AiexError, match="not within the file bounds"):
            await asked(adapter, call_of("you", "cut"))
