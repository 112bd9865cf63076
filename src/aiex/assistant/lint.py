"""What ruff says of Python files: of what was read, never of the tree, and cached by content."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import anyio.to_thread
import msgspec

from aiex.assistant.ruff_run import Outcome, ReadContents, RuffProgram, RuffRuns, ruff_program
from aiex.assistant.ruff_settings import RuffSettings, RuffSettingsFound
from aiex.code import FileFacts, Symbol
from aiex.context import AnalysisCache, CacheKey
from aiex.core import Finding, NotChecked, StoreError, ToolRun, digest_of, with_ids
from aiex.sandbox import Command, CommandResult, FileContent, printable, run_command

__all__ = ["LintReport", "Ruff", "Source"]

_BATCH_FILES = 500
_BATCH_BYTES = 4 << 20
_BATCH_RECORDS = 2000
_LONGEST_COMPLAINT = 100
_DECODE = msgspec.json.Decoder(Outcome).decode


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A file to check.

    Attributes:
        path: Relative to the root.
        sha256: Digest of its content.
        size: Bytes.
    """

    path: str
    sha256: str
    size: int


class LintReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        findings: By file, in order of their lines, with their identifiers.
        checked: What was run; without exit status where everything came from the cache, and
            empty where nothing could be checked.
        not_checked: What could not be looked at, and why.
    """

    findings: tuple[Finding, ...]
    checked: tuple[ToolRun, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


class Ruff:
    """Runs ruff.

    Args:
        cache: Keeps findings by content and settings.
        find: Finds the program; `None` if it is not installed.
        timeout: Seconds that one run of it may take.
    """

    def __init__(
        self,
        cache: AnalysisCache,
        *,
        find: Callable[[], str | None] = ruff_program,
        timeout: float = 10.0,
    ) -> None:
        self._cache = cache
        self._find = find
        self._timeout = timeout
        self._known: RuffProgram | None = None

    async def version(self) -> str | None:
        """Return the version of ruff; `None` if it is not installed."""
        program = await self._program()
        return None if program is None else program.version

    async def _program(self) -> RuffProgram | None:
        if self._known is None:
            path = await anyio.to_thread.run_sync(self._find)
            if path is None:
                return None
            said = await run_command(Command(argv=(path, "--version"), timeout=self._timeout))
            version = said.stdout.decode().strip().removeprefix("ruff ")
            self._known = RuffProgram(path=path, version=version, timeout=self._timeout)
        return self._known

    async def check(
        self,
        contents: Sequence[FileContent],
        facts: Mapping[str, FileFacts],
        settings: RuffSettings | RuffSettingsFound,
        *,
        use_cache: bool = True,
    ) -> LintReport:
        """Return the findings in *contents*.

        Args:
            contents: Python files.
            facts: Facts of each, by path; they name the symbol around a finding.
            settings: How to ask, or that of each file.
            use_cache: Whether findings of earlier runs may be used.
        """
        held = {content.path: content for content in contents}
        if isinstance(settings, RuffSettings):
            settings = RuffSettingsFound(by_path=dict.fromkeys(held, settings))
        return await self.check_many(
            [Source(path=c.path, sha256=c.sha256, size=len(c.content)) for c in contents],
            lambda paths: [held[path] for path in paths],
            facts,
            settings,
            use_cache=use_cache,
        )

    async def check_many(
        self,
        sources: Sequence[Source],
        read: ReadContents,
        facts: Mapping[str, FileFacts],
        settings: RuffSettingsFound,
        *,
        use_cache: bool = True,
        progress: Callable[[int, int], Awaitable[None]] | None = None,
    ) -> LintReport:
        """Return the findings in many files, of which only those not known yet are read.

        Args:
            sources: Python files.
            read: Reads files; blocks, and is called in a thread with some paths at a time.
            facts: Facts of each, by path; they name the symbol around a finding.
            settings: How to ask about each of them.
            use_cache: Whether findings of earlier runs may be used.
            progress: Told the files done and the files to do.
        """
        program = await self._program()
        if program is None:
            missing = NotChecked(
                what="lint and security of Python", reason="ruff is not installed", tool="ruff"
            )
            return LintReport(findings=(), not_checked=(missing,))
        asked, refused = await self._asked(program, sources, settings, use_cache=use_cache)
        keys = _keys(sources, asked, program.version)
        report = _Report(facts)
        kept = await self._kept(keys, report) if use_cache else set()
        todo = [source for source in sources if source.path not in kept]
        check = RuffRuns(program, read, facts)
        done = 0
        for how, paths in _batches(todo, asked):
            if progress is not None:
                await progress(done, len(todo))
            fresh = await check.files(paths, how)
            if use_cache:
                await self._keep({keys[path]: fresh[path] for path in fresh})
            await anyio.to_thread.run_sync(report.add, fresh)
            done += len(paths)
        return LintReport(
            findings=report.findings(),
            checked=(check.run(asked),) if report.has_findings else (),
            not_checked=(*settings.not_checked, *refused, *report.notes(), *check.notes),
        )

    async def _asked(
        self,
        program: RuffProgram,
        sources: Sequence[Source],
        settings: RuffSettingsFound,
        *,
        use_cache: bool,
    ) -> tuple[dict[str, RuffSettings], list[NotChecked]]:
        """Return how to ask about each file: ours for those whose own settings ruff refuses."""
        asked = {source.path: settings.by_path[source.path] for source in sources}
        notes: list[NotChecked] = []
        for theirs in set(asked.values()):
            if theirs.origin is None:
                continue
            problem = await self._refusal(program, theirs, use_cache=use_cache)
            if problem:
                what = f"settings of ruff in {theirs.origin}"
                notes.append(NotChecked(what=what, reason=problem, tool="ruff"))
                ours = RuffSettings()
                asked = {path: ours if how == theirs else how for path, how in asked.items()}
        return asked, sorted(notes, key=lambda note: note.what)

    async def _refusal(
        self, program: RuffProgram, settings: RuffSettings, *, use_cache: bool
    ) -> str:
        """Return why ruff refuses *settings*; empty if it takes them."""
        digest = digest_of(repr(settings.arguments()).encode())
        key = CacheKey(sha256=digest, kind="ruff-settings", version=program.version)
        kept = (await self._cache.get_many([key]))[0] if use_cache else None
        if kept is not None:
            return msgspec.json.decode(kept, type=str)
        result = await program.check([], settings)
        problem = f"ruff refuses them: {_complaint(result)}" if result.exit else ""
        if use_cache:
            with suppress(StoreError):
                await self._cache.put_many({key: msgspec.json.encode(problem)})
        return problem

    async def _kept(self, keys: Mapping[str, CacheKey], report: _Report) -> set[str]:
        """Put what is known into *report* and return its paths."""
        known: set[str] = set()
        paths = list(keys)
        for start in range(0, len(paths), _BATCH_RECORDS):
            batch = paths[start : start + _BATCH_RECORDS]
            values = await self._cache.get_many([keys[path] for path in batch])
            outcomes = await anyio.to_thread.run_sync(_decode_all, batch, values)
            await anyio.to_thread.run_sync(report.add, outcomes)
            known.update(outcomes)
        return known

    async def _keep(self, outcomes: Mapping[CacheKey, Outcome]) -> None:
        values = {key: msgspec.json.encode(outcome) for key, outcome in outcomes.items()}
        with suppress(StoreError):  # a cache that cannot be written costs time, never the answer
            await self._cache.put_many(values)


class _Report:
    """Collects what was found in each file, in as little memory as a hundred thousand take."""

    def __init__(self, facts: Mapping[str, FileFacts]) -> None:
        self.has_findings = False
        self._facts = facts
        self._found: dict[str, tuple[Finding, ...]] = {}
        self._reasons: dict[str, str] = {}
        self._texts: dict[str, str] = {}

    def add(self, outcomes: Mapping[str, Outcome]) -> None:
        for path, outcome in outcomes.items():
            if isinstance(outcome, str):
                self._reasons[path] = outcome
                continue
            self.has_findings = True
            if outcome:
                placed = placed_in(self._facts.get(path), outcome)
                self._found[path] = with_ids([self._shared(path, one) for one in placed])

    def _shared(self, path: str, finding: Finding) -> Finding:
        """Return *finding* with one copy of each text that many findings have."""
        share = self._texts.setdefault
        return msgspec.structs.replace(
            finding,
            path=path,
            rule=share(finding.rule, finding.rule),
            message=share(finding.message, finding.message),
            tool=share(finding.tool, finding.tool),
            fix=finding.fix and share(finding.fix, finding.fix),
            url=finding.url and share(finding.url, finding.url),
        )

    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for path in sorted(self._found) for finding in self._found[path])

    def notes(self) -> list[NotChecked]:
        return [
            NotChecked(what=path, reason=self._reasons[path], tool="ruff")
            for path in sorted(self._reasons)
        ]


def placed_in(facts: FileFacts | None, findings: Sequence[Finding]) -> list[Finding]:
    """Return *findings* of one file, by line, each with the innermost function around it."""
    functions = [s for s in (facts.symbols if facts else ()) if s.complexity is not None]
    functions.sort(key=lambda symbol: (symbol.start_line, -symbol.end_line))
    placed: list[Finding] = []
    around: list[Symbol] = []
    at = 0
    for finding in sorted(findings, key=lambda one: (one.line, one.column)):
        while at < len(functions) and functions[at].start_line <= finding.line:
            around.append(functions[at])
            at += 1
        while around and around[-1].end_line < finding.line:
            around.pop()
        symbol = around[-1].qualified_name if around else None
        placed.append(msgspec.structs.replace(finding, symbol=symbol))
    return placed


def _complaint(result: CommandResult) -> str:
    """Return the line of ruff's messages that says what is wrong with its settings."""
    said = result.stderr.decode("utf-8", "replace")
    _, _, detail = said.partition("configuration option:")
    lines = (detail or said.rpartition("Cause: ")[2]).strip().split("\n")
    return printable(lines[0][:_LONGEST_COMPLAINT]) or f"it ended with {result.exit}"


