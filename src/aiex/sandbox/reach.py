"""What one command may reach: its program, and folders without the names that are protected."""

from __future__ import annotations

import functools
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from aiex.core import NotFoundError, RefusedError, UsageError
from aiex.sandbox.command import Command
from aiex.sandbox.landlock import SYSTEM
from aiex.sandbox.paths import printable, protected_by

__all__ = ["Reach", "environment_of", "reach_of"]

_PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
_MOST_ENTRIES = 100_000


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Real paths, all of which exist.

    Attributes:
        program: The program.
        search: What PATH is for it.
        cwd: Folder that it runs in; `None` for its private one.
        reads: What it may read besides the system's.
        writes: What it may read and write.
    """

    program: str
    search: str
    cwd: str | None
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def reach_of(command: Command, tools: Sequence[str], variables: Mapping[str, str]) -> Reach:
    """Return what *command* may reach. Blocks.

    Args:
        command: The command.
        tools: Further files and folders that every command may read; absent ones are passed by.
        variables: Aiex's own environment.

    Raises:
        NotFoundError: The program or a folder is not there.
        UsageError: A folder is the root of the file system.
        RefusedError: A folder to write is too large to look for protected names in it.
    """
    scratch = [_real(path) for path in command.scratch]
    roots = [_real(path) for path in command.writes]
    reads = [_real(path) for path in command.reads]
    cwd = _cwd(command)
    folders = [*scratch, *roots, *reads, *([cwd] if cwd not in {None, "/"} else [])]
    project = [] if command.project is None else [os.path.realpath(command.project)]
    search = _search(variables.get("PATH", os.defpath), [*folders, *project])
    program = _program(command.argv[0], search)
    writes = list(scratch)
    for root in roots:
        writes += _writable_parts(root)
    extra = [tool for tool in map(os.path.realpath, tools) if os.path.exists(tool)]
    writes = _outermost(writes, ())
    wanted = _outermost([*folders, *_of_program(program), *extra], writes)
    return Reach(
        program=os.path.abspath(program),
        search=search,
        cwd=cwd,
        reads=tuple(path for path in wanted if not _is_systems(path)),
        writes=tuple(writes),
    )


def environment_of(
    command: Command, reach: Reach, variables: Mapping[str, str]
) -> dict[bytes, bytes]:
    """Return the environment for *command*; HOME and TMPDIR are set where it starts."""
    environment = {name: variables[name] for name in _PASSED_ON if name in variables}
    environment.setdefault("LANG", "C.UTF-8")
    environment = {**environment, "PATH": reach.search, **command.environment}
    return {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}


def _cwd(command: Command) -> str | None:
    if command.cwd is None:
        return None
    real = os.path.realpath(command.cwd)
    if not os.path.isdir(real):
        where = printable(str(command.cwd))
        raise NotFoundError(f"{command.argv[0]} cannot be started: there is no folder {where}")
    return real


def _program(name: str, path: str) -> str:
    """Return the absolute path of the program *name*, which no folder of the project decides."""
    if "/" in name and not name.startswith("/"):
        raise NotFoundError(f"{printable(name)} is no bare name and no absolute path of a program")
    program = shutil.which(name, path=path)
    if program is None:
        raise NotFoundError(f"{printable(name)} is not installed")
    return program


def _real(path: Path) -> str:
    real = os.path.realpath(path)
    if real == "/":
        raise UsageError("a command cannot be given the root of the file system")
    if not os.path.lexists(real):
        raise NotFoundError(f"there is no {printable(str(path))}")
    return real


def _search(path: str, folders: Sequence[str]) -> str:
    """Return *path* without what is relative or lies in a folder that was named for the command.

    A program of that name in the project would run in the place of the system's.
    """
    kept: list[str] = []
    for entry in path.split(os.pathsep):
        real = _real_entry(entry)
        if entry.startswith("/") and not any(_is_below(real, folder) for folder in folders):
            kept.append(entry)
    return os.pathsep.join(kept) or os.defpath


@functools.lru_cache(256)
def _real_entry(entry: str) -> str:
    """Return where an entry of PATH leads; looked up once, since it is asked at every command."""
    return os.path.realpath(entry)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _outermost(paths: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return *paths* once each, without those that lie below another one or one of *others*."""
    found = [path for path in dict.fromkeys(paths) if not any(_is_below(path, o) for o in others)]
    return [path for path in found if not any(_is_below(path, o) for o in found if o != path)]


def _is_systems(path: str) -> bool:
    return any(_is_below(path, folder) for folder in SYSTEM)


def _of_program(program: str) -> Iterator[str]:
    """Yield what a program outside the system's folders needs: its file, and its installation.

    The folder above its `bin` is one, unless it is or holds a home: `~/.local` is full of secrets.
    """
    home = os.path.realpath(os.path.expanduser("~"))
    # A virtual environment's Python is a link to another one, and needs what is around both.
    for path in dict.fromkeys([os.path.abspath(program), os.path.realpath(program)]):
        if _is_systems(path):
            continue
        yield path
        above, name = os.path.split(os.path.dirname(path))
        above = os.path.realpath(above)
        is_homes = _is_below(home, above) or os.path.dirname(above) == home
        if name == "bin" and above.count("/") > 1 and not is_homes:
            yield above


def _writable_parts(root: str) -> list[str]:
    """Return what of *root* may be written, so that nothing protected lies in it.

    Raises:
        RefusedError: There are too many entries to look at.
    """
    left = [_MOST_ENTRIES]

    def parts(folder: str) -> list[str] | None:
        """Return the parts to write in *folder*; `None` for all of it."""
        found: list[str] = []
        is_whole = True
        with os.scandir(folder) as entries:
            listed = list(entries)
        left[0] -= len(listed)
        if left[0] < 0:
            raise RefusedError(f"{printable(root)} has too many entries to be written by a command")
        for entry in listed:
            if protected_by((entry.name,), "write") is not None:
                is_whole = False
            elif entry.is_dir(follow_symlinks=False):
                below = parts(entry.path)
                is_whole = is_whole and below is None
                found += [entry.path] if below is None else below
            elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                found.append(entry.path)
        return None if is_whole else found

    whole = parts(root)
    if whole is not None:
        return whole
    # Never the folder itself: a name that is protected and missing could be made in it.
    return [
        entry.path
        for entry in os.scandir(root)
        if not entry.is_symlink() and (entry.is_dir() or entry.is_file())
    ]
