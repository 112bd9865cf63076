"""The wire of chat completions: OpenAI's, and that of the many servers that imitate it.

Source: OpenAI's API reference, and the recorded exchanges (read 2026-11-24). The terminal marker
of a stream is a `finish_reason`; usage and further chunks without choices may follow it before
`[DONE]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from aiex.core import (
    AiexError,
    CitationDelta,
    Delta,
    FilePart,
    Finish,
    FinishReason,
    ImagePart,
    IncompleteStreamError,
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
    RefusalDelta,
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
)
from aiex.wires.fields import ABSENT, UNREADABLE, Fields, given
from aiex.wires.opaque import is_block, keys_part, merged, written_tools
from aiex.wires.openai_errors import decode_error, encode_error, error_in_stream
from aiex.wires.openai_pieces import (
    InputDetails,
    OutputDetails,
    file_keys,
    input_details,
    output_details,
    picture_keys,
    read_file,
    read_format,
    read_picture,
    read_usage,
    read_user,
    schema_keys,
)
from aiex.wires.replies import collect
from aiex.wires.sse import encode_event
from aiex.wires.streams import USAGE_UNKNOWN, SseStreamDecoder, WireRequest

__all__ = [
    "WIRE",
    "Dialect",
    "StreamDecoder",
    "StreamEncoder",
    "choices_of",
    "decode_error",
    "decode_finish",
    "decode_reply",
    "decode_request",
    "encode_error",
    "encode_reply",
    "encode_request",
    "wants_usage",
    "with_usage",
]

WIRE = "openai_chat"

_ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant", "tool")
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}
_WORDS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "error": "error",
}


_REPLY_KEYS = ("annotations", "logprobs", "moderation")  # of a reply, and in no request


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How an imitator differs from OpenAI.

    Attributes:
        max_tokens_key: Key of the longest reply; older servers know only `max_tokens`.
        reasoning_key: Key under which an assistant's thinking is sent back; `None` where the
            server takes none.
        developer_role: Whether the role `developer` is known; it is sent as `system` if not.
    """

    max_tokens_key: str = "max_completion_tokens"
    reasoning_key: str | None = None
    developer_role: bool = True


_OPENAI = Dialect()


# ---------------------------------------------------------------- requests


