"""One folder on one handle: what of it may be opened, and what is read from there.

A `Root` judges names, has the kernel resolve them below its handle, and judges what they resolved
to. `Roots` are several of them: relative paths mean the first one; absolute paths the one whose
folder they lead through, told by the folder itself and never by comparing text.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from aiex.core import (
    AiexError,
    ConfigurationError,
    ConflictError,
    FileEdit,
    NotFoundError,
    PathRefusedError,
    UsageError,
    digest_of,
)
from aiex.sandbox.ignore import IgnoreFile, MatchingTime
from aiex.sandbox.journal import ChangeJournal, Folders, Target
from aiex.sandbox.openat import EscapeError, open_beneath
from aiex.sandbox.paths import Access, folded, printable, protected_by, split_path

__all__ = ["EditOf", "FileContent", "FilePolicy", "Root", "Roots", "read_all"]

_READ_TRIES = 5
_TICK = 20_000_000  # nanoseconds; older kernels stamp two changes within a tick (10 ms) alike
_BLOCK = 1 << 20
_LONGEST_KEPT = 512  # characters of a path whose judgement is kept
_PATH_MAX = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_T = TypeVar("_T")


class FilePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a root allow.

    Attributes:
        hardlinks: Whether a file with several names may be read; it is never written through.
        max_file_bytes: Most bytes of one file that is read or written.
        max_total_bytes: Most bytes that one call reads.
        max_entries: Most entries that one listing looks at.
        protected: Further names that are neither read nor written, at any depth.
        read_only: Patterns of .gitignore files for paths that are never written. None begins
            with `!`.
    """

    hardlinks: Literal["deny", "read"] = "read"
    max_file_bytes: int = 64 << 20
    max_total_bytes: int = 512 << 20
    max_entries: int = 500_000
    protected: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()


