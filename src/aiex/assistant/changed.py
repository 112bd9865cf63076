"""What differs from a revision: compared by digests that we compute, never by git's diff."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import anyio.to_thread
import msgspec

from aiex.core import AiexError, NotFoundError, UsageError
from aiex.sandbox import Files, Git, Scan

__all__ = ["ChangedContent", "base_of", "changed_since"]

_MAIN = ("origin/HEAD", "origin/main", "origin/master", "main", "master")


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


async def base_of(git: Git, wanted: str | None, *, branch: bool) -> str:
    """Return the commit that a change is compared with.

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
        return await git.merge_base(wanted)
    if branch:
        for name in _MAIN:
            try:
                base = await git.merge_base(name)
            except NotFoundError:
                continue
            if base != repository.head:
                return base
    return repository.head


async def changed_since(files: Files, git: Git, base: str, scan: Scan) -> list[ChangedContent]:
    """Return the files that differ from *base*, committed or not, sorted by path.

    Args:
        files: The project's files.
        git: Its history.
        base: A commit.
        scan: The files that are there.
    """
    repository = await git.repository()
    if repository is None:
        raise UsageError(f"{Path(files.root)} is no git repository")
    before = await git.tree(base)
    now = {entry.path: entry for entry in scan.entries}
    contents = await anyio.to_thread.run_sync(
        _differing, files, list(now), before, repository.object_format
    )
    known = {path for path in before if path not in now}
    gone = await anyio.to_thread.run_sync(_really_gone, files, sorted(known))
    wanted = {p: before[p] for p in [*contents, *gone] if p in before}
    old = await git.blobs(wanted)
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


def _differing(
    files: Files, paths: Sequence[str], before: dict[str, str], object_format: str
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for start in range(0, len(paths), 64):
        batch = paths[start : start + 64]
        for path, content in zip(batch, files.read_many(batch), strict=True):
            if isinstance(content, AiexError):
                continue
            if Git.blob_id(content.content, object_format) != before.get(path):
                found[path] = content.content
    return found


def _really_gone(files: Files, paths: Sequence[str]) -> list[str]:
    """Return those of *paths* that do not exist, rather than being ignored or protected."""
    gone = []
    for path in paths:
        try:
            if not files.exists(path):
                gone.append(path)
        except AiexError:
            continue
    return gone


def _same_but_for_line_ends(before: bytes | None, after: bytes) -> bool:
    return before is not None and before.replace(b"\r\n", b"\n") == after.replace(b"\r\n", b"\n")
