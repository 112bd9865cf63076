"""Writing several files as one: prepared beside their places, noted down, then put there.

A change passes marks in its journal file, each on disk before what follows:

1. `preparing`: the names of the temporary files and of the folders to make. A kill now leaves the
   project as it was; recovery removes them.
2. `prepared`: every temporary file is complete. A kill from now on is completed by recovery,
   except where a file was changed by somebody else in between: that one is left alone and named.
3. `taking_back`, only when somebody changed a file while the change was written: what was written
   is undone, by recovery if a kill cuts that too.

A file's place and its new content are exchanged in one step where the file system can, so that
what was in the place is still there to be looked at: a change that somebody made in the last
moment is seen and put back. Where it cannot, a kill while a change is taken back leaves files that
recovery names as a conflict. Changes of one root take turns, by a lock that ends with the process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from aiex.core import (
    AiexError,
    ConflictError,
    FileEdit,
    RefusedError,
    StoreBusyError,
    StoreError,
    digest_of,
)
from aiex.sandbox.openat import open_beneath
from aiex.sandbox.paths import printable
from aiex.sandbox.swap import exchange, move_new

if TYPE_CHECKING:
    from aiex.sandbox.roots import FileContent

__all__ = ["Applied", "ChangeJournal", "Folders", "Recovered", "Target"]

_NEW_FILE = 0o644
_PERMISSIONS = 0o777  # no set-user-ID, set-group-ID or sticky bit on content that is new
_BLOCK = 1 << 20
_APPLY_WAIT = 30.0
_RECOVER_WAIT = 5.0
_LOCK_PAUSE = 0.002
_KEPT_ATTRIBUTES = ("user.", "system.posix_acl_access")
_OTHER = "something else"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_State = Literal["preparing", "prepared", "taking_back"]


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
    temporary: str
    """Name beside the file: of the new content, then of what was in its place."""
    before: str | None
    before_size: int
    after: str | None
    after_size: int
    folders: int
    """How many of the path's folders had to be made."""


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    v: int
    op_id: str
    root: str
    state: _State
    entries: tuple[_Entry, ...]


class Folders:
    """An open folder, and those below it that must be made on the way to a place.

    Args:
        names: Names of the place's folder below the root, links resolved.
        directory: Handle of the deepest folder on the way that exists; owned.
        missing: Folders below it that must be made first, a tail of *names*.
    """

    def __init__(
        self, names: tuple[str, ...], directory: int, missing: tuple[str, ...] = ()
    ) -> None:
        self.names = names
        self.directory = directory
        self.missing = missing
        self._made: list[tuple[int, str]] = []

    def make(self) -> None:
        """Make what is missing; the handle is of the deepest folder then."""
        while self.missing:
            name, *rest = self.missing
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.directory)
                self._made.append((os.dup(self.directory), name))
            child = os.open(name, _FOLDER, dir_fd=self.directory)
            os.close(self.directory)
            self.directory, self.missing = child, tuple(rest)

    @property
    def made(self) -> int:
        """How many folders `make` made."""
        return len(self._made)

    def must_lead_here(self, root: int) -> None:
        """Return if the names still lead to the open folder.

        Raises:
            ConflictError: The folder was moved.
        """
        found = _folder(root, self.names)
        try:
            if found is None or not os.path.samestat(os.fstat(found), os.fstat(self.directory)):
                where = printable("/".join(self.names)) or "."
                raise ConflictError(f"the folder {where} was moved in the meantime")
        finally:
            if found is not None:
                os.close(found)

    def remove(self) -> None:
        """Remove the folders that `make` made, as far as they are empty."""
        for parent, name in reversed(self._made):
            with suppress(OSError):
                os.rmdir(name, dir_fd=parent)

    def close(self) -> None:
        """Give the handles back."""
        if self.directory >= 0:
            os.close(self.directory)
            self.directory = -1
        for parent, _ in self._made:
            os.close(parent)
        self._made.clear()


