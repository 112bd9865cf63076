"""Messages as Anthropic speaks and takes them.

Shapes: the recorded exchanges; rules: Anthropic's API reference and the messages of its 400s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from anthropic.types import message_count_tokens_params as count_params
from anthropic.types import message_create_params as params

from aiex.testing.upstream.chat import read_object
from aiex.testing.upstream.checks import Refused, check_name, check_picture, check_schema
from aiex.testing.upstream.scenario import (
    Billed,
    CallTool,
    Fault,
    FaultKind,
    FinishKind,
    Hide,
    Refuse,
    Say,
    Saying,
    Scenario,
    Think,
)
from aiex.testing.upstream.shapes import what_is_wrong
from aiex.testing.upstream.wire import Answer, encoded, sse

__all__ = ["Messages"]

_FINISHES: dict[FinishKind, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "window": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}
# Status, type and message; Anthropic's page on errors (read 2026-11-25).
_FAULTS: dict[FaultKind, tuple[int, str, str]] = {
    "invalid": (400, "invalid_request_error", "messages: Input should be a valid list"),
    "overflow": (
        400,
        "invalid_request_error",
        "prompt is too long: 205361 tokens > 200000 maximum",
    ),
    "authentication": (401, "authentication_error", "invalid x-api-key"),
    "billing": (402, "billing_error", "There is an issue with your billing."),
    "permission": (403, "permission_error", "Your API key may not use this resource."),
    "model": (404, "not_found_error", "model: absent"),
    "timeout": (408, "timeout_error", "Request timed out"),
    "conflict": (409, "conflict_error", "The resource is being changed."),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "unprocessable": (422, "invalid_request_error", "The request could not be processed."),
    "rate_limit": (
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute.",
    ),
    "quota": (429, "rate_limit_error", "Your organization has reached its spend limit."),
    "server": (500, "api_error", "Internal server error"),
    "bad_gateway": (502, "api_error", "Bad gateway"),
    "unavailable": (503, "api_error", "Service unavailable"),
    "gateway_timeout": (504, "timeout_error", "Request timed out"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
}
# Taken with the older version of the API only; the newest SDK sends the newer and does not name
# them any more.
_OLDER = ("temperature", "top_p", "top_k", "output_format")
_OLDER_VERSION = "2023-06-01"
_VERSIONS = (_OLDER_VERSION, "2026-10-21")
_ID = re.compile(r"[a-zA-Z0-9_-]+")


class Messages:
    """POST /v1/messages and its count_tokens."""

    def check(self, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the *body* of a request that Anthropic would take."""
        if "x-api-key" not in headers and "authorization" not in headers:
            raise Refused("x-api-key header is required")
        version = headers.get("anthropic-version")
        if version not in _VERSIONS:
            raise Refused(f"anthropic-version: {version!r} is not a valid version")
        asked = read_object(body)
        taken = _OLDER if version == _OLDER_VERSION else ()
        older = {name: asked.pop(name) for name in taken if name in asked}
        kind: Any = params.MessageCreateParamsNonStreaming
        if path.endswith("/count_tokens"):
            kind = count_params.MessageCountTokensParams
        elif asked.get("stream"):
            kind = params.MessageCreateParamsStreaming
        wrong = what_is_wrong(kind, encoded(asked))
        if wrong:
            raise Refused("; ".join(wrong))
        asked |= older
        _check_turns(asked["messages"])
        _check_tools(asked)
        _check_thinking(asked)
        _check_numbers(asked)
        return asked

    def has_results(self, body: Mapping[str, Any]) -> bool:
        """Return whether the conversation ends with results of tools."""
        content = body["messages"][-1]["content"]
        return isinstance(content, list) and any(one["type"] == "tool_result" for one in content)

    def fault(self, fault: Fault, *, said: str = "") -> Answer:
        """Return the answer that tells of *fault*."""
        headers = {"request-id": "req_5f0c1a"}
        if fault.retry_after is not None:
            headers["retry-after"] = fault.retry_after
        status = _FAULTS[fault.kind][0]
        if fault.kind == "bad_gateway":
            page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
            return Answer(events=[page], kind="text/html", status=status, headers=headers)
        body = encoded(_error(fault, said) | {"request_id": "req_5f0c1a"})
        return Answer(events=[body], status=status, headers=headers)

    def answer(
        self, path: str, scenario: Scenario, body: Mapping[str, Any], *, number: int
    ) -> Answer:
        """Return the answer of *scenario*."""
        headers = {"request-id": f"req_{number:06}"}
        if path.endswith("/count_tokens"):
            billed = scenario.billed or Billed()
            return Answer(events=[encoded({"input_tokens": billed.input})], headers=headers)
        message: dict[str, Any] = {
            "model": f"{body['model']}-20260807",
            "id": f"msg_{number:06}",
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(scenario.billed),
        }
        if not body.get("stream"):
            message["content"] = [_block(one) for one in scenario.says]
            message |= _ending(scenario, body)
            return Answer(events=[encoded(message)], headers=headers)
        return Answer(
            events=list(_events(message, scenario, body)),
            kind="text/event-stream; charset=utf-8",
            headers=headers,
        )


