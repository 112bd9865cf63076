"""A project as the verbs read it: the facts of its files, each content read only once.

What is unchanged since it was last seen (by inode, size and times) is not opened, and what has
been read under any name is not parsed again: facts are cached by the digest of the content.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.assistant.verbs import Run
from aiex.code import FACTS_VERSION, FileFacts, language_of, read_facts
from aiex.context import AnalysisCache, CacheKey, DigestCache
from aiex.core import AiexError, NotChecked, Progress, Request, StoreError, UsageError
from aiex.sandbox import FileContent, Files, Git, Scan, ScanEntry

__all__ = ["OpenFiles", "OpenGit", "Project", "ProjectReader"]

_BATCH = 64
_HEAD = 256
_DECODE = msgspec.json.Decoder(FileFacts).decode
_ENCODE = msgspec.json.Encoder().encode

OpenFiles = Callable[[Request], Files]
"""Opens the files of a request's root, with its principal as the actor of the audit."""

OpenGit = Callable[[Path], Git]
"""Opens the history of a root."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a project.

    Attributes:
        scan: Every file that is there.
        digests: SHA-256 of each file whose language is read, by path.
        files: Facts of each of them, by path.
        not_checked: What could not be read, and why.
        fresh: Files that were parsed now; the others came from the cache.
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

    async def read(self, run: Run, paths: Sequence[str] = (".",)) -> Project:
        """Return the facts of every file under *paths*, telling *run* how far it is."""
        files = self.open(run.request)
        scan = await anyio.to_thread.run_sync(files.scan, tuple(paths))
        known = [entry for entry in scan.entries if language_of(entry.path, b"") is not None]
        began = time.time_ns()
        use_cache = run.request.options.use_cache
        digests = dict(await self._digests.known(files.root, known)) if use_cache else {}
        facts = await self._cached(digests)
        todo = [entry for entry in known if entry.path not in facts]
        left_out = list(scan.left_out)
        fresh: dict[str, tuple[str, FileFacts]] = {}
        for start in range(0, len(todo), _BATCH):
            if len(todo) > _BATCH:
                await run.emit(Progress(stage="reading", done=start, total=len(todo)))
            batch = todo[start : start + _BATCH]
            read, problems = await anyio.to_thread.run_sync(_read_batch, files, batch)
            fresh.update(read)
            left_out += problems
        if fresh and use_cache:
            digests.update({path: digest for path, (digest, _) in fresh.items()})
            whole = tuple(paths) == (".",)
            await self._keep(files.root, fresh, digests, known if whole else (), began)
        facts.update({path: read for path, (_, read) in fresh.items()})
        left_out += [note for path in sorted(facts) for note in _named(path, facts[path])]
        return Project(
            scan=scan,
            digests=digests,
            files=dict(sorted(facts.items())),
            not_checked=tuple(left_out),
            fresh=len(fresh),
        )

    async def _cached(self, digests: Mapping[str, str]) -> dict[str, FileFacts]:
        paths = list(digests)
        values = await self._facts.get_many([_key(path, digests[path]) for path in paths])
        return await anyio.to_thread.run_sync(_decode_all, paths, values)

    async def _keep(
        self,
        root: str,
        fresh: Mapping[str, tuple[str, FileFacts]],
        digests: Mapping[str, str],
        all_files: Sequence[ScanEntry],
        began: int,
    ) -> None:
        """Keep what was read; a cache that cannot be written costs time, never the answer."""
        values = await anyio.to_thread.run_sync(
            lambda: {_key(path, digest): _ENCODE(read) for path, (digest, read) in fresh.items()}
        )
        try:
            await self._facts.put_many(values)
            if all_files:
                await self._digests.remember(root, digests, all_files, read_at_ns=began)
        except StoreError:
            return


def _key(path: str, digest: str) -> CacheKey:
    return CacheKey(
        sha256=digest, kind="facts", version=f"{FACTS_VERSION}-{language_of(path, b'')}"
    )


def _decode_all(paths: Sequence[str], values: Sequence[bytes | None]) -> dict[str, FileFacts]:
    return {path: _DECODE(raw) for path, raw in zip(paths, values, strict=True) if raw}


def _read_batch(
    files: Files, batch: Sequence[ScanEntry]
) -> tuple[dict[str, tuple[str, FileFacts]], list[NotChecked]]:
    fresh: dict[str, tuple[str, FileFacts]] = {}
    problems: list[NotChecked] = []
    for entry, content in zip(batch, files.read_many([e.path for e in batch]), strict=True):
        if isinstance(content, AiexError):
            problems.append(NotChecked(what=entry.path, reason=content.message))
            continue
        read = _facts_of(content)
        if read is not None:
            fresh[entry.path] = (content.sha256, read)
    return fresh, problems


def _facts_of(content: FileContent) -> FileFacts | None:
    language = language_of(content.path, content.content[:_HEAD])
    return None if language is None else read_facts(content.content, language)


def _named(path: str, facts: FileFacts) -> Sequence[NotChecked]:
    """Return what was not read of one file, with its path in front."""
    return [
        NotChecked(what=f"{path}: {n.what}" if n.what else path, reason=n.reason, tool=n.tool)
        for n in facts.not_checked
    ]