class Target:
    """One edit with the open folder that it writes to.

    Args:
        edit: What to write.
        name: Name of the file in its folder, which is no link.
        folders: The file's folder; owned.
        now: What is there now; `None` for no file.
        like: Target whose file gives the new one its permissions, owner and attributes, where it
            is not the old file that gives them.
    """

    def __init__(
        self,
        edit: FileEdit,
        *,
        name: str,
        folders: Folders,
        now: FileContent | None,
        like: Target | None = None,
    ) -> None:
        self.edit = edit
        self.name = name
        self.folders = folders
        self.names = (*folders.names, name)
        self._before = None if now is None else now.content
        self._like = self if like is None and now is not None else like
        self._mode_before = _NEW_FILE if now is None else now.mode
        self._mode = edit.mode if edit.mode is not None or now is None else now.mode
        self._exchanged = False
        self._committed = False
        self.entry = _Entry(
            path="/".join(self.names),
            temporary="",
            before=edit.before_sha256,
            before_size=0 if now is None else len(now.content),
            after=None if edit.after is None else digest_of(edit.after),
            after_size=0 if edit.after is None else len(edit.after),
            folders=len(folders.missing),
        )

    @classmethod
    def checked(
        cls,
        edit: FileEdit,
        *,
        name: str,
        folders: Folders,
        now: FileContent | None,
        like: Target | None = None,
    ) -> Self:
        """Return the target if what is there *now* is what the edit was computed from.

        Raises:
            ConflictError: It is not; *folders* are closed then.
        """
        problem = None
        if edit.before_sha256 is None and now is not None:
            problem = "exists already"
        elif edit.before_sha256 is not None and now is None:
            problem = "is gone since the proposal was made"
        elif now is not None and now.sha256 != edit.before_sha256:
            problem = "was changed since the proposal was made"
        if problem is not None:
            folders.close()
            raise ConflictError(f"{printable(edit.path)} {problem}")
        return cls(edit, name=name, folders=folders, now=now, like=like)

    @property
    def directory(self) -> int:
        """Handle of the deepest folder on the way that is there."""
        return self.folders.directory

    def close(self) -> None:
        """Give the folders' handles back."""
        self.folders.close()

    def planned(self, temporary: str) -> _Entry:
        """Return what the journal notes of this target, which will use the name *temporary*."""
        self.entry = msgspec.structs.replace(self.entry, temporary=temporary)
        return self.entry

    def prepare(self) -> None:
        """Make the folders that are missing, and have the new content on disk beside the file."""
        self.folders.make()
        if self.edit.after is None:
            return
        mode = _NEW_FILE if self._mode is None else self._mode & _PERMISSIONS
        # The umask counts for a file that is new; an old one keeps exactly what it had.
        handle = os.open(
            self.entry.temporary,
            _FRESH,
            mode if self._like is None else 0o600,
            dir_fd=self.directory,
        )
        try:
            _write_all(handle, self.edit.after)
            if self._like is not None:
                self._like.give_owner(handle)
                os.fchmod(handle, mode)
            os.fsync(handle)
        finally:
            os.close(handle)

    def give_owner(self, handle: int) -> None:
        """Give a new file owner and attributes of the file that is here, as far as we may."""
        old = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.directory)
        try:
            was, now = os.fstat(old), os.fstat(handle)
            if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
                with suppress(PermissionError):
                    os.fchown(handle, was.st_uid, was.st_gid)
            if not hasattr(os, "listxattr"):
                return
            with suppress(OSError):
                for attribute in os.listxattr(old):
                    if attribute.startswith(_KEPT_ATTRIBUTES):
                        os.setxattr(handle, attribute, os.getxattr(old, attribute))
        finally:
            os.close(old)

    def must_be_unchanged(self, root: int) -> None:
        """Return if the file, and the folder that leads to it, are still what was checked.

        Raises:
            ConflictError: They are not.
        """
        self.folders.must_lead_here(root)
        if _digest(self.directory, self.name, self.entry) != self.entry.before:
            raise _changed(self.edit.path)

    def commit(self) -> None:
        """Put the new content in the file's place, or take the file out of its place.

        Raises:
            ConflictError: Somebody changed the file in the last moment; it is as they left it.
        """
        entry, temporary = self.entry, self.entry.temporary
        try:
            if entry.after is None:
                move_new(self.directory, self.name, temporary)
            elif entry.before is None:
                move_new(self.directory, temporary, self.name)
            else:
                self._exchanged = exchange(self.directory, temporary, self.name)
                if not self._exchanged:
                    if _digest(self.directory, self.name, entry) != entry.before:
                        raise _changed(self.edit.path)
                    os.rename(
                        temporary, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory
                    )
        except (FileExistsError, FileNotFoundError) as error:
            raise _changed(self.edit.path) from error
        self._committed = True
        taken_out = entry.after is None or self._exchanged
        if taken_out and _digest(self.directory, temporary, entry) != entry.before:
            self.take_back()
            raise _changed(self.edit.path)
        os.fsync(self.directory)

    def take_back(self) -> None:
        """Undo `commit`, except where somebody wrote another file in the meantime."""
        if not self._committed:
            return
        self._committed = False
        entry, directory = self.entry, self.directory
        if entry.after is None:
            with suppress(FileExistsError):
                move_new(directory, entry.temporary, self.name)
        elif _digest(directory, self.name, entry) != entry.after:
            return
        elif self._before is None:
            os.unlink(self.name, dir_fd=directory)
        elif self._exchanged:
            exchange(directory, entry.temporary, self.name)
        else:
            handle = os.open(entry.temporary, _FRESH, 0o600, dir_fd=directory)
            try:
                _write_all(handle, self._before)
                self.give_owner(handle)
                os.fchmod(handle, self._mode_before & _PERMISSIONS)
            finally:
                os.close(handle)
            os.rename(entry.temporary, self.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)

    def clean(self) -> None:
        """Remove what lies beside the file."""
        if self.directory >= 0 and not self.folders.missing and self.entry.temporary:
            _remove(self.directory, self.entry.temporary)


