"""Which arguments make bubblewrap show a command only what it may reach.

Every mount costs a tenth of a millisecond. Where a keeper may make namespaces of its own it
prepares a root with all that every command sees, which is then one mount; elsewhere they
are made for each: of `/etc` and `/dev` only what programs need.
What a command leaves in its private `/tmp` ends with the namespace.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiex.sandbox.landlock import DEVICES, ETC, SYSTEM
from aiex.sandbox.reach import Reach

if TYPE_CHECKING:
    from aiex.sandbox.keeper import Template

__all__ = ["PROGRAM_AT", "arguments", "find_bwrap", "template"]

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


def template(folder: Path) -> Template:
    """Return the root that a keeper prepares in the folder `root` of *folder*."""
    read = [(path.encode(), path.encode()) for path in _etc()]
    links = [(b"/proc/self/fd", b"/dev/fd")]
    for path in SYSTEM:
        if os.path.islink(path):
            links.append((os.fsencode(os.readlink(path)), path.encode()))
        elif os.path.isdir(path):
            read.append((path.encode(), path.encode()))
    return {
        "root": os.fsencode(folder / "root"),
        "folders": read,
        "devices": [f"/dev/{name}".encode() for name in DEVICES],
        "links": links,
    }


def arguments(
    bwrap: str, reach: Reach, *, folder: str, tmp_bytes: int, is_prepared: bool
) -> list[str]:
    """Return the command line that comes before the command's own.

    Args:
        bwrap: The program.
        reach: What the command may reach.
        folder: Holds the folder `root` where that is prepared.
        tmp_bytes: Size of the private folder.
        is_prepared: Whether the keeper has a root already, and the namespaces that commands may
            share.
    """
    shown = [*reach.reads, *reach.writes]
    private = "/tmp" if "/tmp" not in shown else "/run"  # noqa: S108 - of its own namespace
    words = [bwrap, "--unshare-user", "--uid", str(os.getuid()), "--gid", str(os.getgid())]
    words += ["--unshare-pid", "--unshare-ipc"]
    words += ["--die-with-parent", "--cap-drop", "ALL", "--seccomp", str(PROGRAM_AT)]
    if is_prepared:
        words += ["--dev-bind", f"{folder}/root", "/"]
    else:
        words += ["--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        for path in _etc():
            words += ["--ro-bind", path, path]
        for path in SYSTEM:
            words += _system(path)
        for name in DEVICES:
            words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        words += ["--symlink", "/proc/self/fd", "/dev/fd"]
    # Root's number alone lets a process write the kernel's settings below /proc/sys.
    words += ["--proc", "/proc", "--remount-ro", "/proc"]
    words += ["--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", private]
    words += ["--dir", f"{private}/home"]
    if not any(path.startswith("/dev/shm/") for path in shown):  # noqa: S108
        words += ["--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    writes = set(reach.writes)
    # Outer folders first: what is bound later lies on top.
    for path in sorted(dict.fromkeys(shown), key=lambda path: (path.count("/"), path)):
        words += ["--bind" if path in writes else "--ro-bind", path, path]
    words += ["--remount-ro", "/", "--chdir", reach.cwd or private]
    words += ["--setenv", "HOME", f"{private}/home", "--setenv", "TMPDIR", private]
    return [*words, "--"]


def _etc() -> list[str]:
    return [path for path in (f"/etc/{name}" for name in ETC) if os.path.exists(path)]


def _system(folder: str) -> list[str]:
    if os.path.islink(folder):
        return ["--symlink", os.readlink(folder), folder]
    return ["--ro-bind", folder, folder] if os.path.isdir(folder) else []
