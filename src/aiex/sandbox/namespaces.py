"""Namespaces of a command's own, with a root in which nothing is but what it may see.

Made by the keeper, in one call for each command, where the kernel lets any program make them. What
every command sees alike is mounted once in the keeper's mount namespace, and copied from there.
It is what bubblewrap does, in its order, without the two further processes and the program that
has to be loaded; where only bubblewrap may make namespaces, it does (`bwrap`).
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct

from aiex.sandbox import kernel

TYPE_CHECKING = False  # what the real one is at run time, without importing typing
if TYPE_CHECKING:
    from typing import TypedDict

    class Template(TypedDict):
        """What every command sees, prepared once.

        Attributes:
            base: Folder that it is mounted on, in the keeper's namespace alone.
            folders: Folders that are shown read-only, and where.
            files: Files of which copies are shown, and where; each mount costs every command.
            devices: Devices that are shown.
            links: Links, and where they lie.
            private_bytes: Size of what a command may write in its root.
        """

        base: bytes
        folders: list[tuple[bytes, bytes]]
        files: list[tuple[bytes, bytes]]
        devices: list[bytes]
        links: list[tuple[bytes, bytes]]
        private_bytes: int


__all__ = ["can_have_root", "fork", "have_template", "make_root", "see_only"]

_NEW_NS, _NEW_CGROUP, _NEW_UTS, _NEW_IPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
_NEW_OF_COMMAND = _NEW_NS | _NEW_CGROUP | _NEW_UTS | _NEW_IPC | _NEW_USER | _NEW_PID | _NEW_NET
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8  # of mounts, and of their attributes alike
_BIND, _REC, _PRIVATE, _SLAVE = 0x1000, 0x4000, 0x40000, 0x80000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_COMMON, _OWN = b"/common", b"/own"
_PRIVATE_FOLDER = b"/tmp"  # unless that is to be shown
_HANDLE = os.O_PATH | os.O_CLOEXEC if hasattr(os, "O_PATH") else 0
_STEP = _HANDLE | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def have_template(template: Template) -> None:
    """Go into a user and mount namespace of one's own, and mount there what every command sees.

    Raises:
        OSError: The kernel, or a security module, does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    kernel.unshare(_NEW_USER | _NEW_NS)
    _be_user(0, user, 0, group)
    # What is mounted outside later is seen, and nothing the other way round.
    kernel.mount(b"none", b"/", None, _REC | _SLAVE)
    base = template["base"]
    kernel.mount(b"tmpfs", base, b"tmpfs", _NOSUID | _NODEV, b"mode=0755,size=16m")
    os.mkdir(base + _OWN)
    common = base + _COMMON
    for path, target in template["folders"]:
        _show(path, common + target, _RDONLY | _NOSUID | _NODEV)
    for path, target in template["files"]:
        _copy(path, common + target)
    os.makedirs(common + b"/dev/shm")
    for device in template["devices"]:
        _show(device, common + device, _NOSUID | _NOEXEC)
    for target, link in template["links"]:
        os.symlink(target, common + link)
    kernel.set_mount(base, _RDONLY, below=False)


def _show(path: bytes, target: bytes, attributes: int) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _make_file(target)
    kernel.mount(path, target, None, _BIND | _REC)
    kernel.set_mount(target, attributes)


def _copy(path: bytes, target: bytes) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(path, "rb") as source, open(target, "xb") as copy:
        copy.write(source.read())


def _make_file(name: bytes, folder: int | None = None) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    os.close(os.open(name, flags, 0o644, dir_fd=folder))


def _be_user(user: int, outer_user: int, group: int, outer_group: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {outer_user} 1"),
        ("gid_map", f"{group} {outer_group} 1"),
    ):
        handle = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        os.write(handle, text.encode())
        os.close(handle)


