"""What ruff says of Python files: run on what was read, never on the tree, and cached by content.

ruff gets copies of the files in an empty folder, so nothing of the project (settings, links, what
changes meanwhile) reaches it but the bytes that were read and the settings that are handed over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.code import FileFacts, read_facts, read_ruff, unfit_for_ruff
from aiex.context import AnalysisCache, CacheKey
from aiex.core import Finding, NotChecked, StoreError, ToolRun, with_ids
from aiex.sandbox import Command, CommandResult, FileContent, run_command

__all__ = ["LintReport", "ReadContents", "Ruff", "RuffSettings", "Source", "ruff_program"]

_BATCH_FILES = 500
_BATCH_BYTES = 4 << 20
_MOST_REPORT_BYTES = 8 << 20
_BATCH_RECORDS = 2000
_TIMEOUT = 10.0
_TIMEOUT_AGAIN = 3.0
_MOST_DEATHS = 16
_MOST_LOST_MS = 20_000
_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a private folder in it
_INCLUDE = 'include=["*.py", "*.pyi", "*.pyw"]'
_STACK = "1073741824"  # ruff's parser is recursive; measured to carry what is let through
# ruff passes by folders such as `dist` and `venv`; what it is given was chosen by us.
_EVERY_FILE = ("--no-respect-gitignore", "--config", "exclude=[]", "--config", _INCLUDE)
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


class RuffSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How ruff is asked.

    Attributes:
        select: Rules to report.
        ignore: Rules not to report.
        line_length: Longest line, in columns.
        target_version: Such as `py311`; `None` for ruff's own.
        max_complexity: Complexity above which C901 reports.
    """

    select: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    line_length: int = 100
    target_version: str | None = None
    max_complexity: int = 10

    def arguments(self) -> tuple[str, ...]:
        """Return them as ruff's command line takes them."""
        arguments = [
            f"--select={','.join(self.select)}",
            f"--line-length={self.line_length}",
            "--config",
            f"lint.mccabe.max-complexity={self.max_complexity}",
        ]
        if self.ignore:
            arguments.append(f"--ignore={','.join(self.ignore)}")
        if self.target_version is not None:
            arguments.append(f"--target-version={self.target_version}")
        return tuple(arguments)


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
        settings: RuffSettings,
        *,
        use_cache: bool = True,
    ) -> LintReport:
        """Return the findings in *contents*.

        Args:
            contents: Python files.
            facts: Facts of each, by path; they name the symbol around a finding.
            settings: How to ask.
            use_cache: Whether findings of earlier runs may be used.
        """
        held = {content.path: content for content in contents}
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
        settings: RuffSettings,
        *,
        use_cache: bool = True,
        progress: Callable[[int, int], Awaitable[None]] | None = None,
    ) -> LintReport:
        """Return the findings in many files, of which only those not known yet are read.

        Args:
            sources: Python files.
            read: Reads files; blocks, and is called in a thread with some paths at a time.
            facts: Facts of each, by path; they name the symbol around a finding.
            settings: How to ask.
            use_cache: Whether findings of earlier runs may be used.
            progress: Told the files done and the files to do.
        """
        version = await self.version()
        if version is None:
            missing = NotChecked(
                what="lint and security of Python", reason="ruff is not installed", tool="ruff"
            )
            return LintReport(findings=(), not_checked=(missing,))
        keys = {source.path: _key(source, settings, version) for source in sources}
        found = await self._kept(keys) if use_cache else {}
        todo = [source for source in sources if source.path not in found]
        check = _Check(read, facts, settings=settings, version=version)
        done = 0
        for paths in _batches(todo):
            if progress is not None:
                await progress(done, len(todo))
            fresh = await check.files(paths)
            found.update(fresh)
            if use_cache:
                await self._keep({keys[path]: fresh[path] for path in fresh})
            done += len(paths)
        every = [_placed(f, facts.get(path)) for path in sorted(found) for f in found[path]]
        return LintReport(
            findings=with_ids(every),
            checked=(check.run,) if found else (),
            not_checked=tuple(check.notes),
        )

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
        settings: How to ask.
        version: Version of ruff.

    Attributes:
        run: All runs that gave a report, as one; without exit status if there was none.
        notes: What was not checked.
    """

    def __init__(
        self,
        read: ReadContents,
        facts: Mapping[str, FileFacts],
        *,
        settings: RuffSettings,
        version: str,
    ) -> None:
        self.notes: list[NotChecked] = []
        self.run = ToolRun(name="ruff check", version=version, argv=_arguments(settings))
        self._read = read
        self._facts = facts
        self._settings = settings
        self._version = version
        self._deaths = 0
        self._lost_ms = 0

    async def files(self, paths: Sequence[str]) -> dict[str, list[Finding]]:
        """Return the findings by path; what could not be checked is missing and noted."""
        contents = await anyio.to_thread.run_sync(self._fitting, paths)
        found: dict[str, list[Finding]] = {}
        await self._parts(contents, found)
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
        self, contents: Sequence[FileContent], found: dict[str, list[Finding]]
    ) -> None:
        """Check *contents*; where ruff dies of them, in parts until the culprit is alone."""
        if not contents:
            return
        if self._deaths >= _MOST_DEATHS or self._lost_ms > _MOST_LOST_MS:
            reason = f"ruff died {self._deaths} times on other files of this project"
            self.notes += [NotChecked(what=c.path, reason=reason, tool="ruff") for c in contents]
            return
        timeout = _TIMEOUT if self._lost_ms == 0 else _TIMEOUT_AGAIN
        result = await _ruff(contents, self._settings, timeout=timeout)
        if result.exit == 0 and not result.timed_out and not result.truncated:
            found.update(await anyio.to_thread.run_sync(self._report, contents, result.stdout))
            self.run = msgspec.structs.replace(
                self.run, exit=result.exit, ms=self.run.ms + result.ms
            )
            return
        self._lost_ms += result.ms
        if len(contents) == 1:
            self._deaths += 1
            note = NotChecked(what=contents[0].path, reason=_why(result), tool="ruff")
            self.notes.append(note)
            return
        cut = max(1, len(contents) // (16 if result.timed_out else 2))
        await self._parts(contents[:cut], found)
        await self._parts(contents[cut:], found)

    def _report(self, contents: Sequence[FileContent], report: bytes) -> dict[str, list[Finding]]:
        lines = {c.path: c.content.decode("utf-8", "replace").split("\n") for c in contents}
        found: dict[str, list[Finding]] = {c.path: [] for c in contents}
        for finding in read_ruff(report, version=self._version, lines=lines):
            found[finding.path].append(finding)
        return found


def _why(result: CommandResult) -> str:
    if result.timed_out:
        return "ruff took too long on it"
    if result.truncated:
        return f"ruff reports more than {_MOST_REPORT_BYTES >> 20} MiB about it"
    return f"ruff ended with {result.exit} on it"


def _batches(sources: Sequence[Source]) -> Iterator[list[str]]:
    """Yield the paths of *sources* in lists whose contents fit in memory."""
    batch: list[str] = []
    size = 0
    for source in sources:
        if batch and (len(batch) >= _BATCH_FILES or size + source.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(source.path)
        size += source.size
    if batch:
        yield batch


def ruff_program() -> str | None:
    """Return ruff: the one that was installed with Aiex, else the one on PATH."""
    try:
        from ruff import find_ruff_bin  # noqa: PLC0415 - only where something is to be checked

        return os.fsdecode(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("ruff")


def _decode_all(paths: Sequence[str], values: Sequence[bytes | None]) -> dict[str, list[Finding]]:
    return {path: _DECODE(raw) for path, raw in zip(paths, values, strict=True) if raw is not None}


def _key(source: Source, settings: RuffSettings, version: str) -> CacheKey:
    # A few rules look at the name of the file, so it belongs to what the findings come from.
    named = hashlib.sha256(f"{source.path}\0{source.sha256}".encode()).hexdigest()
    return CacheKey(sha256=named, kind="ruff", version=f"{version} {settings.arguments()}")


def _arguments(settings: RuffSettings) -> tuple[str, ...]:
    return ("ruff", "check", "--isolated", "--no-cache", *settings.arguments())


async def _ruff(
    contents: Sequence[FileContent], settings: RuffSettings, *, timeout: float
) -> CommandResult:
    program = await anyio.to_thread.run_sync(ruff_program) or "ruff"
    folder = await anyio.to_thread.run_sync(_copy, contents)
    try:
        result = await run_command(
            Command(
                argv=(
                    program,
                    *_arguments(settings)[1:],
                    *_EVERY_FILE,
                    "--output-format=json",
                    "--exit-zero",
                    "--quiet",
                    ".",
                ),
                cwd=folder,
                environment={"RUST_MIN_STACK": _STACK},
                timeout=timeout,
                max_output_bytes=_MOST_REPORT_BYTES,
            )
        )
        prefix = os.fsencode(folder) + b"/"
        return msgspec.structs.replace(result, stdout=result.stdout.replace(prefix, b""))
    finally:
        await anyio.to_thread.run_sync(shutil.rmtree, folder)


def _copy(contents: Sequence[FileContent]) -> Path:
    # In memory where that is to be had: making a file on a disk can take 0.2 ms.
    memory = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="aiex-lint-", dir=memory)).resolve()
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
