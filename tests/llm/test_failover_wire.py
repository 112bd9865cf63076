"""The rules of failover over real connections: what a provider's bytes make of a call."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from aiex.core import (
    AiexError,
    BudgetError,
    ContextOverflowError,
    IncompleteStreamError,
    Message,
    ModelCall,
    ModelChosen,
    Principal,
    Request,
    TextDelta,
    TextPart,
)
from aiex.llm import (
    Adapter,
    CallRecord,
    Coordinator,
    Endpoint,
    Pricing,
    Provider,
    Providers,
    Timeouts,
    TokenCounter,
    load_table,
)
from aiex.llm.adapters.anthropic import AnthropicAdapter
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.runtime import SystemClock
from aiex.testing.replay import Answer, ReplayServer

pytestmark = pytest.mark.anyio

PRICING = Pricing(load_table(), kinds={"a": "openai", "b": "openai"})
STREAM = {"content-type": "text/event-stream"}
CALL = ModelCall(
    model="",
    messages=(Message(role="user", parts=(TextPart(text="Say something."),)),),
    max_output_tokens=10,
)


def chunk(text: str | None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def error(status: int, code: str, **headers: str) -> Answer:
    body = json.dumps({"error": {"message": "no", "type": code, "code": code}}).encode()
    return Answer(body=body, status=status, headers={"content-type": "application/json", **headers})


START = event("message_start", message={"usage": {"input_tokens": 3, "output_tokens": 1}})
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
WORD = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"})
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})

MINE = Answer(body=chunk("Mine.") + chunk(None, "stop") + b"data: [DONE]\n\n", headers=STREAM)
HANGS = Answer(body=b": wait\n\n", headers=STREAM, ending="hold")


class Records:
    def __init__(self) -> None:
        self.kept: list[CallRecord] = []

    async def record(self, call: CallRecord) -> None:
        self.kept.append(call)


class Two:
    """A coordinator over an endpoint that answers as a test says, and one that answers well."""

    def __init__(self, coordinator: Coordinator, records: Records, servers: list[ReplayServer]):
        self.coordinator = coordinator
        self.records = records
        self.first, self.second = servers
        self.text = ""

    async def ask(self, windows: Sequence[int] = (8000, 8000)) -> list[str]:
        """Return who was asked."""
        endpoints = [
            Endpoint(provider=name, model="m", preference=n, context_tokens=window)
            for n, (name, window) in enumerate(zip("ab", windows, strict=False))
        ]
        request = Request(
            id="req_1",
            verb="complete",
            arguments=msgspec.Raw(b"{}"),
            principal=Principal(user="ada", interface="http"),
        )
        asked = []
        stream = self.coordinator.stream(CALL, endpoints, request=request)
        async with aclosing(stream) as events:
            async for one in events:
                if isinstance(one, ModelChosen):
                    asked.append(one.provider)
                elif isinstance(one, TextDelta):
                    self.text += one.text
        return asked


@asynccontextmanager
async def two(
    *answers: Answer, wire: str = "chat", second: Answer = MINE, patience: float = 5.0
) -> AsyncGenerator[Two, None]:
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(ReplayServer(each)) for each in (answers, [second])
        ]

        def first() -> Adapter:
            if wire == "messages":
                return AnthropicAdapter(base_url=servers[0].url, provider="a")
            return OpenAIAdapter(base_url=servers[0].url, provider="a")

        providers = [
            Provider(name="a", open=first),
            Provider(name="b", open=lambda: OpenAIAdapter(base_url=servers[1].url, provider="b")),
        ]
        records = Records()
        coordinator = Coordinator(
            Providers(providers, pricing=PRICING),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=records,
            clock=SystemClock(),
            entropy=lambda: 0.0,
            timeouts={"a": Timeouts(first_token=patience), "b": Timeouts(first_token=patience)},
        )
        await stack.enter_async_context(coordinator)
        yield Two(coordinator, records, servers)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (error(429, "rate_limit_exceeded"), 1),
        (error(429, "insufficient_quota"), 1),
        (error(500, "server_error"), 3),
        (error(503, "server_error"), 3),
        (error(401, "invalid_api_key"), 1),
        (error(404, "model_not_found"), 1),
        (Answer(body=b"", headers=STREAM, ending="reset"), 3),
        (Answer(body=chunk("x"), headers=STREAM, cut_at=0), 3),
        (Answer(body=b"data: {garbage\n\n", headers=STREAM), 3),
        (Answer(body=chunk("") + chunk(None), headers=STREAM), 3),
        (Answer(body=b"<html>busy</html>", status=502), 3),
    ],
    ids=[
        *("429", "quota", "500", "503", "401", "404"),
        *("reset", "empty", "garbage", "cut before content", "html"),
    ],
)
async def test_before_the_first_content_another_endpoint_takes_over(
    answer: Answer, tries: int
) -> None:
    async with two(answer) as asked:
        assert await asked.ask() == ["a"] * tries + ["b"]
        assert asked.text == "Mine."
        assert len(asked.first.received) == tries
        assert asked.records.kept[-1].outcome == "ok"


async def test_an_overload_inside_a_200_is_hidden_as_long_as_no_word_was_said() -> None:
    answer = Answer(body=START + BLOCK + OVERLOADED, headers=STREAM)
    async with two(answer, wire="messages") as asked:
        assert (await asked.ask())[-1] == "b"
        assert asked.text == "Mine."


async def test_an_overload_after_the_first_word_ends_the_reply_and_nothing_is_spliced() -> None:
    answer = Answer(body=START + BLOCK + WORD + OVERLOADED, headers=STREAM)
    async with two(answer, wire="messages") as asked:
        with pytest.raises(IncompleteStreamError, match="Overloaded") as caught:
            await asked.ask()
        assert asked.text == "Hel"
        assert asked.second.received == []
        assert caught.value.usage is not None
        assert caught.value.usage.output_tokens > 0


@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_cut_after_the_first_word_is_told_and_not_replayed(ending: Any) -> None:
    async with two(Answer(body=chunk("Hel"), headers=STREAM, ending=ending)) as asked:
        with pytest.raises(IncompleteStreamError):
            await asked.ask()
        assert asked.second.received == []
        [record] = asked.records.kept
        assert record.usage_is_estimated


async def test_a_hang_before_the_first_word_fails_over_and_its_cost_is_unknown() -> None:
    async with two(HANGS, patience=0.1) as asked:
        assert (await asked.ask())[-1] == "b"
        assert asked.text == "Mine."
        hung = asked.records.kept[0]
        assert (hung.outcome, hung.usage, hung.cost_usd_micros) == ("overloaded", None, None)
        with anyio.fail_after(1):
            await asked.first.left.wait()


async def test_a_refusal_costs_nothing() -> None:
    async with two(error(503, "server_error")) as asked:
        await asked.ask()
        assert asked.records.kept[0].cost_usd_micros == 0


async def test_an_overflow_goes_to_a_larger_window_and_to_no_other() -> None:
    overflow = error(400, "context_length_exceeded")
    async with two(overflow) as asked:
        assert await asked.ask((8000, 9000)) == ["a", "b"]
    async with two(overflow) as asked:
        with pytest.raises(ContextOverflowError):
            await asked.ask((8000, 8000))
        assert asked.second.received == []


async def test_a_quota_that_is_used_up_is_never_asked_again_by_the_same_call() -> None:
    async with two(error(429, "insufficient_quota", **{"retry-after": "0"})) as asked:
        with pytest.raises(BudgetError):
            await asked.ask((8000,))
        assert len(asked.first.received) == 1


async def test_nobody_is_left_connected_when_all_have_failed() -> None:
    async with two(HANGS, second=HANGS, patience=0.05) as asked:
        with pytest.raises(AiexError):
            await asked.ask()
        with anyio.fail_after(1):
            await asked.first.left.wait()
            await asked.second.left.wait()
