"""What differs from a revision: compared by digests that we compute, never by git's diff."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal

import anyio.to_thread
import msgspec

from aiex.assistant.project import batches
from aiex.context import DigestCache
from aiex.core import AiexError, NotChecked, NotFoundError, StoreError
from aiex.sandbox import Files, Git, Scan, ScanEntry

__all__ = ["Base", "Changed", "ChangedContent", "base_of", "changed_since"]

_MOST_BYTES = 64 << 20
_MAIN = ("origin/HEAD", "origin/main", "origin/master", "main", "master")


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """What a change is compared with.

    Attributes:
        commit: The commit.
        object_format: Hash that names its objects: `sha1` or `sha256`.
    """

    commit: str
    object_format: str


class ChangedContent(msgspec.Struct, frozen=True, kw_only=True):
    """A file that differs.

    Attributes:
        path: Relative to the root.
        status: How it differs.
        before: Content at the base; `None` if it was not there.
        after: Content now; `None` if it is gone.
    """

    path: str
    status: Literal["added", "modified", "deleted"]
    before: bytes | None
    after: bytes | None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from a revision.

    Attributes:
        files: Files that differ, sorted by path.
        not_checked: Files that could not be compared.
    """

    files: tuple[ChangedContent, ...]
    not_checked: tuple[NotChecked, ...] = ()


async def base_of(git: Git, wanted: str | None, *, branch: bool) -> Base:
    """Return what a change is compared with.

    Args:
        git: The history.
        wanted: Revision that was named; `None` for the usual one.
        branch: Whether the usual one is where this branch left the main one, rather than HEAD.

    Raises:
        NotFoundError: The root is in no repository, or has no commit yet.
    """
    repository = await git.repository()
    if repository is None:
        raise NotFoundError("this is no git repository", hint="a diff needs a history")
    if repository.head is None:
        raise NotFoundError("the repository has no commit yet", hint="commit something first")
    if wanted is not None:
        commit = await git.merge_base(wanted)
    elif branch:
        commit = await _where_it_left_main(git, repository.head)
    else:
        commit = repository.head
    return Base(commit=commit, object_format=repository.object_format)


async def _where_it_left_main(git: Git, head: str) -> str:
    """Return the newest commit that is in a main branch, too; *head* where none left it."""
    branches = await git.branches(_MAIN)
    for name in _MAIN:
        if branches.get(name, head) != head:
            base = await git.merge_base(branches[name])
            if base != head:
                return base
    return head


async def changed_since(
    files: Files, git: Git, base: Base, scan: Scan, digests: DigestCache | None
) -> Changed:
    """Return the files that differ from *base*, committed or not.

    Args:
        files: The project's files.
        git: Its history.
        base: What to compare with.
        scan: The files that are there.
        digests: Keeps the names that git gives to contents, so that only what was touched is
            read; `None` to read everything.
    """
    before = await git.tree(base.commit)
    # Kept apart from the digests of other kinds, which go by the root alone.
    place = f"{files.root}\0git-{base.object_format}"
    began = time.time_ns()
    ids = {} if digests is None else dict(await digests.known(place, scan.entries))
    unknown = [entry for entry in scan.entries if entry.path not in ids]
    fresh, problems = await anyio.to_thread.run_sync(_blob_ids, files, unknown, base.object_format)
    ids.update(fresh)
    if fresh and digests is not None:
        with suppress(StoreError):  # costs time the next time, never the answer
            await digests.remember(place, ids, scan.entries, read_at_ns=began)
    differing, too_much = _within(
        [e for e in scan.entries if e.path in ids and ids[e.path] != before.get(e.path)]
    )
    now = {entry.path for entry in scan.entries}
    missing = sorted(path for path in before if path not in now)
    contents, gone = await anyio.to_thread.run_sync(_look, files, differing, missing)
    old = await git.blobs({path: before[path] for path in (*contents, *gone) if path in before})
    return Changed(
        files=tuple(_compared(before, old, contents, gone)), not_checked=(*problems, *too_much)
    )


def _blob_ids(
    files: Files, entries: Sequence[ScanEntry], object_format: str
) -> tuple[dict[str, str], list[NotChecked]]:
    ids: dict[str, str] = {}
    problems: list[NotChecked] = []
    for batch in batches(entries):
        contents = files.read_many([entry.path for entry in batch])
        for entry, content in zip(batch, contents, strict=True):
            if isinstance(content, AiexError):
                problems.append(NotChecked(what=entry.path, reason=content.message))
            else:
                ids[entry.path] = Git.blob_id(content.content, object_format)
    return ids, problems


def _within(entries: Sequence[ScanEntry]) -> tuple[list[str], list[NotChecked]]:
    """Return the paths of as many *entries* as may be held in memory, and name the others."""
    paths: list[str] = []
    left_out: list[NotChecked] = []
    size = 0
    for entry in entries:
        if size + entry.size <= _MOST_BYTES:
            size += entry.size
            paths.append(entry.path)
        else:
            reason = f"more than {_MOST_BYTES >> 20} MiB differ"
            left_out.append(NotChecked(what=entry.path, reason=reason))
    return paths, left_out


def _look(
    files: Files, differing: Sequence[str], missing: Sequence[str]
) -> tuple[dict[str, bytes], list[str]]:
    """Return the contents of files that differ, and which of the missing ones are really gone."""
    contents = {
        path: content.content
        for path, content in zip(differing, files.read_many(differing), strict=True)
        if not isinstance(content, AiexError)
    }
    gone = []
    for path in missing:
        # What is there but ignored or protected is not gone.
        with suppress(AiexError):
            if not files.exists(path):
                gone.append(path)
    return contents, gone


def _compared(
    before: Mapping[str, str],
    old: Mapping[str, bytes],
    contents: Mapping[str, bytes],
    gone: Sequence[str],
) -> list[ChangedContent]:
    changed = [
        ChangedContent(
            path=path,
            status="modified" if path in before else "added",
            before=old.get(path),
            after=content,
        )
        for path, content in contents.items()
        if not _same_but_for_line_ends(old.get(path), content)
    ]
    changed += [
        ChangedContent(path=path, status="deleted", before=old.get(path), after=None)
        for path in gone
    ]
    return sorted(changed, key=lambda change: change.path)


def _same_but_for_line_ends(before: bytes | None, after: bytes) -> bool:
    return before is not None and before.replace(b"\r\n", b"\n") == after.replace(b"\r\n", b"\n")
