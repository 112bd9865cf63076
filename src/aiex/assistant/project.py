"""A project as the verbs read it: the facts of its files, each content read only once.

What is unchanged since it was last seen (by inode, size and times) is not opened, and what has
been read under any name is not parsed again: facts are cached by the digest of the content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.assistant.verbs import Run
from aiex.code import (
    BRIEF_VERSION,
    FACTS_VERSION,
    MAX_PARSE_BYTES,
    FileFacts,
    brief_of,
    language_of,
    read_facts,
)
from aiex.context import AnalysisCache, CacheKey, DigestCache
from aiex.core import AiexError, NotChecked, Progress, Request, StoreError, UsageError
from aiex.sandbox import FileContent, Files, Git, Scan, ScanEntry

__all__ = [
    "OpenFiles",
    "OpenGit",
    "Project",
    "ProjectReader",
    "batches",
    "looks_like_project",
    "problems_of",
]

_PROJECT_MARKS = (
    ".git",
    "aiex.toml",
    "pyproject.toml",
    "mix.exs",
    "package.json",
    "go.mod",
    "Cargo.toml",
    "pom.xml",
    "build.gradle",
    "setup.py",
)

_BATCH_FILES = 256
_BATCH_BYTES = 4 << 20
_BATCH_RECORDS = 2000
_HEAD = 256
_DECODE = msgspec.json.Decoder(FileFacts).decode
_ENCODE = msgspec.json.Encoder().encode

OpenFiles = Callable[[Request], Files]
"""Opens the files of a request's root, with its principal as the actor of the audit."""

OpenGit = Callable[[Path], Git]
"""Opens the history of a root."""


