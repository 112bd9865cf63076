"""The providers of the settings: the five that there always are, and those that the user named."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import anyio

from aiex.app.keys import VARIABLES
from aiex.app.masking import environment_of_child
from aiex.app.settings import ModelSettings, ProviderSettings, ServedModel
from aiex.llm import LOCAL_PROVIDERS, ModelInfo, Provider, Rate, Rates, Timeouts
from aiex.runtime import Child, Started

if TYPE_CHECKING:
    from aiex.app.compose import House
    from aiex.llm import Adapter

__all__ = ["kinds_of", "learning", "prices_of", "providers_of", "timeouts_of", "watching"]

_SECONDS_TO_LEARN: Final = 60.0
_SLOWER: Final = 3  # a model of one's own may have to load


def providers_of(house: House) -> list[Provider]:
    """Return the providers in the configured order, the named ones that are not in it last.

    A built-in one that is not in the order is never asked.
    """
    settings = house.settings
    named = {name: partial(_named, house, name, one) for name, one in settings.providers.items()}
    made: dict[str, Callable[[], Provider]] = {
        name: partial(_built_in, house, name, one) for name, one in _built_in_ones(house).items()
    }
    made |= {"local": partial(_local, house), **named}
    order = dict.fromkeys([*settings.model.order, *named])
    return [made[name]() for name in order]


def timeouts_of(model: ModelSettings, kinds: Mapping[str, str]) -> dict[str, Timeouts]:
    """Return how long to wait, by provider.

    Args:
        model: The settings of models.
        kinds: Kind of each provider.
    """
    return {
        name: Timeouts(
            connect=model.connect_timeout,
            first_token=model.first_token_timeout * (_SLOWER if kind in LOCAL_PROVIDERS else 1),
            between_chunks=model.between_timeout,
            total=model.total_timeout,
        )
        for name, kind in kinds.items()
    }


def kinds_of(house: House) -> dict[str, str]:
    """Return the kind of each provider, built-in or named."""
    kinds = {name: name for name in house.settings.model.order}
    return kinds | {name: one.kind for name, one in house.settings.providers.items()}


def prices_of(house: House) -> dict[str, Rates]:
    """Return the prices that the user knows, by `provider:model`."""
    return {
        f"{name}:{model}": Rates(input=_rate(one.input_price), output=_rate(one.output_price))
        for name, provider in house.settings.providers.items()
        for model, one in provider.models.items()
        if one.input_price is not None
    }


def watching(house: House) -> Child:
    """Return what keeps watch over the providers in a process that stays.

    With it a stopped provider is probed, and a name looked up again, beside the requests.
    """

    async def watch(started: Started) -> None:
        started()
        await house.coordinator().watch()

    return Child(name="providers", run=watch)


def learning(house: House, *, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> Child:
    """Return what keeps, in a process that stays, what was learned of counting tokens."""

    async def keep(started: Started) -> None:
        started()
        while True:
            await sleep(_SECONDS_TO_LEARN)
            await house.keep_factors()

    return Child(name="token factors", run=keep)


def _rate(price: float | None) -> Rate:
    return Rate(Decimal(str(price or 0)))


def _built_in_ones(house: House) -> dict[str, ProviderSettings]:
    model = house.settings.model
    return {
        "openai": ProviderSettings(
            kind="openai", url=model.openai_url, api=model.openai_api, model=model.openai_model
        ),
        "anthropic": ProviderSettings(
            kind="anthropic", url=model.anthropic_url, model=model.anthropic_model
        ),
        "ollama": ProviderSettings(kind="ollama", url=model.ollama_url),
        "lm_studio": ProviderSettings(kind="lm_studio", url=model.lm_studio_url),
    }


def _built_in(house: House, name: str, one: ProviderSettings) -> Provider:
    return _provider(house, name, one, needs_key=name in VARIABLES)


def _named(house: House, name: str, one: ProviderSettings) -> Provider:
    """Return a provider that the user named; one with an address may want no key."""
    default = _built_in_ones(house)[one.kind]
    may_need_key = one.kind in VARIABLES or one.key_variable is not None
    is_told = one.key_variable is not None or one.url is None or house.keys.place(name) is not None
    full = ProviderSettings(
        kind=one.kind,
        url=one.url or default.url,
        api=one.api,
        model=one.model or (default.model if one.url is None else None),
        models=one.models,
        node=one.node,
    )
    return _provider(house, name, full, needs_key=may_need_key and is_told)


def _provider(house: House, name: str, one: ProviderSettings, *, needs_key: bool) -> Provider:
    keys = house.keys
    return Provider(
        name=name,
        kind=one.kind,
        node=one.node,
        open=partial(_adapter, house, name, one, needs_key=needs_key),
        model=one.model,
        models=tuple(_info(name, model, told) for model, told in one.models.items()),
        missing=keys.missing(name) if needs_key else None,
        has_after_all=partial(keys.is_in_keyring, name) if needs_key else _has_nothing,
        unlock=keys.unlocker(name) if needs_key else None,
        must_answer=not needs_key,
        is_loopback=_is_loopback(one.url or ""),
    )


def _has_nothing() -> bool:
    return False


def _info(provider: str, model: str, told: ServedModel) -> ModelInfo:
    return ModelInfo(
        provider=provider,
        name=model,
        context_tokens=told.context_tokens,
        capabilities=told.capabilities,
    )


def _adapter(house: House, name: str, one: ProviderSettings, *, needs_key: bool) -> Adapter:
    from aiex.llm.adapters.http import no_key

    url = one.url or ""
    key = house.keys.reader(name) if needs_key else no_key
    match one.kind:
        case "openai":
            from aiex.llm.adapters.openai import OpenAIAdapter

            return OpenAIAdapter(api_key=key, base_url=url, provider=name, api=one.api)
        case "anthropic":
            from aiex.llm.adapters.anthropic import AnthropicAdapter

            return AnthropicAdapter(api_key=key, base_url=url, provider=name)
        case "ollama":
            from aiex.llm.adapters.ollama import OllamaAdapter

            return OllamaAdapter(base_url=url, provider=name)
        case "lm_studio":
            from aiex.llm.adapters.lm_studio import LMStudioAdapter

            return LMStudioAdapter(base_url=url, api_key=key, provider=name)


def _local(house: House) -> Provider:
    def adapter() -> Adapter:
        from aiex.llm.adapters.local import LocalAdapter

        return LocalAdapter(
            house.places.models,
            supervisor=house.supervisor,
            clock=house.clock,
            entropy=random.random,
            index=house.package_index,
            environment=environment_of_child(house.env),
            context_tokens=house.settings.model.local_window,
        )

    absent = find_spec("xllamacpp") is None
    return Provider(
        name="local",
        open=adapter,
        model=house.settings.model.local_model,
        missing="the extra is not installed: pip install 'aiex[local]'" if absent else None,
        is_loopback=True,
    )


def _is_loopback(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    return name in {"localhost", "::1"} or name.startswith("127.")
