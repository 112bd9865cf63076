"""What is secret stands in no answer, no log and no metric."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

import pytest

from aiex.core import CompleteArguments, EventBody, RateLimitError, Request, WireBytes
from aiex.testing.served import TOKEN, Raw, StubGateway, get, post, served

pytestmark = pytest.mark.anyio

SECRET = "sk-live-0123456789abcdefghijklmnop"
PROMPT = "the-prompt-of-somebody"
BODIES = [
    f'{{"model":"m","messages":[{{"content":"{PROMPT} {SECRET}"}}]}}',
    f'{{"model":"m","stream":true,"messages":["{PROMPT} {SECRET}"]}}',
    f'{{"model":"m","user":"{SECRET}","x":NaN}}',
    f'{{"model":"m","{PROMPT}":"{SECRET}"',
    f'["{SECRET}","{PROMPT}"]',
    f'{{"model":{{"a":"{SECRET}"}}}}',
    f'{{"model":"m","stream":"{SECRET}"}}',
    f'{{"model":"m","max_tokens":"{SECRET}"}}',
    f"{SECRET} {PROMPT}",
]


async def test_bodies_and_tokens_stand_in_no_answer_no_log_and_no_metric(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        if not arguments.stream:
            raise RateLimitError("too many requests")
        yield WireBytes(data=b"data: 1\n\n")
        raise RuntimeError("a fault of the program")

    caplog.set_level(logging.DEBUG)
    seen: list[bytes] = []
    async with served(StubGateway(script)) as server:
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/v1/keys"):
            for body in BODIES:
                for token in (TOKEN, SECRET):
                    raw = await Raw.open(server.port)
                    more = ["Connection: close", f"Cookie: {SECRET}", f"X-Api-Key: {token}"]
                    await raw.send(post(path, body.encode(), token=token, headers=more))
                    seen.append(await asyncio.wait_for(raw.reader.read(), 10))
                    raw.close()
        raw = await Raw.open(server.port)
        await raw.send(get(f"/v1/models?key={SECRET}", token=None))
        seen.append((await raw.answer())[2])
        await raw.send(get("/metrics"))
        seen.append((await raw.answer())[2])
        raw.close()
    told = b"".join(seen).decode() + caplog.text
    assert "a fault of the program" in caplog.text  # the log is on
    for secret in (SECRET, TOKEN, PROMPT):
        assert secret not in told
