"""What a client asks, in nobody's wire; how each wire writes it, and how it reads it back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from aiex.testing.upstream import CallTool, Hide, Think

WireName = Literal["chat", "responses", "messages", "ollama"]

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PDF = base64.b64encode(b"%PDF-1.7 nothing of note").decode()
NOTES = "Zwölf Notizen. 🧪\nAnd <more>."
GREP_SCHEMA = {
    "type": "object",
    "properties": {"for": {"type": "string", "description": "wonach · 🧪"}},
    "required": ["for"],
    "additionalProperties": False,
}
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a client offers."""

    name: str = "grep"
    description: str = "Finds text."
    schema: Any = msgspec.field(default_factory=lambda: GREP_SCHEMA)
    strict: bool | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document that a client shows.

    Attributes:
        kind: How it is shown: as text, by value, by address, or by its name at the provider.
        value: Its text, base64, address or name.
        name: Its title.
    """

    kind: Literal["text", "pdf", "address", "kept"]
    value: str
    name: str | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave."""

    text: str = "found"
    is_error: bool = False
    has_picture: bool = False
    has_document: bool = False


REPORT = Document(kind="pdf", value=PDF, name="report.pdf")


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """A turn of the assistant that called tools, and what they gave."""

    calls: tuple[CallTool, ...]
    results: tuple[Result, ...]
    said: str = ""
    thought: Think | None = None
    hidden: Hide | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `None` stands for what it does not say."""

    text: str = "Say it."
    system: str | None = None
    pictures: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()
    audio: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str | None = None
    parallel: bool | None = None
    rounds: tuple[Round, ...] = ()
    schema: Any = None
    any_json: bool = False
    max_tokens: int | None = 4096
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    effort: str | None = None
    budget: int | None = None
    user: str | None = None


def _data_url(picture: str) -> str:
    return picture if picture.startswith("http") else f"data:image/png;base64,{picture}"


def _of_data_url(url: str) -> str:
    return url.removeprefix("data:image/png;base64,")


def _known(**keys: object) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if value not in (None, (), [], {})}


# ---------------------------------------------------------------- chat completions


def as_chat(question: Question) -> dict[str, Any]:
    """Return what the SDK takes for a chat completion."""
    messages: list[dict[str, Any]] = []
    if question.system is not None:
        messages.append({"role": "system", "content": question.system})
    content: object = question.text
    shown: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _data_url(one)}} for one in question.pictures
    ]
    shown += [{"type": "file", "file": _file(one)} for one in question.documents]
    if question.audio is not None:
        audio = {"data": question.audio, "format": "wav"}
        shown.append({"type": "input_audio", "input_audio": audio})
    if shown:
        content = [{"type": "text", "text": question.text}, *shown]
    messages.append({"role": "user", "content": content})
    for one in question.rounds:
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in one.calls
        ]
        said: dict[str, Any] = {"role": "assistant", "content": one.said or None}
        messages.append(said | {"tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": result.text}
            for call, result in zip(one.calls, one.results, strict=True)
        ]
    tools = [
        {
            "type": "function",
            "function": _known(
                name=tool.name,
                description=tool.description,
                parameters=tool.schema,
                strict=tool.strict,
            ),
        }
        for tool in question.tools
    ]
    choice: object = question.tool_choice
    if question.tool_choice and question.tool_choice.startswith("tool:"):
        name = question.tool_choice.removeprefix("tool:")
        choice = {"type": "function", "function": {"name": name}}
    wanted: object = None
    if question.schema is not None:
        schema = {"name": "answer", "schema": question.schema, "strict": True}
        wanted = {"type": "json_schema", "json_schema": schema}
    elif question.any_json:
        wanted = {"type": "json_object"}
    return {"messages": messages} | _known(
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=question.parallel,
        response_format=wanted,
        max_completion_tokens=question.max_tokens,
        temperature=question.temperature,
        top_p=question.top_p,
        stop=list(question.stop),
        seed=question.seed,
        reasoning_effort=question.effort,
        user=question.user,
    )


def _file(document: Document) -> dict[str, Any]:
    """Return a document as OpenAI's wires write it."""
    match document.kind:
        case "kept":
            return {"file_id": document.value}
        case "address":
            return {"file_url": document.value}
        case "pdf":
            data = f"data:application/pdf;base64,{document.value}"
        case "text":
            data = "data:text/plain;base64," + base64.b64encode(document.value.encode()).decode()
    return _known(file_data=data, filename=document.name)


