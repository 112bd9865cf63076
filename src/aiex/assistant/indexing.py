"""The index of a request's project, brought up to date through the sandbox."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.assistant.project import OpenFiles, batches
from aiex.assistant.verbs import Run
from aiex.code import MAX_PARSE_BYTES, chunk_code, chunk_text, is_binary, kind_of, language_of
from aiex.context import Changed, ContextIndex, IndexUpdate, ReadFile
from aiex.core import AiexError, NotChecked, Notice, Progress, UsageError
from aiex.sandbox import FileContent, Files, ScanEntry

__all__ = ["Fresh", "Indexer", "read_file"]

_HEAD = 256
_TELL_FROM = 200  # files: fewer are read before anybody wonders
_MOST_TOLD = 20
_KEPT_EVERY = 2000  # files: a first indexing that is cut short goes on from there


class Fresh(msgspec.Struct, kw_only=True):
    """An index that was brought up to date.

    Attributes:
        index: The index, entered.
        files: The files of the project.
        read: Files that were new or had changed, and were read now.
        removed: Files that are not there any more.
        waiting: Files that changed and are not indexed, since another process is at it.
        not_checked: What could not be read, and why.
    """

    index: ContextIndex
    files: Files
    read: int = 0
    removed: int = 0
    waiting: int = 0
    not_checked: tuple[NotChecked, ...] = ()


class Indexer:
    """Keeps indexes of projects in a folder.

    Args:
        open_files: Opens the files of a request's root.
        folder: Where the indexes are.
    """

    def __init__(self, open_files: OpenFiles, folder: Path) -> None:
        self._open = open_files
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the indexes are."""
        return self._folder

    @asynccontextmanager
    async def opened(self, run: Run) -> AsyncGenerator[Fresh, None]:
        """Hand out the index of the request's project as it is.

        Raises:
            UsageError: The request has no root.
            StoreError: There is no place for an index.
        """
        if run.request.root is None:
            raise UsageError(
                "this needs a project folder", hint="run it inside one, or with -C DIR"
            )
        files = self._open(run.request)
        index = ContextIndex(self._folder, files.root)
        await anyio.to_thread.run_sync(index.__enter__)
        try:
            if index.rebuilt:
                await run.emit(
                    Notice(text=f"the index is built anew: {index.rebuilt}", level="warning")
                )
            yield Fresh(index=index, files=files)
        finally:
            index.__exit__(None, None, None)

    @asynccontextmanager
    async def fresh(self, run: Run, *, rebuild: bool = False) -> AsyncGenerator[Fresh, None]:
        """Hand out the index of the request's project, brought up to date.

        Args:
            run: The request; told how far it is.
            rebuild: Whether every file is read again.

        Raises:
            UsageError: The request has no root.
            StoreError: There is no place for an index.
        """
        async with self.opened(run) as fresh:
            if rebuild:
                await anyio.to_thread.run_sync(fresh.index.forget)
                await anyio.to_thread.run_sync(fresh.index.__enter__)
            await self._refresh(fresh, run)
            yield fresh

    async def _refresh(self, fresh: Fresh, run: Run) -> None:
        index, files = fresh.index, fresh.files
        began = time.time_ns()
        scan = await anyio.to_thread.run_sync(files.scan)
        changed = await anyio.to_thread.run_sync(index.compare, scan.entries)
        fresh.not_checked = scan.left_out
        if not changed.touched and not changed.gone:
            return
        async with _updating(index) as update:
            if update is None:
                fresh.waiting = len(changed.touched) + len(changed.gone)
                text = f"another process is indexing; {fresh.waiting} files are as they were"
                await run.emit(Notice(text=text, level="warning"))
                return
            # Another process may have done some of it while this one waited for its turn.
            changed = await anyio.to_thread.run_sync(index.compare, scan.entries)
            problems: list[NotChecked] = []
            todo, done, kept = len(changed.touched), 0, 0
            for batch in batches(changed.touched):
                if todo > _TELL_FROM:
                    await run.emit(Progress(stage="indexing", done=done, total=todo))
                write = partial(_put, update, files, batch, changed, began)
                same, missed = await anyio.to_thread.run_sync(write)
                problems += missed
                kept += same
                done += len(batch)
                if done // _KEPT_EVERY > (done - len(batch)) // _KEPT_EVERY:
                    await anyio.to_thread.run_sync(update.commit)
            for path in changed.gone:
                update.remove(path)
            fresh.read, fresh.removed = done - kept, len(changed.gone)
            fresh.not_checked = (*scan.left_out, *problems[:_MOST_TOLD])


def _put(
    update: IndexUpdate, files: Files, batch: Sequence[ScanEntry], changed: Changed, began: int
) -> tuple[int, list[NotChecked]]:
    """Index the files of *batch* that changed; return how many had not, and what was unreadable."""
    kept = 0
    problems: list[NotChecked] = []
    for entry in batch:
        known = changed.digests.get(entry.path)
        if entry.size > MAX_PARSE_BYTES:
            reason = f"it has {entry.size} bytes, over the {MAX_PARSE_BYTES} that are indexed"
            problems.append(NotChecked(what=entry.path, reason=reason))
            update.put(_empty(entry), read_at_ns=began, is_new=known is None)
            continue
        [content] = files.read_many([entry.path])
        if isinstance(content, AiexError):
            problems.append(NotChecked(what=entry.path, reason=content.message))
        elif content.sha256 == known:
            update.keep(entry, read_at_ns=began)
            kept += 1
        else:
            update.put(read_file(entry, content), read_at_ns=began, is_new=known is None)
    return kept, problems


@asynccontextmanager
async def _updating(index: ContextIndex) -> AsyncGenerator[IndexUpdate | None, None]:
    """Do what `ContextIndex.updating` does without holding up the loop."""
    updating = index.updating()
    update = await anyio.to_thread.run_sync(updating.__enter__)
    try:
        yield update
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            leave = partial(updating.__exit__, type(error), error, error.__traceback__)
            await anyio.to_thread.run_sync(leave)
        raise
    await anyio.to_thread.run_sync(updating.__exit__, None, None, None)


def read_file(entry: ScanEntry, content: FileContent) -> ReadFile:
    """Return a file, read and cut into pieces, ready to be indexed."""
    source, kind = content.content, kind_of(entry.path)
    language = language_of(entry.path, source[:_HEAD])
    if is_binary(source):
        return _empty(entry, content.sha256)
    if language is None:
        facts, chunks = None, chunk_text(source)
    else:
        facts, chunks = chunk_code(source, language)
        if facts.is_generated:
            kind = "generated"
    return ReadFile(
        stat=entry,
        digest=content.sha256,
        content=source,
        kind=kind,
        chunks=chunks,
        facts=facts,
    )


def _empty(entry: ScanEntry, digest: str = "") -> ReadFile:
    return ReadFile(stat=entry, digest=digest, content=b"", kind=kind_of(entry.path), chunks=())
