"""A server on loopback that speaks LM Studio's wires and says what a test tells it to.

Three doors, as the real one has: OpenAI's wire under /v1, its own lists under /api/v1 and
/api/v0, and the web sockets of its own client. Shapes: lmstudio.ai/docs (read 2026-11-24), and
what the official `openai` and `lmstudio` clients take. Tokens are a quarter of the bytes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from aiex.testing.loopback import LoopbackServer

__all__ = ["FakeLMStudio", "LMStudioAnswer", "LMStudioModel"]


class LMStudioAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to a chat.

    Attributes:
        text: The reply, streamed word by word.
        reasoning: What the model thinks before.
        calls: Tool calls, each a name and the JSON of its arguments; not over web sockets.
        finish: Finish reason; `None` to cut the stream before it.
        status: HTTP status; anything but 200 answers with *error* alone.
        error: Message of the error; with status 200 it is an event that ends the stream.
        code: Code of the error.
        prompt_tokens: Tokens of the prompt; `None` to count them.
        holds: Stop after the first delta until the client leaves or cancels.
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    finish: str | None = "stop"
    status: int = 200
    error: str | None = None
    code: str | None = None
    prompt_tokens: int | None = None
    holds: bool = False


class LMStudioModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the disk of the server.

    Attributes:
        key: Its name.
        kind: `llm` or `embedding`.
        max_context_length: Largest window, tokens.
        loaded_with: Window of the instance that is in memory from the start; `None` for none.
        instance: Name of that instance; `None` for the model's.
        vision: Whether it sees pictures.
        tools: Whether it was trained to call tools.
    """

    key: str = "fake-1"
    kind: str = "llm"
    max_context_length: int = 32768
    loaded_with: int | None = None
    instance: str | None = None
    vision: bool = False
    tools: bool = True