class FileContent(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was at one moment.

    Attributes:
        path: Relative to the root, links resolved; absolute where it is not the main root's.
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


EditOf = Callable[[FileContent | None], FileEdit]
"""Says what to write by what is there now; `None` for no file."""


class Root:
    """A folder, on a handle, with what is allowed below it.

    Args:
        folder: The folder; must exist.
        policy: What is allowed.
        own: Files and folders of Aiex itself: what lies in the root of them is neither read nor
            written, also while it is missing.
        journal: Folder where changes under way are journalled; `None` for a root that is only
            read.
        is_main: Whether paths are told relative to it.
        portable: Whether to do without openat2; `None` to choose.

    Attributes:
        path: The real path.
        id: Digest of it, 12 hexadecimal digits.
        handle: Of the folder; -1 once it is closed.
        policy: What is allowed.
        protected: Further protected names, folded.

    Raises:
        NotFoundError: It is no folder that can be opened.
    """

    def __init__(
        self,
        folder: Path,
        *,
        policy: FilePolicy,
        own: Sequence[Path] = (),
        journal: Path | None = None,
        is_main: bool = True,
        portable: bool | None = None,
    ) -> None:
        self.path = os.path.realpath(folder)
        self.id = digest_of(os.fsencode(self.path))[:12]
        self.policy = policy
        self.protected = frozenset(map(folded, policy.protected))
        self.portable = portable
        self._is_main = is_main
        self._read_only = _patterns(policy.read_only)
        try:
            self.handle = os.open(self.path, _FOLDER)
        except OSError as error:
            raise NotFoundError(
                f"{printable(str(folder))} is no folder that can be opened ({error.strerror})"
            ) from error
        self.status = os.fstat(self.handle)
        self._own = tuple(names for one in own if (names := self._inside(one)) is not None)
        self._journal = None if journal is None else ChangeJournal(journal, root=self.path)
        self._judged = functools.lru_cache(maxsize=1024)(self._judge)

    def close(self) -> None:
        """Give the handle back; nothing can be done afterwards."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    @property
    def is_writable(self) -> bool:
        """Whether anything may be written below it."""
        return self._journal is not None

    @property
    def journal(self) -> ChangeJournal:
        """What writes below it.

        Raises:
            RefusedError: Nothing may be written here.
        """
        if self._journal is None:
            raise _read_only(self.path)
        return self._journal

    def told(self, path: str) -> str:
        """Return a path below this root as whoever asks may ask for it again."""
        return path if self._is_main else os.path.join(self.path, path)  # noqa: PTH118

    def hides(self, names: tuple[str, ...]) -> bool:
        """Return whether *names* lead into what is Aiex's own."""
        return bool(self._own) and any(
            tuple(map(folded, names[: len(own)])) == own for own in self._own
        )

    def _inside(self, path: Path) -> tuple[str, ...] | None:
        """Return the folded names of *path* below this root; `None` if it is elsewhere.

        A root that lies in *path* is inside of it as a whole: `()`.
        """
        real = os.path.realpath(path)
        if f"{self.path}/".startswith(f"{real.rstrip('/')}/"):
            return ()
        found = _below(real, (self,))
        return None if not found else tuple(map(folded, split_path(found[0][1])))

    def judge(self, path: str, access: Access) -> tuple[str, ...]:
        """Return the names of a relative path that may be asked for.

        Raises:
            PathRefusedError: It leaves the root by its text alone, or names what is protected.
        """
        return (self._judge if len(path) > _LONGEST_KEPT else self._judged)(path, access)

    def _judge(self, path: str, access: Access) -> tuple[str, ...]:
        names = split_path(path)
        self.refuse(names, access, path)
        if access == "write" and len(os.fsencode(path)) >= _PATH_MAX:
            raise PathRefusedError(
                f"{printable(path[:80])}... is too long to be found again by its name",
                path=printable(path[:80]),
                rule="too_long",
            )
        return names

    def refuse(self, names: tuple[str, ...], access: Access, path: str) -> None:
        """Return if names of a path may be accessed so.

        Raises:
            PathRefusedError: One of them is protected, or they are not to be written.
        """
        name = protected_by(names, access, self.protected)
        if name is not None:
            raise PathRefusedError(
                f"{printable(path)} may not be {'read' if access == 'read' else 'written'}: "
                f"{printable(name)} is a protected name",
                path=printable(path),
                rule="protected_name",
            )
        if self._own and self.hides(names):
            raise PathRefusedError(
                f"{printable(path)} is where Aiex keeps what is its own",
                path=printable(path),
                rule="own_state",
            )
        if access == "write":
            if not self.is_writable:
                raise _read_only(path)
            if self._read_only and _matches(names, self._read_only):
                raise _read_only(path)

    def open(
        self, path: str, access: Access, flags: int = os.O_RDONLY
    ) -> tuple[int, tuple[str, ...]]:
        """Return a handle of what *path* leads to, and its names with links resolved.

        Raises:
            NotFoundError: There is no such thing.
            PathRefusedError: It is outside, protected, or may not be opened.
        """
        names = self.judge(path, access)
        try:
            handle, resolved = open_beneath(self.handle, names, flags, portable=self.portable)
        except OSError as error:
            raise self.problem(error, path) from error
        if resolved is not names:  # a link was followed
            try:
                self.refuse(resolved, access, path)
            except PathRefusedError:
                os.close(handle)
                raise
        return handle, resolved

    def content(
        self, path: str, limit: int, access: Access = "read", *, shared: bool = False
    ) -> FileContent:
        """Return a regular file whole, with its path as it is below this root.

        Args:
            path: File.
            limit: Most bytes.
            access: What for.
            shared: Whether a file with several names is read whatever the policy says.

        Raises:
            NotFoundError: There is no such file.
            PathRefusedError: It may not be read.
        """
        content, status, names = self.guarded(path, limit, access, shared=shared)
        return FileContent(
            path="/".join(names),
            content=content,
            sha256=digest_of(content),
            mode=stat.S_IMODE(status.st_mode),
            mtime_ns=status.st_mtime_ns,
        )

    def guarded(
        self, path: str, limit: int, access: Access = "read", *, shared: bool = False
    ) -> tuple[bytes, os.stat_result, tuple[str, ...]]:
        """Return a regular file's bytes, what the directory said of it then, and its names."""
        return self.steady(path, limit, read_all, len, access, shared=shared)

    def steady(
        self,
        path: str,
        limit: int,
        take: Callable[[int, int], _T],
        size_of: Callable[[_T], int],
        access: Access = "read",
        *,
        shared: bool = False,
    ) -> tuple[_T, os.stat_result, tuple[str, ...]]:
        """Return what *take* makes of a regular file that did not change while it was read.

        Args:
            path: File.
            limit: Most bytes that the file may have.
            take: Reads an open file of a size.
            size_of: Says how many bytes of the file *take* has seen.
            access: What for.
            shared: Whether a file with several names is read whatever the policy says.
        """
        handle, names = self.open(path, access)
        try:
            before = os.fstat(handle)
            earlier: _T | None = None
            for _ in range(_READ_TRIES):
                self._must_be_readable(before, path, limit, shared=shared)
                taken = take(handle, before.st_size)
                after = os.fstat(handle)
                if (
                    before.st_mtime_ns == after.st_mtime_ns
                    and before.st_size == after.st_size == size_of(taken)
                ):
                    # Of a file that was changed just now the time may not tell: it is read twice.
                    if after.st_mtime_ns < time.time_ns() - _TICK or taken == earlier:
                        return taken, after, names
                    earlier = taken
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
        self, status: os.stat_result, path: str, limit: int, *, shared: bool
    ) -> None:
        if not stat.S_ISREG(status.st_mode):
            self.must_be_regular(status, path)
        if status.st_nlink > 1 and not shared and self.policy.hardlinks == "deny":
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

    def must_be_regular(self, status: os.stat_result, path: str) -> None:
        """Return if it is a regular file.

        Raises:
            PathRefusedError: It is not.
        """
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise PathRefusedError(
                f"{printable(path)} is {what}", path=printable(path), rule="not_a_file"
            )

    def target(
        self, path: str, edit_of: EditOf, *, shared: bool = True, like: Target | None = None
    ) -> Target:
        """Open where an edit of *path* writes, and check what is there.

        Args:
            path: File.
            edit_of: Says what to write.
            shared: Whether what is there may be a file with several names, whatever the policy
                says: true where nothing of it is passed on.
            like: Target whose file gives the new one its owner and attributes.

        Raises:
            ConflictError: What is there is not what the edit was computed from.
            NotFoundError: There is no such place.
            PathRefusedError: Nothing may be written there.
            UsageError: It would be too large.
        """
        names = self.judge(path, "write")
        if not names or names[-1] == "..":
            raise PathRefusedError(
                f"{printable(path)} names no file", path=printable(path), rule="no_file"
            )
        now: FileContent | None = None
        with suppress(NotFoundError):
            now = self.content(path, self.policy.max_file_bytes, "write", shared=shared)
        # A link inside the root is followed once, here; what it leads to is what is written.
        where = names if now is None else tuple(now.path.split("/"))
        edit = edit_of(now)
        if edit.after is not None and len(edit.after) > self.policy.max_file_bytes:
            raise UsageError(
                f"{printable(path)} would be {len(edit.after)} bytes, over the "
                f"limit of {self.policy.max_file_bytes}"
            )
        folders = self.folders(where[:-1], path, where[-1:])
        if now is not None and (*folders.names, where[-1]) != where:
            folders.close()
            raise ConflictError(f"the folder of {printable(path)} is being moved")
        return Target.checked(edit, name=where[-1], folders=folders, now=now, like=like)

    def folders(self, names: tuple[str, ...], path: str, below: tuple[str, ...] = ()) -> Folders:
        """Return the folder *names*, opened as far as it is there.

        Args:
            names: The folder.
            path: What was asked for, for the words of an error.
            below: Name of what is to be written in the folder.

        Raises:
            NotFoundError: It goes through a file, or up from a folder that is not there.
            PathRefusedError: It leads out, or nothing may be written there.
        """
        is_file = False
        for depth in range(len(names), -1, -1):
            try:
                handle, resolved = open_beneath(
                    self.handle, names[:depth], _FOLDER, portable=self.portable
                )
            except FileNotFoundError:
                continue
            except NotADirectoryError:
                is_file = True
                continue
            except OSError as error:
                raise self.problem(error, path) from error
            rest = names[depth:]
            try:
                self.refuse((*resolved, *rest, *below), "write", path)
                if is_file:
                    raise NotFoundError(f"there is no {printable(path)}")
                if ".." in rest:
                    raise NotFoundError(
                        f"{printable(path)} goes up from a folder that is not there"
                    )
            except AiexError:
                os.close(handle)
                raise
            return Folders((*resolved, *rest), handle, rest)
        raise NotFoundError("the root folder is gone")

    def problem(self, error: OSError, path: str) -> AiexError:
        """Return what *error* means to whoever asked for *path*."""
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


