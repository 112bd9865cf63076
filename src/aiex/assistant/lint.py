"""What ruff says of Python files: run on what was read, never on the tree, and cached by content.

ruff gets copies of the files in an empty folder, so nothing of the project (settings, links, what
changes meanwhile) reaches it but the bytes that were read and the settings that are handed over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from aiex.assistant.ruff_settings import RuffSettings, RuffSettingsFound
from aiex.code import FileFacts, read_facts, read_ruff, unfit_for_ruff
from aiex.context import AnalysisCache, CacheKey
from aiex.core import Finding, NotChecked, StoreError, ToolRun, digest_of, with_ids
from aiex.sandbox import Command, CommandResult, FileContent, printable, run_command

__all__ = ["LintReport", "ReadContents", "Ruff", "Source", "ruff_program"]

_BATCH_FILES = 500
_BATCH_BYTES = 4 << 20
_MOST_REPORT_BYTES = 8 << 20
_BATCH_RECORDS = 2000
_TIMEOUT = 10.0
_TIMEOUT_AGAIN = 3.0
_MOST_DEATHS = 16
_MOST_LOST_MS = 20_000
_LONGEST_COMPLAINT = 100
_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a private folder in it
_INCLUDE = 'include=["*.py", "*.pyi", "*.pyw"]'
_STACK = "1073741824"  # ruff's parser is recursive; measured to carry what is let through
# ruff passes by folders such as `dist` and `venv`; what it is given was chosen by us.
_EVERY_FILE = ("--no-respect-gitignore", "--config", _INCLUDE)
_NO_EXCLUDE = ("--config", "exclude=[]")
_DECODE = msgspec.json.Decoder(list[Finding]).decode

ReadContents = Callable[[Sequence[str]], Sequence[FileContent]]
"""Reads files; those that cannot be read any more are left out."""


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
    """

    def __init__(self, cache: AnalysisCache) -> None:
        self._cache = cache
        self._version: str | None = None

    async def version(self) -> str | None:
        """Return the version of ruff; `None` if it is not installed."""
        if self._version is None:
            program = await anyio.to_thread.run_sync(ruff_program)
            if program is None:
                return None
            said = await run_command(Command(argv=(program, "--version"), timeout=10))
            self._version = said.stdout.decode().strip().removeprefix("ruff ")
        return self._version

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
        version = await self.version()
        if version is None:
            missing = NotChecked(
                what="lint and security of Python", reason="ruff is not installed", tool="ruff"
            )
            return LintReport(findings=(), not_checked=(missing,))
        asked, refused = await self._asked(sources, settings, version, use_cache=use_cache)
        keys = _keys(sources, asked, version)
        found = await self._kept(keys) if use_cache else {}
        todo = [source for source in sources if source.path not in found]
        check = _Check(read, facts, version=version)
        done = 0
        for how, paths in _batches(todo, asked):
            if progress is not None:
                await progress(done, len(todo))
            fresh = await check.files(paths, how)
            found.update(fresh)
            if use_cache:
                await self._keep({keys[path]: fresh[path] for path in fresh})
            done += len(paths)
        every = [_placed(f, facts.get(path)) for path in sorted(found) for f in found[path]]
        return LintReport(
            findings=with_ids(every),
            checked=(check.run(asked),) if found else (),
            not_checked=(*settings.not_checked, *refused, *check.notes),
        )

    async def _asked(
        self,
        sources: Sequence[Source],
        settings: RuffSettingsFound,
        version: str,
        *,
        use_cache: bool,
    ) -> tuple[dict[str, RuffSettings], list[NotChecked]]:
        """Return how to ask about each file: ours for those whose own settings ruff refuses."""
        asked = {source.path: settings.by_path[source.path] for source in sources}
        notes: list[NotChecked] = []
        for theirs in set(asked.values()):
            if theirs.origin is None:
                continue
            problem = await self._refusal(theirs, version, use_cache=use_cache)
            if problem:
                what = f"settings of ruff in {theirs.origin}"
                notes.append(NotChecked(what=what, reason=problem, tool="ruff"))
                ours = RuffSettings(target_version=theirs.target_version)
                asked = {path: ours if how == theirs else how for path, how in asked.items()}
        return asked, sorted(notes, key=lambda note: note.what)

    async def _refusal(self, settings: RuffSettings, version: str, *, use_cache: bool) -> str:
        """Return why ruff refuses *settings*; empty if it takes them."""
        digest = digest_of(repr(settings.arguments()).encode())
        key = CacheKey(sha256=digest, kind="ruff-settings", version=version)
        kept = (await self._cache.get_many([key]))[0] if use_cache else None
        if kept is not None:
            return msgspec.json.decode(kept, type=str)
        result = await _ruff([], settings, timeout=_TIMEOUT)
        problem = f"ruff refuses them: {_complaint(result)}" if result.exit else ""
        if use_cache:
            with suppress(StoreError):
                await self._cache.put_many({key: msgspec.json.encode(problem)})
        return problem

    async def _kept(self, keys: Mapping[str, CacheKey]) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        paths = list(keys)
        for start in range(0, len(paths), _BATCH_RECORDS):
            batch = paths[start : start + _BATCH_RECORDS]
            values = await self._cache.get_many([keys[path] for path in batch])
            found.update(await anyio.to_thread.run_sync(_decode_all, batch, values))
        return found

    async def _keep(self, found: Mapping[CacheKey, list[Finding]]) -> None:
        values = {key: msgspec.json.encode(findings) for key, findings in found.items()}
        with suppress(StoreError):  # a cache that cannot be written costs time, never the answer
            await self._cache.put_many(values)