class ChangeJournal:
    """Applies changes all or nothing, and finishes those that a kill cut short.

    Args:
        directory: Folder of the journal files, outside of every root; made if absent.
        root: Real path of the root.
    """

    def __init__(self, directory: Path, *, root: str) -> None:
        self._directory = directory
        self._root = root
        self._id = digest_of(os.fsencode(root))[:12]

    def apply(self, op_id: str, targets: Sequence[Target], root: int) -> Applied:
        """Write all *targets* or none.

        Args:
            op_id: Identifier of the operation.
            targets: What to write, checked.
            root: Handle of the root directory.

        Raises:
            ConflictError: A file was changed since it was checked; nothing is written.
            RefusedError: A folder may not be written; nothing is written.
            StoreBusyError: Another process writes to this root and does not end.
        """
        with self.turn():
            return self.write(op_id, targets, root)

    def write(self, op_id: str, targets: Sequence[Target], root: int) -> Applied:
        """Do what `apply` does in a `turn` that the caller holds."""
        token = secrets.token_hex(6)
        entries = tuple(
            target.planned(f".aiex-{token}-{number}.tmp") for number, target in enumerate(targets)
        )
        note = self._directory / f"{self._id}-{token}.json"
        committing = False
        try:
            self._write(note, op_id, "preparing", entries)
            for target in targets:
                target.prepare()
            for target in targets:
                target.must_be_unchanged(root)
            self._write(note, op_id, "prepared", entries)
            committing = True
            for target in targets:
                target.commit()
        except BaseException as error:
            if committing:
                with suppress(StoreError):
                    self._write(note, op_id, "taking_back", entries)
            _take_back(targets, error)
            note.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise RefusedError(f"nothing was written: {error.strerror}") from error
            raise
        for target in targets:
            target.clean()
        note.unlink()
        return Applied(op_id=op_id, paths=tuple(entry.path for entry in entries))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep every other change of this root waiting, in this process and in others.

        Raises:
            StoreBusyError: Another process writes to this root and does not end.
        """
        with self._turn(_APPLY_WAIT) as got:
            if not got:
                raise StoreBusyError("another aiex is writing to this project and does not end")
            yield

    def recover(self, root: int) -> list[Recovered]:
        """Finish every change of this root that a kill cut short.

        Args:
            root: Handle of the root directory.

        Raises:
            StoreError: The journal cannot be read.
        """
        try:
            if not any(self._directory.glob(f"{self._id}-*")):
                return []
            with self._turn(_RECOVER_WAIT) as got:
                # Whoever holds it is alive, and will end what it does by itself.
                return self._recover(root) if got else []
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(
                f"the journal of changes in {self._directory} cannot be read ({error.strerror})"
            ) from error

    def _recover(self, root: int) -> list[Recovered]:
        for cut in self._directory.glob(f"{self._id}-*.new"):
            cut.unlink(missing_ok=True)  # the mark before it, if any, is what counts
        recovered = []
        for path in sorted(self._directory.glob(f"{self._id}-*.json")):
            try:
                # Not by msgspec, which knows no names that are not UTF-8.
                note = msgspec.convert(json.loads(path.read_bytes()), _Note)
            except ValueError as error:
                raise StoreError(
                    f"{path} is no journal of this version of Aiex",
                    hint="finish with the version that wrote it, or remove the file",
                ) from error
            recovered.append(_finish(root, note))
            path.unlink(missing_ok=True)
        return recovered

    @contextmanager
    def _turn(self, longest: float) -> Iterator[bool]:
        """Hold the lock of this root; yields whether it was got within *longest* seconds."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(self._directory / f"{self._id}.lock", flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield _lock(handle, time.monotonic() + longest)
        finally:
            os.close(handle)

    def _write(self, path: Path, op_id: str, state: _State, entries: tuple[_Entry, ...]) -> None:
        note = _Note(v=2, op_id=op_id, root=self._root, state=state, entries=entries)
        fresh = path.with_suffix(".new")
        try:
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _write_all(handle, json.dumps(msgspec.to_builtins(note)).encode("ascii"))
                os.fsync(handle)
            finally:
                os.close(handle)
            fresh.replace(path)
            folder = os.open(self._directory, _FOLDER)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> AiexError:
        return StoreError(
            f"the journal of changes in {self._directory} cannot be written "
            f"({error.strerror}); nothing was changed"
        )


