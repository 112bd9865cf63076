"""Errors of every wire become the one of ours that says the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiex.core import (
    AiexError,
    AuthenticationError,
    BudgetError,
    ContextOverflowError,
    IncompleteStreamError,
    InvalidCallError,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    RateLimitError,
    outcome_of,
)
from aiex.wires import (
    RateLimit,
    anthropic_messages,
    ollama,
    openai_chat,
    openai_responses,
    rate_limits,
)
from aiex.wires.failures import retry_after

WIRES = [openai_chat, openai_responses, anthropic_messages, ollama]


def openai_error(code: str | None, kind: str = "invalid_request_error") -> bytes:
    said = {"message": "no", "type": kind, "param": None, "code": code}
    return json.dumps({"error": said}).encode()


def anthropic_error(kind: str, message: str = "no", **more: Any) -> bytes:
    said = {"type": kind, "message": message} | more
    return json.dumps({"type": "error", "error": said, "request_id": "req_1"}).encode()


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.WIRE)
@pytest.mark.parametrize(
    ("status", "expected", "transient"),
    [
        (301, ProviderError, False),
        (400, InvalidCallError, False),
        (401, AuthenticationError, False),
        (402, BudgetError, False),
        (403, AuthenticationError, False),
        (404, ModelNotFoundError, False),
        (408, OverloadedError, True),
        (409, OverloadedError, True),
        (413, InvalidCallError, False),
        (418, InvalidCallError, False),
        (422, InvalidCallError, False),
        (429, RateLimitError, True),
        (500, OverloadedError, True),
        (502, OverloadedError, True),
        (529, OverloadedError, True),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>no", b"[]", b'{"error":null}', b"\xff\xfe"])
def test_a_status_alone_is_enough(
    wire: Any, status: int, expected: type[AiexError], transient: bool, body: bytes
) -> None:
    error = wire.decode_error(status, {}, body, provider="p")
    assert type(error) is expected
    assert error.transient is transient
    if isinstance(error, ProviderError):
        assert (error.provider, error.status) == ("p", status)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "model_not_found", ModelNotFoundError),
        (400, "context_length_exceeded", ContextOverflowError),
        (429, "insufficient_quota", BudgetError),
        (429, "billing_hard_limit_reached", BudgetError),
        (429, "rate_limit_exceeded", RateLimitError),
        (401, "invalid_api_key", AuthenticationError),
    ],
)
def test_a_code_of_openai_says_more_than_its_status(
    status: int, code: str, expected: type[AiexError]
) -> None:
    error = openai_chat.decode_error(status, {}, openai_error(code))
    assert type(error) is expected
    assert error.transient is (expected is RateLimitError)


def test_a_context_overflow_of_llama_cpp_is_known_by_its_type() -> None:
    body = openai_error(None, "exceed_context_size_error")
    assert isinstance(openai_chat.decode_error(400, {}, body), ContextOverflowError)


@pytest.mark.parametrize("code", ["400", 400, None])
def test_a_code_may_be_a_number(code: Any) -> None:
    assert isinstance(openai_chat.decode_error(400, {}, openai_error(code)), InvalidCallError)


def test_a_spend_limit_of_anthropic_is_a_budget_even_as_429() -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    body = anthropic_error("rate_limit_error", details=details)
    error = anthropic_messages.decode_error(429, {}, body)
    assert isinstance(error, BudgetError)
    assert not error.transient


def test_an_empty_balance_at_anthropic_is_a_budget() -> None:
    body = anthropic_error("invalid_request_error", "Your credit balance is too low to go on")
    assert isinstance(anthropic_messages.decode_error(400, {}, body), BudgetError)


def test_a_prompt_too_long_for_anthropic_is_a_context_overflow() -> None:
    body = anthropic_error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")
    assert isinstance(anthropic_messages.decode_error(400, {}, body), ContextOverflowError)


def test_an_error_of_ollama_is_a_plain_text() -> None:
    error = ollama.decode_error(404, {}, b'{"error":"model \\"x\\" not found, try pulling it"}')
    assert isinstance(error, ModelNotFoundError)
    assert 'model "x" not found' in error.message


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_x_should_retry_is_obeyed(told: bool, status: int) -> None:
    headers = {"x-should-retry": str(told).lower()}
    assert openai_chat.decode_error(status, headers, b"{}").transient is told


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": "Tue, 24 Nov 2026 12:00:30 GMT",
                "date": "Tue, 24 Nov 2026 12:00:00 GMT",
            },
            30.0,
        ),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, None),
    ],
)
def test_the_wait_is_read_from_any_form(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected
    assert anthropic_messages.decode_error(529, headers, b"").retry_after == expected


@pytest.mark.parametrize("wire", WIRES[:3], ids=lambda wire: wire.WIRE)
@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("a"),
        BudgetError("b"),
        ContextOverflowError("c"),
        InvalidCallError("d"),
        ModelNotFoundError("e"),
        OverloadedError("f"),
        RateLimitError("g"),
    ],
    ids=lambda error: error.code,
)
def test_an_error_that_a_door_writes_is_read_as_the_same(wire: Any, error: AiexError) -> None:
    status = outcome_of(error.code).http_status
    found = wire.decode_error(status, {}, wire.encode_error(error))
    assert type(found) is type(error)
    assert error.message in found.message


ENCODERS: dict[str, Any] = {
    "openai_chat": openai_chat.StreamEncoder(model="m", reply_id="r", created=1),
    "openai_responses": openai_responses.StreamEncoder(model="m", reply_id="r", created=1),
    "anthropic_messages": anthropic_messages.StreamEncoder(model="m", reply_id="r"),
    "ollama": ollama.StreamEncoder(model="m", created_at="2026-11-24T12:00:00Z"),
}


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.WIRE)
def test_an_error_inside_a_stream_is_read_as_an_error(wire: Any) -> None:
    decoder = wire.StreamDecoder()
    decoder.feed(ENCODERS[wire.WIRE].error(IncompleteStreamError("it was cut")))
    assert decoder.is_over
    with pytest.raises(OverloadedError, match="it was cut"):
        decoder.end()


def test_the_rates_of_anthropic_are_times() -> None:
    headers = {
        "date": "Sat, 02 Aug 2025 12:00:45 GMT",
        "anthropic-ratelimit-input-tokens-limit": "400000",
        "anthropic-ratelimit-input-tokens-remaining": "1000",
        "anthropic-ratelimit-input-tokens-reset": "2025-08-02T12:01:00Z",
    }
    assert rate_limits(headers) == (
        RateLimit(what="input-tokens", limit=400000, remaining=1000, reset_after=15.0),
    )


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("6m0s", 360.0),
        ("12ms", 0.012),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("", None),
        ("x", None),
    ],
)
def test_the_resets_of_openai_are_durations(reset: str, expected: float | None) -> None:
    [rate] = rate_limits({"x-ratelimit-reset-requests": reset})
    assert rate.reset_after == expected


def test_a_limit_of_azure_that_is_no_limit_is_unknown() -> None:
    headers = {"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "-1"}
    assert rate_limits(headers) == (RateLimit(what="tokens"),)
