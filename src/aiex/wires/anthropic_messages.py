"""The wire of Anthropic's messages, and of the servers that imitate it.

Source: Anthropic's API reference, and the recorded exchanges (read 2026-11-24). The terminal
marker of a stream is `message_stop`; usage in `message_delta` is cumulative, and input tokens
exclude what was read from or written to the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from aiex.wires.failures import body_text, failure
from aiex.wires.fields import ABSENT, UNREADABLE, Fields, as_object, elements, given
from aiex.wires.opaque import is_block, keys_part, merged, written_tools
from aiex.wires.sse import encode_event
from aiex.wires.streams import SseStreamDecoder, WireRequest

__all__ = [
    "COUNT_WIRE",
    "DEFAULT_MAX_TOKENS",
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
    "encode_reply",
    "encode_request",
]

WIRE = "anthropic_messages"
COUNT_WIRE = "anthropic_messages.count"
"""The wire of its endpoint that counts the tokens of a prompt."""

DEFAULT_MAX_TOKENS = 8192
"""Longest reply of a call that names none; the wire requires one."""

_ROLES: tuple[Role, ...] = ("user", "assistant", "system")
_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_WORDS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}
_EFFORTS: dict[str, str | None] = {"none": None, "minimal": "low"}
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_ERROR_TYPES = {
    "authentication": "authentication_error",
    "budget": "billing_error",
    "context_overflow": "invalid_request_error",
    "deadline": "timeout_error",
    "incomplete_stream": "api_error",
    "invalid_call": "invalid_request_error",
    "model_not_found": "not_found_error",
    "not_found": "not_found_error",
    "overloaded": "overloaded_error",
    "rate_limit": "rate_limit_error",
    "refused": "permission_error",
    "unauthenticated": "authentication_error",
    "usage": "invalid_request_error",
}
_REPLY_KEYS = ("stop_sequence", "stop_details", "container")


# ---------------------------------------------------------------- requests


def encode_request(call: ModelCall, *, stream: bool = True) -> bytes:
    """Return the body of POST /v1/messages.

    The wire has no seed. Thinking of other providers is left out, since Anthropic takes back
    only what it has signed.
    """
    body = _body(call)
    budget = call.reasoning_budget or 0
    body["max_tokens"] = call.max_output_tokens or DEFAULT_MAX_TOKENS + budget
    body["stream"] = stream
    warmth = None if call.temperature is None else min(call.temperature, 1.0)  # others go to 2
    plain = {"temperature": warmth, "top_p": call.top_p}
    body |= {name: value for name, value in plain.items() if value is not None}
    if call.stop:
        body["stop_sequences"] = list(call.stop)
    if call.user is not None:
        body["metadata"] = {"user_id": call.user}
    return msgspec.json.encode(_with_extra(call, body))


def encode_count_request(call: ModelCall) -> bytes:
    """Return the body of POST /v1/messages/count_tokens: only what makes up the prompt."""
    body = _with_extra(call, _body(call))
    for name in ("top_k", "service_tier", "container", "inference_geo", "metadata"):
        body.pop(name, None)
    return msgspec.json.encode(body)


def _body(call: ModelCall) -> dict[str, Any]:
    head = 0
    while head < len(call.messages) and call.messages[head].role in {"system", "developer"}:
        head += 1
    body: dict[str, Any] = {
        "model": call.model,
        "messages": list(_messages(call.messages[head:])),
    }
    system = [block for message in call.messages[:head] for block in _blocks(message.parts)]
    if len(system) == 1 and system[0].keys() == {"type", "text"}:
        body["system"] = system[0]["text"]
    elif system:
        body["system"] = system
    tools = written_tools(call.tools, WIRE, _function)
    if tools:
        body["tools"] = tools
    choice = _tool_choice(call)
    if choice:
        body["tool_choice"] = choice
    if call.reasoning_budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": call.reasoning_budget}
    output: dict[str, Any] = {}
    if call.response_format is not None and call.response_format.schema:
        output["format"] = {"type": "json_schema", "schema": call.response_format.schema}
    effort = _EFFORTS.get(call.reasoning_effort or "none", call.reasoning_effort)
    if effort is not None:
        output["effort"] = effort
    if output:
        body["output_config"] = output
    return body


def _with_extra(call: ModelCall, body: dict[str, Any]) -> dict[str, Any]:
    extra: dict[str, Any] = dict(call.extra) if call.wire in {None, WIRE} else {}
    for name in ("thinking", "output_config", "metadata"):
        if name in extra:
            rest = msgspec.json.decode(extra[name], type=dict[str, msgspec.Raw])
            extra[name] = rest | body.pop(name, {})
    return extra | body


def _messages(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "tool":
            results.extend(_blocks(message.parts))  # results of one turn belong together
            continue
        if results:
            yield {"role": "user", "content": results}
            results = []
        role = "system" if message.role == "developer" else message.role
        content = _blocks(message.parts)
        if content and message.role == "assistant":
            for name in _REPLY_KEYS:  # they are of the whole reply, and no request may hold them
                content[-1].pop(name, None)
        if content:
            yield {"role": role, "content": content}
    if results:
        yield {"role": "user", "content": results}


def _blocks(parts: Iterable[Part]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    takes_keys = False
    for part in parts:
        if isinstance(part, OpaquePart) and not is_block(part):
            if takes_keys:
                blocks[-1] |= merged([part], part.wire) if part.wire == WIRE else {}
            continue
        block = _block(part)
        takes_keys = block is not None
        if block is not None:
            blocks.append(block)
    return blocks


def _block(part: Part) -> dict[str, Any] | None:
    match part:
        case TextPart(text=""):
            return None  # the provider refuses an empty text
        case TextPart():
            block: dict[str, Any] = {"type": "text", "text": part.text}
            if part.cache:
                block["cache_control"] = {"type": "ephemeral"}
            return block
        case RefusalPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            return _image(part)
        case FilePart():
            return _document(part)
        case ToolCallPart():
            arguments = as_object(part.arguments)
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments}
        case ToolResultPart():
            return _tool_result(part)
        case ReasoningPart(signature=str()):
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case ReasoningPart(encrypted=str(), id=None):
            return {"type": "redacted_thinking", "data": part.encrypted}
        case OpaquePart(wire="anthropic_messages"):
            return dict(merged([part], WIRE))
        case _:
            return None


def _image(part: ImagePart) -> dict[str, Any]:
    if part.url is not None:
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    media_type = part.media_type or "image/png"
    source = {"type": "base64", "media_type": media_type, "data": part.data}
    return {"type": "image", "source": source}


def _document(part: FilePart) -> dict[str, Any]:
    source: dict[str, Any]
    if part.text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    elif part.file_id is not None:
        source = {"type": "file", "file_id": part.file_id}
    else:
        source = {"type": "base64", "media_type": "application/pdf", "data": part.data}
    block: dict[str, Any] = {"type": "document", "source": source}
    said = {"title": part.name, "context": part.about}
    return block | {name: text for name, text in said.items() if text is not None}


def _tool_result(part: ToolResultPart) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.id, "content": part.text}
    beside = [*map(_image, part.images), *map(_document, part.files)]
    if beside:
        text = [{"type": "text", "text": part.text}] if part.text else []
        block["content"] = text + beside
    if part.is_error:
        block["is_error"] = True
    return block


def _function(tool: Tool) -> object:
    body: dict[str, Any] = {
        "name": tool.name,
        "input_schema": tool.parameters or msgspec.Raw(b'{"type":"object"}'),
    }
    if tool.description:
        body["description"] = tool.description
    if tool.strict is not None:
        body["strict"] = tool.strict
    return body


def _tool_choice(call: ModelCall) -> dict[str, Any]:
    choice: dict[str, Any] = {}
    if call.tool_choice is not None:
        kind, _, name = call.tool_choice.partition(":")
        known = {"type": _CHOICES.get(kind, "auto")}
        choice = {"type": "tool", "name": name} if kind == "tool" else known
    if call.parallel_tool_calls is not None and call.tools and choice.get("type") != "none":
        choice = {"type": "auto"} | choice
        choice["disable_parallel_tool_use"] = not call.parallel_tool_calls
    return choice


def decode_request(body: bytes) -> WireRequest:
    """Return the call of a body of POST /v1/messages or of its count_tokens.

    Raises:
        InvalidCallError: It is not such a body.
    """
    fields = Fields(body, "body")
    stream = fields.take("stream", bool) or False
    system = _read_content(fields, "system")
    messages = [Message(role="system", parts=tuple(system))] if system else []
    fields.copy("messages", msgspec.Raw)  # must be there
    for message in fields.objects("messages"):
        role = message.choice("role", _ROLES)
        messages.append(Message(role=role, parts=tuple(_read_content(message, "content"))))
    has_choice = fields.has("tool_choice")
    choice = fields.object("tool_choice") if has_choice else Fields(b"{}", "tool_choice")
    single = choice.take("disable_parallel_tool_use", bool)
    thinking = Fields(fields.take("thinking", msgspec.Raw) or b"{}", "thinking")
    output = Fields(fields.take("output_config", msgspec.Raw) or b"{}", "output_config")
    older = _read_format(fields, "output_format")  # its name while it was in beta
    metadata = Fields(fields.take("metadata", msgspec.Raw) or b"{}", "metadata")
    call = ModelCall(
        model=fields.need("model", str),
        messages=tuple(messages),
        tools=tuple(_read_tool(tool) for tool in fields.objects("tools")),
        tool_choice=_read_tool_choice(choice),
        parallel_tool_calls=None if single is None else not single,
        max_output_tokens=fields.take("max_tokens", int),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        stop=tuple(fields.take("stop_sequences", list[str]) or ()),
        response_format=_read_format(output, "format") or older,
        reasoning_effort=output.take("effort", str),
        reasoning_budget=_read_budget(thinking),
        user=metadata.take("user_id", str),
        extra=fields.left()
        | fields.rest("thinking", thinking)
        | fields.rest("output_config", output)
        | fields.rest("metadata", metadata),
        wire=WIRE,
    )
    unread = fields.unread() | output.unread()
    return WireRequest(call=call, stream=stream, include_usage=True, unread=unread)


def _read_budget(thinking: Fields) -> int | None:
    if thinking.peek("type") != b'"enabled"':
        return None  # adaptive or disabled: stays an extra key
    thinking.take("type", str)
    return thinking.need("budget_tokens", int)


def _read_format(owner: Fields, name: str) -> ResponseFormat | None:
    if not owner.has(name):
        return None
    fields = owner.object(name)
    fields.choice("type", ("json_schema",))
    return ResponseFormat(kind="json_schema", schema=fields.need("schema", msgspec.Raw))


def _read_tool(fields: Fields) -> Tool:
    if fields.take("type", str) not in {None, "custom"}:
        name = fields.take("name", str) or ""
        return Tool(name=name, opaque=OpaquePart(wire=WIRE, json=fields.keep()))
    return Tool(
        name=fields.need("name", str),
        description=fields.take("description", str) or "",
        parameters=fields.need("input_schema", msgspec.Raw),
        strict=fields.take("strict", bool),
        opaque=OpaquePart(wire=WIRE, json=fields.keep()) if fields.left() else None,
    )


def _read_tool_choice(choice: Fields) -> str | None:
    kind = choice.take("type", str)
    if kind is None:
        return None
    if kind == "tool":
        return "tool:" + choice.need("name", str)
    words = {word: name for name, word in _CHOICES.items()}
    if kind not in words:
        raise InvalidCallError(f"tool_choice.type is {kind!r}, which is none of {list(words)}")
    return words[kind]


def _read_content(fields: Fields, name: str) -> list[Part]:
    if not fields.peek(name).startswith(b"["):
        text = fields.take(name, str)
        return [TextPart(text=text)] if text else []
    return [part for block in fields.objects(name) for part in _read_block(block)]


def _read_block(fields: Fields) -> list[Part]:
    part: Part | None
    match fields.need("type", str):
        case "text":
            part = TextPart(text=fields.need("text", str), cache=_read_cache(fields))
        case "image":
            part = _read_image(fields)
        case "document":
            part = _read_document(fields)
        case "tool_use":
            arguments = bytes(fields.need("input", msgspec.Raw)).decode()
            part = ToolCallPart(
                id=fields.need("id", str), name=fields.need("name", str), arguments=arguments
            )
        case "tool_result":
            return _read_tool_result(fields)
        case "thinking":
            part = ReasoningPart(
                text=fields.take("thinking", str) or "", signature=fields.take("signature", str)
            )
        case "redacted_thinking":
            part = ReasoningPart(encrypted=fields.need("data", str))
        case _:
            part = None
    return [OpaquePart(wire=WIRE, json=fields.keep())] if part is None else _with_keys(part, fields)


def _with_keys(part: Part, fields: Fields) -> list[Part]:
    left = {name: raw for name, raw in fields.left().items() if bytes(raw) != b"[]"}
    return [part, keys_part(WIRE, left)] if left else [part]


def _read_cache(fields: Fields) -> bool:
    if not fields.peek("cache_control").startswith(b"{"):
        return False
    control = Fields(fields.copy("cache_control", msgspec.Raw), "cache_control")
    kind, lifetime = control.take("type", str), control.take("ttl", str)
    if kind == "ephemeral" and lifetime in {None, "5m"} and not control.left():
        fields.take("cache_control", msgspec.Raw)
    return True


def _read_image(fields: Fields) -> ImagePart | None:
    source = fields.object("source")
    match source.need("type", str):
        case "url":
            return ImagePart(url=source.need("url", str))
        case "base64":
            return ImagePart(
                data=source.need("data", str), media_type=source.take("media_type", str)
            )
        case _:
            return None


def _read_document(fields: Fields) -> FilePart | None:
    source = fields.object("source")
    known: dict[str, str | None]
    match source.need("type", str):
        case "text":
            known = {"text": source.need("data", str), "media_type": source.take("media_type", str)}
        case "base64":
            known = {"data": source.need("data", str), "media_type": source.take("media_type", str)}
        case "url":
            known = {"url": source.need("url", str)}
        case "file":
            known = {"file_id": source.need("file_id", str)}
        case _:
            return None  # such as blocks of its own
    return FilePart(**known, name=fields.take("title", str), about=fields.take("context", str))


def _read_tool_result(fields: Fields) -> list[Part]:
    identifier = fields.need("tool_use_id", str)
    is_error = fields.take("is_error", bool) or False
    whole = fields.peek("content")
    parts = _read_content(fields, "content")
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    result = ToolResultPart(
        id=identifier,
        text="\n".join(texts),
        is_error=is_error,
        images=tuple(part for part in parts if isinstance(part, ImagePart)),
        files=tuple(part for part in parts if isinstance(part, FilePart)),
        others=tuple(_others(parts)),
    )
    expected = [*(TextPart(text=text) for text in texts[:1]), *result.images, *result.files]
    found = _with_keys(result, fields)
    if parts != expected:  # several texts, or blocks such as tool_reference
        found.append(keys_part(WIRE, {"content": msgspec.Raw(whole)}))
    return found


def _others(parts: Iterable[Part]) -> Iterator[OpaquePart]:
    for part in parts:
        if isinstance(part, OpaquePart):
            yield part
        elif isinstance(part, TextPart) and part.cache:
            yield keys_part(WIRE, {"cache_control": {"type": "ephemeral"}})


# ---------------------------------------------------------------- replies


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None


class _Reply(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    usage: _Usage | None = None
    stop_reason: str | None = None
    stop_sequence: msgspec.Raw = ABSENT
    stop_details: msgspec.Raw = ABSENT
    container: msgspec.Raw = ABSENT


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: msgspec.Raw = ABSENT
    stop_reason: str | None = None
    stop_sequence: msgspec.Raw = ABSENT
    stop_details: msgspec.Raw = ABSENT
    container: msgspec.Raw = ABSENT


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    details: msgspec.Raw = ABSENT


class _Details(msgspec.Struct):
    error_code: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Reply | None = None
    content_block: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    usage: _Usage | None = None
    error: _Error | None = None


_EVENT = msgspec.json.Decoder(_Event)
_DELTA = msgspec.json.Decoder(_Delta)
_REPLY = msgspec.json.Decoder(_Reply)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Counts:
    """Usage as it adds up over the events: what comes later replaces what came before."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def add(self, usage: _Usage | None) -> None:
        if usage is None:
            return
        split = usage.cache_creation or _CacheCreation()
        details = usage.output_tokens_details or _OutputDetails()
        found = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "read": usage.cache_read_input_tokens,
            "written": usage.cache_creation_input_tokens,
            "written_1h": split.ephemeral_1h_input_tokens,
            "thinking": details.thinking_tokens,
        }
        self._seen |= {name: count for name, count in found.items() if count is not None}

    def total(self) -> Usage | None:
        seen = self._seen
        if "input" not in seen or "output" not in seen:
            return None
        read, written = seen.get("read", 0), seen.get("written", 0)
        hour = min(seen.get("written_1h", 0), written)
        return Usage(
            input_tokens=seen["input"] + read + written,
            output_tokens=seen["output"],
            cached_input_tokens=read,
            cache_write_5m_tokens=written - hour,
            cache_write_1h_tokens=hour,
            reasoning_tokens=seen.get("thinking", 0),
        )