def _batches(
    sources: Sequence[Source], asked: Mapping[str, RuffSettings]
) -> Iterator[tuple[RuffSettings, list[str]]]:
    """Yield the paths of *sources* that are asked about alike, as many as fit in memory."""
    groups: dict[RuffSettings, list[Source]] = {}
    for source in sources:
        groups.setdefault(asked[source.path], []).append(source)
    for how, group in groups.items():
        batch: list[str] = []
        size = 0
        for source in group:
            if batch and (len(batch) >= _BATCH_FILES or size + source.size > _BATCH_BYTES):
                yield how, batch
                batch, size = [], 0
            batch.append(source.path)
            size += source.size
        yield how, batch


def _decode_all(paths: Sequence[str], values: Sequence[bytes | None]) -> dict[str, Outcome]:
    return {path: _DECODE(raw) for path, raw in zip(paths, values, strict=True) if raw is not None}


def _keys(
    sources: Sequence[Source], asked: Mapping[str, RuffSettings], version: str
) -> dict[str, CacheKey]:
    # Rules and patterns look at the name of the file, so it belongs to what findings come from.
    versions = {how: f"{version} {how.base} {how.arguments()}" for how in set(asked.values())}
    return {
        source.path: CacheKey(
            sha256=digest_of(f"{source.path}\0{source.sha256}".encode("utf-8", "surrogateescape")),
            kind="ruff",
            version=versions[asked[source.path]],
        )
        for source in sources
    }
