"""Reading and writing a project's files: inside its root, past no protected name, on the record."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    UsageError,
    digest_of,
)
from aiex.sandbox.audit.log import AuditLog
from aiex.sandbox.journal import Applied, ChangeJournal, Recovered, Target
from aiex.sandbox.openat import EscapeError, open_beneath
from aiex.sandbox.paths import Access, folded, printable, protected_by, split_path
from aiex.sandbox.walk import Scan, ScanEntry, entry_of, walk

__all__ = ["FileContent", "FilePolicy", "Files"]

_READ_TRIES = 5
_BLOCK = 1 << 20


class FilePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a root allow.

    Attributes:
        hardlinks: Whether a file with several names may be read; it is never written through.
        max_file_bytes: Most bytes of one file that is read or written.
        max_total_bytes: Most bytes that one call reads.
        max_entries: Most entries that one listing looks at.
        protected: Further names that are neither read nor written, at any depth.
    """

    hardlinks: Literal["deny", "read"] = "read"
    max_file_bytes: int = 64 << 20
    max_total_bytes: int = 512 << 20
    max_entries: int = 500_000
    protected: tuple[str, ...] = ()


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was at one moment.

    Attributes:
        path: Relative to the root, links resolved.
        content: Its bytes.
        sha256: Their digest.
        mode: Permission bits.
        mtime_ns: Last change, nanoseconds.
    """

    path: str
    content: bytes
    sha256: str
    mode: int
    mtime_ns: int


class Files:
    """The files below one root.

    Every method may be called from any thread; all of them block. Paths are relative to the
    root, or absolute inside it.

    Args:
        root: The folder; must exist.
        state: Folder, outside the root, where changes under way are journalled.
        policy: What is allowed.
        audit: Where every operation is recorded.
        actor: Who acts.
        op_id: Groups the records of one request.
        portable: Whether to do without openat2; `None` to choose.

    Raises:
        NotFoundError: The root is no folder that can be opened.
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
    ) -> None:
        self._root_path = os.path.realpath(root)
        self._policy = policy
        self._protected = frozenset(map(folded, policy.protected))
        self._audit = audit
        self._actor = actor
        self._op_id = op_id
        self._portable = portable
        self._root_id = digest_of(os.fsencode(self._root_path))[:12]
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            self._root = os.open(self._root_path, flags)
        except OSError as error:
            raise NotFoundError(
                f"{printable(str(root))} is no folder that can be opened ({error.strerror})"
            ) from error
        self._journal = ChangeJournal(state / "changes", root=self._root_path)

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
        """Give the root's handle back; nothing can be done afterwards."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    @property
    def root(self) -> str:
        """The root's real path."""
        return self._root_path

    def read(self, path: str, *, limit: int | None = None) -> FileContent:
        """Return a regular file whole, as it was at one moment.

        Args:
            path: File.
            limit: Most bytes; `None` for the policy's, which it can only narrow.

        Raises:
            NotFoundError: There is no such file.
            PathRefusedError: It is outside, protected, no regular file, or too large.
        """
        with self._recorded("read", path) as done:
            most = self._policy.max_file_bytes
            content = self._read(path, most if limit is None else min(limit, most))
            done(path=content.path, bytes=len(content.content), before=content.sha256)
            return content

    def read_many(self, paths: Sequence[str]) -> list[FileContent | AiexError]:
        """Return each of *paths* read, or the error that it gave; limits count for all of them."""
        found: list[FileContent | AiexError] = []
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

    def stat(self, path: str) -> ScanEntry:
        """Return what the directory says of a regular file.

        Raises:
            NotFoundError: There is no such file.
            PathRefusedError: It is outside, protected, or no regular file.
        """
        with self._recorded("stat", path) as done:
            handle, names = self._open(path, "read")
            try:
                status = os.fstat(handle)
                self._must_be_regular(status, path)
            finally:
                os.close(handle)
            done(path="/".join(names))
            return entry_of("/".join(names), status)

    def exists(self, path: str) -> bool:
        """Return whether *path* is a regular file or a folder.

        Raises:
            PathRefusedError: It is outside or protected, or may not be opened.
        """
        with self._recorded("exists", path) as done:
            try:
                handle, names = self._open(path, "read")
            except NotFoundError:
                return False
            try:
                done(path="/".join(names))
                mode = os.fstat(handle).st_mode
                return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
            finally:
                os.close(handle)

    def scan(self, paths: Sequence[str] = (".",), *, ignored: bool = False) -> Scan:
        """Return the regular files below *paths*, sorted, and what was passed by.

        Protected names are not listed. One record of the audit stands for the whole scan.

        Args:
            paths: Folders and files.
            ignored: Whether to list what .gitignore files exclude, too.

        Raises:
            NotFoundError: One of *paths* is not there.
            PathRefusedError: One of *paths* is outside or protected.
        """
        with self._recorded("scan", ", ".join(paths)) as done:
            starts = [self._names(path, "read") for path in paths]
            try:
                scan = walk(
                    self._root,
                    starts,
                    ignored=ignored,
                    most=self._policy.max_entries,
                    protected=self._protected,
                    portable=self._portable,
                )
            except OSError as error:
                raise self._problem(error, ", ".join(paths)) from error
            listing = hashlib.sha256()
            for entry in scan.entries:
                line = f"{entry.path}\0{entry.size}\0{entry.mtime_ns}\n"
                listing.update(line.encode("utf-8", "surrogateescape"))
            done(count=len(scan.entries), before=listing.hexdigest())
            return scan

    def check(self, edits: Sequence[FileEdit]) -> None:
        """Return if `apply` could write *edits* now.

        Raises:
            As `apply`.
        """
        for target in self._targets(edits):
            target.close()

    def apply(self, edits: Sequence[FileEdit], *, op_id: str | None = None) -> Applied:
        """Write all of *edits*, or none of them.

        Every path and every digest is checked before anything is written. A file is replaced,
        never written through, so other names of it keep the old content; its permissions stay.
        A kill in the middle is completed or taken back by the next `recover`.

        Args:
            edits: At most one a file.
            op_id: Groups the records; `None` for the one of these files.

        Raises:
            ConflictError: A file is not what its edit was computed from.
            PathRefusedError: A path is outside, protected, or no regular file.
            UsageError: Two edits are of one file, or one is too large.
        """
        op_id = op_id or self._op_id
        targets = self._targets(edits)
        started = time.perf_counter_ns()
        try:
            self._write_records(op_id, "intent", targets)
            try:
                applied = self._journal.apply(op_id, targets, self._root)
            except AiexError as error:
                self._write_records(op_id, "op", targets, started=started, refused=error)
                raise
            self._write_records(op_id, "op", targets, started=started)
            self._audit.flush()
            return applied
        finally:
            for target in targets:
                target.close()

    def recover(self) -> list[Recovered]:
        """Complete or take back what a kill cut short below this root, and say what was done."""
        recovered = self._journal.recover(self._root)
        for one in recovered:
            self._audit.record(
                AuditRecord(
                    op_id=one.op_id,
                    kind="op",
                    actor=self._actor,
                    op="recover",
                    root_id=self._root_id,
                    reason=one.outcome,
                    count=len(one.paths),
                )
            )
        return recovered

    def _targets(self, edits: Sequence[FileEdit]) -> list[Target]:
        targets: list[Target] = []
        seen: set[tuple[str, ...]] = set()
        try:
            for edit in edits:
                with self._recorded("check", edit.path):
                    if edit.after is not None and len(edit.after) > self._policy.max_file_bytes:
                        raise UsageError(
                            f"{printable(edit.path)} would be {len(edit.after)} bytes, over the "
                            f"limit of {self._policy.max_file_bytes}"
                        )
                    target = self._target(edit)
                targets.append(target)
                if target.names in seen:
                    raise UsageError(f"two edits are of {printable(edit.path)}")
                seen.add(target.names)
        except BaseException:
            for target in targets:
                target.close()
            raise
        return targets

    def _target(self, edit: FileEdit) -> Target:
        """Open where *edit* writes and check what is there."""
        names = self._names(edit.path, "write")
        if not names or names[-1] == "..":
            raise PathRefusedError(
                f"{printable(edit.path)} names no file", path=printable(edit.path), rule="no_file"
            )
        try:
            current = self._read(edit.path, self._policy.max_file_bytes, access="write")
        except NotFoundError:
            directory, names, missing = self._parent(names, edit.path)
            return Target.checked(edit, names=names, directory=directory, missing=missing, now=None)
        # A link inside the root is followed once, here; what it leads to is what is written.
        names = tuple(current.path.split("/"))
        directory, found, missing = self._parent(names, edit.path)
        if found != names or missing:
            os.close(directory)
            raise ConflictError(f"the folder of {printable(edit.path)} is being moved")
        return Target.checked(edit, names=names, directory=directory, missing=missing, now=current)

    def _parent(
        self, names: tuple[str, ...], path: str
    ) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """Return where the file *names* goes.

        Returns:
            A handle of the deepest folder on the way that exists, the file's names with links
            resolved, and those of its folders that are missing.
        """
        for depth in range(len(names) - 1, -1, -1):
            try:
                handle, resolved = open_beneath(
                    self._root, names[:depth], os.O_RDONLY | os.O_DIRECTORY, portable=self._portable
                )
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._problem(error, path) from error
            rest = names[depth:]
            try:
                self._refuse_protected((*resolved, *rest), "write", path)
                if ".." in rest:
                    raise NotFoundError(
                        f"{printable(path)} goes up from a folder that is not there"
                    )
            except AiexError:
                os.close(handle)
                raise
            return handle, (*resolved, *rest), rest[:-1]
        raise NotFoundError("the root folder is gone")

    def _names(self, path: str, access: Access) -> tuple[str, ...]:
        if path.startswith("/"):
            path = self._relative(path)
        names = split_path(path)
        self._refuse_protected(names, access, path)
        return names

    def _relative(self, path: str) -> str:
        """Return an absolute path as relative to the root if it is inside, unchanged otherwise.

        Links above the root may name it otherwise; where the result leads is for the kernel.
        """
        root = self._root_path.rstrip("/")
        known = [path]
        try:
            folder = os.path.realpath(os.path.dirname(path))  # noqa: PTH120
            known.append(os.path.join(folder, os.path.basename(path)))  # noqa: PTH118, PTH119
        except (OSError, ValueError):  # a link that changed as it was read, a NUL, a surrogate
            pass
        for one in known:
            if one.startswith(f"{root}/") or one == root:
                return one[len(root) + 1 :] or "."
        return path

    def _refuse_protected(self, names: tuple[str, ...], access: Access, path: str) -> None:
        name = protected_by(names, access, self._protected)
        if name is not None:
            raise PathRefusedError(
                f"{printable(path)} may not be {'read' if access == 'read' else 'written'}: "
                f"{printable(name)} is a protected name",
                path=printable(path),
                rule="protected_name",
            )

    def _open(
        self, path: str, access: Access, flags: int = os.O_RDONLY
    ) -> tuple[int, tuple[str, ...]]:
        names = self._names(path, access)
        try:
            handle, resolved = open_beneath(self._root, names, flags, portable=self._portable)
        except OSError as error:
            raise self._problem(error, path) from error
        if resolved is not names:  # a link was followed
            try:
                self._refuse_protected(resolved, access, path)
            except PathRefusedError:
                os.close(handle)
                raise
        return handle, resolved

    def _read(self, path: str, limit: int, *, access: Access = "read") -> FileContent:
        content, status, names = self._guarded(path, limit, access)
        return FileContent(
            path="/".join(names),
            content=content,
            sha256=digest_of(content),
            mode=stat.S_IMODE(status.st_mode),
            mtime_ns=status.st_mtime_ns,
        )

    def _guarded(
        self, path: str, limit: int, access: Access
    ) -> tuple[bytes, os.stat_result, tuple[str, ...]]:
        """Return a regular file's bytes, what the directory said of it then, and its names."""
        handle, names = self._open(path, access)
        try:
            before = os.fstat(handle)
            for _ in range(_READ_TRIES):
                self._must_be_readable(before, path, limit, access)
                content = _read_all(handle, before.st_size)
                after = os.fstat(handle)
                if (
                    before.st_mtime_ns == after.st_mtime_ns
                    and before.st_size == after.st_size == len(content)
                ):
                    return content, after, names
                before = after
            raise PathRefusedError(
                f"{printable(path)} is being written all the time",
                path=printable(path),
                rule="changing",
                hint="try again when its writer is done",
            )
        finally:
            os.close(handle)

    def _must_be_readable(
        self, status: os.stat_result, path: str, limit: int, access: Access
    ) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._must_be_regular(status, path)
        if status.st_nlink > 1 and access == "read" and self._policy.hardlinks == "deny":
            raise PathRefusedError(
                f"{printable(path)} has {status.st_nlink} names (hard links)",
                path=printable(path),
                rule="hardlink",
            )
        if status.st_size > limit:
            raise PathRefusedError(
                f"{printable(path)} has {status.st_size} bytes, over the limit of {max(limit, 0)}",
                path=printable(path),
                rule="too_large",
            )

    def _must_be_regular(self, status: os.stat_result, path: str) -> None:
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise PathRefusedError(
                f"{printable(path)} is {what}", path=printable(path), rule="not_a_file"
            )

    def _problem(self, error: OSError, path: str) -> AiexError:
        shown = printable(path)
        if isinstance(error, EscapeError):
            return PathRefusedError(
                f"{shown} leads out of the project", path=shown, rule="outside_root"
            )
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return NotFoundError(f"there is no {shown}")
        if error.errno in {errno.ENXIO, errno.ENODEV}:  # a socket, or a device without a driver
            return PathRefusedError(f"{shown} is no regular file", path=shown, rule="not_a_file")
        if error.errno == errno.ELOOP:
            return PathRefusedError(f"{shown} is a link to itself", path=shown, rule="link_loop")
        return PathRefusedError(
            f"{shown} cannot be opened: {os.strerror(error.errno or 0)}",
            path=shown,
            rule="not_permitted",
        )

    @contextmanager
    def _recorded(self, op: str, path: str) -> Iterator[Callable[..., None]]:
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
                    root_id=self._root_id,
                    decision="deny" if isinstance(failed, PathRefusedError) else "allow",
                    rule=failed.rule if isinstance(failed, PathRefusedError) else None,
                    reason=None if failed is None else failed.message,
                    dur_us=(time.perf_counter_ns() - started) // 1000,
                    **shown,  # type: ignore[arg-type]
                )
            )

    def _write_records(
        self,
        op_id: str,
        kind: Literal["intent", "op"],
        targets: Sequence[Target],
        *,
        started: int | None = None,
        refused: AiexError | None = None,
    ) -> None:
        took = 0 if started is None else (time.perf_counter_ns() - started) // 1000
        self._audit.record(
            *(
                AuditRecord(
                    op_id=op_id,
                    kind=kind,
                    actor=self._actor,
                    op="delete" if target.edit.after is None else "write",
                    path=printable(target.entry.path),
                    root_id=self._root_id,
                    decision="allow" if refused is None else "deny",
                    rule=None if refused is None else refused.code,
                    reason=None if refused is None else refused.message,
                    bytes=None if target.edit.after is None else target.entry.after_size,
                    sha256_before=target.entry.before,
                    sha256_after=target.entry.after,
                    dur_us=took,
                )
                for target in targets
            )
        )


def _read_all(handle: int, size: int) -> bytes:
    """Return the file's bytes from its start; one more is asked for, to see that it grew."""
    content = os.pread(handle, size + 1, 0)
    if len(content) in {0, size}:
        return content
    pieces = [content]
    offset = len(content)
    while offset < size + 1 and (piece := os.pread(handle, min(_BLOCK, size + 1 - offset), offset)):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)
