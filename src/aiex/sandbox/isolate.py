"""The one function that runs a command on a user's project."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Literal

import anyio
import anyio.abc
import msgspec

from aiex.core import NotFoundError
from aiex.sandbox.openat import has_openat2

__all__ = ["Command", "CommandResult", "IsolationStatus", "isolation_status", "run_command"]

_LAST_WORDS = 1.0  # seconds for pipes to run empty once the command has ended
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        argv: Program and arguments; never goes through a shell. The program is an absolute path,
            or a bare name that is looked up in the folders of PATH that are absolute and not
            below *project*.
        cwd: Folder to run in; `None` for the root of the file system.
        project: Folder whose programs are not looked up; `None` for *cwd*.
        stdin: Bytes for its standard input.
        environment: Variables besides PATH, locale and time zone.
        timeout: Seconds until it is ended.
        max_output_bytes: Most bytes kept of each of its two outputs; the rest is read and dropped.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    project: Path | None = None
    stdin: bytes = b""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    timeout: float = 60.0
    max_output_bytes: int = 64 << 20


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended.

    Attributes:
        exit: Exit status; negative for the signal that ended it.
        stdout: Its output.
        stderr: Its messages.
        ms: Milliseconds that it took.
        timed_out: Whether it was ended for its time-out.
        truncated: Whether output was dropped.
    """

    exit: int
    stdout: bytes
    stderr: bytes
    ms: int
    timed_out: bool = False
    truncated: bool = False


class IsolationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a command inside.

    Attributes:
        level: Name of the level: `none` until the levels of the kernel are built.
        paths_by: What keeps our own reads and writes below the root: `openat2` of the kernel,
            or `walk`, a walk of ours on directory handles.
        dies_with_us: Whether a command ends also when Aiex is killed.
        missing: What it does not keep a command from.
    """

    level: str
    paths_by: Literal["openat2", "walk"]
    dies_with_us: bool
    missing: tuple[str, ...]


@functools.cache
def _setpriv() -> str | None:
    """Return the program that sets the parent-death signal without a fork of ours."""
    if sys.platform != "linux":
        return None
    return shutil.which("setpriv", path=_search_path(None))


def isolation_status() -> IsolationStatus:
    """Return what keeps commands inside on this machine."""
    return IsolationStatus(
        level="none",
        paths_by="openat2" if has_openat2() else "walk",
        dies_with_us=_setpriv() is not None,
        missing=("files outside the project", "the network", "memory and processes"),
    )


async def run_command(command: Command) -> CommandResult:
    """Run *command* and return how it ended.

    It gets an environment of our making, no open file of ours, and a session of its own, all of
    which ends with this call: when it returns, times out or is cancelled, and where the machine
    has `setpriv` also when Aiex itself is killed.

    Raises:
        NotFoundError: The program is not there.
    """
    started = time.monotonic()
    argv, environment = await anyio.to_thread.run_sync(_looked_up, command)
    try:
        process = await anyio.open_process(
            argv,
            stdin=PIPE if command.stdin else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=command.cwd or "/",
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # no such folder, too many arguments, a NUL in one
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotFoundError(f"{command.argv[0]} cannot be started: {reason}") from error
    out, err = _Kept(command.max_output_bytes), _Kept(command.max_output_bytes)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_feed, process, command.stdin)
            tasks.start_soon(out.drain, process.stdout)
            tasks.start_soon(err.drain, process.stderr)
            with anyio.move_on_after(command.timeout) as timer:
                await process.wait()
            # What it left running ends with it, and so do the pipes that are held open: all but
            # those of a child that made a session of its own, which is not waited for.
            _end_session(process.pid)
            with anyio.move_on_after(_LAST_WORDS):
                await process.wait()
                await out.ended.wait()
                await err.ended.wait()
            tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            _end_session(process.pid)
            await process.wait()
            await process.aclose()
    return CommandResult(
        exit=process.returncode if process.returncode is not None else -signal.SIGKILL,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        ms=int((time.monotonic() - started) * 1000),
        timed_out=timer.cancelled_caught,
        truncated=out.dropped or err.dropped,
    )


def _looked_up(command: Command) -> tuple[list[str], dict[str, str]]:
    """Return the whole command line with its program's path, and the environment."""
    environment = _environment(command.environment, command.project or command.cwd)
    program = _program(command.argv[0], environment["PATH"])
    setpriv = _setpriv()
    guard = () if setpriv is None else (setpriv, "--pdeathsig", "KILL", "--")
    return [*guard, program, *command.argv[1:]], environment


def _program(name: str, path: str) -> str:
    """Return the absolute path of the program *name*, which no folder of the project decides."""
    if "/" in name and not name.startswith("/"):
        raise NotFoundError(f"{name} is no bare name and no absolute path of a program")
    program = shutil.which(name, path=path)
    if program is None:
        raise NotFoundError(f"{name} is not installed")
    return program


def _environment(extra: Mapping[str, str], project: Path | None) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.setdefault("LANG", "C.UTF-8")
    environment["PATH"] = _search_path(project)
    return {**environment, "HOME": "/nonexistent", **extra}


def _search_path(project: Path | None) -> str:
    """Return PATH without what a project could put there: relative folders, and those below it.

    The folder in which Aiex itself was started, where PATH has it relative, is a project's too.
    """
    below = None if project is None else os.path.realpath(project)
    kept = []
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if not folder.startswith("/"):
            continue
        real = os.path.realpath(folder)
        if below is None or below == "/" or not f"{real}/".startswith(f"{below}/"):
            kept.append(folder)
    return os.pathsep.join(kept) or os.defpath


def _end_session(pid: int) -> None:
    """End whatever is left of the command's session; its leader's pid names the group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _feed(process: anyio.abc.Process, data: bytes) -> None:
    if process.stdin is None:
        return
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(data)
    await process.stdin.aclose()


class _Kept:
    """Keeps the first bytes of a stream and reads the rest away, so that the writer never waits."""

    def __init__(self, most: int) -> None:
        self.data = bytearray()
        self.dropped = False
        self.ended = anyio.Event()
        self._most = most

    async def drain(self, stream: anyio.abc.ByteReceiveStream | None) -> None:
        if stream is not None:
            async for piece in stream:
                room = self._most - len(self.data)
                self.data += piece[:room]
                self.dropped = self.dropped or len(piece) > room
        self.ended.set()
