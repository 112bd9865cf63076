"""`explain`: the facts first, then a model's words about them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aiex.assistant import prompts
from aiex.assistant.explain.change import subject_of_diff
from aiex.assistant.explain.subject import Subject, subject_of_code, subject_of_error
from aiex.assistant.explain.wording import facts_in_words
from aiex.assistant.lint import Ruff
from aiex.assistant.models import Asked, Chosen, Models, cost_of, piece_of
from aiex.assistant.project import OpenGit, ProjectReader
from aiex.assistant.related import Related
from aiex.assistant.verbs import Run
from aiex.context import Fitted, Item, ShownItem, fit
from aiex.core import (
    ExplainArguments,
    ExplainResult,
    Facts,
    Finished,
    Message,
    NotChecked,
    Notice,
    ShownContext,
    TextPart,
    UnavailableError,
)

__all__ = ["Explain"]

_LONGEST_REPLY = 1200
_MOST_SHOWN = 64_000  # tokens; beyond it a prompt costs more and says less


class Explain:
    """The verb.

    Args:
        reader: Reads the project.
        open_git: Opens the history of a request's root.
        lint: Finds what a linter says of a file.
        models: Asks models.
        related: Finds what else of the project has to do with a question.
    """

    name = "explain"
    arguments_type = ExplainArguments

    def __init__(
        self,
        *,
        reader: ProjectReader,
        open_git: OpenGit,
        lint: Ruff,
        models: Models,
        related: Related,
    ) -> None:
        self._reader = reader
        self._open_git = open_git
        self._lint = lint
        self._models = models
        self._related = related

    async def run(self, arguments: ExplainArguments, run: Run) -> Finished:
        """Tell the facts, then what a model makes of them."""
        subject = await self._subject(arguments, run)
        await run.emit(Facts(data=msgspec.Raw(msgspec.json.encode(subject.facts))))
        if arguments.facts_only:
            return _finished(subject, "facts_only")
        if not any(item.text.strip() for item in subject.items):
            return _finished(subject, "nothing_to_show")
        options = run.request.options
        try:
            chosen = await self._models.choose(options)
        except UnavailableError as error:
            if options.model is not None or options.provider is not None:
                raise
            await run.emit(Notice(text=f"No model: {error.message} {error.hint or ''}".strip()))
            missing = NotChecked(what="the model's explanation", reason=error.message)
            return _finished(subject, "no_model", missing)
        if arguments.question:
            subject = await self._with_related(subject, arguments.question, run)
        output = options.max_output_tokens or _LONGEST_REPLY
        fitted = self._fit(subject, arguments, chosen, output)
        messages = _messages(subject, arguments, fitted.shown)
        asked = await self._models.ask(
            run,
            chosen,
            messages,
            output_tokens=output,
            pieces=[
                piece_of(s.item.path, s.text, reason=s.item.reason, tokens=s.tokens, form=s.form)
                for s in fitted.shown
            ],
            left_out=fitted.left_out,
        )
        return _finished(subject, asked.reason, fitted=fitted, asked=asked)

    async def _with_related(self, subject: Subject, question: str, run: Run) -> Subject:
        """Return *subject* with what else fits the question, behind what it shows anyway."""
        shown = {item.path for item in subject.items}
        found = await self._related.items(run, question, reason="fits the question", without=shown)
        return msgspec.structs.replace(subject, items=(*subject.items, *found))

    async def _subject(self, arguments: ExplainArguments, run: Run) -> Subject:
        if arguments.kind == "error":
            return await subject_of_error(arguments, run, reader=self._reader)
        if arguments.kind == "diff":
            return await subject_of_diff(
                arguments, run, reader=self._reader, open_git=self._open_git
            )
        return await subject_of_code(arguments, run, reader=self._reader, lint=self._lint)

    def _fit(
        self, subject: Subject, arguments: ExplainArguments, chosen: Chosen, output: int
    ) -> Fitted:
        """Return what of the subject's items fits beside everything else that is said."""

        def count(text: str) -> int:
            return self._models.count(text, chosen.model)

        bare = sum(count(text) for text in _texts(_messages(subject, arguments, [])))
        heading = (
            max((count(_heading(item, item.start_line)) for item in subject.items), default=0) + 8
        )
        return fit(
            subject.items,
            max(0, min(_MOST_SHOWN, chosen.room(output) - bare)),
            lambda text: count(text) + heading,
        )


def _messages(
    subject: Subject, arguments: ExplainArguments, shown: Sequence[ShownItem]
) -> tuple[Message, ...]:
    return prompts.explain(
        kind=subject.facts.kind,
        facts=facts_in_words(subject.facts, (s.text for s in shown)),
        context=[(_heading(s.item, s.start_line), s.text) for s in shown],
        detail=arguments.detail,
        focus=arguments.focus,
        question=arguments.question,
    )


def _heading(item: Item, line: int) -> str:
    place = f"{item.path}, from line {line}" if item.path else "From the user"
    return f"{place} ({item.reason}):"


def _texts(messages: Sequence[Message]) -> list[str]:
    return [part.text for m in messages for part in m.parts if isinstance(part, TextPart)]


def _shown(fitted: Fitted) -> tuple[ShownContext, ...]:
    return (
        *(
            ShownContext(
                path=s.item.path,
                start_line=s.start_line,
                reason=s.item.reason,
                form=s.form,
                tokens=s.tokens,
            )
            for s in fitted.shown
        ),
        *(
            ShownContext(path=i.path, start_line=i.start_line, reason=i.reason, form="left_out")
            for i in fitted.dropped
        ),
    )


def _finished(
    subject: Subject,
    reason: str,
    *missing: NotChecked,
    fitted: Fitted | None = None,
    asked: Asked | None = None,
) -> Finished:
    result = ExplainResult(
        facts=subject.facts,
        text=None if asked is None or asked.reply is None else asked.reply.text,
        estimates=() if asked is None else tuple(cost_of(e) for e in asked.estimates),
        provider=None if asked is None else asked.usage.provider,
        model=None if asked is None else asked.usage.model,
        context=() if fitted is None else _shown(fitted),
    )
    finished = Finished(
        status="ok",
        data=msgspec.Raw(msgspec.json.encode(result)),
        termination_reason=reason,
        not_checked=(*subject.not_checked, *missing),
        checked=subject.checked,
    )
    return finished if asked is None else msgspec.structs.replace(finished, usage=asked.usage)
