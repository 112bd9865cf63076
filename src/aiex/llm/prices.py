"""The shipped price table, and its derivation from genai-prices.

`python -m aiex.llm.prices FILE` derives the table anew and writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aiex.llm.pricing import ModelPrices, PriceTable, Rate, Rates

if TYPE_CHECKING:
    from datetime import date

__all__ = ["derive_table", "encode_table", "load_table"]

_SHIPPED = Path(__file__).with_name("prices.json")
_PROVIDERS = ("openai", "anthropic")
_WAYS: dict[str, Literal["=", "^", "*", "~"]] = {
    "ClauseEquals": "=",
    "ClauseStartsWith": "^",
    "ClauseContains": "*",
    "ClauseRegex": "~",
}
_TEXTS = ("equals", "starts_with", "contains", "regex")


def load_table(path: Path | None = None) -> PriceTable:
    """Return the table at *path*, or the shipped one for `None`."""
    return msgspec.json.decode((path or _SHIPPED).read_bytes(), type=PriceTable)


def encode_table(table: PriceTable) -> bytes:
    """Return *table* as it is shipped: a model a line, so that changes can be read."""
    lines = [f'{{"version":{msgspec.json.encode(table.version).decode()},"providers":{{']
    providers = list(table.providers.items())
    for number, (provider, models) in enumerate(providers):
        encoded = [msgspec.json.encode(model).decode() for model in models]
        lines.append(f'"{provider}":[\n' + ",\n".join(encoded) + "]")
        lines[-1] += "," if number < len(providers) - 1 else ""
    return ("\n".join([*lines, "}}"]) + "\n").encode()


def derive_table() -> PriceTable:
    """Return the prices that the installed genai-prices knows for the tokens of hosted models."""
    # 1.7 MB that only this needs
    from importlib.metadata import version  # noqa: PLC0415

    from genai_prices.data import providers  # noqa: PLC0415

    found = {provider.id: provider for provider in providers}
    return PriceTable(
        version=f"genai-prices {version('genai-prices')}",
        providers={
            name: tuple(m for model in found[name].models if (m := _model(model)) is not None)
            for name in _PROVIDERS
        },
    )


def _model(model: Any) -> ModelPrices | None:
    conditional = model.prices if isinstance(model.prices, list) else None
    dated = (
        [(None, model.prices)]
        if conditional is None
        else [(_since(one.constraint), one.prices) for one in conditional]
    )
    rates = tuple(_rates(since, prices) for since, prices in dated)
    if any(rate is None for rate in rates):
        return None
    return ModelPrices(
        id=model.id,
        match=tuple(_clauses(model.match)),
        rates=tuple(rate for rate in rates if rate is not None),
        window=model.context_window,
    )


def _since(constraint: Any) -> date | None:
    if constraint is None:
        return None
    since: date = constraint.start_date
    return since


def _rates(since: date | None, prices: Any) -> Rates | None:
    if prices.input_mtok is None:
        return None
    output = prices.output_mtok
    return Rates(
        since=since,
        input=_rate(prices.input_mtok),
        output=_rate(output) if output is not None else Rate(0 * _rate(prices.input_mtok).base),
        cache_read=_optional(prices.cache_read_mtok),
        cache_write=_optional(prices.cache_write_mtok),
        cache_write_1h=_optional(prices.cache_write_1h_mtok),
        input_audio=_optional(prices.input_audio_mtok),
        output_audio=_optional(prices.output_audio_mtok),
    )


def _optional(price: Any) -> Rate | None:
    return None if price is None else _rate(price)


def _rate(price: Any) -> Rate:
    if hasattr(price, "tiers"):
        return Rate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))
    return Rate(price)


def _clauses(match: Any) -> list[tuple[Literal["=", "^", "*", "~"], str]]:
    kind = type(match).__name__
    if kind == "ClauseOr":
        return [clause for part in match.or_ for clause in _clauses(part)]
    text = next(getattr(match, name) for name in _TEXTS if hasattr(match, name))
    return [(_WAYS[kind], text)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(encode_table(derive_table()))
