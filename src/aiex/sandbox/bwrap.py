"""What a command sees at the level `bwrap`, and the arguments that make bubblewrap show just that.

Where a keeper may make namespaces of its own it has cells, which are there before their command
and are told only what to show besides. Elsewhere bubblewrap, which a security module may allow
more than us, makes all of it for each command: of `/etc` and `/dev` only what programs need.
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
    from aiex.sandbox.keeper.orders import Template

__all__ = ["PROGRAM_AT", "arguments", "find_bwrap", "private_folder", "shown", "template"]

PROGRAM_AT = 9
"""Descriptor on which bubblewrap reads the seccomp program."""

_SYSTEMS_OWN = "/usr/bin/bwrap"
_TMP_BYTES = 1 << 30


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
        "tmp_bytes": _TMP_BYTES,
    }


def private_folder(reach: Reach) -> str:
    """Return where a command that may reach this has its private folder."""
    is_taken = "/tmp" in reach.reads or "/tmp" in reach.writes  # noqa: S108
    return "/run" if is_taken else "/tmp"  # noqa: S108 - of its own namespace


def shown(reach: Reach) -> list[tuple[str, str, bool]]:
    """Return what to show, where, and whether it may be written.

    Outer folders come first: what is shown later lies on top.
    """
    writes = set(reach.writes)
    paths = dict.fromkeys([*reach.reads, *reach.writes])
    return [
        (os.path.realpath(path), path, path in writes)
        for path in sorted(paths, key=lambda path: (path.count("/"), path))
    ]


def arguments(bwrap: str, reach: Reach) -> list[str]:
    """Return the command line that comes before the command's own.

    Args:
        bwrap: The program.
        reach: What the command may reach.
    """
    private = private_folder(reach)
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
    words += ["--symlink", "/proc/self/fd", "/dev/fd", "--proc", "/proc"]
    for folder in (private, "/dev/shm"):  # noqa: S108
        words += ["--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", folder]
    words += ["--dir", f"{private}/home"]
    for source, target, is_writable in shown(reach):
        words += ["--bind" if is_writable else "--ro-bind", source, target]
    words += ["--remount-ro", "/", "--chdir", reach.cwd or private]
    words += ["--setenv", "HOME", f"{private}/home", "--setenv", "TMPDIR", private]
    return [*words, "--"]


def _etc() -> list[str]:
    return [path for path in (f"/etc/{name}" for name in ETC) if os.path.exists(path)]


def _system(folder: str) -> list[str]:
    if os.path.islink(folder):
        return ["--symlink", os.readlink(folder), folder]
    return ["--ro-bind", folder, folder] if os.path.isdir(folder) else []
