"""A client's own wire goes the way of every call: one loop, one failover, one record."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from aiex.core import (
    AiexError,
    BudgetError,
    DeadlineError,
    Event,
    Finish,
    IncompleteStreamError,
    ModelCall,
    ModelChosen,
    ModelEnded,
    OverloadedError,
    Principal,
    RateLimitError,
    RefusedError,
    Request,
    TextDelta,
    Usage,
    WireBytes,
)
from aiex.llm import (
    Adapter,
    CallRecord,
    Coordinator,
    Endpoint,
    Estimate,
    Pricing,
    Provider,
    Providers,
    Rate,
    Rates,
    Reservation,
    Timeouts,
    TokenCounter,
    load_table,
)
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.llm.ports import Operation
from aiex.runtime import SystemClock
from aiex.testing.clock import FakeClock
from aiex.testing.replay import Answer, ReplayServer
from aiex.testing.scripted import Delay, Hold, ScriptedProvider, Step, says

pytestmark = pytest.mark.anyio

BUSY = OverloadedError("busy", status=529)
PRICING = Pricing(
    load_table(), {"paid:paid-1": Rates(input=Rate(Decimal(1)), output=Rate(Decimal(10)))}
)


def a_request() -> Request:
    return Request(
        id="req_1",
        verb="complete",
        arguments=msgspec.Raw(b"{}"),
        principal=Principal(user="ada", interface="http"),
    )


class Records:
    """Keeps the records of all attempts."""

    def __init__(self) -> None:
        self.kept: list[CallRecord] = []

    async def record(self, call: CallRecord) -> None:
        self.kept.append(call)

    @property
    def outcomes(self) -> list[str]:
        return [call.outcome for call in self.kept]


class Ledger:
    """A limiter that keeps what was settled, and may refuse."""

    def __init__(self, refusal: AiexError | None = None) -> None:
        self.refusal = refusal
        self.settled: list[tuple[Usage | None, int | None]] = []

    async def reserve(self, principal: Principal, endpoint: Endpoint, **_: Any) -> Reservation:
        if self.refusal is not None:
            raise self.refusal
        return self

    async def settle(self, usage: Usage | None, *, cost_usd_micros: int | None) -> None:
        self.settled.append((usage, cost_usd_micros))


class Asked:
    """A client that asks in a wire whose every word is a text delta's."""

    affinity = ""
    operation: Operation = "chat"
    needs: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.said = 0

    def estimate(self, endpoint: Endpoint) -> Estimate:
        return Estimate(
            provider=endpoint.provider,
            model=endpoint.model,
            input_tokens=7,
            output_tokens=100,
            cost_usd_micros=PRICING.bound(
                endpoint.provider, endpoint.model, input_tokens=7, output_tokens=100
            ),
            fits=None,
        )

    async def open(
        self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
    ) -> AsyncGenerator[WireBytes | Finish, None]:
        self.opened.append(endpoint.provider)
        call = ModelCall(model=endpoint.model, messages=())
        async with aclosing(adapter.stream(call, timeouts=timeouts)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finish):
                    yield delta
                elif isinstance(delta, TextDelta):
                    self.said += 1
                    yield WireBytes(data=delta.text.encode())

    def spoken(self) -> int:
        return self.said

    def failure(self, error: AiexError) -> bytes:
        return f"<{error.code}>".encode()


class Relay:
    """A coordinator over scripted providers, and a client of it."""

    def __init__(
        self, *providers: ScriptedProvider, clock: FakeClock | None = None, limiter: Any = None
    ) -> None:
        self.clock = clock or FakeClock()
        self.records = Records()
        self.asked = Asked()
        self.waits: list[float] = []
        self.adapters = providers
        self.coordinator = Coordinator(
            Providers([_opened(p) for p in providers], pricing=PRICING),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=self.records,
            clock=self.clock,
            entropy=lambda: 0.5,
            limiter=limiter,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    @property
    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(provider=p.provider, model=f"{p.provider}-1", preference=n)
            for n, p in enumerate(self.adapters)
        ]

    def stream(self, request: Request | None = None) -> AsyncGenerator[Any, None]:
        return self.coordinator.relay(self.asked, self.endpoints, request=request or a_request())

    async def ask(self, into: list[Any] | None = None) -> list[Any]:
        events = into if into is not None else []
        async with self.coordinator, aclosing(self.stream()) as stream:
            async for event in stream:
                events.append(event)
        return events


def _opened(adapter: ScriptedProvider) -> Provider:
    return Provider(name=adapter.provider, open=lambda: adapter, is_loopback=True)


