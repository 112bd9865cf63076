"""Listing a tree on directory handles: what is there, and what was passed by and why."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter

import msgspec

from aiex.core import NotChecked, PathRefusedError
from aiex.sandbox.ignore import IgnoreFile, MatchingTime
from aiex.sandbox.openat import open_beneath
from aiex.sandbox.paths import printable, protected_by

__all__ = ["Listing", "Scan", "ScanEntry", "entry_of", "list_folder", "walk"]

_DEEPEST = 200
_MOST_NAMED = 200
_LARGEST_IGNORE_FILE = 1 << 20
# Joiners of scripts and emoji, and spaces of other scripts, are part of honest names.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_NOT_OURS = frozenset(
    {
        "__pycache__",
        "node_modules",
        ".venv",
        ".tox",
        ".nox",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
        ".eggs",
        "_build",
        "deps",
    }
)
_NAME = attrgetter("name")
_ONLY_WITH_MIX = frozenset({"_build", "deps"})


class ScanEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A regular file.

    Attributes:
        path: Relative to the root, with `/`.
        size: Bytes.
        mtime_ns: Last change of the content, nanoseconds.
        ctime_ns: Last change of the file, nanoseconds.
        inode: Number of the file on its device.
        device: Number of the device.
        mode: Permission bits.
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    mode: int


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a tree.

    Attributes:
        entries: Regular files, sorted by path.
        left_out: What was passed by; at most 200 are named, then a count.
    """

    entries: tuple[ScanEntry, ...]
    left_out: tuple[NotChecked, ...]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one folder.

    Attributes:
        path: The folder, links resolved; empty for the root.
        folders: Folders in it, sorted by path.
        files: Regular files in it, sorted by path.
        left_out: What was passed by; at most 200 are named, then a count.
    """

    path: str
    folders: tuple[str, ...]
    files: tuple[ScanEntry, ...]
    left_out: tuple[NotChecked, ...]


class _LeftOut:
    """Names what is passed by, up to a bound, and counts the rest by reason."""

    def __init__(self) -> None:
        self.matching = MatchingTime()
        self.named: list[NotChecked] = []
        self._more: dict[str, int] = {}

    def add(self, path: str, reason: str) -> None:
        if len(self.named) < _MOST_NAMED:
            self.named.append(NotChecked(what=printable(path), reason=reason))
        else:
            self.count(reason)

    def count(self, reason: str) -> None:
        self._more[reason] = self._more.get(reason, 0) + 1

    def all(self) -> tuple[NotChecked, ...]:
        if self.matching.skipped:
            reason = "it has too many wildcards or comes after too many others"
            what = f"rules of .gitignore files for {self.matching.skipped} paths"
            self.named.append(NotChecked(what=what, reason=reason))
        more = [
            NotChecked(what=f"{number} more", reason=reason)
            for reason, number in sorted(self._more.items())
        ]
        return (*self.named, *more)


Rules = tuple[tuple[str, IgnoreFile], ...]


def entry_of(path: str, status: os.stat_result) -> ScanEntry:
    """Return *status* of the file at *path* as a value."""
    return ScanEntry(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
        device=status.st_dev,
        mode=stat.S_IMODE(status.st_mode),
    )


def walk(
    root: int,
    starts: Sequence[tuple[str, ...]],
    *,
    ignored: bool,
    most: int,
    protected: frozenset[str] = frozenset(),
    portable: bool | None = None,
) -> Scan:
    """Return the regular files below *starts*.

    Links are not followed: what they lead to inside the root is listed where it stands. At most
    200 folders deep; handles are held for one path only.

    Args:
        root: Handle of the root directory.
        starts: Names of the folders and files to begin at; `()` is the root.
        ignored: Whether to list what .gitignore files (and the folders that tools fill) exclude.
        most: Most entries looked at.
        protected: Further protected names, folded.
        portable: Whether to do without openat2; `None` to choose.

    Raises:
        OSError: A start cannot be opened.
        PathRefusedError: A start is a link to what is protected.
    """
    left_out = _LeftOut()
    entries: dict[str, ScanEntry] = {}
    budget = [most]
    for names in starts:
        handle, resolved = open_beneath(root, names, os.O_RDONLY, portable=portable)
        try:
            status = os.fstat(handle)
            path = "/".join(resolved)
            if (name := protected_by(resolved, "read", protected)) is not None:
                raise PathRefusedError(
                    f"{printable('/'.join(names))} may not be read: "
                    f"{printable(name)} is a protected name",
                    path=printable("/".join(names)),
                    rule="protected_name",
                )
            if (odd := _odd(path)) is not None:
                left_out.add(path, odd)
            elif stat.S_ISREG(status.st_mode):
                entries[path] = entry_of(path, status)
            elif stat.S_ISDIR(status.st_mode):
                rules = () if ignored else _rules_above(root, resolved, left_out)
                for entry in _below(handle, path, rules, left_out, budget, ignored, protected):
                    entries[entry.path] = entry
            else:
                left_out.add(path, "it is no regular file")
        finally:
            os.close(handle)
    ordered = tuple(entries[path] for path in sorted(entries))
    return Scan(entries=ordered, left_out=left_out.all())


def list_folder(
    root: int,
    folder: int,
    names: tuple[str, ...],
    *,
    ignored: bool,
    most: int,
    protected: frozenset[str] = frozenset(),
) -> Listing:
    """Return what is in one open folder.

    Args:
        root: Handle of the root directory.
        folder: Handle of the folder.
        names: Its names below the root, links resolved.
        ignored: Whether to list what .gitignore files (and the folders that tools fill) exclude.
        most: Most entries looked at.
        protected: Further protected names, folded.
    """
    left_out = _LeftOut()
    prefix = "".join(f"{name}/" for name in names)
    rules: Rules = ()
    if not ignored:
        rules = _rules_above(root, names, left_out)
        here = _ignore_file(folder, (), ".gitignore", left_out)
        rules = rules if here is None else (*rules, (prefix, here))
    folders: list[str] = []
    files = list(_files(folder, prefix, rules, folders, left_out, [most], ignored, protected))
    return Listing(
        path="/".join(names),
        folders=tuple(f"{prefix}{name}" for name in folders),
        files=tuple(files),
        left_out=left_out.all(),
    )


def _rules_above(root: int, names: tuple[str, ...], left_out: _LeftOut) -> Rules:
    """Return the ignore rules of the folders above *names*, and of the repository itself."""
    rules: Rules = ()
    exclude = _ignore_file(root, (".git", "info"), "exclude", left_out)
    if exclude is not None:
        rules = (("", exclude),)
    for depth in range(len(names)):
        spec = _ignore_file(root, names[:depth], ".gitignore", left_out)
        if spec is not None:
            rules = (*rules, ("".join(f"{name}/" for name in names[:depth]), spec))
    return rules


def _ignore_file(
    directory: int, folders: tuple[str, ...], name: str, left_out: _LeftOut
) -> IgnoreFile | None:
    """Return the rules of a file; `None` if there is none. As for git, a link is none."""
    path = "/".join((*folders, name))
    try:
        handle, resolved = open_beneath(directory, (*folders, name), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if resolved != (*folders, name) or not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        raw = os.read(handle, _LARGEST_IGNORE_FILE + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
    if len(raw) > _LARGEST_IGNORE_FILE:
        left_out.add(f"the end of {path}", "more rules than a MiB are not read")
        raw = raw[: raw.rfind(b"\n") + 1]
    lines = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
    try:
        return IgnoreFile(lines)
    except ValueError:
        left_out.add(f"the rules of {path}", "one of them is no pattern")
        return None


def _is_ignored(path: str, rules: Rules, spent: MatchingTime) -> bool:
    """Return what the nearest rule that speaks of *path* says; a folder's path ends in `/`."""
    for prefix, spec in reversed(rules):
        verdict = spec.verdict(path[len(prefix) :], spent)
        if verdict is not None:
            return verdict
    return False


