"""The wire of Ollama's native API: /api/chat, /api/embed, /api/embeddings.

Source: docs/api.md of ollama at 01e52d24 (read 2026-11-23). Arguments of a tool call are an
object here, the call often has no identifier, and an error is a string, also inside a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from aiex.core import (
    AiexError,
    Delta,
    Embedding,
    FilePart,
    Finish,
    FinishReason,
    ImagePart,
    InvalidCallError,
    Message,
    ModelCall,
    ModelReply,
    OpaqueDelta,
    OpaquePart,
    OverloadedError,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Role,
    TextDelta,
    TextPart,
    Tool,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
    content_id,
)
from aiex.wires.failures import body_text, failure
from aiex.wires.fields import ABSENT, UNREADABLE, Fields, as_object, elements, given
from aiex.wires.ndjson import encode_line
from aiex.wires.opaque import keys_part, merged, written_tools
from aiex.wires.replies import collect
from aiex.wires.streams import LineDecoder, WireRequest

__all__ = [
    "WIRE",
    "StreamDecoder",
    "StreamEncoder",
    "decode_embedding",
    "decode_error",
    "decode_reply",
    "decode_request",
    "encode_embedding_request",
    "encode_error",
    "encode_reply",
    "encode_request",
]

WIRE = "ollama"

_MADE_ID = "ollama-"
_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}
_ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
_THINK: dict[str, object] = {"none": False, "minimal": "low", "xhigh": "high"}
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "num_predict": "max_output_tokens",
    "num_ctx": "context_tokens",
}


# ---------------------------------------------------------------- requests


def encode_request(call: ModelCall, *, stream: bool = True) -> bytes:
    """Return the body of POST /api/chat.

    The wire has no tool choice, no parallel tool calls and no user: they are left out.
    Reasoning efforts become the nearest level of `think`, which is on where only a budget is
    named; `none` is off.
    """
    body: dict[str, Any] = {
        "model": call.model,
        "messages": [one for message in call.messages for one in _messages(message)],
        "stream": stream,
    }
    tools = written_tools(call.tools, WIRE, _function)
    if tools:
        body["tools"] = tools
    if call.response_format is not None and call.response_format.kind != "text":
        body["format"] = call.response_format.schema or "json"
    if call.reasoning_effort is not None:
        body["think"] = _THINK.get(call.reasoning_effort, call.reasoning_effort)
    elif call.reasoning_budget is not None:
        body["think"] = True
    options: dict[str, Any] = {
        name: getattr(call, field)
        for name, field in _OPTIONS.items()
        if getattr(call, field) is not None
    }
    if call.stop:
        options["stop"] = list(call.stop)
    extra = dict(call.extra) if call.wire in {None, WIRE} else {}
    if "options" in extra:
        options = msgspec.json.decode(extra.pop("options"), type=dict[str, Any]) | options
    if options:
        body["options"] = options
    return msgspec.json.encode(extra | body)


def _messages(message: Message) -> Iterator[dict[str, Any]]:
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    for result in results:
        yield _tool_message(result)
    if results and all(isinstance(p, ToolResultPart | OpaquePart) for p in message.parts):
        return
    yield _message(message)


def _tool_message(result: ToolResultPart) -> dict[str, Any]:
    body: dict[str, Any] = {"role": "tool", "content": result.text}
    if result.name is not None:
        body["tool_name"] = result.name
    if not result.id.startswith(_MADE_ID):
        body["tool_call_id"] = result.id
    images = [_image(image) for image in result.images]
    if images:
        body["images"] = images
    return body


def _message(message: Message) -> dict[str, Any]:
    role = "system" if message.role == "developer" else message.role
    body: dict[str, Any] = {"role": role}
    texts = [part.text for part in message.parts if isinstance(part, TextPart | RefusalPart)]
    body["content"] = "".join(texts)
    thinking = "".join(part.text for part in message.parts if isinstance(part, ReasoningPart))
    if thinking:
        body["thinking"] = thinking
    images = [_image(part) for part in message.parts if isinstance(part, ImagePart)]
    if images:
        body["images"] = images
    calls = [_tool_call(part) for part in message.parts if isinstance(part, ToolCallPart)]
    if calls:
        body["tool_calls"] = calls
    if any(isinstance(part, FilePart) for part in message.parts):
        raise InvalidCallError("Ollama takes no documents", hint="send their text")
    opaque = [part for part in message.parts if isinstance(part, OpaquePart)]
    return body | merged(opaque, WIRE)


def _image(part: ImagePart) -> str:
    if part.data is None:
        raise InvalidCallError("Ollama takes pictures by value only, and this one is an address")
    return part.data


def _tool_call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.name, "arguments": as_object(part.arguments)}
    if part.id.startswith(_MADE_ID):
        return {"function": function}
    return {"id": part.id, "function": function}


def _function(tool: Tool) -> object:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        function["parameters"] = tool.parameters
    return {"type": "function", "function": function}


def decode_request(body: bytes) -> WireRequest:
    """Return the call of a body of POST /api/chat.

    Calls without identifiers get one each; a result without one belongs to the oldest call
    that has none yet.

    Raises:
        InvalidCallError: It is not such a body.
    """
    fields = Fields(body, "body")
    stream = fields.take("stream", bool)
    reader = _MessageReader()
    messages = tuple(
        reader.read(raw, where)
        for where, raw in elements(fields.need("messages", msgspec.Raw), "messages")
    )
    tools = fields.take("tools", msgspec.Raw)
    effort = _effort(fields)
    options = Fields(fields.take("options", msgspec.Raw) or b"{}", "options")
    call = ModelCall(
        model=fields.need("model", str),
        messages=messages,
        tools=()
        if tools is None
        else tuple(_read_tool(raw, at) for at, raw in elements(tools, "tools")),
        temperature=options.take("temperature", float),
        top_p=options.take("top_p", float),
        seed=options.take("seed", int),
        max_output_tokens=options.take("num_predict", int),
        context_tokens=options.take("num_ctx", int),
        stop=tuple(options.take("stop", list[str]) or ()),
        response_format=_read_format(fields.take("format", msgspec.Raw)),
        reasoning_effort=effort,
        extra=fields.left() | fields.rest("options", options),
        wire=WIRE,
    )
    return WireRequest(call=call, stream=stream is not False, include_usage=True)


def _effort(fields: Fields) -> str | None:
    if fields.peek("think") == b"true":  # has no level of its own, so it stays an extra key
        return None
    if fields.peek("think") == b"false":
        fields.take("think", bool)
        return "none"
    return fields.take("think", str)


def _read_format(raw: msgspec.Raw | None) -> ResponseFormat | None:
    if raw is None or bytes(raw) == b'""':
        return None
    if bytes(raw) == b'"json"':
        return ResponseFormat(kind="json_object")
    return ResponseFormat(kind="json_schema", schema=raw)


def _read_tool(raw: msgspec.Raw, where: str) -> Tool:
    outer = Fields(raw, where)
    if outer.take("type", str) not in {None, "function"}:
        return Tool(name="", opaque=OpaquePart(wire=WIRE, json=raw))
    function = Fields(outer.need("function", msgspec.Raw), f"{where}.function")
    return Tool(
        name=function.need("name", str),
        description=function.take("description", str) or "",
        parameters=function.take("parameters", msgspec.Raw) or ABSENT,
        opaque=OpaquePart(wire=WIRE, json=raw) if outer.left() or function.left() else None,
    )


class _MessageReader:
    """Reads the messages in order, so that results find their calls."""

    def __init__(self) -> None:
        self._made = 0
        self._open: list[str] = []

    def read(self, raw: msgspec.Raw, where: str) -> Message:
        fields = Fields(raw, where)
        role = fields.choice("role", _ROLES)
        text = fields.take("content", str) or ""
        images = tuple(ImagePart(data=data) for data in fields.take("images", list[str]) or ())
        if role == "tool":
            return Message(role="tool", parts=(self._result(fields, text, images),))
        parts: list[Part] = []
        thinking = fields.take("thinking", str)
        if thinking:
            parts.append(ReasoningPart(text=thinking))
        if text:
            parts.append(TextPart(text=text))
        parts.extend(images)
        for at, one in elements(fields.take("tool_calls", msgspec.Raw) or b"[]", where):
            parts.append(self._call(one, at))
        left = fields.left()
        if left:
            parts.append(keys_part(WIRE, left))
        return Message(role=role, parts=tuple(parts))

    def _result(self, fields: Fields, text: str, images: tuple[ImagePart, ...]) -> ToolResultPart:
        made = self._open.pop(0) if self._open else f"{_MADE_ID}{self._made}"
        return ToolResultPart(
            id=fields.take("tool_call_id", str) or made,
            text=text,
            name=fields.take("tool_name", str) or fields.take("name", str),
            images=images,
        )

    def _call(self, raw: msgspec.Raw, where: str) -> ToolCallPart:
        fields = Fields(raw, where)
        function = Fields(fields.need("function", msgspec.Raw), f"{where}.function")
        made = f"{_MADE_ID}{self._made}"
        self._made += 1
        known = fields.take("id", str)
        self._open.append(known or made)
        return ToolCallPart(
            id=known or made,
            name=function.need("name", str),
            arguments=bytes(function.take("arguments", msgspec.Raw) or b"{}").decode(),
        )


# ---------------------------------------------------------------- replies


class _Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _ToolCall(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_ToolCall] | None = None
    images: list[str] | None = None


class _Line(msgspec.Struct):
    model: str | None = None
    created_at: str = ""
    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: msgspec.Raw = ABSENT
    error: str | None = None


_LINE = msgspec.json.Decoder(_Line)


class StreamDecoder(LineDecoder):
    """Lines of a streamed /api/chat; the terminal marker is `"done": true`.

    Every tool call comes whole and becomes a part of its own, however many one line holds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._index = -1
        self._kind: type[Delta] | None = None
        self._calls = 0

    def _read(self, piece: bytes) -> Iterator[Delta]:
        line = _LINE.decode(piece)
        if line.error is not None:
            raise failure(line.error, status=None, provider=WIRE)
        if line.message is not None:
            yield from self._message(line.message, line.created_at)
        if given(line.logprobs):
            part = keys_part(WIRE, {"logprobs": line.logprobs})
            yield OpaqueDelta(index=max(self._index, 0), part=part)
        if line.done:
            self.is_over = True
            yield _finish(line, self._calls)

    def _message(self, message: _Message, created_at: str) -> Iterator[Delta]:
        if message.thinking:
            yield ReasoningDelta(text=message.thinking, index=self._at(ReasoningDelta))
        if message.content:
            yield TextDelta(text=message.content, index=self._at(TextDelta))
        for call in message.tool_calls or ():
            self._index += 1
            self._kind = ToolCallDelta
            arguments = bytes(call.function.arguments).decode()
            made = content_id(created_at, str(self._calls), call.function.name, arguments)
            self._calls += 1
            yield ToolCallDelta(
                index=self._index,
                id=call.id or _MADE_ID + made,
                name=call.function.name,
                arguments=arguments,
            )

    def _at(self, kind: type[Delta]) -> int:
        if self._kind is not kind:
            self._index += 1
            self._kind = kind
        return self._index