def provider(name: str, *scripts: Iterable[Step], **more: Any) -> ScriptedProvider:
    return ScriptedProvider(*scripts, provider=name, **more)


def data_of(events: Sequence[Event]) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, WireBytes))


async def test_bytes_come_between_who_was_chosen_and_what_it_took() -> None:
    relay = Relay(
        provider("paid", says("All is well.", usage=Usage(input_tokens=7, output_tokens=3)))
    )
    events = await relay.ask()
    assert [type(e) for e in events] == [ModelChosen, *[WireBytes] * 3, ModelEnded]
    assert data_of(events) == b"All is well."
    assert (events[-1].input_tokens, events[-1].cost_usd_micros) == (7, 37)
    [record] = relay.records.kept
    assert (record.outcome, record.estimated_input_tokens, record.finish) == ("ok", 7, "stop")


async def test_the_record_says_what_was_asked_for() -> None:
    relay = Relay(provider("paid", says("All is well.")))
    relay.asked.operation = "embeddings"
    await relay.ask()
    assert [record.operation for record in relay.records.kept] == ["embeddings"]


async def test_before_the_first_bytes_another_endpoint_takes_over() -> None:
    relay = Relay(provider("first", [BUSY]), provider("second", says("Mine.")))
    events = await relay.ask()
    assert data_of(events) == b"Mine."
    assert relay.asked.opened == ["first", "first", "first", "second"]
    assert relay.records.outcomes == ["overloaded"] * 3 + ["ok"]


async def test_an_answer_that_breaks_off_says_so_in_its_own_wire_and_is_counted() -> None:
    relay = Relay(
        provider("paid", [TextDelta(text="Hel"), RateLimitError("slow down")]),
        provider("second", says("Mine.")),
    )
    events: list[Any] = []
    with pytest.raises(IncompleteStreamError) as caught:
        await relay.ask(events)
    assert data_of(events) == b"Hel<rate_limit>"
    assert relay.asked.opened == ["paid"]
    assert caught.value.usage == Usage(input_tokens=7, output_tokens=1)
    assert isinstance(events[-1], ModelEnded)
    assert (events[-1].is_estimate, events[-1].cost_usd_micros) == (True, 17)
    [record] = relay.records.kept
    assert (record.outcome, record.usage_is_estimated) == ("rate_limit", True)


async def test_a_cut_without_a_finish_is_a_failure_though_nothing_was_raised() -> None:
    class Silent(Asked):
        async def open(
            self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
        ) -> AsyncGenerator[WireBytes | Finish, None]:
            yield WireBytes(data=b"Hel")

    relay = Relay(provider("paid", says("x")))
    relay.asked = Silent()
    events: list[Any] = []
    with pytest.raises(IncompleteStreamError):
        await relay.ask(events)
    assert data_of(events) == b"Hel<incomplete_stream>"


@pytest.mark.parametrize("leaves_at", ["before the first byte", "in the middle"])
async def test_a_client_that_leaves_closes_the_upstream_and_leaves_a_record(leaves_at: str) -> None:
    script: list[Step] = (
        [Hold()] if leaves_at.startswith("before") else [TextDelta(text="H"), Hold()]
    )
    ledger = Ledger()
    relay = Relay(provider("paid", script), limiter=ledger)
    waiting = ModelChosen if leaves_at.startswith("before") else WireBytes
    async with relay.coordinator:
        with anyio.CancelScope() as scope:
            async with aclosing(relay.stream()) as stream:
                async for event in stream:
                    if isinstance(event, waiting):
                        scope.deadline = anyio.current_time() + 0.02
        assert relay.adapters[0].closed_early == 1
        assert relay.records.outcomes == ["cancelled"]
    [(usage, cost)] = ledger.settled
    is_known = leaves_at == "in the middle"
    assert (usage is not None, cost is not None) == (is_known, is_known)


async def test_closing_in_the_middle_closes_the_upstream() -> None:
    relay = Relay(provider("paid", [TextDelta(text="H"), Hold()]))
    async with relay.coordinator:
        stream = relay.stream()
        async for event in stream:
            if isinstance(event, WireBytes):
                break
        await stream.aclose()
        assert relay.adapters[0].closed_early == 1
    assert relay.records.outcomes == ["cancelled"]


async def test_a_try_that_times_out_before_its_first_token_is_not_taken_to_be_free() -> None:
    late = OverloadedError("sent no token within 9 s")
    late.may_be_billed = True
    ledger = Ledger()
    relay = Relay(provider("paid", [late], says("Mine.")), limiter=ledger)
    await relay.ask()
    assert ledger.settled[0] == (None, None)
    assert relay.records.kept[0].cost_usd_micros is None
    assert relay.records.kept[0].usage is None


