"""`model`: lists, pulls, chooses and tests models, and brings their prices up to date."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import anyio.to_thread
import msgspec

from aiex.assistant.models import Asked, Models, cost_of
from aiex.assistant.verbs import Run
from aiex.core import (
    Finished,
    HealthView,
    KnownModelView,
    Message,
    ModelArguments,
    ModelResult,
    ModelView,
    Progress,
    ProviderView,
    TextPart,
    Usage,
    UsageError,
    UsageTotal,
)
from aiex.llm import (
    CATALOGUE,
    Health,
    InstalledModel,
    ModelFolder,
    Pricing,
    Providers,
    ProviderState,
    derive_table,
    encode_table,
)
from aiex.runtime import Clock

__all__ = ["ModelVerb", "Pulls"]

_THOUSAND = Usage(input_tokens=1000), Usage(output_tokens=1000)  # below every long-context tier
_TEST = "Count from one to twenty, in words."
_FEWEST_TOKENS = 5  # below, the time between two is no rate


class Pulls(Protocol):
    """Gets embedded models."""

    def pull(
        self, name: str, *, address: str | None = None, sha256: str | None = None
    ) -> AsyncGenerator[Progress, None]:
        """Get the model *name*, yielding how far it is."""


class ModelVerb:
    """The verb.

    Args:
        models: Asks models.
        providers: Who could be asked.
        pricing: Knows prices.
        health: Knows who is asked, and how busy it is.
        clock: Where time comes from.
        strategy: Name of the strategy in force.
        puller: Gets embedded models.
        folder: Where they are.
        set_default: Writes the model that is asked when none is named into the user's settings
            and returns the file.
        default: The model that is asked when none is named; `None` to choose.
        prices: File of the price table that `update` writes.
    """

    name = "model"
    arguments_type = ModelArguments

    def __init__(
        self,
        *,
        models: Models,
        providers: Providers,
        pricing: Pricing,
        health: Health,
        clock: Clock,
        strategy: str,
        puller: Pulls,
        folder: ModelFolder,
        set_default: Callable[[str], Path],
        default: str | None,
        prices: Path,
    ) -> None:
        self._models = models
        self._providers = providers
        self._pricing = pricing
        self._health = health
        self._clock = clock
        self._strategy = strategy
        self._puller = puller
        self._folder = folder
        self._set_default = set_default
        self._default = default
        self._prices = prices

    async def run(self, arguments: ModelArguments, run: Run) -> Finished:
        """Do what was asked for."""
        usage = UsageTotal()
        match arguments.action:
            case "list":
                result = await self._list(run)
            case "pull" | "use" | "update" if run.request.options.dry_run:
                raise UsageError(
                    f"{arguments.action} has no dry run", hint="aiex model list shows what is there"
                )
            case "pull":
                result = await self._pull(arguments, run)
            case "use":
                result = await self._use(arguments, run)
            case "test":
                result, usage = await self._test(arguments, run)
            case "update":
                result = await self._update()
        return Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)), usage=usage)

    async def _list(self, run: Run) -> ModelResult:
        states = await self._providers.states(offline=run.request.options.offline)
        here = {m.name: m for m in await anyio.to_thread.run_sync(self._folder.installed)}
        return ModelResult(
            action="list",
            providers=tuple(self._provider(state, here) for state in states),
            known=tuple(
                KnownModelView(
                    name=model.name,
                    size_bytes=model.size_bytes,
                    licence=model.licence,
                    is_here=model.name in here,
                )
                for model in CATALOGUE.values()
            ),
            aliases={
                name: tuple(tuple(step) for step in steps)
                for name, steps in self._providers.aliases.items()
            },
            strategy=self._strategy,
        )

    def _provider(self, state: ProviderState, here: dict[str, InstalledModel]) -> ProviderView:
        views = []
        for model in state.models:
            if model.kind == "embedding":
                continue
            name = f"{state.name}:{model.name}"
            costs = [self._pricing.price(state.name, model.name, usage) for usage in _THOUSAND]
            prices = [None if cost is None else _dollars(cost.usd * 1000) for cost in costs]
            file = here.get(model.name) if state.name == "local" else None
            views.append(
                ModelView(
                    name=name,
                    context_tokens=model.context_tokens
                    or self._pricing.window(state.name, model.name),
                    size_bytes=model.size_bytes,
                    is_default=name == self._default,
                    sha256=None if file is None else file.sha256,
                    input_usd_per_million=prices[0],
                    output_usd_per_million=prices[1],
                    capabilities=model.capabilities,
                    health=self._standing(state.name, model.name),
                )
            )
        return ProviderView(
            name=state.name,
            node=state.node,
            health=self._standing(state.name, None),
            problem=state.problem or "",
            hint=state.hint or "",
            models=tuple(views),
        )

    def _standing(self, provider: str, model: str | None) -> HealthView:
        now, wall = self._clock.monotonic(), self._clock.now()
        standing = self._health.standing(provider, model, now=now)
        stop, first = standing.stop, standing.first_token
        return HealthView(
            state=standing.state,
            reason="" if stop is None else stop.reason,
            since=None if stop is None else wall + timedelta(seconds=stop.since - now),
            until=None if stop is None else wall + timedelta(seconds=stop.until - now),
            in_flight=standing.in_flight,
            first_token_ms=None if first is None else round(1000 * first),
        )

    async def _pull(self, arguments: ModelArguments, run: Run) -> ModelResult:
        name = _named(arguments).removeprefix("local:")
        if run.request.options.offline and arguments.url is None:
            raise UsageError("--offline and pull contradict each other", hint="leave one out")
        fetched = False
        steps = self._puller.pull(name, address=arguments.url, sha256=arguments.sha256)
        async with aclosing(steps) as progress:
            async for step in progress:
                fetched = True
                await run.emit(step)
        model = await anyio.to_thread.run_sync(self._folder.find, name)
        if model is None:
            raise UsageError(f"{name} was pulled and has gone again")
        return ModelResult(
            action="pull",
            name=f"local:{name}",
            file=str(model.path),
            sha256=model.sha256 or "",
            was_there=not fetched,
        )

    async def _use(self, arguments: ModelArguments, run: Run) -> ModelResult:
        options = msgspec.structs.replace(run.request.options, model=_named(arguments))
        best = (await self._models.choose(options)).endpoints[0]
        name = f"{best.provider}:{best.model}"
        file = await anyio.to_thread.run_sync(self._set_default, name)
        return ModelResult(action="use", name=name, file=str(file))

    async def _test(self, arguments: ModelArguments, run: Run) -> tuple[ModelResult, UsageTotal]:
        options = run.request.options
        if arguments.name is not None:
            options = msgspec.structs.replace(options, model=arguments.name)
        chosen = await self._models.choose(options)
        message = Message(role="user", parts=(TextPart(text=_TEST),))
        began = self._clock.monotonic()
        asked = await self._models.ask(
            run, chosen, [message], output_tokens=options.max_output_tokens or 128, streams=False
        )
        first = asked.first_token
        result = ModelResult(
            action="test",
            name=f"{asked.usage.provider}:{asked.usage.model}" if asked.reply else "",
            text="" if asked.reply is None else asked.reply.text.strip(),
            ms=round(1000 * (self._clock.monotonic() - began)),
            first_token_ms=None if first is None else round(1000 * first),
            tokens_per_second=_rate(asked),
            estimates=tuple(cost_of(estimate) for estimate in asked.estimates),
        )
        return result, asked.usage

    async def _update(self) -> ModelResult:
        def derive() -> tuple[str, int]:
            table = derive_table()
            self._prices.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = self._prices.with_suffix(".part")
            part.write_bytes(encode_table(table))
            part.replace(self._prices)
            return table.version, sum(len(models) for models in table.providers.values())

        version, count = await anyio.to_thread.run_sync(derive)
        return ModelResult(
            action="update",
            file=str(self._prices),
            price_version=version,
            priced_models=count,
            was_there=version == self._pricing.version,
        )


def _named(arguments: ModelArguments) -> str:
    if arguments.name is None:
        raise UsageError("which model?", hint="aiex model list")
    return arguments.name


def _rate(asked: Asked) -> float | None:
    """Return the tokens a second after the first one; `None` where that cannot be told."""
    usage = None if asked.reply is None else asked.reply.finish.usage
    if usage is None or usage.output_tokens < _FEWEST_TOKENS or asked.speaking <= 0:
        return None
    return round((usage.output_tokens - 1) / asked.speaking, 1)


def _dollars(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