def _finish(line: _Line, calls: int) -> Finish:
    reason = _REASONS.get(line.done_reason or "", "unknown")
    # A warm prefix may leave out prompt_eval_count; half a usage would be a wrong one.
    usage = None
    if line.prompt_eval_count is not None and line.eval_count is not None:
        usage = Usage(input_tokens=line.prompt_eval_count, output_tokens=line.eval_count)
    return Finish(
        reason="tool_calls" if calls and reason == "stop" else reason,
        raw_reason=line.done_reason,
        usage=usage,
        model=line.model,
    )


def decode_reply(body: bytes) -> ModelReply:
    """Return the reply of a body that was not streamed.

    Raises:
        OverloadedError: It is not such a body.
        IncompleteStreamError: It is not marked as done.
    """
    decoder = StreamDecoder()
    deltas = decoder.feed(body.replace(b"\n", b" ") + b"\n")
    return collect([*deltas, *decoder.end()])


class StreamEncoder:
    """Deltas to the lines of a streamed /api/chat.

    Args:
        model: Model name that the lines carry.
        created_at: Time that they carry, RFC 3339.
    """

    def __init__(self, *, model: str, created_at: str) -> None:
        self._model = model
        self._created_at = created_at
        self._calls: dict[int, ToolCallPart] = {}

    def encode(self, delta: Delta) -> bytes:
        """Return the bytes that *delta* becomes; calls are held back until they are whole."""
        match delta:
            case TextDelta():
                return self._line({"content": delta.text})
            case ReasoningDelta() if delta.text:
                return self._line({"content": "", "thinking": delta.text})
            case ToolCallDelta():
                old = self._calls.get(delta.index, ToolCallPart(id="", name="", arguments=""))
                self._calls[delta.index] = ToolCallPart(
                    id=delta.id or old.id,
                    name=delta.name or old.name,
                    arguments=old.arguments + delta.arguments,
                )
                return b""
            case Finish():
                return self._finish(delta)
            case _:
                return b""

    def error(self, error: AiexError) -> bytes:
        """Return the line that ends a stream that failed."""
        return encode_line(encode_error(error))

    def _line(self, message: Mapping[str, object], **more: object) -> bytes:
        head = {"model": self._model, "created_at": self._created_at}
        return encode_line(
            msgspec.json.encode(
                head | {"message": {"role": "assistant"} | dict(message), "done": False} | more
            )
        )

    def _finish(self, finish: Finish) -> bytes:
        calls = [_tool_call(part) for _, part in sorted(self._calls.items())]
        before = self._line({"content": "", "tool_calls": calls}) if calls else b""
        more: dict[str, object] = {"done": True, "done_reason": finish.raw_reason or "stop"}
        if finish.reason == "length":
            more["done_reason"] = "length"
        if finish.usage is not None:
            more["prompt_eval_count"] = finish.usage.input_tokens
            more["eval_count"] = finish.usage.output_tokens
        return before + self._line({"content": ""}, **more)


