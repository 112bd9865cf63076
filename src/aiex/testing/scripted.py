"""A provider that says what a script tells it to, for tests of everything above adapters."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel
import msgspec

from aiex.core import (
    AiexError,
    Delta,
    Embedding,
    Finish,
    IncompleteStreamError,
    InvalidCallError,
    ModelCall,
    TextDelta,
    Usage,
)
from aiex.llm import ModelInfo, Timeouts
from aiex.testing.clock import FakeClock
from aiex.wires import Spoken, ollama

__all__ = ["Delay", "Hold", "ScriptedProvider", "Step", "says"]


class Delay(msgspec.Struct, frozen=True):
    """Time passes: the clock is turned, and nobody waits.

    Attributes:
        seconds: For how long.
    """

    seconds: float


class Hold(msgspec.Struct, frozen=True):
    """Nothing more comes until the caller goes away."""


Step = Delta | AiexError | Delay | Hold


def says(text: str, *, usage: Usage | None = None) -> tuple[Step, ...]:
    """Return the script of a whole reply, a delta a word.

    Args:
        text: What the model says.
        usage: What it bills; `None` for 10 tokens of input and one a word.
    """
    words = text.split(" ")
    pieces = [*(f"{word} " for word in words[:-1]), words[-1]]
    billed = usage or Usage(input_tokens=10, output_tokens=len(words))
    return (*(TextDelta(text=piece) for piece in pieces), Finish(reason="stop", usage=billed))


class ScriptedProvider:
    """Satisfies `llm.Adapter`; each call plays the next script, and the last one is repeated.

    A script that ends without a `Finish` is a stream that was cut.

    Args:
        *scripts: What each call yields, raises or waits for.
        provider: Name of the provider.
        models: Models that it serves.
        is_loopback: Whether it is reached without leaving this machine.
        answers: Whether it answers at all; if not, the error that everything raises.
        clock: Turned by `Delay`; needed by scripts that hold one.

    Attributes:
        calls: Calls that were made, in order.
        timeouts: The time-outs of each of them.
        surveys: How often its models were asked for.
        closed_early: How many streams were left before their end.
        is_open: Whether it is entered.

    Example:
        >>> import anyio
        >>> async def main() -> str:
        ...     async with ScriptedProvider(says("All is well.")) as provider:
        ...         call = ModelCall(model="scripted-1", messages=())
        ...         stream = provider.stream(call, timeouts=Timeouts())
        ...         return "".join([d.text async for d in stream if isinstance(d, TextDelta)])
        >>> anyio.run(main)
        'All is well.'
    """

    def __init__(
        self,
        *scripts: Iterable[Step],
        provider: str = "scripted",
        models: Sequence[ModelInfo] = (),
        is_loopback: bool = True,
        answers: AiexError | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self._scripts = deque(tuple(script) for script in scripts)
        self._provider = provider
        self._models = tuple(models) or (
            ModelInfo(provider=provider, name=f"{provider}-1", context_tokens=8192),
        )
        self._is_loopback = is_loopback
        self._answers = answers
        self._clock = clock
        self.calls: list[ModelCall] = []
        self.timeouts: list[Timeouts] = []
        self.surveys = 0
        self.closed_early = 0
        self.is_open = False

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._provider

    @property
    def is_loopback(self) -> bool:
        """Whether it is reached without leaving this machine."""
        return self._is_loopback

    @property
    def spoken(self) -> Spoken:
        """What it understands of a call."""
        return Spoken(wire=ollama.WIRE, takes_thinking=True)

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_open = False

    async def stream(self, call: ModelCall, *, timeouts: Timeouts) -> AsyncGenerator[Delta, None]:
        """Play the next script."""
        self.calls.append(call)
        self.timeouts.append(timeouts)
        self._reach()
        has_ended = False
        try:
            for step in self._next():
                match step:
                    case Delay():
                        self._turn(step.seconds)
                    case Hold():
                        await anyio.sleep_forever()
                    case AiexError():
                        has_ended = True
                        raise step
                    case _:
                        has_ended = isinstance(step, Finish)
                        await anyio.lowlevel.checkpoint()
                        yield step
            if not has_ended:
                has_ended = True
                raise IncompleteStreamError(
                    f"{self._provider} ended in the middle of its answer", provider=self._provider
                )
        finally:
            self.closed_early += not has_ended

    def _next(self) -> tuple[Step, ...]:
        if not self._scripts:
            raise AssertionError(f"{self._provider} was called, and has no script")
        return self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]

    def _turn(self, seconds: float) -> None:
        if self._clock is None:
            raise AssertionError("a script with a Delay needs a clock")
        self._clock.advance(seconds)

    def _reach(self) -> None:
        if self._answers is not None:
            raise self._answers

    async def models(self) -> Sequence[ModelInfo]:
        """Return the models that it serves."""
        self.surveys += 1
        self._reach()
        return self._models

    async def describe(self, model: str) -> ModelInfo | None:
        """Return the model of this name; `None` if it does not serve it."""
        self._reach()
        return next((info for info in self._models if info.name == model), None)

    async def count_tokens(self, call: ModelCall) -> int | None:
        """Return `None`: it does not count."""
        self._reach()
        return None

    async def embed(self, model: str, texts: Sequence[str]) -> Embedding:
        """Raise `InvalidCallError`: it has no embeddings."""
        raise InvalidCallError(
            f"{self._provider} has no embeddings, so {model} cannot embed {len(texts)} texts",
            provider=self._provider,
        )

    async def probe(self) -> None:
        """Return if it answers."""
        self._reach()
