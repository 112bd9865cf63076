"""Models of a node, asked from another machine: the node chooses, limits, records and bills."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec

from aiex.core import (
    AiexError,
    CompleteArguments,
    Entropy,
    Event,
    Failed,
    Finish,
    Finished,
    ModelArguments,
    ModelCall,
    ModelChosen,
    ModelDelta,
    ModelEnded,
    ModelResult,
    ModelView,
    Principal,
    Progress,
    Request,
    Restarted,
    RunOptions,
    UnavailableError,
    error_from_info,
    new_id,
)
from aiex.llm.coordinator import CallEvent
from aiex.llm.estimates import estimate_of
from aiex.llm.ports import Endpoint, Estimate
from aiex.llm.pricing import Pricing
from aiex.llm.tokens import TokenCounter
from aiex.runtime import Clock

__all__ = ["NodeModels"]

_MOST_RESTARTS = 1

Run = Callable[[Request], AsyncGenerator[Event, None]]


class NodeModels:
    """Stands where a coordinator would: what it is asked goes to a node.

    Args:
        run: Lets the node run a request and yields its events.
        principal: Who asks, as this machine knows it; the node goes by the token.
        is_loopback: Whether the node is reached without leaving this machine.
        pricing: Prices dry runs.
        counter: Counts tokens before anything is sent.
        clock: Where time comes from.
    """

    def __init__(
        self,
        run: Run,
        *,
        principal: Principal,
        is_loopback: bool,
        pricing: Pricing,
        counter: TokenCounter,
        clock: Clock,
    ) -> None:
        self._run = run
        self._principal = principal
        self._is_loopback = is_loopback
        self._clock = clock
        self._random_bytes = Entropy()
        self.pricing = pricing
        self.counter = counter

    @property
    def providers(self) -> NodeModels:
        """Who can be asked: the node knows."""
        return self

    async def choose(self, options: RunOptions) -> Sequence[Endpoint]:
        """Return who may answer, as the node lists them; one alone when it was named.

        Raises:
            UnavailableError: The node serves nothing, or may not be asked.
        """
        if options.offline and not self._is_loopback:
            raise UnavailableError(
                "the server is on another machine, and --offline forbids to ask it",
                hint="leave --offline out, or unset AIEX_SERVER",
            )
        listed = await self._listed()
        served = [
            _endpoint(provider.name, view)
            for provider in listed.providers
            if not provider.problem and options.provider in {None, "", provider.name}
            for view in sorted(provider.models, key=lambda view: not view.is_default)
        ]
        name = options.model
        if name in listed.aliases:
            return [Endpoint(provider="", model=name, context_tokens=_window(served))]
        if name:
            named = [e for e in served if name in {e.model, f"{e.provider}:{e.model}"}]
            return named[:1] or [_unlisted(name)]
        if not served:
            told = [f"{one.name}: {one.problem}" for one in listed.providers if one.problem]
            raise UnavailableError(
                "the server has no model to ask" + (f" ({'; '.join(told)})" if told else ""),
                hint="aiex model list shows what it has",
            )
        return served[:1]

    async def _listed(self) -> ModelResult:
        arguments = msgspec.json.encode(ModelArguments(action="list"))
        request = self._request("model", arguments, options=RunOptions())
        async with aclosing(self._run(request)) as events:
            async for event in events:
                if isinstance(event.body, Failed):
                    raise error_from_info(event.body.error)
                if isinstance(event.body, Finished):
                    return msgspec.json.decode(event.body.data, type=ModelResult)
        raise UnavailableError("the server did not say which models it has", transient=True)

    def estimate(self, call: ModelCall, endpoints: Sequence[Endpoint]) -> list[Estimate]:
        """Return what *call* would cost at each of *endpoints*, by the prices known here."""
        return [
            estimate_of(call, endpoint, counter=self.counter, pricing=self.pricing)
            for endpoint in endpoints
        ]

    async def stream(
        self,
        call: ModelCall,
        endpoints: Sequence[Endpoint],
        *,
        request: Request,
        restarts: bool = False,
    ) -> AsyncGenerator[CallEvent, None]:
        """Yield what happens until a reply is complete; see `Coordinator.stream`.

        Raises:
            AiexError: What the node failed with.
        """
        options = request.options
        # Where nothing was named the node is left to choose, so that it can go on elsewhere.
        is_named = bool(options.model or options.provider)
        first = endpoints[0]
        name = f"{first.provider}:{first.model}" if first.provider else first.model
        arguments = CompleteArguments(
            model=name if is_named else "",
            stream=True,
            max_output_tokens=call.max_output_tokens,
            call=call,
        )
        encoded = msgspec.json.encode(arguments)
        for attempt in range(1 + _MOST_RESTARTS):
            asked = self._request("complete", encoded, options=options, deadline_of=request)
            heard = _Heard()
            try:
                async with aclosing(self._run(asked)) as events:
                    async for event in events:
                        body = event.body
                        if isinstance(body, Failed):
                            raise error_from_info(body.error)
                        if isinstance(body, ModelDelta):
                            heard.delta(body)
                            yield body.delta
                        elif isinstance(body, Progress | ModelChosen | Restarted | ModelEnded):
                            heard.chosen = body if isinstance(body, ModelChosen) else heard.chosen
                            yield body
            except AiexError as error:
                may_restart = restarts and attempt < _MOST_RESTARTS and error.transient
                if not (may_restart and heard.has_content and heard.chosen is not None):
                    raise
                yield Restarted(
                    attempt=attempt + 2,
                    provider=heard.chosen.provider,
                    model=heard.chosen.model,
                    reason=error.code,
                )
                continue
            return

    def _request(
        self,
        verb: str,
        arguments: bytes,
        *,
        options: RunOptions,
        deadline_of: Request | None = None,
    ) -> Request:
        return Request(
            id=new_id("req", now=self._clock.now(), entropy=self._random_bytes(10)),
            verb=verb,
            arguments=msgspec.Raw(arguments),
            principal=self._principal if deadline_of is None else deadline_of.principal,
            deadline=None if deadline_of is None else deadline_of.deadline,
            options=options,
        )


class _Heard:
    """What came of an attempt so far."""

    def __init__(self) -> None:
        self.chosen: ModelChosen | None = None
        self.has_content = False

    def delta(self, body: ModelDelta) -> None:
        self.has_content = self.has_content or not isinstance(body.delta, Finish)


def _endpoint(provider: str, view: ModelView) -> Endpoint:
    return Endpoint(
        provider=provider,
        model=view.name.removeprefix(f"{provider}:"),
        context_tokens=view.context_tokens,
        capabilities=view.capabilities,
    )


def _unlisted(name: str) -> Endpoint:
    """Return what is not listed, such as a model of a hosted provider: the node says if it is."""
    provider, colon, model = name.partition(":")
    return Endpoint(provider=provider, model=model) if colon else Endpoint(provider="", model=name)


def _window(served: Sequence[Endpoint]) -> int | None:
    return min((e.context_tokens for e in served if e.context_tokens is not None), default=None)