class _Check:
    """Runs ruff on some files at a time, and finds those that it dies of.

    Args:
        read: Reads files.
        facts: Facts by path.
        version: Version of ruff.

    Attributes:
        notes: What was not checked.
    """

    def __init__(
        self,
        read: ReadContents,
        facts: Mapping[str, FileFacts],
        *,
        version: str,
    ) -> None:
        self.notes: list[NotChecked] = []
        self._read = read
        self._facts = facts
        self._version = version
        self._exit: int | None = None
        self._ms = 0
        self._deaths = 0
        self._lost_ms = 0

    def run(self, asked: Mapping[str, RuffSettings]) -> ToolRun:
        """Return all runs that gave a report, as one; without exit status if there was none.

        Args:
            asked: How each file was asked about; what most were is shown.
        """
        most = Counter(asked.values()).most_common(1)[0][0]
        return ToolRun(
            name="ruff check",
            version=self._version,
            argv=_arguments(most),
            exit=self._exit,
            ms=self._ms,
        )

    async def files(self, paths: Sequence[str], how: RuffSettings) -> dict[str, list[Finding]]:
        """Return the findings by path; what could not be checked is missing and noted."""
        contents = await anyio.to_thread.run_sync(self._fitting, paths)
        found: dict[str, list[Finding]] = {}
        await self._parts(contents, how, found)
        return found

    def _fitting(self, paths: Sequence[str]) -> list[FileContent]:
        fitting: list[FileContent] = []
        for content in self._read(paths):
            facts = self._facts.get(content.path) or read_facts(content.content, "python")
            reason = unfit_for_ruff(content.content, facts)
            if reason is None:
                fitting.append(content)
            else:
                self.notes.append(NotChecked(what=content.path, reason=reason, tool="ruff"))
        # The largest first: where a run takes too long, they are asked apart.
        return sorted(fitting, key=lambda content: (-len(content.content), content.path))

    async def _parts(
        self, contents: Sequence[FileContent], how: RuffSettings, found: dict[str, list[Finding]]
    ) -> None:
        """Check *contents*; where ruff dies of them, in parts until the culprit is alone."""
        if not contents:
            return
        if self._deaths >= _MOST_DEATHS or self._lost_ms > _MOST_LOST_MS:
            reason = f"ruff died {self._deaths} times on other files of this project"
            self.notes += [NotChecked(what=c.path, reason=reason, tool="ruff") for c in contents]
            return
        timeout = _TIMEOUT if self._lost_ms == 0 else _TIMEOUT_AGAIN
        result = await _ruff(contents, how, timeout=timeout)
        if result.exit == 0 and not result.timed_out and not result.truncated:
            found.update(await anyio.to_thread.run_sync(self._report, contents, result.stdout))
            self._exit = result.exit
            self._ms += result.ms
            return
        self._lost_ms += result.ms
        if len(contents) == 1:
            self._deaths += 1
            note = NotChecked(what=contents[0].path, reason=_why(result), tool="ruff")
            self.notes.append(note)
            return
        cut = max(1, len(contents) // (16 if result.timed_out else 2))
        await self._parts(contents[:cut], how, found)
        await self._parts(contents[cut:], how, found)

    def _report(self, contents: Sequence[FileContent], report: bytes) -> dict[str, list[Finding]]:
        lines = {c.path: c.content.decode("utf-8", "replace").split("\n") for c in contents}
        found: dict[str, list[Finding]] = {c.path: [] for c in contents}
        for finding in read_ruff(report, version=self._version, lines=lines):
            found[finding.path].append(finding)
        return found


def _complaint(result: CommandResult) -> str:
    """Return the line of ruff's messages that says what is wrong with its settings."""
    said = result.stderr.decode("utf-8", "replace")
    _, _, detail = said.partition("configuration option:")
    lines = (detail or said.rpartition("Cause: ")[2]).strip().split("\n")
    return printable(lines[0][:_LONGEST_COMPLAINT]) or f"it ended with {result.exit}"


def _why(result: CommandResult) -> str:
    if result.timed_out:
        return "ruff took too long on it"
    if result.truncated:
        return f"ruff reports more than {_MOST_REPORT_BYTES >> 20} MiB about it"
    return f"ruff ended with {result.exit} on it"


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


def ruff_program() -> str | None:
    """Return ruff: the one that was installed with Aiex, else the one on PATH."""
    try:
        from ruff import find_ruff_bin  # noqa: PLC0415 - only where something is to be checked

        return os.fsdecode(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("ruff")


def _decode_all(paths: Sequence[str], values: Sequence[bytes | None]) -> dict[str, list[Finding]]:
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


def _arguments(settings: RuffSettings) -> tuple[str, ...]:
    return ("ruff", "check", "--isolated", "--no-cache", *settings.arguments())


def _excludes(settings: RuffSettings) -> bool:
    return any(option.startswith("exclude=") for option in settings.options)


async def _ruff(
    contents: Sequence[FileContent], settings: RuffSettings, *, timeout: float
) -> CommandResult:
    program = await anyio.to_thread.run_sync(ruff_program) or "ruff"
    folder = await anyio.to_thread.run_sync(_copy, contents, settings.base)
    try:
        result = await run_command(
            Command(
                argv=(
                    program,
                    *_arguments(settings)[1:],
                    *_EVERY_FILE,
                    *(() if _excludes(settings) else _NO_EXCLUDE),
                    "--output-format=json",
                    "--exit-zero",
                    "--quiet",
                    ".",
                ),
                cwd=folder / settings.base,
                environment={"RUST_MIN_STACK": _STACK},
                timeout=timeout,
                max_output_bytes=_MOST_REPORT_BYTES,
            )
        )
        prefix = os.fsencode(folder) + b"/"
        return msgspec.structs.replace(result, stdout=result.stdout.replace(prefix, b""))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(shutil.rmtree, folder)


def _copy(contents: Sequence[FileContent], base: str) -> Path:
    # In memory where that is to be had: making a file on a disk can take 0.2 ms.
    memory = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="aiex-lint-", dir=memory)).resolve()
    (folder / base).mkdir(parents=True, exist_ok=True)
    for content in contents:
        path = folder / content.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.content)
    return folder


def _placed(finding: Finding, facts: FileFacts | None) -> Finding:
    """Return *finding* with the symbol around it."""
    if facts is None:
        return finding
    around = [
        s
        for s in facts.symbols
        if s.complexity is not None and s.start_line <= finding.line <= s.end_line
    ]
    inner = min(around, key=lambda s: s.end_line - s.start_line, default=None)
    return (
        finding if inner is None else msgspec.structs.replace(finding, symbol=inner.qualified_name)
    )
