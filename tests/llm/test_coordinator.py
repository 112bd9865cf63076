from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal

import anyio
import msgspec
import pytest

from aiex.core import (
    AiexError,
    AuthenticationError,
    BudgetError,
    ContextOverflowError,
    DeadlineError,
    Finish,
    IncompleteStreamError,
    InvalidCallError,
    Message,
    ModelCall,
    ModelChosen,
    ModelEnded,
    ModelNotFoundError,
    OverloadedError,
    Principal,
    Progress,
    RateLimitError,
    ReasoningDelta,
    Request,
    Restarted,
    RunOptions,
    TextDelta,
    TextPart,
    ToolCallDelta,
    UnavailableError,
    Usage,
)
from aiex.llm import (
    CallEvent,
    CallRecord,
    Coordinator,
    Endpoint,
    Pricing,
    Provider,
    Providers,
    Rate,
    Rates,
    Reservation,
    Strategy,
    Timeouts,
    TokenCounter,
    in_order,
    load_table,
    total_of,
)
from aiex.llm.adapters.openai import OpenAIAdapter
from aiex.runtime import SystemClock
from aiex.testing.clock import FakeClock
from aiex.testing.replay import Answer, ReplayServer
from aiex.testing.scripted import Delay, Hold, ScriptedProvider, Step, says

pytestmark = pytest.mark.anyio

