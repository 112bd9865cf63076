"""Reading and writing a project's files: inside its roots, past no protected name, on the record.

Every verb acts on what its path leads to, links inside the root resolved; what it returns names
that. What changes a file replaces it through the journal, so that it is old or new at any time,
and is written down twice: as an intent before, and as what came of it after.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from aiex.core import (
    Actor,
    AiexError,
    AuditRecord,
    ConflictError,
    FileEdit,
    NotFoundError,
    PathRefusedError,
    RefusedError,
    UsageError,
)
from aiex.sandbox.audit.log import AuditLog
from aiex.sandbox.journal import Applied, Recovered, Target
from aiex.sandbox.lines import FileLines, LineRange
from aiex.sandbox.paths import printable
from aiex.sandbox.roots import EditOf, FileContent, FilePolicy, Root, Roots
from aiex.sandbox.walk import Listing, Scan, ScanEntry, entry_of, list_folder, walk

__all__ = ["Files", "Written"]

_CHANGE_TRIES = 20  # while somebody who takes no turns changes the same file


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What a verb left of one file.

    Attributes:
        op_id: Identifier of the operation.
        path: Relative to the root, links resolved; absolute where it is not the main root's.
        sha256_before: Digest of what was there; `None` for no file.
        sha256_after: Digest of what is there; `None` for no file.
    """

    op_id: str
    path: str
    sha256_before: str | None
    sha256_after: str | None


