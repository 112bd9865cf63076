"""What a call costs: exact arithmetic over a small table of prices.

The table is derived from genai-prices (MIT; `prices.LICENSE` beside it) by `aiex.llm.prices` and
keyed by its version; it holds standard prices, not those of batches or service tiers. Local
providers cost nothing; a model that is in no table is unpriced, which is not the same as free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec

from aiex.core import Usage

__all__ = ["LOCAL_PROVIDERS", "ModelPrices", "Price", "PriceTable", "Pricing", "Rate", "Rates"]

LOCAL_PROVIDERS = frozenset({"ollama", "lm_studio", "local"})
"""Providers on machines of one's own, whose calls cost nothing."""

_MILLION = Decimal(1_000_000)
_COMPACT_DATE = re.compile(r"-(20\d\d)(\d\d)(\d\d)$")


class Rate(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """Price of one kind of token.

    Attributes:
        base: USD per million tokens.
        tiers: Input tokens above which another price holds for all tokens, and that price;
            ascending.
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, input_tokens: int) -> Decimal:
        """Return the price that holds for a prompt of *input_tokens*."""
        price = self.base
        for start, higher in self.tiers:
            if input_tokens > start:
                price = higher
        return price


class Rates(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Prices of a model from a day on.

    Attributes:
        since: First day (UTC) on which they hold; `None` for always.
        input: Tokens of the prompt that are in no cache.
        output: Tokens of the reply.
        cache_read: Tokens read from a cache; `None` if they cost what input costs.
        cache_write: Tokens written to a cache for 5 minutes; `None` likewise.
        cache_write_1h: Tokens written to a cache for an hour; `None` likewise.
        input_audio: Sound in the prompt; `None` likewise.
        output_audio: Sound in the reply; `None` if it costs what output costs.
    """

    input: Rate
    output: Rate
    since: date | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    input_audio: Rate | None = None
    output_audio: Rate | None = None


class ModelPrices(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model of the table.

    Attributes:
        id: Its name.
        match: How names that mean it look: each a way (`=`, `^` starts with, `*` contains, `~`
            regular expression) and a lower-case text; one must hold.
        rates: Its prices, later ones win.
        window: Largest prompt in tokens; `None` if unknown.
    """

    id: str
    match: tuple[tuple[Literal["=", "^", "*", "~"], str], ...]
    rates: tuple[Rates, ...]
    window: int | None = None

    def means(self, name: str) -> bool:
        """Return whether *name*, in lower case, is a name of this model."""
        for way, text in self.match:
            if (
                (way == "=" and name == text)
                or (way == "^" and name.startswith(text))
                or (way == "*" and text in name)
                or (way == "~" and re.search(text, name))
            ):
                return True
        return False


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """All prices.

    Attributes:
        version: Where they are from, such as `genai-prices 0.2.3`.
        providers: Models by provider; the first that matches a name counts.
    """

    version: str
    providers: dict[str, tuple[ModelPrices, ...]]


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What something costs.

    Attributes:
        usd: Exact USD.
        micros: The same in micro-dollars, rounded half up.
        version: Where the prices are from.
    """

    usd: Decimal
    micros: int
    version: str


class Pricing:
    """Prices calls.

    Args:
        table: The table.
        overrides: The user's own prices, by `provider:model`; they win.
    """

    def __init__(self, table: PriceTable, overrides: Mapping[str, Rates] | None = None) -> None:
        self._table = table
        self._overrides = dict(overrides or {})

    @property
    def version(self) -> str:
        """Where the prices are from."""
        return self._table.version

    def knows(self, provider: str, model: str) -> bool:
        """Return whether *model* is the name of a model that is priced for *provider*."""
        return f"{provider}:{model}" in self._overrides or self._find(provider, model) is not None

    def window(self, provider: str, model: str) -> int | None:
        """Return the largest prompt in tokens; `None` if unknown."""
        found = self._find(provider, model)
        return None if found is None else found.window

    def models(self, provider: str) -> tuple[str, ...]:
        """Return the names of the models that are priced for *provider*."""
        return tuple(model.id for model in self._table.providers.get(provider, ()))

    def price(
        self, provider: str, model: str, usage: Usage, *, at: datetime | None = None
    ) -> Price | None:
        """Return what *usage* costs; `None` if the model is unpriced.

        Args:
            provider: Name of the provider.
            model: Name of the model, as the provider knows it.
            usage: What was billed.
            at: Aware time of the call; `None` for now's prices, the latest of the table.
        """
        if provider in LOCAL_PROVIDERS:
            return Price(usd=Decimal(0), micros=0, version="local")
        rates = self._overrides.get(f"{provider}:{model}")
        version = "user"
        if rates is None:
            found = self._find(provider, model)
            if found is None:
                return None
            rates = _rates_on(found, at)
            version = self._table.version
        usd = _cost(rates, usage)
        micros = int((usd * _MILLION).to_integral_value(ROUND_HALF_UP))
        return Price(usd=usd, micros=micros, version=version)

    def _find(self, provider: str, model: str) -> ModelPrices | None:
        models = self._table.providers.get(provider, ())
        name = model.lower()
        found = next((m for m in models if m.means(name)), None)
        if found is None:
            dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
            if dashed != name:
                found = next((m for m in models if m.means(dashed)), None)
        return found


def _rates_on(model: ModelPrices, at: datetime | None) -> Rates:
    if at is None:
        return model.rates[-1]
    day = at.astimezone(UTC).date()
    active = [rates for rates in model.rates if rates.since is None or rates.since <= day]
    return active[-1] if active else model.rates[0]


def _cost(rates: Rates, usage: Usage) -> Decimal:
    """Price each token once: what has no price of its own counts as plain input or output."""
    plain, said = usage.input_tokens, usage.output_tokens
    tokens: list[tuple[Rate, int]] = []
    if rates.output_audio is not None:
        tokens.append((rates.output_audio, usage.output_audio_tokens))
        said -= usage.output_audio_tokens
    # An hour's cache write without a price of its own is a cache write.
    hour = rates.cache_write_1h or rates.cache_write
    for rate, count in (
        (rates.cache_read, usage.cached_input_tokens),
        (rates.cache_write, usage.cache_write_5m_tokens),
        (hour, usage.cache_write_1h_tokens),
        (rates.input_audio, usage.input_audio_tokens),
    ):
        if rate is not None:
            tokens.append((rate, count))
            plain -= count
    tokens += [(rates.input, max(0, plain)), (rates.output, max(0, said))]
    total = sum((rate.at(usage.input_tokens) * count for rate, count in tokens), Decimal(0))
    return total / _MILLION