def encode_request(call: ModelCall, *, stream: bool = True, dialect: Dialect = _OPENAI) -> bytes:
    """Return the body of POST /v1/chat/completions; a stream is asked to end with its usage.

    Thinking without a key in the *dialect*, and blocks of other wires, are left out.
    """
    body: dict[str, Any] = {
        "model": call.model,
        "messages": list(_messages(call.messages, dialect)),
        "stream": stream,
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    tools = written_tools(call.tools, WIRE, _function)
    if tools:
        body["tools"] = tools
    if call.tool_choice is not None:
        body["tool_choice"] = _tool_choice(call.tool_choice)
    if call.response_format is not None:
        body["response_format"] = _response_format(call.response_format)
    if call.stop:
        body["stop"] = list(call.stop)
    plain = {
        "parallel_tool_calls": call.parallel_tool_calls,
        dialect.max_tokens_key: call.max_output_tokens,
        "temperature": call.temperature,
        "top_p": call.top_p,
        "seed": call.seed,
        "reasoning_effort": call.reasoning_effort,
        "user": call.user,
    }
    body |= {name: value for name, value in plain.items() if value is not None}
    extra = dict(call.extra) if call.wire in {None, WIRE} else {}
    if "safety_identifier" in extra:
        body.pop("user", None)
    if stream and "stream_options" in extra:
        options = msgspec.json.decode(extra.pop("stream_options"), type=dict[str, Any])
        body["stream_options"] |= options
    return msgspec.json.encode(extra | body)


def _messages(messages: Iterable[Message], dialect: Dialect) -> Iterator[dict[str, Any]]:
    shown: list[Part] = []
    for message in messages:
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        others = tuple(part for part in message.parts if not isinstance(part, ToolResultPart))
        for result in results:
            yield _result(result, others)
            shown += (*result.images, *result.files)
        if results and not any(map(_is_said, others)):
            continue
        # Results of one turn must stand together, so what they show follows as the user's.
        if shown:
            yield {"role": "user", "content": [_block(part) for part in shown]}
            shown = []
        body = _message(message, others, dialect)
        for name in _REPLY_KEYS:
            body.pop(name, None)
        if "audio" in body:
            body["audio"] = _audio_reference(body["audio"])
        yield body
    if shown:
        yield {"role": "user", "content": [_block(part) for part in shown]}


def _result(result: ToolResultPart, beside: Iterable[Part]) -> dict[str, Any]:
    body: dict[str, Any] = {"role": "tool", "tool_call_id": result.id, "content": result.text}
    if result.others:
        text = [{"type": "text", "text": result.text}] if result.text else []
        body["content"] = text + [one.json for one in result.others]
    if result.name is not None:
        body["name"] = result.name
    return merged(_keys_of_message(beside), WIRE) | body


def _keys_of_message(parts: Iterable[Part]) -> list[OpaquePart]:
    return [part for part in parts if isinstance(part, OpaquePart) and not is_block(part)]


def _audio_reference(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the part of a spoken reply by which a request refers to it."""
    audio = Fields(raw, "audio")
    return {"id": audio.need("id", msgspec.Raw)}


def _is_said(part: Part) -> bool:
    return not isinstance(part, OpaquePart) or (part.wire == WIRE and is_block(part))


def _message(message: Message, parts: tuple[Part, ...], dialect: Dialect) -> dict[str, Any]:
    role = message.role
    if role == "developer" and not dialect.developer_role:
        role = "system"
    body: dict[str, Any] = {"role": role}
    if message.name is not None:
        body["name"] = message.name
    opaque = [part for part in parts if isinstance(part, OpaquePart) and part.wire == WIRE]
    content = [
        part
        for part in parts
        if isinstance(part, TextPart | ImagePart | FilePart) or (part in opaque and is_block(part))
    ]
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    refusal = "".join(part.text for part in parts if isinstance(part, RefusalPart))
    if len(content) == 1 and isinstance(content[0], TextPart):
        body["content"] = content[0].text
    elif content:
        body["content"] = [_block(part) for part in content]
    elif not calls and not refusal:
        body["content"] = ""
    if calls:
        body["tool_calls"] = [_tool_call(part) for part in calls]
    if refusal:
        body["refusal"] = refusal
    thinking = "".join(part.text for part in parts if isinstance(part, ReasoningPart))
    if thinking and dialect.reasoning_key is not None:
        body[dialect.reasoning_key] = thinking
    return merged(_keys_of_message(opaque), WIRE) | body


def _block(part: Part) -> object:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            return {"type": "image_url", "image_url": picture_keys(part, "url")}
        case FilePart(text=str()):
            return {"type": "text", "text": part.text}
        case FilePart():
            return {"type": "file", "file": file_keys(part)}
        case OpaquePart():
            return part.json
        case _:
            raise TypeError(f"{type(part).__name__} is no content")


def _tool_call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments}
    return {"id": part.id, "type": "function", "function": function}


def _function(tool: Tool) -> object:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: str) -> object:
    kind, _, name = choice.partition(":")
    return {"type": "function", "function": {"name": name}} if kind == "tool" else choice


def _response_format(wanted: ResponseFormat) -> object:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    return {"type": "json_schema", "json_schema": schema_keys(wanted)}


def decode_request(body: bytes) -> WireRequest:
    """Return the call of a body of POST /v1/chat/completions.

    Raises:
        InvalidCallError: It is not such a body.
    """
    fields = Fields(body, "body")
    stream = fields.take("stream", bool) or False
    options = Fields(fields.take("stream_options", msgspec.Raw) or b"{}", "stream_options")
    include_usage = options.take("include_usage", bool) or False
    fields.copy("messages", msgspec.Raw)  # must be there
    messages = tuple(_read_message(message) for message in fields.objects("messages"))
    longest = fields.take("max_tokens", int)
    call = ModelCall(
        model=fields.need("model", str),
        messages=messages,
        tools=tuple(_read_tool(tool) for tool in fields.objects("tools")),
        tool_choice=_read_tool_choice(fields),
        parallel_tool_calls=fields.take("parallel_tool_calls", bool),
        max_output_tokens=fields.take("max_completion_tokens", int) or longest,
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        stop=_read_stop(fields),
        seed=fields.take("seed", int),
        response_format=read_format(fields, "response_format", schema_under="json_schema"),
        reasoning_effort=fields.take("reasoning_effort", str),
        user=read_user(fields),
        extra=fields.left() | fields.rest("stream_options", options),
        wire=WIRE,
    )
    return WireRequest(
        call=call, stream=stream, include_usage=include_usage, unread=fields.unread()
    )


class _Options(msgspec.Struct):
    include_usage: bool | None = None


class _Asked(msgspec.Struct):
    n: int | None = None
    stream_options: _Options | None = None


class _AskedOptions(msgspec.Struct):
    stream_options: dict[str, msgspec.Raw] | None = None


def wants_usage(body: bytes) -> bool:
    """Return whether *body* asks for a stream that ends with its usage."""
    if b'"include_usage"' not in body:
        return False
    options = _peek(body).stream_options
    return options is not None and options.include_usage is True


def with_usage(body: bytes) -> msgspec.Raw:
    """Return the `stream_options` of *body*, with the usage asked for."""
    try:
        options = msgspec.json.decode(body, type=_AskedOptions).stream_options
    except UNREADABLE:
        options = None
    asked: dict[str, object] = {**(options or {}), "include_usage": True}
    return msgspec.Raw(msgspec.json.encode(asked))


def choices_of(body: bytes) -> int:
    """Return for how many choices *body* asks."""
    return _peek(body).n or 1


def _peek(body: bytes) -> _Asked:
    try:
        return msgspec.json.decode(body, type=_Asked)
    except UNREADABLE:
        return _Asked()  # whoever is asked will say what is wrong


def _read_stop(fields: Fields) -> tuple[str, ...]:
    if fields.peek("stop").startswith(b"["):
        return tuple(fields.take("stop", list[str]) or ())
    one = fields.take("stop", str)
    return () if one is None else (one,)


def _read_tool_choice(fields: Fields) -> str | None:
    if not fields.peek("tool_choice").startswith(b"{"):
        return fields.take("tool_choice", str)
    kind = Fields(fields.copy("tool_choice", msgspec.Raw), "tool_choice").take("type", str)
    if kind != "function":
        return None  # such as a hosted tool: stays an extra key
    choice = fields.object("tool_choice")
    choice.take("type", str)
    return "tool:" + choice.object("function").need("name", str)


def _read_tool(outer: Fields) -> Tool:
    if outer.take("type", str) not in {None, "function"}:
        name = outer.take("name", str) or ""
        return Tool(name=name, opaque=OpaquePart(wire=WIRE, json=outer.keep()))
    function = outer.object("function")
    return Tool(
        name=function.need("name", str),
        description=function.take("description", str) or "",
        parameters=function.take("parameters", msgspec.Raw) or ABSENT,
        strict=function.take("strict", bool),
        opaque=OpaquePart(wire=WIRE, json=outer.keep())
        if outer.left() or function.left()
        else None,
    )


def _read_message(fields: Fields) -> Message:
    role = fields.choice("role", _ROLES)
    if role == "tool":
        return Message(role="tool", parts=(_read_result(fields), *_read_rest(fields)))
    parts: list[Part] = []
    thinking = fields.take("reasoning_content", str) or fields.take("reasoning", str)
    if thinking:
        parts.append(ReasoningPart(text=thinking))
    parts.extend(_read_content(fields))
    refusal = fields.take("refusal", str)
    if refusal:
        parts.append(RefusalPart(text=refusal))
    parts.extend(_read_tool_call(call) for call in fields.objects("tool_calls"))
    name = fields.take("name", str)
    return Message(role=role, parts=(*parts, *_read_rest(fields)), name=name)


def _read_rest(message: Fields) -> tuple[OpaquePart, ...]:
    left = message.left()
    return (keys_part(WIRE, left),) if left else ()


def _read_content(fields: Fields) -> list[Part]:
    if fields.peek("content").startswith(b"["):
        return [_read_block(block) for block in fields.objects("content")]
    text = fields.take("content", str)
    return [TextPart(text=text)] if text else []


def _read_result(fields: Fields) -> ToolResultPart:
    parts = _read_content(fields)
    return ToolResultPart(
        id=fields.need("tool_call_id", str),
        text="".join(part.text for part in parts if isinstance(part, TextPart)),
        name=fields.take("name", str),
        images=tuple(part for part in parts if isinstance(part, ImagePart)),
        files=tuple(part for part in parts if isinstance(part, FilePart)),
        others=tuple(part for part in parts if isinstance(part, OpaquePart)),
    )


def _read_block(fields: Fields) -> Part:
    match fields.need("type", str):
        case "text":
            return TextPart(text=fields.need("text", str))
        case "refusal":
            return RefusalPart(text=fields.need("refusal", str))
        case "image_url":
            return read_picture(fields.object("image_url"), "url")
        case "file":
            return read_file(fields.object("file"))
        case _:
            return OpaquePart(wire=WIRE, json=fields.keep())


def _read_tool_call(fields: Fields) -> Part:
    if fields.take("type", str) not in {None, "function"}:
        return OpaquePart(wire=WIRE, json=fields.keep())
    function = fields.object("function")
    return ToolCallPart(
        id=fields.need("id", str),
        name=function.need("name", str),
        arguments=function.take("arguments", str) or "",
    )


# ---------------------------------------------------------------- replies


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    """A message of a whole reply, or a delta of a streamed one: their keys are the same."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None
    annotations: list[msgspec.Raw] | None = None
    audio: msgspec.Raw = ABSENT
    function_call: msgspec.Raw = ABSENT
    reasoning_details: msgspec.Raw = ABSENT


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = ABSENT


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    moderation: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


_CHUNK = msgspec.json.Decoder(_Chunk)
_KEPT = ("audio", "function_call", "reasoning_details")


def _usage(usage: _Usage) -> Usage | None:
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return read_usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.prompt_tokens_details,
        usage.completion_tokens_details,
    )


class _Reader:
    """Turns chunks, or one whole reply, into deltas."""

    def __init__(self) -> None:
        self._next = 0
        self._current: dict[object, int] = {}
        self._call_ids: dict[int, str] = {}
        self._id: str | None = None
        self._model: str | None = None
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._has_refusal = False
        self._has_calls = False
        self._others = 0

    @property
    def is_finished(self) -> bool:
        return self._reason is not None

    def note(self, chunk: _Chunk) -> None:
        """Take from *chunk* what goes into `finish`."""
        if given(chunk.error):
            raise error_in_stream(chunk.error)
        self._id = chunk.id or self._id
        self._model = chunk.model or self._model
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index:
                self._others = max(self._others, choice.index)
                continue
            said = choice.delta or choice.message
            if said is not None:
                self._has_refusal |= bool(said.refusal)
                self._has_calls |= bool(said.tool_calls)
            self._reason = choice.finish_reason or self._reason

    def deltas(self, chunk: _Chunk) -> Iterator[Delta]:
        """Yield what *chunk*, which was noted, says."""
        for choice in chunk.choices or ():
            if choice.index:
                continue
            said = choice.delta or choice.message
            if said is not None:
                yield from self._said(said)
            if given(choice.logprobs):
                yield self._keys({"logprobs": choice.logprobs})
        if given(chunk.moderation):
            yield self._keys({"moderation": chunk.moderation})

    def finish(self, *warnings: str) -> Finish:
        reason: FinishReason = _REASONS.get(self._reason or "", "unknown")
        if reason == "stop" and self._has_refusal:
            reason = "refusal"
        elif reason == "stop" and self._has_calls:
            reason = "tool_calls"  # several imitators say stop here
        if self._others:
            warnings += (f"the reply has {self._others + 1} choices; the first one is used",)
        return Finish(
            reason=reason,
            raw_reason=self._reason,
            usage=self._usage,
            model=self._model,
            reply_id=self._id,
            warnings=warnings,
        )

    def _said(self, said: _Said) -> Iterator[Delta]:
        thinking = said.reasoning_content or said.reasoning
        if thinking:
            yield ReasoningDelta(text=thinking, index=self._at("reasoning"))
        if said.content:
            yield TextDelta(text=said.content, index=self._at("text"))
        if said.refusal:
            yield RefusalDelta(text=said.refusal, index=self._at("refusal"))
        for annotation in said.annotations or ():
            part = OpaquePart(wire=WIRE, json=annotation)
            yield CitationDelta(index=self._at("text"), part=part)
        for position, call in enumerate(said.tool_calls or ()):
            yield self._tool_call(call, position if call.index is None else call.index)
        kept = {name: getattr(said, name) for name in _KEPT}
        kept = {name: value for name, value in kept.items() if given(value)}
        if kept:
            yield self._keys(kept)

    def _tool_call(self, call: _ToolCall, position: int) -> ToolCallDelta:
        # Some servers give every parallel call the same index, but each its own id.
        if call.id and self._call_ids.get(position, call.id) != call.id:
            self._current.pop(position, None)
        if call.id:
            self._call_ids[position] = call.id
        is_first = position not in self._current
        function = call.function or _Function()
        return ToolCallDelta(
            index=self._at(position),
            id=call.id if is_first else None,
            name=function.name if is_first else None,
            arguments=function.arguments or "",
        )

    def _at(self, key: object) -> int:
        if key not in self._current:
            self._current[key] = self._next
            self._next += 1
        return self._current[key]

    def _keys(self, keys: Mapping[str, object]) -> OpaqueDelta:
        return OpaqueDelta(index=max(self._next - 1, 0), part=keys_part(WIRE, keys))


class StreamDecoder(SseStreamDecoder):
    """Events of a streamed chat completion; the terminal marker is a `finish_reason`."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = _Reader()

    def _read(self, piece: bytes) -> Iterator[Delta]:
        if piece.strip() == b"[DONE]":
            self.is_over = True
            warnings = () if self._reader.is_finished else ("the provider gave no finish reason",)
            yield self._reader.finish(*warnings)
            return
        chunk = _CHUNK.decode(piece)
        self._reader.note(chunk)
        yield from self._reader.deltas(chunk)

    def _close(self) -> list[Delta]:
        if not self._reader.is_finished:
            raise IncompleteStreamError("the stream ended before its finish reason")
        finish = self._reader.finish()
        return [finish if finish.usage is not None else self._reader.finish(USAGE_UNKNOWN)]


def decode_reply(body: bytes) -> ModelReply:
    """Return the reply of a body that was not streamed.

    Raises:
        OverloadedError: It is not such a body.
    """
    reader, chunk = _noted(body)
    return collect([*reader.deltas(chunk), reader.finish()])


def decode_finish(body: bytes) -> Finish:
    """Return how the reply ended of a body that was not streamed, and what it used.

    Raises:
        OverloadedError: It is not such a body.
    """
    return _noted(body)[0].finish()


def _noted(body: bytes) -> tuple[_Reader, _Chunk]:
    reader = _Reader()
    try:
        chunk = _CHUNK.decode(body)
        reader.note(chunk)
    except UNREADABLE as error:
        raise OverloadedError(f"the reply cannot be read: {error}") from error
    if chunk.choices is None:
        raise OverloadedError("the reply has no choices")
    return reader, chunk


def _wire_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": input_details(usage),
        "completion_tokens_details": output_details(usage),
    }


class StreamEncoder:
    """Deltas to the events of a streamed chat completion.

    Args:
        model: Model name that the chunks carry.
        reply_id: Identifier that the chunks carry.
        created: Time that they carry, seconds since 1970.
        include_usage: Whether the caller asked for a last chunk with the usage.
    """

    def __init__(
        self, *, model: str, reply_id: str, created: int, include_usage: bool = False
    ) -> None:
        self._has_refusal = False
        self._head = {
            "id": reply_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._include_usage = include_usage
        self._calls: dict[int, int] = {}
        self._has_begun = False

    def encode(self, delta: Delta) -> bytes:
        """Return the events that *delta* becomes; `b""` for what this wire cannot say."""
        match delta:
            case TextDelta():
                return self._said({"content": delta.text})
            case ReasoningDelta() if delta.text:
                return self._said({"reasoning_content": delta.text})
            case RefusalDelta():
                self._has_refusal = True
                return self._said({"refusal": delta.text})
            case ToolCallDelta():
                return self._said({"tool_calls": [self._call(delta)]})
            case CitationDelta() if delta.part.wire == WIRE:
                return self._said({"annotations": [delta.part.json]})
            case OpaqueDelta() if delta.part.wire == WIRE and not is_block(delta.part):
                return self._opaque(delta)
            case Finish():
                return self._finish(delta)
            case _:
                return b""

    def error(self, error: AiexError) -> bytes:
        """Return the event that ends a stream that failed."""
        return encode_event(encode_error(error))

    def _said(self, said: dict[str, Any], **choice: object) -> bytes:
        if not self._has_begun:
            self._has_begun = True
            said = {"role": "assistant"} | said
        return self._chunk([{"index": 0, "delta": said, "finish_reason": None} | choice])

    def _chunk(self, choices: list[Any], **more: object) -> bytes:
        return encode_event(msgspec.json.encode(self._head | {"choices": choices} | more))

    def _opaque(self, delta: OpaqueDelta) -> bytes:
        keys = merged([delta.part], WIRE)
        if "moderation" in keys:
            return self._chunk([], moderation=keys["moderation"])
        if "logprobs" in keys:
            return self._said({}, logprobs=keys["logprobs"])
        return self._said(dict(keys))

    def _call(self, delta: ToolCallDelta) -> dict[str, Any]:
        function: dict[str, Any] = {"arguments": delta.arguments}
        if delta.index in self._calls:
            return {"index": self._calls[delta.index], "function": function}
        position = self._calls.setdefault(delta.index, len(self._calls))
        function["name"] = delta.name or ""
        return {"index": position, "id": delta.id, "type": "function", "function": function}

    def _finish(self, finish: Finish) -> bytes:
        reason = _finish_word(finish, has_refusal=self._has_refusal)
        data = self._said({}, finish_reason=reason)
        if self._include_usage and finish.usage is not None:
            data += self._chunk([], usage=_wire_usage(finish.usage))
        return data + encode_event(b"[DONE]")


def _finish_word(finish: Finish, *, has_refusal: bool) -> str:
    """Return the finish reason; a refusal that nothing is said of must show in it."""
    if finish.reason == "refusal" and not has_refusal:
        return "content_filter"
    return _WORDS.get(finish.reason, "stop")


def encode_reply(reply: ModelReply, *, model: str, reply_id: str, created: int) -> bytes:
    """Return the body of a reply that is not streamed.

    Args:
        reply: The reply.
        model: Model name to carry.
        reply_id: Identifier to carry.
        created: Time to carry, seconds since 1970.
    """
    if any(isinstance(part, ToolResultPart) for part in reply.parts):
        raise InvalidCallError("a reply holds no results of tools")
    message = _message(
        Message(role="assistant", parts=()),
        reply.parts,
        Dialect(reasoning_key="reasoning_content"),
    )
    message.setdefault("content", None)
    content = message["content"]
    if isinstance(content, list) and all(one["type"] == "text" for one in content):
        message["content"] = "".join(one["text"] for one in content)  # of a reply it is a text
    choice = {
        "index": 0,
        "logprobs": message.pop("logprobs", None),
        "finish_reason": _finish_word(reply.finish, has_refusal="refusal" in message),
    }
    body: dict[str, Any] = {
        "id": reply_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
    }
    if "moderation" in message:
        body["moderation"] = message.pop("moderation")
    body["choices"] = [choice | {"message": message}]
    if reply.finish.usage is not None:
        body["usage"] = _wire_usage(reply.finish.usage)
    return msgspec.json.encode(body)
