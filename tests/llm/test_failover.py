"""What the coordinator does with what health knows: whom it asks, in which order, how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from aiex.core import (
    AiexError,
    AuthenticationError,
    BreakerChanged,
    IncompleteStreamError,
    InvalidCallError,
    Message,
    ModelCall,
    ModelCalled,
    ModelChosen,
    OverloadedError,
    Principal,
    RateLimitError,
    Request,
    RunOptions,
    TextDelta,
    TextPart,
    Tool,
    UsageError,
)
from aiex.llm import (
    CallRecord,
    Coordinator,
    Endpoint,
    Pricing,
    Provider,
    Providers,
    TokenCounter,
    load_table,
)
from aiex.testing.clock import FakeClock
from aiex.testing.scripted import Delay, Hold, ScriptedProvider, Step, says

pytestmark = pytest.mark.anyio

BUSY = OverloadedError("busy", status=529)
PRICING = Pricing(load_table())
CALL = ModelCall(
    model="",
    messages=(Message(role="user", parts=(TextPart(text="Say something."),)),),
    max_output_tokens=10,
)


class Node:
    """A coordinator that stays, over scripted providers, and what it tells."""

    def __init__(self, *adapters: ScriptedProvider, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.adapters = adapters
        self.told: list[Any] = []
        self.kept: list[CallRecord] = []
        self.waits: list[float] = []
        self.number = 0
        providers = [
            Provider(name=a.provider, open=lambda a=a: a, is_loopback=True)  # type: ignore[misc]
            for a in adapters
        ]
        self.coordinator = Coordinator(
            Providers(providers, pricing=PRICING, now=self.clock.monotonic),
            pricing=PRICING,
            counter=TokenCounter(),
            sink=self,
            clock=self.clock,
            entropy=self._entropy,
            announce=self.told.append,
            sleep=self._sleep,
        )

    async def record(self, call: CallRecord) -> None:
        self.kept.append(call)

    def _entropy(self) -> float:
        self.number += 1
        return self.number * 0.618034 % 1

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    def endpoints(self, **more: Sequence[Any]) -> list[Endpoint]:
        found = []
        for n, adapter in enumerate(self.adapters):
            fields = {name: values[n] for name, values in more.items()}
            name = adapter.provider
            found.append(Endpoint(provider=name, model=f"{name}-1", preference=n, **fields))
        return found

    async def ask(
        self,
        endpoints: Sequence[Endpoint] | None = None,
        *,
        call: ModelCall = CALL,
        strategy: str | None = None,
    ) -> list[str]:
        """Return who was asked, the last of whom answered."""
        request = Request(
            id="req_1",
            verb="complete",
            arguments=msgspec.Raw(b"{}"),
            principal=Principal(user="ada", interface="http"),
            options=RunOptions(strategy=strategy),
        )
        stream = self.coordinator.stream(call, endpoints or self.endpoints(), request=request)
        async with aclosing(stream) as events:
            return [e.provider async for e in events if isinstance(e, ModelChosen)]

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(c.provider, c.state) for c in self.told if isinstance(c, BreakerChanged)]


def provider(name: str, *scripts: Iterable[Step], **more: Any) -> ScriptedProvider:
    return ScriptedProvider(*scripts, provider=name, **more)


async def test_a_provider_that_fails_in_a_row_is_left_alone_and_probed_before_it_is_asked() -> None:
    ill = provider("a", *[[BUSY]] * 5, says("well again"))
    node = Node(ill, provider("b", says("mine")))
    async with node.coordinator:
        assert await node.ask() == ["a", "a", "a", "b"]
        assert await node.ask() == ["a", "a", "b"], "it opened, so that the third try was spared"
        assert await node.ask() == ["b"]
        node.clock.advance(6)
        assert await node.ask() == ["a"]
    assert node.changes == [("a", "opened"), ("a", "half_opened"), ("a", "closed")]
    assert len(ill.calls) == 6


async def test_a_probe_that_fails_spares_the_call() -> None:
    ill = provider("a", [BUSY])
    node = Node(ill, provider("b", says("mine")))
    async with node.coordinator:
        await node.ask()
        await node.ask()
        calls = len(ill.calls)
        ill._answers = OverloadedError("still gone")
        node.clock.advance(6)
        assert await node.ask() == ["b"]
        assert await node.ask() == ["b"]
    assert len(ill.calls) == calls


async def test_the_only_one_is_asked_even_if_it_is_stopped() -> None:
    ill = provider("a", *[[BUSY]] * 6, says("well again"))
    node = Node(ill)
    async with node.coordinator:
        for _ in range(2):
            with pytest.raises(OverloadedError):
                await node.ask()
        assert await node.ask() == ["a"]
    assert node.changes == [("a", "opened"), ("a", "closed")]


async def test_what_asked_to_be_left_alone_is_not_asked_by_the_next_call() -> None:
    limited = provider("a", [RateLimitError("slow down", retry_after=20)], says("mine"))
    node = Node(limited, provider("b", says("other")))
    async with node.coordinator:
        assert await node.ask() == ["a", "b"]
        assert await node.ask() == ["b"]
        [alone, _] = node.endpoints()
        assert await node.ask([alone]) == ["a"], "named, it is waited for and then asked"
    assert node.waits[-1] >= 20
    assert len(limited.calls) == 2


async def test_a_wrong_key_is_not_shown_again_and_again() -> None:
    locked = provider("a", [AuthenticationError("no", status=401)])
    node = Node(locked, provider("b", says("mine")))
    async with node.coordinator:
        for _ in range(4):
            await node.ask()
    assert len(locked.calls) == 1


async def test_a_reply_that_broke_off_counts_too() -> None:
    node = Node(provider("a", [TextDelta(text="Hel")]), provider("b", says("mine")))
    async with node.coordinator:
        for _ in range(5):
            with pytest.raises(IncompleteStreamError):
                await node.ask()
        assert await node.ask() == ["b"]


async def test_retries_are_a_fifth_of_the_requests_once_the_first_ones_are_used() -> None:
    ill = provider("a", [RateLimitError("slow down")])
    node = Node(ill)
    async with node.coordinator:
        for _ in range(100):
            node.clock.advance(60)
            with pytest.raises(RateLimitError):
                await node.ask()
    assert 100 + 10 <= len(ill.calls) <= 100 + 10 + 20


async def test_watching_probes_who_is_stopped_so_that_no_call_has_to() -> None:
    ill = provider("a", *[[BUSY]] * 5, says("well again"))
    node = Node(ill, provider("b", says("mine")))
    async with node.coordinator:
        await node.ask()
        await node.ask()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(node.coordinator.watch)
            while node.changes[-1] != ("a", "closed"):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert await node.ask() == ["a"]
    assert node.changes == [("a", "opened"), ("a", "half_opened"), ("a", "closed")]


async def test_a_step_of_a_chain_goes_first_whatever_the_strategy() -> None:
    node = Node(*(provider(name, says("x")) for name in "abc"))
    endpoints = node.endpoints(step=[0, 1, 1])
    call = msgspec.structs.replace(CALL, messages=())

    async def first(of: Sequence[Endpoint]) -> str:
        return (await node.ask(of, call=call, strategy="random"))[0]

    async with node.coordinator:
        assert {await first(endpoints) for _ in range(20)} == {"a"}
        rest = {await first(endpoints[1:]) for _ in range(20)}
        assert rest == {"b", "c"}


async def test_round_robin_takes_turns_over_calls() -> None:
    node = Node(*(provider(name, says("x")) for name in "abc"))
    async with node.coordinator:
        calls = [
            msgspec.structs.replace(
                CALL, messages=(Message(role="user", parts=(TextPart(text=f"{n}"),)),)
            )
            for n in range(2)
        ]
        bare = msgspec.structs.replace(CALL, messages=())
        asked = [(await node.ask(call=bare, strategy="round_robin"))[0] for _ in range(6)]
        assert asked == ["a", "b", "c", "a", "b", "c"]
        homes = {call.messages[0].parts[0]: set[str]() for call in calls}
        for _ in range(5):
            for call in calls:
                [home] = await node.ask(call=call, strategy="round_robin")
                homes[call.messages[0].parts[0]].add(home)
        assert all(len(where) == 1 for where in homes.values()), "a prompt stays where it was"


async def test_the_quickest_is_asked_by_latency() -> None:
    clock = FakeClock()
    slow = provider("a", [Delay(3), *says("x")], clock=clock)
    node = Node(slow, provider("b", [Delay(1), *says("x")], clock=clock), clock=clock)
    async with node.coordinator:
        asked = [(await node.ask(strategy="latency"))[0] for _ in range(4)]
    assert asked == ["a", "b", "b", "b"]


async def test_a_prompt_stays_with_its_cache_until_that_one_is_busy_or_stopped() -> None:
    node = Node(*(provider(n, *[says("x")] * 3, [BUSY], says("x")) for n in "ab"))
    async with node.coordinator:
        [home] = await node.ask(strategy="random")
        for _ in range(2):
            assert await node.ask(strategy="random") == [home]
        asked = await node.ask(strategy="random")
        assert asked[0] == home
        other = "b" if home == "a" else "a"
        held = node.coordinator.health.place(
            next(e for e in node.endpoints() if e.provider == home)
        )
        held.in_flight += 50
        found = {(await node.ask(strategy="load_balanced"))[0] for _ in range(3)}
        assert found == {other}


async def test_a_cheap_one_is_not_passed_over_for_a_cache() -> None:
    node = Node(provider("a", says("x")), provider("b", says("x")))
    async with node.coordinator:
        for _ in range(10):
            assert await node.ask(strategy="in_order") == ["a"]


async def test_what_is_known_to_lack_a_capability_is_not_asked() -> None:
    node = Node(*(provider(name, says("x")) for name in "abc"))
    endpoints = node.endpoints(capabilities=[("vision",), ("tools", "completion"), ()])
    with_tools = msgspec.structs.replace(CALL, tools=(Tool(name="grep"),))
    async with node.coordinator:
        assert await node.ask(endpoints, call=with_tools) == ["b"]
        assert await node.ask([endpoints[0], endpoints[2]], call=with_tools) == ["c"]
        assert await node.ask(endpoints[:1], call=with_tools) == ["a"], "it was named"
        lacking = [endpoints[0], msgspec.structs.replace(endpoints[1], capabilities=("vision",))]
        with pytest.raises(InvalidCallError, match="none of a:a-1, b:b-1 can take tools"):
            await node.ask(lacking, call=with_tools)


async def test_a_strategy_that_there_is_not_is_told_with_what_is_like_it() -> None:
    node = Node(provider("a", says("x")))
    async with node.coordinator:
        with pytest.raises(UsageError) as caught:
            await node.ask(strategy="randon")
    assert caught.value.hint == "did you mean random?"


async def test_every_call_that_ended_is_told() -> None:
    node = Node(provider("a", [BUSY], says("x")))
    async with node.coordinator:
        await node.ask()
    told = [c for c in node.told if isinstance(c, ModelCalled)]
    assert [(c.outcome, c.output_tokens) for c in told] == [("overloaded", 0), ("ok", 1)]
    assert [c.id for c in told] == [record.id for record in node.kept]


async def test_load_goes_back_whatever_a_call_comes_to() -> None:
    scripts: list[list[Step]] = [[BUSY], list(says("x")), [AuthenticationError("no", status=403)]]
    node = Node(provider("a", *scripts, [Hold()]))
    async with node.coordinator:
        await node.ask()
        with pytest.raises(AiexError):
            await node.ask()
        with anyio.move_on_after(0.02):
            await node.ask()
    assert [place.in_flight for _, _, place in node.coordinator.health.places()] == [0]
