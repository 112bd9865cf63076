"""The one function that runs a command on a user's project."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Self

import anyio
import anyio.to_thread
import msgspec

from aiex.core import ChildError, RefusedError
from aiex.sandbox.account import Account
from aiex.sandbox.command import LEVELS, Command, CommandPolicy, CommandResult, Level
from aiex.sandbox.escapes import ESCAPES, Attempt, attempt, bounds_of
from aiex.sandbox.kernel import landlock_abi
from aiex.sandbox.levels import Probe, choose, probe_all
from aiex.sandbox.openat import has_openat2
from aiex.sandbox.spawner import KeeperLine, Spawner, describe

__all__ = ["Isolation", "IsolationStatus", "isolation_status", "on_account", "run_command"]

_NOT_COVERED: dict[Level, tuple[str, ...]] = {
    "none": (
        "files outside the project",
        "the network",
        "other processes of the same user",
        "protected names in the project",
    ),
    "landlock": (
        "names and times of files outside can be seen (stat), not their content",
        "a command that may write can change modes and times of other files of the same user",
        "command lines of other processes can be read in /proc",
        "as root the number of processes is looked at every 50 ms, not held by the kernel",
    ),
    "bwrap": (
        "world-readable files of /usr and /opt can be read",
        "as root the number of processes is looked at every 50 ms, not held by the kernel",
        "faults of the kernel itself",
    ),
}


class IsolationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps a command inside.

    Attributes:
        level: What commands run at; `None` where they are refused.
        require: Weakest level that is allowed.
        abi: Version of Landlock; 0 without it.
        paths_by: What keeps our own reads and writes below the root: `openat2` of the kernel,
            or `walk`, a walk of ours on directory handles.
        probes: What was seen of each level, the strongest first.
        not_covered: What the level does not keep a command from.
        policy_sha256: Digest of what holds for every command.
    """

    level: Level | None
    require: Level
    abi: int
    paths_by: Literal["openat2", "walk"]
    probes: tuple[Probe, ...]
    not_covered: tuple[str, ...]
    policy_sha256: str


