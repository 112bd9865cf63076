"""Cells: namespaces and a root of their own, for one command each, that are there before it is.

A keeper goes into namespaces and prepares a root there with what every command sees. A cell is a
copy of that in user, pid, ipc and mount namespaces that no other command has. What it is to show
besides is known with the command; only then does the cell let go of the file system outside.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct

from . import kernel

TYPE_CHECKING = False  # what the real one is at run time, without importing typing
if TYPE_CHECKING:
    from .orders import Template

__all__ = ["can_have_cells", "close", "furnish", "have_namespaces", "make", "show", "sweep"]

_SHARED = kernel.NEW_USER | kernel.NEW_NET | kernel.NEW_NS | kernel.NEW_UTS | kernel.NEW_CGROUP
_OWN = kernel.NEW_USER | kernel.NEW_NS | kernel.NEW_PID | kernel.NEW_IPC
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_SHOWN = kernel.ATTR_NOSUID | kernel.ATTR_NODEV
_TMPFS = kernel.MS_NOSUID | kernel.MS_NODEV
_PROC = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_KERNELS_OWN = (b"sys", b"sysrq-trigger", b"irq", b"bus")
"""What of `/proc` is the machine's and not of processes, and may be written by root."""


def have_namespaces(user: int, group: int, template: Template) -> frozenset[bytes]:
    """Go into a user, network, host name, cgroup and mount namespace, and prepare a root there.

    Making a network namespace and mounting what every command sees takes long. Commands that
    follow one another may share these: nothing in that network, in which loopback is all there
    is, outlives the processes that use it, the host name and the cgroup are not theirs to change,
    and they see the root read-only.

    Returns:
        What the root holds, besides mounts.
    """
    kernel.unshare(_SHARED)
    _map_to(0, user, 0, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    kernel.mount(b"none", b"/", None, kernel.MS_REC | kernel.MS_SLAVE)
    root = template["root"]
    kernel.mount(b"tmpfs", root, b"tmpfs", _TMPFS, b"mode=0755,size=16m")
    for folder, target in template["folders"]:
        if os.path.isdir(folder):
            os.makedirs(root + target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(root + target), exist_ok=True)
            _touch(root + target)
        kernel.mount(folder, root + target, None, kernel.MS_BIND | kernel.MS_REC)
        kernel.set_mount(root + target, kernel.ATTR_RDONLY | _SHOWN)
    os.mkdir(root + b"/dev")
    for device in template["devices"]:
        _touch(root + device)
        kernel.mount(device, root + device, None, kernel.MS_BIND)
        kernel.set_mount(root + device, kernel.ATTR_NOSUID | kernel.ATTR_NOEXEC)
    for target, link in template["links"]:
        os.symlink(target, root + link)
    for folder in (b"/proc", b"/tmp", b"/run", b"/dev/shm"):
        os.mkdir(root + folder)
    return frozenset(_names(root))


def can_have_cells(template: Template) -> bool:
    """Return whether all that works here, found out by a child that tries."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            user, group = os.getuid(), os.getgid()
            have_namespaces(user, group, template)
            first = make()
            if first == 0:
                furnish(template, user, group)
                close(template["root"])
                os._exit(0)
            os._exit(os.waitpid(first, 0)[1] != 0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def make() -> int:
    """Fork, the child as the first process of a cell; return its number, and 0 in it."""
    return kernel.clone(_OWN)


def furnish(template: Template, user: int, group: int) -> None:
    """Mount what each cell has for itself: processes, a private folder and shared memory.

    Nothing is known of the command yet.
    """
    _map_to(user, 0, group, 0)
    root = template["root"]
    # A mount that came along cannot become `/`; one of our own, of the same, can.
    kernel.mount(root, root, None, kernel.MS_BIND | kernel.MS_REC)
    proc = root + b"/proc"
    kernel.mount(b"proc", proc, b"proc", _PROC)
    for name in _KERNELS_OWN:
        path = proc + b"/" + name
        if os.access(path, os.W_OK):
            kernel.mount(path, path, None, kernel.MS_BIND)
            kernel.set_mount(path, kernel.ATTR_RDONLY)
    size = f"mode=1777,size={template['tmp_bytes']}".encode()
    for folder in (b"/tmp", b"/dev/shm"):
        kernel.mount(b"tmpfs", root + folder, b"tmpfs", _TMPFS, size)
    os.mkdir(root + b"/tmp/home", 0o755)


def show(root: bytes, shown: list[tuple[bytes, bytes, bool]], private: bytes) -> None:
    """Show files and folders, the outer ones first.

    Links are followed nowhere: whoever may write in an outer folder could lay them meanwhile.

    Args:
        root: The cell's root.
        shown: What to show, where, and whether it may be written.
        private: Where the private folder is to be.
    """
    if not shown:
        return
    outside = os.open(b"/", os.O_PATH | os.O_CLOEXEC)
    inside = os.open(root, os.O_PATH | os.O_CLOEXEC)
    if private != b"/tmp":
        kernel.bind(
            kernel.open_within(inside, b"/tmp"),
            kernel.open_within(inside, private),
            _SHOWN,
        )
    before: list[bytes] = []
    for source, target, is_writable in shown:
        handle = kernel.open_within(outside, source)
        if not any(target.startswith(outer + b"/") for outer in before):
            _make_target(root + target, is_folder=stat.S_ISDIR(os.fstat(handle).st_mode))
        attributes = _SHOWN if is_writable else _SHOWN | kernel.ATTR_RDONLY
        kernel.bind(handle, kernel.open_within(inside, target), attributes)
        before.append(target)


def close(root: bytes) -> None:
    """Make *root* the cell's `/`, and let go of what was."""
    os.chdir(root)
    kernel.set_mount(root, kernel.ATTR_RDONLY, is_deep=False)
    kernel.pivot_here()


def sweep(root: bytes, names: frozenset[bytes]) -> None:
    """Take away what was made in the root for a command to be shown something there."""
    for path in sorted(set(_names(root)) - names, reverse=True):
        try:
            os.unlink(path)
        except IsADirectoryError:
            os.rmdir(path)


def _names(folder: bytes) -> list[bytes]:
    """Return all that lies in a file system of ours, below where others are mounted in it."""
    device = os.stat(folder).st_dev
    found: list[bytes] = []
    todo = [folder]
    while todo:
        for entry in os.scandir(todo.pop()):
            if entry.stat(follow_symlinks=False).st_dev == device:
                found.append(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return found


def _map_to(user: int, of_user: int, group: int, of_group: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {of_user} 1"),
        ("gid_map", f"{group} {of_group} 1"),
    ):
        handle = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(handle, text.encode())
        os.close(handle)


def _touch(path: bytes) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _make_target(path: bytes, *, is_folder: bool) -> None:
    if os.path.lexists(path):
        return
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    if not is_folder:
        _touch(path)
