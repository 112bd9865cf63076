"""The next reply of a model, for a client in its own wire or for a call of our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

import msgspec

from aiex.core import (
    CompleteArguments,
    EventBody,
    Finished,
    ModelCall,
    ModelChosen,
    ModelDelta,
    ModelEnded,
    Notice,
    Passthrough,
    Progress,
    Request,
    Restarted,
    UsageError,
    WireBytes,
)
from aiex.llm import Coordinator, Relayed, total_of

__all__ = ["Complete", "Relays"]

_NOTHING = msgspec.Raw(b"{}")


class Relays(Protocol):
    """Makes what a coordinator asks of what a client sent."""

    def of(self, arguments: CompleteArguments, sent: Passthrough) -> Relayed:
        """Return what is asked.

        Raises:
            UsageError: The client's wire has no such thing.
        """


class Complete:
    """Satisfies `StreamVerb`: a reply, the tokens of a prompt, or vectors of texts.

    Args:
        coordinator: Asks models.
        relays: Reads what clients sent.
    """

    def __init__(self, coordinator: Coordinator, relays: Relays) -> None:
        self._coordinator = coordinator
        self._relays = relays
        self.name = "complete"
        self.arguments_type = CompleteArguments

    def stream(
        self, arguments: CompleteArguments, request: Request
    ) -> AsyncGenerator[EventBody, None]:
        """Yield the answer; see `assistant.verbs.StreamVerb.stream`."""
        if request.passthrough is not None:
            return self._relay(arguments, request, request.passthrough)
        if arguments.call is None:
            raise UsageError("complete needs a call, or what a client sent in its wire")
        if arguments.kind == "embed":
            raise UsageError(
                "vectors are asked for in the wire openai_embeddings", hint="POST /v1/embeddings"
            )
        if arguments.kind == "count":
            return self._count(arguments, request, arguments.call)
        return self._call(arguments, request, arguments.call)

    async def _relay(
        self, arguments: CompleteArguments, request: Request, sent: Passthrough
    ) -> AsyncGenerator[EventBody, None]:
        relayed = self._relays.of(arguments, sent)
        endpoints = await self._coordinator.providers.route(
            arguments.model, principal=request.principal, options=request.options
        )
        answer = self._coordinator.relay(relayed, endpoints, request=request)
        ended: ModelEnded | None = None
        calls = 0
        is_told = False
        try:
            async for item in answer:
                if type(item) is ModelEnded:
                    ended = item
                elif type(item) is ModelChosen:
                    calls += 1
                    is_told = False
                elif not is_told and type(item) is WireBytes:
                    is_told = True
                    if relayed.ignored:
                        yield Notice(text=f"not passed on: {', '.join(relayed.ignored)}")
                yield item
        finally:
            await answer.aclose()
        yield self._finished(ended, calls)

    async def _call(
        self, arguments: CompleteArguments, request: Request, call: ModelCall
    ) -> AsyncGenerator[EventBody, None]:
        endpoints = await self._coordinator.providers.route(
            arguments.model or call.model, principal=request.principal, options=request.options
        )
        ended: ModelEnded | None = None
        calls = 0
        events = self._coordinator.stream(call, endpoints, request=request)
        async with aclosing(events):
            async for event in events:
                if not isinstance(event, Progress | ModelChosen | Restarted | ModelEnded):
                    yield ModelDelta(delta=event)
                    continue
                calls += isinstance(event, ModelChosen)
                if isinstance(event, ModelEnded):
                    ended = event
                yield event
        yield self._finished(ended, calls)

    async def _count(
        self, arguments: CompleteArguments, request: Request, call: ModelCall
    ) -> AsyncGenerator[EventBody, None]:
        providers = self._coordinator.providers
        endpoints = await providers.route(
            arguments.model or call.model, principal=request.principal, options=request.options
        )
        asked = msgspec.structs.replace(call, model=endpoints[0].model)
        adapter = await providers.adapter(endpoints[0].provider)
        tokens = await adapter.count_tokens(asked)
        if tokens is None:
            tokens = self._coordinator.counter.call(asked)
        yield Finished(status="ok", data=msgspec.Raw(msgspec.json.encode({"input_tokens": tokens})))

    def _finished(self, ended: ModelEnded | None, calls: int) -> Finished:
        version = self._coordinator.pricing.version
        usage = total_of([] if ended is None else [ended], calls, version)
        return Finished(status="ok", data=_NOTHING, usage=usage)
