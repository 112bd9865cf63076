"""Serving a line: one command after another, each of which ends with all that it has started.

One keeper looks after one command at a time, so every process below it belongs to that command:

- it is the subreaper: what a command detaches becomes the keeper's child and ends with the call;
- where Landlock can bound signals (Linux 6.12) it puts itself below such a bound when it starts,
  and `kill(-1)` then ends, in one step that no fork outruns, all that lives below it and nothing
  else; elsewhere it ends its descendants in rounds until none is left;
- in a cell the first process does the same with `kill(-1)`, tells how the command ended, and goes;
- it reads the other end of its line: when Aiex goes, however it goes, everything below ends.

The process for the next command is forked before the command is known, with everything done that
does not depend on it. It takes the order from the line itself.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

from . import cell, kernel

TYPE_CHECKING = False  # what the real one is at run time, without importing typing
if TYPE_CHECKING:
    from .orders import Order, Report, Setup, Template

__all__ = ["main"]

_HEAD = struct.Struct("=I")
_STARTED = struct.Struct("=QQ")
_ENDED = struct.Struct("=iQ")
_TICK_MS = 50
_STALE_COUNT_S = 10.0
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_STOPPED = getattr(select, "POLLRDHUP", 0)
_linux = sys.platform == "linux"


def _read_exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = line.recv(count - len(data))
        if not piece:
            os._exit(0)
        data += piece
    return data


def _send(line: socket.socket, report: Report) -> None:
    data = marshal.dumps(report)
    line.sendall(_HEAD.pack(len(data)) + data)


def _receive(line: socket.socket) -> tuple[Order, list[int]]:
    """Return the next order and its descriptors."""
    room = socket.CMSG_SPACE(3 * 4)
    head, ancillary, _, _ = line.recvmsg(_HEAD.size, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    if not head:
        os._exit(0)
    handles: list[int] = []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            handles += struct.unpack(f"={len(data) // 4}i", data[: len(data) // 4 * 4])
    head += _read_exactly(line, _HEAD.size - len(head))
    return marshal.loads(_read_exactly(line, _HEAD.unpack(head)[0])), handles  # noqa: S302


def _stat_of(pid: str) -> tuple[int, int] | None:
    """Return the parent and the resident pages of a process; `None` if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[1]), int(fields[21])


def _lower(which: int, wanted: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(which, (wanted, wanted))


def _tasks_of(user: int) -> int:
    """Return how many threads the processes of *user* have."""
    count = 0
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}").st_uid == user:
                    count += os.stat(f"/proc/{pid}/task").st_nlink - 2
    return count


def _descendants() -> dict[int, int]:
    """Return the resident pages of each process below this one."""
    children: dict[int, list[int]] = {}
    pages: dict[int, int] = {}
    for name in os.listdir("/proc"):
        found = _stat_of(name) if name.isdigit() else None
        if found is not None:
            children.setdefault(found[0], []).append(int(name))
            pages[int(name)] = found[1]
    below: dict[int, int] = {}
    todo = [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), ()):
            below[pid] = pages[pid]
            todo.append(pid)
    return below


def _remove(folder: bytes) -> None:
    """Remove a folder that no process uses any more, whatever was left in it; follow no link."""
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                os.unlink(entry.path)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


