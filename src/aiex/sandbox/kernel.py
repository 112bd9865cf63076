"""System calls that Python has no functions for: Landlock, seccomp, capabilities, mounts, clone.

A keeper imports it, without anything else of ours. All but the names of fields is the kernel's
(https://man7.org/linux/man-pages/dir_section_2.html, read 2026-11-25).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys

__all__ = [
    "ABSTRACT_UNIX_SCOPE",
    "SET_DUMPABLE",
    "SET_NO_NEW_PRIVS",
    "SET_PDEATHSIG",
    "SET_SUBREAPER",
    "SIGNAL_SCOPE",
    "WAIT_FOR_FORKED",
    "add_rule",
    "attach",
    "bound_capabilities",
    "create_ruleset",
    "detach",
    "detach_mount",
    "enter_ruleset",
    "fork",
    "give_up_capabilities",
    "install_filter",
    "landlock_abi",
    "mount",
    "pivot_to",
    "prctl",
    "set_mount",
    "unshare",
]

ABSTRACT_UNIX_SCOPE, SIGNAL_SCOPE = 1, 2
"""What a Landlock domain may be scoped by, from its sixth version on."""
SET_PDEATHSIG, SET_DUMPABLE, SET_NO_NEW_PRIVS, SET_SUBREAPER = 1, 4, 38, 36
"""Options of `prctl`."""
WAIT_FOR_FORKED = 0x40000000 if sys.platform == "linux" else 0
"""Option of `wait4` that takes children of `fork`, too."""

# The same on every architecture, since system calls share one table from 424 on.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CLONE = {"x86_64": 56, "aarch64": 220}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_VERSION, _PATH_BENEATH = 1, 1
_SET_SECCOMP, _CAPBSET_DROP, _SECCOMP_FILTER = 22, 24, 2
_LAST_CAP = 63
_CAP_VERSION = 0x20080522
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_TREE_CLONE, _TREE_CLOEXEC, _MOVE_EMPTY_PATHS = 1, os.O_CLOEXEC, 0x4 | 0x40
_MNT_DETACH = 2
_linux = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int) -> None:
    """Set one thing of this process."""
    _checked(_prctl(option, value, 0, 0, 0))


def landlock_abi() -> int:
    """Return the version of Landlock that this kernel has, from 1 on.

    Raises:
        OSError: It has none, it is switched off, or the call is not allowed.
    """
    if not _linux:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _checked(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


def create_ruleset(fs: int, net: int, scoped: int) -> int:
    """Return a handle of a Landlock ruleset that takes charge of these rights."""
    wanted = _Ruleset(fs, net, scoped)
    # Older kernels know a shorter structure, and take the longer one only if its end is zero.
    size = ctypes.c_size_t(24 if scoped else 16 if net else 8)
    return _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), size, 0))


def add_rule(ruleset: int, handle: int, allowed: int) -> None:
    """Allow *allowed* below a handle."""
    if allowed:
        rule = _PathBeneath(allowed, handle)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))


def enter_ruleset(ruleset: int) -> None:
    """Be bound by a ruleset from now on."""
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))


def install_filter(program: bytes) -> None:
    """Have every system call of this process go through a seccomp program from now on."""
    wanted = _Program(len(program) // 8, program)
    _checked(_prctl(_SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(wanted), 0, 0))


def bound_capabilities(*, but: int | None = None) -> None:
    """Have no program that is executed from now on get a capability, *but* one."""
    for capability in range(_LAST_CAP + 1):
        if capability != but and _prctl(_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # the first that this kernel does not know


def give_up_capabilities(*, but: int | None = None) -> None:
    """Give up every capability *but* one."""
    kept = 0 if but is None else 1 << but
    data = (_CapData * 2)(_CapData(kept, kept, 0), _CapData(0, 0, 0))
    _checked(_libc.capset(ctypes.byref(_CapHeader(_CAP_VERSION, 0)), data))


def unshare(namespaces: int) -> None:
    """Go into new namespaces."""
    _checked(_libc.unshare(namespaces))


def fork(namespaces: int = 0) -> int:
    """Fork as `os.fork` does; for a process with a single thread, since Python looks at none.

    A wait for any child passes this one by until it executes a program; `WAIT_FOR_FORKED` with its
    number does not. When it ends before that, it sends SIGUSR1 in the place of SIGCHLD.

    Args:
        namespaces: New ones for the child; it is the first process of a new pid namespace.

    Raises:
        OSError: That is not allowed, or there is no such call.
    """
    number = _CLONE.get(os.uname().machine) if _linux else None
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    python, zero = ctypes.pythonapi, ctypes.c_ulong(0)
    flags = ctypes.c_ulong(namespaces | signal.SIGUSR1)
    python.PyOS_BeforeFork()
    # Python is not to let go of its lock, which the child would have to take back.
    child = _libc_with_lock.syscall(number, flags, zero, zero, zero, zero)
    if child == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return _checked(child)


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes = b"") -> None:
    """Mount *source* on *target*."""
    _checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data or None))


def set_mount(target: bytes, attributes: int, *, below: bool = True) -> None:
    """Add *attributes* to a mount, and to those below it, without taking any away."""
    _set_mount(_AT_FDCWD, target, attributes, _AT_RECURSIVE if below else 0)


def _set_mount(handle: int, target: bytes, attributes: int, flags: int) -> None:
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    size = ctypes.c_size_t(32)
    _checked(_libc.syscall(_MOUNT_SETATTR, handle, target, flags, ctypes.byref(wanted), size))


def detach(handle: int, attributes: int) -> int:
    """Return a handle of a copy of what lies at *handle*, mounts below it included.

    Args:
        handle: A file or folder.
        attributes: Added to those of its mounts.
    """
    flags = _TREE_CLONE | _TREE_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    tree = _checked(_libc.syscall(_OPEN_TREE, handle, b"", flags))
    _set_mount(tree, b"", attributes, _AT_EMPTY_PATH | _AT_RECURSIVE)
    return tree


def attach(tree: int, target: int) -> None:
    """Mount what `detach` has returned on a file or folder, by its handle."""
    _checked(_libc.syscall(_MOVE_MOUNT, tree, b"", target, b"", _MOVE_EMPTY_PATHS))


def pivot_to(root: bytes) -> None:
    """Have a mount as the root, and nothing else any more."""
    os.chdir(root)
    _checked(_libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."))
    detach_mount(b".")
    os.chdir("/")


def detach_mount(target: bytes) -> None:
    """Take away a mount and those below it, as soon as nobody uses them."""
    _checked(_libc.umount2(target, _MNT_DETACH))
