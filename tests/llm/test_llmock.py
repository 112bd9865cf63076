"""Our adapters against llmock, a server of others that misbehaves on demand.

It runs as a process of its own; faults are queued over its control API.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec
import pytest

from aiex.core import (
    AiexError,
    AuthenticationError,
    BudgetError,
    ContextOverflowError,
    IncompleteStreamError,
    InvalidCallError,
    Message,
    ModelCall,
    ModelChosen,
    ModelEnded,
    ModelNotFoundError,
    ModelReply,
    OverloadedError,
    Principal,
    Progress,
    RateLimitError,
    Request,
    Restarted,
    TextPart,
    Tool,
    ToolCallPart,
)
from aiex.llm import (
    Adapter,
    CallRecord,
    CallSink,
    Coordinator,
    Endpoint,
    PriceTable,
    Pricing,
    Provider,
    Providers,
    Timeouts,
    TokenCounter,
)
from aiex.llm.adapters.anthropic import AnthropicAdapter
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.runtime import SystemClock
from aiex.wires import ReplyBuilder

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect=5, first_token=20, between_chunks=20, total=60)
CALL = ModelCall(
    model="model-1",
    messages=(Message(role="user", parts=(TextPart(text="Say something."),)),),
    max_output_tokens=100,
)
WIRES = ["chat", "responses", "messages"]


@pytest.fixture(scope="module")
def llmock_url() -> Iterator[str]:
    program = Path(sys.executable).with_name("llmock")
    # Paced: a whole reply that was written at once leaves no chunk at which it could notice that
    # the client has stopped reading.
    process = subprocess.Popen(
        [program, "serve", "--port", "0", "--log-level", "info", "--stream-chunk-delay-ms=20"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(r"running on (http://[\d.]+:\d+)", line):
                break
        else:
            pytest.fail("llmock did not start")
        yield match[1]
    finally:
        process.terminate()
        process.communicate()


class Control:
    """The control API of one llmock."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def reset(self) -> None:
        async with self._session.post(f"{self.url}/_llmock/reset") as response:
            response.raise_for_status()

    async def verdict(self) -> Any:
        async with self._session.get(f"{self.url}/_llmock/verdict") as response:
            return await response.json()

    async def wait(self, seconds: float) -> None:
        """Wait, as a client that tries again does, and until no request is being answered.

        llmock takes for another call what begins before it has noticed that the last attempt was
        left, which on a loaded machine takes a while.
        """
        await anyio.sleep(seconds)
        async with self._session.get(f"{self.url}/_llmock/requests") as response:
            response.raise_for_status()

    async def queue(self, **behavior: Any) -> None:
        body = json.dumps({"behaviors": [behavior]})
        async with self._session.post(f"{self.url}/_llmock/scenario", data=body) as response:
            response.raise_for_status()


@pytest.fixture
async def control(llmock_url: str) -> AsyncIterator[Control]:
    async with aiohttp.ClientSession() as session:
        found = Control(llmock_url, session)
        await found.reset()
        yield found


def adapter_for(wire: str, url: str) -> Adapter:
    if wire == "messages":
        return AnthropicAdapter(base_url=f"{url}/anthropic", api_key=lambda: "sk-test")
    return OpenAIAdapter(
        base_url=f"{url}/v1",
        api="responses" if wire == "responses" else "chat",
        api_key=lambda: "sk-test",
    )


async def reply_of(
    wire: str, url: str, *, call: ModelCall = CALL, timeouts: Timeouts = PATIENT
) -> ModelReply:
    builder = ReplyBuilder()
    async with adapter_for(wire, url) as adapter:
        async for delta in adapter.stream(call, timeouts=timeouts):
            builder.add(delta)
    return builder.reply()


async def error_of(wire: str, url: str, *, timeouts: Timeouts = PATIENT) -> AiexError:
    with pytest.raises(AiexError) as caught:
        await reply_of(wire, url, timeouts=timeouts)
    return caught.value


@pytest.mark.parametrize("wire", WIRES)
async def test_a_reply_comes_through_whole(wire: str, control: Control) -> None:
    await control.queue(type="reply", text="All is well.")
    reply = await reply_of(wire, control.url)
    assert reply.text == "All is well."
    assert reply.finish.reason == "stop"
    assert reply.finish.usage is not None
    assert reply.finish.usage.output_tokens > 0


