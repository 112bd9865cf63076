"""A keeper: a small process that runs one command after another and ends what each leaves behind.

It is run by itself, isolated and without `site`, and imports little of ours. One keeper looks
after one command at a time, so every process below it belongs to that command:

- it is the subreaper: what a command detaches becomes the keeper's child and ends with the call;
- where Landlock can bound signals (Linux 6.12) it puts itself below such a bound when it starts,
  and `kill(-1)` then ends, in one step that no fork outruns, all that lives below it and nothing
  else; elsewhere it ends its descendants in rounds until none is left;
- it reads the other end of its line: when Aiex goes, however it goes, everything below ends.

The process for the next command is forked before the command is known, with everything done that
does not depend on it. Orders and reports are `marshal` behind a length of four bytes; an order
carries the command's three streams as descriptors.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import resource
import select
import signal
import socket
import stat
import struct
import sys
import time

from aiex.sandbox import kernel, namespaces

TYPE_CHECKING = False  # what the real one is at run time, without importing typing
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    from aiex.sandbox.namespaces import Template

    class Setup(TypedDict):
        """What holds for all commands of one keeper.

        Attributes:
            level: The level.
            folder: In which each command's private folder is made.
            program: Filter of system calls.
            program_at: Descriptor on which bubblewrap reads it.
            template: What to prepare for namespaces, where they may be made.
            ruleset: What of files, network and scopes Landlock takes charge of.
            rules: Paths, and the rights below them.
            private: Rights below a command's private folder.
            of_files: Rights that there are for files.
        """

        level: str
        folder: bytes
        program: NotRequired[bytes]
        program_at: NotRequired[int]
        template: NotRequired[Template]
        ruleset: NotRequired[tuple[int, int, int]]
        rules: NotRequired[list[tuple[bytes, int]]]
        private: NotRequired[int]
        of_files: NotRequired[int]

    class Order(TypedDict):
        """What one command is.

        Attributes:
            argv: Its words.
            program_path: Path of its program.
            environment: Its variables, but for HOME and TMPDIR.
            cwd: Its folder; `None` for its private one.
            rules: Further paths, and the rights below them.
            shown: Further paths, outer ones first, and whether each may be written.
            private: Its private folder, in a root of its own.
            program: Filter on top of the level's; empty for none.
            limits: Resources, and how much of each.
            processes: Most processes together.
            memory: Most bytes of memory together.
        """

        argv: list[bytes]
        program_path: bytes
        environment: dict[bytes, bytes]
        cwd: bytes | None
        rules: list[tuple[bytes, int]]
        shown: list[tuple[bytes, bool]]
        private: bytes
        program: bytes
        limits: list[tuple[int, int]]
        processes: int
        memory: int

    Report = tuple[str, int | str, int | str, int]
    _Waiting = tuple[int, bytes]  # the process for a command, and its private folder

__all__ = ["main"]

_CAP_DAC_OVERRIDE = 1
_HEAD = struct.Struct("=I")
_TOLD = struct.Struct("=QQ")
_TICK_MS = 50
_STALE_COUNT_S = 10.0
_FIRST_TO_BOUND_SIGNALS = 6
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_STOPPED = getattr(select, "POLLRDHUP", 0)
# Not ignored, as Python does two of them: executing a program takes handlers back by itself, and
# whoever does it in Python pays for each with half of what a fork costs.
_PASSED_BY = (
    *(signal.SIGCHLD, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE),
    getattr(signal, "SIGXFSZ", signal.SIGPIPE),
)
_linux = sys.platform == "linux"


def _opened(path: bytes, allowed: int, of_files: int) -> tuple[int, int]:
    """Return a handle of *path*, and of *allowed* what makes sense for what it is."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
    return handle, allowed if is_folder else allowed & of_files


def _bound_signals() -> bool:
    """Go below a bound for signals; return whether it is there.

    Whoever is told so ends processes with `kill(-1)`, which without the bound ends all of a user's.
    So it must be seen that our parent, who is outside, can be signalled before and not after.
    """
    outside = os.getppid()
    try:
        if kernel.landlock_abi() < _FIRST_TO_BOUND_SIGNALS:
            return False
        os.kill(outside, 0)
        ruleset = kernel.create_ruleset(0, 0, kernel.SIGNAL_SCOPE)
        kernel.enter_ruleset(ruleset)
        os.close(ruleset)
    except OSError:
        return False
    try:
        os.kill(outside, 0)
    except PermissionError:
        return True
    return False


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
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            fields = os.read(handle, 4096).rpartition(b")")[2].split()
        finally:
            os.close(handle)
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


