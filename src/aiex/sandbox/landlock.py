"""Which files a command may reach under Landlock, as rules for the keeper.

Landlock allows by tree (https://docs.kernel.org/userspace-api/landlock.html, read 2026-11-25). It
looks at opening, making, removing and renaming, and from its versions 3, 4, 5 and 6 on at cutting,
TCP, device controls, and signals and abstract sockets. It does not look at modes, owners, times
and attributes of files: `seccomp` closes what of that can be closed.
"""

from __future__ import annotations

from aiex.sandbox.kernel import ABSTRACT_UNIX_SCOPE, SIGNAL_SCOPE

__all__ = ["OF_FILES", "READ", "READ_WRITE", "handled", "rights", "system_rules"]

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_FS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11  # bind and connect

READ = _EXECUTE | _READ_FILE | _READ_DIR
"""Rights below what may be read."""
READ_WRITE = ((1 << 15) - 1) & ~(_MAKE_CHAR | _MAKE_BLOCK)
"""Rights below what may be written: all but making devices and controlling them."""
OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
"""Rights that there are for a file; the others are of folders."""

_DEVICE = _READ_FILE | _WRITE_FILE
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store")
"""Where the system keeps programs and libraries."""
ETC = (
    "alternatives",
    "erlang",
    "gitconfig",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "passwd",
    "ssl/certs",
    "ssl/openssl.cnf",
)
"""What of `/etc` programs need; the rest holds the machine's secrets for whoever is root."""
DEVICES = ("null", "zero", "full", "random", "urandom")
"""Devices that there are for a command."""
_KERNEL = ("/proc", "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup")


def rights(wanted: int, abi: int) -> int:
    """Return those of the rights *wanted* that this version of Landlock knows."""
    return wanted & _fs(abi)


def handled(abi: int) -> tuple[int, int, int]:
    """Return what a ruleset takes charge of: files, network and scopes, all that *abi* can."""
    return (
        _fs(abi),
        _TCP if abi >= 4 else 0,
        ABSTRACT_UNIX_SCOPE | SIGNAL_SCOPE if abi >= 6 else 0,
    )


def _fs(abi: int) -> int:
    return _FS_BY_ABI[max(known for known in _FS_BY_ABI if known <= abi)]


def system_rules(abi: int) -> list[tuple[bytes, int]]:
    """Return the rules that hold for every command; paths that are not there are passed by."""
    read = [*SYSTEM, *(f"/etc/{name}" for name in ETC), *_KERNEL]
    rules = [(path.encode(), rights(READ, abi)) for path in read]
    return rules + [(f"/dev/{name}".encode(), rights(_DEVICE, abi)) for name in DEVICES]
