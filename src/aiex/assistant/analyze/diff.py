"""`analyze diff`: only what a change adds."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import anyio
import anyio.to_thread
import msgspec

from aiex.assistant.analyze.finished import MOST_LISTED, finished, left_out
from aiex.assistant.analyze.measures import (
    MAX_COMPLEXITY,
    cycle_findings,
    findings_of_complexity,
)
from aiex.assistant.analyze.ranking import by_severity, ranked
from aiex.assistant.changed import Base, ChangedContent, base_of, changed_since
from aiex.assistant.lint import LintReport, Ruff
from aiex.assistant.project import OpenGit, Project, ProjectReader
from aiex.assistant.ruff_settings import RuffSettingsFound, find_settings
from aiex.assistant.verbs import Run
from aiex.code import (
    MAX_PARSE_BYTES,
    FileFacts,
    Symbol,
    cycles,
    import_graph,
    is_binary,
    language_of,
)
from aiex.core import (
    AiexError,
    AnalyzeArguments,
    ChangedFile,
    ComplexityChange,
    DiffResult,
    Finding,
    Finished,
    NotFoundError,
    SymbolChange,
    digest_of,
    with_ids,
)
from aiex.sandbox import FileContent

__all__ = ["DiffAnalysis"]

_MOST_PAIRS = 2500
_ALIKE = 0.5
_MOST_COMPARED = 1_000_000
_MINOR = frozenset({"variable", "field", "constant", "property", "annotation"})


class _Side(msgspec.Struct, frozen=True, kw_only=True):
    """The changed files before or after.

    Attributes:
        facts: Facts by the path of today.
        report: What a linter says of them.
    """

    facts: dict[str, FileFacts]
    report: LintReport


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a change.

    Attributes:
        base: Commit that is compared with.
        files: Files that differ.
        origins: Files of the base, by the path of today; those that are gone by their own.
        before: What is known of them.
        after: What is known of the changed files of today.
    """

    base: str
    files: tuple[ChangedContent, ...]
    origins: dict[str, ChangedContent]
    before: _Side
    after: _Side


class DiffAnalysis:
    """Finds what a change adds.

    Args:
        reader: Reads the project.
        lint: Finds what a linter says of its files.
        open_git: Opens the history of a root.
    """

    def __init__(self, *, reader: ProjectReader, lint: Ruff, open_git: OpenGit) -> None:
        self._reader = reader
        self._lint = lint
        self._open_git = open_git

    async def run(self, arguments: AnalyzeArguments, run: Run) -> Finished:
        """Return what was found.

        Raises:
            NotFoundError: There is no history to compare with, or no such base.
        """
        files = self._reader.open(run.request)
        git = self._open_git(Path(files.root))
        base: Base | AiexError = NotFoundError("no base was looked for")

        async def look_back() -> None:
            nonlocal base
            try:
                base = await base_of(git, arguments.base, branch=True)
            except AiexError as error:
                base = error  # raised below, outside of the task group
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look_back)
            tasks.start_soon(self._lint.version)  # asked for while files are read
            project = await self._reader.read(run, brief=True)
        if isinstance(base, AiexError):
            raise base
        digests = self._reader.digests if run.request.options.use_cache else None
        changed = await changed_since(files, git, base, project.scan, digests)
        origins = _origins(changed.files)
        # Both are asked about by the settings of today, so that only what the code adds is new.
        settings = await anyio.to_thread.run_sync(
            partial(find_settings, entries=project.scan.entries),
            files,
            {*origins, *(one.path for one in changed.files)},
        )
        old = {path: one.before for path, one in origins.items()}
        before = await self._side(run, old, settings, known=None)
        new = {one.path: one.after for one in changed.files}
        after = await self._side(run, new, settings, known=project)
        change = _Change(
            base=base.commit, files=changed.files, origins=origins, before=before, after=after
        )
        symbols = _new_symbols(change)
        result = await anyio.to_thread.run_sync(_result, change, project, symbols)
        return finished(
            result,
            findings=result.findings,
            fail_on=arguments.fail_on,
            not_checked=(
                *project.not_checked,
                *changed.not_checked,
                *after.report.not_checked,
                *left_out("findings", sum(result.severities.values())),
                *left_out("new definitions", len(symbols)),
            ),
            checked=after.report.checked or before.report.checked,
        )

    async def _side(
        self,
        run: Run,
        sources: Mapping[str, bytes | None],
        settings: RuffSettingsFound,
        *,
        known: Project | None,
    ) -> _Side:
        """Return what is known of *sources*, contents by the path of today.

        Args:
            run: The request.
            sources: Contents.
            settings: How to ask a linter about them.
            known: Facts that need not be read again; `None` where there are none.
        """
        use_cache = run.request.options.use_cache
        contents = [
            FileContent(path=path, content=source, sha256=digest_of(source), mode=0, mtime_ns=0)
            for path, source in sources.items()
            if source is not None and language_of(path, b"") and len(source) <= MAX_PARSE_BYTES
        ]
        facts = (
            {}
            if known is None
            else {
                content.path: known.files[content.path]
                for content in contents
                if known.digests.get(content.path) == content.sha256
            }
        )
        unknown = [content for content in contents if content.path not in facts]
        facts |= await self._reader.facts_of(unknown, brief=True, use_cache=use_cache)
        report = await self._lint.check(
            [content for content in contents if facts[content.path].language == "python"],
            facts,
            settings,
            use_cache=use_cache,
        )
        return _Side(facts=facts, report=report)