class Files:
    """The files of a project.

    Every method may be called from any thread; all of them block. Paths are relative to the
    root, or absolute inside it or inside one of the other roots.

    Args:
        root: The folder; must exist.
        state: Folder where changes under way are journalled. It is Aiex's own, and is refused
            where it lies in a root.
        policy: What is allowed, in every root.
        audit: Where every operation is recorded.
        actor: Who acts.
        op_id: Groups the records of one request.
        portable: Whether to do without openat2; `None` to choose.
        roots: Further folders that are read and written.
        readable: Further folders that are only read.
        own: Files and folders of Aiex besides *state*, refused like it.

    Raises:
        NotFoundError: A root is no folder that can be opened.
        ConfigurationError: A pattern of the policy is none.
    """

    def __init__(
        self,
        root: Path,
        *,
        state: Path,
        policy: FilePolicy,
        audit: AuditLog,
        actor: Actor,
        op_id: str,
        portable: bool | None = None,
        roots: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        own: Sequence[Path] = (),
    ) -> None:
        self._policy = policy
        self._audit = audit
        self._actor = actor
        self._op_id = op_id
        own = (state, *own)
        with ExitStack() as opened:

            def open_root(folder: Path, *, is_main: bool, is_written: bool) -> Root:
                one = Root(
                    folder,
                    policy=policy,
                    own=own,
                    journal=state / "changes" if is_written else None,
                    is_main=is_main,
                    portable=portable,
                )
                opened.callback(one.close)
                return one

            self._roots = Roots(
                open_root(root, is_main=True, is_written=True),
                (
                    *(open_root(one, is_main=False, is_written=True) for one in roots),
                    *(open_root(one, is_main=False, is_written=False) for one in readable),
                ),
            )
            opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the roots' handles back; nothing can be done afterwards."""
        self._roots.close()

    @property
    def root(self) -> str:
        """The main root's real path."""
        return self._roots.main.path

    def read(self, path: str, *, limit: int | None = None) -> FileContent:
        """Return a regular file whole, as it was at one moment.

        Args:
            path: File.
            limit: Most bytes; `None` for the policy's, which it can only narrow.

        Raises:
            NotFoundError: There is no such file.
            PathRefusedError: It is outside, protected, no regular file, or too large.
        """
        root, inside = self._roots.find(path, "read")
        with self._recorded("read", inside, root) as done:
            content = root.content(inside, self._limit(limit))
            done(path=content.path, bytes=len(content.content), before=content.sha256)
            told = root.told(content.path)
            if told == content.path:
                return content
            return msgspec.structs.replace(content, path=told)

    def read_many(self, paths: Sequence[str]) -> builtins.list[FileContent | AiexError]:
        """Return each of *paths* read, or the error that it gave; limits count for all of them."""
        found: builtins.list[FileContent | AiexError] = []
        left = self._policy.max_total_bytes
        for path in paths:
            try:
                content = self.read(path, limit=left)
            except (NotFoundError, PathRefusedError) as error:
                found.append(error)
            else:
                left -= len(content.content)
                found.append(content)
        return found

    def read_lines(
        self, path: str, first: int = 1, last: int | None = None, *, limit: int | None = None
    ) -> FileLines:
        """Return some lines of a regular file, as it was at one moment.

        The file is read block by block, so it may be larger than what may be read of it.

        Args:
            path: File, of at most the policy's `max_total_bytes`.
            first: First line, 1-based.
            last: Last line, which is included; `None` for the end of the file.
            limit: Most bytes of the lines; `None` for the policy's `max_file_bytes`, which it can
                only narrow.

        Raises:
            NotFoundError: There is no such file.
            PathRefusedError: It is outside, protected, no regular file, or too large.
            UsageError: There cannot be such lines.
        """
        if first < 1 or (last is not None and last < first):
            raise UsageError(f"lines {first} to {last} are no range: the first line is 1")
        root, inside = self._roots.find(path, "read")
        with self._recorded("read_lines", inside, root) as done:
            wanted = LineRange(first, last, most=self._limit(limit), path=path)
            read, _, names = root.steady(
                inside, self._policy.max_total_bytes, wanted.read, lambda lines: lines.seen
            )
            done(path="/".join(names), bytes=len(read.content), before=read.sha256)
            return FileLines(
                path=root.told("/".join(names)),
                content=read.content,
                first=first,
                last=min(read.total, read.total if last is None else last),
                total=read.total,
                sha256=read.sha256,
            )

    def stat(self, path: str) -> ScanEntry:
        """Return what the directory says of a regular file.

        Raises:
            NotFoundError: There is no such file.
            PathRefusedError: It is outside, protected, or no regular file.
        """
        root, inside = self._roots.find(path, "read")
        with self._recorded("stat", inside, root) as done:
            handle, names = root.open(inside, "read")
            try:
                status = os.fstat(handle)
                root.must_be_regular(status, path)
            finally:
                os.close(handle)
            done(path="/".join(names))
            return entry_of(root.told("/".join(names)), status)

    def exists(self, path: str) -> bool:
        """Return whether *path* is a regular file or a folder.

        Raises:
            PathRefusedError: It is outside or protected, or may not be opened.
        """
        root, inside = self._roots.find(path, "read")
        with self._recorded("exists", inside, root) as done:
            try:
                handle, names = root.open(inside, "read")
            except NotFoundError:
                return False
            except PathRefusedError as error:
                if error.rule != "not_a_file":  # which a socket is, that cannot be opened
                    raise
                return False
            try:
                done(path="/".join(names))
                mode = os.fstat(handle).st_mode
                return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
            finally:
                os.close(handle)

    def list(self, path: str = ".", *, ignored: bool = False) -> Listing:
        """Return the folders and regular files that a folder holds, sorted.

        Protected names are not listed, and links are not followed.

        Args:
            path: Folder.
            ignored: Whether to list what .gitignore files exclude, too.

        Raises:
            NotFoundError: There is no such folder.
            PathRefusedError: It is outside, protected, or no folder.
        """
        root, inside = self._roots.find(path, "read")
        with self._recorded("list", inside, root) as done:
            handle, names = root.open(inside, "read")
            try:
                if not stat.S_ISDIR(os.fstat(handle).st_mode):
                    raise PathRefusedError(
                        f"{printable(path)} is no folder", path=printable(path), rule="not_a_folder"
                    )
                found = list_folder(
                    root.handle,
                    handle,
                    names,
                    ignored=ignored,
                    most=self._policy.max_entries,
                    protected=root.protected,
                )
            finally:
                os.close(handle)
            folders = [one for one in found.folders if not root.hides(tuple(one.split("/")))]
            files = [one for one in found.files if not root.hides(tuple(one.path.split("/")))]
            done(path="/".join(names) or ".", count=len(folders) + len(files))
            return Listing(
                path=root.told(found.path),
                folders=tuple(map(root.told, folders)),
                files=tuple(_told(root, files)),
                left_out=found.left_out,
            )

    def scan(self, paths: Sequence[str] = (".",), *, ignored: bool = False) -> Scan:
        """Return the regular files below *paths*, sorted, and what was passed by.

        Protected names are not listed. One record of the audit stands for the whole scan of a
        root.

        Args:
            paths: Folders and files.
            ignored: Whether to list what .gitignore files exclude, too.

        Raises:
            NotFoundError: One of *paths* is not there.
            PathRefusedError: One of *paths* is outside or protected.
        """
        starts: dict[Root, builtins.list[str]] = {}
        for path in paths:
            root, inside = self._roots.find(path, "read")
            starts.setdefault(root, []).append(inside)
        scans = [self._scan(root, below, ignored=ignored) for root, below in starts.items()]
        if len(scans) == 1:
            return scans[0]
        return Scan(
            entries=tuple(sorted((e for scan in scans for e in scan.entries), key=_path_of)),
            left_out=tuple(note for scan in scans for note in scan.left_out),
        )

    def _scan(self, root: Root, paths: Sequence[str], *, ignored: bool) -> Scan:
        with self._recorded("scan", ", ".join(paths), root) as done:
            starts = [root.judge(path, "read") for path in paths]
            try:
                scan = walk(
                    root.handle,
                    starts,
                    ignored=ignored,
                    most=self._policy.max_entries,
                    protected=root.protected,
                    portable=root.portable,
                )
            except OSError as error:
                raise root.problem(error, ", ".join(paths)) from error
            entries = [e for e in scan.entries if not root.hides(tuple(e.path.split("/")))]
            listing = hashlib.sha256()
            for entry in entries:
                line = f"{entry.path}\0{entry.size}\0{entry.mtime_ns}\n"
                listing.update(line.encode("utf-8", "surrogateescape"))
            done(count=len(entries), before=listing.hexdigest())
            return Scan(entries=tuple(_told(root, entries)), left_out=scan.left_out)

    def write(
        self,
        path: str,
        content: bytes,
        *,
        overwrite: bool = False,
        expect: str | None = None,
        mode: int = 0o644,
    ) -> Written:
        """Have a file hold *content*, in one step.

        Folders on the way are made. Safe to repeat with `overwrite`.

        Args:
            path: File.
            content: All its bytes.
            overwrite: Whether a file that is there is replaced; it keeps its permissions.
            expect: Digest of the file that is replaced, whether or not *overwrite* is set; `None`
                for any.
            mode: Permission bits of a file that is new.

        Raises:
            ConflictError: A file is there and is not to be replaced, or is another than expected.
            PathRefusedError: It is outside, protected, read-only, or no regular file.
            UsageError: It would be too large.
        """

        def edit_of(now: FileContent | None) -> FileEdit:
            before = now.sha256 if now is not None and overwrite and expect is None else expect
            return FileEdit(
                path=path,
                after=content,
                before_sha256=before,
                mode=mode if now is None else None,
            )

        return self._change("write", path, edit_of)

    def append(self, path: str, content: bytes, *, expect: str | None = None) -> Written:
        """Have a file end with *content*, in one step; it is made if it is not there.

        Of appends at once none is lost. Not safe to repeat.

        Args:
            path: File.
            content: Bytes to add.
            expect: Digest of the file as it is before; `None` for any.

        Raises:
            ConflictError: The file is another than expected, or is being changed all the time.
            PathRefusedError: It is outside, protected, read-only, or no regular file.
            UsageError: It would be too large.
        """

        def edit_of(now: FileContent | None) -> FileEdit:
            before = now.sha256 if now is not None and expect is None else expect
            old = b"" if now is None else now.content
            return FileEdit(path=path, after=old + content, before_sha256=before)

        return self._change("append", path, edit_of, shared=False)

    def delete(self, path: str, *, expect: str | None = None) -> Written:
        """Remove a regular file.

        Args:
            path: File.
            expect: Digest that it must have; `None` for any.

        Raises:
            ConflictError: It is another than expected.
            NotFoundError: There is no such file.
            PathRefusedError: It is outside, protected, read-only, or no regular file.
        """
        return self._change("delete", path, lambda now: _gone(path, now, expect))

    def copy(
        self, source: str, target: str, *, overwrite: bool = False, expect: str | None = None
    ) -> Written:
        """Have *target* hold what *source* holds, in one step.

        Args:
            source: File; reading it is a record of its own.
            target: File; a new one gets the permissions of *source*, another keeps its own.
            overwrite: Whether a file that is there is replaced.
            expect: Digest that *source* must have; `None` for any.

        Raises:
            ConflictError: *source* is another than expected, or *target* is there and is not to be
                replaced.
            NotFoundError: There is no *source*.
            PathRefusedError: One of them is outside, protected, or no regular file.
        """
        content = self.read(source)
        if expect is not None and content.sha256 != expect:
            raise ConflictError(f"{printable(source)} is not what was expected")
        return self._change(
            "copy", target, _holding(target, content, overwrite), reason=_from(source)
        )

    def move(
        self, source: str, target: str, *, overwrite: bool = False, expect: str | None = None
    ) -> Written:
        """Have *target* hold what *source* holds, and *source* be gone; both or neither.

        The file keeps permissions, owner and attributes. From one root to another it is a copy
        and then a removal: what cuts that short leaves both files.

        Args:
            source: File.
            target: File.
            overwrite: Whether a file that is there is replaced.
            expect: Digest that *source* must have; `None` for any.

        Returns:
            What is left of *target*.

        Raises:
            ConflictError: *source* is another than expected, or *target* is there and is not to be
                replaced.
            NotFoundError: There is no *source*.
            PathRefusedError: One of them is outside, protected, read-only, or no regular file.
            UsageError: Both are one file.
        """
        root, inside = self._roots.find(source, "write")
        other, there = self._roots.find(target, "write")
        if root is not other:
            with self._failures("move", inside, root):
                root.judge(inside, "write")
                content = root.content(inside, self._policy.max_file_bytes)
                _gone(source, content, expect)
            holding = _holding(target, content, overwrite, is_moved=True)
            written = self._change("move", target, holding, reason=_from(source))
            self._change("move", source, lambda now: _gone(source, now, content.sha256))
            return written
        for left in range(_CHANGE_TRIES, -1, -1):
            with ExitStack() as held:
                with self._failures("move", inside, root):
                    root.judge(inside, "write")
                    root.judge(there, "write")
                    held.enter_context(root.journal.turn())
                    moved: builtins.list[FileContent] = []

                    def gone_of(now: FileContent | None) -> FileEdit:
                        edit = _gone(source, now, expect)
                        moved.extend([now] if now is not None else ())  # noqa: B023
                        return edit

                    gone = root.target(inside, gone_of, shared=False)
                    held.callback(gone.close)
                    holding = _holding(target, moved[0], overwrite, is_moved=True)
                    made = root.target(there, holding, like=gone)
                    held.callback(made.close)
                    if made.names == gone.names:
                        raise UsageError(
                            f"{printable(source)} and {printable(target)} are one file"
                        )
                try:
                    self._commit("move", root, (made, gone), reason=_from(source))
                except ConflictError:
                    if not left:
                        raise
                    continue
                return _written(self._op_id, root, made)
        raise AssertionError("the last try returns or raises")

    def mkdir(self, path: str, *, parents: bool = False, exist_ok: bool = False) -> str:
        """Make a folder and return its path, links resolved.

        Args:
            path: Folder.
            parents: Whether folders above it that are missing are made, too.
            exist_ok: Whether a folder that is there already is no error.

        Raises:
            ConflictError: It is there already.
            NotFoundError: The folder above it is not there.
            PathRefusedError: It is outside, protected or read-only.
        """
        root, inside = self._roots.find(path, "write")
        with ExitStack() as held:
            with self._failures("mkdir", inside, root):
                names = root.judge(inside, "write")
                _ = root.journal
                folders = root.folders(names, path)
                held.callback(folders.close)
                if not folders.missing and not exist_ok:
                    raise ConflictError(f"{printable(path)} is there already")
                if len(folders.missing) > 1 and not parents:
                    raise NotFoundError(
                        f"the folder above {printable(path)} is not there",
                        hint="make it first, or all of them at once",
                    )
            where = "/".join(folders.names)
            started = time.perf_counter_ns()
            self._tell("mkdir", "intent", root, path=where)
            try:
                try:
                    folders.make()
                    folders.must_lead_here(root.handle)
                    if not folders.made and not exist_ok:
                        raise ConflictError(f"{printable(path)} is there already")
                except OSError as error:
                    raise RefusedError(f"nothing was made: {error.strerror}") from error
            except AiexError as error:
                folders.remove()
                self._tell("mkdir", "op", root, path=where, started=started, failed=error)
                raise
            self._tell("mkdir", "op", root, path=where, started=started, count=folders.made)
            self._audit.flush()
            return root.told(where)

    def check(self, edits: Sequence[FileEdit]) -> None:
        """Return if `apply` could write *edits* now.

        Raises:
            As `apply`.
        """
        for target in self._targets(edits)[1]:
            target.close()

    def apply(self, edits: Sequence[FileEdit], *, op_id: str | None = None) -> Applied:
        """Write all of *edits*, or none of them.

        Every path and every digest is checked before anything is written. A file is replaced,
        never written through, so other names of it keep the old content; its permissions stay.
        A kill in the middle is completed or taken back by the next `recover`.

        Args:
            edits: At most one a file, all of one root.
            op_id: Groups the records; `None` for the one of these files.

        Raises:
            ConflictError: A file is not what its edit was computed from.
            PathRefusedError: A path is outside, protected, or no regular file.
            UsageError: Two edits are of one file or of two roots, or one is too large.
        """
        root, targets = self._targets(edits)
        try:
            return self._commit(None, root, targets, op_id=op_id, takes_turn=True)
        finally:
            for target in targets:
                target.close()

    def recover(self) -> builtins.list[Recovered]:
        """Complete or take back what a kill cut short below the roots, and say what was done."""
        recovered = []
        for root in self._roots:
            if not root.is_writable:
                continue
            for one in root.journal.recover(root.handle):
                self._audit.record(
                    AuditRecord(
                        op_id=one.op_id,
                        kind="op",
                        actor=self._actor,
                        op="recover",
                        root_id=root.id,
                        reason=one.outcome,
                        count=len(one.paths),
                    )
                )
                paths = tuple(map(root.told, one.paths))
                recovered.append(msgspec.structs.replace(one, paths=paths))
        return recovered

    def _limit(self, limit: int | None) -> int:
        most = self._policy.max_file_bytes
        return most if limit is None else min(limit, most)

    def _change(
        self,
        op: str,
        path: str,
        edit_of: EditOf,
        *,
        shared: bool = True,
        reason: str | None = None,
    ) -> Written:
        """Write one file as *edit_of* says by what is there, again while somebody changes it.

        Args:
            op: Verb.
            path: File.
            edit_of: Says what to write; asked anew for each try.
            shared: As for `Root.target`.
            reason: What the records say besides.
        """
        root, inside = self._roots.find(path, "write")
        for left in range(_CHANGE_TRIES, -1, -1):
            with ExitStack() as held:
                with self._failures(op, inside, root):
                    root.judge(inside, "write")
                    held.enter_context(root.journal.turn())
                    target = root.target(inside, edit_of, shared=shared)
                    held.callback(target.close)
                try:
                    self._commit(op, root, (target,), reason=reason)
                except ConflictError:
                    if not left:
                        raise
                    continue
                return _written(self._op_id, root, target)
        raise AssertionError("the last try returns or raises")

    def _commit(
        self,
        op: str | None,
        root: Root,
        targets: Sequence[Target],
        *,
        op_id: str | None = None,
        takes_turn: bool = False,
        reason: str | None = None,
    ) -> Applied:
        """Write *targets*, with their records before and after."""
        op_id = op_id or self._op_id
        journal = root.journal
        started = time.perf_counter_ns()

        def tell(kind: Literal["intent", "op"], failed: AiexError | None = None) -> None:
            self._audit.record(
                *(
                    AuditRecord(
                        op_id=op_id,
                        kind=kind,
                        actor=self._actor,
                        op=op or ("delete" if target.edit.after is None else "write"),
                        path=printable(target.entry.path),
                        root_id=root.id,
                        decision="allow" if failed is None else "deny",
                        rule=None if failed is None else failed.code,
                        reason=reason if failed is None else failed.message,
                        bytes=None if target.edit.after is None else target.entry.after_size,
                        sha256_before=target.entry.before,
                        sha256_after=target.entry.after,
                        dur_us=_since(started) if kind == "op" else 0,
                    )
                    for target in targets
                )
            )

        tell("intent")
        try:
            write = journal.apply if takes_turn else journal.write
            applied = write(op_id, targets, root.handle)
        except AiexError as error:
            tell("op", error)
            raise
        tell("op")
        self._audit.flush()
        return msgspec.structs.replace(applied, paths=tuple(map(root.told, applied.paths)))

    def _targets(self, edits: Sequence[FileEdit]) -> tuple[Root, builtins.list[Target]]:
        targets: builtins.list[Target] = []
        seen: set[tuple[str, ...]] = set()
        only: Root | None = None
        try:
            for edit in edits:
                root, inside = self._roots.find(edit.path, "write")
                with self._recorded("check", inside, root):
                    target = root.target(inside, lambda _now, edit=edit: edit)  # type: ignore[misc]
                targets.append(target)
                if only not in {None, root}:
                    raise UsageError("one change is of one root")
                only = root
                if target.names in seen:
                    raise UsageError(f"two edits are of {printable(edit.path)}")
                seen.add(target.names)
        except BaseException:
            for target in targets:
                target.close()
            raise
        return only or self._roots.main, targets

    @contextmanager
    def _failures(self, op: str, path: str, root: Root) -> Iterator[None]:
        """Record what keeps an operation from being begun; what is begun tells itself."""
        started = time.perf_counter_ns()
        try:
            yield
        except AiexError as error:
            self._tell(op, "op", root, path=path, started=started, failed=error)
            raise

    def _tell(
        self,
        op: str,
        kind: Literal["intent", "op"],
        root: Root,
        *,
        path: str,
        started: int | None = None,
        failed: AiexError | None = None,
        count: int | None = None,
    ) -> None:
        refused = isinstance(failed, RefusedError)
        self._audit.record(
            AuditRecord(
                op_id=self._op_id,
                kind=kind,
                actor=self._actor,
                op=op,
                path=printable(path),
                root_id=root.id,
                decision="deny" if refused else "allow",
                rule=failed.rule if isinstance(failed, PathRefusedError) else None,
                reason=None if failed is None else failed.message,
                count=count,
                dur_us=0 if started is None else _since(started),
            )
        )

    @contextmanager
    def _recorded(self, op: str, path: str, root: Root) -> Iterator[Callable[..., None]]:
        """Record one operation that changes nothing, allowed or refused."""
        shown: dict[str, object] = {"path": printable(path)}
        started = time.perf_counter_ns()

        def done(
            *,
            path: str | None = None,
            bytes: int | None = None,  # noqa: A002 - the record's own word
            count: int | None = None,
            before: str | None = None,
        ) -> None:
            shown.update(bytes=bytes, count=count, sha256_before=before)
            if path is not None:
                shown["path"] = printable(path)

        failed: AiexError | None = None
        try:
            yield done
        except AiexError as error:
            failed = error
            raise
        finally:
            self._audit.record(
                AuditRecord(
                    op_id=self._op_id,
                    kind="op",
                    actor=self._actor,
                    op=op,
                    root_id=root.id,
                    decision="deny" if isinstance(failed, PathRefusedError) else "allow",
                    rule=failed.rule if isinstance(failed, PathRefusedError) else None,
                    reason=None if failed is None else failed.message,
                    dur_us=_since(started),
                    **shown,  # type: ignore[arg-type]
                )
            )