def _descendants(of: int) -> dict[int, int]:
    """Return the resident pages of each process below one."""
    children: dict[int, list[int]] = {}
    pages: dict[int, int] = {}
    for name in os.listdir("/proc"):
        found = _stat_of(name) if name.isdigit() else None
        if found is not None:
            children.setdefault(found[0], []).append(int(name))
            pages[int(name)] = found[1]
    below: dict[int, int] = {}
    todo = [of]
    while todo:
        for pid in children.get(todo.pop(), ()):
            below[pid] = pages[pid]
            todo.append(pid)
    return below


def _can_fork_ahead() -> bool:
    """Return whether the process for the next command can be told from what a command leaves."""
    try:
        child = kernel.fork()
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, kernel.WAIT_FOR_FORKED)
    return True


def _remove(folder: bytes) -> None:
    """Remove a folder that no process uses any more, whatever was left in it; follow no link."""
    if not folder:
        return
    with contextlib.suppress(OSError):
        os.rmdir(folder + b"/tmp")  # most commands leave nothing
        os.rmdir(folder)
        return
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
        self._user, self._group = os.getuid(), os.getgid()  # before a namespace makes it look root
        self._is_root = os.geteuid() == 0
        self._page = resource.getpagesize()
        self._wake, self._woken = os.pipe()
        self._told, self._tell = os.pipe()
        for handle in (self._wake, self._woken, self._told):
            os.set_blocking(handle, False)
        for number in _PASSED_BY:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        self._tasks = 0
        self._counted = 0.0
        self.bounds_signals = False
        self._next: _Waiting | None = None
        self._leaving: set[int] = set()  # first processes of namespaces in which nothing runs
        self._step = ""  # what a command is about to do, to be told when it fails
        self._template = self._prepared()
        self.is_prepared = self._template is not None
        self._forks_ahead = self.is_prepared or _can_fork_ahead()
        if _linux:
            kernel.prctl(kernel.SET_SUBREAPER, 1)
            kernel.prctl(kernel.SET_DUMPABLE, 0)
            if self._level != "none":
                kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
                self.bounds_signals = _bound_signals()
        self._system: list[tuple[int, int]] = []
        if self._level == "landlock":
            for path, allowed in setup["rules"]:
                with contextlib.suppress(FileNotFoundError):
                    self._system.append(_opened(path, allowed, setup["of_files"]))
            if self._is_root:
                # Root's files may be others'; that is all that it keeps beyond other users.
                kernel.bound_capabilities(but=_CAP_DAC_OVERRIDE)
                kernel.give_up_capabilities(but=_CAP_DAC_OVERRIDE)
            kernel.install_filter(setup["program"])

    def _prepared(self) -> Template | None:
        """Prepare what namespaces of commands have in common, where they may be made."""
        template = self._setup.get("template")
        if template is None or not namespaces.can_have_root(template, self._user, self._group):
            return None
        namespaces.have_template(template)
        return template

    def serve(self) -> None:
        """Run orders until the line ends."""
        poll = select.poll()
        poll.register(self._line, _STOPPED)
        poll.register(self._wake, select.POLLIN)
        poll.register(self._told, select.POLLIN)
        goes_on = True
        while goes_on:
            child, self._next = self._next or self._fork(), None
            goes_on = self._keep(poll, *child)

    def _make_private(self) -> bytes:
        """Make the private folder of a command; there is none where a root of its own has it."""
        if self._level == "bwrap":
            return b""
        folder = os.path.join(os.fsencode(self._setup["folder"]), os.urandom(8).hex().encode())
        os.mkdir(folder, 0o700)
        os.mkdir(folder + b"/tmp", 0o700)
        return folder

    def _fork(self) -> _Waiting:
        """Fork the process for a command that is not known yet; return it and its folder."""
        is_counted = _linux and not self._is_root and not self.is_prepared
        if is_counted and time.monotonic() - self._counted > _STALE_COUNT_S:
            self._tasks = _tasks_of(os.getuid())
            self._counted = time.monotonic()
        keeper, private = os.getpid(), self._make_private()
        if self.is_prepared:
            child = namespaces.fork()
        else:
            child = kernel.fork() if self._forks_ahead else os.fork()
        if child == 0:
            try:
                self._be_command(keeper, private)
            finally:
                os._exit(127)
        return child, private

    def _keep(self, poll: select.poll, child: int, private: bytes) -> bool:
        """Wait for one command and end what it left; return whether the line goes on."""
        told: list[tuple[int, int]] = []  # its bounds, then its own status and peak of memory
        ended: tuple[int, int] | None = None
        reason = ""
        while ended is None:
            ready = dict(poll.poll(_TICK_MS if told else None))
            line = ready.get(self._line.fileno(), 0)
            if line & (_GONE | _STOPPED):
                self._end(child, private)
                if line & _GONE:
                    self._clean_up()
                return False
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 512)
                ended = self._reap(child)
            if self._told in ready or ended is not None:  # it may have told since the poll
                told += self._heard()
            if ended is None and len(told) > 1:
                ended = told[1]
                self._leaving.add(child)
            elif ended is None and told:
                if self._forks_ahead and self._next is None and not reason:
                    with contextlib.suppress(OSError):  # none to be had now; it has time
                        self._next = self._fork()  # it gets ready while this command runs
                if not ready and not reason:
                    reason = self._over(child, *told[0])
                    if reason:
                        self._kill_all()
        self._end_all()
        is_over = not told  # it died before it read its order: what is in the line is no use
        status, peak = told[1] if len(told) > 1 else ended
        try:
            if not is_over:
                _send(self._line, ("ended", status, reason, peak))
        except OSError:
            is_over = True
        _remove(private)
        return not is_over

    def _heard(self) -> list[tuple[int, int]]:
        """Return what the command's first process has told."""
        try:
            return list(_TOLD.iter_unpack(os.read(self._told, 4 * _TOLD.size)))
        except BlockingIOError:
            return []

    def _clean_up(self) -> None:
        """Remove what Aiex, which is gone, has made for its keepers; the last one succeeds."""
        folder = os.fsencode(self._setup["folder"])
        with contextlib.suppress(OSError):
            kernel.detach_mount(folder + b"/root")
        _remove(folder + b"/root")
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    def _reap(self, child: int) -> tuple[int, int] | None:
        """Reap who has ended; return status and peak of memory of *child* if it has."""
        found = None
        for pid in tuple(self._leaving):
            if os.waitpid(pid, os.WNOHANG | kernel.WAIT_FOR_FORKED)[0]:
                self._leaving.discard(pid)
        if self._next and os.waitpid(self._next[0], os.WNOHANG | kernel.WAIT_FOR_FORKED)[0]:
            _remove(self._next[1])
            self._next = None  # whoever ended it, the next command gets another one
        # First the child, which executes nothing yet or never will, then all that do: one of them
        # is the child, if it has not ended by the first look.
        for whom, options in ((child, kernel.WAIT_FOR_FORKED), (-1, 0)):
            with contextlib.suppress(ChildProcessError):
                while found is None or whom == -1:
                    pid, status, usage = os.wait4(whom, os.WNOHANG | options)
                    if not pid:
                        break
                    if pid == child:
                        found = (status, usage.ru_maxrss)
        return found

    def _over(self, child: int, processes: int, memory: int) -> str:
        """Return what a command has too much of; empty for nothing."""
        if not _linux:
            return ""
        # Whoever is orphaned in a namespace belongs to its first process, elsewhere to this one.
        below = _descendants(child if self.is_prepared else os.getpid())
        if self._next is not None:
            below.pop(self._next[0], None)
        if len(below) > processes:
            return "processes"
        if sum(below.values()) * self._page > memory:
            return "memory"
        return ""

    def _end(self, child: int, private: bytes) -> None:
        """End all there is, also what waits for the next command, and remove their folders."""
        self._end_forked(child)
        self._end_next()
        for pid in self._leaving:
            self._end_forked(pid)
        self._end_all()
        _remove(private)

    def _end_next(self) -> None:
        if self._next is not None:
            (pid, private), self._next = self._next, None
            self._end_forked(pid)
            _remove(private)

    @staticmethod
    def _end_forked(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, kernel.WAIT_FOR_FORKED)

    def _end_all(self) -> None:
        """End every process that a command has left."""
        while self._has_children():
            self._kill_all()
            with contextlib.suppress(ChildProcessError):
                if self.bounds_signals:
                    os.waitpid(-1, 0)
                else:
                    time.sleep(0.0005)  # one that was forked meanwhile has to be ended, too

    def _kill_all(self) -> None:
        """Kill every process below this one, the one for the next command with them."""
        if self.bounds_signals:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
        elif _linux:
            for pid in _descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        self._end_next()

    @staticmethod
    def _has_children() -> bool:
        """Reap who has ended; return whether anyone is left. Whoever is orphaned comes here."""
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            return True
        return False

    def _be_command(self, keeper: int, private: bytes) -> None:
        """Become the next command; reports what kept it from that."""
        gc.disable()  # it would touch, and so copy, pages that are the keeper's
        signal.set_wakeup_fd(-1)
        if _linux:
            kernel.prctl(kernel.SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        if self._parent() != keeper:
            return
        with contextlib.suppress(OSError):
            kernel.prctl(kernel.SET_DUMPABLE, 1)  # else these files are root's
            handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(handle, b"800")
            os.close(handle)
        ruleset = self._prepare(private)
        order, streams = _receive(self._line)
        os.write(self._tell, _TOLD.pack(order["processes"], order["memory"]))
        try:
            self._step = "streams"
            for place, handle in enumerate(streams):
                os.dup2(handle, place)
            os.umask(0o022)
            if self._template is None:
                self._enter(order, private, ruleset)
            else:
                self._enter_root(order, self._template)
            self._step = "exec"
            words = (order["program_path"], order["argv"], order["environment"])
            if self._template is None:
                os.execve(*words)
            command = os.posix_spawn(*words)
        except OSError as error:
            _send(self._line, ("failed", self._step, error.errno or 0, 0))
            return
        for handle in (*range(len(streams)), *streams):
            os.close(handle)  # or nobody sees that the command has closed them
        self._be_first(command)

    def _parent(self) -> int:
        """Return the parent of this process, also from a namespace in which it has none."""
        if self._template is None:
            return os.getppid()
        seen = _stat_of("self")
        return 0 if seen is None else seen[0]

    def _be_first(self, command: int) -> None:
        """Wait for the command, end what it left in its namespace, and tell that all has ended.

        No fork outruns that, since a signal is sent to all that there are in one step. Nobody has
        to wait for the end of this process, which takes as long as most commands do.
        """
        ended = None
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, 0)
                if pid == command:
                    ended = (status, usage.ru_maxrss)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(-1, signal.SIGKILL)
        if ended is not None:
            os.write(self._tell, _TOLD.pack(*ended))

    def _enter(self, order: Order, private: bytes, ruleset: int | None) -> None:
        """Become what executes the command."""
        self._step = "limits"
        self._limit(order["limits"])
        self._step = "folder"
        environment = order["environment"]
        if self._level != "bwrap":
            environment[b"HOME"] = private
            environment[b"TMPDIR"] = private + b"/tmp"
            os.chdir(order["cwd"] or private + b"/tmp")
        if ruleset is not None:
            self._step = "landlock"
            for path, allowed in order["rules"]:
                kernel.add_rule(ruleset, *_opened(path, allowed, self._setup["of_files"]))
            kernel.enter_ruleset(ruleset)
            if order["program"]:
                self._step = "seccomp"
                kernel.install_filter(order["program"])
        elif self._level == "bwrap":
            self._step = "seccomp"
            self._hand_over_program()

    def _enter_root(self, order: Order, template: Template) -> None:
        """Become the first process of the command's namespace."""
        private = order["private"]
        self._step = "mounts"
        namespaces.see_only(template, order["shown"], private)
        self._step = "folder"
        order["environment"][b"HOME"] = private + b"/home"
        order["environment"][b"TMPDIR"] = private
        os.chdir(order["cwd"] or private)
        self._step = "limits"
        self._limit(order["limits"])
        self._step = "capabilities"
        kernel.give_up_capabilities()
        kernel.prctl(kernel.SET_DUMPABLE, 0)  # the command is the same user as this process
        self._step = "seccomp"
        kernel.install_filter(self._setup["program"])

    def _prepare(self, private: bytes) -> int | None:
        """Do what can be done before the order comes; return the ruleset to go below."""
        if self._template is not None:
            namespaces.make_root(self._template, self._user, self._group)
            kernel.bound_capabilities()
        if self._level != "landlock":
            return None
        fs, net, scoped = self._setup["ruleset"]
        ruleset = kernel.create_ruleset(fs, net, scoped)
        for handle, allowed in self._system:
            kernel.add_rule(ruleset, handle, allowed)
        private_rights = self._setup["private"]
        kernel.add_rule(ruleset, *_opened(private, private_rights, self._setup["of_files"]))
        return ruleset

    def _limit(self, limits: list[tuple[int, int]]) -> None:
        for which, most in limits:
            wanted = most
            if which == resource.RLIMIT_NPROC:
                if self._is_root:
                    continue  # the kernel does not count root's
                if self.is_prepared:
                    _lower(which, most + 1)  # it counts by user namespace: this process, too
                    continue
                if time.monotonic() - self._counted > _STALE_COUNT_S:
                    self._tasks = _tasks_of(os.getuid())
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
    _send(line, ("ready", int(keeper.bounds_signals), "", int(keeper.is_prepared)))
    keeper.serve()
