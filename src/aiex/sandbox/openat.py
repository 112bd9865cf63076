"""Opening below a directory handle so that the kernel, not string comparison, keeps it inside.

`openat2` (Linux 5.6, https://man7.org/linux/man-pages/man2/openat2.2.html, read 2026-11-24) does
it in one call for a path without links. Elsewhere, and where links are on the way, a walk opens
each name by itself on the handle of the one before, following links only as names that it walks
in turn. Both raise the same errors; the tests run against both.

Neither goes on to another file system: what is mounted inside a root (`/proc`, a network share)
is not part of it. The walk without openat2 knows that by the folders' device numbers, which do
not tell a folder of the same file system that is mounted a second time, nor a single file.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat
import struct
import sys
from collections.abc import Callable

__all__ = ["EscapeError", "has_openat2", "open_beneath"]

_NR_OPENAT2 = 437  # the same number on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_PLAIN = _BENEATH | _NO_MAGICLINKS | _NO_SYMLINKS | _NO_XDEV
_AGAIN = 64  # a rename elsewhere makes the kernel ask for another try
_MOST_LINKS = 40  # as the kernel counts (MAXSYMLINKS)
_MOST_STEPS = 20_000  # of a walk: `..` in a deep folder walks down to it again
_PATH_MAX = 4096
_ALWAYS = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HOW_SIZE = 24
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class EscapeError(OSError):
    """The path leads out of the root, through `..`, a link, another file system or /proc."""


@functools.cache
def _syscall() -> Callable[[int, int, bytes, bytes, int], int]:
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    call.argtypes = (
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    )
    return call


@functools.lru_cache(maxsize=64)
def _how(flags: int, mode: int, resolve: int) -> bytes:
    """Return `struct open_how`: flags, mode, resolve."""
    return struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)


def _openat2(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    call, raw, how = _syscall(), path.encode(_ENCODING, _ERRORS), _how(flags, mode, resolve)
    handle = call(_NR_OPENAT2, directory, raw, how, _HOW_SIZE)
    if handle >= 0:
        return handle
    code = ctypes.get_errno()
    for _ in range(_AGAIN):
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
        handle = call(_NR_OPENAT2, directory, raw, how, _HOW_SIZE)
        if handle >= 0:
            return handle
        code = ctypes.get_errno()
    if code == errno.EXDEV:
        raise EscapeError(code, "leads out of the root", path)
    raise OSError(code, os.strerror(code), path)


@functools.cache
def has_openat2() -> bool:
    """Return whether this kernel has openat2 and lets us call it, by calling it."""
    if platform.system() != "Linux":
        return False
    handle = os.open("/", _STEP)
    try:
        os.close(_openat2(handle, ".", os.O_RDONLY, 0, _PLAIN))
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def open_beneath(
    root: int, names: tuple[str, ...], flags: int, *, mode: int = 0, portable: bool | None = None
) -> tuple[int, tuple[str, ...]]:
    """Return a handle of what *names* lead to below *root*, and the names that it resolved to.

    Links inside the root are followed; what is returned has none left.

    Args:
        root: Handle of the root directory.
        names: Names of the path; `()` is the root itself.
        flags: As for `os.open`; O_NONBLOCK, O_NOCTTY and O_CLOEXEC are added, so that a FIFO or
            a device never hangs or becomes a terminal.
        mode: Permission bits for O_CREAT.
        portable: Whether to walk even where openat2 is there; `None` to choose.

    Raises:
        EscapeError: The path leads out of the root.
        OSError: As `os.open` raises.
    """
    flags |= _ALWAYS
    if portable is None:
        portable = not has_openat2()
    path = "/".join(names) or "."
    if portable or ".." in names or len(path) * 4 >= _PATH_MAX:
        return _Walk(root, portable=portable).open(list(names), flags, mode)
    try:
        return _openat2(root, path, flags, mode, _PLAIN), names
    except OSError as error:
        # A link is on the way, or the kernel saw renames at every try.
        if error.errno not in {errno.ELOOP, errno.EAGAIN}:
            raise
    return _Walk(root, portable=portable).open(list(names), flags, mode)


class _Walk:
    """Opens name by name; `..` never asks the kernel, so a folder moved away leads nowhere new.

    Two handles are held at most, however deep the path is.
    """

    def __init__(self, root: int, *, portable: bool) -> None:
        self._root = root
        self._portable = portable
        self._device = os.fstat(root).st_dev if portable else 0
        self._here = os.dup(root)
        self._resolved: list[str] = []
        self._steps = 0

    def open(self, names: list[str], flags: int, mode: int) -> tuple[int, tuple[str, ...]]:
        """Return what *names* lead to, following links inside the root."""
        waiting = names[::-1]
        links = 0
        try:
            while waiting:
                name = waiting.pop()
                if name == "..":
                    self._leave()
                    continue
                try:
                    if not waiting:
                        return self._one(name, flags, mode), (*self._resolved, name)
                    self._enter(name)
                except EscapeError:
                    raise
                except OSError as error:
                    if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                        raise
                    target = _link_target(name, self._here)
                    if target is None:
                        raise
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from error
                    if target.startswith("/"):
                        raise EscapeError(errno.EXDEV, "leads out of the root", name) from error
                    waiting += [p for p in reversed(target.split("/")) if p not in {"", "."}]
            handle = os.open(".", flags & ~os.O_CREAT & ~os.O_EXCL, dir_fd=self._here)
            return handle, tuple(self._resolved)
        finally:
            os.close(self._here)

    def _leave(self) -> None:
        """Go to the folder above, by its names from the root."""
        if not self._resolved:
            raise EscapeError(errno.EXDEV, "leads out of the root", "..")
        above = self._resolved[:-1]
        os.close(self._here)
        self._here, self._resolved = os.dup(self._root), []
        for name in above:
            self._enter(name)

    def _enter(self, name: str) -> None:
        child = self._one(name, _STEP, 0)
        os.close(self._here)
        self._here = child
        self._resolved.append(name)

    def _one(self, name: str, flags: int, mode: int) -> int:
        """Return a handle of *name* in the folder where the walk is, which must be no link."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
        if not self._portable:
            return _openat2(self._here, name, flags, mode, _PLAIN)
        handle = os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=self._here)
        status = os.fstat(handle)
        # Only folders tell: overlay file systems give files the devices of their layers.
        if stat.S_ISDIR(status.st_mode) and status.st_dev != self._device:
            os.close(handle)
            raise EscapeError(errno.EXDEV, "leads to another file system", name)
        return handle


def _link_target(name: str, directory: int) -> str | None:
    if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    return os.readlink(name, dir_fd=directory)