BUSY = OverloadedError("busy")
PRICES = {
    "dear:dear-1": Rates(input=Rate(Decimal(1000)), output=Rate(Decimal(1000))),
    "paid:paid-1": Rates(input=Rate(Decimal(1)), output=Rate(Decimal(10))),
    "first:first-1": Rates(input=Rate(Decimal(0)), output=Rate(Decimal(0))),
}
PRICING = Pricing(load_table(), PRICES)
CALL = ModelCall(
    model="",
    messages=(Message(role="user", parts=(TextPart(text="Say something."),)),),
    max_output_tokens=100,
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


class House:
    """A coordinator over scripted providers, whose waits turn the clock."""

    def __init__(
        self,
        *providers: Named,
        clock: FakeClock | None = None,
        strategy: Strategy = in_order,
        limiter: Ledger | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.records = Records()
        self.waits: list[float] = []
        self.providers = providers
        self.coordinator = Coordinator(
            Providers([_provider(p) for p in providers], pricing=PRICING),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=self.records,
            clock=self.clock,
            strategy=strategy,
            entropy=lambda: 0.5,
            timeouts={p.provider: timeouts for p in providers if timeouts is not None},
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
            Endpoint(
                provider=p.provider,
                model=f"{p.provider}-1",
                context_tokens=p.window,
                preference=n,
            )
            for n, p in enumerate(self.providers)
        ]

    async def ask(
        self,
        call: ModelCall = CALL,
        *,
        options: RunOptions | None = None,
        seconds: float | None = None,
        restarts: bool = False,
        spent: int = 0,
        into: list[CallEvent] | None = None,
    ) -> list[CallEvent]:
        """Return what happens; *into* holds it also where it ends with an error."""
        events = into if into is not None else []
        request = a_request(options)
        if seconds is not None:
            deadline = self.clock.now() + timedelta(seconds=seconds)
            request = msgspec.structs.replace(request, deadline=deadline)
        async with self.coordinator:
            stream = self.coordinator.stream(
                call, self.endpoints, request=request, restarts=restarts, spent=spent
            )
            async with aclosing(stream):
                async for event in stream:
                    events.append(event)
        return events


class Named(ScriptedProvider):
    """A scripted provider with a window."""

    def __init__(
        self,
        provider: str,
        *scripts: Iterable[Step],
        window: int | None = 8192,
        clock: FakeClock | None = None,
    ) -> None:
        super().__init__(*scripts, provider=provider, clock=clock)
        self.window = window


def _provider(adapter: ScriptedProvider) -> Provider:
    return Provider(name=adapter.provider, open=lambda: adapter, is_loopback=True)


def a_request(options: RunOptions | None = None) -> Request:
    return Request(
        id="req_1",
        verb="explain",
        arguments=msgspec.Raw(b"{}"),
        principal=Principal(user="ada", interface="cli"),
        options=options or RunOptions(),
    )


def text_of(events: Iterable[CallEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta))


def chosen(events: Iterable[CallEvent]) -> list[str]:
    return [e.provider for e in events if isinstance(e, ModelChosen)]


async def test_a_reply_comes_with_who_was_chosen_and_what_it_took() -> None:
    house = House(Named("paid", says("All is well.", usage=Usage(input_tokens=7, output_tokens=3))))
    events = await house.ask()
    assert isinstance(events[0], ModelChosen)
    assert (events[0].provider, events[0].model, events[0].attempt) == ("paid", "paid-1", 1)
    assert text_of(events) == "All is well."
    assert isinstance(events[-2], Finish)
    ended = events[-1]
    assert isinstance(ended, ModelEnded)
    assert (ended.input_tokens, ended.output_tokens, ended.cost_usd_micros) == (7, 3, 37)
    assert ended.price_version == "user"
    [call] = house.providers[0].calls
    assert call.model == "paid-1"


async def test_what_is_billed_teaches_how_the_family_counts() -> None:
    house = House(Named("paid", says("All is well.", usage=Usage(input_tokens=1500))))
    words = Message(role="user", parts=(TextPart(text="x" * 3000),))
    before = house.coordinator.estimate(
        msgspec.structs.replace(CALL, messages=(words,)), house.endpoints
    )
    await house.ask(call=msgspec.structs.replace(CALL, messages=(words,)))

    [learned] = house.coordinator.counter.learned
    assert (learned.family, learned.basis, learned.lessons) == ("paid", "bytes", 1)
    after = house.coordinator.estimate(
        msgspec.structs.replace(CALL, messages=(words,)), house.endpoints
    )
    assert before[0].input_tokens < after[0].input_tokens <= 1500


async def test_an_attempt_leaves_a_record_without_the_words() -> None:
    house = House(Named("paid", says("All is well.")))
    await house.ask()
    [record] = house.records.kept
    assert (record.user, record.interface, record.verb, record.request_id) == (
        "ada",
        "cli",
        "explain",
        "req_1",
    )
    assert (record.provider, record.model, record.outcome, record.finish) == (
        "paid",
        "paid-1",
        "ok",
        "stop",
    )
    assert record.usage == Usage(input_tokens=10, output_tokens=3)
    assert (record.cost_usd_micros, record.price_version) == (40, "user")
    assert record.prompt is None
    assert record.reply is None


async def test_words_are_recorded_only_where_the_user_asks_for_it() -> None:
    house = House(Named("paid", says("All is well.")))
    await house.ask(options=RunOptions(record_prompts=True))
    [record] = house.records.kept
    assert record.reply == "All is well."
    assert record.prompt is not None
    assert "Say something." in record.prompt


async def test_an_unknown_model_is_unpriced_and_not_free() -> None:
    house = House(Named("strange", says("Well.")))
    [*_, ended] = await house.ask()
    assert isinstance(ended, ModelEnded)
    assert (ended.cost_usd_micros, ended.price_version) == (None, "unpriced")


async def test_a_transient_error_is_tried_again_after_a_jittered_and_doubled_wait() -> None:
    house = House(Named("first", [BUSY], [BUSY], says("At last.")))
    events = await house.ask()
    assert text_of(events) == "At last."
    assert house.waits == [0.25, 0.5]
    assert house.records.outcomes == ["overloaded", "overloaded", "ok"]
    assert [r.attempt for r in house.records.kept] == [1, 2, 3]
    assert not [e for e in events if isinstance(e, Restarted)]


async def test_after_two_retries_the_next_endpoint_is_asked() -> None:
    house = House(Named("first", [BUSY]), Named("second", says("Mine.")))
    events = await house.ask()
    assert chosen(events) == ["first", "first", "first", "second"]
    assert text_of(events) == "Mine."


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("the key is wrong"),
        BudgetError("the quota is used up"),
        ModelNotFoundError("no such model"),
        UnavailableError("the extra is not installed"),
    ],
    ids=lambda error: error.code,
)
async def test_an_error_that_waiting_does_not_help_goes_elsewhere_at_once(
    error: AiexError,
) -> None:
    house = House(Named("first", [error]), Named("second", says("Mine.")))
    assert chosen(await house.ask()) == ["first", "second"]
    assert house.waits == []


async def test_a_call_that_is_malformed_is_malformed_everywhere() -> None:
    house = House(Named("first", [InvalidCallError("no")]), Named("second", says("Mine.")))
    with pytest.raises(InvalidCallError):
        await house.ask()
    assert house.providers[1].calls == []


