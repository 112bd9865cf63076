"""Writing several files as one: prepared beside their places, noted down, then renamed.

A change passes two marks in its journal file, both on disk before what follows:

1. `preparing`: the names of the temporary files. A kill now leaves the project as it was;
   recovery removes them.
2. `prepared`: every temporary file is complete. A kill from now on is completed by recovery,
   except where a file was changed by somebody else in between: that one is left alone and named.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from aiex.core import ConflictError, FileEdit, RefusedError, StoreError, digest_of
from aiex.sandbox.openat import open_beneath
from aiex.sandbox.paths import printable

if TYPE_CHECKING:
    from aiex.sandbox.files import FileContent

__all__ = ["Applied", "ChangeJournal", "Recovered", "Target"]

_NEW_FILE = 0o644


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What was written.

    Attributes:
        op_id: Identifier of the operation.
        paths: Files, relative to the root.
    """

    op_id: str
    paths: tuple[str, ...]


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about a change that a kill cut short.

    Attributes:
        op_id: Identifier of the operation.
        outcome: `completed`, `taken_back`, or `conflict` when a file was changed in between.
        paths: Files that it was about; with `conflict` those that were left alone.
    """

    op_id: str
    outcome: Literal["completed", "taken_back", "conflict"]
    paths: tuple[str, ...]


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    temporary: str | None
    """Name beside the file; `None` when it is deleted."""
    before: str | None
    after: str | None


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    v: int
    op_id: str
    root: str
    state: Literal["preparing", "prepared"]
    entries: tuple[_Entry, ...]


class Target:
    """One edit with the open folder that it writes to.

    Args:
        edit: What to write.
        names: Names of the file below the root, links resolved.
        directory: Handle of the deepest folder on the way that exists; owned.
        missing: Folders below it that must be made first.
        mode: Permission bits that the file gets.
        before: What is there now; `None` for no file.
    """

    def __init__(
        self,
        edit: FileEdit,
        *,
        names: tuple[str, ...],
        directory: int,
        missing: tuple[str, ...],
        mode: int,
        before: bytes | None,
    ) -> None:
        self.edit = edit
        self.names = names
        self.directory = directory
        self.missing = missing
        self.mode = mode
        self.before = before
        self.made: list[tuple[int, str]] = []
        self.temporary: str | None = None

    @classmethod
    def checked(
        cls,
        edit: FileEdit,
        *,
        names: tuple[str, ...],
        directory: int,
        missing: tuple[str, ...],
        now: FileContent | None,
    ) -> Self:
        """Return the target if what is there *now* is what the edit was computed from.

        Raises:
            ConflictError: It is not; *directory* is closed then.
        """
        problem = None
        if edit.before_sha256 is None and now is not None:
            problem = "exists already"
        elif edit.before_sha256 is not None and now is None:
            problem = "is gone since the proposal was made"
        elif now is not None and now.sha256 != edit.before_sha256:
            problem = "was changed since the proposal was made"
        if problem is not None:
            os.close(directory)
            raise ConflictError(f"{printable(edit.path)} {problem}")
        mode = edit.mode if edit.mode is not None else now.mode if now is not None else _NEW_FILE
        return cls(
            edit,
            names=names,
            directory=directory,
            missing=missing,
            mode=mode,
            before=None if now is None else now.content,
        )

    @property
    def name(self) -> str:
        """Name of the file in its folder."""
        return self.names[-1]

    def close(self) -> None:
        """Give the folder's handle back."""
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1

    def make_folders(self) -> None:
        """Make the folders that are missing, remembering which, to take them back."""
        while self.missing:
            name, *rest = self.missing
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.directory)
                self.made.append((os.dup(self.directory), name))
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            child = os.open(name, flags, dir_fd=self.directory)
            os.close(self.directory)
            self.directory, self.missing = child, tuple(rest)

    def prepare(self, temporary: str) -> None:
        """Write the new content beside the file, and have it on disk."""
        if self.edit.after is None:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o600, dir_fd=self.directory)
        self.temporary = temporary
        try:
            view = memoryview(self.edit.after)
            while view:
                view = view[os.write(handle, view) :]
            os.fchmod(handle, self.mode)
            os.fsync(handle)
        finally:
            os.close(handle)

    def unchanged(self) -> bool:
        """Return whether the file is still what was checked."""
        return _digest(self.directory, self.name) == self.edit.before_sha256

    def commit(self) -> None:
        """Put the new content in the file's place, or remove the file."""
        if self.temporary is None:
            os.unlink(self.name, dir_fd=self.directory)
        elif self.before is None:
            # A link fails where a rename would replace what somebody else has just made.
            os.link(self.temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
            os.unlink(self.temporary, dir_fd=self.directory)
        else:
            os.rename(
                self.temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory
            )
        self.temporary = None
        os.fsync(self.directory)

    def take_back(self) -> None:
        """Restore what was there before `commit`."""
        if self.before is None:
            os.unlink(self.name, dir_fd=self.directory)
            return
        restored = f".aiex-{secrets.token_hex(6)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(restored, flags, 0o600, dir_fd=self.directory)
        try:
            os.write(handle, self.before)
            os.fchmod(handle, self.mode)
        finally:
            os.close(handle)
        os.rename(restored, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)

    def clean(self) -> None:
        """Remove what was prepared and not committed."""
        if self.temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.temporary, dir_fd=self.directory)
            self.temporary = None

    def remove_folders(self) -> None:
        """Remove the folders that `make_folders` made, as far as they are empty."""
        for parent, name in reversed(self.made):
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent)

    def forget_folders(self) -> None:
        """Give the handles of made folders back."""
        for parent, _ in self.made:
            os.close(parent)
        self.made.clear()


