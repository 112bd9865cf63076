"""What the coordinator adds to a call, in CPU of one core.

    python bench/coordinator.py [--calls N] [--pieces N] [--profile]

Asks an adapter that answers at once from memory, through `Coordinator.relay` and through
`Coordinator.stream`, with a limiter and a sink that do next to nothing, and beside them iterates
over the same answers bare: the bound. Says microseconds of CPU a call and a piece (aim for a
relayed call: 25 us).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec

from aiex.core import (
    AiexError,
    Delta,
    Embedding,
    Finish,
    Message,
    ModelCall,
    Principal,
    Request,
    RunOptions,
    TextDelta,
    TextPart,
    Usage,
    WireBytes,
)
from aiex.llm import (
    Adapter,
    CallRecord,
    Coordinator,
    Endpoint,
    Estimate,
    ModelInfo,
    Pricing,
    Provider,
    Providers,
    Timeouts,
    TokenCounter,
    load_table,
)
from aiex.llm.ports import Operation
from aiex.runtime import SystemClock
from aiex.wires import Spoken

MODEL = "gpt-5.4-mini"
FINISH = Finish(reason="stop", usage=Usage(input_tokens=100, output_tokens=20), model=MODEL)
PRICING = Pricing(load_table())
CALL = ModelCall(
    model=MODEL,
    messages=(Message(role="user", parts=(TextPart(text="Say something."),)),),
    max_output_tokens=100,
)


class AtOnce:
    """An adapter that answers from memory."""

    provider = "openai"
    is_loopback = False
    spoken = Spoken(wire="openai_chat")

    def __init__(self, pieces: int) -> None:
        self._deltas = [TextDelta(text="word ")] * pieces

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    async def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        for delta in self._deltas:
            yield delta
        yield FINISH

    async def models(self) -> Sequence[ModelInfo]:
        return ()

    async def describe(self, model: str) -> ModelInfo | None:
        return None

    async def count_tokens(self, call: ModelCall) -> int | None:
        return None

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        raise NotImplementedError

    async def probe(self) -> None:
        pass


class Asked:
    """A client's own wire, whose bytes are at hand."""

    affinity = ""
    operation: Operation = "chat"
    needs: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()

    def __init__(self, pieces: int) -> None:
        self._pieces = [WireBytes(data=b"data: {}\n\n")] * pieces

    def estimate(self, endpoint: Endpoint) -> Estimate:
        return Estimate(
            provider=endpoint.provider,
            model=endpoint.model,
            input_tokens=100,
            output_tokens=100,
            cost_usd_micros=PRICING.bound(
                endpoint.provider, endpoint.model, input_tokens=100, output_tokens=100
            ),
            fits=True,
        )

    async def open(
        self, adapter: Adapter, endpoint: Endpoint, *, timeouts: Timeouts
    ) -> AsyncGenerator[WireBytes | Finish, None]:
        for piece in self._pieces:
            yield piece
        yield FINISH

    def spoken(self) -> int:
        return 0

    def failure(self, error: AiexError) -> bytes:
        return b""


class Ledger:
    """A limiter and a sink that count."""

    calls = 0

    async def reserve(self, principal: Principal, endpoint: Endpoint, **_: Any) -> Self:
        return self

    async def settle(self, usage: Usage | None, *, cost_usd_micros: int | None) -> None:
        self.calls += 1

    async def record(self, call: CallRecord) -> None:
        pass


def house(pieces: int) -> Coordinator:
    ledger = Ledger()
    return Coordinator(
        Providers([Provider(name="openai", open=lambda: AtOnce(pieces))], pricing=PRICING),
        pricing=PRICING,
        counter=TokenCounter(),
        sink=ledger,
        clock=SystemClock(),
        entropy=random.random,
        limiter=ledger,
        announce=lambda _: None,
    )


def a_request() -> Request:
    return Request(
        id="req_1",
        verb="complete",
        arguments=msgspec.Raw(b"{}"),
        principal=Principal(user="ada", interface="http"),
        options=RunOptions(),
    )


async def measured(once: Callable[[], Awaitable[None]], calls: int) -> float:
    """Return the least microseconds of CPU a call, of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(calls):
            await once()
        rounds.append((time.process_time() - begun) / calls * 1e6)
    return min(rounds)


async def drained(items: AsyncGenerator[Any, None]) -> None:
    async with aclosing(items) as stream:
        async for _ in stream:
            pass


async def rows(pieces: int, calls: int) -> dict[str, float]:
    request, adapter, usual = a_request(), AtOnce(pieces), Timeouts()
    one = [Endpoint(provider="openai", model=MODEL, context_tokens=400_000)]
    three = [*one, *(msgspec.structs.replace(one[0], model=f"{MODEL}-{n}") for n in range(2))]
    async with house(pieces) as coordinator:
        return {
            "bare, bytes": await measured(
                lambda: drained(Asked(pieces).open(adapter, one[0], timeouts=usual)), calls
            ),
            "relay": await measured(
                lambda: drained(coordinator.relay(Asked(pieces), one, request=request)), calls
            ),
            "relay, one of three": await measured(
                lambda: drained(coordinator.relay(Asked(pieces), three, request=request)), calls
            ),
            "bare, deltas": await measured(
                lambda: drained(adapter.stream(CALL, timeouts=usual)), calls
            ),
            "stream": await measured(
                lambda: drained(coordinator.stream(CALL, one, request=request)), calls
            ),
        }


async def run(pieces: int, calls: int) -> None:
    few, many = await rows(1, calls), await rows(1 + pieces, max(1, calls // 10))
    print(f"{'':22} {'us a call':>10} {'us a piece':>11}")
    for name, call in few.items():
        print(f"{name:22} {call:10.1f} {(many[name] - call) / pieces:11.2f}")
    print(f"the coordinator adds {few['relay'] - few['bare, bytes']:.1f} us to a relayed call")


async def profiled(calls: int) -> None:
    one = [Endpoint(provider="openai", model=MODEL, context_tokens=400_000)]
    request = a_request()
    async with house(1) as coordinator:
        with cProfile.Profile() as profile:
            for _ in range(calls):
                await drained(coordinator.relay(Asked(1), one, request=request))
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--pieces", type=int, default=200)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    if asked.profile:
        anyio.run(profiled, asked.calls)
    else:
        anyio.run(run, asked.pieces, asked.calls)


if __name__ == "__main__":
    main()
