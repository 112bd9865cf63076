"""Running commands through keepers: a pool of them, blocking, for threads.

A command's three streams are pipes whose other ends go to the keeper over its line. To end a
command is to hang up: the keeper then ends all that lives below it, and itself.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import marshal
import math
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from aiex.core import ChildError, NotFoundError, RefusedError
from aiex.sandbox import bwrap, landlock, seccomp
from aiex.sandbox.command import Command, CommandPolicy, CommandResult, Level
from aiex.sandbox.kernel import landlock_abi
from aiex.sandbox.paths import printable
from aiex.sandbox.reach import Reach, environment_of, reach_of

if TYPE_CHECKING:
    from aiex.sandbox.keeper import Order, Report, Setup

__all__ = ["KeeperLine", "Spawner", "describe"]

_HEAD = struct.Struct("=I")
_START_TIMEOUT = 20.0
_END_TIMEOUT = 20.0
_DRAIN_TIMEOUT = 2.0
_PIECE = 1 << 16
_MOST_IDLE = 4
_PATIENCE = 0.1
_TMP_BYTES = 1 << 30
# The room without its front desk, which would import the rest of the house.
_KEEP = """
import sys
from types import ModuleType
house, room = ModuleType("aiex"), ModuleType("aiex.sandbox")
house.__path__, room.__path__ = [], [sys.argv[1]]
sys.modules.update({"aiex": house, "aiex.sandbox": room})
from aiex.sandbox import keeper
keeper.main()
"""


class _Ended(Exception):  # noqa: N818 - no error: the line's other end is gone
    """The keeper has hung up."""


class KeeperLine:
    """One keeper, and the line to it.

    Args:
        setup: What holds for all of its commands.
    """

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", _KEEP),
                    *(str(Path(__file__).parent), str(theirs.fileno())),
                ],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={},
                cwd="/",
            )
        self.socket = ours
        self.level = cast("Level", setup["level"])
        self._buffer = b""
        ours.settimeout(_START_TIMEOUT)
        try:
            self.send(setup, ())
            report = self.report()
        except (_Ended, OSError) as error:
            self.hang_up()
            raise ChildError("what keeps commands inside could not be started") from error
        self.bounds_signals = bool(report[1])
        self.is_by_bubblewrap = self.level == "bwrap" and not report[3]

    def send(self, order: Order | Setup, handles: tuple[int, ...]) -> None:
        """Send an order and the descriptors that go with it."""
        data = marshal.dumps(cast("dict[str, Any]", order))
        data = _HEAD.pack(len(data)) + data
        sent = socket.send_fds(self.socket, [data], handles) if handles else 0
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def report(self) -> Report:
        """Return the next report.

        Raises:
            _Ended: The keeper has hung up.
        """
        while True:
            found = self.received()
            if found is not None:
                return found

    def received(self) -> Report | None:
        """Read once from the line; return a report if one is whole."""
        try:
            piece = self.socket.recv(_PIECE)
        except ConnectionResetError:
            piece = b""  # it ended before it read all
        if not piece:
            raise _Ended
        self._buffer += piece
        return self.pending()

    def pending(self) -> Report | None:
        """Return a report that was read already."""
        if len(self._buffer) < _HEAD.size:
            return None
        end = _HEAD.size + _HEAD.unpack(self._buffer[: _HEAD.size])[0]
        if len(self._buffer) < end:
            return None
        body, self._buffer = self._buffer[_HEAD.size : end], self._buffer[end:]
        report: Report = marshal.loads(body)  # noqa: S302 - from our own child
        return report

    def stop(self) -> None:
        """Tell the keeper to end everything; it says so by hanging up."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Stop the keeper and wait until it is gone, with everything below it."""
        self.stop()
        if sys.platform != "linux":
            self.socket.close()  # only there can a keeper tell one half of a line from both
        try:
            self.process.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket.close()


