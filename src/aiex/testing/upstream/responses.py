"""Responses as OpenAI speaks and takes them.

Shapes: the recorded exchanges; rules: OpenAI's API reference and the messages of its 400s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openai.types.responses import input_token_count_params as count_params
from openai.types.responses import response_create_params as params

from aiex.testing.upstream.chat import check_bearer, read_object
from aiex.testing.upstream.checks import Refused, check_data_url, check_name, check_schema
from aiex.testing.upstream.openai_faults import error_object, openai_fault
from aiex.testing.upstream.scenario import (
    Billed,
    CallTool,
    Fault,
    Hide,
    Refuse,
    Say,
    Saying,
    Scenario,
    Think,
)
from aiex.testing.upstream.shapes import what_is_wrong
from aiex.testing.upstream.wire import Answer, encoded, sse

__all__ = ["Responses"]

_INCOMPLETE = {
    "length": "max_output_tokens",
    "window": "max_output_tokens",
    "content_filter": "content_filter",
}
_LEAST_TOKENS = 16


class Responses:
    """POST /v1/responses and its input_tokens."""

    def check(self, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the *body* of a request that OpenAI would take."""
        check_bearer(headers)
        asked = read_object(body)
        kind: Any = params.ResponseCreateParamsNonStreaming
        if path.endswith("/input_tokens"):
            kind = count_params.InputTokenCountParams
        elif asked.get("stream"):
            kind = params.ResponseCreateParamsStreaming
        wrong = what_is_wrong(kind, encoded(_completed(asked)))
        if wrong:
            raise Refused("; ".join(wrong))
        if "model" not in asked or asked.get("input") in (None, ""):
            raise Refused("Missing required parameter: 'model' or 'input'.")
        if isinstance(asked["input"], list):
            _check_items(asked["input"])
        _check_tools(asked)
        _check_rest(asked)
        return asked

    def has_results(self, body: Mapping[str, Any]) -> bool:
        """Return whether the conversation ends with results of tools."""
        items = body["input"]
        return isinstance(items, list) and items[-1].get("type") == "function_call_output"

    def fault(self, fault: Fault, *, said: str = "") -> Answer:
        """Return the answer that tells of *fault*."""
        answer = openai_fault(fault, said)
        if fault.kind != "model":
            return answer
        # Recorded: on this wire an absent model is a 400.
        return Answer(events=answer.events, status=400, headers=answer.headers)

    def answer(
        self, path: str, scenario: Scenario, body: Mapping[str, Any], *, number: int
    ) -> Answer:
        """Return the answer of *scenario*."""
        headers = {"x-request-id": f"req_{number:06}", "openai-processing-ms": "255"}
        if path.endswith("/input_tokens"):
            counted = (scenario.billed or Billed()).input
            said = {"object": "response.input_tokens", "input_tokens": counted}
            return Answer(events=[encoded(said)], headers=headers)
        events = _Events(body, scenario, number)
        if not body.get("stream"):
            return Answer(events=[encoded(events.whole())], headers=headers)
        kind = "text/event-stream; charset=utf-8"
        return Answer(events=list(events.all()), kind=kind, headers=headers)


# ---------------------------------------------------------------- what is taken