def can_have_root(template: Template, user: int, group: int) -> bool:
    """Return whether all that works here, found out by children that try."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            have_template(template)
            inner = fork()
            if inner == 0:
                make_root(template, user, group)
                see_only(template, [], _PRIVATE_FOLDER)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(inner, kernel.WAIT_FOR_FORKED)[1])
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def fork() -> int:
    """Fork into namespaces of the child's own, of every kind; it is the first process there."""
    return kernel.fork(_NEW_OF_COMMAND)


def make_root(template: Template, user: int, group: int) -> None:
    """Prepare what does not depend on the command: its user, network, root and private folders.

    Args:
        template: What every command sees.
        user: Number of the user that it is, outside too.
        group: The same of its group.
    """
    _be_user(user, 0, group, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    kernel.mount(b"none", b"/", None, _REC | _PRIVATE)
    own, common = template["base"] + _OWN, template["base"] + _COMMON
    size = b"mode=0755,size=%d" % template["private_bytes"]
    kernel.mount(b"tmpfs", own, b"tmpfs", _NOSUID | _NODEV, size)
    root = own + b"/root"
    for folder in (b"", b"/proc", b"/tmp", b"/run"):
        os.mkdir(root + folder)
    kernel.mount(root, root, None, _BIND)
    for entry in os.scandir(common):
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), root + b"/" + entry.name)
        else:
            os.mkdir(root + b"/" + entry.name)
            kernel.mount(entry.path, root + b"/" + entry.name, None, _BIND | _REC)
    # Root's number alone lets a process write the kernel's settings below /proc/sys.
    kernel.mount(b"proc", root + b"/proc", b"proc", _RDONLY | _NOSUID | _NODEV | _NOEXEC)
    for name, target in ((b"/shm", b"/dev/shm"), (b"/private", _PRIVATE_FOLDER)):
        os.mkdir(own + name)
        os.chmod(own + name, 0o1777)  # noqa: S103 - in a root of its own
        kernel.mount(own + name, root + target, None, _BIND)
    os.mkdir(own + b"/private/home", 0o755)


def see_only(template: Template, shown: list[tuple[bytes, bool]], private: bytes) -> None:
    """Have the prepared root, with what this command is shown, and nothing else any more.

    Args:
        template: What every command sees.
        shown: Real paths, outer ones first, and whether each may be written.
        private: Folder that is its own.

    Raises:
        OSError: One of them is not there.
    """
    own = template["base"] + _OWN
    root = own + b"/root"
    if private != _PRIVATE_FOLDER:
        kernel.mount(own + b"/private", root + private, None, _BIND)
    if shown:
        at = os.open(root, _STEP)
        for path, is_written in shown:
            _show_at(at, path, _NOSUID | _NODEV | (0 if is_written else _RDONLY))
        os.close(at)
    kernel.set_mount(root, _RDONLY | _NOSUID | _NODEV, below=False)
    kernel.pivot_to(root)


def _show_at(root: int, path: bytes, attributes: int) -> None:
    """Mount *path* at the same place below a handle."""
    source = os.open(path, _HANDLE)
    tree = kernel.detach(source, attributes)
    *above, name = path.strip(b"/").split(b"/")
    at = os.dup(root)
    for step in above:
        at = _step(at, step)
    if stat.S_ISDIR(os.fstat(source).st_mode):
        target = at = _step(at, name)
    else:
        try:
            target = os.open(name, _HANDLE | os.O_NOFOLLOW, dir_fd=at)
        except FileNotFoundError:
            _make_file(name, at)
            target = os.open(name, _HANDLE | os.O_NOFOLLOW, dir_fd=at)
    kernel.attach(tree, target)
    for handle in {source, tree, at, target}:
        os.close(handle)


def _step(at: int, name: bytes) -> int:
    """Return a handle of a folder in *at*, made if it is not there, and close *at*.

    No link is followed: a project's own would lead out of the root that is being made.
    """
    try:
        below = os.open(name, _STEP, dir_fd=at)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=at)
        below = os.open(name, _STEP, dir_fd=at)
    os.close(at)
    return below
