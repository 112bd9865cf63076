"""The wire of OpenAI's responses.

Source: OpenAI's API reference, and the recorded exchanges (read 2026-11-24). The terminal marker
of a stream is exactly one of `response.completed`, `response.incomplete` and `response.failed`.
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
from aiex.wires.counts import decode_count
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
from aiex.wires.replies import ReplyBuilder, collect
from aiex.wires.sse import encode_event
from aiex.wires.streams import SseStreamDecoder, WireRequest

__all__ = [
    "COUNT_WIRE",
    "WIRE",
    "StreamDecoder",
    "StreamEncoder",
    "decode_count",
    "decode_error",
    "decode_reply",
    "decode_request",
    "encode_count",
    "encode_count_request",
    "encode_error",
    "encode_failure",
    "encode_reply",
    "encode_request",
]

WIRE = "openai_responses"
COUNT_WIRE = "openai_responses.count"
"""The wire of its endpoint that counts the tokens of a prompt."""

_ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant")
_PART_KEYS = frozenset({"annotations", "logprobs"})
_BETWEEN_SUMMARIES = "\n\n"
_COUNTED = frozenset(
    {
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    }
)


# ---------------------------------------------------------------- requests


def encode_request(call: ModelCall, *, stream: bool = True) -> bytes:
    """Return the body of POST /v1/responses.

    The wire has no stop texts and no seed: they are left out. A call that did not come over
    this wire is not stored at OpenAI, so its thinking is asked for in encrypted form.
    """
    body = _body(call)
    body["stream"] = stream
    if call.wire != WIRE and "store" not in body:
        body["store"] = False
        if call.reasoning_effort is not None:
            body.setdefault("include", ["reasoning.encrypted_content"])
    return msgspec.json.encode(body)


def encode_count_request(call: ModelCall) -> bytes:
    """Return the body of POST /v1/responses/input_tokens: only what makes up the prompt."""
    body = _body(call)
    return msgspec.json.encode({name: body[name] for name in body if name in _COUNTED})


def _body(call: ModelCall) -> dict[str, Any]:
    messages = call.messages
    body: dict[str, Any] = {"model": call.model}
    if messages and messages[0].role == "system" and _is_plain(messages[0].parts):
        body["instructions"] = _joined_text(messages[0].parts)
        messages = messages[1:]
    body["input"] = [item for message in messages for item in _items(message)]
    tools = written_tools(call.tools, WIRE, lambda tool: _function(tool, call.wire))
    if tools:
        body["tools"] = tools
    if call.tool_choice is not None:
        kind, _, name = call.tool_choice.partition(":")
        named = {"type": "function", "name": name}
        body["tool_choice"] = named if kind == "tool" else call.tool_choice
    if call.response_format is not None:
        body["text"] = {"format": _format(call.response_format)}
    if call.reasoning_effort is not None:
        body["reasoning"] = {"effort": call.reasoning_effort}
    plain = {
        "parallel_tool_calls": call.parallel_tool_calls,
        "max_output_tokens": call.max_output_tokens,
        "temperature": call.temperature,
        "top_p": call.top_p,
        "user": call.user,
    }
    body |= {name: value for name, value in plain.items() if value is not None}
    extra: dict[str, Any] = dict(call.extra) if call.wire in {None, WIRE} else {}
    if "safety_identifier" in extra:
        body.pop("user", None)
    for name in ("text", "reasoning"):
        if name in extra:
            rest = msgspec.json.decode(extra[name], type=dict[str, msgspec.Raw])
            extra[name] = rest | body.pop(name, {})
    return extra | body


def _is_plain(parts: tuple[Part, ...]) -> bool:
    return len(parts) == 1 and isinstance(parts[0], TextPart)


def _joined_text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    schema = schema_keys(wanted) if wanted.kind == "json_schema" else {}
    return {"type": wanted.kind} | schema


def _function(tool: Tool, wire: str | None) -> object:
    body: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description:
        body["description"] = tool.description
    if tool.parameters:
        body["parameters"] = tool.parameters
    # Left out, it means true here and false on every other wire.
    strict = tool.strict if tool.strict is not None or wire in {None, WIRE} else False
    if strict is not None:
        body["strict"] = strict
    return body


def _items(message: Message) -> Iterator[object]:
    if message.role == "assistant":
        yield from _ItemWriter(is_full=False).items(message.parts)
        return
    content: list[Part] = []
    keys: list[OpaquePart] = []
    result: ToolResultPart | None = None
    for part in message.parts:
        if isinstance(part, OpaquePart):
            if part.wire != WIRE:
                continue
            if not is_block(part):
                keys.append(part)
            elif _kind(part).startswith("input_"):
                content.append(part)
            else:
                yield part.json
        elif isinstance(part, ToolResultPart):
            if result is not None:
                yield _result(result, keys)
                keys = []
            result = part
        else:
            content.append(part)
    if result is not None:
        yield _result(result, keys)
        keys = []
    if content or not message.parts:
        body: dict[str, Any] = {"role": message.role, "content": _content(content)}
        yield merged(keys, WIRE) | body


def _kind(part: OpaquePart) -> str:
    return msgspec.json.decode(merged([part], part.wire)["type"], type=str)


def _content(parts: list[Part]) -> object:
    if not parts or (len(parts) == 1 and isinstance(parts[0], TextPart)):
        return _joined_text(parts)
    return [block for block in map(_block, parts) if block is not None]


def _block(part: Part) -> object:
    match part:
        case TextPart() | RefusalPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            return {"type": "input_image"} | picture_keys(part, "image_url")
        case FilePart(text=str()):
            return {"type": "input_text", "text": part.text}
        case FilePart():
            return {"type": "input_file"} | file_keys(part)
        case OpaquePart():
            return part.json
        case _:
            return None


def _result(part: ToolResultPart, keys: list[OpaquePart]) -> dict[str, Any]:
    output: object = part.text
    if part.images or part.files:
        text: list[Part] = [TextPart(text=part.text)] if part.text else []
        output = [_block(one) for one in (*text, *part.images, *part.files)]
    body: dict[str, Any] = {"type": "function_call_output", "call_id": part.id, "output": output}
    return body | merged(keys, WIRE)


class _ItemWriter:
    """Writes the parts of an assistant's message as items.

    Args:
        is_full: Whether every message is written as in a reply, with a list of contents.
    """

    def __init__(self, *, is_full: bool) -> None:
        self._is_full = is_full
        self._items: list[Any] = []
        self._content: list[dict[str, Any]] | None = None
        self._keys: dict[str, msgspec.Raw] = {}

    def items(self, parts: Iterable[Part]) -> list[Any]:
        for part in parts:
            self._add(part)
        self._end_message()
        return self._items

    def _add(self, part: Part) -> None:
        match part:
            case TextPart():
                body: dict[str, Any] = {"type": "output_text", "text": part.text}
                self._say(body | {"annotations": []})
            case RefusalPart():
                self._say({"type": "refusal", "refusal": part.text})
            case ToolCallPart():
                self._item(
                    {
                        "type": "function_call",
                        "call_id": part.id,
                        "name": part.name,
                        "arguments": part.arguments,
                    }
                )
            case ReasoningPart(id=str()):
                self._item(_reasoning(part))
            case ReasoningPart() if self._is_full:  # what another provider thought
                self._item(_reasoning(part))
            case OpaquePart() if part.wire == WIRE:
                self._opaque(part)
            case _:
                pass  # thinking of another provider, which OpenAI would refuse

    def _say(self, content: dict[str, Any]) -> None:
        if self._keys:  # they end a message, so this is the next one
            self._end_message()
        if self._content is None:
            self._content = []
        self._content.append(content)

    def _item(self, item: dict[str, Any]) -> None:
        self._end_message()
        self._items.append(item)

    def _opaque(self, part: OpaquePart) -> None:
        keys = merged([part], WIRE)
        if is_block(part):
            self._item(dict(keys))
        elif self._content is not None:
            self._content[-1] |= {name: keys.pop(name) for name in _PART_KEYS & keys.keys()}
            self._keys |= keys
        elif self._items:
            self._items[-1] |= keys

    def _end_message(self) -> None:
        content, keys = self._content, self._keys
        self._content, self._keys = None, {}
        if content is None:
            return
        one = content[0]
        is_plain = len(content) == 1 and one.get("annotations") == [] and "logprobs" not in one
        if is_plain and not keys and not self._is_full:
            self._items.append({"role": "assistant", "content": one["text"]})
            return
        body: dict[str, Any] = {"type": "message", "role": "assistant", "content": content}
        self._items.append(body | keys)


def _reasoning(part: ReasoningPart) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    body: dict[str, Any] = {"type": "reasoning"} | ({"id": part.id} if part.id else {})
    body["summary"] = summary
    if part.encrypted is not None:
        body["encrypted_content"] = part.encrypted
    return body


def decode_request(body: bytes) -> WireRequest:
    """Return the call of a body of POST /v1/responses or of its input_tokens.

    Raises:
        InvalidCallError: It is not such a body.
    """
    fields = Fields(body, "body")
    stream = fields.take("stream", bool) or False
    instructions = fields.take("instructions", str)
    messages = _read_input(fields)
    if instructions:
        head = Message(role="system", parts=(TextPart(text=instructions),))
        messages.insert(0, head)
    text = Fields(fields.take("text", msgspec.Raw) or b"{}", "text")
    reasoning = Fields(fields.take("reasoning", msgspec.Raw) or b"{}", "reasoning")
    call = ModelCall(
        model=fields.need("model", str),
        messages=tuple(messages),
        tools=tuple(_read_tool(tool) for tool in fields.objects("tools")),
        tool_choice=_read_tool_choice(fields),
        parallel_tool_calls=fields.take("parallel_tool_calls", bool),
        max_output_tokens=fields.take("max_output_tokens", int),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        response_format=read_format(text, "format", schema_under=None),
        reasoning_effort=reasoning.take("effort", str),
        user=read_user(fields),
        extra=fields.left() | fields.rest("text", text) | fields.rest("reasoning", reasoning),
        wire=WIRE,
    )
    unread = fields.unread() | text.unread()
    return WireRequest(call=call, stream=stream, include_usage=True, unread=unread)


def _read_tool_choice(fields: Fields) -> str | None:
    if not fields.peek("tool_choice").startswith(b"{"):
        return fields.take("tool_choice", str)
    kind = Fields(fields.copy("tool_choice", msgspec.Raw), "tool_choice").take("type", str)
    if kind != "function":
        return None  # such as a hosted tool: stays an extra key
    choice = fields.object("tool_choice")
    choice.take("type", str)
    return "tool:" + choice.need("name", str)


def _read_tool(fields: Fields) -> Tool:
    if fields.take("type", str) != "function":
        name = fields.take("name", str) or ""
        return Tool(name=name, opaque=OpaquePart(wire=WIRE, json=fields.keep()))
    return Tool(
        name=fields.need("name", str),
        description=fields.take("description", str) or "",
        parameters=fields.take("parameters", msgspec.Raw) or ABSENT,
        strict=fields.take("strict", bool),
        opaque=OpaquePart(wire=WIRE, json=fields.keep()) if fields.left() else None,
    )


def _read_input(fields: Fields) -> list[Message]:
    if not fields.peek("input").startswith(b"["):
        text = fields.take("input", str)
        return [] if text is None else [Message(role="user", parts=(TextPart(text=text),))]
    messages: list[Message] = []
    was_message = False
    for item in fields.objects("input"):
        role, parts, is_message = _read_item(item)
        last = messages[-1] if messages else None
        # What the assistant did in one turn is one message here, but two texts in a row are two.
        if last and role == last.role == "assistant" and not (is_message and was_message):
            messages[-1] = Message(role="assistant", parts=last.parts + parts)
        else:
            messages.append(Message(role=role, parts=parts))
        was_message = is_message
    return messages


def _read_item(fields: Fields) -> tuple[Role, tuple[Part, ...], bool]:
    kind = fields.take("type", str) or "message"
    if kind == "message":
        role = fields.choice("role", _ROLES)
        return role, tuple(_read_message(fields)), True
    if kind == "function_call_output":
        return "tool", tuple(_read_result(fields)), False
    if kind in {"function_call", "reasoning"}:
        return "assistant", tuple(_read_done(kind, fields)), False
    part = OpaquePart(wire=WIRE, json=fields.keep())
    return ("tool" if kind.endswith("_output") else "assistant"), (part,), False


def _read_message(fields: Fields) -> list[Part]:
    parts: list[Part] = []
    if not fields.peek("content").startswith(b"["):
        text = fields.take("content", str)
        parts += [TextPart(text=text)] if text else []
    else:
        for block in fields.objects("content"):
            parts += _read_block(block)
    left = fields.left() if parts else {}
    if left:
        parts.append(keys_part(WIRE, left))
    return parts


def _read_block(fields: Fields) -> list[Part]:
    part: Part
    match fields.need("type", str):
        case "input_text" | "output_text" | "text":
            part = TextPart(text=fields.need("text", str))
        case "refusal":
            part = RefusalPart(text=fields.need("refusal", str))
        case "input_image" if fields.has("image_url"):
            return [read_picture(fields, "image_url")]
        case "input_file":
            return [read_file(fields)]
        case _:
            return [OpaquePart(wire=WIRE, json=fields.keep())]
    kept = {name: fields.take(name, msgspec.Raw) for name in sorted(_PART_KEYS)}
    kept = {name: raw for name, raw in kept.items() if raw and bytes(raw) != b"[]"}
    return [part, keys_part(WIRE, kept)] if kept else [part]


def _read_result(fields: Fields) -> list[Part]:
    identifier = fields.need("call_id", str)
    whole = fields.peek("output")
    parts: list[Part] = []
    if whole.startswith(b"["):
        for block in fields.objects("output"):
            parts += _read_block(block)
        text = _joined_text(parts)
    else:
        text = fields.take("output", str) or ""
    result = ToolResultPart(
        id=identifier,
        text=text,
        images=tuple(part for part in parts if isinstance(part, ImagePart)),
        files=tuple(part for part in parts if isinstance(part, FilePart)),
        others=tuple(part for part in parts if isinstance(part, OpaquePart)),
    )
    expected = ([TextPart(text=text)] if text else []) + [*result.images, *result.files]
    keys = fields.left()
    if parts and parts != expected:  # such as several texts
        keys["output"] = msgspec.Raw(whole)
    return [result, keys_part(WIRE, keys)] if keys else [result]


def _read_done(kind: str, fields: Fields) -> list[Part]:
    """Return the parts of a finished function call or reasoning."""
    if kind == "function_call":
        part: Part = ToolCallPart(
            id=fields.need("call_id", str),
            name=fields.need("name", str),
            arguments=fields.take("arguments", str) or "",
        )
        left = fields.left()
        return [part, keys_part(WIRE, left)] if left else [part]
    summary = msgspec.Raw(fields.peek("summary") or b"[]")
    content = fields.peek("content")
    shown = fields.objects("summary") or fields.objects("content")
    texts = [_thought(one) for one in shown]
    part = ReasoningPart(
        text=_BETWEEN_SUMMARIES.join(texts),
        id=fields.take("id", str) or "",  # Codex leaves it out
        encrypted=fields.take("encrypted_content", str),
    )
    keys = fields.left()
    if content.startswith(b"["):
        keys["content"] = msgspec.Raw(content)
    if content.startswith(b"[") or len(texts) > 1:
        keys["summary"] = summary  # our one text could not be written back as it was
    return [part, keys_part(WIRE, keys)] if keys else [part]


def _thought(fields: Fields) -> str:
    fields.take("type", str)
    return fields.take("text", str) or ""


# ---------------------------------------------------------------- replies


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Reply(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: msgspec.Raw = ABSENT


class _Item(msgspec.Struct):
    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None


class _Event(msgspec.Struct):
    type: str
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    annotation: msgspec.Raw = ABSENT
    item: msgspec.Raw = ABSENT
    response: _Reply | None = None
    error: msgspec.Raw = ABSENT


_EVENT = msgspec.json.Decoder(_Event)
_ITEM = msgspec.json.Decoder(_Item)
_REPLY = msgspec.json.Decoder(_Reply)
_REASONS: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}


def _usage(usage: _Usage | None) -> Usage | None:
    if usage is None:
        return None
    return read_usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens_details,
        usage.output_tokens_details,
    )


class _Reader:
    """Turns events, or the items of a whole reply, into deltas.

    A part's index is the order in which parts began. What an item holds when it is done is
    given only as far as no event has brought it before.
    """

    def __init__(self) -> None:
        self._indexes: dict[tuple[int, int], int] = {}
        self._seen: set[tuple[int, int]] = set()
        self._cited: set[tuple[int, int]] = set()
        self._summaries: dict[int, int] = {}
        self._done: set[int] = set()
        self._has_calls = False
        self._has_refusal = False

    def at(self, item: int, content: int = 0) -> int:
        return self._indexes.setdefault((item, content), len(self._indexes))

    def added(self, position: int, raw: msgspec.Raw) -> Iterator[Delta]:
        item = _ITEM.decode(raw)
        if item.type == "function_call":
            self._has_calls = True
            yield ToolCallDelta(index=self.at(position), id=item.call_id, name=item.name)
        elif item.type != "message":
            self.at(position)

    def delta(self, event: _Event) -> Iterator[Delta]:
        text = event.delta or ""
        key = (event.output_index, event.content_index)
        match event.type:
            case "response.output_text.delta":
                self._seen.add(key)
                yield TextDelta(text=text, index=self.at(*key))
            case "response.refusal.delta":
                self._seen.add(key)
                self._has_refusal = True
                yield RefusalDelta(text=text, index=self.at(*key))
            case "response.function_call_arguments.delta":
                self._seen.add((event.output_index, 0))
                yield ToolCallDelta(index=self.at(event.output_index), arguments=text)
            case "response.reasoning_summary_text.delta":
                before = self._summaries.get(event.output_index, event.summary_index)
                self._summaries[event.output_index] = event.summary_index
                between = _BETWEEN_SUMMARIES if before != event.summary_index else ""
                yield self._thought(event, between + text)
            case "response.reasoning_text.delta":
                yield self._thought(event, text)
            case "response.output_text.annotation.added" if given(event.annotation):
                self._cited.add(key)
                part = OpaquePart(wire=WIRE, json=event.annotation)
                yield CitationDelta(index=self.at(*key), part=part)
            case _:
                pass  # audio, progress of hosted tools: what counts is in the finished item

    def _thought(self, event: _Event, text: str) -> ReasoningDelta:
        self._seen.add((event.output_index, 0))
        return ReasoningDelta(text=text, index=self.at(event.output_index))

    def done(self, position: int, raw: msgspec.Raw) -> Iterator[Delta]:
        if position in self._done:
            return
        self._done.add(position)
        try:
            yield from list(self._item(position, raw))
        except InvalidCallError as error:  # what a request may not hold, a reply may not either
            raise OverloadedError(f"the reply cannot be read: {error}") from error

    def _item(self, position: int, raw: msgspec.Raw) -> Iterator[Delta]:
        fields = Fields(raw, "item")
        kind = fields.need("type", str)
        if kind == "message":
            yield from self._message(position, fields)
        elif kind in {"function_call", "reasoning"}:
            for part in _read_done(kind, fields):
                yield self._finished(position, part)
        else:
            part = OpaquePart(wire=WIRE, json=raw)
            yield OpaqueDelta(index=self.at(position), part=part)

    def _message(self, position: int, fields: Fields) -> Iterator[Delta]:
        fields.take("role", str)
        index = None
        for number, block in enumerate(fields.objects("content")):
            index = self.at(position, number)
            for part in _read_block(block):
                yield from self._said((position, number), part)
        left = fields.left()
        if left and index is not None:
            yield OpaqueDelta(index=index, part=keys_part(WIRE, left))

    def _said(self, key: tuple[int, int], part: Part) -> Iterator[Delta]:
        index = self.at(*key)
        if isinstance(part, OpaquePart):
            if is_block(part):
                yield OpaqueDelta(index=index, part=part)
                return
            keys = merged([part], WIRE)
            if key in self._cited:
                keys.pop("annotations", None)
            if keys:
                yield OpaqueDelta(index=index, part=keys_part(WIRE, keys))
        elif key not in self._seen:
            if isinstance(part, TextPart):
                yield TextDelta(text=part.text, index=index)
            elif isinstance(part, RefusalPart):
                self._has_refusal = True
                yield RefusalDelta(text=part.text, index=index)

    def _finished(self, position: int, part: Part) -> Delta:
        index, is_seen = self.at(position), (position, 0) in self._seen
        if isinstance(part, ToolCallPart):
            self._has_calls = True
            arguments = "" if is_seen else part.arguments
            return ToolCallDelta(index=index, id=part.id, name=part.name, arguments=arguments)
        if isinstance(part, ReasoningPart):
            text = "" if is_seen else part.text
            return ReasoningDelta(text=text, index=index, id=part.id, encrypted=part.encrypted)
        if isinstance(part, OpaquePart):
            return OpaqueDelta(index=index, part=part)
        raise TypeError(f"{type(part).__name__} is no finished item")

    def end(self, said: _Reply) -> Iterator[Delta]:
        if said.status in {"failed", "cancelled"}:
            raise error_in_stream(said.error if given(said.error) else b'"the reply was cancelled"')
        if said.status in {"queued", "in_progress"}:
            raise IncompleteStreamError(f"the reply is still {said.status}")
        for position, raw in enumerate(said.output or ()):
            yield from self.done(position, raw)
        yield self._finish(said)

    def _finish(self, said: _Reply) -> Finish:
        raw_reason = said.status
        reason: FinishReason = "stop" if said.status == "completed" else "unknown"
        if said.incomplete_details is not None:
            raw_reason = said.incomplete_details.reason or said.status
            reason = _REASONS.get(raw_reason or "", "unknown")
        elif reason == "stop" and self._has_calls:
            reason = "tool_calls"
        elif reason == "stop" and self._has_refusal:
            reason = "refusal"
        return Finish(
            reason=reason,
            raw_reason=raw_reason,
            usage=_usage(said.usage),
            model=said.model,
            reply_id=said.id,
        )


class StreamDecoder(SseStreamDecoder):
    """Events of a streamed response."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = _Reader()

    def _read(self, piece: bytes) -> Iterator[Delta]:
        event = _EVENT.decode(piece)
        match event.type:
            case "response.output_item.added" if given(event.item):
                yield from self._reader.added(event.output_index, event.item)
            case "response.output_item.done" if given(event.item):
                yield from self._reader.done(event.output_index, event.item)
            case "response.completed" | "response.incomplete" | "response.failed":
                self.is_over = True
                yield from self._reader.end(event.response or _Reply())
            case "error":
                raise error_in_stream(event.error if given(event.error) else piece)
            case _:
                yield from self._reader.delta(event)


