"""The recipe of `analyze deps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import anyio.to_thread
import msgspec

from aiex.assistant.analyze.deps.collect import Collected, collect
from aiex.assistant.analyze.deps.judge import findings_of
from aiex.assistant.analyze.deps.outdated import Sources, to_compare, with_newest
from aiex.assistant.analyze.deps.ports import AdvisorySource
from aiex.assistant.analyze.deps.security import to_check, with_vulnerabilities
from aiex.assistant.analyze.finished import finished
from aiex.assistant.analyze.ranking import by_severity, ranked
from aiex.assistant.project import ProjectReader
from aiex.assistant.verbs import Run
from aiex.core import (
    AnalyzeArguments,
    Coverage,
    Dependency,
    DepsResult,
    Finished,
    NotChecked,
    Progress,
    ToolRun,
    Vulnerability,
)

__all__ = ["Asked", "DepsAnalysis", "OpenAsked"]

_SECONDS = 60.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask.

    Attributes:
        versions: Who knows newer versions, by ecosystem.
        advisories: Who knows vulnerabilities; `None` for nobody.
    """

    versions: Sources
    advisories: AdvisorySource | None


OpenAsked = Callable[[], AbstractAsyncContextManager[Asked]]
"""Opens whom to ask; called only where something is asked."""


class DepsAnalysis:
    """Reads what a project depends on, and asks what is known of it where the user wants that.

    Args:
        reader: Reads the project.
        open_asked: Opens whom to ask.
        seconds: Time for all that is asked about newer versions, and as much for vulnerabilities.
    """

    def __init__(
        self, *, reader: ProjectReader, open_asked: OpenAsked, seconds: float = _SECONDS
    ) -> None:
        self._reader = reader
        self._open_asked = open_asked
        self._seconds = seconds

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Return what was found."""
        files = self._reader.open(run.request)
        starts = arguments.paths or (".",)

        def read() -> Collected:
            return collect(files, files.scan(starts))

        collected = await anyio.to_thread.run_sync(read)
        answers = _Answers(collected.dependencies)
        answers.not_checked += collected.not_checked
        if collected.dependencies:
            await self._ask(arguments, run, answers)
        else:
            reason = "no manifest that can be read names a dependency"
            answers.not_checked.append(NotChecked(what="dependencies", reason=reason))
            answers.leave(dict.fromkeys(("outdated", "security"), "there is nothing to ask about"))
        return await anyio.to_thread.run_sync(_finished, arguments, collected, answers)

    async def _ask(self, arguments: AnalyzeArguments, run: Run, answers: _Answers) -> None:
        options = run.request.options
        outdated, security = arguments.outdated, arguments.security
        if options.offline or options.dry_run or not (outdated or security):
            answers.leave(_why_not(arguments, run))
            return
        async with self._open_asked() as asked:
            if outdated:
                await answers.ask_versions(asked.versions, run, self._seconds)
            if security:
                await answers.ask_advisories(asked.advisories, run, self._seconds)
        answers.leave(
            {"outdated": "--outdated asks for them", "security": "--security asks for them"}
        )


def _why_not(arguments: AnalyzeArguments, run: Run) -> dict[str, str]:
    """Return why each question is not asked."""
    reasons = {}
    for question in ("outdated", "security"):
        if run.request.options.offline:
            reasons[question] = "--offline opens no connection"
        elif getattr(arguments, question) and run.request.options.dry_run:
            reasons[question] = "--dry-run asks nobody"
        else:
            reasons[question] = f"--{question} asks for them"
    return reasons


class _Answers:
    """What is known so far, and what is not."""

    def __init__(self, dependencies: Sequence[Dependency]) -> None:
        self.dependencies = tuple(dependencies)
        self.vulnerabilities: tuple[Vulnerability, ...] = ()
        self.not_checked: list[NotChecked] = []
        self.checked: list[ToolRun] = []
        self._left = {"outdated": "newer versions", "security": "vulnerabilities"}

    async def ask_versions(self, sources: Sources, run: Run, seconds: float) -> None:
        """Ask for newer versions."""
        del self._left["outdated"]

        async def tell(done: int, total: int) -> None:
            await run.emit(
                Progress(stage="asking for versions", done=done, total=total, unit="packages")
            )

        newer = await with_newest(self.dependencies, sources, tell=tell, seconds=seconds)
        self.dependencies = newer.dependencies
        self.not_checked += newer.not_checked
        self.checked += [ToolRun(name=f"versions from {name}") for name in newer.asked]

    async def ask_advisories(self, source: AdvisorySource | None, run: Run, seconds: float) -> None:
        """Ask for vulnerabilities."""
        del self._left["security"]
        if source is None:
            reason = "no database is set up that knows them; analysis.osv_url names one"
            self.not_checked.append(NotChecked(what="vulnerabilities", reason=reason))
            return

        async def tell(done: int, total: int) -> None:
            stage = "asking for vulnerabilities"
            await run.emit(Progress(stage=stage, done=done, total=total, unit="packages"))

        known = await with_vulnerabilities(self.dependencies, source, tell=tell, seconds=seconds)
        self.dependencies = known.dependencies
        self.vulnerabilities = known.vulnerabilities
        self.not_checked += known.not_checked
        if any(one.vulnerabilities is not None for one in self.dependencies):
            self.checked.append(ToolRun(name=f"vulnerabilities from {source.name}"))

    def leave(self, reasons: dict[str, str]) -> None:
        """Note what was not asked, and why."""
        for question, what in self._left.items():
            self.not_checked.append(NotChecked(what=what, reason=reasons[question]))


def _finished(arguments: AnalyzeArguments, collected: Collected, answers: _Answers) -> Finished:
    found = ranked(findings_of(answers.dependencies, answers.vulnerabilities), {})
    result = DepsResult(
        manifests=collected.manifests,
        dependencies=answers.dependencies,
        outdated=_outdated(arguments.outdated, answers.dependencies),
        security=_security(arguments.security, answers.dependencies),
        vulnerabilities=answers.vulnerabilities,
        findings=found,
        severities=by_severity(found),
    )
    return finished(
        result,
        findings=found,
        fail_on=arguments.fail_on,
        not_checked=answers.not_checked,
        checked=answers.checked,
    )


def _outdated(is_asked: bool, dependencies: Sequence[Dependency]) -> Coverage:
    unknown = {
        (one.ecosystem, one.name)
        for one in dependencies
        if one.source is None and one.group != "indirect" and one.is_outdated is None
    }
    behind = {(one.ecosystem, one.name) for one in dependencies if one.is_outdated}
    packages = len(to_compare(dependencies))
    return Coverage(
        is_asked=is_asked, checked=packages - len(unknown), packages=packages, found=len(behind)
    )


def _security(is_asked: bool, dependencies: Sequence[Dependency]) -> Coverage:
    checked = {
        (one.ecosystem, one.name, one.version)
        for one in dependencies
        if one.vulnerabilities is not None
    }
    found = {(one.ecosystem, one.name, one.version) for one in dependencies if one.vulnerabilities}
    return Coverage(
        is_asked=is_asked,
        checked=len(checked),
        packages=to_check(dependencies),
        found=len(found),
    )