def _origins(changed: Sequence[ChangedContent]) -> dict[str, ChangedContent]:
    """Return the files of the base by the path of today; those that are gone by their own.

    A new file comes from the deleted one of the same content, else from the only deleted one of
    the same name, else from the one that it shares most lines with, at least half of them.
    """
    deleted = {one.path: one for one in changed if one.status == "deleted"}
    added = [one for one in changed if one.status == "added"]
    origins = {one.path: one for one in changed if one.status == "modified"}
    for origin_of in (
        _same_content(deleted),
        _same_name(deleted),
        _most_alike(deleted, len(added)),
    ):
        for one in added:
            if one.path not in origins and (found := origin_of(one)) in deleted:
                origins[one.path] = deleted.pop(found)
    return {**origins, **deleted}


_OriginOf = Callable[[ChangedContent], str]


def _same_content(deleted: Mapping[str, ChangedContent]) -> _OriginOf:
    by_content = {one.before: path for path, one in deleted.items()}
    return lambda added: by_content.get(added.after, "")


def _same_name(deleted: Mapping[str, ChangedContent]) -> _OriginOf:
    by_name: dict[str, list[str]] = {}
    for path in deleted:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)

    def find(added: ChangedContent) -> str:
        found = by_name.get(PurePosixPath(added.path).name, [])
        return found[0] if len(found) == 1 else ""

    return find


def _most_alike(deleted: Mapping[str, ChangedContent], added: int) -> _OriginOf:
    """Return what finds the most similar of *deleted*, which may shrink meanwhile."""
    if added * len(deleted) > _MOST_PAIRS:
        return lambda _: ""
    lines = {path: _lines_of(one.before) for path, one in deleted.items()}

    def find(added: ChangedContent) -> str:
        mine = _lines_of(added.after)
        shares = {
            path: (mine & lines[path]).total() / max(1, mine.total(), lines[path].total())
            for path in deleted
            if PurePosixPath(path).suffix == PurePosixPath(added.path).suffix
        }
        best = max(shares, key=lambda path: shares[path], default="")
        return best if best and shares[best] >= _ALIKE else ""

    return find


def _lines_of(content: bytes | None) -> Counter[bytes]:
    return Counter(line for line in (content or b"").split(b"\n") if line.strip())