def decode_reply(body: bytes) -> ModelReply:
    """Return the reply of a body that was not streamed.

    Raises:
        OverloadedError: It is not such a body.
        IncompleteStreamError: It is a reply in the background that is not ready.
        ProviderError: It says that the reply failed.
    """
    try:
        said = _REPLY.decode(body)
    except UNREADABLE as error:
        raise OverloadedError(f"the reply cannot be read: {error}") from error
    if said.output is None:
        raise OverloadedError("the reply has no output")
    return collect(_Reader().end(said))


def _wire_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": input_details(usage),
        "output_tokens": usage.output_tokens,
        "output_tokens_details": output_details(usage),
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _has_refusal(output: list[Any]) -> bool:
    return any(
        part.get("type") == "refusal" for item in output for part in item.get("content") or ()
    )


def _response(
    *, model: str, reply_id: str, created: int, output: list[Any], finish: Finish | None
) -> dict[str, Any]:
    reason = None if finish is None else _INCOMPLETE.get(finish.reason)
    if finish is not None and finish.reason == "refusal" and not _has_refusal(output):
        reason = "content_filter"  # nothing else would show it
    status = "in_progress" if finish is None else "incomplete" if reason else "completed"
    usage = None if finish is None or finish.usage is None else _wire_usage(finish.usage)
    return {
        "id": reply_id,
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def encode_reply(reply: ModelReply, *, model: str, reply_id: str, created: int) -> bytes:
    """Return the body of a reply that is not streamed.

    Args:
        reply: The reply.
        model: Model name to carry.
        reply_id: Identifier to carry.
        created: Time to carry, seconds since 1970.
    """
    output = _ItemWriter(is_full=True).items(reply.parts)
    for number, item in enumerate(output):
        item.setdefault("id", f"{_PREFIXES.get(item['type'], 'item')}_{reply_id}_{number}")
        if item["type"] != "reasoning":
            item.setdefault("status", "completed")
    body = _response(
        model=model, reply_id=reply_id, created=created, output=output, finish=reply.finish
    )
    return msgspec.json.encode(body)


class StreamEncoder:
    """Deltas to the events of a streamed response; every part becomes an item of its own.

    Args:
        model: Model name that the response carries.
        reply_id: Identifier that it carries.
        created: Time that it carries, seconds since 1970.
    """

    def __init__(self, *, model: str, reply_id: str, created: int) -> None:
        self._model = model
        self._reply_id = reply_id
        self._created = created
        self._sequence = 0
        self._open: dict[int, tuple[int, str, ReplyBuilder]] = {}
        self._output: dict[int, dict[str, Any]] = {}
        self._items = 0

    def encode(self, delta: Delta) -> bytes:
        """Return the events that *delta* becomes; `b""` for what this wire cannot say."""
        begin = b""
        if self._sequence == 0:
            response = self._whole(None)
            begin = self._event("response.created", response=response)
            begin += self._event("response.in_progress", response=response)
        return begin + self._delta(delta)

    def error(self, error: AiexError) -> bytes:
        """Return the events that end a stream that failed."""
        return _failed(error, sequence=self._sequence, response=self._whole(None))

    def _whole(self, finish: Finish | None) -> dict[str, Any]:
        output = [item for _, item in sorted(self._output.items())]
        return _response(
            model=self._model,
            reply_id=self._reply_id,
            created=self._created,
            output=output,
            finish=finish,
        )

    def _event(self, kind: str, **keys: object) -> bytes:
        body: dict[str, object] = {"type": kind, "sequence_number": self._sequence}
        self._sequence += 1
        return encode_event(msgspec.json.encode(body | keys), event=kind)

    def _delta(self, delta: Delta) -> bytes:
        match delta:
            case TextDelta():
                return self._say(delta, "output_text", {"text": "", "annotations": []})
            case RefusalDelta():
                return self._say(delta, "refusal", {"refusal": ""})
            case ToolCallDelta():
                return self._call(delta)
            case ReasoningDelta():
                return self._think(delta)
            case OpaqueDelta() if delta.part.wire == WIRE and is_block(delta.part):
                item: dict[str, Any] = dict(merged([delta.part], WIRE))
                position = self._items
                self._items += 1
                self._output[position] = item
                data = self._close()
                data += self._event("response.output_item.added", output_index=position, item=item)
                return data + self._event(
                    "response.output_item.done", output_index=position, item=item
                )
            case CitationDelta() if delta.index in self._open and delta.part.wire == WIRE:
                return self._cite(delta)
            case Finish():
                data = self._close()
                kind = "incomplete" if delta.reason in _INCOMPLETE else "completed"
                return data + self._event(f"response.{kind}", response=self._whole(delta))
            case _:
                return b""

    def _begin(self, index: int, kind: str, item: dict[str, Any]) -> tuple[bytes, int, str]:
        if index in self._open:
            position, identifier, _ = self._open[index]
            return b"", position, identifier
        # Calls may be written side by side; everything else comes one after the other.
        data = b"" if kind == "function_call" else self._close()
        position = self._items
        self._items += 1
        identifier = f"{_PREFIXES[kind]}_{self._reply_id}_{position}"
        self._open[index] = (position, identifier, ReplyBuilder())
        item = {"id": identifier, "type": kind} | item
        data += self._event("response.output_item.added", output_index=position, item=item)
        return data, position, identifier

    def _say(self, delta: TextDelta | RefusalDelta, kind: str, empty: dict[str, Any]) -> bytes:
        is_new = delta.index not in self._open
        data, position, identifier = self._begin(
            delta.index,
            "message",
            {"role": "assistant", "status": "in_progress", "content": []},
        )
        place = {"item_id": identifier, "output_index": position, "content_index": 0}
        if is_new:
            part = {"type": kind} | empty
            data += self._event("response.content_part.added", **place, part=part)
        self._open[delta.index][2].add(delta)
        return data + self._event(f"response.{kind}.delta", **place, delta=delta.text)

    def _cite(self, delta: CitationDelta) -> bytes:
        position, identifier, builder = self._open[delta.index]
        builder.add(delta)
        return self._event(
            "response.output_text.annotation.added",
            item_id=identifier,
            output_index=position,
            content_index=0,
            annotation_index=0,
            annotation=delta.part.json,
        )

    def _call(self, delta: ToolCallDelta) -> bytes:
        item = {"call_id": delta.id or "", "name": delta.name or "", "arguments": ""}
        data, position, identifier = self._begin(
            delta.index, "function_call", item | {"status": "in_progress"}
        )
        self._open[delta.index][2].add(delta)
        if not delta.arguments:
            return data
        return data + self._event(
            "response.function_call_arguments.delta",
            item_id=identifier,
            output_index=position,
            delta=delta.arguments,
        )

    def _think(self, delta: ReasoningDelta) -> bytes:
        data, position, identifier = self._begin(delta.index, "reasoning", {"summary": []})
        self._open[delta.index][2].add(delta)
        if not delta.text:
            return data
        return data + self._event(
            "response.reasoning_summary_text.delta",
            item_id=identifier,
            output_index=position,
            summary_index=0,
            delta=delta.text,
        )

    def _close(self) -> bytes:
        data = b""
        for position, identifier, builder in self._open.values():
            parts = tuple(
                ReasoningPart(text=part.text, id=identifier, encrypted=part.encrypted)
                if isinstance(part, ReasoningPart)
                else part
                for part in builder.parts()
            )
            [item] = _ItemWriter(is_full=True).items(parts)
            item["id"] = identifier
            if item["type"] != "reasoning":
                item["status"] = "completed"
            self._output[position] = item
            data += self._done(position, identifier, item)
        self._open.clear()
        return data

    def _done(self, position: int, identifier: str, item: Mapping[str, Any]) -> bytes:
        place = {"item_id": identifier, "output_index": position}
        data = b""
        if item["type"] == "message":
            [part] = item["content"]
            key = "text" if part["type"] == "output_text" else "refusal"
            kind = part["type"]
            said = {key: part[key]}
            data += self._event(f"response.{kind}.done", **place, content_index=0, **said)
            data += self._event("response.content_part.done", **place, content_index=0, part=part)
        elif item["type"] == "function_call":
            arguments = item["arguments"]
            data += self._event(
                "response.function_call_arguments.done", **place, arguments=arguments
            )
        return data + self._event("response.output_item.done", output_index=position, item=item)


def encode_failure(error: AiexError, *, sequence: int, reply_id: str) -> bytes:
    """Return the events that end a stream that failed, and was not written by us.

    Args:
        error: What went wrong.
        sequence: Number of the first of them.
        reply_id: Identifier of the response.
    """
    response = _response(model="", reply_id=reply_id, created=0, output=[], finish=None)
    for name in ("model", "created_at"):
        del response[name]
    return _failed(error, sequence=sequence, response=response)


def _failed(error: AiexError, *, sequence: int, response: dict[str, Any]) -> bytes:
    """Return the two events by which OpenAI ends a stream that failed; clients read either."""
    said = msgspec.json.decode(encode_error(error), type=dict[str, dict[str, Any]])["error"]
    first = {"sequence_number": sequence} | said | {"type": "error"}
    failed = response | {
        "status": "failed",
        "error": {"code": said["code"], "message": said["message"]},
    }
    second = {
        "type": "response.failed",
        "sequence_number": sequence + 1,
        "response": failed,
    }
    return encode_event(msgspec.json.encode(first), event="error") + encode_event(
        msgspec.json.encode(second), event="response.failed"
    )


def encode_count(tokens: int) -> bytes:
    """Return the body of an answer of input_tokens."""
    return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})