class Isolation:
    """Runs commands, each kept inside, as long as it is open.

    While it is open, `run_command` goes through it. Closing it ends everything that it started.

    Args:
        policy: What holds for every command.
        variables: Aiex's own environment, of which PATH, locale and time zone are passed on;
            `None` for this process's.
    """

    def __init__(
        self,
        policy: CommandPolicy | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.policy = policy or CommandPolicy()
        self._spawner = Spawner(self.policy, os.environ if variables is None else variables)
        self._limiter: anyio.CapacityLimiter | None = None
        self._choosing = threading.Lock()
        self._level: Level | None = None
        self._token: Token[Isolation | None] | None = None

    async def __aenter__(self) -> Self:
        self._limiter = anyio.CapacityLimiter(self.policy.max_commands)
        self._token = _OPEN.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            with suppress(ValueError):  # closed in another task than it was opened in
                _OPEN.reset(self._token)
            self._token = None
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """End every keeper that runs nothing; no command is run any more. Blocks."""
        self._spawner.close()

    async def run(self, command: Command, *, level: Level | None = None) -> CommandResult:
        """Run *command* and return how it ended.

        It and all that it started have ended when this returns, is cancelled, or when Aiex is
        killed.

        Args:
            command: The command.
            level: Level to run at; `None` for the strongest there is. Never below what is
                required.

        Raises:
            NotFoundError: The program or a folder is not there.
            RefusedError: No level that is allowed works here, or it could not be set up.
            ChildError: What kept the command inside has ended before it.
        """
        call = _Call(self._spawner, command, lambda: level or self._chosen())
        try:
            return await anyio.to_thread.run_sync(
                call.run, abandon_on_cancel=True, limiter=self._limiter
            )
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(call.stop)
            raise

    async def level(self) -> Level:
        """Return what commands run at.

        Raises:
            RefusedError: No level that is allowed works here.
        """
        return await anyio.to_thread.run_sync(self._chosen)

    async def status(self) -> IsolationStatus:
        """Return what keeps commands inside, after trying every level."""
        return await anyio.to_thread.run_sync(self._status)

    async def escapes(
        self, level: Level | None, told: Callable[[Attempt], Awaitable[None]]
    ) -> Level:
        """Try every escape, tell of each, and return the level at which they were tried.

        Args:
            level: Level to try at, also one below what is required; `None` for what commands
                run at.
            told: Called with each attempt when it has ended.

        Raises:
            RefusedError: No level that is allowed works here.
        """
        level = level or await self.level()
        variables = self._spawner.variables
        spawner = Spawner(bounds_of(self.policy), variables)
        try:
            for escape in ESCAPES:
                tried = await anyio.to_thread.run_sync(attempt, escape, spawner, level)
                await told(tried)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(spawner.close)
        return level

    def _chosen(self) -> Level:
        with self._choosing:
            if self._level is None:
                self._level = choose(self.policy, self._spawner)
            return self._level

    def _status(self) -> IsolationStatus:
        probes = probe_all(self._spawner)
        allowed = LEVELS[LEVELS.index(self.policy.require) :]
        level = next((p.level for p in probes if p.passes and p.level in allowed), None)
        try:
            abi = landlock_abi()
        except OSError:
            abi = 0
        return IsolationStatus(
            level=level,
            require=self.policy.require,
            abi=abi,
            paths_by="openat2" if has_openat2() else "walk",
            probes=probes,
            not_covered=_not_covered(level, abi),
            policy_sha256=hashlib.sha256(describe(self.policy)).hexdigest(),
        )


_OPEN: ContextVar[Isolation | None] = ContextVar("isolation", default=None)
_ACCOUNT: ContextVar[Account | None] = ContextVar("account", default=None)


@contextmanager
def on_account(account: Account) -> Iterator[None]:
    """Have every command that is run meanwhile written down by *account*."""
    token = _ACCOUNT.set(account)
    try:
        yield
    finally:
        _ACCOUNT.reset(token)


async def run_command(command: Command) -> CommandResult:
    """Run *command*, kept inside, and return how it ended.

    It goes through the `Isolation` that is open; where none is, through one of this process with
    the default policy.

    Raises:
        NotFoundError: The program or a folder is not there.
        RefusedError: No level that is allowed works here, or it could not be set up.
        ChildError: What kept the command inside has ended before it.
    """
    return await (_OPEN.get() or _of_process()).run(command)


async def isolation_status() -> IsolationStatus:
    """Return what keeps commands inside, after trying every level."""
    return await (_OPEN.get() or _of_process()).status()


@functools.cache
def _of_process() -> Isolation:
    isolation = Isolation()
    atexit.register(isolation.close)
    return isolation


def _not_covered(level: Level | None, abi: int) -> tuple[str, ...]:
    if level is None:
        return ()
    older = {
        5: "devices can be controlled (Landlock before version 5)",
        6: "other processes of the same user can be signalled (Landlock before version 6)",
    }
    more = tuple(text for version, text in older.items() if abi < version)
    return _NOT_COVERED[level] + (more if level == "landlock" else ())


class _Call:
    """One command in a thread of its own, which another thread can stop.

    Args:
        spawner: The pool.
        command: The command.
        level: Says what to run it at.
    """

    def __init__(self, spawner: Spawner, command: Command, level: Callable[[], Level]) -> None:
        self._spawner = spawner
        self._command = command
        self._level = level
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._has_started = False
        self._line: KeeperLine | None = None

    def run(self) -> CommandResult:
        """Run it to its end. Blocks."""
        with self._lock:
            if self._stopped.is_set():
                raise ChildError("the command was stopped before it started")
            self._has_started = True
        account = _ACCOUNT.get()
        try:
            return self._run() if account is None else account.of(self._command, self._run)
        finally:
            self._ended.set()

    def _run(self) -> CommandResult:
        level = self._level()
        if level == "none" and self._spawner.policy.require != "none":
            raise RefusedError(f"sandbox.require is {self._spawner.policy.require}")
        return self._spawner.run(self._command, level, hold=self._hold, stopped=self._stopped)

    def stop(self) -> None:
        """End it, and wait until it and all that it started are gone. Blocks."""
        with self._lock:
            self._stopped.set()
            if not self._has_started:
                return
            if self._line is not None:
                self._line.stop()
        self._ended.wait()

    def _hold(self, line: KeeperLine | None) -> None:
        """Note the line that runs it; `None` once it is no longer its own."""
        with self._lock:
            self._line = line
            if line is not None and self._stopped.is_set():
                line.stop()
