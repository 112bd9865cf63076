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

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT")


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to run.

    Attributes:
        argv: Program and arguments; never goes through a shell.
        cwd: Folder to run in; `None` for the root of the file system.
        stdin: Bytes for its standard input.
        environment: Variables besides PATH, locale and time zone.
        timeout: Seconds until it is ended.
        max_output_bytes: Most bytes kept of each of its two outputs; the rest is read and dropped.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
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
    return shutil.which("setpriv") if sys.platform == "linux" else None


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
    program = shutil.which(command.argv[0], path=_environment({})["PATH"])
    if program is None:
        raise NotFoundError(f"{command.argv[0]} is not installed")
    setpriv = _setpriv()
    guard = (setpriv, "--pdeathsig", "KILL", "--") if setpriv is not None else ()
    started = time.monotonic()
    process = await anyio.open_process(
        [*guard, program, *command.argv[1:]],
        stdin=PIPE if command.stdin else DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        cwd=command.cwd or "/",
        env=_environment(command.environment),
        start_new_session=True,
    )
    out, err = _Kept(command.max_output_bytes), _Kept(command.max_output_bytes)
    try:
        with anyio.move_on_after(command.timeout) as timer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_feed, process, command.stdin)
                tasks.start_soon(out.drain, process.stdout)
                tasks.start_soon(err.drain, process.stderr)
            await process.wait()
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


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("LANG", "C.UTF-8")
    return {**environment, "HOME": "/nonexistent", **extra}


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
        self._most = most

    async def drain(self, stream: anyio.abc.ByteReceiveStream | None) -> None:
        if stream is None:
            return
        async for piece in stream:
            room = self._most - len(self.data)
            self.data += piece[:room]
            self.dropped = self.dropped or len(piece) > room