def _completed(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return *asked* with what the SDK's types demand and the API does not."""
    found = dict(asked)
    if isinstance(asked.get("tools"), list):
        found["tools"] = [_with(one, "function", strict=None) for one in asked["tools"]]
    if isinstance(asked.get("input"), list):
        found["input"] = [_with_details(one) for one in asked["input"]]
    return found


def _with(value: Any, kind: str, **keys: object) -> Any:
    is_one = isinstance(value, dict) and value.get("type") == kind
    return keys | value if is_one else value


def _with_details(item: Any) -> Any:
    for key in ("content", "output"):
        if isinstance(item, dict) and isinstance(item.get(key), list):
            parts = [_with(one, "input_image", detail="auto") for one in item[key]]
            item = {**item, key: parts}
    return item


def _check_items(items: list[Mapping[str, Any]]) -> None:
    if not items:
        raise Refused("Invalid 'input': empty array.")
    calls: list[str] = []
    results: set[str] = set()
    for number, item in enumerate(items):
        where = f"input[{number}]"
        match item.get("type", "message"):
            case "message":
                _check_message(item, where)
            case "function_call":
                check_name(item["name"], f"{where}.name")
                if item["call_id"] in calls:
                    raise Refused(f"{where}: call_id {item['call_id']!r} is not unique")
                calls.append(item["call_id"])
            case "function_call_output":
                if item["call_id"] not in calls:
                    raise Refused(
                        f"No tool call found for function call output with call_id "
                        f"{item['call_id']}."
                    )
                results.add(item["call_id"])
                _check_parts(item["output"], where)
            case "reasoning":
                _check_reasoning(item, items[number + 1 :])
            case _:
                pass
    for call in calls:
        if call not in results:
            raise Refused(f"No tool output found for function call {call}.")


def _check_message(item: Mapping[str, Any], where: str) -> None:
    content = item["content"]
    if isinstance(content, str):
        return
    taken = {"input_text", "input_image", "input_file", "input_audio"}
    if item["role"] == "assistant":
        taken = {"output_text", "refusal"}
    for part in content:
        if part["type"] not in taken:
            raise Refused(
                f"{where}: Invalid value: '{part['type']}'. Supported values are: {sorted(taken)}."
            )
    _check_parts(content, where)


def _check_parts(parts: object, where: str) -> None:
    for part in parts if isinstance(parts, list) else []:
        if part["type"] == "input_image" and part.get("image_url") is not None:
            check_data_url(part["image_url"], where)


def _check_reasoning(item: Mapping[str, Any], after: list[Mapping[str, Any]]) -> None:
    known = {Think(()).id: Think(()).encrypted, Hide().id: Hide().data}
    if item["id"] not in known:
        raise Refused(f"Item with id '{item['id']}' not found.")
    if item.get("encrypted_content") not in {None, known[item["id"]]}:
        raise Refused("The encrypted content could not be verified.")
    follows = [one for one in after if one.get("type") != "reasoning"]
    role = follows[0].get("role", "assistant") if follows else "user"
    if role != "assistant" or follows[0].get("type") == "function_call_output":
        raise Refused(
            f"Item '{item['id']}' of type 'reasoning' was provided without its required following "
            "item."
        )


def _check_tools(asked: Mapping[str, Any]) -> None:
    tools = asked.get("tools") or []
    names = []
    for number, tool in enumerate(tools):
        if tool["type"] != "function":
            continue
        where = f"tools[{number}]"
        check_name(tool["name"], f"{where}.name")
        names.append(tool["name"])
        if tool.get("parameters") is not None:
            strict = tool.get("strict") is True
            check_schema(tool["parameters"], f"{where}.parameters", strict=strict)
    choice = asked.get("tool_choice")
    if choice == "required" and not tools:
        raise Refused("Tool choice 'required' must be specified with 'tools' parameter.")
    if isinstance(choice, dict) and choice["type"] == "function" and choice["name"] not in names:
        raise Refused(f"Tool choice '{choice['name']}' not found in 'tools' parameter.")


def _check_rest(asked: Mapping[str, Any]) -> None:
    wanted = (asked.get("text") or {}).get("format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        check_name(wanted["name"], "text.format.name")
        strict = wanted.get("strict") is True
        check_schema(wanted["schema"], "text.format.schema", strict=strict)
    if wanted["type"] == "json_object" and "json" not in str(asked["input"]).lower():
        raise Refused("Response input messages must contain the word 'json' to use json_object.")
    for name, least, most in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("max_output_tokens", _LEAST_TOKENS, 1 << 31),
    ):
        value = asked.get(name)
        if value is not None and not least <= value <= most:
            raise Refused(f"Invalid '{name}': {value} is not between {least} and {most}.")


# ---------------------------------------------------------------- what is said


def _usage(billed: Billed | None) -> dict[str, Any] | None:
    if billed is None:
        return None
    details = {"cached_tokens": billed.cached}
    if billed.written_5m + billed.written_1h:
        details["cache_write_tokens"] = billed.written_5m + billed.written_1h
    return {
        "input_tokens": billed.input,
        "input_tokens_details": details,
        "output_tokens": billed.output,
        "output_tokens_details": {"reasoning_tokens": billed.reasoning},
        "total_tokens": billed.input + billed.output,
    }


class _Events:
    """The events of a stream; consecutive words are one message."""

    def __init__(self, body: Mapping[str, Any], scenario: Scenario, number: int) -> None:
        self._body = body
        self._scenario = scenario
        self._number = number
        self._sequence = 0
        self._wants_encrypted = "reasoning.encrypted_content" in (body.get("include") or [])
        self._groups = _grouped(scenario.says)

    def whole(self) -> dict[str, Any]:
        items = [self._item(n, group, "completed") for n, group in enumerate(self._groups)]
        return self._response(self._status(), items)

    def all(self) -> Iterator[bytes]:
        start = self._response("in_progress", [])
        yield self._event("response.created", response=start)
        yield self._event("response.in_progress", response=start)
        for number, group in enumerate(self._groups):
            is_last = number + 1 == len(self._groups)
            yield from self._output(number, group, stays_open=is_last and self._has_fault)
        fault = self._scenario.fault
        if fault is not None:
            error = error_object(fault)
            if fault.as_event:
                error.pop("type")
                yield self._event("error", **error)
                return
            failed = self._response("failed", [])
            failed["error"] = {"code": error["code"] or error["type"], "message": error["message"]}
            yield self._event("response.failed", response=failed)
            return
        status = self._status()
        yield self._event(f"response.{status}", response=self.whole())

    @property
    def _has_fault(self) -> bool:
        return self._scenario.fault is not None

    def _status(self) -> str:
        return "incomplete" if self._scenario.finish in _INCOMPLETE else "completed"

    def _response(self, status: str, output: list[Any]) -> dict[str, Any]:
        body = self._body
        reason = _INCOMPLETE.get(self._scenario.finish) if status == "incomplete" else None
        is_over = status in {"completed", "incomplete"}
        return {
            "id": f"resp_{self._number:06}",
            "object": "response",
            "created_at": 1790000000 + self._number,
            "status": status,
            "background": False,
            "completed_at": 1790000001 + self._number if status == "completed" else None,
            "error": None,
            "frequency_penalty": 0.0,
            "incomplete_details": None if reason is None else {"reason": reason},
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "max_tool_calls": None,
            "model": f"{body['model']}-2026-08-07",
            "moderation": None,
            "output": output,
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "presence_penalty": 0.0,
            "previous_response_id": None,
            "prompt_cache_key": None,
            "prompt_cache_retention": "24h",
            "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
            "safety_identifier": None,
            "service_tier": "default",
            "store": body.get("store", True),
            "temperature": 1.0,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": [{"strict": True} | tool for tool in body.get("tools") or []],
            "top_logprobs": 0,
            "top_p": 0.98,
            "truncation": "disabled",
            "usage": _usage(self._scenario.billed) if is_over else None,
            "user": None,
            "metadata": {},
        }

    def _item(self, number: int, group: list[Saying], status: str) -> dict[str, Any]:
        first = group[0]
        is_done = status == "completed"
        match first:
            case Think() | Hide():
                is_shown = is_done and isinstance(first, Think)
                text = "".join(first.pieces) if isinstance(first, Think) else ""
                body: dict[str, Any] = {"id": first.id, "type": "reasoning"}
                if self._wants_encrypted:
                    body["encrypted_content"] = (
                        first.encrypted if isinstance(first, Think) else first.data
                    )
                summary = [{"type": "summary_text", "text": text}] if is_shown and text else []
                return body | {"summary": summary}
            case CallTool():
                return {
                    "id": f"fc_{self._number:06}{number}",
                    "type": "function_call",
                    "status": status,
                    "arguments": first.arguments if is_done else "",
                    "call_id": first.id,
                    "name": first.name,
                }
            case _:
                return {
                    "id": f"msg_{self._number:06}{number}",
                    "type": "message",
                    "status": status,
                    "content": [_part(one) for one in group] if is_done else [],
                    "phase": "final_answer",
                    "role": "assistant",
                }

    def _output(self, number: int, group: list[Saying], *, stays_open: bool) -> Iterator[bytes]:
        item = self._item(number, group, "in_progress")
        place = {"item_id": item["id"], "output_index": number}
        yield self._event("response.output_item.added", item=item, output_index=number)
        for at, said in enumerate(group):
            match said:
                case Think():
                    yield from self._thought(said, place)
                case CallTool():
                    yield from self._call(said, place, stays_open=stays_open)
                case Say() | Refuse():
                    yield from self._words(said, place | {"content_index": at}, stays_open)
                case Hide():
                    pass
        if not stays_open:
            item = self._item(number, group, "completed")
            yield self._event("response.output_item.done", item=item, output_index=number)

    def _thought(self, said: Think, place: Mapping[str, Any]) -> Iterator[bytes]:
        at = {**place, "summary_index": 0}
        text = "".join(said.pieces)
        kind = "response.reasoning_summary"
        empty = {"type": "summary_text", "text": ""}
        yield self._event(f"{kind}_part.added", **at, part=empty)
        for piece in said.pieces:
            yield self._event(f"{kind}_text.delta", **at, delta=piece, obfuscation="x1")
        yield self._event(f"{kind}_text.done", **at, text=text)
        yield self._event(f"{kind}_part.done", **at, part=empty | {"text": text})

    def _call(
        self, said: CallTool, place: Mapping[str, Any], *, stays_open: bool
    ) -> Iterator[bytes]:
        kind = "response.function_call_arguments"
        for piece in said.pieces:
            yield self._event(f"{kind}.delta", **place, delta=piece, obfuscation="x1")
        if not stays_open:
            yield self._event(f"{kind}.done", **place, arguments=said.arguments)

    def _words(
        self, said: Say | Refuse, place: Mapping[str, Any], stays_open: bool
    ) -> Iterator[bytes]:
        part = _part(said)
        key = "text" if isinstance(said, Say) else "refusal"
        kind = f"response.{part['type']}"
        yield self._event("response.content_part.added", **place, part=part | {key: ""})
        more: dict[str, Any] = {"logprobs": []} if key == "text" else {}
        for piece in said.pieces:
            yield self._event(f"{kind}.delta", **place, delta=piece, **more, obfuscation="x1")
        if not stays_open:
            yield self._event(f"{kind}.done", **place, **{key: part[key]}, **more)
            yield self._event("response.content_part.done", **place, part=part)

    def _event(self, kind: str, **keys: object) -> bytes:
        body = {"type": kind} | keys | {"sequence_number": self._sequence}
        self._sequence += 1
        return sse(encoded(body), kind)


def _grouped(says: tuple[Saying, ...]) -> list[list[Saying]]:
    groups: list[list[Saying]] = []
    for said in says:
        is_words = isinstance(said, Say | Refuse)
        if is_words and groups and isinstance(groups[-1][0], Say | Refuse):
            groups[-1].append(said)
        else:
            groups.append([said])
    return groups


def _part(said: Saying) -> dict[str, Any]:
    match said:
        case Say():
            text = "".join(said.pieces)
            return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
        case Refuse():
            return {"type": "refusal", "refusal": "".join(said.pieces)}
        case _:
            raise TypeError(f"{type(said).__name__} is no part of a message")