class _Block:
    """A block that is still open: what it began with, and the JSON that came for its input."""

    def __init__(self, keys: dict[str, msgspec.Raw]) -> None:
        self.keys = keys
        self.type = msgspec.json.decode(keys.pop("type", msgspec.Raw(b'""')), type=str)
        self.input: list[str] = []

    def text(self, name: str) -> str | None:
        raw = self.keys.pop(name, None)
        return None if raw is None else msgspec.json.decode(raw, type=str | None)

    def append(self, keys: Mapping[str, msgspec.Raw]) -> None:
        """Add a delta of a kind that we do not know: texts grow, other values are replaced."""
        for name, raw in keys.items():
            old = self.keys.get(name)
            if old is not None and bytes(old)[:1] == bytes(raw)[:1] == b'"':
                joined = msgspec.json.decode(old, type=str) + msgspec.json.decode(raw, type=str)
                self.keys[name] = msgspec.Raw(msgspec.json.encode(joined))
            else:
                self.keys[name] = raw


class StreamDecoder(SseStreamDecoder):
    """Events of a streamed message; the terminal marker is `message_stop`.

    Blocks may be open side by side. A block that only Anthropic understands, such as the result
    of a tool that ran there, is given whole when it is complete.
    """

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, _Block] = {}
        self._counts = _Counts()
        self._id: str | None = None
        self._model: str | None = None
        self._reason: str | None = None
        self._last = 0

    def _read(self, piece: bytes) -> Iterator[Delta]:
        event = _EVENT.decode(piece)
        match event.type:
            case "content_block_delta" if given(event.delta):
                yield from self._delta(event.index, event.delta)
            case "content_block_start" if given(event.content_block):
                yield from self._start(event.index, event.content_block)
            case "content_block_stop":
                yield from self._stop(event.index)
            case "message_start" if event.message is not None:
                self._id, self._model = event.message.id, event.message.model
                self._counts.add(event.message.usage)
            case "message_delta":
                self._counts.add(event.usage)
                yield from self._message_delta(event.delta)
            case "message_stop":
                self.is_over = True
                yield self._finish()
            case "error":
                raise _stream_error(event.error or _Error())
            case _:
                pass  # a ping, or an event from the future

    def _start(self, index: int, raw: msgspec.Raw) -> Iterator[Delta]:
        block = self._blocks[index] = _Block(_OBJECT.decode(raw))
        self._last = index
        match block.type:
            case "text":
                text = block.text("text")
                if text:
                    yield TextDelta(text=text, index=index)
            case "thinking":
                yield ReasoningDelta(
                    text=block.text("thinking") or "",
                    index=index,
                    signature=block.text("signature") or None,
                )
            case "redacted_thinking":
                yield ReasoningDelta(index=index, encrypted=block.text("data"))
            case "tool_use":
                yield ToolCallDelta(index=index, id=block.text("id"), name=block.text("name"))
            case _:
                pass  # given whole at its end

    def _delta(self, index: int, raw: msgspec.Raw) -> Iterator[Delta]:
        delta = _DELTA.decode(raw)
        block = self._blocks.get(index)
        match delta.type:
            case "text_delta":
                yield TextDelta(text=delta.text or "", index=index)
            case "thinking_delta":
                yield ReasoningDelta(text=delta.thinking or "", index=index)
            case "signature_delta":
                yield ReasoningDelta(index=index, signature=delta.signature)
            case "citations_delta" if given(delta.citation):
                part = OpaquePart(wire=WIRE, json=delta.citation)
                yield CitationDelta(index=index, part=part)
            case "input_json_delta" if block is not None:
                block.input.append(delta.partial_json or "")
                if block.type == "tool_use" and delta.partial_json:
                    yield ToolCallDelta(index=index, arguments=delta.partial_json)
            case _ if block is not None:
                keys = _OBJECT.decode(raw)
                keys.pop("type", None)
                block.append(keys)
            case _:
                pass

    def _stop(self, index: int) -> Iterator[Delta]:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        written = "".join(block.input)
        begun = block.keys.pop("input", None)
        if block.type == "tool_use":
            if not written:
                yield ToolCallDelta(index=index, arguments=bytes(begun or b"{}").decode())
        elif written or begun is not None:
            block.keys["input"] = as_object(written) if written else begun or msgspec.Raw(b"{}")
        if block.type not in {"text", "thinking", "redacted_thinking", "tool_use"}:
            whole: dict[str, object] = {"type": block.type}
            whole |= block.keys
            yield OpaqueDelta(index=index, part=keys_part(WIRE, whole))
            return
        left = {name: raw for name, raw in block.keys.items() if bytes(raw) not in {b"null", b"[]"}}
        if left:
            yield OpaqueDelta(index=index, part=keys_part(WIRE, left))

    def _message_delta(self, raw: msgspec.Raw) -> Iterator[Delta]:
        if not given(raw):
            return
        delta = _DELTA.decode(raw)
        self._reason = delta.stop_reason or self._reason
        keys = _reply_keys(delta)
        if keys:
            yield OpaqueDelta(index=self._last, part=keys_part(WIRE, keys))

    def _finish(self) -> Finish:
        return Finish(
            reason=_REASONS.get(self._reason or "", "unknown"),
            raw_reason=self._reason,
            usage=self._counts.total(),
            model=self._model,
            reply_id=self._id,
        )


