"""Chats as Ollama speaks and takes them.

Shapes: the recorded exchanges, docs/api.md and api/types.go of ollama (read 2026-11-25). Its
server passes over keys that it does not know; this one refuses them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from aiex.testing.upstream.checks import Refused, check_name, check_schema
from aiex.testing.upstream.scenario import (
    CallTool,
    Fault,
    FaultKind,
    FinishKind,
    Hide,
    Refuse,
    Say,
    Scenario,
    Think,
)
from aiex.testing.upstream.wire import Answer, encoded

__all__ = ["Ollama"]

_FINISHES: dict[FinishKind, str] = {"length": "length", "window": "length"}
_FAULTS: dict[FaultKind, tuple[int, str]] = {
    "invalid": (400, "invalid message content"),
    "overflow": (400, "the input length exceeds the context length"),
    "authentication": (401, "unauthorized"),
    "billing": (402, "this model requires a subscription"),
    "permission": (403, "forbidden"),
    "model": (404, "model 'absent' not found"),
    "timeout": (408, "request timed out"),
    "conflict": (409, "conflict"),
    "too_large": (413, "request body too large"),
    "unprocessable": (422, "unprocessable"),
    "rate_limit": (429, "too many requests"),
    "quota": (429, "you have reached your hourly usage limit"),
    "server": (500, "model runner has unexpectedly stopped"),
    "bad_gateway": (502, "bad gateway"),
    "unavailable": (503, "server busy, please try again.  maximum pending requests exceeded"),
    "gateway_timeout": (504, "timed out waiting for llama runner to start"),
    "overloaded": (529, "overloaded"),
}
_AT = "2026-11-24T10:00:00.128675Z"


class _Function(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any]
    index: int | None = None
    description: str | None = None


class _Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class _Tool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: _Declared


_Share = Annotated[float, msgspec.Meta(ge=0)]


class _Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    num_ctx: int | None = None
    num_predict: int | None = None
    num_keep: int | None = None
    seed: int | None = None
    temperature: _Share | None = None
    top_k: int | None = None
    top_p: _Share | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_last_n: int | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None
    num_batch: int | None = None
    num_gpu: int | None = None
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    format: dict[str, Any] | Literal["", "json"] | None = None
    keep_alive: str | int | None = None
    tools: list[_Tool] | None = None
    options: _Options | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Ollama:
    """POST /api/chat."""

    def check(self, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Return the *body* of a request that Ollama would take, and whose every key it knows."""
        del path, headers
        try:
            asked = msgspec.json.decode(body, type=_Body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Refused(str(error)) from error
        _check_messages(asked)
        for number, tool in enumerate(asked.tools or []):
            check_name(tool.function.name, f"tools[{number}]")
            if tool.function.parameters:
                where = f"tools[{number}].parameters"
                check_schema(tool.function.parameters, where, strict=False)
        if isinstance(asked.format, dict):
            check_schema(asked.format, "format", strict=False)
        return msgspec.json.decode(body, type=dict[str, Any])

    def has_results(self, body: Mapping[str, Any]) -> bool:
        """Return whether the conversation ends with results of tools."""
        return bool(body["messages"][-1]["role"] == "tool")

    def fault(self, fault: Fault, *, said: str = "") -> Answer:
        """Return the answer that tells of *fault*."""
        status, message = _FAULTS[fault.kind]
        headers = {} if fault.retry_after is None else {"retry-after": fault.retry_after}
        body = encoded({"error": said or message})
        return Answer(events=[body], status=status, headers=headers)

    def answer(
        self, path: str, scenario: Scenario, body: Mapping[str, Any], *, number: int
    ) -> Answer:
        """Return the answer of *scenario*."""
        del path, number
        lines = _Lines(str(body["model"]))
        if body.get("stream", True):
            return Answer(events=list(lines.of(scenario)), kind="application/x-ndjson")
        return Answer(events=[lines.whole(scenario)], kind="application/json")


def _check_messages(asked: _Body) -> None:
    waiting: list[_Call] = []
    for number, message in enumerate(asked.messages):
        where = f"messages[{number}]"
        for image in message.images or []:
            try:
                content = base64.b64decode(image, validate=True)
            except (binascii.Error, ValueError) as error:
                raise Refused(f"{where}: illegal base64 data: {error}") from error
            if not content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"RIFF")):
                raise Refused(f"{where}: image: unknown format")
        if message.role == "tool":
            if not waiting:
                raise Refused(f"{where}: a result of a tool without its call")
            _take(waiting, message, where)
            continue
        if waiting:
            names = [call.function.name for call in waiting]
            raise Refused(f"{where}: no result was given for {names}")
        if message.tool_calls and message.role != "assistant":
            raise Refused(f"{where}: only an assistant calls tools")
        waiting = list(message.tool_calls or [])
    if waiting:
        raise Refused("messages: the last calls have no results")


def _take(waiting: list[_Call], message: _Message, where: str) -> None:
    for call in waiting:
        if message.tool_call_id in {None, call.id}:
            if message.tool_name not in {None, call.function.name}:
                raise Refused(f"{where}: the result is named {message.tool_name!r}")
            waiting.remove(call)
            return
    raise Refused(f"{where}: no call has the id {message.tool_call_id!r}")


class _Lines:
    """The lines of a stream."""

    def __init__(self, model: str) -> None:
        self._model = model

    def whole(self, scenario: Scenario) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        for piece in _pieces(scenario):
            for key, value in piece.items():
                message[key] = message[key] + value if message.get(key) else value
        return self._line(message, self._end(scenario))

    def of(self, scenario: Scenario) -> Iterator[bytes]:
        for piece in _pieces(scenario):
            yield self._line({"role": "assistant", "content": ""} | piece, {"done": False}) + b"\n"
        if scenario.fault is not None:
            yield encoded({"error": _FAULTS[scenario.fault.kind][1]}) + b"\n"
            return
        yield self._line({"role": "assistant", "content": ""}, self._end(scenario)) + b"\n"

    def _line(self, message: Mapping[str, Any], rest: Mapping[str, Any]) -> bytes:
        head = {"model": self._model, "created_at": _AT, "message": message}
        return encoded({**head, **rest})

    def _end(self, scenario: Scenario) -> dict[str, Any]:
        end: dict[str, Any] = {
            "done_reason": _FINISHES.get(scenario.finish, "stop"),
            "done": True,
            "total_duration": 6037504209,
            "load_duration": 28126292,
        }
        if scenario.billed is not None:
            end |= {
                "prompt_eval_count": scenario.billed.input,
                "prompt_eval_duration": 182953000,
                "eval_count": scenario.billed.output,
                "eval_duration": 5825102000,
            }
        return end


def _pieces(scenario: Scenario) -> Iterator[dict[str, Any]]:
    for said in scenario.says:
        match said:
            case Say() | Refuse():
                yield from ({"content": piece} for piece in said.pieces)
            case Think():
                yield from ({"thinking": piece} for piece in said.pieces)
            case CallTool():
                arguments = msgspec.json.decode(said.arguments or "{}")
                yield {"tool_calls": [{"function": {"name": said.name, "arguments": arguments}}]}
            case Hide():
                pass
