"""What the door answers, and what it asks the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import msgspec
import pytest

from aiex.core import (
    BudgetError,
    CompleteArguments,
    ContextOverflowError,
    EventBody,
    IncompleteStreamError,
    InvalidCallError,
    OverloadedError,
    RateLimitError,
    Request,
    WireBytes,
)
from aiex.testing.served import TOKEN, Raw, StubGateway, get, post, served

pytestmark = pytest.mark.anyio

BEARER = {"authorization": f"Bearer {TOKEN}"}
CHAT = "/v1/chat/completions"


async def test_a_whole_answer_comes_with_its_length_and_says_what_answered() -> None:
    gateway = StubGateway()
    async with (
        served(gateway) as server,
        aiohttp.ClientSession(server.url) as client,
        client.post(CHAT, json={"model": "mock:m-1"}, headers=BEARER) as said,
    ):
        assert said.status == 200
        assert await said.json() == {"ok": True}
        assert said.headers["content-type"] == "application/json"
        assert said.headers["x-aiex-provider"] == "mock"
        assert said.headers["x-aiex-model"] == "m-1"
        assert said.headers["x-request-id"] == gateway.asked[0].id
    assert gateway.running == 0


async def test_a_stream_comes_piece_by_piece() -> None:
    gateway = StubGateway()
    async with served(gateway) as server, aiohttp.ClientSession(server.url) as client:
        body = {"model": "m", "stream": True}
        async with client.post(CHAT, json=body, headers=BEARER) as said:
            assert said.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert said.headers["cache-control"] == "no-cache"
            assert await said.read() == b'data: {"n":1}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("path", "wire", "kind"),
    [
        (CHAT, "openai_chat", "complete"),
        ("/v1/responses", "openai_responses", "complete"),
        ("/v1/responses/input_tokens", "openai_responses", "count"),
        ("/v1/embeddings", "openai_embeddings", "embed"),
        ("/v1/messages", "anthropic_messages", "complete"),
        ("/v1/messages/count_tokens", "anthropic_messages", "count"),
    ],
)
async def test_each_address_is_a_request_with_the_bytes_beside_it(
    path: str, wire: str, kind: str
) -> None:
    gateway = StubGateway()
    data = b'{ "model":"a:b", "max_tokens": 7, "max_output_tokens":7,"odd":[1.50]}'
    more = {"anthropic-beta": "b1", "anthropic-version": "2023-06-01", "x-api-key": TOKEN}
    async with (
        served(gateway) as server,
        aiohttp.ClientSession(server.url) as client,
        client.post(path + "?beta=true", data=data, headers=more) as said,
    ):
        assert said.status == 200
    [request] = gateway.asked
    assert request.passthrough is not None
    assert request.passthrough.body == data
    assert request.passthrough.wire == wire
    kept = dict(request.passthrough.headers)
    assert ("anthropic-beta" in kept) == (wire == "anthropic_messages")
    assert request.principal.user == "ann"
    arguments = msgspec.json.decode(request.arguments, type=CompleteArguments)
    assert (arguments.kind, arguments.model, arguments.stream) == (kind, "a:b", False)
    assert arguments.max_output_tokens == (7 if kind == "complete" else None)


async def _failing(error: Exception, after: bytes = b"") -> StubGateway:
    async def script(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        if after:
            yield WireBytes(data=after)
        raise error

    return StubGateway(script)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidCallError("no", status=422), 422),
        (InvalidCallError("no", status=400), 400),
        (ContextOverflowError("no", status=413), 413),
        (OverloadedError("no", status=529), 529),
        (OverloadedError("no", status=500), 500),
        (OverloadedError("no"), 503),
        (RateLimitError("no", retry_after=1.5), 429),
        (BudgetError("no"), 402),
        (IncompleteStreamError("no"), 502),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages"])
async def test_an_error_before_content_has_its_status_in_the_clients_wire(
    error: Any, status: int, path: str
) -> None:
    gateway = await _failing(error)
    async with served(gateway) as server, aiohttp.ClientSession(server.url) as client:
        body = {"model": "m", "stream": True}
        async with client.post(path, json=body, headers=BEARER) as said:
            assert said.status == status
            told = await said.json()
            assert "no" in told["error"]["message"]
            assert (told.get("type") == "error") == (path == "/v1/messages")
            transient = "true" if error.transient else "false"
            assert said.headers["x-should-retry"] == transient
            assert said.headers.get("retry-after") == ("2" if status == 429 else None)
            assert said.headers.get("retry-after-ms") == ("1500" if status == 429 else None)


async def test_an_error_after_content_ends_the_body_without_a_word_of_the_door() -> None:
    gateway = await _failing(IncompleteStreamError("cut"), after=b"data: 1\n\n")
    async with served(gateway) as server, aiohttp.ClientSession(server.url) as client:
        body = {"model": "m", "stream": True}
        async with client.post(CHAT, json=body, headers=BEARER) as said:
            assert said.status == 200
            assert await said.read() == b"data: 1\n\n"


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b"",
        b"{",
        b'{"model":NaN}',
        b'{"model":"a","temperature":Infinity}',
        b'{"model":"a","model":"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"model":"a" , "x":1 ,"x":1}',
        b'{"model":1}',
        b'{"model":"a","stream":1}',
        b'{"model":"a","max_tokens":0}',
        b'{"model":"a","max_tokens":1e3}',
        b'{"x":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"x":' + b"[" * 100_000,
        b'{"x":' + b"9" * 100 + b"}",
        b'{"x":"\xff"}',
        b'{"x":"\\ud800"}',
        b"\xef\xbb\xbf{}",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_a_body_that_no_server_should_pass_on_is_refused_before_any_work(
    body: bytes, path: str
) -> None:
    gateway = StubGateway()
    async with (
        served(gateway) as server,
        aiohttp.ClientSession(server.url) as client,
        client.post(path, data=body, headers=BEARER) as said,
    ):
        assert said.status == 400
        told = (await said.json())["error"]
        assert told["type"] == "invalid_request_error"
        assert said.headers["x-should-retry"] == "false"
    assert gateway.asked == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","x":{"model":"b"}}',
        b'{"x":"' + b"[{" * 400 + b'"}',
        b'{"x":"\\\\\\"' + b"[{" * 400 + b'"}',
        b'{"x":"' + b"9" * 4000 + b'"}',
        b'{\n  "model": "a",\n  "messages": [\n  ]\n}\n',
        '{"model":"a","ключ":"\u2028"}'.encode(),
        b'{"model":null,"stream":null,"max_tokens":null}',
        b'{"x":[' + b",".join([b"{}"] * 5000) + b"]}",
    ],
)
async def test_a_body_that_is_merely_odd_is_passed_on(body: bytes) -> None:
    gateway = StubGateway()
    async with (
        served(gateway) as server,
        aiohttp.ClientSession(server.url) as client,
        client.post(CHAT, data=body, headers=BEARER) as said,
    ):
        assert said.status == 200
    assert gateway.asked[0].passthrough is not None
    assert gateway.asked[0].passthrough.body == body


async def test_models_have_the_shape_of_who_asks() -> None:
    gateway = StubGateway()
    async with served(gateway) as server, aiohttp.ClientSession(server.url) as client:
        async with client.get("/v1/models", headers=BEARER) as said:
            found = await said.json()
            assert [one["id"] for one in found["data"]] == ["mock:m-1", "mock:m-2", "fast"]
            assert found["object"] == "list"
        theirs = {"x-api-key": TOKEN, "anthropic-version": "2023-06-01"}
        async with client.get("/v1/models?limit=10", headers=theirs) as said:
            found = await said.json()
            assert found["has_more"] is False
            assert found["data"][0]["type"] == "model"
        async with client.get("/v1/models/mock:m-2", headers=BEARER) as said:
            assert (await said.json())["id"] == "mock:m-2"
        async with client.get("/v1/models/mock%3Am-9", headers=BEARER) as said:
            assert said.status == 404
            assert (await said.json())["error"]["code"] == "model_not_found"


async def test_a_wrong_method_and_an_unknown_path_are_told_apart() -> None:
    async with served(StubGateway()) as server, aiohttp.ClientSession(server.url) as client:
        async with client.get(CHAT, headers=BEARER) as said:
            assert said.status == 405
        async with client.get("/v1/other", headers=BEARER) as said:
            assert said.status == 404


async def test_readiness_and_metrics() -> None:
    gateway = StubGateway()
    async with served(gateway) as server, aiohttp.ClientSession(server.url) as client:
        async with client.post(CHAT, json={"model": "m"}, headers=BEARER) as said:
            assert said.status == 200
        async with client.get("/livez") as said:
            assert said.status == 200
        async with client.get("/readyz", headers=BEARER) as said:
            assert (said.status, await said.json()) == (200, {"ready": True, "missing": {}})
        gateway.operations.problems = {"store": "gone"}
        async with client.get("/readyz", headers=BEARER) as said:
            assert said.status == 503
        async with client.get("/metrics", headers=BEARER) as said:
            text = await said.text()
    wanted = 'aiex_http_requests_total{verb="complete",wire="openai_chat",status="200"} 1'
    assert wanted in text
    assert "aiex_stub 1" in text
    assert 'aiex_http_request_seconds_bucket{wire="openai_chat",le="+Inf"} 1' in text


async def test_requests_on_one_connection_are_answered_one_after_the_other() -> None:
    async with served(StubGateway()) as server:
        raw = await Raw.open(server.port)
        for _ in range(3):
            await raw.send(post())
            assert (await raw.answer())[0] == 200
        await raw.send(get("/livez", token=None))
        assert (await raw.answer())[2] == b"ok\n"
        raw.close()


async def test_nothing_is_sent_before_the_first_event_that_allows_it() -> None:
    go = asyncio.Event()

    async def script(
        request: Request, arguments: CompleteArguments
    ) -> AsyncGenerator[EventBody, None]:
        await go.wait()
        if go.is_set():
            raise RateLimitError("later", retry_after=3.0)
        yield WireBytes(data=b"")

    async with served(StubGateway(script)) as server:
        raw = await Raw.open(server.port)
        await raw.send(post(body=b'{"model":"m","stream":true}'))
        waiting = asyncio.ensure_future(raw.reader.read(1))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        go.set()
        assert await waiting == b"H"
        raw.close()
