"""`analyze code`: everything that is known of a project without a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import anyio.to_thread

from aiex.assistant.analyze import measures
from aiex.assistant.analyze.finished import MOST_LISTED, finished, left_out
from aiex.assistant.analyze.history import History, HistoryReader
from aiex.assistant.analyze.ranking import by_severity, hotspots, ranked
from aiex.assistant.lint import LintReport, Ruff, Source
from aiex.assistant.project import Project, ProjectReader
from aiex.assistant.ruff_settings import find_settings
from aiex.assistant.verbs import Run
from aiex.code import import_graph
from aiex.core import (
    AiexError,
    AnalyzeArguments,
    AnalyzeResult,
    Finding,
    Finished,
    Progress,
    with_ids,
)
from aiex.sandbox import FileContent, Files

__all__ = ["CodeAnalysis"]


class CodeAnalysis:
    """Measures a project and finds what is worth a look.

    Args:
        reader: Reads the project.
        lint: Finds what a linter says of its files.
        history: Knows how often files changed.
    """

    def __init__(self, *, reader: ProjectReader, lint: Ruff, history: HistoryReader) -> None:
        self._reader = reader
        self._lint = lint
        self._history = history

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Return what was found."""
        use_cache = run.request.options.use_cache
        files = self._reader.open(run.request)
        history = History(churn={})

        async def look_back() -> None:
            nonlocal history
            history = await self._history.read(files.root, arguments.since, use_cache=use_cache)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look_back)
            tasks.start_soon(self._lint.version)  # asked for while files are read
            starts = arguments.paths or (".",)
            project = await self._reader.read(run, starts, brief=True)
            report = await self._findings(run, files, project, starts)
        result = await anyio.to_thread.run_sync(_result, arguments, project, report, history)
        return finished(
            result,
            findings=result.findings,
            fail_on=arguments.fail_on,
            not_checked=(
                *project.not_checked,
                *report.not_checked,
                *history.not_checked,
                *left_out("findings", sum(result.severities.values())),
            ),
            checked=report.checked,
        )

    async def _findings(
        self, run: Run, files: Files, project: Project, starts: Sequence[str]
    ) -> LintReport:
        async def tell(done: int, total: int) -> None:
            await run.emit(Progress(stage="checking", done=done, total=total))

        python = [
            Source(path=entry.path, sha256=project.digests[entry.path], size=entry.size)
            for entry in project.scan.entries
            if entry.path in project.files and project.files[entry.path].language == "python"
        ]
        settings = await anyio.to_thread.run_sync(
            partial(find_settings, entries=project.scan.entries, starts=starts),
            files,
            [source.path for source in python],
        )
        return await self._lint.check_many(
            python,
            partial(_read, files),
            project.files,
            settings,
            use_cache=run.request.options.use_cache,
            progress=tell,
        )


def _read(files: Files, paths: Sequence[str]) -> list[FileContent]:
    return [content for content in files.read_many(paths) if not isinstance(content, AiexError)]


def _result(
    arguments: AnalyzeArguments, project: Project, report: LintReport, history: History
) -> AnalyzeResult:
    files, most = project.files, arguments.most
    imports = measures.import_summary(import_graph(files), most)
    own: list[Finding] = [
        *measures.cycle_findings(imports.cycles, files),
        *measures.findings_of_complexity(files),
    ]
    hot = hotspots(files, history.churn)
    findings = ranked((*report.findings, *with_ids(own)), files, hot)
    return AnalyzeResult(
        most=most,
        files=len(project.scan.entries),
        languages=measures.languages(files),
        symbols=measures.symbol_counts(files),
        functions=measures.most_complex(files, most),
        documentation=measures.documentation(files),
        imports=imports,
        findings=findings[:MOST_LISTED],
        severities=by_severity(findings),
        hotspots=hot[:most],
    )
