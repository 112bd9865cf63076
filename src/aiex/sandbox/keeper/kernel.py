"""System calls that Python has no names for: Landlock, seccomp, capabilities, mounts, clones."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys

__all__ = [
    "ABSTRACT_UNIX_SCOPE",
    "ATTR_NODEV",
    "ATTR_NOEXEC",
    "ATTR_NOSUID",
    "ATTR_RDONLY",
    "CAP_DAC_OVERRIDE",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_REC",
    "MS_SLAVE",
    "NEW_CGROUP",
    "NEW_IPC",
    "NEW_NET",
    "NEW_NS",
    "NEW_PID",
    "NEW_USER",
    "NEW_UTS",
    "SET_DUMPABLE",
    "SET_NO_NEW_PRIVS",
    "SET_PDEATHSIG",
    "SET_SUBREAPER",
    "SIGNAL_SCOPE",
    "allow",
    "bind",
    "bound_capabilities",
    "bound_signals",
    "clone",
    "detach",
    "drop_capabilities",
    "enter",
    "filter_calls",
    "landlock_abi",
    "mount",
    "open_within",
    "opened",
    "pivot_here",
    "prctl",
    "ruleset_of",
    "set_mount",
    "unshare",
]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_OPEN_TREE, _MOVE_MOUNT, _CLONE3, _OPENAT2, _MOUNT_SETATTR = 428, 429, 435, 437, 442
_VERSION, _PATH_BENEATH = 1, 1
ABSTRACT_UNIX_SCOPE, SIGNAL_SCOPE = 1, 2
"""What a Landlock domain may be scoped by, from its sixth version on."""
NEW_NS, NEW_USER, NEW_NET, NEW_PID = 0x20000, 0x10000000, 0x40000000, 0x20000000
NEW_UTS, NEW_CGROUP, NEW_IPC = 0x4000000, 0x2000000, 0x8000000
"""Kinds of namespaces."""
SET_PDEATHSIG, SET_DUMPABLE, SET_SUBREAPER, SET_NO_NEW_PRIVS = 1, 4, 36, 38
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 2, 4, 8, 0x1000, 0x4000
MS_SLAVE, _MS_PRIVATE = 0x80000, 0x40000
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8

_SET_SECCOMP, _CAPBSET_DROP, _SECCOMP_FILTER = 22, 24, 2
_AT_FDCWD, _AT_RECURSIVE, _AT_EMPTY_PATH = -100, 0x8000, 0x1000
_OPEN_TREE_CLONE, _MOVE_F_EMPTY, _MOVE_T_EMPTY = 1, 4, 0x40
_NO_MAGICLINKS, _NO_SYMLINKS, _IN_ROOT = 2, 4, 0x10
_MNT_DETACH = 2
_SIGCHLD = 17
CAP_DAC_OVERRIDE, _LAST_CAP = 1, 63
_CAP_VERSION = 0x20080522
_FIRST_TO_BOUND_SIGNALS = 6
_linux = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)
# Keeps hold of the interpreter, as `os.fork` does: its child would find it held by nobody.
_held = ctypes.PyDLL(None, use_errno=True)


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


def prctl(option: int, *values: int) -> None:
    """Set something of this process."""
    padded = [*values, 0, 0, 0, 0][:4]
    _checked(_libc.prctl(option, *(ctypes.c_ulong(value) for value in padded)))


def landlock_abi() -> int:
    """Return the version of Landlock that this kernel has, from 1 on.

    Raises:
        OSError: It has none, it is switched off, or the call is not allowed.
    """
    if not _linux:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _checked(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


def ruleset_of(fs: int, net: int, scoped: int) -> int:
    """Return a ruleset that takes charge of these."""
    wanted = _Ruleset(fs, net, scoped)
    # Older kernels know a shorter structure, and take the longer one only if its end is zero.
    size = ctypes.c_size_t(24 if scoped else 16 if net else 8)
    return _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), size, 0))


def opened(path: bytes, allowed: int, of_files: int) -> tuple[int, int]:
    """Return a handle of *path*, and of *allowed* what makes sense for what it is."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
    return handle, allowed if is_folder else allowed & of_files


def allow(ruleset: int, handle: int, allowed: int) -> None:
    """Allow *allowed* below a handle."""
    if allowed:
        rule = _PathBeneath(allowed, handle)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))


