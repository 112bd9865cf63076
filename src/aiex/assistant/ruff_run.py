"""Running ruff on files that nobody vouches for, and finding those that it dies of.

ruff gets copies of the files in an empty folder, so nothing of the project (settings, links, what
changes meanwhile) reaches it but the bytes that were read and the settings that are handed over.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from aiex.assistant.ruff_settings import RuffSettings
from aiex.code import FileFacts, read_facts, read_ruff, unfit_for_ruff
from aiex.core import Finding, NotChecked, ToolRun
from aiex.sandbox import Command, CommandResult, FileContent, run_command

__all__ = [
    "Outcome",
    "ReadContents",
    "RuffProgram",
    "RuffRuns",
    "arguments_of",
    "ruff_program",
]

_MOST_REPORT_BYTES = 8 << 20
_PATIENCE_AGAIN = 0.3
_MOST_DEATHS = 16
_MOST_LOST_MS = 20_000
_LONGEST_PATH = 3000
_IN_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a private folder in it
_INCLUDE = 'include=["*.py", "*.pyi", "*.pyw"]'
# ruff's parser is recursive. Measured with 0.17.6 to carry 400 files of 400 levels at once.
_THREADS = 2
_STACK = 32 << 20
# Stacks and all, where the machine can bound it: a file of 200 kB can yield a report of 90 MB.
_MOST_MEMORY = 160 << 20
# ruff passes by folders such as `dist` and `venv`; what it is given was chosen by us.
_EVERY_FILE = ("--no-respect-gitignore", "--config", _INCLUDE)
_NO_EXCLUDE = ("--config", "exclude=[]")

Outcome = list[Finding] | str
"""The findings in a file, or why it cannot be checked, now and at any time."""

ReadContents = Callable[[Sequence[str]], Sequence[FileContent]]
"""Reads files; those that cannot be read any more are left out."""


class RuffProgram(msgspec.Struct, frozen=True, kw_only=True):
    """ruff, as it is installed.

    Attributes:
        path: Its absolute path.
        version: Its version.
        timeout: Seconds that one run may take.
    """

    path: str
    version: str
    timeout: float

    async def check(
        self, contents: Sequence[FileContent], settings: RuffSettings, *, patience: float = 1.0
    ) -> CommandResult:
        """Run it on copies of *contents*; the paths of its report are theirs.

        Args:
            contents: Python files.
            settings: How to ask.
            patience: Share of the time that it may take.
        """
        folder = await anyio.to_thread.run_sync(_copy, contents, settings.base)
        try:
            result = await run_command(
                Command(
                    argv=(
                        self.path,
                        *arguments_of(settings)[1:],
                        *_EVERY_FILE,
                        *(() if _excludes(settings) else _NO_EXCLUDE),
                        "--output-format=json",
                        "--exit-zero",
                        "--quiet",
                        ".",
                    ),
                    cwd=folder / settings.base,
                    environment={
                        "RUST_MIN_STACK": str(_STACK),
                        "RAYON_NUM_THREADS": str(_THREADS),
                    },
                    timeout=patience * self.timeout,
                    max_memory_bytes=_MOST_MEMORY,
                    max_output_bytes=_MOST_REPORT_BYTES,
                )
            )
            prefix = os.fsencode(folder) + b"/"
            return msgspec.structs.replace(result, stdout=result.stdout.replace(prefix, b""))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(shutil.rmtree, folder)


class RuffRuns:
    """Runs ruff on some files at a time, and finds those that it dies of.

    Args:
        program: ruff, of this version, and how long it may take.
        read: Reads files.
        facts: Facts by path.

    Attributes:
        notes: What was not checked for reasons of this run, not of the file.
    """

    def __init__(
        self, program: RuffProgram, read: ReadContents, facts: Mapping[str, FileFacts]
    ) -> None:
        self.notes: list[NotChecked] = []
        self._read = read
        self._facts = facts
        self._program = program
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
            version=self._program.version,
            argv=arguments_of(most),
            exit=self._exit,
            ms=self._ms,
        )

    async def files(self, paths: Sequence[str], how: RuffSettings) -> dict[str, Outcome]:
        """Return the outcome by path; what this run could not check is missing and noted."""
        outcomes: dict[str, Outcome] = {}
        contents = await anyio.to_thread.run_sync(self._fitting, paths, outcomes)
        await self._parts(contents, how, outcomes)
        return outcomes

    def _fitting(self, paths: Sequence[str], outcomes: dict[str, Outcome]) -> list[FileContent]:
        fitting: list[FileContent] = []
        for content in self._read(paths):
            facts = self._facts.get(content.path) or read_facts(content.content, "python")
            reason = _unfit_name(content.path) or unfit_for_ruff(content.content, facts)
            if reason is None:
                fitting.append(content)
            else:
                outcomes[content.path] = reason
        # The largest first: where a run takes too long, they are asked apart.
        return sorted(fitting, key=lambda content: (-len(content.content), content.path))

    async def _parts(
        self, contents: Sequence[FileContent], how: RuffSettings, outcomes: dict[str, Outcome]
    ) -> None:
        """Check *contents*; where ruff dies of them, in parts until the culprit is alone."""
        if not contents:
            return
        if self._deaths >= _MOST_DEATHS or self._lost_ms > _MOST_LOST_MS:
            reason = f"ruff died {self._deaths} times on other files of this project"
            self.notes += [NotChecked(what=c.path, reason=reason, tool="ruff") for c in contents]
            return
        patience = 1.0 if self._lost_ms == 0 else _PATIENCE_AGAIN
        result = await self._program.check(contents, how, patience=patience)
        if result.exit == 0 and not result.timed_out and not result.truncated:
            report = await anyio.to_thread.run_sync(self._report, contents, result.stdout)
            outcomes.update(report)
            self._exit = result.exit
            self._ms += result.ms
            return
        self._lost_ms += result.ms
        if len(contents) == 1:
            self._deaths += 1
            if result.timed_out:  # which another day it may not
                reason = "ruff took too long on it"
                self.notes.append(NotChecked(what=contents[0].path, reason=reason, tool="ruff"))
            else:
                outcomes[contents[0].path] = _why(result)
            return
        cut = max(1, len(contents) // (16 if result.timed_out else 2))
        await self._parts(contents[:cut], how, outcomes)
        await self._parts(contents[cut:], how, outcomes)

    def _report(self, contents: Sequence[FileContent], report: bytes) -> dict[str, list[Finding]]:
        lines = {c.path: c.content.decode("utf-8", "replace").split("\n") for c in contents}
        found: dict[str, list[Finding]] = {c.path: [] for c in contents}
        for finding in read_ruff(report, version=self._program.version, lines=lines):
            found[finding.path].append(finding)
        return found


def _why(result: CommandResult) -> str:
    if result.truncated:
        return f"ruff reports more than {_MOST_REPORT_BYTES >> 20} MiB about it"
    return f"ruff ended with {result.exit} on it, which has {_MOST_MEMORY >> 20} MiB of memory"


def _unfit_name(path: str) -> str | None:
    """Return why a copy cannot have this name."""
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return f"its path has {length} bytes" if length > _LONGEST_PATH else None


_FINDING = threading.Lock()
"""Held while ruff is looked for, by sysconfig, which Python 3.11 reads wrongly in two threads."""


def ruff_program() -> str | None:
    """Return ruff: the one that was installed with Aiex, else the one on PATH."""
    try:
        from ruff import find_ruff_bin  # noqa: PLC0415 - only where something is to be checked

        with _FINDING:
            return os.fsdecode(find_ruff_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("ruff")


def arguments_of(settings: RuffSettings) -> tuple[str, ...]:
    """Return the command line that *settings* stand for, as it is shown."""
    return ("ruff", "check", "--isolated", "--no-cache", *settings.arguments())


def _excludes(settings: RuffSettings) -> bool:
    return any(option.startswith("exclude=") for option in settings.options)


def _copy(contents: Sequence[FileContent], base: str) -> Path:
    # In memory where that is to be had: making a file on a disk can take 0.2 ms.
    if os.access(_IN_MEMORY, os.W_OK | os.X_OK):
        with suppress(OSError):  # a container may have little of it
            return _copy_into(_IN_MEMORY, contents, base)
    return _copy_into(None, contents, base)


def _copy_into(place: str | None, contents: Sequence[FileContent], base: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="aiex-lint-", dir=place)).resolve()
    try:
        (folder / base).mkdir(parents=True, exist_ok=True)
        for content in contents:
            path = folder / content.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.content)
    except OSError:
        shutil.rmtree(folder)
        raise
    return folder
