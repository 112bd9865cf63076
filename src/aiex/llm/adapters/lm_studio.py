"""LM Studio: OpenAI's wire for calls, its own lists of models for what that wire does not tell.

Its own lists say which models are in memory, so that a call of one that has to be loaded first
is given the time for it, and how large the window is that a model was loaded with.
Sources: lmstudio.ai/docs, REST API v0 and v1 (read 2026-11-24).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import msgspec

from aiex.core import (
    AiexError,
    ContextOverflowError,
    Delta,
    Embedding,
    Finish,
    ModelCall,
    ModelNotFoundError,
    OverloadedError,
    ProviderError,
)
from aiex.llm.adapters.http import Upstream, no_key
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.llm.ports import ModelInfo, Timeouts
from aiex.wires import UNREADABLE, Spoken
from aiex.wires.openai_chat import Dialect
from aiex.wires.openai_errors import decode_error

__all__ = ["LMStudioAdapter"]

_DIALECT = Dialect(
    max_tokens_key="max_tokens", reasoning_key="reasoning_content", developer_role=False
)
_OVERFLOW = re.compile(
    r"context the overflows|greater than the context length|context (size|length) has been exceeded"
    r"|exceeds the (available )?context",
    re.IGNORECASE,
)
_SEND_LESS = "send less, or load the model with a larger context length in LM Studio"


class _Config(msgspec.Struct):
    context_length: int | None = None


class _Instance(msgspec.Struct):
    id: str
    config: _Config | None = None


class _Capabilities(msgspec.Struct):
    vision: bool = False
    trained_for_tool_use: bool = False
    reasoning: Any = None  # what can be chosen, where anything can


class _Model(msgspec.Struct):
    """A model as /api/v1/models describes it."""

    key: str
    type: str = "llm"
    size_bytes: int | None = None
    max_context_length: int | None = None
    capabilities: _Capabilities | None = None
    loaded_instances: list[_Instance] = []


class _Models(msgspec.Struct):
    models: list[_Model]


class _OldModel(msgspec.Struct):
    """A model as /api/v0/models describes it."""

    id: str
    type: str = "llm"
    state: str = "not-loaded"
    max_context_length: int | None = None
    loaded_context_length: int | None = None
    capabilities: list[str] = []


class _OldModels(msgspec.Struct):
    data: list[_OldModel]


class _Found(msgspec.Struct):
    """A model, and the windows of what is in memory of it by the names it is called by."""

    info: ModelInfo
    windows: dict[str, int | None]


class LMStudioAdapter:
    """Models on a server of LM Studio.

    Args:
        base_url: Address of the server; `/v1` at its end means the same.
        api_key: Gives the token for each call, or `None`, which does unless the server was told
            to require authentication; must not block.
        provider: Name of the provider.
        timeouts: For everything but `stream`, which gets its own.
        load_timeout: Seconds that a model which is not in memory may take to get there, beyond
            what its first token may take.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:1234",
        api_key: Callable[[], str | None] = no_key,
        provider: str = "lm_studio",
        timeouts: Timeouts | None = None,
        load_timeout: float = 300.0,
    ) -> None:
        address = base_url.rstrip("/").removesuffix("/v1")
        self._provider = provider
        self._timeouts = timeouts or Timeouts(total=60.0)
        self._load_timeout = load_timeout
        self._native = Upstream(
            address, provider=provider, decode_error=decode_error, api_key=api_key
        )
        self._openai = OpenAIAdapter(
            api_key=api_key,
            base_url=f"{address}/v1",
            provider=provider,
            dialect=_DIALECT,
            timeouts=msgspec.structs.replace(
                self._timeouts, total=self._timeouts.total + load_timeout
            ),
        )
        self._exits = AsyncExitStack()

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._provider

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached without leaving this machine."""
        return self._native.is_loopback

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call."""
        return self._openai.spoken

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._native)
        await self._exits.enter_async_context(self._openai)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

    async def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Yield the reply's deltas; see `llm.ports.Adapter.stream`.

        The `Finish` carries a warning if the prompt was larger than the window.

        Raises:
            ModelNotFoundError: The model is not there, or could not be loaded.
            ContextOverflowError: The prompt does not fit into the window that it was loaded with.
        """
        begun_at = anyio.current_time()
        found = _named(call.model, await self._listed_in_time(timeouts))
        windows = {} if found is None else found.windows
        wait = timeouts.first_token + (0.0 if windows else self._load_timeout)
        left = timeouts.total - (anyio.current_time() - begun_at)
        deltas = self._openai.stream(
            call, timeouts=msgspec.structs.replace(timeouts, first_token=wait, total=left)
        )
        window = _window(call.model, windows)
        is_empty = True
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    if isinstance(delta, Finish):
                        yield _judged(delta, window, is_empty=is_empty, provider=self._provider)
                    else:
                        is_empty = False
                        yield delta
        except ModelNotFoundError as error:
            await self._suggest(error, call.model)
            raise
        except ProviderError as error:
            if isinstance(error, ContextOverflowError) or not _OVERFLOW.search(error.message):
                raise
            raise ContextOverflowError(
                error.message, hint=_SEND_LESS, provider=self._provider, status=error.status
            ) from error

    async def _listed_in_time(self, timeouts: Timeouts) -> list[_Found]:
        """Return the models; none where no list can be read, since calls may work all the same."""
        try:
            with anyio.fail_after(timeouts.first_token):
                return await self._listed(timeouts) or []
        except TimeoutError as error:
            raise OverloadedError(
                f"{self._provider} did not list its models within {timeouts.first_token:g} s",
                provider=self._provider,
            ) from error

    async def _suggest(self, error: ModelNotFoundError, model: str) -> None:
        try:
            found = await self._models()
        except AiexError:
            return
        if _named(model, found) is not None:
            error.hint = "LM Studio has it but could not load it: see its log, or load it there"
            return
        names = [one.info.name for one in found]
        near = difflib.get_close_matches(model, names, n=3, cutoff=0.5)
        get = f"lms get {model}"
        error.hint = f"did you mean {' or '.join(near)}? If not: {get}" if near else get

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models on its disk."""
        return [one.info for one in await self._models()]

    async def describe(self, model: str) -> ModelInfo | None:
        """Return what the server knows of *model*, which may be the name of a loaded instance."""
        found = _named(model, await self._models())
        if found is None:
            return None
        window = _window(model, found.windows)
        return msgspec.structs.replace(found.info, name=model, loaded_context_tokens=window)

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return `None`: LM Studio counts only what it answers."""
        return await self._openai.count_tokens(call)

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Return one vector a text."""
        try:
            return await self._openai.embed(model, texts)
        except ModelNotFoundError as error:
            await self._suggest(error, model)
            raise

    async def probe(self) -> None:
        """Return if the server answers."""
        await self._get("/v1/models", self._timeouts)

    async def _models(self) -> list[_Found]:
        found = await self._listed(self._timeouts)
        if found is None:
            raise OverloadedError(
                f"the models of {self._provider} cannot be read", provider=self._provider
            )
        return found

    async def _listed(self, timeouts: Timeouts) -> list[_Found] | None:
        """Return the models by the newest of its lists that the server has; `None` for none."""
        for path, read in (("/api/v1/models", self._read), ("/api/v0/models", self._read_old)):
            try:
                return read(await self._get(path, timeouts))
            except (ModelNotFoundError, *UNREADABLE):
                continue  # it answers with status 200 where it has nothing
        return None

    async def _get(self, path: str, timeouts: Timeouts) -> bytes:
        try:
            return await self._native.request("GET", path, timeouts=timeouts)
        except OverloadedError as error:
            if isinstance(error.__cause__, OSError):
                error.hint = "start its server in LM Studio, or with: lms server start"
            raise

    def _read(self, body: bytes) -> list[_Found]:
        return [
            _Found(
                info=ModelInfo(
                    provider=self._provider,
                    name=model.key,
                    context_tokens=model.max_context_length,
                    is_loaded=bool(model.loaded_instances),
                    loaded_context_tokens=_window(model.key, _windows(model.loaded_instances)),
                    size_bytes=model.size_bytes,
                    kind=_kind(model.type),
                    capabilities=_capabilities(model.capabilities),
                ),
                windows=_windows(model.loaded_instances),
            )
            for model in msgspec.json.decode(body, type=_Models).models
        ]

    def _read_old(self, body: bytes) -> list[_Found]:
        return [
            _Found(
                info=ModelInfo(
                    provider=self._provider,
                    name=model.id,
                    context_tokens=model.max_context_length,
                    is_loaded=model.state == "loaded",
                    loaded_context_tokens=model.loaded_context_length,
                    kind=_kind(model.type),
                    capabilities=_old_capabilities(model),
                ),
                windows={model.id: model.loaded_context_length} if model.state == "loaded" else {},
            )
            for model in msgspec.json.decode(body, type=_OldModels).data
        ]


