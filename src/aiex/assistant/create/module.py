"""`create module`: a model writes a file, and what is stored is whole, parsed and formatted."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.to_thread
import msgspec

from aiex.assistant import prompts
from aiex.assistant.create.page import page_of
from aiex.assistant.create.placement import Placement, language_of_project, place_module
from aiex.assistant.create.surroundings import Surroundings, read_surroundings
from aiex.assistant.create.writing import Task, Writer, Written, reply_tokens
from aiex.assistant.lint import LintReport, Ruff
from aiex.assistant.models import Chosen, Models, cost_of, piece_of, sum_of
from aiex.assistant.project import ProjectReader
from aiex.assistant.proposals import Proposals, summary_of
from aiex.assistant.related import Related
from aiex.assistant.ruff_settings import RuffSettings
from aiex.assistant.verbs import Run
from aiex.code import Language, read_facts
from aiex.context import Fitted, Item, fit
from aiex.core import (
    CreateModuleArguments,
    CreateModuleResult,
    FileEdit,
    Finished,
    Message,
    TextPart,
    UsageError,
    digest_of,
)
from aiex.sandbox import FileContent, Files

__all__ = ["CreateModule"]


class CreateModule:
    """The verb.

    Args:
        reader: Opens the project.
        models: Asks models.
        writer: Has files written.
        lint: Finds what a linter says of them.
        proposals: Stores them.
        related: Finds what of the project has to do with the description.
    """

    name = "create_module"
    arguments_type = CreateModuleArguments

    def __init__(
        self,
        *,
        reader: ProjectReader,
        models: Models,
        writer: Writer,
        lint: Ruff,
        proposals: Proposals,
        related: Related,
    ) -> None:
        self._reader = reader
        self._models = models
        self._writer = writer
        self._lint = lint
        self._proposals = proposals
        self._related = related

    async def run(self, arguments: CreateModuleArguments, run: Run) -> Finished:
        """Propose the module, and write it where that was asked for."""
        if not arguments.description.strip():
            raise UsageError(
                "say what the module shall do",
                hint=f'aiex create module {arguments.name} "what it does"',
            )
        files = self._reader.open(run.request)
        place, language = await anyio.to_thread.run_sync(_place, files, arguments)
        around = await anyio.to_thread.run_sync(read_surroundings, files, place, language)
        chosen = await self._models.choose(run.request.options)
        related = await self._related.items(
            run,
            f"{arguments.name} {arguments.description}",
            reason="fits the description",
            without={place.path, place.test_path, *(path for path, _ in around.examples)},
        )
        items = [*_items(around), *related]
        task = self._task(arguments, run, place, language, around, items, chosen)
        module = await self._writer.write(run, chosen, task)
        if module.file is None:
            return _dry(place, language, module)
        written = {place.path: module}
        if arguments.tests:
            written[place.test_path] = await self._writer.write(
                run, chosen, self._tests(task, place, module.file.text, chosen)
            )
        texts = {path: one.file.text for path, one in written.items() if one.file is not None}
        if arguments.docs:
            facts = read_facts(module.file.text.encode(), language)
            texts[place.docs_path] = page_of(
                place.name, arguments.description, facts, language=language
            )
        texts |= dict.fromkeys(place.new_packages, "")
        report = await self._check(texts, task)
        return await self._propose(arguments, run, place, around, texts, written, report)

    def _task(
        self,
        arguments: CreateModuleArguments,
        run: Run,
        place: Placement,
        language: Language,
        around: Surroundings,
        items: Sequence[Item],
        chosen: Chosen,
    ) -> Task:
        attached = [("From the user", arguments.attached)] if arguments.attached else []

        def messages(examples: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
            return prompts.create_module(
                name=place.name,
                path=place.path,
                language=language,
                description=arguments.description,
                examples=[*attached, *examples],
            )

        def count(text: str) -> int:
            return self._models.count(text, chosen.model)

        bare = sum(count(p.text) for m in messages([]) for p in m.parts if isinstance(p, TextPart))
        # Half of the window at most: a style is seen in a page or two.
        room = chosen.room(reply_tokens(run.request.options)) // 2 - bare
        fitted: Fitted = fit(items, max(0, room), count)
        return Task(
            path=place.path,
            language=language,
            messages=messages([(f"{s.item.path}, {s.item.reason}", s.text) for s in fitted.shown]),
            pieces=[
                piece_of(s.item.path, s.text, reason=s.item.reason, tokens=s.tokens, form=s.form)
                for s in fitted.shown
            ],
            left_out=fitted.left_out,
            line_length=around.line_length,
            max_repairs=arguments.max_repairs,
            before=around.before.get(place.path, b"").decode("utf-8", "replace"),
        )

    def _tests(self, task: Task, place: Placement, source: str, chosen: Chosen) -> Task:
        messages = prompts.create_tests(
            name=place.name,
            path=place.test_path,
            language=task.language,
            module_path=place.path,
            source=source,
        )
        tokens = self._models.count(source, chosen.model)
        shown = piece_of(place.path, source, reason="what is tested", tokens=tokens, form="whole")
        return msgspec.structs.replace(
            task,
            path=place.test_path,
            messages=messages,
            pieces=(shown,),
            left_out=(),
            before="",
        )

    async def _check(self, texts: dict[str, str], task: Task) -> LintReport:
        if task.language != "python":
            return LintReport(findings=())
        contents = [
            FileContent(
                path=path,
                content=text.encode(),
                sha256=digest_of(text.encode()),
                mode=0o644,
                mtime_ns=0,
            )
            for path, text in texts.items()
            if path.endswith(".py") and text
        ]
        facts = {c.path: read_facts(c.content, "python") for c in contents}
        settings = RuffSettings(line_length=task.line_length)
        return await self._lint.check(contents, facts, settings)

    async def _propose(
        self,
        arguments: CreateModuleArguments,
        run: Run,
        place: Placement,
        around: Surroundings,
        texts: dict[str, str],
        written: dict[str, Written],
        report: LintReport,
    ) -> Finished:
        files = [one.file for one in written.values() if one.file is not None]
        usage = sum_of([one.usage for one in written.values()])
        change = await self._proposals.make(
            run,
            [
                FileEdit(
                    path=path,
                    after=text.encode(),
                    before_sha256=(
                        digest_of(around.before[path]) if path in around.before else None
                    ),
                )
                for path, text in texts.items()
            ],
            around.before,
            summary=" ".join(f"module {place.name}: {arguments.description}".split())[:200],
            usage=usage,
            checks=[*(check for file in files for check in file.checks), *report.checked],
            not_checked=[*(n for file in files for n in file.not_checked), *report.not_checked],
        )
        if arguments.apply:
            change = await self._proposals.apply(change, run, overwrite=False)
        result = CreateModuleResult(
            name=place.name,
            language=files[0].language,
            change=await self._proposals.view(change, findings=report.findings),
            repairs=sum(one.repairs for one in written.values()),
        )
        return Finished(
            status="ok",
            data=msgspec.Raw(msgspec.json.encode(result)),
            termination_reason="applied" if arguments.apply else "proposed",
            usage=usage,
            change=summary_of(change),
            checked=change.checks,
            not_checked=change.not_checked,
        )


def _place(files: Files, arguments: CreateModuleArguments) -> tuple[Placement, Language]:
    """Return where the module goes, once it is certain that nothing is in its way."""
    paths = {entry.path for entry in files.scan().entries}
    language = arguments.language or language_of_project(paths)
    if language is None:
        raise UsageError(
            "the project's language is unclear", hint="--language python, or --language elixir"
        )
    place = place_module(arguments.name, language=language, path=arguments.path, paths=paths)
    wanted = [place.path]
    wanted += [place.test_path] * arguments.tests + [place.docs_path] * arguments.docs
    taken = [path for path in wanted if files.exists(path)]
    if taken and not arguments.overwrite:
        raise UsageError(
            f"{taken[0]} exists already; nothing was written",
            hint="choose another place with --path FILE, or replace it with --overwrite",
        )
    return place, "python" if language == "python" else "elixir"


def _items(around: Surroundings) -> list[Item]:
    shown = [
        Item(path=path, start_line=1, text=text, reason="a neighbour, for its style")
        for path, text in around.examples
    ]
    if around.conventions.strip():
        text = around.conventions
        shown.insert(0, Item(path="AGENTS.md", start_line=1, text=text, reason="its conventions"))
    return shown


def _dry(place: Placement, language: Language, module: Written) -> Finished:
    result = CreateModuleResult(
        name=place.name,
        language=language,
        estimates=tuple(cost_of(estimate) for estimate in module.estimates),
    )
    return Finished(
        status="ok",
        data=msgspec.Raw(msgspec.json.encode(result)),
        termination_reason="dry_run",
    )
