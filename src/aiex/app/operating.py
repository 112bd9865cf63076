"""What a node tells who looks after it: reports and metrics of what is behind the door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aiex.app.compose import House
from aiex.app.config import Loaded, values_of
from aiex.core import LimitReached, ModelCalled, Principal, PublishedBody, UsageError

__all__ = ["Operating"]

_MOST_CALLS = 1000
_OPEN = {"closed": 0, "half_open": 1, "open": 2}


class Operating:
    """Reports on one house.

    Args:
        house: What it is about.
        loaded: The settings in force.
    """

    def __init__(self, house: House, loaded: Loaded) -> None:
        self._house = house
        self._loaded = loaded
        self._calls: dict[tuple[str, str, str], int] = {}
        self._tokens: dict[tuple[str, str, str], int] = {}
        self._micros: dict[tuple[str, str], int] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self.reports = {
            "health": self.health,
            "interactions": self.interactions,
            "config": self.config,
        }

    async def models(self, principal: Principal) -> Sequence[str]:
        """Return what *principal* may ask: models as `provider:model`, and aliases."""
        return await self._house.coordinator().providers.names(principal)

    async def health(self, query: Mapping[str, str]) -> msgspec.Raw:
        """Return how everything stands that was asked of late."""
        _only(query)
        now = self._house.clock.monotonic()
        health = self._house.coordinator().health
        said = []
        for provider, model, _ in health.places():
            standing = health.standing(provider, model, now=now)
            stop, first = standing.stop, standing.first_token
            said.append(
                {
                    "provider": provider,
                    "model": model,
                    "state": standing.state,
                    "reason": "" if stop is None else stop.reason,
                    "for_seconds": 0.0 if stop is None else round(max(0.0, stop.until - now), 3),
                    "in_flight": standing.in_flight,
                    "first_token_ms": None if first is None else round(first * 1000),
                }
            )
        return self._raw({"endpoints": said, "lost_interactions": self._house.interactions.lost})

    async def interactions(self, query: Mapping[str, str]) -> msgspec.Raw:
        """Return calls of models, newest first, without what was said in them."""
        _only(query, "since", "until", "limit", "by")
        since, until = _time(query, "since"), _time(query, "until")
        calls = self._house.interactions
        await calls.flush()
        by: Any = query.get("by")
        if by is not None:
            return self._raw({"totals": await calls.totals(by=by, since=since, until=until)})
        limit = query.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and 0 < int(limit[:9]) <= _MOST_CALLS):
            raise UsageError(f"limit must be a number from 1 to {_MOST_CALLS}")
        found = await calls.list(since=since, until=until, limit=int(limit))
        bare = [msgspec.structs.replace(one, prompt=None, reply=None) for one in found]
        return self._raw({"interactions": bare})

    async def config(self, query: Mapping[str, str]) -> msgspec.Raw:
        """Return the settings in force and where each was set."""
        _only(query)
        said = [
            {"key": key, "value": value, "origin": origin}
            for key, _, value, origin in values_of(self._loaded)
        ]
        return self._raw({"settings": said})

    def _raw(self, said: object) -> msgspec.Raw:
        return self._house.redact.data(msgspec.Raw(msgspec.json.encode(said)))

    def count(self, body: PublishedBody) -> None:
        """Count *body*, which this process published, if it is a call of a model or a refusal."""
        if isinstance(body, LimitReached):
            named = (body.scope.partition(":")[0], body.what)
            self._refused[named] = self._refused.get(named, 0) + 1
        if not isinstance(body, ModelCalled):
            return
        key = (body.provider, body.model)
        self._calls[*key, body.outcome] = self._calls.get((*key, body.outcome), 0) + 1
        for kind, tokens in (("input", body.input_tokens), ("output", body.output_tokens)):
            if tokens:
                self._tokens[*key, kind] = self._tokens.get((*key, kind), 0) + tokens
        if body.cost_usd_micros:
            self._micros[key] = self._micros.get(key, 0) + body.cost_usd_micros

    def metrics(self) -> Sequence[str]:
        """Return samples in Prometheus's text form."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from _head("aiex_model_calls_total", "counter", "Calls of models that ended.")
        for (provider, model, outcome), count in sorted(self._calls.items()):
            labels = f'{_of(provider, model)},outcome="{_quoted(outcome)}"'
            yield f"aiex_model_calls_total{{{labels}}} {count}"
        yield from _head("aiex_model_tokens_total", "counter", "Tokens that were billed.")
        for (provider, model, kind), count in sorted(self._tokens.items()):
            labels = f'{_of(provider, model)},kind="{kind}"'
            yield f"aiex_model_tokens_total{{{labels}}} {count}"
        yield from _head("aiex_model_cost_usd_total", "counter", "Dollars that calls cost.")
        for (provider, model), micros in sorted(self._micros.items()):
            yield f"aiex_model_cost_usd_total{{{_of(provider, model)}}} {micros / 1e6:.6f}"
        yield from _head("aiex_limit_refusals_total", "counter", "Calls that a limit refused.")
        for (scope, what), count in sorted(self._refused.items()):
            yield f'aiex_limit_refusals_total{{scope="{_quoted(scope)}",what="{what}"}} {count}'
        health, now = self._house.coordinator().health, self._house.clock.monotonic()
        places = [
            (_of(provider, model), health.standing(provider, model, now=now))
            for provider, model, _ in health.places()
        ]
        yield from _head("aiex_breaker_state", "gauge", "0 closed, 1 half open, 2 open.")
        for labels, standing in places:
            yield f"aiex_breaker_state{{{labels}}} {_OPEN[standing.state]}"
        yield from _head("aiex_model_in_flight", "gauge", "Calls of models under way.")
        for labels, standing in places:
            yield f"aiex_model_in_flight{{{labels}}} {standing.in_flight}"
        yield from _head("aiex_interactions_lost_total", "counter", "Records that were lost.")
        yield f"aiex_interactions_lost_total {self._house.interactions.lost}"
        yield from _head("aiex_interactions_spilled_total", "counter", "Records put aside on disk.")
        yield f"aiex_interactions_spilled_total {self._house.interactions.put_aside}"
        limits = self._house.limits().metrics()
        if limits is not None:
            yield from _head("aiex_limit_calls_total", "counter", "Calls under limits, by outcome.")
            for outcome in ("reserved", "refused", "shared", "expired"):
                value = getattr(limits, outcome)
                yield f'aiex_limit_calls_total{{outcome="{outcome}"}} {value}'
            yield from _head("aiex_limit_reservations", "gauge", "Reservations not settled.")
            yield f"aiex_limit_reservations {limits.open}"
            yield from _head("aiex_limit_store_up", "gauge", "Whether the store answered last.")
            yield f"aiex_limit_store_up {int(limits.has_store)}"
        yield from _head("aiex_events_dropped_total", "counter", "Published events that were lost.")
        yield f"aiex_events_dropped_total {self._house.services.bulletin.dropped}"


def _only(query: Mapping[str, str], *known: str) -> None:
    unknown = set(query) - set(known)
    if unknown:
        hint = f"known: {', '.join(known)}" if known else None
        raise UsageError(f"{min(unknown)!r} is not asked for here", hint=hint)


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(f"{name} must be a time with its zone, such as 2026-01-31T08:00:00Z")
    return found


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _of(provider: str, model: str) -> str:
    return f'provider="{_quoted(provider)}",model="{_quoted(model)}"'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