class _Keeper:
    """Serves one line.

    Args:
        line: Where orders come from and reports go.
        setup: What holds for all commands.
    """

    def __init__(self, line: socket.socket, setup: Setup) -> None:
        self._line = line
        self._setup = setup
        self._level = setup["level"]
        # Before a namespace makes it look otherwise.
        self._user, self._group = os.getuid(), os.getgid()
        self._is_root = os.geteuid() == 0
        self._page = resource.getpagesize()
        self._wake, self._woken = os.pipe()
        self._started, self._start = os.pipe()
        self._ended, self._end = os.pipe()
        for handle in (self._wake, self._woken, self._started, self._ended):
            os.set_blocking(handle, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._tasks = 0
        self._counted = 0.0
        self.bounds_signals = False
        self._template = setup.get("template")
        if self._template is not None and not cell.can_have_cells(self._template):
            self._template = None
        self.has_cells = self._template is not None
        self._names: frozenset[bytes] = frozenset()
        if self._template is not None:
            self._names = cell.have_namespaces(self._user, self._group, self._template)
        if _linux:
            kernel.prctl(kernel.SET_SUBREAPER, 1)
            kernel.prctl(kernel.SET_DUMPABLE, 0)
            if self._level != "none":
                kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
                self.bounds_signals = kernel.bound_signals()
        self._system: list[tuple[int, int]] = []
        if self._level == "landlock":
            for path, allowed in setup["rules"]:
                with contextlib.suppress(FileNotFoundError):
                    self._system.append(kernel.opened(path, allowed, setup["of_files"]))
            if self._is_root:
                # What root has beyond other users, but for files that are not its own.
                kernel.bound_capabilities(1 << kernel.CAP_DAC_OVERRIDE)
                kernel.drop_capabilities(1 << kernel.CAP_DAC_OVERRIDE)
            kernel.filter_calls(setup["program"])

    def serve(self) -> None:
        """Run orders until the line ends."""
        poll = select.poll()
        poll.register(self._line, _STOPPED)
        poll.register(self._wake, select.POLLIN)
        poll.register(self._started, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        while True:
            private = self._make_private()
            child = self._fork(private)
            if not self._keep(poll, child, private):
                return

    def _make_private(self) -> bytes:
        folder = os.path.join(os.fsencode(self._setup["folder"]), os.urandom(8).hex().encode())
        if self._level != "bwrap":
            os.mkdir(folder, 0o700)
            os.mkdir(folder + b"/home", 0o700)
            os.mkdir(folder + b"/tmp", 0o700)
        return folder

    def _fork(self, private: bytes) -> int:
        self._count_tasks()
        keeper = os.getpid()
        child = os.fork() if self._template is None else cell.make()
        if child == 0:
            try:
                if self._template is None:
                    self._be_command(keeper, private)
                else:
                    self._be_cell(self._template)
            finally:
                os._exit(127)
        return child

    def _count_tasks(self) -> None:
        """Count what the kernel will count with a command's processes, unless that is known."""
        is_stale = time.monotonic() - self._counted > _STALE_COUNT_S
        if _linux and is_stale and not self._is_root and not self.has_cells:
            self._tasks = _tasks_of(self._user)
            self._counted = time.monotonic()

    def _keep(self, poll: select.poll, child: int, private: bytes) -> bool:
        """Wait for one command and end what it left; return whether the line goes on."""
        limits: tuple[int, int] | None = None
        reaped: tuple[int, int] | None = None
        reason = ""
        while True:
            ready = dict(poll.poll(_TICK_MS if limits else None))
            line = ready.get(self._line.fileno(), 0)
            if line & (_GONE | _STOPPED):
                self._end_all()
                _remove(private)
                if line & _GONE:
                    self._clean_up()
                return False
            if self._started in ready and limits is None:
                limits = _STARTED.unpack(os.read(self._started, _STARTED.size))
            told = self._told() if self._ended in ready else None
            if told is not None:
                break
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 512)
                reaped = self._reap(child)
                if reaped is not None:
                    told = self._told()
                    break
            elif limits is not None and not ready and not reason:
                reason = self._over(limits, child)
                if reason:
                    self._end_all(but=child)
        if told is None:
            self._end_all()
        if limits is None:
            with contextlib.suppress(BlockingIOError):
                limits = _STARTED.unpack(os.read(self._started, _STARTED.size))
        ended = told or reaped
        is_over = limits is None  # it died before it read its order: what is in the line is no use
        try:
            if ended is not None and not is_over:
                _send(self._line, ("ended", ended[0], reason, ended[1]))
        except OSError:
            is_over = True
        if self._template is not None:
            cell.sweep(self._template["root"], self._names)
        elif self._level != "bwrap":
            _remove(private)
        return not is_over

    def _told(self) -> tuple[int, int] | None:
        """Return what a cell said of its command, after the last of its processes has ended."""
        try:
            found: tuple[int, int] = _ENDED.unpack(os.read(self._ended, _ENDED.size))
        except BlockingIOError:
            return None
        return found

    def _clean_up(self) -> None:
        """Remove what Aiex, which is gone, has made for its keepers; the last one succeeds."""
        folder = os.fsencode(self._setup["folder"])
        if self.has_cells:
            kernel.detach(folder + b"/root")
        _remove(folder + b"/root")
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    def _reap(self, child: int) -> tuple[int, int] | None:
        """Reap who has ended; return status and memory of *child* if it is one of them."""
        found = None
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            if pid == child:
                found = (status, usage.ru_maxrss)

    def _over(self, limits: tuple[int, int], child: int) -> str:
        if not _linux:
            return ""
        below = _descendants()
        if self.has_cells:
            below.pop(child, None)  # the first process of a cell is ours
        if len(below) > limits[0]:
            return "processes"
        if sum(below.values()) * self._page > limits[1]:
            return "memory"
        return ""

    def _end_all(self, but: int = 0) -> None:
        """End every process below this one, and reap them all; with *but*, only end them."""
        while but or self._has_children():
            if self.bounds_signals:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(-1, signal.SIGKILL)
            elif _linux:
                for pid in _descendants():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
            if but:
                return
            with contextlib.suppress(ChildProcessError):
                if self.bounds_signals:
                    os.waitpid(-1, 0)
                else:
                    time.sleep(0.0005)  # one that was forked meanwhile has to be ended, too

    @staticmethod
    def _has_children() -> bool:
        """Reap who has ended; return whether anyone is left. Whoever is orphaned comes here."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            return True
        return False

    def _begin(self) -> None:
        """Leave behind what is the keeper's alone, and end with it."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that is inherited
        if _linux:
            kernel.prctl(kernel.SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        with contextlib.suppress(OSError):
            kernel.prctl(kernel.SET_DUMPABLE, 1)  # else these files are root's
            handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(handle, b"800")
            os.close(handle)

    def _be_cell(self, template: Template) -> None:
        """Become the first process of a cell, and tell how the one command in it has ended."""
        self._begin()
        os.close(self._started)  # whoever starts for a keeper that is gone ends with SIGPIPE
        os.close(self._ended)
        # At once: what either writes later is copied for it, and this one writes least.
        command = os.fork()
        if command == 0:
            try:
                self._be_command_of_cell(template)
            finally:
                os._exit(127)
        kernel.prctl(kernel.SET_DUMPABLE, 0)  # nobody in the cell may look into it
        kernel.drop_capabilities()
        kernel.filter_calls(self._setup["program"])
        ended = b""
        with contextlib.suppress(ChildProcessError):
            while True:  # until nobody is left, also of those that are orphaned
                pid, status, usage = os.wait4(-1, 0)
                if pid == command:
                    ended = _ENDED.pack(status, usage.ru_maxrss)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(-1, signal.SIGKILL)
        os.write(self._end, ended)
        os._exit(0)

    def _be_command_of_cell(self, template: Template) -> None:
        """Become the command of a cell; reports what kept it from that."""
        os.setsid()
        cell.furnish(template, self._user, self._group)
        kernel.bound_capabilities()
        kernel.prctl(kernel.SET_DUMPABLE, 0)
        root = template["root"]
        order, streams = _receive(self._line)
        os.write(self._start, _STARTED.pack(order["processes"], order["memory"]))
        step = "streams"
        try:
            for place, handle in enumerate(streams):
                os.dup2(handle, place)
            os.umask(0o022)
            step = "mount"
            private = order["private"]
            cell.show(root, order["shown"], private)
            cell.close(root)
            step = "folder"
            os.chdir(order["cwd"] or private)
            step = "limits"
            self._limit(order["limits"])
            environment = order["environment"]
            environment[b"HOME"] = private + b"/home"
            environment[b"TMPDIR"] = private
            step = "capabilities"
            kernel.drop_capabilities()
            step = "seccomp"
            kernel.filter_calls(self._setup["program"])
            step = "exec"
            os.execve(order["program_path"], order["argv"], environment)
        except OSError as error:
            _send(self._line, ("failed", step, error.errno or 0, 0))

    def _be_command(self, keeper: int, private: bytes) -> None:
        """Become the next command; reports what kept it from that."""
        self._begin()
        if os.getppid() != keeper:
            return
        ruleset = self._prepare(private)
        order, streams = _receive(self._line)
        os.write(self._start, _STARTED.pack(order["processes"], order["memory"]))
        step = "streams"
        try:
            for place, handle in enumerate(streams):
                os.dup2(handle, place)
            step = "limits"
            self._limit(order["limits"])
            step = "folder"
            environment = order["environment"]
            if self._level != "bwrap":
                environment[b"HOME"] = private + b"/home"
                environment[b"TMPDIR"] = private + b"/tmp"
                os.chdir(order["cwd"] or private + b"/tmp")
            os.umask(0o022)
            if ruleset is not None:
                step = "landlock"
                for path, allowed in order["rules"]:
                    kernel.allow(ruleset, *kernel.opened(path, allowed, self._setup["of_files"]))
                kernel.enter(ruleset)
                if order["program"]:
                    step = "seccomp"
                    kernel.filter_calls(order["program"])
            elif self._level == "bwrap":
                step = "seccomp"
                self._hand_over_program()
            step = "exec"
            os.execve(order["program_path"], order["argv"], environment)
        except OSError as error:
            _send(self._line, ("failed", step, error.errno or 0, 0))

    def _prepare(self, private: bytes) -> int | None:
        """Do what can be done before the order comes; return the ruleset to go below."""
        if self._level != "landlock":
            return None
        fs, net, scoped = self._setup["ruleset"]
        ruleset = kernel.ruleset_of(fs, net, scoped)
        for handle, allowed in self._system:
            kernel.allow(ruleset, handle, allowed)
        private_rights = self._setup["private"]
        kernel.allow(ruleset, *kernel.opened(private, private_rights, self._setup["of_files"]))
        return ruleset

    def _limit(self, limits: list[tuple[int, int]]) -> None:
        for which, most in limits:
            wanted = most
            if which == resource.RLIMIT_NPROC:
                if self._is_root:
                    continue  # the kernel does not count root's
                if self.has_cells:
                    _lower(which, most + 1)  # it counts by user namespace, with the first process
                    continue
                self._count_tasks()
                wanted += self._tasks
            _lower(which, wanted)

    def _hand_over_program(self) -> None:
        """Make the program readable for bwrap, at the number that its arguments name."""
        program = self._setup["program"]
        read, write = os.pipe()
        os.write(write, program)
        os.close(write)
        target = self._setup["program_at"]
        os.dup2(read, target, inheritable=True)


def main() -> None:
    """Serve the line whose descriptor is the last word of the command line."""
    line = socket.socket(fileno=int(sys.argv[-1]))
    os.chdir("/")
    setup = marshal.loads(_read_exactly(line, _HEAD.unpack(_read_exactly(line, _HEAD.size))[0]))  # noqa: S302
    keeper = _Keeper(line, setup)
    _send(line, ("ready", int(keeper.bounds_signals), "", int(keeper.has_cells)))
    keeper.serve()
