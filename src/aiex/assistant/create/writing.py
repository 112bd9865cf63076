"""A model writes one file: asked, parsed, asked again where that helps, and formatted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.assistant import prompts
from aiex.assistant.create.finish import Finisher, Formatted, syntax_problem
from aiex.assistant.models import Asked, Chosen, Models, sum_of
from aiex.assistant.replies import attempt, whole_file
from aiex.assistant.verbs import Run
from aiex.code import Language
from aiex.context import ShownPiece
from aiex.core import LeftOut, Message, Notice, RunOptions, UnusableReplyError, UsageTotal
from aiex.llm import Estimate

__all__ = ["Task", "Writer", "Written", "reply_tokens"]

_LONGEST_REPLY = 8000


def reply_tokens(options: RunOptions) -> int:
    """Return the most tokens that a reply with a file may have."""
    return options.max_output_tokens or _LONGEST_REPLY


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What shall be written.

    Attributes:
        path: Where it will stand, relative to the root.
        language: Its language.
        messages: What to say.
        pieces: What of the project the messages show.
        left_out: What of it did not fit.
        line_length: Longest line that the formatter makes, in columns.
        max_repairs: How often a reply that cannot be used is asked for again.
        before: Text of the file that it replaces; empty if there is none.
    """

    path: str
    language: Language
    messages: tuple[Message, ...]
    before: str = ""
    pieces: Sequence[ShownPiece] = ()
    left_out: Sequence[LeftOut] = ()
    line_length: int = 88
    max_repairs: int = 2


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes:
        file: The file; `None` for a dry run.
        usage: What it used of models.
        repairs: How often a reply had to be asked for again.
        estimates: What it would cost, for a dry run.
    """

    file: Formatted | None
    usage: UsageTotal = UsageTotal()
    repairs: int = 0
    estimates: tuple[Estimate, ...] = ()


class Writer:
    """Has files written.

    Args:
        models: Asks models.
        finisher: Formats what they wrote.
        replies: Folder where a reply is kept that cannot be used.
    """

    def __init__(self, models: Models, finisher: Finisher, replies: Path) -> None:
        self._models = models
        self._finisher = finisher
        self._replies = replies

    async def write(self, run: Run, chosen: Chosen, task: Task) -> Written:
        """Return the file that a model wrote, formatted.

        Raises:
            UnusableReplyError: No reply could be used; the last one is kept in a file.
        """
        messages = task.messages
        before = task.before
        usages: list[UsageTotal] = []
        repairs = 0
        while True:
            asked = await self._models.ask(
                run,
                chosen,
                messages,
                output_tokens=reply_tokens(run.request.options),
                pieces=task.pieces,
                left_out=task.left_out,
                streams=False,
            )
            usages.append(asked.usage)
            if asked.reply is None:
                return Written(file=None, estimates=asked.estimates)
            try:
                found = whole_file(
                    asked.reply,
                    language=task.language,
                    check=lambda candidate: syntax_problem(candidate, task.language),
                    path=task.path,
                    before=before,
                )
                break
            except UnusableReplyError as error:
                # Asking again mends a mistake, not a reply that was cut or a refusal.
                if repairs == task.max_repairs or asked.reply.finish.reason != "stop":
                    raise await self._kept(run, asked, task, repairs, error) from error
                repairs += 1
                await run.emit(Notice(text=f"asking again: {error.message}"))
                messages = prompts.repair(messages, reply=asked.reply.text, problem=error.message)
                tried = attempt(asked.reply, language=task.language, path=task.path)
                before = before if tried is None else tried
        for note in found.notes:
            await run.emit(Notice(text=note))
        file = await self._finisher.finish(found.text, task.language, line_length=task.line_length)
        return Written(file=file, usage=sum_of(usages), repairs=repairs)

    async def _kept(
        self, run: Run, asked: Asked, task: Task, repairs: int, error: UnusableReplyError
    ) -> UnusableReplyError:
        file = self._replies / f"{run.request.id}.md"
        text = asked.reply.text if asked.reply is not None else ""

        def keep() -> None:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.touch(mode=0o600)
            file.write_text(text, encoding="utf-8", errors="surrogateescape")

        try:
            await anyio.to_thread.run_sync(keep)
            where = f"the reply is in {file}"
        except OSError as problem:
            where = f"the reply could not be kept: {problem.strerror}"
        again = f" after asking again {repairs} times" if repairs else ""
        return UnusableReplyError(
            f"no usable {task.path}{again}: {error.message}; nothing was written, {where}",
            hint=error.hint or "try a stronger model with --model PROVIDER:MODEL",
        )
