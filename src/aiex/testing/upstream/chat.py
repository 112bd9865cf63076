"""Chat completions as OpenAI speaks and takes them.

Shapes: the recorded exchanges; rules: OpenAI's API reference and the messages of its 400s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from openai.types.chat import completion_create_params as params

from aiex.testing.upstream.checks import Refused, check_data_url, check_name, check_schema
from aiex.testing.upstream.openai_faults import error_object, openai_fault
from aiex.testing.upstream.scenario import (
    Billed,
    CallTool,
    Fault,
    FinishKind,
    Hide,
    Refuse,
    Say,
    Scenario,
    Think,
)
from aiex.testing.upstream.shapes import what_is_wrong
from aiex.testing.upstream.wire import Answer, encoded, sse

__all__ = ["Chat", "check_bearer", "read_object"]

_FINISHES: dict[FinishKind, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "window": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
}
_NO_AUDIO = {"audio_tokens": 0}


def check_bearer(headers: Mapping[str, str]) -> None:
    """Refuse a request without a key or with another kind of body."""
    if not headers.get("authorization", "").startswith("Bearer "):
        raise Refused("You didn't provide an API key.")
    if not headers.get("content-type", "").startswith("application/json"):
        raise Refused("Unsupported content type.")


def read_object(raw: bytes) -> dict[str, Any]:
    """Return *raw*, which must be a JSON object without a repeated key."""
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"We could not parse the JSON body of your request: {error}") from error
    return body


class Chat:
    """POST /v1/chat/completions."""

    def check(self, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the *body* of a request that OpenAI would take."""
        del path
        check_bearer(headers)
        asked = read_object(body)
        kind: Any = params.CompletionCreateParamsNonStreaming
        if asked.get("stream"):
            kind = params.CompletionCreateParamsStreaming
        wrong = what_is_wrong(kind, body)
        if wrong:
            raise Refused("; ".join(wrong))
        _check_messages(asked["messages"])
        _check_tools(asked)
        _check_format(asked)
        _check_numbers(asked)
        return asked

    def has_results(self, body: Mapping[str, Any]) -> bool:
        """Return whether the conversation ends with results of tools."""
        return bool(body["messages"][-1]["role"] == "tool")

    def fault(self, fault: Fault, *, said: str = "") -> Answer:
        """Return the answer that tells of *fault*."""
        return openai_fault(fault, said)

    def answer(
        self, path: str, scenario: Scenario, body: Mapping[str, Any], *, number: int
    ) -> Answer:
        """Return the answer of *scenario*."""
        del path
        head = {
            "id": f"chatcmpl-{number:06}",
            "object": "chat.completion.chunk",
            "created": 1790000000 + number,
            "model": f"{body['model']}-2026-08-07",
            "service_tier": "default",
            "system_fingerprint": "fp_0392822090",
        }
        headers = {"x-request-id": f"req_{number:06}", "openai-processing-ms": "221"}
        if not body.get("stream"):
            head["object"] = "chat.completion"
            return Answer(events=[encoded(_whole(head, scenario))], headers=headers)
        wants_usage = (body.get("stream_options") or {}).get("include_usage", False)
        chunks = _Chunks(head, wants_usage=bool(wants_usage))
        events = list(chunks.of(scenario))
        return Answer(events=events, kind="text/event-stream; charset=utf-8", headers=headers)


# ---------------------------------------------------------------- what is taken


def _check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    if not messages:
        raise Refused("Invalid 'messages': empty array. Expected an array with minimum length 1.")
    waiting: list[str] = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Refused(
                    f"{where}: messages with role 'tool' must be a response to a preceding message "
                    f"with 'tool_calls'; {message['tool_call_id']!r} is none of {waiting}"
                )
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            raise Refused(
                f"{where}: an assistant message with 'tool_calls' must be followed by tool "
                f"messages responding to each 'tool_call_id'; missing: {waiting}"
            )
        _check_content(message, where)
        waiting = _check_calls(message, where)
    if waiting:
        raise Refused(f"messages: no tool message responds to {waiting}")


def _check_content(message: Mapping[str, Any], where: str) -> None:
    content = message.get("content")
    if isinstance(content, list):
        if not content:
            raise Refused(f"{where}.content: empty array. Expected at least one part.")
        for number, part in enumerate(content):
            if part["type"] == "image_url":
                if message["role"] != "user":
                    raise Refused(f"{where}.content[{number}]: only a user shows pictures")
                check_data_url(part["image_url"]["url"], f"{where}.content[{number}].image_url")
    is_empty = content is None
    if is_empty and message["role"] != "assistant":
        raise Refused(f"{where}.content: expected a string, got null.")
    if is_empty and not (message.get("tool_calls") or message.get("refusal")):
        raise Refused(f"{where}.content: null without 'tool_calls' or a refusal")


def _check_calls(message: Mapping[str, Any], where: str) -> list[str]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not calls:
        raise Refused(f"{where}.tool_calls: empty array.")
    ids = [call["id"] for call in calls]
    if len(set(ids)) < len(ids) or not all(0 < len(one) <= 64 for one in ids):
        raise Refused(f"{where}.tool_calls: identifiers {ids} are not unique texts of up to 64")
    for call in calls:
        check_name(call["function"]["name"], f"{where}.tool_calls.function.name")
    return ids