class Roots:
    """The roots of one project.

    Args:
        main: What relative paths mean.
        others: What absolute paths may lead to besides.
    """

    def __init__(self, main: Root, others: Sequence[Root] = ()) -> None:
        self.main = main
        self._all = (main, *others)

    def close(self) -> None:
        """Give all handles back."""
        for root in self._all:
            root.close()

    def __iter__(self) -> Iterator[Root]:
        return iter(self._all)

    def find(self, path: str, access: Access) -> tuple[Root, str]:
        """Return the root that *path* means, and the path relative to it.

        Of roots in one another the nearest counts that allows *access*. Where the path leads
        then is for the kernel: a path that means no root is the main root's to refuse.
        """
        if not path.startswith("/"):
            return self.main, path
        found = _below(path, self._all)
        if not found:
            return self.main, path
        for root, inside in found:
            if access == "read" or root.is_writable:
                return root, inside
        return found[0]


def _below(path: str, roots: Sequence[Root]) -> list[tuple[Root, str]]:
    """Return the roots whose folders an absolute path leads through, the nearest first."""
    if len(path) > _PATH_MAX or "\0" in path:
        return []
    found = []
    names = path.split("/")
    for depth in range(len(names), 0, -1):
        try:
            status = Path("/".join(names[:depth]) or "/").stat()
        except (OSError, ValueError):  # missing, or no name of a file
            continue
        inside = "/".join(names[depth:]) or "."
        found += [(root, inside) for root in roots if os.path.samestat(status, root.status)]
    return found


