"""What ruff says of Python files: run on what was read, never on the tree, and cached by content.

ruff gets copies of the files in an empty folder, so nothing of the project (settings, links, what
changes meanwhile) reaches it but the bytes that were read and the settings that are handed over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.code import FileFacts, is_binary, is_safe_for_ruff, read_ruff
from aiex.context import AnalysisCache, CacheKey
from aiex.core import Finding, NotChecked, StoreError, ToolRun, with_ids
from aiex.sandbox import Command, CommandResult, FileContent, run_command

__all__ = ["LintReport", "Ruff", "RuffSettings"]

_BATCH = 200
_STACK = "1073741824"  # ruff's parser is recursive; measured to carry what is let through
_DECODE = msgspec.json.Decoder(list[Finding]).decode


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
        checked: What was run; empty if everything came from the cache or nothing could be.
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
            program = await anyio.to_thread.run_sync(_program)
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
        version = await self.version()
        if version is None:
            missing = NotChecked(
                what="lint and security of Python", reason="ruff is not installed", tool="ruff"
            )
            return LintReport(findings=(), not_checked=(missing,))
        keys = {c.path: _key(c, settings, version) for c in contents}
        kept = await self._cache.get_many(list(keys.values())) if use_cache else [None] * len(keys)
        found = {
            path: _DECODE(raw) for path, raw in zip(keys, kept, strict=True) if raw is not None
        }
        notes: list[NotChecked] = []
        todo = []
        for content in contents:
            if content.path in found:
                continue
            reason = (
                "it is binary" if is_binary(content.content) else is_safe_for_ruff(content.content)
            )
            if reason is None:
                todo.append(content)
            else:
                notes.append(NotChecked(what=content.path, reason=reason, tool="ruff"))
        runs: list[ToolRun] = []
        for start in range(0, len(todo), _BATCH):
            await self._run(todo[start : start + _BATCH], settings, version, found, runs, notes)
        await self._keep(keys, found, {c.path for c in todo})
        every = [_placed(f, facts.get(path)) for path in sorted(found) for f in found[path]]
        return LintReport(findings=with_ids(every), checked=tuple(runs), not_checked=tuple(notes))

    async def _run(
        self,
        contents: Sequence[FileContent],
        settings: RuffSettings,
        version: str,
        found: dict[str, list[Finding]],
        runs: list[ToolRun],
        notes: list[NotChecked],
    ) -> None:
        """Check one batch; where ruff dies of it, halve it until the culprit is alone."""
        result, argv = await _ruff(contents, settings)
        if result.exit in {0, 1} and not result.timed_out and not result.truncated:
            lines = {c.path: c.content.decode("utf-8", "replace").split("\n") for c in contents}
            found.update({c.path: [] for c in contents})
            for finding in read_ruff(result.stdout, version=version, lines=lines):
                found[finding.path].append(finding)
            runs.append(
                ToolRun(
                    name="ruff check", version=version, argv=argv, exit=result.exit, ms=result.ms
                )
            )
        elif len(contents) == 1:
            how = "took too long" if result.timed_out else f"ended with {result.exit}"
            notes.append(NotChecked(what=contents[0].path, reason=f"ruff {how} on it", tool="ruff"))
        else:
            middle = len(contents) // 2
            for half in (contents[:middle], contents[middle:]):
                await self._run(half, settings, version, found, runs, notes)

    async def _keep(
        self, keys: Mapping[str, CacheKey], found: Mapping[str, list[Finding]], fresh: set[str]
    ) -> None:
        values = {keys[p]: msgspec.json.encode(found[p]) for p in fresh if p in found}
        try:
            await self._cache.put_many(values)
        except StoreError:
            return  # a cache that cannot be written costs time, never the answer


def _program() -> str | None:
    """Return ruff: the one that was installed with Aiex, else the one on PATH."""
    try:
        from ruff import find_ruff_bin  # noqa: PLC0415 - only where something is to be checked

        return os.fsdecode(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("ruff")


def _key(content: FileContent, settings: RuffSettings, version: str) -> CacheKey:
    # A few rules look at the name of the file, so it belongs to what the findings come from.
    digest = hashlib.sha256(f"{content.path}\0{content.sha256}".encode()).hexdigest()
    return CacheKey(sha256=digest, kind="ruff", version=f"{version} {settings.arguments()}")


async def _ruff(
    contents: Sequence[FileContent], settings: RuffSettings
) -> tuple[CommandResult, tuple[str, ...]]:
    program = await anyio.to_thread.run_sync(_program) or "ruff"
    folder = await anyio.to_thread.run_sync(_copy, contents)
    try:
        shown = ("ruff", "check", "--isolated", "--no-cache", *settings.arguments())
        result = await run_command(
            Command(
                argv=(
                    program,
                    *shown[1:],
                    "--output-format=json",
                    "--force-exclude",
                    "--no-respect-gitignore",
                    "--exit-zero",
                    "--quiet",
                    ".",
                ),
                cwd=folder,
                environment={"RUST_MIN_STACK": _STACK},
                timeout=60,
            )
        )
        prefix = os.fsencode(folder) + b"/"
        return msgspec.structs.replace(result, stdout=result.stdout.replace(prefix, b"")), shown
    finally:
        await anyio.to_thread.run_sync(shutil.rmtree, folder)


def _copy(contents: Sequence[FileContent]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="aiex-lint-")).resolve()
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
