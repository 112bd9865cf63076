"""`model`: lists, pulls, chooses and tests models, and brings their prices up to date."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import anyio.to_thread
import msgspec

from aiex.assistant.models import Models, cost_of
from aiex.assistant.verbs import Run
from aiex.core import (
    Finished,
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
    InstalledModel,
    ModelFolder,
    Pricing,
    Providers,
    ProviderState,
    derive_table,
    encode_table,
)

__all__ = ["ModelVerb", "Pulls"]

_THOUSAND = Usage(input_tokens=1000), Usage(output_tokens=1000)  # below every long-context tier
_TEST = "Answer with the one word: ready"


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
        puller: Pulls,
        folder: ModelFolder,
        set_default: Callable[[str], Path],
        default: str | None,
        prices: Path,
    ) -> None:
        self._models = models
        self._providers = providers
        self._pricing = pricing
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
                )
            )
        return ProviderView(
            name=state.name,
            problem=state.problem or "",
            hint=state.hint or "",
            models=tuple(views),
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
        began = time.perf_counter()
        asked = await self._models.ask(
            run, chosen, [message], output_tokens=options.max_output_tokens or 64, streams=False
        )
        result = ModelResult(
            action="test",
            name=f"{asked.usage.provider}:{asked.usage.model}" if asked.reply else "",
            text="" if asked.reply is None else asked.reply.text.strip(),
            ms=round(1000 * (time.perf_counter() - began)),
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


def _dollars(amount: Decimal) -> str:
    return format(amount.normalize(), "f")