async def test_the_only_endpoint_keeps_its_error() -> None:
    house = House(Named("first", [AuthenticationError("the key is wrong")]))
    with pytest.raises(AuthenticationError, match=r"^the key is wrong$"):
        await house.ask()


async def test_when_all_fail_the_error_names_them_all() -> None:
    house = House(
        Named("first", [AuthenticationError("the key is wrong")]),
        Named("second", [BudgetError("the quota is used up")]),
    )
    with pytest.raises(BudgetError, match=r"first-1: the key is wrong.*second-1: the quota"):
        await house.ask()


async def test_the_wait_that_was_asked_for_is_the_least_wait() -> None:
    limited = RateLimitError("slow down", retry_after=7.0)
    house = House(Named("first", [limited], says("At last.")))
    await house.ask()
    assert house.waits == [7.25]


async def test_a_wait_past_the_deadline_is_not_waited() -> None:
    limited = RateLimitError("slow down", retry_after=30.0)
    house = House(Named("first", [limited]), Named("second", says("Mine.")))
    assert chosen(await house.ask(seconds=20)) == ["first", "second"]
    assert house.waits == []
    alone = House(Named("first", [limited]))
    with pytest.raises(RateLimitError):
        await alone.ask(seconds=20)
    assert alone.waits == []


async def test_nobody_waits_long_where_somebody_else_can_answer() -> None:
    limited = RateLimitError("slow down", retry_after=30.0)
    house = House(Named("first", [limited]), Named("second", says("Mine.")))
    assert chosen(await house.ask()) == ["first", "second"]
    assert house.waits == []


async def test_the_deadline_holds_over_all_attempts() -> None:
    clock = FakeClock()
    late = Named("first", [Delay(4), BUSY], clock=clock)
    house = House(late, clock=clock, timeouts=Timeouts(total=10))
    with pytest.raises(DeadlineError, match="busy"):
        await house.ask()
    left = [timeouts.total for timeouts in house.providers[0].timeouts]
    assert left == [10, pytest.approx(5.75), pytest.approx(1.25)]


async def test_a_deadline_that_has_passed_asks_nobody() -> None:
    house = House(Named("first", says("Mine.")))
    with pytest.raises(DeadlineError):
        await house.ask(seconds=-1)
    assert house.providers[0].calls == []


async def test_an_overflow_goes_only_to_a_larger_window() -> None:
    overflow = ContextOverflowError("too long")
    house = House(
        Named("first", [overflow]),
        Named("same", says("No."), window=8192),
        Named("unknown", says("No."), window=None),
        Named("larger", says("Mine."), window=32768),
    )
    assert chosen(await house.ask()) == ["first", "larger"]


async def test_an_endpoint_that_is_too_small_comes_last() -> None:
    house = House(Named("small", says("No."), window=50), Named("large", says("Mine.")))
    assert chosen(await house.ask()) == ["large"]


async def test_an_empty_delta_is_no_content() -> None:
    """Many wires begin with an empty text; an error after it is still hidden."""
    empty: list[Step] = [TextDelta(text=""), ReasoningDelta(text="")]
    house = House(Named("first", [*empty, AuthenticationError("no")]), Named("second", says("M.")))
    events = await house.ask()
    assert chosen(events) == ["first", "second"]
    assert [e for e in events if isinstance(e, TextDelta | ReasoningDelta)] == [
        TextDelta(text="M.")
    ]


@pytest.mark.parametrize(
    "content",
    [
        TextDelta(text="Hel"),
        ReasoningDelta(text="Hm"),
        ReasoningDelta(encrypted="x"),
        ToolCallDelta(index=0, id="1", name="grep"),
    ],
)
async def test_failover_after_content_does_not_replay(content: Step) -> None:
    house = House(Named("first", [content]), Named("second", says("Mine.")))
    events: list[CallEvent] = []
    with pytest.raises(IncompleteStreamError):
        await house.ask(into=events)
    assert chosen(events) == ["first"]
    assert house.providers[1].calls == []


async def test_a_cut_reply_says_what_it_took() -> None:
    house = House(Named("paid", [TextDelta(text="x" * 300)]))
    events: list[CallEvent] = []
    with pytest.raises(IncompleteStreamError) as caught:
        await house.ask(into=events)
    usage = caught.value.usage
    assert usage is not None
    assert usage.input_tokens > 0
    assert usage.output_tokens == 120
    ended = events[-1]
    assert isinstance(ended, ModelEnded)
    assert (ended.finish, ended.is_estimate, ended.output_tokens) == ("error", True, 120)
    [record] = house.records.kept
    assert (record.outcome, record.usage, record.usage_is_estimated) == (
        "incomplete_stream",
        usage,
        True,
    )
    assert record.cost_usd_micros == usage.input_tokens + 1200