def _read_only(path: str) -> PathRefusedError:
    return PathRefusedError(
        f"{printable(path)} may only be read", path=printable(path), rule="read_only"
    )


def _patterns(lines: Sequence[str]) -> tuple[IgnoreFile, ...]:
    """Return the patterns as they are, and as a file system that folds case may take them."""
    if not lines:
        return ()
    for line in lines:
        if line.startswith("!") or len(IgnoreFile([line])) != 1:
            raise ConfigurationError(
                f"sandbox.read_only: {printable(line)!r} is no pattern of what is only read",
                hint="a pattern of .gitignore files that takes nothing back with !",
            )
    return IgnoreFile(lines), IgnoreFile([line.casefold() for line in lines])


def _matches(names: tuple[str, ...], patterns: tuple[IgnoreFile, ...]) -> bool:
    """Return whether a pattern matches *names* or a folder above, or cannot be told to."""
    as_it_is, as_folded = patterns
    spent = MatchingTime()
    for depth in range(1, len(names) + 1):
        path = "/".join(names[:depth])
        for one in (path, f"{path}/"):
            if as_it_is.verdict(one, spent) or as_folded.verdict(one.casefold(), spent):
                return True
    return spent.skipped > 0


def read_all(handle: int, size: int) -> bytes:
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