@pytest.mark.parametrize("wire", WIRES)
async def test_tool_calls_come_through_whole(wire: str, control: Control) -> None:
    await control.queue(type="reply", tool_calls=[{"name": "grep", "arguments": {"for": "zwölf"}}])
    offered = ModelCall(
        model=CALL.model,
        messages=CALL.messages,
        tools=(Tool(name="grep", description="Find text."),),
        max_output_tokens=100,
    )
    reply = await reply_of(wire, control.url, call=offered)
    [call] = [part for part in reply.parts if isinstance(part, ToolCallPart)]
    assert call.name == "grep"
    assert call.id
    assert json.loads(call.arguments) == {"for": "zwölf"}
    assert reply.finish.reason == "tool_calls"


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("status", "expected", "transient"),
    [
        (400, InvalidCallError, False),
        (401, AuthenticationError, False),
        (402, BudgetError, False),
        (403, AuthenticationError, False),
        (404, ModelNotFoundError, False),
        (408, OverloadedError, True),
        (409, OverloadedError, True),
        (413, InvalidCallError, False),
        (422, InvalidCallError, False),
        (429, RateLimitError, True),
        (500, OverloadedError, True),
        (502, OverloadedError, True),
        (503, OverloadedError, True),
        (504, OverloadedError, True),
        (529, OverloadedError, True),
    ],
)
async def test_a_status_becomes_the_right_error(
    wire: str, status: int, expected: type[AiexError], transient: bool, control: Control
) -> None:
    await control.queue(type="fail", status=status)
    error = await error_of(wire, control.url)
    assert type(error) is expected
    assert error.transient is transient


@pytest.mark.parametrize("wire", WIRES)
async def test_the_wait_that_was_asked_for_is_kept(wire: str, control: Control) -> None:
    await control.queue(type="fail", status=429, retry_after=7)
    error = await error_of(wire, control.url)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 7


@pytest.mark.parametrize("wire", ["chat", "responses"])
async def test_a_quota_that_is_used_up_is_no_rate_limit(wire: str, control: Control) -> None:
    await control.queue(type="fail", status=429, code="insufficient_quota")
    error = await error_of(wire, control.url)
    assert isinstance(error, BudgetError)
    assert not error.transient