async def test_an_error_inside_a_reply_is_a_reply_that_broke_off() -> None:
    house = House(Named("first", [TextDelta(text="Hel"), RateLimitError("slow down")]))
    with pytest.raises(IncompleteStreamError, match="slow down") as caught:
        await house.ask()
    assert isinstance(caught.value.__cause__, RateLimitError)


async def test_a_reply_may_begin_anew_and_both_are_charged() -> None:
    house = House(Named("paid", [TextDelta(text="Hel")], says("Hello again.")))
    events = await house.ask(restarts=True)
    kinds = [type(e).__name__ for e in events if not isinstance(e, TextDelta)]
    assert kinds == [
        "ModelChosen",
        "ModelEnded",
        "Restarted",
        "ModelChosen",
        "Finish",
        "ModelEnded",
    ]
    after = next(n for n, e in enumerate(events) if isinstance(e, Restarted))
    assert text_of(events[after:]) == "Hello again."
    ended = [e for e in events if isinstance(e, ModelEnded)]
    total = total_of(ended, 2, "user")
    assert total.calls == 2
    assert total.cost_usd_micros == sum(r.cost_usd_micros or 0 for r in house.records.kept)
    assert all(r.cost_usd_micros for r in house.records.kept)


async def test_a_reply_begins_anew_elsewhere_when_its_endpoint_stays_away() -> None:
    house = House(Named("first", [TextDelta(text="Hel")], [BUSY]), Named("second", says("Mine.")))
    events = await house.ask(restarts=True)
    assert chosen(events) == ["first", "first", "first", "second"]
    assert len([e for e in events if isinstance(e, Restarted)]) == 1


async def test_a_reply_begins_anew_only_once() -> None:
    house = House(Named("first", [TextDelta(text="Hel")]), Named("second", says("Mine.")))
    events: list[CallEvent] = []
    with pytest.raises(IncompleteStreamError):
        await house.ask(restarts=True, into=events)
    assert chosen(events) == ["first", "first"]


async def test_leaving_closes_the_stream_and_leaves_a_record() -> None:
    house = House(Named("first", [TextDelta(text="Hel"), Hold()]))
    async with house.coordinator:
        stream = house.coordinator.stream(CALL, house.endpoints, request=a_request())
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        await stream.aclose()
        assert house.providers[0].closed_early == 1
        assert house.records.outcomes == ["cancelled"]
        assert house.records.kept[0].usage_is_estimated


async def test_cancelling_closes_the_stream_and_leaves_a_record() -> None:
    house = House(Named("first", [TextDelta(text="Hel"), Hold()]))
    async with house.coordinator:
        with anyio.CancelScope() as scope:
            stream = house.coordinator.stream(CALL, house.endpoints, request=a_request())
            async with aclosing(stream):
                async for event in stream:
                    if isinstance(event, TextDelta):
                        scope.cancel()
        assert scope.cancelled_caught
        assert house.providers[0].closed_early == 1
        assert house.records.outcomes == ["cancelled"]


async def test_leaving_after_the_end_is_no_cancelling() -> None:
    house = House(Named("first", says("Well.")))
    async with house.coordinator:
        stream = house.coordinator.stream(CALL, house.endpoints, request=a_request())
        async for event in stream:
            if isinstance(event, Finish):
                break
        await stream.aclose()
    assert house.records.outcomes == ["ok"]


async def test_leaving_closes_the_connection_to_a_real_server() -> None:
    headers = {"content-type": "text/event-stream"}
    body = b'data: {"choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
    records = Records()
    async with ReplayServer([Answer(body=body, headers=headers, ending="hold")]) as server:
        provider = Provider(name="openai", open=lambda: OpenAIAdapter(base_url=server.url))
        coordinator = Coordinator(
            Providers([provider], pricing=PRICING),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=records,
            clock=SystemClock(),
            entropy=lambda: 0.5,
        )
        async with coordinator:
            endpoint = Endpoint(provider="openai", model="gpt-5")
            stream = coordinator.stream(CALL, [endpoint], request=a_request())
            async with aclosing(stream):
                async for event in stream:
                    if isinstance(event, TextDelta):
                        break
                assert not server.left.is_set()
            with anyio.fail_after(1):
                await server.left.wait()
    assert records.outcomes == ["cancelled"]