def _take_back(targets: Sequence[Target], error: BaseException) -> None:
    """Undo what was done for *targets*; the journal keeps its mark if that fails."""
    try:
        for target in reversed(targets):
            target.take_back()
            target.clean()
        for target in reversed(targets):
            target.folders.remove()
    except OSError as problem:
        raise RefusedError(
            f"a change was cut short ({error}), and could not be taken back: {problem.strerror}",
            hint="the next aiex command in this project tries again",
        ) from error


def _changed(path: str) -> ConflictError:
    return ConflictError(f"{printable(path)} was changed while the change was written")


def _lock(handle: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOCK_PAUSE)
        else:
            return True


def _finish(root: int, note: _Note) -> Recovered:
    done = {"preparing": _dropped, "prepared": _completed, "taking_back": _taken_back}[note.state]
    left_alone: list[str] = []
    for entry in note.entries:
        directory = _folder(root, tuple(entry.path.split("/")[:-1]))
        if directory is None:
            if note.state == "prepared":
                left_alone.append(entry.path)
            continue
        try:
            if not done(directory, entry.path.rsplit("/", 1)[-1], entry):
                left_alone.append(entry.path)
        except OSError:
            left_alone.append(entry.path)
        finally:
            os.close(directory)
    if note.state != "prepared":
        _remove_folders(root, note.entries)
    if left_alone:
        return Recovered(op_id=note.op_id, outcome="conflict", paths=tuple(left_alone))
    outcome: Literal["completed", "taken_back"] = (
        "completed" if note.state == "prepared" else "taken_back"
    )
    return Recovered(
        op_id=note.op_id, outcome=outcome, paths=tuple(entry.path for entry in note.entries)
    )