@pytest.mark.parametrize("wire", ["chat", "responses"])
async def test_a_prompt_that_is_too_long_is_its_own_error(wire: str, control: Control) -> None:
    await control.queue(type="fail", status=400, code="context_length_exceeded")
    assert isinstance(await error_of(wire, control.url), ContextOverflowError)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("kind", ["disconnect", "truncate"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_that_breaks_is_incomplete(
    wire: str, kind: str, after: int, control: Control
) -> None:
    await control.queue(type="reply", text="one two three four five six seven eight")
    await control.queue(type="stream_fault", kind=kind, after_chunks=after)
    error = await error_of(wire, control.url)
    assert isinstance(error, IncompleteStreamError)
    assert error.transient


@pytest.mark.parametrize("wire", WIRES)
async def test_a_chunk_that_is_no_json_is_an_error(wire: str, control: Control) -> None:
    await control.queue(type="stream_fault", kind="malformed", after_chunks=2)
    error = await error_of(wire, control.url)
    assert isinstance(error, OverloadedError)
    assert error.transient


@pytest.mark.parametrize("wire", WIRES)
async def test_a_stall_ends_at_the_time_out_between_chunks(wire: str, control: Control) -> None:
    await control.queue(type="reply", text="one two three four five six seven eight")
    await control.queue(type="stream_fault", kind="stall", after_chunks=6, stall_seconds=30)
    error = await error_of(wire, control.url, timeouts=Timeouts(between_chunks=0.1))
    assert isinstance(error, IncompleteStreamError)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_late_first_token_ends_at_its_time_out(wire: str, control: Control) -> None:
    await control.queue(type="slow_first_token", seconds=30)
    error = await error_of(wire, control.url, timeouts=Timeouts(first_token=0.2))
    assert isinstance(error, OverloadedError)


# ---------------------------------------------------------------- through the retry loop

PROVIDER_OF = {"chat": "openai", "responses": "openai", "messages": "anthropic"}
TRANSIENT: list[list[dict[str, Any]]] = [
    [{"type": "fail", "status": 429, "retry_after": 0.2}],
    [{"type": "fail", "status": 503, "retry_after": 0.1}, {"type": "fail", "status": 500}],
    [{"type": "fail", "status": 529, "times": 2}],
    [{"type": "fail", "status": 408}],
    [{"type": "stream_fault", "kind": "truncate", "after_chunks": 0}],
    [{"type": "stream_fault", "kind": "truncate", "after_chunks": 4}],
    [{"type": "stream_fault", "kind": "disconnect", "after_chunks": 4}],
    [{"type": "stream_fault", "kind": "malformed", "after_chunks": 4}],
    [{"type": "stream_fault", "kind": "stall", "after_chunks": 6, "stall_seconds": 30}],
]
FINAL: list[tuple[dict[str, Any], type[AiexError]]] = [
    ({"type": "fail", "status": 400}, InvalidCallError),
    ({"type": "fail", "status": 401}, AuthenticationError),
    ({"type": "fail", "status": 403}, AuthenticationError),
    ({"type": "fail", "status": 404}, ModelNotFoundError),
    ({"type": "fail", "status": 422}, InvalidCallError),
    ({"type": "fail", "status": 402}, BudgetError),
]


class Records:
    """A sink that keeps the records of all attempts."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    async def record(self, call: CallRecord) -> None:
        self.outcomes.append(call.outcome)


def coordinator_for(wire: str, control: Control, sink: CallSink) -> Coordinator:
    name = PROVIDER_OF[wire]
    pricing = Pricing(PriceTable(version="none", providers={}))
    return Coordinator(
        Providers(
            [Provider(name=name, open=lambda: adapter_for(wire, control.url))], pricing=pricing
        ),
        pricing=pricing,
        counter=TokenCounter(),
        sink=sink,
        clock=SystemClock(),
        entropy=lambda: 0.2,
        timeouts={name: Timeouts(first_token=20, between_chunks=0.3)},
        sleep=control.wait,
    )


async def ask(coordinator: Coordinator, wire: str, text: str) -> ModelReply:
    """Return the reply of one call, begun anew where it broke off."""
    call = ModelCall(
        model=CALL.model,
        messages=(Message(role="user", parts=(TextPart(text=text),)),),
        max_output_tokens=100,
    )
    endpoint = Endpoint(provider=PROVIDER_OF[wire], model=CALL.model)
    request = Request(
        id="req_1",
        verb="explain",
        arguments=msgspec.Raw(b"{}"),
        principal=Principal(user="u", interface="test"),
    )
    builder = ReplyBuilder()
    events = coordinator.stream(call, [endpoint], request=request, restarts=True)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Restarted):
                builder = ReplyBuilder()
            elif not isinstance(event, ModelChosen | ModelEnded | Progress):
                builder.add(event)
    return builder.reply()


@pytest.mark.parametrize("wire", WIRES)
async def test_llmock_finds_nothing_to_fail_in_our_client(wire: str, control: Control) -> None:
    said = "one two three four five six seven eight"
    await control.queue(type="reply", text=said, times=None)
    records = Records()
    async with coordinator_for(wire, control, records) as coordinator:
        for number, faults in enumerate(TRANSIENT):
            for fault in faults:
                await control.queue(**fault)
            reply = await ask(coordinator, wire, f"call {number}")
            assert reply.text == said
            assert len(records.outcomes) >= 2
            assert records.outcomes[-1] == "ok"
            records.outcomes.clear()
        for number, (fault, expected) in enumerate(FINAL):
            await control.queue(**fault)
            with pytest.raises(expected):
                await ask(coordinator, wire, f"final {number}")
            assert len(records.outcomes) == 1
            records.outcomes.clear()
    verdict = await control.verdict()
    assert verdict["findings"] == []  # neither a FAIL nor a warning
    assert verdict["passed"] is True
    assert verdict["faults_injected"] >= len(TRANSIENT) + len(FINAL)