async def test_a_deadline_that_passes_after_the_call_was_sent_leaves_its_cost_unknown() -> None:
    relay = Relay(provider("paid", [DeadlineError("too late")]))
    with pytest.raises(DeadlineError):
        await relay.ask()
    assert relay.records.kept[0].cost_usd_micros is None


async def test_the_deadline_holds_over_all_attempts() -> None:
    clock = FakeClock()
    relay = Relay(provider("paid", [Delay(400), BUSY], clock=clock), clock=clock)
    with pytest.raises(DeadlineError, match="busy"):
        await relay.ask()
    assert len(relay.asked.opened) == 2


async def test_who_may_not_ask_a_model_is_told_which_ones_are_allowed() -> None:
    relay = Relay(provider("paid", says("No.")), provider("second", says("Mine.")))
    ann = Principal(user="ann", interface="http", models=("sec*:*",))
    request = a_request()
    async with relay.coordinator:
        mine = msgspec.structs.replace(request, principal=ann)
        async with aclosing(relay.stream(mine)) as stream:
            events = [event async for event in stream]
        assert data_of(events) == b"Mine."
        nobody = msgspec.structs.replace(ann, models=("openai:gpt-[45]",))
        with pytest.raises(RefusedError) as caught:
            await anext(relay.stream(msgspec.structs.replace(request, principal=nobody)))
    assert "openai:gpt-[45]" in (caught.value.hint or "")


async def test_a_budget_that_is_used_up_asks_nobody() -> None:
    relay = Relay(provider("first", says("No.")), limiter=Ledger(BudgetError("used up")))
    with pytest.raises(BudgetError):
        await relay.ask()
    assert relay.asked.opened == []


@pytest.mark.parametrize("leaves_at", ["before the first byte", "in the middle"])
async def test_a_client_that_leaves_closes_the_connection_to_a_real_server(leaves_at: str) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
    is_early = leaves_at.startswith("before")
    body = b": wait\n\n" if is_early else chunk
    answer = Answer(body=body, headers={"content-type": "text/event-stream"}, ending="hold")
    records = Records()
    async with ReplayServer([answer]) as server:
        openai = Provider(name="openai", open=lambda: OpenAIAdapter(base_url=server.url))
        coordinator = Coordinator(
            Providers([openai], pricing=PRICING),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=records,
            clock=SystemClock(),
            entropy=lambda: 0.5,
        )
        seen = anyio.Event()

        async def read() -> None:
            endpoint = Endpoint(provider="openai", model="gpt-5")
            stream = coordinator.relay(Asked(), [endpoint], request=a_request())
            async with aclosing(stream) as events:
                async for event in events:
                    if is_early or isinstance(event, WireBytes):
                        seen.set()

        async with coordinator, anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await seen.wait()
            await server.arrived.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(1):
            await server.left.wait()
    assert records.outcomes == ["cancelled"]
    assert (records.kept[0].usage is None) == is_early


async def test_a_client_is_not_kept_waiting_for_long_but_told_for_how_long() -> None:
    relay = Relay(provider("first", [RateLimitError("slow down", retry_after=30)]))
    with pytest.raises(RateLimitError) as caught:
        await relay.ask()
    assert caught.value.retry_after == 30
    assert relay.waits == []
    soon = Relay(provider("first", [RateLimitError("slow down", retry_after=3)], says("Mine.")))
    assert data_of(await soon.ask()) == b"Mine."
    assert soon.waits == [3.25]


async def test_what_our_own_limits_refuse_is_told_at_once() -> None:
    refusal = RateLimitError("60 requests a minute", retry_after=0.5)
    relay = Relay(provider("first", says("No.")), limiter=Ledger(refusal))
    with pytest.raises(RateLimitError, match="60 requests a minute"):
        await relay.ask()
    assert relay.waits == []
    assert relay.asked.opened == []
    assert relay.coordinator.health.allows(relay.endpoints[0], now=relay.clock.monotonic())


async def test_what_a_provider_grants_is_told_to_the_limits_once() -> None:
    class Hearing(Ledger):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[object] = []

        def told(self, endpoint: Endpoint, rates: object) -> None:
            self.heard.append((endpoint.provider, rates))

    granted = provider("first", says("Mine."))
    granted.rate_limits = ("sixty",)  # type: ignore[attr-defined]
    hearing = Hearing()
    relay = Relay(granted, limiter=hearing)
    async with relay.coordinator:
        for _ in range(2):
            async with aclosing(relay.stream()) as stream:
                async for _event in stream:
                    pass
    assert hearing.heard == [("first", ("sixty",))]
