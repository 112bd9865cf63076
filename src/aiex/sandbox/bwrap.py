"""What a command sees in namespaces of its own, and the arguments that make bubblewrap show it.

Of `/etc` and `/dev` that is only what programs need. A keeper that may make namespaces does so
itself (`namespaces`), which costs half as much; elsewhere bubblewrap does. What a command leaves
in its private `/tmp` ends with the namespace.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiex.sandbox.landlock import DEVICES, ETC, SYSTEM
from aiex.sandbox.reach import Reach

if TYPE_CHECKING:
    from aiex.sandbox.namespaces import Template

__all__ = ["PROGRAM_AT", "arguments", "find_bwrap", "private", "shown", "template"]

PROGRAM_AT = 9
"""Descriptor on which bubblewrap reads the seccomp program."""

_SYSTEMS_OWN = "/usr/bin/bwrap"


def find_bwrap() -> str | None:
    """Return bubblewrap: the system's, which security modules know by its name, or the extra's.

    PATH is never asked: a project may have put a folder of its own there.
    """
    if os.access(_SYSTEMS_OWN, os.X_OK):
        return _SYSTEMS_OWN
    # Not by sysconfig, which Python 3.11 reads wrongly in two threads at once.
    own = Path(sys.prefix) / "bin" / "bwrap"
    return str(own) if os.access(own, os.X_OK) else None


def template(folder: Path, tmp_bytes: int) -> Template:
    """Return what a keeper that may make namespaces prepares in the folder `root` of *folder*.

    Args:
        folder: The folder.
        tmp_bytes: Size of all that a command may write in a root of its own.
    """
    folders = [(path.encode(), path.encode()) for path in _etc() if os.path.isdir(path)]
    files = [(path.encode(), path.encode()) for path in _etc() if os.path.isfile(path)]
    links = [(b"/proc/self/fd", b"/dev/fd")]
    for path in SYSTEM:
        if os.path.islink(path):
            links.append((os.fsencode(os.readlink(path)), path.encode()))
        elif os.path.isdir(path):
            folders.append((path.encode(), path.encode()))
    return {
        "base": os.fsencode(folder / "root"),
        "folders": folders,
        "files": files,
        "devices": [f"/dev/{name}".encode() for name in DEVICES],
        "links": links,
        "private_bytes": tmp_bytes,
    }


def private(reach: Reach) -> str:
    """Return where a command that reaches *reach* has its private folder, in a root of its own."""
    return "/run" if "/tmp" in (*reach.reads, *reach.writes) else "/tmp"  # noqa: S108


def shown(reach: Reach) -> list[tuple[str, bool]]:
    """Return the paths that are shown besides the system's, and whether each may be written.

    Outer folders come first: what is mounted later lies on top.
    """
    writes = set(reach.writes)
    paths = dict.fromkeys([*reach.reads, *reach.writes])
    return [(path, path in writes) for path in sorted(paths, key=lambda p: (p.count("/"), p))]


def arguments(bwrap: str, reach: Reach, *, tmp_bytes: int) -> list[str]:
    """Return the command line that comes before the command's own.

    Args:
        bwrap: The program.
        reach: What the command may reach.
        tmp_bytes: Size of the private folder.
    """
    own = private(reach)
    words = [bwrap, "--unshare-user", "--uid", str(os.getuid()), "--gid", str(os.getgid())]
    words += ["--unshare-pid", "--unshare-ipc"]
    words += ["--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--die-with-parent", "--cap-drop", "ALL", "--seccomp", str(PROGRAM_AT)]
    for path in _etc():
        words += ["--ro-bind", path, path]
    for path in SYSTEM:
        words += _system(path)
    for name in DEVICES:
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    words += ["--symlink", "/proc/self/fd", "/dev/fd"]
    # Root's number alone lets a process write the kernel's settings below /proc/sys.
    words += ["--proc", "/proc", "--remount-ro", "/proc"]
    for folder in (own, "/dev/shm"):  # noqa: S108
        words += ["--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", folder]
    words += ["--dir", f"{own}/home"]
    for path, is_written in shown(reach):
        words += ["--bind" if is_written else "--ro-bind", path, path]
    words += ["--remount-ro", "/", "--chdir", reach.cwd or own]
    words += ["--setenv", "HOME", f"{own}/home", "--setenv", "TMPDIR", own]
    return [*words, "--"]


def _etc() -> list[str]:
    return [path for path in (f"/etc/{name}" for name in ETC) if os.path.exists(path)]


def _system(folder: str) -> list[str]:
    if os.path.islink(folder):
        return ["--symlink", os.readlink(folder), folder]
    return ["--ro-bind", folder, folder] if os.path.isdir(folder) else []
