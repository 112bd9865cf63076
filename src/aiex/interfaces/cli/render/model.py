"""Models and providers, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import Finished, HealthView, ModelResult, ModelView
from aiex.interfaces.cli.console import Console
from aiex.interfaces.cli.render.costs import costs_in_words

__all__ = ["show"]

_MOST = 12


def show(finished: Finished, console: Console) -> None:
    """Write what `model` answered."""
    result = msgspec.json.decode(finished.data, type=ModelResult)
    match result.action:
        case "list":
            _list(result, console)
        case "pull":
            was = "is there already" if result.was_there else "was fetched and verified"
            console.line(f"{result.name} {was}: {result.file}")
        case "use":
            console.line(f"{result.name} is asked from now on; set in {result.file}")
        case "test" if result.estimates:
            for line in costs_in_words(result.estimates):
                console.line(line)
        case "test":
            console.line(f"{result.name} answered in {result.ms} ms: {result.text}")
            for line in _speed(result):
                console.line(f"  {line}")
        case "update":
            console.line(f"prices of {result.priced_models} models, {result.price_version}")


def _list(result: ModelResult, console: Console) -> None:
    for provider in result.providers:
        where = "" if provider.node == "local" else f"  on {provider.node}"
        console.line(provider.name + where, "bold")
        if provider.health.state != "closed":
            console.line(f"  {_health(provider.health)}", "yellow")
        if provider.problem:
            console.line(f"  {provider.problem}", "yellow")
        if provider.hint:
            console.line(f"  {provider.hint}", "dim")
        for model in provider.models[:_MOST]:
            console.line(f"  {_line(model)}", *(("green",) if model.is_default else ()))
        if len(provider.models) > _MOST:
            console.line(f"  and {len(provider.models) - _MOST} more; --json lists them", "dim")
    for alias, steps in result.aliases.items():
        chain = ", then ".join(" or ".join(step) for step in steps)
        console.line(f"{alias} stands for {chain}")
    if result.strategy and result.strategy != "in_order":
        console.line(f"chosen by {result.strategy}", "dim")
    missing = [known for known in result.known if not known.is_here]
    for known in missing:
        size = f"{known.size_bytes / 1e6:.0f} MB"
        console.note(f"can be fetched: aiex model pull {known.name}  ({size}, {known.licence})")


def _line(model: ModelView) -> str:
    parts = [model.name]
    if model.context_tokens:
        parts.append(f"{model.context_tokens} tokens")
    if model.input_usd_per_million is not None:
        parts.append(
            f"${model.input_usd_per_million} in, ${model.output_usd_per_million} out a million"
        )
    if model.size_bytes:
        parts.append(f"{model.size_bytes / 1e6:.0f} MB")
    if model.is_default:
        parts.append("asked when none is named")
    if words := _health(model.health):
        parts.append(words)
    return "  ".join(parts)


def _health(health: HealthView) -> str:
    """Return how it stands in words; nothing for what is well and idle."""
    parts = []
    if health.state != "closed":
        since = f" since {health.since:%H:%M:%S} UTC" if health.since is not None else ""
        parts.append(f"{health.state.replace('_', '-')}{since}: {health.reason}")
    if health.in_flight:
        parts.append(f"{health.in_flight} in flight")
    if health.first_token_ms is not None:
        parts.append(f"first token in {health.first_token_ms} ms")
    return "  ".join(parts)


def _speed(result: ModelResult) -> list[str]:
    lines = []
    if result.first_token_ms is not None:
        lines.append(f"first token in {result.first_token_ms} ms")
    if result.tokens_per_second is not None:
        lines.append(f"{result.tokens_per_second:g} tokens/s")
    return lines