class _Job:
    """One command on its way.

    Args:
        command: The command.
        line: The keeper that runs it.
        order: What the keeper is told.
        level: What keeps it inside.
    """

    def __init__(self, command: Command, line: KeeperLine, order: Order, level: Level) -> None:
        self._command = command
        self._level = level
        self._line = line
        self._order = order
        self._out = _Kept(command.max_output_bytes)
        self._err = _Kept(command.max_output_bytes)
        self.is_reusable = False
        self.failure: tuple[str, int] | None = None

    def run(self, stopped: threading.Event) -> CommandResult:
        """Run the command to its end, and return how it ended. Blocks.

        Args:
            stopped: Set when the caller, who has then stopped the line, wants no result.
        """
        started = time.monotonic()
        ours = self._start()
        ended: Report | None = None
        timed_out = False
        try:
            ended = self._wait(ours, deadline=started + self._command.timeout)
        except _Ended:
            if not stopped.is_set():
                raise ChildError("what kept the command inside has ended before it") from None
        except TimeoutError:
            timed_out = True
            self._line.hang_up()
            self._drain(ours)
        finally:
            for handle in ours.values():
                with contextlib.suppress(OSError):
                    os.close(handle)
        status = signal.SIGKILL if ended is None else int(ended[1])
        return CommandResult(
            exit=self._exit(os.waitstatus_to_exitcode(status)),
            stdout=bytes(self._out.data),
            stderr=bytes(self._err.data),
            ms=int((time.monotonic() - started) * 1000),
            level=self._level,
            timed_out=timed_out,
            truncated=self._out.dropped or self._err.dropped,
            ended_for="" if ended is None else str(ended[2]),
        )

    def _exit(self, code: int) -> int:
        """Return the exit status; bubblewrap reports a signal as a shell does."""
        return 128 - code if self._line.is_by_bubblewrap and 128 < code <= 128 + 64 else code

    def _start(self) -> dict[str, int]:
        """Send the order; return our ends of the command's streams."""
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        ours = {"out": out, "err": err}
        if self._command.stdin:
            in_end, ours["in"] = os.pipe()
        else:
            in_end = os.open(os.devnull, os.O_RDONLY)
        for handle in ours.values():
            os.set_blocking(handle, False)
        theirs = (in_end, out_end, err_end)
        try:
            self._line.send(self._order, theirs)
        except OSError as error:
            for handle in ours.values():
                os.close(handle)
            raise ChildError("what keeps commands inside has ended") from error
        finally:
            for handle in theirs:
                os.close(handle)
        return ours

    def _wait(self, ours: dict[str, int], *, deadline: float) -> Report:
        """Move bytes until the command has ended and its outputs with it."""
        poll = select.poll()
        line = self._line.socket.fileno()
        poll.register(line, select.POLLIN)
        kept = {ours["out"]: self._out, ours["err"]: self._err}
        for handle in kept:
            poll.register(handle, select.POLLIN)
        feed = memoryview(self._command.stdin)
        if "in" in ours:
            poll.register(ours["in"], select.POLLOUT)
        ended: Report | None = None
        while kept or ended is None:
            left = deadline - time.monotonic()
            if left <= 0:
                if ended is not None:
                    return ended  # its outputs are held by who is none of ours
                raise TimeoutError
            for handle, _ in poll.poll(math.ceil(left * 1000)):
                if handle == line:
                    report = self._line.received()
                    while report is not None:
                        if report[0] == "failed":
                            self.failure = (str(report[1]), int(report[2]))
                        else:
                            ended = report
                            self.is_reusable = True
                            deadline = min(deadline, time.monotonic() + _DRAIN_TIMEOUT)
                        report = self._line.pending()
                elif handle in kept:
                    if kept[handle].read(handle):
                        del kept[handle]
                        poll.unregister(handle)
                elif not (feed := _write(handle, feed)):
                    poll.unregister(handle)
                    os.close(ours.pop("in"))
        return ended

    def _drain(self, ours: Mapping[str, int]) -> None:
        """Take what is left in the pipes of a command that was ended."""
        for name, kept in (("out", self._out), ("err", self._err)):
            with contextlib.suppress(BlockingIOError):
                while not kept.read(ours[name], or_raise=True):
                    pass


