"""What a command is, how it ended, and what bounds it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["LEVELS", "Command", "CommandPolicy", "CommandResult", "Level"]

Level = Literal["none", "landlock", "bwrap"]
"""What keeps a command inside: nothing, Landlock with seccomp, or namespaces with seccomp."""

LEVELS: tuple[Level, ...] = ("none", "landlock", "bwrap")
"""Every level, the weakest first."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    It may read the system's programs and libraries, its own program, and the folders named here;
    it may write its private folder, which is its HOME and TMPDIR and ends with it, and the folders
    that are named for it. At the level `none` nothing holds it to that.

    Attributes:
        argv: Program and arguments; never goes through a shell. The program is an absolute path,
            or a bare name that is looked up in the folders of PATH that are absolute and not
            below *project* nor below a folder that is named here.
        cwd: Folder to run in, which it may read unless it is `/`; `None` for its private folder.
        project: Folder whose programs are not looked up; `None` for *cwd*.
        reads: Further files and folders that it may read.
        writes: Folders of a user's that it may read and write, except protected names; names that
            are not in such a folder itself yet cannot be made there (below it they can).
        scratch: Folders of ours that it may read and write wholly.
        stdin: Bytes for its standard input.
        environment: Variables besides PATH, locale, time zone, HOME and TMPDIR.
        timeout: Seconds until it is ended.
        max_memory_bytes: Most data of each of its processes, stacks included; `None` for what
            holds for every command, which is never exceeded.
        max_output_bytes: Most bytes kept of each of its two outputs; the rest is read and dropped.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    project: Path | None = None
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    scratch: tuple[Path, ...] = ()
    stdin: bytes = b""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    timeout: float = 60.0
    max_memory_bytes: int | None = None
    max_output_bytes: int = 64 << 20


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended.

    Attributes:
        exit: Exit status; negative for the signal that ended it. Where bubblewrap makes the
            namespaces a status above 128 is taken for a signal, as a shell reports one.
        stdout: Its output.
        stderr: Its messages.
        ms: Milliseconds that it took.
        level: What kept it inside.
        timed_out: Whether it was ended for its time-out.
        truncated: Whether output was dropped.
        ended_for: What it had too much of when it was ended: `processes` or `memory`; empty
            otherwise.
    """

    exit: int
    stdout: bytes
    stderr: bytes
    ms: int
    level: Level = "none"
    timed_out: bool = False
    truncated: bool = False
    ended_for: str = ""


class CommandPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every command.

    Attributes:
        require: Weakest level to run at; below it commands are refused.
        tools: Further files and folders with tools that every command may read.
        max_processes: Most processes of one command.
        max_memory_bytes: Most memory of one command: of all its processes together, looked at
            twenty times a second, and of the data of each, which the kernel holds it to.
        max_file_bytes: Largest file that it may write.
        max_open_files: Most open files of each process.
        max_commands: Most commands at a time.
    """

    require: Level = "landlock"
    tools: tuple[str, ...] = ()
    max_processes: int = 512
    max_memory_bytes: int = 4 << 30
    max_file_bytes: int = 1 << 30
    max_open_files: int = 4096
    max_commands: int = 8
