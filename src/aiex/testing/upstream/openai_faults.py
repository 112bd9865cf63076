"""Failures as OpenAI tells of them, on both of its wires."""

from __future__ import annotations

from typing import Any

from aiex.testing.upstream.scenario import Fault, FaultKind
from aiex.testing.upstream.wire import Answer, encoded

__all__ = ["error_object", "openai_fault"]

# Status, type, code and message; recorded where there is a recording, else from the error page
# of OpenAI's reference and the retry code of its SDK (read 2026-11-25).
_FAULTS: dict[FaultKind, tuple[int, str, str | None, str]] = {
    "invalid": (400, "invalid_request_error", "invalid_value", "Invalid value."),
    "overflow": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        (
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9001 tokens. Please reduce the length of the messages."
        ),
    ),
    "authentication": (
        401,
        "invalid_request_error",
        "invalid_api_key",
        (
            "Incorrect API key provided: sk-up***********pstr. You can find your API key in your "
            "account settings."
        ),
    ),
    "billing": (402, "insufficient_credits", "insufficient_credits", "Add credits to go on."),
    "permission": (
        403,
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    "model": (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    "timeout": (408, "server_error", "request_timeout", "Request timed out."),
    "conflict": (409, "invalid_request_error", "conflict", "The resource is being changed."),
    "too_large": (413, "invalid_request_error", "request_too_large", "The body is too large."),
    "unprocessable": (422, "invalid_request_error", None, "The request could not be processed."),
    "rate_limit": (
        429,
        "requests",
        "rate_limit_exceeded",
        (
            "Rate limit reached for requests per min (RPM): Limit 3, Used 3, Requested 1. Please "
            "try again in 20s."
        ),
    ),
    "quota": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server": (
        500,
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    "bad_gateway": (502, "server_error", None, "Bad gateway"),
    "unavailable": (
        503,
        "server_error",
        None,
        "The engine is currently overloaded, please try again later",
    ),
    "gateway_timeout": (504, "server_error", None, "Gateway timeout"),
    "overloaded": (529, "server_error", "overloaded", "Overloaded"),
}


def error_object(fault: Fault, said: str = "") -> dict[str, Any]:
    """Return the object that tells of *fault*."""
    _, kind, code, message = _FAULTS[fault.kind]
    return {"message": said or message, "type": kind, "param": None, "code": code}


def openai_fault(fault: Fault, said: str = "") -> Answer:
    """Return the answer that tells of *fault*, in the words *said* if there are any."""
    status = _FAULTS[fault.kind][0]
    headers = {"x-request-id": "req_5f0c1a"}
    if fault.kind == "rate_limit":
        headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20s"}
    if fault.retry_after is not None:
        headers["retry-after"] = fault.retry_after
    if fault.kind == "bad_gateway":
        page = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n</html>\r\n"
        return Answer(events=[page], kind="text/html", status=status, headers=headers)
    body = encoded({"error": error_object(fault, said)})
    return Answer(events=[body], status=status, headers=headers)
