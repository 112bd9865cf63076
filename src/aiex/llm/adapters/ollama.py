"""Ollama over its native API, the only one of its APIs that takes the size of the window.

Left alone, Ollama takes a window by the memory of its machine and cuts longer prompts from the
front without a word. So every call names its window, asks not to be cut (`truncate`, `shift`:
api/types.go of 0.33.2, read 2026-11-24), and compares what older servers say they read with what
they were sent.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Literal, TypeVar

import anyio
import msgspec

from aiex.core import (
    AiexError,
    ContextOverflowError,
    Delta,
    Embedding,
    Finish,
    ImagePart,
    ModelCall,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
    ReasoningPart,
    ToolCallPart,
    ToolResultPart,
)
from aiex.llm.adapters.http import Upstream, UpstreamAdapter
from aiex.llm.estimates import DEFAULT_OUTPUT
from aiex.llm.ports import ModelInfo, Timeouts
from aiex.llm.tokens import TokenCounter
from aiex.wires import UNREADABLE, Spoken, ollama

__all__ = ["OllamaAdapter", "window_for"]

_SMALLEST_WINDOW = 4096
_FAR_UNDER = 0.45  # a prompt that is cut in the middle keeps about half of the window
_SMALLEST_JUDGED = 200
_SHOWS_AT_ONCE = 4
_UNCUT = {"truncate": msgspec.Raw(b"false"), "shift": msgspec.Raw(b"false")}
_OVERFLOW = re.compile(r"(longer than|exceeds) the (available )?context")
_NO_MEMORY = "requires more system memory"
T = TypeVar("T")


class _Details(msgspec.Struct):
    family: str = ""


class _Tag(msgspec.Struct):
    name: str
    size: int | None = None
    details: _Details | None = None


class _Tags(msgspec.Struct):
    models: list[_Tag] | None


class _Running(msgspec.Struct):
    name: str
    context_length: int | None = None


class _Processes(msgspec.Struct):
    models: list[_Running] | None = None


class _Shown(msgspec.Struct):
    details: _Details | None = None
    model_info: dict[str, msgspec.Raw] | None = None
    capabilities: tuple[str, ...] | None = None


def window_for(needed: int, *, largest: int | None, loaded: int | None) -> int:
    """Return the window to ask for, in tokens.

    Another window than the loaded one makes Ollama load the model again, so that one is kept
    while it is large enough, and windows double from 4096.

    Args:
        needed: Tokens of the prompt and the longest reply.
        largest: Largest window of the model; `None` if unknown.
        loaded: Window that the model is loaded with; `None` if it is not, or unknown.

    Example:
        >>> window_for(9_000, largest=131_072, loaded=None)
        16384
        >>> window_for(9_000, largest=131_072, loaded=12_000)
        12000
    """
    if loaded is not None and loaded >= needed:
        return loaded
    window = _SMALLEST_WINDOW
    while window < needed:
        window *= 2
    return window if largest is None else min(window, largest)


class OllamaAdapter(UpstreamAdapter):
    """Models on a server of Ollama.

    Args:
        base_url: Address of the server, without a path.
        provider: Name of the provider.
        timeouts: For everything but `stream`, which gets its own.
        load_timeout: Seconds that a model which is not in memory may take to get there, beyond
            what its first token may take.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:11434",
        provider: str = "ollama",
        timeouts: Timeouts | None = None,
        load_timeout: float = 300.0,
    ) -> None:
        upstream = Upstream(base_url, provider=provider, decode_error=ollama.decode_error)
        super().__init__(upstream, provider=provider, timeouts=timeouts)
        self._load_timeout = load_timeout
        self._counter = TokenCounter()
        self._known: dict[str, _Shown] = {}

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call."""
        return Spoken(wire=ollama.WIRE, takes_thinking=True)

    async def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Yield the reply's deltas; see `llm.ports.Adapter.stream`.

        The `Finish` carries a warning if the prompt seems to have been cut.

        Raises:
            ModelNotFoundError: The model is not there; the hint names those that are alike.
            ContextOverflowError: The prompt does not fit into the largest window.
        """
        async with self._explaining(call.model):
            begun_at = anyio.current_time()
            shown, loaded = await self._look_at(call.model, timeouts)
            window = call.context_tokens or self._window(call, shown, loaded)
            wait = timeouts.first_token + (0.0 if loaded == window else self._load_timeout)
            left = timeouts.total - (anyio.current_time() - begun_at)
            deltas = self._upstream.stream(
                "/api/chat",
                ollama.encode_request(_uncut(_named(call), window)),
                decoder=ollama.StreamDecoder(),
                decode_reply=ollama.decode_reply,
                timeouts=msgspec.structs.replace(timeouts, first_token=wait, total=left),
            )
            async with aclosing(deltas):
                async for delta in deltas:
                    yield self._judged(delta, call, window) if isinstance(delta, Finish) else delta

    @asynccontextmanager
    async def _explaining(self, model: str) -> AsyncGenerator[None, None]:
        """Raise what an error means, and name models like one that is not there."""
        try:
            yield
        except ModelNotFoundError as error:
            self._known.pop(model, None)
            await self._suggest(error, model)
            raise
        except ProviderError as error:
            explained = _explained(error)
            if explained is error:
                raise
            raise explained from error

    async def _suggest(self, error: ModelNotFoundError, model: str) -> None:
        try:
            names = [tag.name for tag in await self._tags()]
        except AiexError:
            names = []
        near = difflib.get_close_matches(model, names, n=3, cutoff=0.5)
        pull = f"ollama pull {model}"
        error.hint = f"did you mean {' or '.join(near)}? If not: {pull}" if near else pull

    async def _look_at(self, model: str, timeouts: Timeouts) -> tuple[_Shown, int | None]:
        """Return what is known of *model*, and the window that it is loaded with."""
        try:
            with anyio.fail_after(timeouts.first_token):
                shown = self._known.get(model) or await self._show(model, timeouts)
                running = await self._running(timeouts)
        except TimeoutError as error:
            raise OverloadedError(
                f"{self._provider} did not describe {model} within {timeouts.first_token:g} s",
                provider=self._provider,
            ) from error
        return shown, running.get(model) or running.get(f"{model}:latest")

    def _window(self, call: ModelCall, shown: _Shown, loaded: int | None) -> int:
        needed = self._counter.call(call) + (call.max_output_tokens or DEFAULT_OUTPUT)
        return window_for(needed, largest=_largest_window(shown), loaded=loaded)

    def _judged(self, finish: Finish, call: ModelCall, window: int) -> Finish:
        """Return *finish* with a warning if it shows that the prompt was cut."""
        sent = self._counter.call(_countable(call))
        read = None if finish.usage is None else finish.usage.input_tokens
        if read is None or sent < _SMALLEST_JUDGED:
            return finish
        if read < window - 1 and read >= _FAR_UNDER * sent:
            return finish
        warning = (
            f"{self._provider} read {read} tokens of a prompt of about {sent}, in a window of "
            f"{window}: part of it seems to have been cut off"
        )
        return msgspec.structs.replace(finish, warnings=(*finish.warnings, warning))

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models on its disk, the latest one first."""
        tags = await self._tags()
        running = await self._running(self._timeouts)
        shown: dict[str, _Shown] = {}
        limiter = anyio.CapacityLimiter(_SHOWS_AT_ONCE)

        async def show(name: str) -> None:
            async with limiter:
                try:
                    shown[name] = await self._show(name, self._timeouts)
                except ProviderError:
                    shown[name] = _Shown()  # one that is damaged, or was removed a moment ago

        async with anyio.create_task_group() as tasks:
            for tag in tags:
                tasks.start_soon(show, tag.name)
        return [
            self._info(
                tag.name,
                shown[tag.name],
                is_loaded=tag.name in running,
                size=tag.size,
                family=tag.details.family if tag.details is not None else "",
            )
            for tag in tags
        ]

    async def describe(self, model: str) -> ModelInfo | None:
        """Return what the server knows of *model*; `None` if it is not on its disk."""
        try:
            shown = await self._show(model, self._timeouts)
        except ModelNotFoundError:
            return None
        running = await self._running(self._timeouts)
        family = shown.details.family if shown.details is not None else ""
        is_loaded = model in running or f"{model}:latest" in running
        return self._info(model, shown, is_loaded=is_loaded, family=family)

    def _info(
        self, name: str, shown: _Shown, *, is_loaded: bool, family: str, size: int | None = None
    ) -> ModelInfo:
        # The window that it is loaded with binds nobody here, since each call asks for its own.
        return ModelInfo(
            provider=self._provider,
            name=name,
            context_tokens=_largest_window(shown),
            is_loaded=is_loaded,
            size_bytes=size,
            kind=_kind(shown, family),
            capabilities=shown.capabilities or (),
        )

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return `None`: Ollama counts only what it answers."""
        return None

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Return one vector a text."""
        seconds = self._timeouts.total + self._load_timeout
        async with self._explaining(model):
            body = await self._upstream.request(
                "POST",
                "/api/embed",
                ollama.encode_embedding_request(model, texts),
                timeouts=msgspec.structs.replace(self._timeouts, total=seconds),
            )
        return ollama.decode_embedding(body, model=model)

    async def probe(self) -> None:
        """Return if the server answers."""
        await self._get("/api/version", Any, self._timeouts)

    async def _tags(self) -> list[_Tag]:
        return (await self._get("/api/tags", _Tags, self._timeouts)).models or []

    async def _running(self, timeouts: Timeouts) -> dict[str, int | None]:
        """Return the loaded models and their windows; older servers do not tell the windows."""
        found = await self._get("/api/ps", _Processes, timeouts)
        return {one.name: one.context_length for one in found.models or ()}

    async def _show(self, model: str, timeouts: Timeouts) -> _Shown:
        body = msgspec.json.encode({"model": model})
        shown = await self._get("/api/show", _Shown, timeouts, body=body)
        self._known[model] = shown
        return shown

    async def _get(
        self, path: str, kind: type[T], timeouts: Timeouts, *, body: bytes | None = None
    ) -> T:
        try:
            return await self._upstream.read(path, kind, timeouts=timeouts, body=body)
        except OverloadedError as error:
            if isinstance(error.__cause__, OSError):
                error.hint = "start it with: ollama serve"
            raise


def _named(call: ModelCall) -> ModelCall:
    """Return *call* with the name of its tool on every result: Ollama matches them by it."""
    names: dict[str, str] = {}
    messages = []
    for message in call.messages:
        names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCallPart)}
        parts = tuple(
            msgspec.structs.replace(part, name=part.name or names.get(part.id))
            if isinstance(part, ToolResultPart)
            else part
            for part in message.parts
        )
        messages.append(msgspec.structs.replace(message, parts=parts))
    return msgspec.structs.replace(call, messages=tuple(messages))


def _uncut(call: ModelCall, window: int) -> ModelCall:
    extra = call.extra if call.wire in {None, ollama.WIRE} else {}
    return msgspec.structs.replace(
        call, context_tokens=window, extra=_UNCUT | extra, wire=ollama.WIRE
    )


def _countable(call: ModelCall) -> ModelCall:
    """Return *call* without what costs a model more or less than we can know."""
    messages = tuple(
        msgspec.structs.replace(
            message,
            parts=tuple(p for p in message.parts if not isinstance(p, ImagePart | ReasoningPart)),
        )
        for message in call.messages
    )
    return msgspec.structs.replace(call, messages=messages)


def _largest_window(shown: _Shown) -> int | None:
    info = shown.model_info or {}
    try:
        architecture = msgspec.json.decode(info["general.architecture"], type=str)
        return msgspec.json.decode(info[f"{architecture}.context_length"], type=int)
    except (KeyError, *UNREADABLE):
        return None


def _kind(shown: _Shown, family: str) -> Literal["chat", "embedding"]:
    if shown.capabilities is None:  # a server from before mid-2025
        return "embedding" if "bert" in family else "chat"
    return "chat" if "completion" in shown.capabilities else "embedding"


def _explained(error: ProviderError) -> ProviderError:
    """Return the error that Ollama's words mean, which its statuses often do not tell."""
    if _OVERFLOW.search(error.message):
        return ContextOverflowError(
            error.message,
            hint="send less, or use a model with a larger window",
            provider=error.provider,
            status=error.status,
        )
    if _NO_MEMORY in error.message:
        error.transient = False
        error.hint = "use a smaller model, or send less: a smaller window takes less memory"
    return error