# ---------------------------------------------------------------- what is taken


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_turns(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise Refused("messages: at least one message is required")
    if messages[0]["role"] != "user":
        raise Refused('messages: first message must use the "user" role')
    if messages[-1]["role"] == "assistant":
        raise Refused("The conversation must end with a user message.")
    seen: set[str] = set()
    open_calls: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        blocks = _blocks(message)
        if not blocks:
            raise Refused(f"{where}: all messages must have non-empty content")
        results = [one for one in blocks if one["type"] == "tool_result"]
        _check_results(results, blocks, open_calls, where)
        open_calls = set()
        for at, block in enumerate(blocks):
            _check_block(block, message["role"], f"{where}.content.{at}")
            if block["type"] == "tool_use":
                if block["id"] in seen:
                    raise Refused(f"{where}.content.{at}: `tool_use` ids must be unique")
                seen.add(block["id"])
                open_calls.add(block["id"])


def _check_results(
    results: Sequence[Mapping[str, Any]],
    blocks: Sequence[Mapping[str, Any]],
    open_calls: set[str],
    where: str,
) -> None:
    given = [one["tool_use_id"] for one in results]
    unknown = [one for one in given if one not in open_calls]
    if unknown:
        raise Refused(
            f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {unknown}. Each "
            "must have a corresponding `tool_use` block in the previous message."
        )
    if len(set(given)) < len(given):
        raise Refused(f"{where}: each tool_use must have a single result: {given}")
    missing = sorted(open_calls - set(given))
    if missing:
        raise Refused(
            f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{missing}"
        )
    if results and any(one["type"] != "tool_result" for one in blocks[: len(results)]):
        raise Refused(f"{where}: tool_result blocks must come first in the content")


def _check_block(block: Mapping[str, Any], role: str, where: str) -> None:
    kind = block["type"]
    if kind == "text" and not block["text"]:
        raise Refused(f"{where}: text content blocks must be non-empty")
    if role != "assistant" and kind in {"tool_use", "thinking", "redacted_thinking"}:
        raise Refused(f"{where}: `{kind}` blocks can only be in `assistant` messages")
    if role == "assistant" and kind in {"tool_result", "image"}:
        raise Refused(f"{where}: `{kind}` blocks can only be in `user` messages")
    if kind == "image" and block["source"]["type"] == "base64":
        check_picture(block["source"]["data"], block["source"]["media_type"], where)
    if kind == "tool_use":
        check_name(block["name"], f"{where}.name", most=128)
        if not _ID.fullmatch(block["id"]):
            raise Refused(f"{where}.id: {block['id']!r} does not match '^[a-zA-Z0-9_-]+$'")
    if kind == "thinking" and block["signature"] != Think(()).signature:
        raise Refused(f"{where}: Invalid `signature` in `thinking` block")
    if kind == "redacted_thinking" and block["data"] != Hide().data:
        raise Refused(f"{where}: Invalid `data` in `redacted_thinking` block")
    if kind == "tool_result" and isinstance(block.get("content"), list):
        for one in block["content"]:
            if one["type"] == "image" and one["source"]["type"] == "base64":
                check_picture(one["source"]["data"], one["source"]["media_type"], where)
            if one["type"] == "text" and not one["text"]:
                raise Refused(f"{where}: text content blocks must be non-empty")


def _check_tools(asked: Mapping[str, Any]) -> None:
    tools = asked.get("tools") or []
    names = []
    for number, tool in enumerate(tools):
        if tool.get("type") not in {None, "custom"}:
            continue
        check_name(tool["name"], f"tools.{number}.name", most=128)
        names.append(tool["name"])
        strict = tool.get("strict") is True
        check_schema(tool["input_schema"], f"tools.{number}.input_schema", strict=strict)
    if len(set(names)) < len(names):
        raise Refused("tools: Tool names must be unique.")
    choice = asked.get("tool_choice")
    if choice is None:
        return
    if not tools:
        raise Refused("tool_choice may only be specified while providing tools.")
    if choice["type"] == "tool" and choice["name"] not in names:
        raise Refused(f"Tool '{choice['name']}' not found in provided tools")


def _check_thinking(asked: Mapping[str, Any]) -> None:
    wanted = (asked.get("output_config") or {}).get("format")
    if wanted is not None:
        check_schema(wanted["schema"], "output_config.format.schema", strict=True)
    thinking = asked.get("thinking") or {"type": "disabled"}
    if thinking["type"] != "enabled":
        return
    if thinking["budget_tokens"] < 1024:
        raise Refused("thinking.enabled.budget_tokens: Input should be at least 1024")
    if thinking["budget_tokens"] >= asked.get("max_tokens", 1 << 31):
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if asked.get("temperature") not in {None, 1}:
        raise Refused("`temperature` may only be set to 1 when thinking is enabled.")
    if asked.get("top_k") is not None or not 0.95 <= (asked.get("top_p") or 1) <= 1:
        raise Refused("`top_k` and a `top_p` below 0.95 may not be set with thinking.")
    if (asked.get("tool_choice") or {"type": "auto"})["type"] in {"any", "tool"}:
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
    said = [one for one in asked["messages"] if one["role"] == "assistant"]
    if said and asked["messages"][-1]["role"] == "user":
        blocks = _blocks(said[-1])
        kinds = [one["type"] for one in blocks]
        if "tool_use" in kinds and kinds[0] not in {"thinking", "redacted_thinking"}:
            raise Refused(
                f"Expected `thinking` or `redacted_thinking`, but found `{kinds[0]}`. When "
                "`thinking` is enabled, a final `assistant` message must start with it."
            )


def _check_numbers(asked: Mapping[str, Any]) -> None:
    for name, least, most in (("temperature", 0, 1), ("top_p", 0, 1), ("max_tokens", 0, 1 << 31)):
        value = asked.get(name)
        if value is not None and not least <= value <= most:
            raise Refused(f"{name}: {value} is not between {least} and {most}")
    for text in asked.get("stop_sequences") or []:
        if not text.strip():
            raise Refused("stop_sequences: each stop sequence must contain non-whitespace")
    marks = str(asked).count("'cache_control': {")
    if marks > 4:
        raise Refused(f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")


# ---------------------------------------------------------------- what is said


def _usage(billed: Billed | None) -> dict[str, Any]:
    billed = billed or Billed()
    written = billed.written_5m + billed.written_1h
    return {
        "input_tokens": billed.input - billed.cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": billed.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": billed.written_5m,
            "ephemeral_1h_input_tokens": billed.written_1h,
        },
        "output_tokens": billed.output,
        "output_tokens_details": {"thinking_tokens": billed.reasoning},
        "service_tier": "standard",
    }


def _error(fault: Fault, said: str = "") -> dict[str, Any]:
    _, kind, message = _FAULTS[fault.kind]
    error: dict[str, Any] = {"type": kind, "message": said or message}
    if fault.kind == "quota":
        error["details"] = {"error_code": "enforced_spend_limit_reached"}
    return {"type": "error", "error": error}


def _block(said: Saying) -> dict[str, Any]:
    match said:
        case Say() | Refuse():
            return {"type": "text", "text": "".join(said.pieces)}
        case Think():
            text = "".join(said.pieces)
            return {"type": "thinking", "thinking": text, "signature": said.signature}
        case Hide():
            return {"type": "redacted_thinking", "data": said.data}
        case CallTool():
            body = msgspec.json.decode(said.arguments or "{}")
            return {"type": "tool_use", "id": said.id, "name": said.name, "input": body}


def _ending(scenario: Scenario, body: Mapping[str, Any]) -> dict[str, Any]:
    stopped_at = None
    if scenario.finish == "stop_sequence":
        stopped_at = (body.get("stop_sequences") or ["END"])[0]
    return {"stop_reason": _FINISHES[scenario.finish], "stop_sequence": stopped_at}


def _event(kind: str, **keys: object) -> bytes:
    # The real one pads its data with spaces.
    padding = b" " * (len(kind) % 7)
    return sse(encoded({"type": kind} | keys)[:-1] + padding + b"}", kind)


def _events(
    message: dict[str, Any], scenario: Scenario, body: Mapping[str, Any]
) -> Iterator[bytes]:
    usage = dict(message["usage"])
    details = usage.pop("output_tokens_details")
    yield _event("message_start", message=message | {"usage": usage | {"output_tokens": 1}})
    for index, said in enumerate(scenario.says):
        yield _event("content_block_start", index=index, content_block=_empty(said))
        if index == 0:
            yield sse(b'{"type": "ping"}', "ping")
        for delta in _deltas(said):
            yield _event("content_block_delta", index=index, delta=delta)
        if index + 1 < len(scenario.says) or scenario.fault is None:
            yield _event("content_block_stop", index=index)
    if scenario.fault is not None:
        yield sse(encoded(_error(scenario.fault)), "error")
        return
    final = {
        "input_tokens": usage["input_tokens"],
        "cache_creation_input_tokens": usage["cache_creation_input_tokens"],
        "cache_read_input_tokens": usage["cache_read_input_tokens"],
        "output_tokens": usage["output_tokens"],
        "output_tokens_details": details,
    }
    yield _event("message_delta", delta=_ending(scenario, body), usage=final)
    yield _event("message_stop")


def _empty(said: Saying) -> dict[str, Any]:
    match said:
        case Say() | Refuse():
            return {"type": "text", "text": ""}
        case Think():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Hide():
            return _block(said)
        case CallTool():
            return {"type": "tool_use", "id": said.id, "name": said.name, "input": {}}


def _deltas(said: Saying) -> Iterator[dict[str, Any]]:
    match said:
        case Say() | Refuse():
            yield from ({"type": "text_delta", "text": piece} for piece in said.pieces)
        case Think():
            yield from ({"type": "thinking_delta", "thinking": one} for one in said.pieces)
            yield {"type": "signature_delta", "signature": said.signature}
        case CallTool():
            yield {"type": "input_json_delta", "partial_json": ""}
            yield from ({"type": "input_json_delta", "partial_json": one} for one in said.pieces)
        case Hide():
            pass