def _check_tools(asked: Mapping[str, Any]) -> None:
    tools = asked.get("tools")
    choice = asked.get("tool_choice")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if asked.get(name) is not None:
                raise Refused(f"'{name}' is only allowed when 'tools' are specified.")
        return
    if not tools:
        raise Refused("Invalid 'tools': empty array. Expected an array with minimum length 1.")
    names = []
    for number, tool in enumerate(tools):
        if tool["type"] != "function":
            continue
        function = tool["function"]
        where = f"tools[{number}].function"
        check_name(function["name"], f"{where}.name")
        names.append(function["name"])
        if "parameters" in function:
            strict = function.get("strict") is True
            check_schema(function["parameters"], f"{where}.parameters", strict=strict)
    named = _named(choice)
    if named is not None and named not in names:
        raise Refused(f"tool_choice: {named!r} is not in 'tools'.")


def _named(choice: object) -> str | None:
    if isinstance(choice, dict) and choice["type"] == "function":
        return str(choice["function"]["name"])
    return None


def _check_format(asked: Mapping[str, Any]) -> None:
    wanted = asked.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_object" and "json" not in str(asked["messages"]).lower():
        raise Refused("'messages' must contain the word 'json' to use 'response_format'.")
    if wanted["type"] == "json_schema":
        schema = wanted["json_schema"]
        check_name(schema["name"], "response_format.json_schema.name")
        if "schema" in schema:
            strict = schema.get("strict") is True
            where = "response_format.json_schema.schema"
            check_schema(schema["schema"], where, strict=strict)


def _check_numbers(asked: Mapping[str, Any]) -> None:
    if asked.get("max_tokens") is not None and asked.get("max_completion_tokens") is not None:
        raise Refused("Setting 'max_tokens' and 'max_completion_tokens' at once is not supported.")
    for name, least, most in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("max_tokens", 1, 1 << 31),
        ("max_completion_tokens", 1, 1 << 31),
        ("n", 1, 128),
    ):
        value = asked.get(name)
        if value is not None and not least <= value <= most:
            raise Refused(f"Invalid '{name}': {value} is not between {least} and {most}.")
    if asked.get("stream_options") is not None and not asked.get("stream"):
        raise Refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    stop = asked.get("stop")
    if isinstance(stop, list) and not 1 <= len(stop) <= 4:
        raise Refused("Invalid 'stop': between 1 and 4 texts are expected.")


# ---------------------------------------------------------------- what is said


def _usage(billed: Billed) -> dict[str, Any]:
    details = {"cached_tokens": billed.cached} | _NO_AUDIO
    written = billed.written_5m + billed.written_1h
    if written:
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": billed.input,
        "completion_tokens": billed.output,
        "total_tokens": billed.input + billed.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": billed.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _whole(head: Mapping[str, Any], scenario: Scenario) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls = []
    for said in scenario.says:
        match said:
            case Say():
                message["content"] = (message["content"] or "") + "".join(said.pieces)
            case Think():
                message["reasoning_content"] = "".join(said.pieces)
            case Refuse():
                message["refusal"] = "".join(said.pieces)
            case CallTool():
                function = {"name": said.name, "arguments": said.arguments}
                calls.append({"id": said.id, "type": "function", "function": function})
            case Hide():
                pass  # is only billed on this wire
    if calls:
        message["tool_calls"] = calls
    message.setdefault("refusal", None)
    message["annotations"] = []
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _FINISHES[scenario.finish],
    }
    body = {key: head[key] for key in ("id", "object", "created", "model")}
    body["choices"] = [choice]
    if scenario.billed is not None:
        body["usage"] = _usage(scenario.billed)
    body |= {key: head[key] for key in ("service_tier", "system_fingerprint")}
    return body


class _Chunks:
    """The chunks of a stream."""

    def __init__(self, head: Mapping[str, Any], *, wants_usage: bool) -> None:
        self._head = dict(head)
        self._wants_usage = wants_usage
        self._calls = 0

    def of(self, scenario: Scenario) -> Iterator[bytes]:
        yield self._delta({"role": "assistant", "content": "", "refusal": None})
        for said in scenario.says:
            match said:
                case Say():
                    yield from (self._delta({"content": piece}) for piece in said.pieces)
                case Think():
                    key = "reasoning_content"
                    yield from (self._delta({key: piece}) for piece in said.pieces)
                case Refuse():
                    yield from (self._delta({"refusal": piece}) for piece in said.pieces)
                case CallTool():
                    yield from self._call(said)
                case Hide():
                    pass
        if scenario.fault is not None:
            yield sse(encoded({"error": error_object(scenario.fault)}))
            return
        yield self._delta({}, _FINISHES[scenario.finish])
        if self._wants_usage and scenario.billed is not None:
            yield self._chunk([], _usage(scenario.billed))
        yield sse(b"[DONE]")

    def _call(self, said: CallTool) -> Iterator[bytes]:
        index, self._calls = self._calls, self._calls + 1
        function = {"name": said.name, "arguments": ""}
        first = {"index": index, "id": said.id, "type": "function", "function": function}
        yield self._delta({"tool_calls": [first]})
        for piece in said.pieces:
            more = {"index": index, "function": {"arguments": piece}}
            yield self._delta({"tool_calls": [more]})

    def _delta(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._chunk([choice])

    def _chunk(self, choices: list[Any], usage: Mapping[str, Any] | None = None) -> bytes:
        body = self._head | {"choices": choices}
        if self._wants_usage:
            body["usage"] = usage
        return sse(encoded(body | {"obfuscation": "CVQ55DocFW"[: 3 + len(choices)]}))
