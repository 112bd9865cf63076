"""One turn from the question to the answer: calls of the model, and of tools between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Final

from msgspec.structs import replace

from aiex.assistant.chat.tools import TOOLS, ReadTools, ToolUse
from aiex.assistant.chat.writing import TurnWriter
from aiex.assistant.models import Asked, Chosen, Models, piece_of
from aiex.assistant.summaries import Summaries
from aiex.assistant.verbs import Run
from aiex.context import ShownPiece, conversation_of
from aiex.core import (
    InvalidCallError,
    Message,
    ModelReply,
    Notice,
    RefusalPart,
    ShownContext,
    Text,
    Tool,
    ToolCallPart,
    Turn,
    UsageTotal,
)

__all__ = ["LONGEST_REPLY", "Answering"]

LONGEST_REPLY: Final = 4096
"""Tokens of an answer, if the user does not say how many."""

_MOST_SHOWN: Final = 200_000  # tokens; beyond it a prompt costs more and says less
_MOST_ROUNDS: Final = 16  # calls of the model
_MOST_CALLS: Final = 16  # of tools, in one reply
_MOST_TOOL_BYTES: Final = 512 * 1024  # of results


class Answering:
    """The answer to what the user said last.

    Args:
        models: Asks models.
        summaries: Make the conversation fit in the model's window.
        tools: What the model reads the project with.
        run: The request.
        chosen: Who may answer.
        system: What the conversation begins with.
        past: The turns before this one.
        turn: The turn, in which the user has spoken.

    Attributes:
        text: What the model said to the user.
        reason: Why it ended.
        said: Calls of tools, each in a line.
        shown: What of the project the model saw.
        left_out: How many parts of the conversation did not fit in its window.
        model: Who answered, as `provider:model`; `None` before.
    """

    def __init__(
        self,
        *,
        models: Models,
        summaries: Summaries,
        tools: ReadTools,
        run: Run,
        chosen: Chosen,
        system: Message,
        past: Sequence[Turn],
        turn: TurnWriter,
    ) -> None:
        self._models = models
        self._summaries = summaries
        self._tools = tools
        self._run = run
        self._chosen = chosen
        self._system = system
        self._past = past
        self._turn = turn
        self._with_tools = chosen.may_call_tools
        self._usages: list[UsageTotal] = []
        self._pieces: list[ShownPiece] = []
        self._texts: list[str] = []
        self.reason = "stop"
        self.said: list[str] = []
        self.shown: list[ShownContext] = []
        self.left_out = 0
        self.model: str | None = None

    @property
    def text(self) -> str:
        """What the model said to the user."""
        return "\n\n".join(self._texts)

    @property
    def usage(self) -> UsageTotal:
        """What all calls used together."""
        return reduce(UsageTotal.plus, self._usages, UsageTotal())

    async def answer(self) -> None:
        """Ask, and do what the model asks of tools, until it asks for no more."""
        tool_bytes = 0
        for number in range(1, _MOST_ROUNDS + 1):
            may_call = number < _MOST_ROUNDS and tool_bytes < _MOST_TOOL_BYTES
            reply = await self._ask(may_call=may_call)
            calls = [part for part in reply.parts if isinstance(part, ToolCallPart)]
            if not calls or not may_call:
                break
            uses = [
                await self._use(call, is_too_many=place >= _MOST_CALLS)
                for place, call in enumerate(calls)
            ]
            tool_bytes += sum(len(use.result.text.encode()) for use in uses)
            self._turn.give([use.result for use in uses])
        if not self.text.strip():
            await self._run.emit(Notice(text="the model gave no answer", level="warning"))

    async def _ask(self, *, may_call: bool) -> ModelReply:
        try:
            asked = await self._asked(may_call=may_call)
        except InvalidCallError as error:
            if not self._with_tools or self._usages:
                raise
            self._with_tools = False
            why = f"asked again without tools, since {error.message}"
            await self._run.emit(Notice(text=why, level="warning"))
            asked = await self._asked(may_call=False)
        reply = asked.reply
        assert reply is not None  # this is no dry run
        self._usages.append(asked.usage)
        self._turn.say(reply.parts, usage=asked.usage)
        self.reason = asked.reason
        self.model = f"{asked.usage.provider}:{asked.usage.model}"
        text = reply.text
        refused = "".join(part.text for part in reply.parts if isinstance(part, RefusalPart))
        if refused:
            text += refused
            await self._run.emit(Text(text=refused))
        if text.strip():
            self._texts.append(text)
        return reply

    async def _asked(self, *, may_call: bool) -> Asked:
        tools = TOOLS if self._with_tools else ()
        output = self._run.request.options.max_output_tokens or LONGEST_REPLY
        past = conversation_of(self._past, with_tools=self._with_tools)
        now = [entry.message for entry in self._turn.entries]
        room = min(_MOST_SHOWN, self._chosen.room(output)) - self._count(self._system, tools=tools)
        short = await self._summaries.fit(self._run, self._chosen, [*past, *now], max(0, room))
        if short.usage is not None:
            self._usages.append(short.usage)
        left_out = [one.in_words for one in short.fitted.left_out]
        if len(left_out) > self.left_out:
            self.left_out = len(left_out)
            said = "; ".join(left_out)
            await self._run.emit(Notice(text=f"the window is too small: {said}"))
        return await self._models.ask(
            self._run,
            self._chosen,
            [self._system, *short.fitted.messages],
            output_tokens=output,
            pieces=self._pieces,
            tools=tools,
            tool_choice=None if may_call or not tools else "none",
            hear=self._turn.hear,
        )

    def _count(self, message: Message, tools: Sequence[Tool] = ()) -> int:
        return self._models.count_all([message], tools, self._chosen.model)

    async def _use(self, call: ToolCallPart, *, is_too_many: bool) -> ToolUse:
        if is_too_many:
            return self._tools.refused(call, f"at most {_MOST_CALLS} calls at once; ask again")
        use = await self._tools.use(call, self._run.request)
        self.said.append(use.said)
        await self._run.emit(Notice(text=use.said))
        if use.shown is not None:
            self.show(use.shown, use.result.text)
        return use

    def show(self, shown: ShownContext, text: str) -> None:
        """Note that the model sees *text* of the project."""
        tokens = self._models.count(text, self._chosen.model)
        self.shown.append(replace(shown, tokens=tokens))
        self._pieces.append(
            piece_of(shown.path, text, reason=shown.reason, tokens=tokens, form=shown.form)
        )
