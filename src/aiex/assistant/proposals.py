"""Proposals from being made to being written: stored with what was shown, applied exactly so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import anyio.to_thread
import msgspec

from aiex.assistant.project import OpenFiles
from aiex.assistant.verbs import Run
from aiex.context import BlobFiles, Change, Changes, change_id
from aiex.core import (
    AiexError,
    ChangeSummary,
    ChangeView,
    ConflictError,
    FileEdit,
    Finding,
    NotChecked,
    NotFoundError,
    ProposedFile,
    ToolRun,
    UsageError,
    UsageTotal,
    digest_of,
    unified_diff,
)
from aiex.runtime import Clock
from aiex.sandbox import FileContent, Files

__all__ = ["Proposals", "summary_of"]

_HUNK = re.compile(r"@@ -[0-9]+(?:,([0-9]+))? \+[0-9]+(?:,([0-9]+))? @@")


class Proposals:
    """Makes, shows and applies stored changes.

    Args:
        changes: Where they are stored.
        blobs: Where the diffs go that were shown.
        open_files: Opens the files of a request's root.
        clock: Where time comes from.
    """

    def __init__(
        self, changes: Changes, blobs: BlobFiles, open_files: OpenFiles, clock: Clock
    ) -> None:
        self.changes = changes
        self._blobs = blobs
        self._open_files = open_files
        self._clock = clock

    async def make(
        self,
        run: Run,
        edits: Sequence[FileEdit],
        before: Mapping[str, bytes],
        *,
        summary: str,
        usage: UsageTotal,
        checks: Sequence[ToolRun] = (),
        not_checked: Sequence[NotChecked] = (),
    ) -> Change:
        """Return the stored proposal of *edits*; nothing of the project is written.

        Args:
            run: The request.
            edits: What it shall write.
            before: Old content of the files that are there already, by path.
            summary: What it does, in one line.
            usage: What making it used of models.
            checks: What was run on it.
            not_checked: What a complete proof would have run.
        """
        edits = [edit for edit in edits if before.get(edit.path) != edit.after]
        diff = "".join(unified_diff(e.path, before.get(e.path), e.after) for e in edits)
        shown = diff.encode("utf-8", "surrogateescape")
        await self._blobs.put_many([shown])
        digest = digest_of(shown)
        request = run.request
        return await self.changes.add(
            Change(
                id=change_id(request.id, digest),
                request_id=request.id,
                created=self._clock.now(),
                verb=request.verb,
                user=request.principal.user,
                interface=request.principal.interface,
                root=str(request.root),
                edits=tuple(edits),
                diff_sha256=digest,
                summary=summary,
                model=f"{usage.provider}:{usage.model}" if usage.calls else None,
                cost_usd_micros=usage.cost_usd_micros,
                checks=tuple(checks),
                not_checked=tuple(not_checked),
            )
        )

    async def view(
        self, change: Change, *, with_diff: bool = True, findings: Sequence[Finding] = ()
    ) -> ChangeView:
        """Return *change* as it is shown.

        Raises:
            NotFoundError: The diff that was shown is gone.
        """
        diff = await self._diff(change) if with_diff else ""
        return ChangeView(
            id=change.id,
            short=await self.changes.short_id(change),
            status=change.status,
            created=change.created,
            verb=change.verb,
            root=change.root,
            summary=change.summary,
            files=_files(change, diff),
            model=change.model,
            cost_usd_micros=change.cost_usd_micros,
            checks=change.checks,
            not_checked=change.not_checked,
            findings=tuple(findings),
            error=change.error,
            diff=diff,
        )

    async def _diff(self, change: Change) -> str:
        try:
            found = await self._blobs.get_many([change.diff_sha256])
        except NotFoundError as error:
            raise NotFoundError(f"the diff of change {change.id} is gone") from error
        return found[change.diff_sha256].decode("utf-8", "surrogateescape")

    async def check(self, change: Change, run: Run, *, overwrite: bool) -> None:
        """Raise what applying *change* would raise, and write nothing.

        Raises:
            ConflictError: The tree is not what it was.
        """
        files = self._files(change, run)
        await anyio.to_thread.run_sync(lambda: files.check(_edits(files, change, overwrite)))

    async def apply(self, change: Change, run: Run, *, overwrite: bool) -> Change:
        """Write exactly what *change* says, all of it or nothing, and return it as it is then.

        A change whose every file already has its new content counts as applied: that is what
        is left when Aiex is killed between the writing and the note of it.

        Args:
            change: The proposal.
            run: The request that applies it.
            overwrite: Whether a file may be replaced that was not there when it was made.

        Raises:
            ConflictError: The tree is not what it was, or the change was applied before.
            PathRefusedError: A path is outside the root or protected.
            UsageError: The change is for another project.
        """
        files = self._files(change, run)
        if change.status == "applied":
            raise ConflictError(
                f"change {change.id} was applied already", hint=f"aiex change show {change.id}"
            )
        op_id = f"change-{change.id}"

        def write() -> None:
            if not _is_there(files, change.edits):
                files.apply(_edits(files, change, overwrite), op_id=op_id)

        try:
            await anyio.to_thread.run_sync(write)
        except ConflictError as error:
            if error.hint is None:
                error.hint = "look at the tree and ask again: a proposal is never merged by guess"
            raise
        return await self.changes.mark_applied(change, op_id=op_id, at=self._clock.now())

    def _files(self, change: Change, run: Run) -> Files:
        if run.request.root != change.root:
            raise UsageError(
                f"change {change.id} is for {change.root}",
                hint=f"aiex -C {change.root} change apply {change.id}",
            )
        return self._open_files(run.request)


def _edits(files: Files, change: Change, overwrite: bool) -> Sequence[FileEdit]:
    if not overwrite:
        return change.edits
    digests = {
        edit.path: content.sha256
        for edit, content in zip(
            change.edits, files.read_many([e.path for e in change.edits]), strict=True
        )
        if isinstance(content, FileContent)
    }
    return [
        msgspec.structs.replace(edit, before_sha256=digests.get(edit.path))
        if edit.before_sha256 is None
        else edit
        for edit in change.edits
    ]


def _is_there(files: Files, edits: Sequence[FileEdit]) -> bool:
    for edit, content in zip(edits, files.read_many([e.path for e in edits]), strict=True):
        digest = None if isinstance(content, AiexError) else content.sha256
        if digest != (None if edit.after is None else digest_of(edit.after)):
            return False
        if digest is None and not isinstance(content, NotFoundError):
            return False
    return True


def _files(change: Change, diff: str) -> tuple[ProposedFile, ...]:
    counts = list(_line_counts(diff)) or [(0, 0)] * len(change.edits)
    return tuple(
        ProposedFile(path=edit.path, status=_status(edit), added_lines=added, removed_lines=removed)
        for edit, (added, removed) in zip(change.edits, counts, strict=True)
    )


def _status(edit: FileEdit) -> Literal["added", "modified", "deleted"]:
    if edit.after is None:
        return "deleted"
    return "added" if edit.before_sha256 is None else "modified"


def _line_counts(diff: str) -> Iterator[tuple[int, int]]:
    """Yield the lines that came and went in each file of *diff*, in its order."""
    lines = iter(diff.split("\n"))
    counts: list[int] | None = None
    for line in lines:
        hunk = _HUNK.match(line)
        if line.startswith("--- "):
            if counts is not None:
                yield counts[0], counts[1]
            counts = [0, 0]
        elif hunk and counts is not None:
            old, new = (1 if hunk[i] is None else int(hunk[i]) for i in (1, 2))
            while old > 0 or new > 0:
                sign = next(lines)[:1]
                counts[0] += sign == "+"
                counts[1] += sign == "-"
                old -= sign in {" ", "-", ""}
                new -= sign in {" ", "+", ""}
    if counts is not None:
        yield counts[0], counts[1]


def summary_of(change: Change) -> ChangeSummary:
    """Return *change* as the envelope names it."""
    return ChangeSummary(
        id=change.id,
        files=tuple(edit.path for edit in change.edits),
        diff_sha256=change.diff_sha256,
        checks=change.checks,
        applied=change.status == "applied",
    )
