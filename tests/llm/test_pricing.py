from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version

import genai_prices
import msgspec
import pytest
from genai_prices.data import providers

from aiex.core import Usage
from aiex.llm import Pricing, Rate, Rates, derive_table, encode_table, load_table

NOW = datetime(2026, 11, 24, tzinfo=UTC)
TABLE = load_table()


def test_the_shipped_table_is_what_the_installed_prices_give() -> None:
    if TABLE.version != f"genai-prices {version('genai-prices')}":
        pytest.skip(f"another genai-prices is installed than {TABLE.version}")
    assert encode_table(derive_table()) == encode_table(TABLE)
    assert derive_table() == TABLE


def names() -> list[tuple[str, str]]:
    """Return every model of the table that has a name; "ft:gpt-4o" stands for a pattern."""
    known = {(p, m.id) for p, models in TABLE.providers.items() for m in models}
    return [
        (provider.id, model.id)
        for provider in providers
        if provider.id in TABLE.providers
        for model in provider.models
        if model.is_match(model.id) and (provider.id, model.id) in known
    ]


def thresholds(provider: str, model: str) -> list[int]:
    """Return the sizes of prompts at which a price of the model may change, and those beside."""
    found = next(m for m in TABLE.providers[provider] if m.id == model)
    rates = [rate for one in found.rates for rate in (one.input, one.output, one.cache_read)]
    starts = {start for rate in rates if rate is not None for start, _ in rate.tiers}
    return [0, 1, 999, 900_000, *(start + by for start in starts for by in (-1, 0, 1))]


def usages(provider: str, model: str) -> list[Usage]:
    """Return 40 usages of every kind: cached, written to caches, heard, past every tier."""
    chance = random.Random(f"{provider}:{model}")
    found = []
    for total in chance.choices(thresholds(provider, model), k=40):
        cached = chance.choice([0, chance.randint(0, total)])
        five = chance.choice([0, chance.randint(0, total - cached)])
        hour = chance.randint(0, total - cached - five) if provider == "anthropic" else 0
        heard = chance.choice([0, chance.randint(0, total - cached - five - hour)])
        output = chance.randint(0, 20_000)
        found.append(
            Usage(
                input_tokens=total,
                output_tokens=output,
                cached_input_tokens=cached,
                cache_write_5m_tokens=five,
                cache_write_1h_tokens=hour,
                input_audio_tokens=heard,
                output_audio_tokens=chance.choice([0, chance.randint(0, output)]),
            )
        )
    return found


def theirs(provider: str, model: str, usage: Usage, when: datetime) -> Decimal:
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "cache_audio_read_tokens": 0,  # the wire of chat completions does not tell it
        "output_audio_tokens": usage.output_audio_tokens,
    }
    return genai_prices.calc_price(
        genai_prices.Usage(**counts), model, provider_id=provider, genai_request_timestamp=when
    ).total_price


@pytest.mark.parametrize(("provider", "model"), names())
def test_a_call_costs_what_genai_prices_says(provider: str, model: str) -> None:
    pricing = Pricing(TABLE)
    for usage in usages(provider, model):
        for when in (datetime(2024, 2, 3, tzinfo=UTC), NOW):
            ours = pricing.price(provider, model, usage, at=when)
            assert ours is not None
            assert ours.usd == theirs(provider, model, usage, when), (usage, when)
            quick = pricing.cost(provider, model, usage, at=when)
            assert quick == (ours.micros, ours.version), (usage, when)


@pytest.mark.parametrize(("provider", "model"), names())
def test_a_bound_is_what_plain_tokens_cost_and_never_less_with_a_cache(
    provider: str, model: str
) -> None:
    pricing = Pricing(TABLE)
    for usage in usages(provider, model):
        counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        plain = pricing.price(provider, model, Usage(**counts))
        writes = pricing.price(
            provider, model, Usage(**counts, cache_write_5m_tokens=usage.input_tokens)
        )
        reads = pricing.price(
            provider, model, Usage(**counts, cached_input_tokens=usage.input_tokens)
        )
        assert plain is not None
        assert writes is not None
        assert reads is not None
        bound = [
            pricing.bound(
                provider,
                model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                writes_cache=writes_cache,
            )
            for writes_cache in (False, True)
        ]
        assert bound[0] == plain.micros
        most = bound[1]
        assert most == max(plain.micros, writes.micros)
        assert most >= reads.micros


def test_a_provider_of_another_name_has_the_prices_of_its_kind() -> None:
    mine = {"work:own": Rates(input=Rate(Decimal("0.25")), output=Rate(Decimal(4)))}
    pricing = Pricing(TABLE, mine, kinds={"work": "openai", "shelf": "ollama"})
    usage = Usage(input_tokens=1000, output_tokens=10)
    assert pricing.cost("work", "gpt-4o", usage) == pricing.cost("openai", "gpt-4o", usage)
    assert pricing.cost("work", "own", usage) == (290, "user")
    assert pricing.cost("shelf", "anything", usage) == (0, "local")
    assert pricing.cost("work", "no-such-model", usage) is None
    assert pricing.window("work", "gpt-4o") == 128_000
    assert pricing.models("work") == pricing.models("openai")


def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    pricing = Pricing(TABLE)
    for n in range(5000):
        pricing.bound("openai", f"made up {n}", input_tokens=1, output_tokens=1)
    assert len(pricing._lines) <= 4096


def test_every_kind_of_price_is_among_those_compared() -> None:
    priced = [rates for models in TABLE.providers.values() for m in models for rates in m.rates]
    kinds = {f.name for f in msgspec.structs.fields(Rates)}
    for kind in kinds:
        assert any(getattr(rates, kind) is not None for rates in priced), kind
    assert any(rates.input.tiers for rates in priced)
    assert len(names()) > 100


def test_local_models_are_free_and_unknown_ones_unpriced() -> None:
    pricing = Pricing(TABLE)
    usage = Usage(input_tokens=1000, output_tokens=1000)
    local = pricing.price("ollama", "whatever", usage)
    assert local is not None
    assert (local.micros, local.version) == (0, "local")
    assert pricing.price("openai", "no-such-model", usage) is None
    assert pricing.price("somebody", "gpt-4o", usage) is None


def test_micro_dollars_are_rounded_half_up() -> None:
    rates = Rates(input=Rate(Decimal("0.5")), output=Rate(Decimal(0)))
    pricing = Pricing(TABLE, {"openai:mine": rates})
    price = pricing.price("openai", "mine", Usage(input_tokens=1))
    assert price is not None
    assert (price.usd, price.micros, price.version) == (Decimal("0.0000005"), 1, "user")


def test_dated_names_and_windows_are_known() -> None:
    pricing = Pricing(TABLE)
    assert pricing.window("anthropic", "claude-sonnet-4-5-20250929") is not None
    assert pricing.window("openai", "gpt-4o") == 128_000
    assert pricing.window("openai", "no-such-model") is None
