"""Which arguments make bubblewrap show a command only what it may reach.

Every mount costs a tenth of a millisecond, so there are few of them: `/etc` is one folder of
copies, devices are bound one by one in the place of a whole `/dev`, and what a command leaves in
its private `/tmp` ends with the namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
from pathlib import Path

from aiex.sandbox.landlock import ETC, SYSTEM
from aiex.sandbox.reach import Reach

__all__ = ["PROGRAM_AT", "arguments", "find_bwrap", "make_etc"]

PROGRAM_AT = 9
"""Descriptor on which bubblewrap reads the seccomp program."""

_SYSTEMS_OWN = "/usr/bin/bwrap"
_DEVICES = ("null", "zero", "urandom")
_LARGEST_COPY = 1 << 20


def find_bwrap() -> str | None:
    """Return bubblewrap: the system's, which security modules know by its name, or the extra's.

    PATH is never asked: a project may have put a folder of its own there.
    """
    if os.access(_SYSTEMS_OWN, os.X_OK):
        return _SYSTEMS_OWN
    own = Path(sysconfig.get_path("scripts")) / "bwrap"
    return str(own) if os.access(own, os.X_OK) else None


def make_etc(folder: Path) -> None:
    """Fill *folder* with copies of what programs need of `/etc`."""
    folder.mkdir(mode=0o755)
    for name in ETC:
        source, target = Path("/etc", name), folder / name
        with contextlib.suppress(OSError, shutil.Error):
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            elif source.stat().st_size <= _LARGEST_COPY:
                shutil.copyfile(source, target)


def arguments(
    bwrap: str, reach: Reach, *, etc: str, tmp_bytes: int, has_network: bool
) -> list[str]:
    """Return the command line that comes before the command's own.

    Args:
        bwrap: The program.
        reach: What the command may reach.
        etc: Folder that is shown as `/etc`.
        tmp_bytes: Size of the private folder.
        has_network: Whether it starts in a network namespace without devices already.
    """
    shown = [*reach.reads, *reach.writes]
    private = "/tmp" if "/tmp" not in shown else "/run"  # noqa: S108 - of its own namespace
    words = [bwrap, "--unshare-user", "--uid", str(os.getuid()), "--gid", str(os.getgid())]
    words += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    words += [] if has_network else ["--unshare-net"]
    words += ["--die-with-parent"]
    words += ["--cap-drop", "ALL"]
    words += ["--seccomp", str(PROGRAM_AT)]
    for folder in SYSTEM:
        words += _system(folder)
    words += ["--ro-bind", etc, "/etc", "--proc", "/proc"]
    for name in _DEVICES:
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    words += ["--symlink", "urandom", "/dev/random", "--symlink", "/proc/self/fd", "/dev/fd"]
    words += ["--size", str(tmp_bytes), "--perms", "1777", "--tmpfs", private]
    words += ["--dir", f"{private}/home"]
    writes = set(reach.writes)
    # Outer folders first: what is bound later lies on top.
    for path in sorted(dict.fromkeys(shown), key=lambda path: (path.count("/"), path)):
        words += ["--bind" if path in writes else "--ro-bind", path, path]
    words += ["--remount-ro", "/", "--chdir", reach.cwd or private]
    words += ["--setenv", "HOME", f"{private}/home", "--setenv", "TMPDIR", private]
    return [*words, "--"]


def _system(folder: str) -> list[str]:
    if os.path.islink(folder):
        return ["--symlink", os.readlink(folder), folder]
    return ["--ro-bind", folder, folder] if os.path.isdir(folder) else []