class FakeLMStudio(LoopbackServer):
    """Serves chats, embeddings, and the lists of models; loads models when they are asked.

    Answers are taken in order; the last one is repeated.

    Args:
        answers: What a chat says.
        models: Models on its disk.
        lists: Which of its own lists the server has: `v1` since 0.4.0, `v0` since 0.3.6.
        default_window: Window that a model is loaded with on demand.

    Attributes:
        bodies: JSON bodies of chats and embeddings, in order; over web sockets the parameters.
        loads: Names of the models that were loaded on demand, in order.
    """

    def __init__(
        self,
        answers: Iterable[LMStudioAnswer] = (LMStudioAnswer(text="fine"),),
        *,
        models: Iterable[LMStudioModel] = (LMStudioModel(),),
        lists: Iterable[str] = ("v1", "v0"),
        default_window: int = 4096,
    ) -> None:
        super().__init__()
        self._answers = deque(answers)
        self._models = {model.key: model for model in models}
        self._lists = frozenset(lists)
        self._default_window = default_window
        self._loaded = {
            one.key: (one.instance or one.key, one.loaded_with)
            for one in self._models.values()
            if one.loaded_with is not None
        }
        self.bodies: list[dict[str, Any]] = []
        self.loads: list[str] = []

    def _routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/lmstudio-greeting", self._greet),
            web.get("/v1/models", self._openai_list),
            web.post("/v1/chat/completions", self._complete),
            web.post("/v1/embeddings", self._embed),
            web.get("/api/v1/models", self._list),
            web.get("/api/v0/models", self._old_list),
            web.get("/{namespace:system|llm|embedding}", self._socket),
        ]

    # ------------------------------------------------------------ OpenAI's wire

    async def _openai_list(self, _: web.Request) -> web.Response:
        data = [{"id": key, "object": "model", "owned_by": "fake"} for key in self._models]
        return web.json_response({"object": "list", "data": data})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        model = self._find(body["model"])
        if model is None:
            return _missing(body["model"])
        answer = self._next()
        if answer.status != 200:
            error = {"message": answer.error, "type": "invalid_request_error", "code": answer.code}
            return web.json_response({"error": error}, status=answer.status)
        self._load(model)
        read = answer.prompt_tokens or _count(json.dumps(body["messages"]))
        chunks = list(_chunks(body["model"], answer, read))
        if not body.get("stream"):
            return web.json_response(_whole(chunks))
        pieces = [_event(chunk) for chunk in chunks]
        if answer.finish is not None and answer.error is None:
            pieces.append(b"data: [DONE]\n\n")
        return await self._stream(request, "text/event-stream", pieces, holds=answer.holds)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        model = self._find(body["model"])
        if model is None:
            return _missing(body["model"])
        self._load(model)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        read = sum(_count(text) for text in texts)
        data = [
            {"object": "embedding", "index": at, "embedding": _vector(text)}
            for at, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": read, "total_tokens": read}
        return web.json_response(
            {"object": "list", "data": data, "model": body["model"], "usage": usage}
        )

    # ------------------------------------------------------------ its own lists

    async def _list(self, request: web.Request) -> web.Response:
        if "v1" not in self._lists:
            return _unexpected(request)
        return web.json_response({"models": [self._row(one) for one in self._models.values()]})

    def _row(self, model: LMStudioModel) -> dict[str, Any]:
        row: dict[str, Any] = {
            "type": model.kind,
            "publisher": "fake",
            "key": model.key,
            "display_name": model.key,
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 1_000_000,
            "params_string": "1B",
            "loaded_instances": [],
            "max_context_length": model.max_context_length,
            "format": "gguf",
        }
        if model.kind == "llm":
            row["capabilities"] = {"vision": model.vision, "trained_for_tool_use": model.tools}
        if model.key in self._loaded:
            name, window = self._loaded[model.key]
            row["loaded_instances"] = [{"id": name, "config": {"context_length": window}}]
        return row

    async def _old_list(self, request: web.Request) -> web.Response:
        if "v0" not in self._lists:
            return _unexpected(request)
        data = [self._old_row(one) for one in self._models.values()]
        return web.json_response({"object": "list", "data": data})

    def _old_row(self, model: LMStudioModel) -> dict[str, Any]:
        kind = "embeddings" if model.kind == "embedding" else "vlm" if model.vision else "llm"
        row: dict[str, Any] = {
            "id": model.key,
            "object": "model",
            "type": kind,
            "publisher": "fake",
            "arch": "llama",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": "loaded" if model.key in self._loaded else "not-loaded",
            "max_context_length": model.max_context_length,
            "capabilities": ["tool_use"] if model.tools else [],
        }
        if model.key in self._loaded:
            row["loaded_context_length"] = self._loaded[model.key][1]
        return row

    # ------------------------------------------------------------ its own client

    async def _greet(self, _: web.Request) -> web.Response:
        return web.json_response({"lmstudio": True})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive_json()  # who the client is
        await socket.send_json({"success": True})
        held: set[int] = set()
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            said = json.loads(message.data)
            match said["type"]:
                case "rpcCall":
                    await socket.send_json(self._called(said, request.match_info["namespace"]))
                case "channelCreate":
                    async for sent in self._opened(said, held):
                        await socket.send_json(_sent(said["channelId"], sent))
                    if said["channelId"] not in held:
                        await socket.send_json(_closed(said["channelId"]))
                case "channelSend" if said["channelId"] in held:
                    held.discard(said["channelId"])
                    self.left.set()
                    await socket.send_json(_sent(said["channelId"], self._done("userStopped")))
                    await socket.send_json(_closed(said["channelId"]))
        if held:
            self.left.set()
        return socket

    def _called(self, said: dict[str, Any], namespace: str) -> dict[str, Any]:
        parameter = said.get("parameter") or {}
        answer: dict[str, Any] = {"type": "rpcResult", "callId": said["callId"]}
        match said["endpoint"]:
            case "listDownloadedModels":
                return answer | {"result": [_card(one) for one in self._models.values()]}
            case "listLoaded":
                loaded = [self._models[key] for key in self._loaded]
                cards = [self._instance(one) for one in loaded if one.kind == namespace]
                return answer | {"result": cards}
            case "embedString":
                return answer | {"result": {"embedding": _vector(parameter["inputString"])}}
            case _:
                error = {"title": f"the stand-in has no {said['endpoint']}"}
                return answer | {"type": "rpcError", "error": error}

    async def _opened(self, said: dict[str, Any], held: set[int]) -> AsyncIterator[dict[str, Any]]:
        parameter = said["creationParameter"]
        if said["endpoint"] == "getOrLoad":
            model = self._find(parameter["identifier"])
            if model is not None:
                self._load(model)
                yield {"type": "loadSuccess", "info": self._instance(model)}
            return
        self.bodies.append(parameter)
        answer = self._next()
        if answer.error is not None:
            yield {"type": "error", "error": {"title": answer.error}}
            return
        for word in _words(answer.text):
            yield {
                "type": "fragment",
                "fragment": {
                    "content": word,
                    "tokensCount": 1,
                    "containsDrafted": False,
                    "reasoningType": "none",
                },
            }
            if answer.holds:
                held.add(said["channelId"])
                return
        yield self._done("eosFound")

    def _done(self, reason: str) -> dict[str, Any]:
        [card, *_] = [_card(one) for one in self._models.values()]
        return {
            "type": "success",
            "stats": {"stopReason": reason},
            "modelInfo": card,
            "loadModelConfig": {"fields": []},
            "predictionConfig": {"fields": []},
        }

    def _instance(self, model: LMStudioModel) -> dict[str, Any]:
        name, window = self._loaded[model.key]
        more = {"identifier": name, "instanceReference": name, "contextLength": window}
        return _card(model) | more

    # ------------------------------------------------------------ models

    def _next(self) -> LMStudioAnswer:
        return self._answers.popleft() if len(self._answers) > 1 else self._answers[0]

    def _find(self, name: str) -> LMStudioModel | None:
        if name in self._models:
            return self._models[name]
        keys = (key for key, (instance, _) in self._loaded.items() if instance == name)
        return next((self._models[key] for key in keys), None)

    def _load(self, model: LMStudioModel) -> None:
        if model.key not in self._loaded:
            self.loads.append(model.key)
            window = min(self._default_window, model.max_context_length)
            self._loaded[model.key] = (model.key, window)


def _count(text: str) -> int:
    return len(text.encode()) // 4


def _vector(text: str) -> list[float]:
    return [float(len(text)), 0.5]


def _words(text: str) -> list[str]:
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _missing(name: str) -> web.Response:
    message = f'Model "{name}" not found'
    error = {"message": message, "type": "invalid_request_error", "code": "model_not_found"}
    return web.json_response({"error": error | {"param": "model"}}, status=404)


def _unexpected(request: web.Request) -> web.Response:
    """Return what LM Studio says at a path that it does not know, with status 200."""
    return web.json_response(
        {"error": f"Unexpected endpoint or method. ({request.method} {request.path})"}
    )


def _event(chunk: dict[str, Any]) -> bytes:
    name = b"event: error\n" if "error" in chunk else b""
    return name + b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _chunks(model: str, answer: LMStudioAnswer, read: int) -> Iterator[dict[str, Any]]:
    head = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": model}

    def said(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    if answer.reasoning:
        yield said({"role": "assistant", "reasoning_content": answer.reasoning})
    words = _words(answer.text) if answer.text else []
    for word in words:
        yield said({"role": "assistant", "content": word})
    for at, (name, arguments) in enumerate(answer.calls):
        function = {"name": name, "arguments": arguments}
        call = {"index": at, "id": f"call_{at}", "type": "function", "function": function}
        yield said({"tool_calls": [call]})
    if answer.error is not None:
        yield {"error": {"message": answer.error}}
    elif answer.finish is not None:
        yield said({}, answer.finish)
        written = len(words)
        usage = {"prompt_tokens": read, "completion_tokens": written}
        yield head | {"choices": [], "usage": usage | {"total_tokens": read + written}}


def _whole(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    deltas = [choice["delta"] for choice in choices]
    message = {
        "role": "assistant",
        "content": "".join(delta.get("content", "") for delta in deltas),
        "tool_calls": [call for delta in deltas for call in delta.get("tool_calls", ())],
    }
    choice = {"index": 0, "message": message, "finish_reason": choices[-1]["finish_reason"]}
    return chunks[-1] | {"object": "chat.completion", "choices": [choice]}


def _card(model: LMStudioModel) -> dict[str, Any]:
    """Return a model as the web sockets describe it."""
    card = {
        "type": model.kind,
        "modelKey": model.key,
        "format": "gguf",
        "displayName": model.key,
        "path": f"fake/{model.key}.gguf",
        "sizeBytes": 1_000_000,
        "maxContextLength": model.max_context_length,
    }
    if model.kind == "llm":
        card |= {"vision": model.vision, "trainedForToolUse": model.tools}
    return card


def _sent(channel: int, message: dict[str, Any]) -> dict[str, Any]:
    return {"type": "channelSend", "channelId": channel, "message": message}


def _closed(channel: int) -> dict[str, Any]:
    return {"type": "channelClose", "channelId": channel}