async def test_a_cost_over_the_cap_is_refused_before_anything_is_sent() -> None:
    house = House(Named("dear", says("Mine.")))
    with pytest.raises(BudgetError, match="dear-1"):
        await house.ask(options=RunOptions(max_cost=50_000))
    assert house.providers[0].calls == []
    assert house.records.kept == []


async def test_what_was_spent_before_counts_for_the_cap() -> None:
    options = RunOptions(max_cost=5_000)
    house = House(Named("paid", says("Mine.")))
    assert text_of(await house.ask(options=options, spent=1_000)) == "Mine."
    again = House(Named("paid", says("Mine.")))
    with pytest.raises(BudgetError):
        await again.ask(options=options, spent=4_500)


async def test_a_broken_reply_counts_for_the_cap_of_the_next() -> None:
    house = House(Named("paid", [TextDelta(text="x" * 400)], says("Mine.")))
    with pytest.raises(BudgetError):
        await house.ask(options=RunOptions(max_cost=2_000), restarts=True)
    assert len(house.providers[0].calls) == 1


async def test_a_cheaper_endpoint_is_taken_where_the_first_is_over_the_cap() -> None:
    house = House(Named("dear", says("No.")), Named("paid", says("Mine.")))
    assert chosen(await house.ask(options=RunOptions(max_cost=50_000))) == ["paid"]


async def test_a_cap_cannot_be_kept_at_an_unknown_price() -> None:
    house = House(Named("strange", says("No.")))
    with pytest.raises(BudgetError, match="no known price"):
        await house.ask(options=RunOptions(max_cost=50_000))


async def test_a_cap_bounds_the_reply_too() -> None:
    house = House(Named("paid", says("Mine.")))
    unbounded = msgspec.structs.replace(CALL, max_output_tokens=None)
    await house.ask(unbounded, options=RunOptions(max_cost=1_000_000))
    assert house.providers[0].calls[0].max_output_tokens == 4096


async def test_an_estimate_says_what_each_endpoint_would_need() -> None:
    house = House(Named("paid", window=50), Named("strange", window=None))
    paid, strange = house.coordinator.estimate(CALL, house.endpoints)
    assert paid.cost_usd_micros == paid.input_tokens + 1000
    assert (paid.output_tokens, paid.fits) == (100, False)
    assert (strange.cost_usd_micros, strange.fits) == (None, None)
    assert house.providers[0].calls == []


async def test_a_cache_that_is_written_counts_in_the_estimate() -> None:
    house = House(Named("first"))
    endpoint = Endpoint(provider="anthropic", model="claude-sonnet-5-5")
    text = "x" * 30_000
    plain, cached = (
        house.coordinator.estimate(
            ModelCall(
                model="",
                messages=(Message(role="user", parts=(TextPart(text=text, cache=cache),)),),
                max_output_tokens=1,
            ),
            [endpoint],
        )[0]
        for cache in (False, True)
    )
    assert plain.cost_usd_micros is not None
    assert cached.cost_usd_micros is not None
    assert cached.cost_usd_micros > plain.cost_usd_micros * 1.2


class Ledger:
    """A limiter that keeps what was reserved and settled."""

    def __init__(self, refusal: AiexError | None = None) -> None:
        self.refusal = refusal
        self.reserved: list[tuple[str, int, int | None]] = []
        self.settled: list[tuple[Usage | None, int | None]] = []

    async def reserve(
        self,
        principal: Principal,
        endpoint: Endpoint,
        *,
        input_tokens: int,
        output_tokens: int,
        cost_usd_micros: int | None,
    ) -> Reservation:
        if self.refusal is not None and endpoint.provider == "first":
            raise self.refusal
        self.reserved.append((endpoint.provider, output_tokens, cost_usd_micros))
        return self

    async def settle(self, usage: Usage | None, *, cost_usd_micros: int | None) -> None:
        self.settled.append((usage, cost_usd_micros))


async def test_every_attempt_is_reserved_and_settled() -> None:
    ledger = Ledger()
    house = House(Named("paid", [BUSY], says("Mine.")), limiter=ledger)
    await house.ask()
    assert [(p, out) for p, out, _ in ledger.reserved] == [("paid", 100), ("paid", 100)]
    assert ledger.settled == [(Usage(), 0), (Usage(input_tokens=10, output_tokens=1), 20)]


