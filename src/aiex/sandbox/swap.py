"""Putting one name in the place of another so that nothing is lost, whoever else writes there.

renameat2 (Linux 3.15, glibc 2.28, https://man7.org/linux/man-pages/man2/rename.2.html, read
2026-11-25) exchanges two names at once, and renames without replacing. A file system that cannot
says EINVAL; then a hard link does the second, and for the first there is no substitute.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable

__all__ = ["exchange", "move_new"]

_NOREPLACE, _EXCHANGE = 1, 2
_Call = Callable[[int, bytes, int, bytes, int], int]
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM})


@functools.cache
def _renameat2() -> _Call | None:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    call.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )
    return call


def _try(directory: int, old: str, new: str, flag: int) -> bool:
    """Return whether it was done; `False` if this machine or file system never does it."""
    call = _renameat2()
    if call is None:
        return False
    if call(directory, os.fsencode(old), directory, os.fsencode(new), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), old)


def exchange(directory: int, one: str, other: str) -> bool:
    """Exchange two names of a folder at once; return whether that is possible here.

    Raises:
        OSError: One of them is not there, or the folder may not be written.
    """
    return _try(directory, one, other, _EXCHANGE)


def move_new(directory: int, old: str, new: str) -> None:
    """Give *old* the name *new*, which must be free.

    Raises:
        FileExistsError: It is not.
        OSError: As `os.rename` raises.
    """
    if _try(directory, old, new, _NOREPLACE):
        return
    os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    os.unlink(old, dir_fd=directory)
