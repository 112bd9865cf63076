"""How a verb asks a model: what fits, what it would cost, and the reply as events."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import reduce
from typing import TYPE_CHECKING

import msgspec

from aiex.assistant.verbs import Run
from aiex.context import Shown, ShownContext, ShownPiece
from aiex.core import (
    ContextShown,
    CostEstimate,
    Finish,
    LeftOut,
    Message,
    ModelCall,
    ModelChosen,
    ModelEnded,
    ModelReply,
    Notice,
    Part,
    Progress,
    ReasoningDelta,
    ReasoningText,
    RefusalDelta,
    Restarted,
    RunOptions,
    StoreError,
    Text,
    TextDelta,
    TextPart,
    Tool,
    UsageTotal,
)
from aiex.llm import CallEvent, Coordinator, Endpoint, Estimate, total_of
from aiex.runtime import Clock
from aiex.wires import ReplyBuilder

if TYPE_CHECKING:
    from aiex.llm.node import NodeModels

__all__ = ["Asked", "Chosen", "Models", "cost_of", "piece_of", "sum_of"]

_UNKNOWN_WINDOW = 8192
_SAFETY = 1.1  # our count is an estimate


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Who may answer.

    Attributes:
        endpoints: Best first; one alone when it was named.
    """

    endpoints: tuple[Endpoint, ...]

    @property
    def model(self) -> str:
        """Name of the model that will be tried first."""
        return self.endpoints[0].model

    def room(self, output_tokens: int) -> int:
        """Return the tokens that a prompt may have beside a reply of *output_tokens*.

        It is that of the smallest window, so that failover needs no other prompt.
        """
        return int((self._window - self.longest_reply(output_tokens)) / _SAFETY)

    def longest_reply(self, output_tokens: int) -> int:
        """Return *output_tokens*, or half of the smallest window if that is less."""
        return min(output_tokens, self._window // 2)

    @property
    def may_call_tools(self) -> bool:
        """Whether one of them takes tools, or it is not known that none does."""
        return any(not e.capabilities or "tools" in e.capabilities for e in self.endpoints)

    @property
    def _window(self) -> int:
        return min(e.context_tokens or _UNKNOWN_WINDOW for e in self.endpoints)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking.

    Attributes:
        reply: What the model said; `None` for a dry run.
        usage: What it used.
        reason: Why it ended.
        estimates: What it would cost at each endpoint, for a dry run.
        first_token: Seconds from the call to the first piece of the reply; `None` if none came.
        speaking: Seconds from there to its end.
        call_id: Record of the call that was answered; empty without one.
    """

    reply: ModelReply | None
    usage: UsageTotal
    reason: str
    estimates: tuple[Estimate, ...] = ()
    first_token: float | None = None
    speaking: float = 0.0
    call_id: str = ""


def _hear_nothing(event: CallEvent, /) -> None:
    del event


class Models:
    """Asks models on behalf of a verb.

    Args:
        coordinator: Chooses, retries and records, here or on a node.
        shown: Keeps what was shown and why.
        clock: Where time comes from.
    """

    def __init__(
        self, coordinator: Coordinator | NodeModels, *, shown: Shown, clock: Clock
    ) -> None:
        self._coordinator = coordinator
        self._shown = shown
        self._clock = clock

    async def choose(self, options: RunOptions) -> Chosen:
        """Return who may answer.

        Raises:
            UnavailableError: Nobody can, or not the one that was named.
            UsageError: What was named does not exist.
        """
        return Chosen(endpoints=tuple(await self._coordinator.providers.choose(options)))

    def count_all(self, messages: Sequence[Message], tools: Sequence[Tool], model: str) -> int:
        """Return the estimated tokens of *messages* and *tools*."""
        call = ModelCall(model=model, messages=tuple(messages), tools=tuple(tools))
        return self._coordinator.counter.call(call)

    def count(self, text: str, model: str) -> int:
        """Return the estimated tokens of *text*."""
        return self._coordinator.counter.text(text, model)

    def count_message(self, message: Message, model: str) -> int:
        """Return the estimated tokens of *message*."""
        return self._coordinator.counter.message(message, model)

    async def ask(
        self,
        run: Run,
        chosen: Chosen,
        messages: Sequence[Message],
        *,
        output_tokens: int,
        pieces: Sequence[ShownPiece] = (),
        left_out: Sequence[LeftOut] = (),
        streams: bool = True,
        tools: Sequence[Tool] = (),
        tool_choice: str | None = None,
        hear: Callable[[CallEvent], None] = _hear_nothing,
    ) -> Asked:
        """Send *messages* and return the reply, emitting it as it comes.

        With `--dry-run` nothing is sent, and the estimates are returned instead.

        Args:
            run: The request.
            chosen: Who may answer.
            messages: What to say.
            output_tokens: Most tokens of the reply; a small window may leave less.
            pieces: What of the project the messages show.
            left_out: What did not fit.
            streams: Whether the words are for the user to read as they come.
            tools: What the model may call.
            tool_choice: As in `ModelCall`.
            hear: Told of everything that happens, before the user is.

        Raises:
            AiexError: Nobody answered, or not to the end.
        """
        request = run.request
        longest = chosen.longest_reply(output_tokens)
        call = ModelCall(
            model=chosen.model,
            messages=tuple(messages),
            tools=tuple(tools),
            tool_choice=tool_choice,
            max_output_tokens=longest,
            seed=request.options.seed,
        )
        if request.options.show_context:
            await run.emit(
                ContextShown(
                    text=_as_text(messages),
                    tokens=self._coordinator.counter.call(call),
                    left_out=tuple(left_out),
                )
            )
        if request.options.dry_run:
            estimates = tuple(self._coordinator.estimate(call, chosen.endpoints))
            return Asked(reply=None, usage=UsageTotal(), reason="dry_run", estimates=estimates)
        heard = _Heard(self._clock)
        stream = self._coordinator.stream(call, chosen.endpoints, request=request, restarts=True)
        async with aclosing(stream) as events:
            async for event in events:
                heard.take(event)
                hear(event)
                if isinstance(event, ModelChosen):  # before anything is sent
                    await self._keep_shown(request.id, event, pieces, left_out)
                if isinstance(event, Progress | ModelChosen | Restarted | ModelEnded):
                    await run.emit(event)
                elif isinstance(event, ReasoningDelta) and event.text:
                    await run.emit(ReasoningText(text=event.text))
                elif isinstance(event, TextDelta) and streams and event.text:
                    await run.emit(Text(text=event.text))
                elif isinstance(event, TextDelta):
                    stage = "the model writes"
                    await run.emit(Progress(stage=stage, done=heard.length, unit="characters"))
        if streams and heard.finish.reason == "length":
            advice = "allow more with --max-tokens"
            if longest < output_tokens:
                advice = f"the window of {chosen.model} is too small for more"
            cut = f"the reply was cut at {longest} tokens; {advice}"
            await run.emit(Notice(text=cut, level="warning"))
        for warning in heard.finish.warnings:
            await run.emit(Notice(text=warning, level="warning"))
        return Asked(
            reply=ModelReply(parts=heard.parts(), finish=heard.finish),
            usage=total_of(heard.ended, heard.attempts, self._coordinator.pricing.version),
            reason=heard.finish.reason,
            first_token=heard.first_token,
            speaking=heard.speaking,
            call_id=heard.call_id,
        )

    async def _keep_shown(
        self,
        request_id: str,
        chosen: ModelChosen,
        pieces: Sequence[ShownPiece],
        left_out: Sequence[LeftOut],
    ) -> None:
        context = ShownContext(
            request_id=request_id,
            call_id=chosen.call_id,
            at=self._clock.now(),
            model=f"{chosen.provider}:{chosen.model}",
            pieces=tuple(pieces),
            left_out=tuple(one.what for one in left_out if one.how == "dropped"),
        )
        try:
            await self._shown.add(context)
        except StoreError:
            return  # the answer is worth more than the note of what it saw


class _Heard:
    """Puts a reply together, dropping what a restart made void."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_at = 0.0
        self._begun_at: float | None = None
        self.first_token: float | None = None
        self.speaking = 0.0
        self.attempts = 0
        self.ended: list[ModelEnded] = []
        self.finish = Finish(reason="unknown")
        self.length = 0
        self.call_id = ""
        self._reply = ReplyBuilder()

    def take(self, event: CallEvent) -> None:
        match event:
            case ModelChosen():
                self.attempts = event.attempt
                self.call_id = event.call_id
                self._asked_at, self._begun_at = self._clock.monotonic(), None
            case TextDelta() | RefusalDelta() | ReasoningDelta() if self._begun_at is None:
                self._begun_at = self._clock.monotonic()
                self.first_token = self._begun_at - self._asked_at
        match event:
            case Restarted():
                self._reply = ReplyBuilder()
                self.length = 0
            case Finish():
                self.finish = event
                if self._begun_at is not None:
                    self.speaking = self._clock.monotonic() - self._begun_at
            case ModelEnded():
                self.ended.append(event)
            case Progress() | ModelChosen():
                pass
            case _:
                self._reply.add(event)
                self.length += len(event.text) if isinstance(event, TextDelta) else 0

    def parts(self) -> tuple[Part, ...]:
        return self._reply.parts()


def piece_of(path: str, text: str, *, reason: str, tokens: int, form: str) -> ShownPiece:
    """Return the note of one text that was shown."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return ShownPiece(path=path, sha256=digest, reason=reason, tokens=tokens, form=form)


def cost_of(estimate: Estimate) -> CostEstimate:
    """Return *estimate* as results name it."""
    return CostEstimate(
        provider=estimate.provider,
        model=estimate.model,
        input_tokens=estimate.input_tokens,
        output_tokens=estimate.output_tokens,
        cost_usd_micros=estimate.cost_usd_micros,
        fits=estimate.fits,
    )


def sum_of(totals: Sequence[UsageTotal]) -> UsageTotal:
    """Return what several questions used together; the last one names who answered."""
    return reduce(UsageTotal.plus, totals)


def _as_text(messages: Sequence[Message]) -> str:
    return "\n\n".join(
        f"[{message.role}]\n" + "".join(p.text for p in message.parts if isinstance(p, TextPart))
        for message in messages
    )
