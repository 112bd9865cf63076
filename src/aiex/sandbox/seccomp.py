"""Programs for seccomp: which system calls a command may not make.

Assembled here as classic BPF (https://docs.kernel.org/userspace-api/seccomp_filter.html, read
2026-11-25), for x86-64 and 64-bit ARM. A call of another architecture ends the process. What is
refused gets `EPERM`, or `ENOSYS` where a program would then fall back to an older call that can be
looked into; everything else is allowed: what a command may reach is Landlock's and the
namespaces' to say, and this closes what they leave open.
"""

from __future__ import annotations

import errno
import functools
import struct
from collections.abc import Iterator
from typing import Literal

import msgspec

__all__ = ["Filter", "machines", "program"]

Filter = Literal["landlock", "bwrap", "modes"]
"""Which program: the one for a level, or `modes`, which goes on top of the one of `landlock` for
a command that may write nothing."""

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000

# CLONE_NEW*: mount, cgroup, uts, ipc, user, pid and net namespaces.
_NEW_NAMESPACES = 0x7E020000
_NEW_TIME = 0x80
_SETUID_SETGID = 0o6000
_O_CREAT, _O_TRUNC = 0o100, 0o1000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SET_FLAGS, _SET_XATTR_FLAGS = 0x40086602, 0x401C5820  # FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16

# Same number on both, since system calls share one table from 424 on.
_SHARED = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "clone3": 435,
    "openat2": 437,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
    "fchmodat2": 452,
    "setxattrat": 463,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_setattr": 469,
}
_X86_64 = _SHARED | {
    "open": 2,
    "ioctl": 16,
    "shmget": 29,
    "socket": 41,
    "socketpair": 53,
    "clone": 56,
    "semget": 64,
    "msgget": 68,
    "truncate": 76,
    "creat": 85,
    "chmod": 90,
    "fchmod": 91,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "ptrace": 101,
    "syslog": 103,
    "utime": 132,
    "uselib": 134,
    "personality": 135,
    "ustat": 136,
    "sysfs": 139,
    "vhangup": 153,
    "modify_ldt": 154,
    "pivot_root": 155,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "sethostname": 170,
    "setdomainname": 171,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "nfsservctl": 180,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "removexattr": 197,
    "lremovexattr": 198,
    "fremovexattr": 199,
    "lookup_dcookie": 212,
    "clock_settime": 227,
    "utimes": 235,
    "mq_open": 240,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "migrate_pages": 256,
    "openat": 257,
    "fchownat": 260,
    "futimesat": 261,
    "fchmodat": 268,
    "unshare": 272,
    "move_pages": 279,
    "utimensat": 280,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "open_by_handle_at": 304,
    "clock_adjtime": 305,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
}
_AARCH64 = _SHARED | {
    "setxattr": 5,
    "lsetxattr": 6,
    "fsetxattr": 7,
    "removexattr": 14,
    "lremovexattr": 15,
    "fremovexattr": 16,
    "lookup_dcookie": 18,
    "ioctl": 29,
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "nfsservctl": 42,
    "truncate": 45,
    "chroot": 51,
    "fchmod": 52,
    "fchmodat": 53,
    "fchownat": 54,
    "fchown": 55,
    "openat": 56,
    "vhangup": 58,
    "quotactl": 60,
    "utimensat": 88,
    "acct": 89,
    "personality": 92,
    "unshare": 97,
    "kexec_load": 104,
    "init_module": 105,
    "delete_module": 106,
    "clock_settime": 112,
    "syslog": 116,
    "ptrace": 117,
    "reboot": 142,
    "sethostname": 161,
    "setdomainname": 162,
    "settimeofday": 170,
    "mq_open": 180,
    "msgget": 186,
    "semget": 190,
    "shmget": 194,
    "socket": 198,
    "socketpair": 199,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "clone": 220,
    "swapon": 224,
    "swapoff": 225,
    "migrate_pages": 238,
    "move_pages": 239,
    "perf_event_open": 241,
    "fanotify_init": 262,
    "open_by_handle_at": 265,
    "clock_adjtime": 266,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "finit_module": 273,
    "bpf": 280,
    "userfaultfd": 282,
    "kexec_file_load": 294,
}
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}

# Reaching into other processes, into the kernel, or out of the namespaces.
_NEVER = (
    "acct",
    "add_key",
    "bpf",
    "chroot",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "ioperm",
    "iopl",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "lookup_dcookie",
    "memfd_secret",
    "migrate_pages",
    "modify_ldt",
    "mount",
    "mount_setattr",
    "move_mount",
    "move_pages",
    "nfsservctl",
    "open_by_handle_at",
    "open_tree",
    "open_tree_attr",
    "perf_event_open",
    "pidfd_getfd",
    "pivot_root",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "sysfs",
    "syslog",
    "umount2",
    "uselib",
    "userfaultfd",
    "ustat",
    "vhangup",
)
# What Landlock does not look at: owners, flags, and what System V and POSIX keep in the kernel.
_NEVER_AT_LANDLOCK = (
    "chown",
    "fchown",
    "fchownat",
    "file_setattr",
    "lchown",
    "mq_open",
    "msgget",
    "semget",
    "shmget",
    "socket",
)
_XATTRS = (
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
)
_MODES = (
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
)
# Where each call takes the mode of a file.
_MODE_ARGUMENT = {"chmod": 1, "fchmod": 1, "creat": 1, "fchmodat": 2, "fchmodat2": 2}


