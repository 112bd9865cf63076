"""A server on loopback that speaks Ollama's native API and says what a test tells it to.

Shapes: docs/api.md of ollama at 01e52d24, the recorded exchanges, and what the official client
takes. Windows, loading and cutting behave as server/routes.go and llm/llama_server.go of 0.33.2
do (read 2026-11-24); tokens are a quarter of the bytes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from aiohttp import web

from aiex.testing.loopback import LoopbackServer

__all__ = ["FakeOllama", "OllamaAnswer", "OllamaModel"]

_MADE_AT = "2026-11-24T12:00:00.000000Z"
_DEFAULT_WINDOW = 4096
_KEPT = 4
_TOO_LONG = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


class OllamaAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of /api/chat.

    Attributes:
        text: The reply, streamed word by word.
        thinking: What the model thinks before.
        calls: Tool calls, each a name and its arguments.
        finish: `done_reason`; `None` to cut the stream before it.
        status: HTTP status; anything but 200 answers with *error* alone.
        error: The error; with status 200 it is a line that ends the stream.
        counts: Whether the last line says how many tokens it took.
        holds: Stop after the first line until the client leaves or the server is closed.
    """

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    finish: str | None = "stop"
    status: int = 200
    error: str | None = None
    counts: bool = True
    holds: bool = False


class OllamaModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on the disk of the server.

    Attributes:
        name: Its name with its tag.
        context_length: Largest window, tokens.
        capabilities: As /api/show lists them; `None` for a server too old to do so.
        family: Its architecture.
        size: Bytes on disk.
    """

    name: str = "fake:latest"
    context_length: int = 32768
    capabilities: tuple[str, ...] | None = ("completion", "tools")
    family: str = "llama"
    size: int = 1_000_000


class FakeOllama(LoopbackServer):
    """Serves chat, embeddings, and the lists of models.

    Answers are taken in order; the last one is repeated.

    Args:
        answers: What /api/chat says.
        models: Models on its disk.
        refuses_overflow: Whether it knows `truncate` and `shift`; older servers cut every prompt
            that is too long without a word.

    Attributes:
        bodies: JSON bodies of /api/chat and /api/embed, in order.
        loads: Each time that a model was loaded: its name and the window.
    """

    def __init__(
        self,
        answers: Iterable[OllamaAnswer] = (OllamaAnswer(text="fine"),),
        *,
        models: Iterable[OllamaModel] = (OllamaModel(),),
        refuses_overflow: bool = True,
    ) -> None:
        super().__init__()
        self._answers = deque(answers)
        self._models = {model.name: model for model in models}
        self._refuses_overflow = refuses_overflow
        self._loaded: dict[str, int] = {}
        self.bodies: list[dict[str, Any]] = []
        self.loads: list[tuple[str, int]] = []

    def _routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/api/version", self._version),
            web.get("/api/tags", self._tags),
            web.get("/api/ps", self._ps),
            web.post("/api/show", self._show),
            web.post("/api/chat", self._chat),
            web.post("/api/embed", self._embed),
        ]

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.33.2"})

    async def _tags(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [_tag(model) for model in self._models.values()]})

    async def _ps(self, _: web.Request) -> web.Response:
        loaded = [
            _tag(self._models[name])
            | {"expires_at": _MADE_AT, "size_vram": 0, "context_length": window}
            for name, window in self._loaded.items()
        ]
        return web.json_response({"models": loaded})

    async def _show(self, request: web.Request) -> web.Response:
        body = await request.json()
        model = self._find(body["model"])
        if model is None:
            return _missing(body["model"])
        shown = {
            "modified_at": _MADE_AT,
            "template": "{{ .Prompt }}",
            "details": _details(model),
            "model_info": {
                "general.architecture": model.family,
                f"{model.family}.context_length": model.context_length,
            },
        }
        if model.capabilities is not None:
            shown["capabilities"] = list(model.capabilities)
        return web.json_response(shown)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        model = self._find(body["model"])
        if model is None:
            return _missing(body["model"])
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self._load(model, _DEFAULT_WINDOW)
        return web.json_response(
            {
                "model": body["model"],
                "embeddings": [[float(len(text)), 0.5] for text in texts],
                "prompt_eval_count": sum(_tokens(text) for text in texts),
            }
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        model = self._find(body["model"])
        if model is None:
            return _missing(body["model"])
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if answer.status != 200:
            return _error(answer.error or "", answer.status)
        window = self._load(model, (body.get("options") or {}).get("num_ctx", _DEFAULT_WINDOW))
        read = sum(_tokens(message.get("content", "")) for message in body["messages"])
        if read > window - 1:
            if self._refuses_overflow and body.get("shift") is False:
                return _error(_TOO_LONG, 400)
            read = _KEPT + (window - _KEPT) // 2
        lines = list(_lines(body["model"], answer, read))
        if body.get("stream") is False:
            return web.json_response(_whole(lines))
        pieces = [json.dumps(line).encode() + b"\n" for line in lines]
        return await self._stream(request, "application/x-ndjson", pieces, holds=answer.holds)

    def _find(self, name: str) -> OllamaModel | None:
        return self._models.get(name) or self._models.get(f"{name}:latest")

    def _load(self, model: OllamaModel, window: int) -> int:
        window = min(window, model.context_length)
        if self._loaded.get(model.name) != window:
            self._loaded[model.name] = window
            self.loads.append((model.name, window))
        return window


def _tokens(text: str) -> int:
    return len(text.encode()) // 4


def _error(message: str, status: int) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _missing(name: str) -> web.Response:
    return _error(f"model '{name}' not found", 404)


def _details(model: OllamaModel) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": "1B",
        "quantization_level": "Q4_0",
    }


def _tag(model: OllamaModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": _MADE_AT,
        "size": model.size,
        "digest": "0" * 64,
        "details": _details(model),
    }


def _lines(model: str, answer: OllamaAnswer, read: int) -> Iterator[dict[str, Any]]:
    head = {"model": model, "created_at": _MADE_AT}

    def said(**message: object) -> dict[str, Any]:
        return head | {"message": {"role": "assistant", "content": "", **message}, "done": False}

    if answer.thinking:
        yield said(thinking=answer.thinking)
    words = answer.text.split(" ")
    for number, word in enumerate(words):
        yield said(content=word if number == len(words) - 1 else f"{word} ")
    for name, arguments in answer.calls:
        yield said(tool_calls=[{"function": {"name": name, "arguments": arguments}}])
    if answer.error is not None:
        yield {"error": answer.error}
    elif answer.finish is not None:
        counts = {"prompt_eval_count": read, "eval_count": len(words)} if answer.counts else {}
        durations = {"total_duration": 2_000, "load_duration": 1_000, "eval_duration": 1_000}
        last = {"done": True, "done_reason": answer.finish}
        yield said() | last | durations | counts


def _whole(lines: list[dict[str, Any]]) -> dict[str, Any]:
    said = [line["message"] for line in lines if "message" in line]
    message = {
        "role": "assistant",
        "content": "".join(one["content"] for one in said),
        "thinking": "".join(one.get("thinking", "") for one in said),
        "tool_calls": [call for one in said for call in one.get("tool_calls", ())],
    }
    return lines[-1] | {"message": {key: value for key, value in message.items() if value}}