def looks_like_project(folder: Path) -> bool:
    """Return whether *folder* has what the root of a project has; nothing in it is opened."""
    return any((folder / mark).exists() for mark in _PROJECT_MARKS)


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a project.

    Attributes:
        scan: Every file that is there.
        digests: SHA-256 of each file whose language is read, by path.
        files: Facts of each of them, by path.
        not_checked: What could not be read, and why.
        fresh: Number of files that were parsed now; the others came from the cache.
    """

    scan: Scan
    digests: dict[str, str]
    files: dict[str, FileFacts]
    not_checked: tuple[NotChecked, ...]
    fresh: int


class ProjectReader:
    """Reads projects through the sandbox and the cache.

    Args:
        open_files: Opens the files of a request's root.
        facts: Keeps facts by content.
        digests: Keeps the digests of files that do not change.
    """

    def __init__(self, open_files: OpenFiles, facts: AnalysisCache, digests: DigestCache) -> None:
        self._open = open_files
        self._facts = facts
        self._digests = digests

    @property
    def digests(self) -> DigestCache:
        """What keeps the digests of files that do not change."""
        return self._digests

    def open(self, request: Request) -> Files:
        """Return the files of the request's root.

        Raises:
            UsageError: The request has no root.
        """
        if request.root is None:
            raise UsageError(
                "this needs a project folder", hint="run it inside one, or with -C DIR"
            )
        return self._open(request)

    async def read(
        self, run: Run, paths: Sequence[str] = (".",), *, brief: bool = False
    ) -> Project:
        """Return the facts of every file under *paths*, telling *run* how far it is.

        Args:
            run: The request.
            paths: Files and folders.
            brief: Whether calls, signatures and texts may be left out (`brief_of`): a tenth of
                the memory, and of the time where everything is cached.
        """
        files = self.open(run.request)
        scan = await anyio.to_thread.run_sync(files.scan, tuple(paths))
        known, left_out = _readable(scan)
        began = time.time_ns()
        use_cache = run.request.options.use_cache
        digests = dict(await self._digests.known(files.root, known)) if use_cache else {}
        seen = len(digests)
        facts = await self._cached(digests, brief=brief)
        todo = [entry for entry in known if entry.path not in facts]
        done = fresh = 0
        for batch in batches(todo):
            if len(todo) > _BATCH_FILES:
                await run.emit(Progress(stage="reading", done=done, total=len(todo)))
            contents, problems = await anyio.to_thread.run_sync(_contents, files, batch)
            read, parsed = await self._facts_of(contents, brief=brief, use_cache=use_cache)
            digests.update({content.path: content.sha256 for content in contents})
            facts.update(read)
            left_out += problems
            fresh += parsed
            done += len(batch)
        if use_cache and len(digests) > seen and {".", files.root} & set(paths):
            await self._remember(files.root, digests, known, began)
        left_out += [note for path in sorted(facts) for note in problems_of(path, facts[path])]
        return Project(
            scan=scan,
            digests={path: digests[path] for path in sorted(facts)},
            files=dict(sorted(facts.items())),
            not_checked=tuple(left_out),
            fresh=fresh,
        )

    async def facts_of(
        self, contents: Sequence[FileContent], *, brief: bool, use_cache: bool
    ) -> dict[str, FileFacts]:
        """Return the facts of *contents* whose language is read, by path."""
        facts, _ = await self._facts_of(contents, brief=brief, use_cache=use_cache)
        return facts

    async def _facts_of(
        self, contents: Sequence[FileContent], *, brief: bool, use_cache: bool
    ) -> tuple[dict[str, FileFacts], int]:
        """Return the facts of *contents*, and how many had to be parsed."""
        digests = {content.path: content.sha256 for content in contents} if use_cache else {}
        facts = await self._cached(digests, brief=brief)
        todo = [content for content in contents if content.path not in facts]
        fresh = await anyio.to_thread.run_sync(_parse, todo, brief)
        if fresh and use_cache:
            await self._keep(fresh, digests, brief=brief)
        return {**facts, **fresh}, len(fresh)

    async def _cached(self, digests: Mapping[str, str], *, brief: bool) -> dict[str, FileFacts]:
        facts: dict[str, FileFacts] = {}
        paths = list(digests)
        for start in range(0, len(paths), _BATCH_RECORDS):
            batch = paths[start : start + _BATCH_RECORDS]
            keys = [_key(path, digests[path], brief=brief) for path in batch]
            values = await self._facts.get_many(keys)
            facts.update(await anyio.to_thread.run_sync(_decode_all, batch, values))
        return facts

    async def _keep(
        self, fresh: Mapping[str, FileFacts], digests: Mapping[str, str], *, brief: bool
    ) -> None:
        """Keep what was parsed; a cache that cannot be written costs time, never the answer."""
        values = await anyio.to_thread.run_sync(
            lambda: {
                _key(path, digests[path], brief=brief): _ENCODE(facts)
                for path, facts in fresh.items()
            }
        )
        with suppress(StoreError):
            await self._facts.put_many(values)

    async def _remember(
        self, root: str, digests: Mapping[str, str], files: Sequence[ScanEntry], began: int
    ) -> None:
        with suppress(StoreError):
            await self._digests.remember(root, digests, files, read_at_ns=began)


def _readable(scan: Scan) -> tuple[list[ScanEntry], list[NotChecked]]:
    """Return the files whose language is read, and what was passed by."""
    known: list[ScanEntry] = []
    left_out = list(scan.left_out)
    for entry in scan.entries:
        if language_of(entry.path, b"") is None:
            continue
        if entry.size <= MAX_PARSE_BYTES:
            known.append(entry)
            continue
        reason = f"it has {entry.size} bytes, over the {MAX_PARSE_BYTES} that are parsed"
        left_out.append(NotChecked(what=entry.path, reason=reason, tool="tree-sitter"))
    return known, left_out


def batches(entries: Sequence[ScanEntry]) -> Iterator[list[ScanEntry]]:
    """Yield *entries* in lists that are small enough to hold their contents in memory."""
    batch: list[ScanEntry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) >= _BATCH_FILES or size + entry.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _key(path: str, digest: str, *, brief: bool) -> CacheKey:
    language = language_of(path, b"")
    if brief:
        version = f"{FACTS_VERSION}.{BRIEF_VERSION}-{language}"
        return CacheKey(sha256=digest, kind="brief", version=version)
    return CacheKey(sha256=digest, kind="facts", version=f"{FACTS_VERSION}-{language}")


def _decode_all(paths: Sequence[str], values: Sequence[bytes | None]) -> dict[str, FileFacts]:
    return {path: _DECODE(raw) for path, raw in zip(paths, values, strict=True) if raw}


def _contents(
    files: Files, batch: Sequence[ScanEntry]
) -> tuple[list[FileContent], list[NotChecked]]:
    contents: list[FileContent] = []
    problems: list[NotChecked] = []
    for entry, content in zip(batch, files.read_many([e.path for e in batch]), strict=True):
        if isinstance(content, AiexError):
            problems.append(NotChecked(what=entry.path, reason=content.message))
        else:
            contents.append(content)
    return contents, problems


def _parse(contents: Sequence[FileContent], brief: bool) -> dict[str, FileFacts]:
    facts: dict[str, FileFacts] = {}
    for content in contents:
        language = language_of(content.path, content.content[:_HEAD])
        if language is not None:
            read = read_facts(content.content, language)
            facts[content.path] = brief_of(read) if brief else read
    return facts


def problems_of(path: str, facts: FileFacts) -> Sequence[NotChecked]:
    """Return what was not read of one file, with its path in front."""
    return [
        NotChecked(what=f"{path}: {n.what}" if n.what else path, reason=n.reason, tool=n.tool)
        for n in facts.not_checked
    ]