def encode_reply(reply: ModelReply, *, model: str, created_at: str) -> bytes:
    """Return the body of a reply that is not streamed."""
    finish = reply.finish
    message = _message(Message(role="assistant", parts=reply.parts))
    body: dict[str, Any] = {
        "model": model,
        "created_at": created_at,
        "message": message,
        "done": True,
        "done_reason": "length" if finish.reason == "length" else "stop",
    }
    if finish.usage is not None:
        body["prompt_eval_count"] = finish.usage.input_tokens
        body["eval_count"] = finish.usage.output_tokens
    return msgspec.json.encode(body)


# ---------------------------------------------------------------- errors and embeddings


def decode_error(
    status: int, headers: Mapping[str, str], body: bytes, *, provider: str = WIRE
) -> AiexError:
    """Return the error of an answer that is not 2xx.

    Args:
        status: HTTP status.
        headers: Headers, names in lower case.
        body: The body; need not be what the wire says.
        provider: Name of the provider.
    """
    try:
        message = _LINE.decode(body).error
    except UNREADABLE:
        message = None
    return failure(message or body_text(body), status=status, headers=headers, provider=provider)


def encode_error(error: AiexError) -> bytes:
    """Return the body of an answer that is an error."""
    return msgspec.json.encode({"error": error.message})


def encode_embedding_request(model: str, texts: Sequence[str]) -> bytes:
    """Return the body of POST /api/embed; a text that is too long is refused there, never cut."""
    return msgspec.json.encode({"model": model, "input": list(texts), "truncate": False})


class _Embeddings(msgspec.Struct):
    model: str = ""
    embeddings: tuple[tuple[float, ...], ...] | None = None
    embedding: tuple[float, ...] | None = None
    prompt_eval_count: int | None = None


def decode_embedding(body: bytes, *, model: str) -> Embedding:
    """Return the vectors of an answer of /api/embed, or of the older /api/embeddings.

    Args:
        body: The body.
        model: Model that was asked, for answers that do not name it.

    Raises:
        OverloadedError: It is not such an answer.
    """
    try:
        answer = msgspec.json.decode(body, type=_Embeddings)
    except UNREADABLE as error:
        raise OverloadedError(f"the embeddings cannot be read: {error}") from error
    vectors = answer.embeddings
    if vectors is None:
        vectors = () if answer.embedding is None else (answer.embedding,)
    return Embedding(
        vectors=vectors, model=answer.model or model, input_tokens=answer.prompt_eval_count
    )