def enter(ruleset: int) -> None:
    """Go below a ruleset."""
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))


def filter_calls(program: bytes) -> None:
    """Go below a filter of system calls."""
    wanted = _Program(len(program) // 8, program)
    _checked(_libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_FILTER), ctypes.byref(wanted), 0, 0))


def bound_capabilities(kept: int = 0) -> None:
    """Never have other capabilities than those of the mask *kept* again, after the next program."""
    for capability in range(_LAST_CAP + 1):
        if kept >> capability & 1:
            continue
        if _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # the first that this kernel does not know


def drop_capabilities(kept: int = 0) -> None:
    """Give up all capabilities but those of the mask *kept*."""
    low, high = kept & 0xFFFFFFFF, kept >> 32
    data = (_CapData * 2)(_CapData(low, low, 0), _CapData(high, high, 0))
    _checked(_libc.capset(ctypes.byref(_CapHeader(_CAP_VERSION, 0)), data))


def bound_signals() -> bool:
    """Go below a bound for signals; return whether it is there.

    Whoever is told so ends processes with `kill(-1)`, which without the bound ends all of a user's.
    So it must be seen that our parent, who is outside, can be signalled before and not after.
    """
    outside = os.getppid()
    try:
        if landlock_abi() < _FIRST_TO_BOUND_SIGNALS:
            return False
        os.kill(outside, 0)
        ruleset = ruleset_of(0, 0, SIGNAL_SCOPE)
        enter(ruleset)
        os.close(ruleset)
    except OSError:
        return False
    try:
        os.kill(outside, 0)
    except PermissionError:
        return True
    return False


def unshare(kinds: int) -> None:
    """Go into new namespaces."""
    _checked(_libc.unshare(kinds))


def clone(kinds: int) -> int:
    """Fork, the child in new namespaces; return its number, and 0 in it.

    `unshare` would not do: whoever has once made a pid namespace for children makes no other one.
    """
    wanted = (ctypes.c_uint64 * 11)(kinds, 0, 0, 0, _SIGCHLD)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _held.syscall(_CLONE3, ctypes.byref(wanted), size)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, os.strerror(code))
    return pid


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes = b"") -> None:
    """Mount, as `mount(2)`."""
    _checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data or None))


def detach(target: bytes) -> None:
    """Take a mount and all below it away, though it may be in use."""
    _checked(_libc.umount2(target, _MNT_DETACH))


def set_mount(target: bytes | int, attributes: int, *, is_deep: bool = True) -> None:
    """Add *attributes* to a mount, and to those below it, without taking any away.

    What is mounted or taken away outside later is not seen there: it would lack the attributes.
    """
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, _MS_PRIVATE, 0)
    size = ctypes.c_size_t(32)
    at, path = (_AT_FDCWD, target) if isinstance(target, bytes) else (target, b"")
    flags = (_AT_RECURSIVE if is_deep else 0) | (0 if path else _AT_EMPTY_PATH)
    _checked(_libc.syscall(_MOUNT_SETATTR, at, path, flags, ctypes.byref(wanted), size))


def open_within(folder: int, path: bytes) -> int:
    """Return a handle of *path*, which lies in *folder* as if that were `/`; follow no link."""
    wanted = (ctypes.c_uint64 * 3)(
        os.O_PATH | os.O_CLOEXEC, 0, _NO_SYMLINKS | _NO_MAGICLINKS | _IN_ROOT
    )
    size = ctypes.c_size_t(24)
    return _checked(_libc.syscall(_OPENAT2, folder, path, ctypes.byref(wanted), size))


def bind(source: int, target: int, attributes: int) -> None:
    """Show what is at the handle *source* at the handle *target* too, and what is mounted there.

    The mounts get *attributes* before anybody can see them.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH
    tree = _checked(_libc.syscall(_OPEN_TREE, source, b"", flags))
    set_mount(tree, attributes)
    flags = _MOVE_F_EMPTY | _MOVE_T_EMPTY
    _checked(_libc.syscall(_MOVE_MOUNT, tree, b"", target, b"", flags))
    os.close(tree)


def pivot_here() -> None:
    """Make the working folder `/`, and let go of the `/` that was."""
    _checked(_libc.pivot_root(b".", b"."))
    detach(b".")  # what was `/` now lies on it
    os.chdir("/")