def _result(change: _Change, project: Project, symbols: Sequence[SymbolChange]) -> DiffResult:
    new_cycles = _new_cycles(change, project)
    old = _findings(change.before, [])
    new = _findings(change.after, cycle_findings(new_cycles, project.files))
    known = {finding.id for finding in old}
    added = ranked([f for f in new if f.id not in known], project.files)
    return DiffResult(
        base=change.base,
        files=tuple(_file(one) for one in change.files),
        findings=added[:MOST_LISTED],
        severities=by_severity(added),
        repaired=len(known - {finding.id for finding in new}),
        symbols=tuple(symbols[:MOST_LISTED]),
        complexity=tuple(_grown(change)),
        cycles=tuple(new_cycles),
    )


def _findings(side: _Side, cycles: Sequence[Finding]) -> tuple[Finding, ...]:
    return (*side.report.findings, *with_ids([*findings_of_complexity(side.facts), *cycles]))


def _file(one: ChangedContent) -> ChangedFile:
    binary = is_binary(one.before or b"") or is_binary(one.after or b"")
    removed, added = (0, 0) if binary else _line_counts(one.before or b"", one.after or b"")
    return ChangedFile(path=one.path, status=one.status, added_lines=added, removed_lines=removed)


def _line_counts(before: bytes, after: bytes) -> tuple[int, int]:
    """Return the numbers of lines that were removed and added.

    Of files that differ in very many lines, a line that moved counts as neither: to find where
    to takes time that grows with the square of their number.
    """
    old, new = before.splitlines(), after.splitlines()
    shared = min(len(old), len(new))
    start = next((n for n in range(shared) if old[n] != new[n]), shared)
    shared -= start
    end = next((n for n in range(shared) if old[-1 - n] != new[-1 - n]), shared)
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    if len(old) * len(new) <= _MOST_COMPARED:
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        kept = sum(block.size for block in matcher.get_matching_blocks())
    else:
        kept = (Counter(old) & Counter(new)).total()
    return len(old) - kept, len(new) - kept


def _symbols(facts: FileFacts | None) -> dict[str, Symbol]:
    """Return the definitions of a file by name; of several of one name the most complex."""
    found: dict[str, Symbol] = {}
    for symbol in facts.symbols if facts is not None else ():
        other = found.get(symbol.qualified_name)
        if other is None or (other.complexity or 0) < (symbol.complexity or 0):
            found[symbol.qualified_name] = symbol
    return found


def _new_symbols(change: _Change) -> list[SymbolChange]:
    new = []
    for path, facts in change.after.facts.items():
        old = _symbols(change.before.facts.get(path))
        new += [
            SymbolChange(
                path=path,
                line=symbol.start_line,
                name=name,
                kind=symbol.kind,
                is_public=symbol.is_public,
                documented=symbol.docstring is not None,
            )
            for name, symbol in _symbols(facts).items()
            if symbol.kind not in _MINOR and name not in old
        ]
    return new


def _grown(change: _Change) -> list[ComplexityChange]:
    grown = []
    for path, facts in change.after.facts.items():
        old = _symbols(change.before.facts.get(path))
        for name, symbol in _symbols(facts).items():
            was = (old[name].complexity or 0) if name in old else 0
            now = symbol.complexity or 0
            if now > MAX_COMPLEXITY and now > was:
                line = symbol.start_line
                grown.append(
                    ComplexityChange(path=path, line=line, name=name, before=was, after=now)
                )
    return sorted(grown, key=lambda one: (one.before - one.after, one.path, one.line))


def _new_cycles(change: _Change, project: Project) -> list[tuple[str, ...]]:
    """Return the cycles of today that are within no cycle of the base."""
    now = cycles(import_graph(project.files).eager)
    if not now:
        return []
    changed = {one.path for one in change.files}
    then = {path: facts for path, facts in project.files.items() if path not in changed}
    today: dict[str, str] = {}
    for path, facts in change.before.facts.items():
        old_path = change.origins[path].path
        then[old_path] = facts
        today[old_path] = path
    old = [{today.get(p, p) for p in group} for group in cycles(import_graph(then).eager)]
    return [group for group in now if not any(known.issuperset(group) for known in old)]
