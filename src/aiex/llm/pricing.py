"""What a call costs: exact arithmetic over a small table of prices.

The table is derived from genai-prices (MIT; `prices.LICENSE` beside it) by `aiex.llm.prices` and
keyed by its version; it holds standard prices, not those of batches or service tiers. Local
providers cost nothing; a model that is in no table is unpriced, which is not the same as free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec

from aiex.core import Usage

__all__ = ["LOCAL_PROVIDERS", "ModelPrices", "Price", "PriceTable", "Pricing", "Rate", "Rates"]

LOCAL_PROVIDERS = frozenset({"ollama", "lm_studio", "local"})
"""Providers on machines of one's own, whose calls cost nothing."""

_MILLION = Decimal(1_000_000)
_MOST_LINES = 4096
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


_Step = tuple[int, tuple[tuple[int, int], ...]]
"""Price of one kind of token in whole units, and the higher ones by the input above which they
hold."""


class _Line:
    """The prices of a model as whole numbers: what a hot path adds up.

    Args:
        rates: Its prices, later ones win.
        version: Where they are from.
    """

    def __init__(self, rates: Sequence[Rates], version: str) -> None:
        self.version = version
        self._since = [one.since for one in rates]
        self._scaled = [_Scaled(one) for one in rates]

    def on(self, at: datetime | None) -> _Scaled:
        """Return the prices of the day of *at*; the latest for `None`."""
        if at is None or len(self._scaled) == 1:
            return self._scaled[-1]
        day = at.astimezone(UTC).date()
        for since, scaled in zip(reversed(self._since), reversed(self._scaled), strict=True):
            if since is None or since <= day:
                return scaled
        return self._scaled[0]


class _Scaled:
    """Prices of one day, in units of which *one* make a micro-dollar."""

    def __init__(self, rates: Rates) -> None:
        self.one: int = 10 ** max(_decimals(rate) for rate in _all_rates(rates))
        self.input = self._step(rates.input)
        self.output = self._step(rates.output)
        self.cache_read = self._optional(rates.cache_read)
        self.cache_write = self._optional(rates.cache_write)
        self.cache_write_1h = self._optional(rates.cache_write_1h or rates.cache_write)
        self.input_audio = self._optional(rates.input_audio)
        self.output_audio = self._optional(rates.output_audio)

    def _step(self, rate: Rate) -> _Step:
        tiers = tuple((start, int(price * self.one)) for start, price in rate.tiers)
        return int(rate.base * self.one), tiers

    def _optional(self, rate: Rate | None) -> _Step | None:
        return None if rate is None else self._step(rate)

    def micros(self, units: int) -> int:
        """Return *units* as micro-dollars, rounded half up."""
        return (2 * units + self.one) // (2 * self.one)

    def cost(self, usage: Usage) -> int:
        """Return the micro-dollars of *usage*; each token is priced once, as `_cost` does."""
        total = usage.input_tokens
        plain, said, units = total, usage.output_tokens, 0
        if usage.output_audio_tokens and self.output_audio is not None:
            said -= usage.output_audio_tokens
            units += usage.output_audio_tokens * _at(self.output_audio, total)
        for step, count in (
            (self.cache_read, usage.cached_input_tokens),
            (self.cache_write, usage.cache_write_5m_tokens),
            (self.cache_write_1h, usage.cache_write_1h_tokens),
            (self.input_audio, usage.input_audio_tokens),
        ):
            if count and step is not None:
                plain -= count
                units += count * _at(step, total)
        units += max(0, plain) * _at(self.input, total) + max(0, said) * _at(self.output, total)
        return self.micros(units)


def _at(step: _Step, input_tokens: int) -> int:
    price, tiers = step
    for start, higher in tiers:
        if input_tokens > start:
            price = higher
    return price


def _all_rates(rates: Rates) -> list[Rate]:
    named = (
        *(rates.input, rates.output, rates.cache_read, rates.cache_write),
        *(rates.cache_write_1h, rates.input_audio, rates.output_audio),
    )
    return [rate for rate in named if rate is not None]


def _decimals(rate: Rate) -> int:
    exponents = [
        p.normalize().as_tuple().exponent for p in (rate.base, *(p for _, p in rate.tiers))
    ]
    return max(0, *(-exponent for exponent in exponents if isinstance(exponent, int)))


_FREE = _Line([Rates(input=Rate(Decimal(0)), output=Rate(Decimal(0)))], "local")


class Pricing:
    """Prices calls.

    Args:
        table: The table.
        overrides: The user's own prices, by `provider:model`; they win.
        kinds: Under which provider's name the table has the prices of a provider that is named
            otherwise, such as a second key of one.
    """

    def __init__(
        self,
        table: PriceTable,
        overrides: Mapping[str, Rates] | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        self._table = table
        self._overrides = dict(overrides or {})
        self._kinds = dict(kinds or {})
        self._lines: dict[tuple[str, str], _Line | None] = {}

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
        kind = self._kinds.get(provider, provider)
        return tuple(model.id for model in self._table.providers.get(kind, ()))

    def cost(
        self, provider: str, model: str, usage: Usage, *, at: datetime | None = None
    ) -> tuple[int, str] | None:
        """Return what *usage* costs in micro-dollars, as `price` does, and where that is from.

        `None` if the model is unpriced. The quick way: the prices are looked up once a model.
        """
        line = self._line(provider, model)
        return None if line is None else (line.on(at).cost(usage), line.version)

    def bound(
        self,
        provider: str,
        model: str,
        *,
        input_tokens: int,
        output_tokens: int,
        writes_cache: bool = False,
    ) -> int | None:
        """Return the most micro-dollars that a call costs; `None` if the model is unpriced.

        Args:
            provider: Name of the provider.
            model: Name of the model, as the provider knows it.
            input_tokens: Tokens of the prompt, at most.
            output_tokens: Tokens of the reply, at most.
            writes_cache: Whether the call asks the provider to keep the prompt in a cache, which
                costs more than plain input.
        """
        line = self._line(provider, model)
        if line is None:
            return None
        now = line.on(None)
        price = _at(now.input, input_tokens)
        if writes_cache and now.cache_write is not None:
            price = max(price, _at(now.cache_write, input_tokens))
        return now.micros(input_tokens * price + output_tokens * _at(now.output, input_tokens))

    def _line(self, provider: str, model: str) -> _Line | None:
        key = provider, model
        try:
            return self._lines[key]
        except KeyError:
            pass
        if len(self._lines) >= _MOST_LINES:  # whoever asks names the models
            self._lines.clear()
        line = self._lines[key] = self._made(provider, model)
        return line

    def _made(self, provider: str, model: str) -> _Line | None:
        rates = self._overrides.get(f"{provider}:{model}")
        if rates is not None:
            return _Line([rates], "user")
        if self._kinds.get(provider, provider) in LOCAL_PROVIDERS:
            return _FREE
        found = self._find(provider, model)
        return None if found is None else _Line(found.rates, self._table.version)

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
        rates = self._overrides.get(f"{provider}:{model}")
        version = "user"
        if rates is None and self._kinds.get(provider, provider) in LOCAL_PROVIDERS:
            return Price(usd=Decimal(0), micros=0, version="local")
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
        models = self._table.providers.get(self._kinds.get(provider, provider), ())
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
