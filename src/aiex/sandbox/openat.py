"""Opening below a directory handle so that the kernel, not string comparison, keeps it inside.

`openat2` (Linux 5.6, https://man7.org/linux/man-pages/man2/openat2.2.html, read 2026-11-24) does
it in one call for a path without links. Elsewhere, and where links are on the way, a walk opens
each name by itself on the handle of the one before, following links only as names that it walks
in turn. Both raise the same errors; the tests run against both.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat
from collections.abc import Callable

__all__ = ["EscapeError", "has_openat2", "open_beneath"]

_NR_OPENAT2 = 437  # the same number on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_AGAIN = 64  # a rename elsewhere makes the kernel ask for another try
_MOST_LINKS = 40  # as the kernel counts (MAXSYMLINKS)
_PATH_MAX = 4096


class EscapeError(OSError):
    """The path leads out of the root, through `..`, a link, another file system or /proc."""


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@functools.cache
def _syscall() -> Callable[..., int]:
    return ctypes.CDLL(None, use_errno=True).syscall


def _openat2(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    raw = os.fsencode(path)
    for _ in range(_AGAIN):
        handle: int = _syscall()(_NR_OPENAT2, directory, raw, ctypes.byref(how), ctypes.sizeof(how))
        if handle >= 0:
            return handle
        code = ctypes.get_errno()
        if code not in {errno.EAGAIN, errno.EINTR}:
            break
    if code == errno.EXDEV:
        raise EscapeError(code, "leads out of the root", path)
    raise OSError(code, os.strerror(code), path)


@functools.cache
def has_openat2() -> bool:
    """Return whether this kernel has openat2 and lets us call it, by calling it."""
    if platform.system() != "Linux":
        return False
    handle = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_openat2(handle, ".", os.O_RDONLY, 0, _BENEATH))
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
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    if portable is None:
        portable = not has_openat2()
    path = "/".join(names) or "."
    if portable or ".." in names or len(os.fsencode(path)) >= _PATH_MAX:
        return _walk(root, list(names), flags, mode)
    try:
        return _openat2(root, path, flags, mode, _BENEATH | _NO_MAGICLINKS | _NO_SYMLINKS), names
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    return _walk(root, list(names), flags, mode)


def _walk(root: int, names: list[str], flags: int, mode: int) -> tuple[int, tuple[str, ...]]:
    """Open name by name; the stack of handles is the path, so `..` cannot leave the root."""
    stack = [os.dup(root)]
    resolved: list[str] = []
    links = 0
    try:
        while names:
            name = names.pop(0)
            if name == "..":
                if len(stack) == 1:
                    raise EscapeError(errno.EXDEV, "leads out of the root", name)
                os.close(stack.pop())
                resolved.pop()
                continue
            last = not names
            try:
                if last:
                    handle = os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=stack[-1])
                    return handle, (*resolved, name)
                stack.append(
                    os.open(
                        name,
                        os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                        dir_fd=stack[-1],
                    )
                )
                resolved.append(name)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR, errno.EMLINK}:
                    raise
                target = _link_target(name, stack[-1])
                if target is None:
                    raise
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from error
                if target.startswith("/"):
                    raise EscapeError(errno.EXDEV, "leads out of the root", name) from error
                names[:0] = [part for part in target.split("/") if part not in {"", "."}]
        handle = os.open(".", flags & ~os.O_CREAT & ~os.O_EXCL, dir_fd=stack[-1])
        return handle, tuple(resolved)
    finally:
        for handle in stack:
            os.close(handle)


def _link_target(name: str, directory: int) -> str | None:
    if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    return os.readlink(name, dir_fd=directory)