def _write(handle: int, data: memoryview) -> memoryview:
    """Write some of *data*; return the rest, nothing when nobody reads it any more."""
    try:
        return data[os.write(handle, data[:_PIECE]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


class _Kept:
    """Keeps the first bytes of a stream; the rest is read away, so that the writer never waits."""

    def __init__(self, most: int) -> None:
        self.data = bytearray()
        self.dropped = False
        self._most = most

    def read(self, handle: int, *, or_raise: bool = False) -> bool:
        """Read once; return whether the stream has ended."""
        try:
            piece = os.read(handle, _PIECE)
        except BlockingIOError:
            if or_raise:
                raise
            return False
        room = self._most - len(self.data)
        self.data += piece[:room]
        self.dropped = self.dropped or len(piece) > room
        return not piece


class Spawner:
    """A pool of keepers; safe to use from several threads.

    Args:
        policy: What holds for every command.
        variables: Aiex's own environment, of which PATH, locale and time zone are passed on.
    """

    def __init__(self, policy: CommandPolicy, variables: Mapping[str, str]) -> None:
        self.policy = policy
        self.variables = variables
        self._folder: Path | None = None
        self._idle: list[KeeperLine] = []
        self._busy: Counter[Level] = Counter()
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._is_closed = False

    def close(self) -> None:
        """End every keeper that runs nothing, and remove what was made for them. Blocks.

        Those that run something are ended by whoever waits for them.
        """
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for line in idle:
                line.stop()
            for line in idle:
                line.hang_up()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def run(
        self,
        command: Command,
        level: Level,
        *,
        hold: Callable[[KeeperLine | None], None] = lambda _: None,
        stopped: threading.Event | None = None,
    ) -> CommandResult:
        """Run *command* at *level* and return how it ended. Blocks.

        Args:
            command: The command.
            level: What keeps it inside.
            hold: Told the line that runs it, which may then be stopped, and `None` when it is no
                longer this command's.
            stopped: Set by whoever stops the line.

        Raises:
            NotFoundError: The program or a folder is not there.
            RefusedError: What keeps it inside could not be set up.
            ChildError: The keeper ended.
        """
        stopped = stopped or threading.Event()
        if any("\0" in word for word in command.argv):
            raise NotFoundError(f"{printable(command.argv[0])} cannot be started: a NUL in a word")
        reach = reach_of(command, self.policy.tools, self.variables)
        line = self._line(level)
        job = _Job(command, line, self._order(command, reach, line), level)
        hold(line)
        try:
            result = job.run(stopped)
        finally:
            hold(None)
            self._done(line, is_reusable=job.is_reusable and not stopped.is_set())
        if job.failure is not None:
            _refuse(command, *job.failure)
        if line.is_by_bubblewrap and result.exit == 1 and result.stderr.startswith(b"bwrap: "):
            _refuse_bwrap(command, result.stderr.decode("utf-8", "replace").split("\n")[0])
        return result

    def _done(self, line: KeeperLine, *, is_reusable: bool) -> None:
        """Take back a line, or end it if something was cut short on it."""
        with self._lock:
            self._busy[line.level] -= 1
            if is_reusable and not self._is_closed and len(self._idle) < _MOST_IDLE:
                self._idle.append(line)
                self._freed.notify()
                return
        line.hang_up()

    def _line(self, level: Level) -> KeeperLine:
        """Return a keeper: an idle one, one that soon is, or a new one."""
        with self._lock:
            line = self._take_idle(level)
            if line is None and self._busy[level]:
                # A keeper costs more to start than most commands take.
                self._freed.wait(_PATIENCE)
                line = self._take_idle(level)
            if line is None:
                setup = self._setup(level)
            self._busy[level] += 1
        if line is not None:
            return line
        try:
            return KeeperLine(setup)
        except ChildError:
            with self._lock:
                self._busy[level] -= 1
            raise

    def _take_idle(self, level: Level) -> KeeperLine | None:
        if self._is_closed:
            raise ChildError("commands are not run any more: the house is closed")
        for place, line in enumerate(self._idle):
            if line.level == level:
                del self._idle[place]
                if line.process.poll() is None:
                    return line
                line.hang_up()
                break
        return None

    def _setup(self, level: Level) -> Setup:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="aiex-run-")).resolve()
        setup: Setup = {"level": level, "folder": os.fsencode(self._folder)}
        if level == "none":
            return setup
        machine = os.uname().machine
        if machine not in seccomp.machines():
            raise RefusedError(f"there is no filter of system calls for {machine}")
        setup["program"] = seccomp.program(level, machine)
        if level == "bwrap":
            setup["program_at"] = bwrap.PROGRAM_AT
            (self._folder / "root").mkdir(exist_ok=True)
            setup["template"] = bwrap.template(self._folder, _TMP_BYTES)
            return setup
        abi = _abi()
        setup["ruleset"] = landlock.handled(abi)
        setup["rules"] = landlock.system_rules(abi)
        setup["private"] = landlock.rights(landlock.READ_WRITE, abi)
        setup["of_files"] = landlock.OF_FILES
        return setup

    def _order(self, command: Command, reach: Reach, line: KeeperLine) -> Order:
        argv = [command.argv[0], *command.argv[1:]]
        program = reach.program
        level = line.level
        rules: list[tuple[bytes, int]] = []
        modes = b""
        shown = bwrap.shown(reach)
        private = bwrap.private(reach)
        if line.is_by_bubblewrap:
            found = bwrap.find_bwrap()
            if found is None:
                raise RefusedError("bubblewrap is not installed")
            program = found
            before = bwrap.arguments(found, reach, tmp_bytes=_TMP_BYTES)
            argv = [*before, reach.program, *command.argv[1:]]
        elif level == "landlock":
            abi = _abi()
            rules = [(os.fsencode(p), landlock.rights(landlock.READ, abi)) for p in reach.reads]
            full = landlock.rights(landlock.READ_WRITE, abi)
            rules += [(os.fsencode(path), full) for path in reach.writes]
            if not reach.writes:
                modes = seccomp.program("modes", os.uname().machine)
        return {
            "argv": [os.fsencode(word) for word in argv],
            "program_path": os.fsencode(program),
            "environment": environment_of(command, reach, self.variables),
            "cwd": None if reach.cwd is None else os.fsencode(reach.cwd),
            "rules": rules,
            "shown": [(os.fsencode(path), is_written) for path, is_written in shown],
            "private": os.fsencode(private),
            "program": modes,
            "limits": self._limits(command),
            "processes": self.policy.max_processes,
            "memory": self.policy.max_memory_bytes,
        }

    def _limits(self, command: Command) -> list[tuple[int, int]]:
        policy = self.policy
        most = policy.max_memory_bytes
        if command.max_memory_bytes is not None:
            most = min(most, command.max_memory_bytes)
        limits = [
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, policy.max_file_bytes),
            (resource.RLIMIT_NOFILE, policy.max_open_files),
            (resource.RLIMIT_DATA, most),
            # Of each process; whoever uses more has several threads, or is stuck.
            (resource.RLIMIT_CPU, math.ceil(command.timeout * _processors()) + 1),
        ]
        if sys.platform == "linux":
            limits.append((resource.RLIMIT_NPROC, policy.max_processes))
        return limits


@functools.cache
def _processors() -> int:
    return os.cpu_count() or 1


def _abi() -> int:
    try:
        return landlock_abi()
    except OSError as error:
        raise RefusedError(f"Landlock: {error.strerror} (errno {error.errno})") from error


_NOT_STARTED = {errno.ENOENT, errno.ENOTDIR, errno.E2BIG, errno.ENOEXEC, errno.EACCES}


def _refuse(command: Command, step: str, code: int) -> None:
    name = printable(command.argv[0])
    if step == "folder" or (step == "exec" and code in _NOT_STARTED):
        raise NotFoundError(f"{name} cannot be started: {os.strerror(code)}")
    raise RefusedError(f"{name} was not started: {step}: {os.strerror(code)} (errno {code})")


def _refuse_bwrap(command: Command, said: str) -> None:
    name = printable(command.argv[0])
    if said.startswith("bwrap: execvp"):
        raise NotFoundError(f"{name} cannot be started: {printable(said.rpartition(': ')[2])}")
    raise RefusedError(f"{name} was not started: {printable(said)}")


def describe(policy: CommandPolicy) -> bytes:
    """Return *policy* as bytes that are the same for the same policy."""
    return msgspec.json.encode(policy, order="sorted")
