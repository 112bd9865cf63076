from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version

import genai_prices
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


def calls() -> list[tuple[str, str, Usage, datetime]]:
    """400 calls of every kind: cached, written to caches, past every tier, at several dates."""
    chance = random.Random(7)
    names = [
        (p.id, m.id)
        for p in providers
        if p.id in TABLE.providers
        for m in p.models
        if m.is_match(m.id)  # "ft:gpt-4o" stands for a pattern and is no name itself
    ]
    known = {(p, m.id) for p, models in TABLE.providers.items() for m in models}
    names = [name for name in names if name in known]
    found = []
    for _ in range(400):
        provider, model = chance.choice(names)
        total = chance.choice([0, 1, 999, 99_999, 100_001, 199_999, 200_001, 272_001, 900_000])
        cached = chance.randint(0, total)
        hour = chance.randint(0, total - cached)
        five = chance.randint(0, total - cached - hour)
        if provider == "openai":
            hour = 0
        usage = Usage(
            input_tokens=total,
            output_tokens=chance.randint(0, 20_000),
            cached_input_tokens=cached,
            cache_write_5m_tokens=five,
            cache_write_1h_tokens=hour,
        )
        when = datetime(2024 + chance.randint(0, 2), chance.randint(1, 12), 2, tzinfo=UTC)
        found.append((provider, model, usage, when))
    return found


@pytest.mark.parametrize(("provider", "model", "usage", "when"), calls())
def test_a_call_costs_what_genai_prices_says(
    provider: str, model: str, usage: Usage, when: datetime
) -> None:
    ours = Pricing(TABLE).price(provider, model, usage, at=when)
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
    }
    theirs = genai_prices.calc_price(
        genai_prices.Usage(**counts), model, provider_id=provider, genai_request_timestamp=when
    )
    assert ours is not None
    assert ours.usd == theirs.total_price


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