def _of_file(keys: Mapping[str, Any]) -> Document:
    name = keys.get("filename")
    for key, kind in (("file_id", "kept"), ("file_url", "address")):
        if key in keys:
            return Document(kind=kind, value=keys[key], name=name)  # type: ignore[arg-type]
    head, _, data = keys["file_data"].partition(";base64,")
    if head == "data:application/pdf":
        return Document(kind="pdf", value=data, name=name)
    return Document(kind="text", value=base64.b64decode(data).decode(), name=name)


_WRITTEN = re.compile(r"<document(?: title=(\".*?\"))?>\n(.*)\n</document>\n", re.DOTALL)


def _written(text: str) -> Document | None:
    """Return the document that was written as a text."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    return Document(kind="text", value=found[2], name=json.loads(found[1]) if found[1] else None)


def _shown(parts: object) -> tuple[str, tuple[Document, ...]]:
    """Return the text of *parts*, and the documents among them."""
    if isinstance(parts, str):
        return parts, ()
    assert isinstance(parts, list)
    texts, documents = [], []
    for part in parts:
        written = _written(part.get("text", ""))
        if written is not None:
            documents.append(written)
        elif part["type"] == "file":
            documents.append(_of_file(part["file"]))
        elif part["type"] == "input_file":
            documents.append(_of_file(part))
        elif part["type"] == "document":
            documents.append(_of_document(part))
        else:
            texts.append(part.get("text", ""))
    return "".join(texts), tuple(documents)


def of_chat(body: Mapping[str, Any]) -> Question:
    """Return what a body of chat completions asks."""
    system: list[str] = []
    text, pictures = "", []
    documents: tuple[Document, ...] = ()
    audio = None
    rounds: list[Round] = []
    for message in body["messages"]:
        content = message.get("content") or ""
        match message["role"]:
            case "system" | "developer":
                system.append(_texts(content))
            case "user":
                found = [] if isinstance(content, str) else content
                shown = [_of_data_url(p["image_url"]["url"]) for p in found if "image_url" in p]
                if rounds:
                    rounds[-1] = _with_pictures(rounds[-1], len(shown))
                    rounds[-1] = _with_documents(rounds[-1], len(_shown(content)[1]))
                    continue
                pictures = shown
                text, documents = _shown(content)
                spoken = [p["input_audio"]["data"] for p in found if "input_audio" in p]
                audio = spoken[0] if spoken else None
            case "assistant":
                calls = [
                    CallTool(one["id"], one["function"]["name"], (one["function"]["arguments"],))
                    for one in message.get("tool_calls") or []
                ]
                rounds.append(Round(calls=tuple(calls), results=(), said=_texts(content)))
            case "tool":
                rounds[-1] = _with_result(rounds[-1], Result(text=_texts(content)))
    wanted = body.get("response_format") or {}
    choice = body.get("tool_choice")
    return Question(
        text=text,
        system="\n".join(system) if system else None,
        pictures=tuple(pictures),
        documents=documents,
        audio=audio,
        tools=tuple(_tool(one["function"], "parameters") for one in body.get("tools") or []),
        tool_choice=f"tool:{choice['function']['name']}" if isinstance(choice, dict) else choice,
        parallel=body.get("parallel_tool_calls"),
        rounds=tuple(rounds),
        schema=(wanted.get("json_schema") or {}).get("schema"),
        any_json=wanted.get("type") == "json_object",
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=tuple(body.get("stop") or ()),
        seed=body.get("seed"),
        effort=body.get("reasoning_effort"),
        user=body.get("user"),
    )


def _texts(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    return "".join(part["text"] for part in content if "text" in part)


def _tool(tool: Mapping[str, Any], key: str) -> ToolSpec:
    return ToolSpec(
        name=tool["name"],
        description=tool.get("description") or "",
        schema=tool.get(key),
        strict=tool.get("strict"),
    )


def _with_result(one: Round, result: Result) -> Round:
    return msgspec.structs.replace(one, results=(*one.results, result))


def _with_pictures(one: Round, count: int) -> Round:
    """Say that the last *count* results, whose pictures came behind them, have one each."""
    plain = len(one.results) - count
    results = tuple(
        msgspec.structs.replace(result, has_picture=number >= plain)
        for number, result in enumerate(one.results)
    )
    return msgspec.structs.replace(one, results=results)


def _with_documents(one: Round, count: int) -> Round:
    """Say that the last *count* results, whose documents came behind them, have one each."""
    plain = len(one.results) - count
    results = tuple(
        msgspec.structs.replace(result, has_document=number >= plain)
        for number, result in enumerate(one.results)
    )
    return msgspec.structs.replace(one, results=results)


# ---------------------------------------------------------------- responses


def as_responses(question: Question) -> dict[str, Any]:
    """Return what the SDK takes for a response."""
    content: object = question.text
    shown = [_input_image(one) for one in question.pictures]
    shown += [{"type": "input_file"} | _file(one) for one in question.documents]
    if shown:
        content = [{"type": "input_text", "text": question.text}, *shown]
    items: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for one in question.rounds:
        if one.thought is not None:
            summary = [{"type": "summary_text", "text": "".join(one.thought.pieces)}]
            item = {"type": "reasoning", "id": one.thought.id, "summary": summary}
            items.append(item | {"encrypted_content": one.thought.encrypted})
        if one.hidden is not None:
            item = {"type": "reasoning", "id": one.hidden.id, "summary": []}
            items.append(item | {"encrypted_content": one.hidden.data})
        if one.said:
            items.append({"role": "assistant", "content": one.said})
        items += [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            for call in one.calls
        ]
        for call, result in zip(one.calls, one.results, strict=True):
            output: object = result.text
            if result.has_picture:
                output = [{"type": "input_text", "text": result.text}, _input_image(PNG)]
            elif result.has_document:
                file = {"type": "input_file"} | _file(REPORT)
                output = [{"type": "input_text", "text": result.text}, file]
            items.append({"type": "function_call_output", "call_id": call.id, "output": output})
    tools = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.schema,
            "strict": tool.strict,
        }
        for tool in question.tools
    ]
    choice: object = question.tool_choice
    if question.tool_choice and question.tool_choice.startswith("tool:"):
        choice = {"type": "function", "name": question.tool_choice.removeprefix("tool:")}
    wanted: object = None
    if question.schema is not None:
        schema = {"name": "answer", "schema": question.schema, "strict": True}
        wanted = {"format": {"type": "json_schema"} | schema}
    elif question.any_json:
        wanted = {"format": {"type": "json_object"}}
    return {"input": items} | _known(
        instructions=question.system,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=question.parallel,
        text=wanted,
        max_output_tokens=question.max_tokens,
        temperature=question.temperature,
        top_p=question.top_p,
        reasoning=None if question.effort is None else {"effort": question.effort},
        user=question.user,
    )


def _input_image(picture: str) -> dict[str, Any]:
    if picture.startswith("file-"):
        return {"type": "input_image", "file_id": picture, "detail": "auto"}
    return {"type": "input_image", "image_url": _data_url(picture)}


def of_responses(body: Mapping[str, Any]) -> Question:
    """Return what a body of responses asks."""
    items = body["input"]
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    system = [body["instructions"]] if body.get("instructions") else []
    text, pictures = "", []
    documents: tuple[Document, ...] = ()
    rounds: list[Round] = []
    for item in items:
        match item.get("type", "message"):
            case "message" if item["role"] in {"system", "developer"}:
                system.append(_texts(item["content"]))
            case "message" if item["role"] == "user":
                content = item["content"]
                parts = [] if isinstance(content, str) else content
                text, documents = _shown(content)
                pictures = [
                    _of_data_url(p.get("image_url") or p["file_id"])
                    for p in parts
                    if p["type"] == "input_image"
                ]
            case "message":
                rounds = _opened(rounds)
                rounds[-1] = msgspec.structs.replace(rounds[-1], said=_texts(item["content"]))
            case "reasoning":
                rounds = _opened(rounds)
                shown = tuple(one["text"] for one in item["summary"])
                encrypted = item.get("encrypted_content")
                if shown:
                    thought = Think(shown, id=item["id"], encrypted=encrypted)
                    rounds[-1] = msgspec.structs.replace(rounds[-1], thought=thought)
                else:
                    hidden = Hide(data=encrypted or "", id=item["id"])
                    rounds[-1] = msgspec.structs.replace(rounds[-1], hidden=hidden)
            case "function_call":
                rounds = _opened(rounds)
                call = CallTool(item["call_id"], item["name"], (item["arguments"],))
                calls = (*rounds[-1].calls, call)
                rounds[-1] = msgspec.structs.replace(rounds[-1], calls=calls)
            case "function_call_output":
                output = item["output"]
                has_picture = isinstance(output, list) and any("image_url" in p for p in output)
                said, files = _shown(output)
                assert files in ((), (REPORT,))
                result = Result(text=said, has_picture=has_picture, has_document=bool(files))
                rounds[-1] = _with_result(rounds[-1], result)
    wanted = (body.get("text") or {}).get("format") or {}
    choice = body.get("tool_choice")
    return Question(
        text=text,
        system="\n".join(system) if system else None,
        pictures=tuple(pictures),
        documents=documents,
        tools=tuple(_tool(one, "parameters") for one in body.get("tools") or []),
        tool_choice=f"tool:{choice['name']}" if isinstance(choice, dict) else choice,
        parallel=body.get("parallel_tool_calls"),
        rounds=tuple(rounds),
        schema=wanted.get("schema"),
        any_json=wanted.get("type") == "json_object",
        max_tokens=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        effort=(body.get("reasoning") or {}).get("effort"),
        user=body.get("user"),
    )


def _opened(rounds: list[Round]) -> list[Round]:
    """Begin a new round where the last one has its results."""
    if not rounds or rounds[-1].results:
        return [*rounds, Round(calls=(), results=())]
    return rounds


# ---------------------------------------------------------------- messages


def as_messages(question: Question) -> dict[str, Any]:
    """Return what the SDK takes for a message."""
    content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
    content += [_image(one) for one in question.pictures]
    content += [_document(one) for one in question.documents]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for one in question.rounds:
        blocks: list[dict[str, Any]] = []
        if one.thought is not None:
            text = "".join(one.thought.pieces)
            block = {"type": "thinking", "thinking": text, "signature": one.thought.signature}
            blocks.append(block)
        if one.hidden is not None:
            blocks.append({"type": "redacted_thinking", "data": one.hidden.data})
        if one.said:
            blocks.append({"type": "text", "text": one.said})
        blocks += [
            {
                "type": "tool_use",
                "id": call.id,
                "name": call.name,
                "input": json.loads(call.arguments),
            }
            for call in one.calls
        ]
        messages.append({"role": "assistant", "content": blocks})
        results = []
        for call, result in zip(one.calls, one.results, strict=True):
            said: object = result.text
            if result.has_picture:
                said = [{"type": "text", "text": result.text}, _image(PNG)]
            elif result.has_document:
                said = [{"type": "text", "text": result.text}, _document(REPORT)]
            found: dict[str, object] = {
                "type": "tool_result",
                "tool_use_id": call.id,
                "content": said,
            }
            results.append(found | _known(is_error=result.is_error or None))
        messages.append({"role": "user", "content": results})
    tools = [
        _known(
            name=tool.name,
            description=tool.description,
            input_schema=tool.schema,
            strict=tool.strict,
        )
        for tool in question.tools
    ]
    choice: dict[str, Any] = {}
    if question.tool_choice is not None:
        kind, _, name = question.tool_choice.partition(":")
        choice = {"type": "any" if kind == "required" else kind}
        choice |= {"name": name} if name else {}
    if question.parallel is not None:
        choice = {"type": "auto"} | choice
        choice["disable_parallel_tool_use"] = not question.parallel
    output: dict[str, Any] = {}
    if question.schema is not None:
        output["format"] = {"type": "json_schema", "schema": question.schema}
    if question.effort is not None:
        output["effort"] = question.effort
    thinking = None
    if question.budget is not None:
        thinking = {"type": "enabled", "budget_tokens": question.budget}
    asked = {"messages": messages, "max_tokens": question.max_tokens or 1024} | _known(
        system=question.system,
        tools=tools,
        tool_choice=choice,
        output_config=output,
        thinking=thinking,
        stop_sequences=list(question.stop),
        metadata=None if question.user is None else {"user_id": question.user},
    )
    older = _known(temperature=question.temperature, top_p=question.top_p)
    if older:
        # The newer version of the API, which the SDK speaks by itself, takes them no more.
        asked |= {"extra_body": older, "extra_headers": {"anthropic-version": "2023-06-01"}}
    return asked


def _document(document: Document) -> dict[str, Any]:
    source = {
        "text": {"type": "text", "media_type": "text/plain", "data": document.value},
        "pdf": {"type": "base64", "media_type": "application/pdf", "data": document.value},
        "address": {"type": "url", "url": document.value},
        "kept": {"type": "file", "file_id": document.value},
    }[document.kind]
    return {"type": "document", "source": source} | _known(title=document.name)


def _of_document(block: Mapping[str, Any]) -> Document:
    source = block["source"]
    kind: Any = {"base64": "pdf", "url": "address", "file": "kept"}.get(source["type"], "text")
    value = source.get("data") or source.get("url") or source["file_id"]
    return Document(kind=kind, value=value, name=block.get("title"))


def _image(picture: str) -> dict[str, Any]:
    if picture.startswith("file-"):
        return {"type": "image", "source": {"type": "file", "file_id": picture}}
    if picture.startswith("http"):
        return {"type": "image", "source": {"type": "url", "url": picture}}
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    return {"type": "image", "source": source}


def of_messages(body: Mapping[str, Any]) -> Question:
    """Return what a body of messages asks."""
    text, pictures = "", []
    documents: tuple[Document, ...] = ()
    rounds: list[Round] = []
    for message in body["messages"]:
        content = message["content"]
        blocks: list[Any] = (
            [{"type": "text", "text": content}] if isinstance(content, str) else content
        )
        if message["role"] == "assistant":
            rounds.append(_round(blocks))
        elif rounds and any(one["type"] == "tool_result" for one in blocks):
            for one in blocks:
                rounds[-1] = _with_result(rounds[-1], _message_result(one))
        else:
            text, documents = _shown(blocks)
            pictures = [
                one["source"].get("data") or one["source"].get("url") or one["source"]["file_id"]
                for one in blocks
                if one["type"] == "image"
            ]
    output = body.get("output_config") or {}
    choice = body.get("tool_choice") or {}
    single = choice.get("disable_parallel_tool_use")
    kind = {"any": "required", "tool": f"tool:{choice.get('name')}"}.get(
        choice.get("type", ""), choice.get("type")
    )
    system = body.get("system")
    return Question(
        text=text,
        system=None if system is None else _texts(system),
        pictures=tuple(pictures),
        documents=documents,
        tools=tuple(_tool(one, "input_schema") for one in body.get("tools") or []),
        tool_choice=kind,
        parallel=None if single is None else not single,
        rounds=tuple(rounds),
        schema=(output.get("format") or {}).get("schema"),
        max_tokens=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=tuple(body.get("stop_sequences") or ()),
        effort=output.get("effort"),
        budget=(body.get("thinking") or {}).get("budget_tokens"),
        user=(body.get("metadata") or {}).get("user_id"),
    )


def _round(blocks: list[Mapping[str, Any]]) -> Round:
    one = Round(calls=(), results=(), said=_texts([b for b in blocks if b["type"] == "text"]))
    for block in blocks:
        match block["type"]:
            case "tool_use":
                call = CallTool(block["id"], block["name"], (_plain(block["input"]),))
                one = msgspec.structs.replace(one, calls=(*one.calls, call))
            case "thinking":
                thought = Think((block["thinking"],), signature=block["signature"])
                one = msgspec.structs.replace(one, thought=thought)
            case "redacted_thinking":
                one = msgspec.structs.replace(one, hidden=Hide(data=block["data"]))
            case _:
                pass
    return one


def _message_result(block: Mapping[str, Any]) -> Result:
    content = block.get("content") or ""
    has_picture = isinstance(content, list) and any(one["type"] == "image" for one in content)
    text, files = _shown(content)
    assert files in ((), (REPORT,))
    return Result(
        text=text,
        is_error=block.get("is_error", False),
        has_picture=has_picture,
        has_document=bool(files),
    )


# ---------------------------------------------------------------- Ollama


def of_ollama(body: Mapping[str, Any]) -> Question:
    """Return what a body of Ollama's chat asks."""
    system: list[str] = []
    text = ""
    pictures: list[str] = []
    documents: tuple[Document, ...] = ()
    rounds: list[Round] = []
    for message in body["messages"]:
        match message["role"]:
            case "system":
                system.append(message["content"])
            case "user":
                text, written, after = message["content"].partition("<document")
                found = _written(written + after) if written else None
                documents, pictures = (found,) if found else (), message.get("images") or []
            case "assistant":
                calls = [
                    CallTool(
                        one.get("id") or "",
                        one["function"]["name"],
                        (_plain(one["function"]["arguments"]),),
                    )
                    for one in message.get("tool_calls") or []
                ]
                thought = message.get("thinking")
                rounds.append(
                    Round(
                        calls=tuple(calls),
                        results=(),
                        said=message["content"],
                        thought=Think((thought,)) if thought else None,
                    )
                )
            case "tool":
                result = Result(text=message["content"], has_picture="images" in message)
                rounds[-1] = _with_result(rounds[-1], result)
    options = body.get("options") or {}
    wanted = body.get("format") or None
    think = body.get("think")
    return Question(
        text=text,
        system="\n".join(system) if system else None,
        pictures=tuple(pictures),
        documents=documents,
        tools=tuple(_tool(one["function"], "parameters") for one in body.get("tools") or []),
        rounds=tuple(rounds),
        schema=wanted if isinstance(wanted, dict) else None,
        any_json=wanted == "json",
        max_tokens=options.get("num_predict"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        stop=tuple(options.get("stop") or ()),
        seed=options.get("seed"),
        effort=think if isinstance(think, str) else None,
    )


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


OF = {"chat": of_chat, "responses": of_responses, "messages": of_messages, "ollama": of_ollama}