def _folder(root: int, names: tuple[str, ...]) -> int | None:
    """Return a handle of a folder that no link leads to; `None` if there is none by now."""
    try:
        directory, resolved = open_beneath(root, names, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    if resolved != names:
        os.close(directory)
        return None
    return directory


def _remove_folders(root: int, entries: Sequence[_Entry]) -> None:
    """Remove the folders that were made for *entries*, as far as they are empty."""
    made = {
        tuple(names[: len(names) - up])
        for entry in entries
        for names in (entry.path.split("/")[:-1],)
        for up in range(entry.folders)
    }
    for names in sorted(made, key=len, reverse=True):
        above = _folder(root, names[:-1])
        if above is not None:
            with suppress(OSError):
                os.rmdir(names[-1], dir_fd=above)
            os.close(above)


def _dropped(directory: int, _name: str, entry: _Entry) -> bool:
    """Remove what was prepared."""
    _remove(directory, entry.temporary)
    return True


def _completed(directory: int, name: str, entry: _Entry) -> bool:
    """Return whether the file is now as the change wanted it, having seen to that if we may."""
    now = _digest(directory, name, entry)
    beside = _digest(directory, entry.temporary, entry)
    if now == entry.after and beside not in {None, entry.before, entry.after}:
        # Somebody changed the file in the last moment before the kill: theirs goes back.
        if entry.after is None:
            move_new(directory, entry.temporary, name)
        elif exchange(directory, entry.temporary, name):
            _remove(directory, entry.temporary)
        return False
    if now == entry.before and now != entry.after:
        if entry.after is None:
            _remove(directory, name)
        elif beside == entry.after and entry.before is None:
            move_new(directory, entry.temporary, name)
        elif beside == entry.after:
            os.rename(entry.temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    _remove(directory, entry.temporary)
    return _digest(directory, name, entry) == entry.after


def _taken_back(directory: int, name: str, entry: _Entry) -> bool:
    """Return whether the file is now as it was before the change, having seen to that if we may."""
    now = _digest(directory, name, entry)
    beside = _digest(directory, entry.temporary, entry)
    if now == entry.after and now != entry.before:
        if entry.before is None:
            _remove(directory, name)
        elif beside == entry.before and entry.after is None:
            move_new(directory, entry.temporary, name)
        elif beside == entry.before:
            os.rename(entry.temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    _remove(directory, entry.temporary)
    return _digest(directory, name, entry) == entry.before


def _remove(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _digest(directory: int, name: str, entry: _Entry) -> str | None:
    """Return the digest of a regular file that may be one side of *entry*; `None` for no file.

    A file of another size than both is not read: it may be huge.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{_OTHER}: {errno.errorcode.get(error.errno or 0, '')}"
    try:
        status = os.fstat(handle)
        sizes = {
            size
            for size, digest in (
                (entry.before_size, entry.before),
                (entry.after_size, entry.after),
            )
            if digest is not None
        }
        if not stat.S_ISREG(status.st_mode) or status.st_size not in sizes:
            return _OTHER
        digest = hashlib.sha256()
        left = status.st_size + 1
        while left > 0 and (piece := os.read(handle, min(_BLOCK, left))):
            digest.update(piece)
            left -= len(piece)
        return digest.hexdigest()
    finally:
        os.close(handle)