def _named(model: str, found: Sequence[_Found]) -> _Found | None:
    return next((one for one in found if model == one.info.name or model in one.windows), None)


def _windows(instances: Sequence[_Instance]) -> dict[str, int | None]:
    return {one.id: one.config.context_length if one.config else None for one in instances}


def _window(model: str, windows: dict[str, int | None]) -> int | None:
    """Return the window of the instance *model*, or of the first one of the model."""
    return windows.get(model, next(iter(windows.values()), None))


def _kind(kind: str) -> Literal["chat", "embedding"]:
    return "embedding" if kind in {"embedding", "embeddings"} else "chat"


def _capabilities(known: _Capabilities | None) -> tuple[str, ...]:
    if known is None:
        return ()
    has = {
        "tools": known.trained_for_tool_use,
        "vision": known.vision,
        "thinking": bool(known.reasoning),
    }
    return tuple(name for name, is_there in has.items() if is_there)


def _old_capabilities(model: _OldModel) -> tuple[str, ...]:
    has = {"tools": "tool_use" in model.capabilities, "vision": model.type == "vlm"}
    return tuple(name for name, is_there in has.items() if is_there)


def _judged(finish: Finish, window: int | None, *, is_empty: bool, provider: str) -> Finish:
    """Return *finish*, with a warning if the prompt did not fit into the window.

    Raises:
        ContextOverflowError: It did not fit, and nothing came of it (lmstudio-bug-tracker #2339).
    """
    sent = None if finish.usage is None else finish.usage.input_tokens
    if sent is None or window is None or sent < window:
        return finish
    told = f"{provider} was sent a prompt of {sent} tokens for a window of {window}"
    if is_empty:
        raise ContextOverflowError(told, hint=_SEND_LESS, provider=provider)
    warning = f"{told}: part of it seems to have been cut off"
    return msgspec.structs.replace(finish, warnings=(*finish.warnings, warning))