def _since(started: int) -> int:
    return (time.perf_counter_ns() - started) // 1000


def _path_of(entry: ScanEntry) -> str:
    return entry.path


def _told(root: Root, entries: Sequence[ScanEntry]) -> Iterator[ScanEntry]:
    for entry in entries:
        told = root.told(entry.path)
        yield entry if told == entry.path else msgspec.structs.replace(entry, path=told)


def _from(source: str) -> str:
    return f"from {printable(source)}"


def _gone(path: str, now: FileContent | None, expect: str | None) -> FileEdit:
    """Return what removes the file that is there *now*."""
    if now is None:
        raise NotFoundError(f"there is no {printable(path)}")
    if expect is not None and now.sha256 != expect:
        raise ConflictError(f"{printable(path)} is not what was expected")
    return FileEdit(path=path, after=None, before_sha256=now.sha256)


def _holding(path: str, content: FileContent, overwrite: bool, *, is_moved: bool = False) -> EditOf:
    """Return what gives a file the content of another; its permissions if new or moved."""

    def edit_of(now: FileContent | None) -> FileEdit:
        before = now.sha256 if now is not None and overwrite else None
        mode = content.mode if now is None or is_moved else None
        return FileEdit(path=path, after=content.content, before_sha256=before, mode=mode)

    return edit_of


def _written(op_id: str, root: Root, target: Target) -> Written:
    return Written(
        op_id=op_id,
        path=root.told(target.entry.path),
        sha256_before=target.entry.before,
        sha256_after=target.entry.after,
    )