def _reply_keys(said: _Reply | _Delta) -> dict[str, msgspec.Raw]:
    found = {name: getattr(said, name) for name in _REPLY_KEYS}
    return {name: raw for name, raw in found.items() if given(raw)}


def decode_reply(body: bytes) -> ModelReply:
    """Return the reply of a body that was not streamed.

    Raises:
        OverloadedError: It is not such a body.
    """
    try:
        said = _REPLY.decode(body)
        if said.content is None:
            raise InvalidCallError("it has no content")
        parts = [part for raw in said.content for part in _read_block(Fields(raw, "content"))]
    except (*UNREADABLE, InvalidCallError) as error:
        raise OverloadedError(f"the reply cannot be read: {error}") from error
    keys = _reply_keys(said)
    if keys and parts:
        parts.append(keys_part(WIRE, keys))
    counts = _Counts()
    counts.add(said.usage)
    finish = Finish(
        reason=_REASONS.get(said.stop_reason or "", "unknown"),
        raw_reason=said.stop_reason,
        usage=counts.total(),
        model=said.model,
        reply_id=said.id,
    )
    return ModelReply(parts=tuple(parts), finish=finish)


def _wire_usage(usage: Usage | None) -> dict[str, Any]:
    usage = usage or Usage()
    minutes, hour = usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    read = usage.cached_input_tokens
    return {
        "input_tokens": max(usage.input_tokens - read - minutes - hour, 0),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": minutes + hour,
        "cache_creation": {
            "ephemeral_5m_input_tokens": minutes,
            "ephemeral_1h_input_tokens": hour,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }


def _stop_reason(finish: Finish) -> str:
    if finish.raw_reason in _REASONS:
        return finish.raw_reason
    return _WORDS.get(finish.reason, "end_turn")


class StreamEncoder:
    """Deltas to the events of a streamed message.

    Args:
        model: Model name that the message carries.
        reply_id: Identifier that the message carries.
    """

    def __init__(self, *, model: str, reply_id: str) -> None:
        self._message: dict[str, Any] = {
            "id": reply_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._has_begun = False
        self._next = 0
        self._open: dict[int, tuple[int, str]] = {}
        self._keys: dict[str, msgspec.Raw] = {}

    def encode(self, delta: Delta) -> bytes:
        """Return the events that *delta* becomes; `b""` for what this wire cannot say."""
        begin = b"" if self._has_begun else _event("message_start", message=self._message)
        self._has_begun = True
        return begin + self._delta(delta)

    def error(self, error: AiexError) -> bytes:
        """Return the event that ends a stream that failed."""
        return encode_event(encode_error(error), event="error")

    def _delta(self, delta: Delta) -> bytes:
        match delta:
            case TextDelta() | RefusalDelta():
                block = {"type": "text", "text": ""}
                return self._piece(delta.index, block, {"type": "text_delta", "text": delta.text})
            case ReasoningDelta():
                return self._reasoning(delta)
            case ToolCallDelta():
                call: dict[str, object] = {"type": "tool_use", "id": delta.id or ""}
                call |= {"name": delta.name or "", "input": {}}
                piece = {"type": "input_json_delta", "partial_json": delta.arguments}
                return self._piece(delta.index, call, piece)
            case CitationDelta() if delta.part.wire == WIRE:
                block = {"type": "text", "text": ""}
                cited = {"type": "citations_delta", "citation": delta.part.json}
                return self._piece(delta.index, block, cited)
            case OpaqueDelta() if delta.part.wire == WIRE:
                return self._opaque(delta)
            case Finish():
                return self._finish(delta)
            case _:
                return b""

    def _reasoning(self, delta: ReasoningDelta) -> bytes:
        if delta.encrypted is not None and delta.id is None:
            block: dict[str, Any] = {"type": "redacted_thinking", "data": delta.encrypted}
            return self._piece(delta.index, block, None)
        block = {"type": "thinking", "thinking": "", "signature": ""}
        data = b""
        if delta.text or delta.signature is None:
            piece = {"type": "thinking_delta", "thinking": delta.text}
            data = self._piece(delta.index, block, piece)
        if delta.signature is not None:
            piece = {"type": "signature_delta", "signature": delta.signature}
            data += self._piece(delta.index, block, piece)
        return data

    def _opaque(self, delta: OpaqueDelta) -> bytes:
        keys = merged([delta.part], WIRE)
        if is_block(delta.part):
            return self._piece(delta.index, keys, None)
        for name in _REPLY_KEYS:
            if name in keys:
                self._keys[name] = keys.pop(name)
        if "citations" not in keys:
            return b""  # a block that has begun takes no further keys on this wire
        citations = elements(keys["citations"], "citations")
        return b"".join(
            self._delta(CitationDelta(index=delta.index, part=OpaquePart(wire=WIRE, json=raw)))
            for _, raw in citations
        )

    def _piece(
        self, index: int, block: Mapping[str, object], piece: Mapping[str, object] | None
    ) -> bytes:
        data = b""
        if index not in self._open:
            # Calls may be written side by side; everything else comes one after the other.
            data += self._close(kept="tool_use" if block["type"] == "tool_use" else "")
            self._open[index] = (self._next, str(block["type"]))
            data += _event("content_block_start", index=self._next, content_block=block)
            self._next += 1
        if piece is not None:
            data += _event("content_block_delta", index=self._open[index][0], delta=piece)
        return data

    def _close(self, *, kept: str) -> bytes:
        done = [index for index, (_, kind) in self._open.items() if kind != kept]
        stops = [_event("content_block_stop", index=self._open.pop(index)[0]) for index in done]
        return b"".join(stops)

    def _finish(self, finish: Finish) -> bytes:
        data = self._close(kept="")
        delta: dict[str, object] = {"stop_reason": _stop_reason(finish), "stop_sequence": None}
        delta |= self._keys
        data += _event("message_delta", delta=delta, usage=_wire_usage(finish.usage))
        return data + _event("message_stop")


def _event(kind: str, **keys: object) -> bytes:
    return encode_event(msgspec.json.encode({"type": kind} | keys), event=kind)


def _shown(part: Part) -> Part:
    """Return *part* as a client is shown it: what another provider thought has no signature."""
    if isinstance(part, ReasoningPart) and part.signature is None and part.text:
        return msgspec.structs.replace(part, signature="")
    return part


def encode_reply(reply: ModelReply, *, model: str, reply_id: str) -> bytes:
    """Return the body of a reply that is not streamed.

    Args:
        reply: The reply.
        model: Model name to carry.
        reply_id: Identifier to carry.
    """
    content = _blocks(map(_shown, reply.parts))
    body: dict[str, Any] = {
        "id": reply_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": _stop_reason(reply.finish),
        "stop_sequence": None,
        "usage": _wire_usage(reply.finish.usage),
    }
    for name in _REPLY_KEYS:
        if content and name in content[-1] and content[-1]["type"] != "tool_result":
            body[name] = content[-1].pop(name)
    return msgspec.json.encode(body)


# ---------------------------------------------------------------- errors and counts


class _ErrorBody(msgspec.Struct):
    error: _Error | None = None


def _codes(error: _Error) -> tuple[str | None, ...]:
    code = None
    if bytes(error.details).startswith(b"{"):
        code = msgspec.json.decode(error.details, type=_Details).error_code
    return (code, error.type)


def _stream_error(error: _Error) -> AiexError:
    return failure(error.message or "", status=None, codes=_codes(error))


def decode_error(
    status: int, headers: Mapping[str, str], body: bytes, *, provider: str = "anthropic"
) -> AiexError:
    """Return the error of an answer that is not 2xx.

    Args:
        status: HTTP status.
        headers: Headers, names in lower case.
        body: The body; need not be what the wire says.
        provider: Name of the provider.
    """
    codes: tuple[str | None, ...] = ()
    message = None
    try:
        error = msgspec.json.decode(body, type=_ErrorBody).error
        if error is not None:
            message, codes = error.message, _codes(error)
    except UNREADABLE:
        pass  # a proxy's page, not the wire's error
    return failure(
        message or body_text(body), status=status, codes=codes, headers=headers, provider=provider
    )


def encode_error(error: AiexError) -> bytes:
    """Return the body of an answer, or the data of an event, that says *error*."""
    message = error.message
    if error.code == "context_overflow" and not message.startswith("prompt is too long"):
        message = f"prompt is too long: {message}"  # clients look for these words
    said = {"type": _ERROR_TYPES.get(error.code, "api_error"), "message": message}
    return msgspec.json.encode({"type": "error", "error": said})


def encode_count(tokens: int) -> bytes:
    """Return the body of an answer of count_tokens."""
    return msgspec.json.encode({"input_tokens": tokens})