class _Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Refuse a call.

    Attributes:
        call: Its name.
        code: Error that it gets.
        bits: Only if each of these arguments has one of these bits.
        clear: Only if none of these bits is in this argument.
        only: Only if this argument is none of these values.
        values: Only if this argument is one of these values.
    """

    call: str
    code: int = errno.EPERM
    bits: tuple[tuple[int, int], ...] = ()
    clear: tuple[int, int] | None = None
    only: tuple[int, tuple[int, ...]] | None = None
    values: tuple[int, tuple[int, ...]] | None = None


def machines() -> tuple[str, ...]:
    """Return the machines that a program can be made for, as `os.uname` names them."""
    return tuple(_MACHINES)


@functools.cache
def program(which: Filter, machine: str) -> bytes:
    """Return a program, as an array of `struct sock_filter`.

    Args:
        which: Which of them.
        machine: What `os.uname().machine` says; one of `machines`.

    Example:
        >>> len(program("bwrap", "x86_64")) % 8
        0
    """
    arch, numbers = _MACHINES[machine]
    lines = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL)]
    lines.append((_LOAD, 0, 0, _NR))
    if machine == "x86_64":
        lines += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for rule in _rules(which):
        number = numbers.get(rule.call)
        if number is not None:  # 64-bit ARM never had the calls that others replaced
            body = _body(rule)
            lines += [(_EQUAL, 0, len(body), number), *body]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _rules(which: Filter) -> Iterator[_Rule]:
    if which == "modes":
        yield from (_Rule(call=call) for call in _MODES)
        return
    yield from (_Rule(call=call) for call in _NEVER)
    yield _Rule(call="clone3", code=errno.ENOSYS)  # its flags stand in memory
    yield _Rule(call="openat2", code=errno.ENOSYS)  # so does its mode
    yield _Rule(call="clone", bits=((0, _NEW_NAMESPACES),))
    yield _Rule(call="unshare", bits=((0, _NEW_NAMESPACES | _NEW_TIME),))
    yield _Rule(call="personality", only=(0, (0, 0xFFFFFFFF)))
    yield _Rule(call="socketpair", only=(0, (_AF_UNIX,)))
    for call, argument in _MODE_ARGUMENT.items():
        yield _Rule(call=call, bits=((argument, _SETUID_SETGID),))
    yield _Rule(call="open", bits=((1, _O_CREAT), (2, _SETUID_SETGID)))
    yield _Rule(call="openat", bits=((2, _O_CREAT), (3, _SETUID_SETGID)))
    if which == "bwrap":
        # A network namespace without devices: loopback works, nothing else is there.
        yield _Rule(call="socket", only=(0, (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK)))
        yield _Rule(call="ioctl", values=(1, (_TIOCSTI, _TIOCLINUX)))
        return
    yield from (_Rule(call=call) for call in _NEVER_AT_LANDLOCK)
    yield from (_Rule(call=call, code=errno.EOPNOTSUPP) for call in _XATTRS)
    yield _Rule(call="ioctl", values=(1, (_TIOCSTI, _TIOCLINUX, _SET_FLAGS, _SET_XATTR_FLAGS)))
    # Before its third version Landlock let files be cut: by name, or by opening them to be read.
    yield _Rule(call="open", bits=((1, _O_TRUNC),), clear=(1, 3))
    yield _Rule(call="openat", bits=((2, _O_TRUNC),), clear=(2, 3))


def _body(rule: _Rule) -> list[tuple[int, int, int, int]]:
    """Return what follows where the call is the rule's; it falls through where it may go on."""
    deny = (_RETURN, 0, 0, _ERRNO | rule.code)
    again = (_LOAD, 0, 0, _NR)
    if not (rule.bits or rule.only or rule.values):
        return [deny]
    if rule.only is not None:
        argument, allowed = rule.only
        tests = [(_EQUAL, len(allowed) - place, 0, value) for place, value in enumerate(allowed)]
        return [_load(argument), *tests, deny, again]
    if rule.values is not None:
        argument, refused = rule.values
        count = len(refused)
        tests = [
            (_EQUAL, count - 1 - place, 1 if place == count - 1 else 0, value)
            for place, value in enumerate(refused)
        ]
        return [_load(argument), *tests, deny, again]
    steps: list[tuple[int, int, int, int]] = []
    for argument, mask in rule.bits:
        steps += [_load(argument), (_ANY_BIT, 0, -1, mask)]
    if rule.clear is not None:
        steps += [_load(rule.clear[0]), (_ANY_BIT, -1, 0, rule.clear[1])]
    steps.append(deny)
    end = len(steps)
    # -1 stands for the reload behind the refusal.
    resolved = [
        (code, end - at - 1 if yes < 0 else yes, end - at - 1 if no < 0 else no, value)
        for at, (code, yes, no, value) in enumerate(steps)
    ]
    return [*resolved, again]


def _load(argument: int) -> tuple[int, int, int, int]:
    # The lower half, little-endian: flags, families, modes and commands are 32 bits wide.
    return (_LOAD, 0, 0, _ARGS + 8 * argument)