def _below(
    handle: int,
    path: str,
    rules: Rules,
    left_out: _LeftOut,
    budget: list[int],
    ignored: bool,
    protected: frozenset[str],
) -> Iterator[ScanEntry]:
    """Yield the files below one open folder; folders wait on a stack with their parent's handle."""
    stack: list[tuple[int, str, Rules, list[str]]] = []

    def enter(folder: int, prefix: str, rules: Rules) -> Iterator[ScanEntry]:
        folders: list[str] = []
        stack.append((folder, prefix, rules, folders))
        spec = None if ignored else _ignore_file(folder, (), ".gitignore", left_out)
        if spec is not None:
            rules = (*rules, (prefix, spec))
            stack[-1] = (folder, prefix, rules, folders)
        yield from _files(folder, prefix, rules, folders, left_out, budget, ignored, protected)
        folders.sort(reverse=True)

    device = os.fstat(handle).st_dev
    try:
        yield from enter(os.dup(handle), f"{path}/" if path else "", rules)
        while stack:
            folder, prefix, rules, folders = stack[-1]
            if not folders or budget[0] <= 0:
                os.close(stack.pop()[0])
                continue
            name = folders.pop()
            if len(stack) >= _DEEPEST:
                left_out.add(f"{prefix}{name}", f"it is more than {_DEEPEST} folders deep")
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                child = os.open(name, flags, dir_fd=folder)
            except OSError as error:
                left_out.add(f"{prefix}{name}", _reason(error))
                continue
            if os.fstat(child).st_dev != device:
                os.close(child)
                left_out.add(f"{prefix}{name}", "it is another file system")
                continue
            yield from enter(child, f"{prefix}{name}/", rules)
    finally:
        for folder, *_ in stack:
            os.close(folder)