class ChangeJournal:
    """Applies changes all or nothing, and finishes those that a kill cut short.

    Args:
        directory: Folder of the journal files, outside of every root; made if absent.
        root: Real path of the root.
    """

    def __init__(self, directory: Path, *, root: str) -> None:
        self._directory = directory
        self._root = root

    def apply(self, op_id: str, targets: Sequence[Target]) -> Applied:
        """Write all *targets* or none.

        Raises:
            ConflictError: A file was changed since it was checked; nothing is written.
            RefusedError: A folder may not be written; nothing is written.
        """
        paths = tuple("/".join(target.names) for target in targets)
        token = secrets.token_hex(6)
        names = [f".aiex-{token}-{number}.tmp" for number in range(len(targets))]
        entries = tuple(
            _Entry(
                path=path,
                temporary=None if target.edit.after is None else name,
                before=target.edit.before_sha256,
                after=None if target.edit.after is None else digest_of(target.edit.after),
            )
            for path, name, target in zip(paths, names, targets, strict=True)
        )
        note = self._directory / f"{token}.json"
        committed: list[Target] = []
        try:
            self._write(note, op_id, "preparing", entries)
            for target, name in zip(targets, names, strict=True):
                target.make_folders()
                target.prepare(name)
            self._write(note, op_id, "prepared", entries)
            for target in targets:
                if not target.unchanged():
                    raise ConflictError(
                        f"{printable(target.edit.path)} was changed while the change was written"
                    )
                target.commit()
                committed.append(target)
        except BaseException as error:
            for target in reversed(committed):
                target.take_back()
            for target in targets:
                target.clean()
            for target in reversed(targets):
                target.remove_folders()
            note.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise ConflictError("a file appeared while the change was written") from error
            if isinstance(error, OSError):
                raise RefusedError(f"nothing was written: {error.strerror}") from error
            raise
        finally:
            for target in targets:
                target.forget_folders()
        note.unlink()
        return Applied(op_id=op_id, paths=paths)

    def recover(self, root: int) -> list[Recovered]:
        """Finish every change of this root that a kill cut short.

        Args:
            root: Handle of the root directory.
        """
        recovered = []
        for path in sorted(self._directory.glob("*.json")) if self._directory.is_dir() else ():
            try:
                note = msgspec.json.decode(path.read_bytes(), type=_Note)
            except (msgspec.DecodeError, FileNotFoundError):
                # Cut while the first mark was written: nothing was prepared yet.
                path.unlink(missing_ok=True)
                continue
            if note.root == self._root:
                recovered.append(_finish(root, note))
                path.unlink(missing_ok=True)
        return recovered

    def _write(
        self,
        path: Path,
        op_id: str,
        state: Literal["preparing", "prepared"],
        entries: tuple[_Entry, ...],
    ) -> None:
        note = _Note(v=1, op_id=op_id, root=self._root, state=state, entries=entries)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = path.with_suffix(".new")
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, msgspec.json.encode(note))
                os.fsync(handle)
            finally:
                os.close(handle)
            fresh.replace(path)
        except OSError as error:
            raise StoreError(
                f"the journal of changes in {self._directory} cannot be written "
                f"({error.strerror}); nothing was changed"
            ) from error


def _finish(root: int, note: _Note) -> Recovered:
    left_alone: list[str] = []
    for entry in note.entries:
        *folders, name = entry.path.split("/")
        try:
            directory, _ = open_beneath(root, tuple(folders), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                raise
            continue
        try:
            if note.state == "preparing":
                _remove(directory, entry.temporary)
            elif not _complete(directory, name, entry):
                left_alone.append(entry.path)
        finally:
            os.close(directory)
    if left_alone:
        return Recovered(op_id=note.op_id, outcome="conflict", paths=tuple(left_alone))
    outcome: Literal["completed", "taken_back"] = (
        "completed" if note.state == "prepared" else "taken_back"
    )
    return Recovered(
        op_id=note.op_id, outcome=outcome, paths=tuple(entry.path for entry in note.entries)
    )


def _complete(directory: int, name: str, entry: _Entry) -> bool:
    """Return whether the file is now as the change wanted it."""
    now = _digest(directory, name)
    if now != entry.before:
        _remove(directory, entry.temporary)
        return now == entry.after
    if entry.temporary is None:
        _remove(directory, name)
    elif _digest(directory, entry.temporary) == entry.after:
        os.rename(entry.temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    return _digest(directory, name) == entry.after


def _remove(directory: int, name: str | None) -> None:
    if name is not None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)


def _digest(directory: int, name: str) -> str | None:
    """Return the digest of a regular file; `None` if there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"not a file: {error.strerror}"
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return "not a file"
        with os.fdopen(os.dup(handle), "rb") as file:
            return digest_of(file.read())
    finally:
        os.close(handle)