async def test_what_a_cancelled_attempt_took_is_unknown_and_settled_as_such() -> None:
    ledger = Ledger()
    house = House(Named("paid", [Hold()]), limiter=ledger)
    async with house.coordinator:
        with anyio.move_on_after(0.05):
            stream = house.coordinator.stream(CALL, house.endpoints, request=a_request())
            async with aclosing(stream):
                async for _ in stream:
                    pass
    assert ledger.settled == [(None, None)]


async def test_an_endpoint_without_budget_is_passed_over_unasked() -> None:
    ledger = Ledger(BudgetError("used up"))
    house = House(Named("first", says("No.")), Named("second", says("Mine.")), limiter=ledger)
    assert chosen(await house.ask()) == ["first", "second"]
    assert house.providers[0].calls == []
    assert house.records.outcomes == ["ok"]


async def test_calls_under_way_are_told_to_the_strategy() -> None:
    seen: list[list[int]] = []

    def strategy(endpoints: Sequence[Endpoint], /, *, entropy: float) -> Sequence[Endpoint]:
        seen.append([e.in_flight for e in endpoints])
        return endpoints

    slow = Named("first", [TextDelta(text="Hel"), Hold()], says("Mine."))
    house = House(slow, Named("second"), strategy=strategy)
    async with house.coordinator:
        first = house.coordinator.stream(CALL, house.endpoints, request=a_request())
        second = house.coordinator.stream(CALL, house.endpoints, request=a_request())
        async with aclosing(first), aclosing(second):
            async for event in first:
                if isinstance(event, TextDelta):
                    break
            async for _ in second:
                pass
        third = house.coordinator.stream(CALL, house.endpoints, request=a_request())
        async with aclosing(third):
            async for _ in third:
                pass
    assert seen == [[0, 0], [1, 0], [0, 0]]


async def test_what_was_billed_corrects_the_next_count() -> None:
    house = House(Named("first", says("Mine.", usage=Usage(input_tokens=3000, output_tokens=1))))
    long = ModelCall(model="", messages=(Message(role="user", parts=(TextPart(text="x" * 6000),)),))
    events = await house.ask(long)
    assert isinstance(events[0], ModelChosen)
    [after] = house.coordinator.estimate(long, house.endpoints)
    assert events[0].estimated_input_tokens < after.input_tokens


async def test_leaving_the_coordinator_closes_every_adapter_that_was_opened() -> None:
    house = House(Named("first", says("Mine.")), Named("second", says("Unasked.")))
    await house.ask()
    assert not house.providers[0].is_open
    assert house.providers[1].calls == []


async def test_no_endpoint_is_an_error() -> None:
    house = House()
    with pytest.raises(UnavailableError):
        await house.ask()


class Fetched(Named):
    """A provider whose model has to be fetched first, which takes a minute, or fails."""

    def __init__(
        self, provider: str, *scripts: Iterable[Step], clock: FakeClock, failure: AiexError | None
    ) -> None:
        super().__init__(provider, *scripts, clock=clock)
        self._time = clock
        self._failure = failure
        self.prepared: list[tuple[str, bool]] = []

    async def prepare(self, model: str, *, offline: bool) -> AsyncGenerator[Progress, None]:
        self.prepared.append((model, offline))
        yield Progress(stage="fetch", done=1, total=2, unit="bytes")
        if self._failure is not None:
            raise self._failure
        self._time.advance(60)
        yield Progress(stage="fetch", done=2, total=2, unit="bytes")


async def test_a_model_is_fetched_before_it_is_asked_and_the_time_of_that_does_not_count() -> None:
    clock = FakeClock()
    provider = Fetched("first", says("hello"), clock=clock, failure=None)
    house = House(provider, clock=clock, timeouts=Timeouts(total=30))
    events = await house.ask(options=RunOptions(offline=True))
    assert [type(event) for event in events[:3]] == [Progress, Progress, ModelChosen]
    assert provider.prepared == [("first-1", True)]
    assert text_of(events) == "hello"


async def test_a_model_that_cannot_be_fetched_leaves_the_call_to_the_next() -> None:
    clock = FakeClock()
    failure = UnavailableError("no index")
    house = House(
        Fetched("first", clock=clock, failure=failure), Named("second", says("hi")), clock=clock
    )
    events = await house.ask()
    assert chosen(events) == ["second"]
    assert house.records.outcomes == ["ok"]