def _files(
    folder: int,
    prefix: str,
    rules: Rules,
    folders: list[str],
    left_out: _LeftOut,
    budget: list[int],
    ignored: bool,
    protected: frozenset[str],
) -> Iterator[ScanEntry]:
    """Yield the regular files of one folder, and put its folders into *folders*."""
    try:
        with os.scandir(folder) as listing:
            # One more than may be looked at, to see that there are more; never all of millions.
            found = sorted(islice(listing, budget[0] + 1), key=_NAME)
    except OSError as error:
        left_out.add(prefix or ".", _reason(error))
        return
    if len(found) > budget[0]:
        left_out.add(prefix or ".", "there are more entries than the limit allows")
        found = found[: budget[0]]
    budget[0] -= len(found)
    names = {entry.name for entry in found}
    for entry in found:
        path = f"{prefix}{entry.name}"
        if protected_by((entry.name,), "read", protected) is not None:
            continue
        try:
            if entry.is_symlink():
                left_out.count("symbolic links are not followed")
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            if not ignored:
                if is_folder and _is_filled_by_a_tool(entry.name, names):
                    continue
                marked = f"{path}/" if is_folder else path
                if rules and _is_ignored(marked, rules, left_out.matching):
                    continue
            if is_folder:
                folders.append(entry.name)
            elif not entry.is_file(follow_symlinks=False):
                left_out.add(path, "it is no regular file")
            elif (odd := _odd(path)) is not None:
                left_out.add(path, odd)
            else:
                yield entry_of(path, entry.stat(follow_symlinks=False))
        except OSError as error:
            left_out.add(path, _reason(error))


def _is_filled_by_a_tool(name: str, siblings: set[str]) -> bool:
    return name in _NOT_OURS and (name not in _ONLY_WITH_MIX or "mix.exs" in siblings)


def _odd(path: str) -> str | None:
    if path.isascii() and path.isprintable():
        return None  # nearly all are
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return "its name holds control or direction characters" if _ODD.search(path) else None


def _reason(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "it may not be read"
    return f"it cannot be read: {os.strerror(error.errno or 0)}"
