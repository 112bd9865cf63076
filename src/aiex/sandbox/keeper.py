"""A keeper: a small process that runs one command after another and ends what each leaves behind.

It is run by itself, isolated and without `site`, and imports nothing of ours. One keeper looks
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
import ctypes
import errno
import fcntl
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

TYPE_CHECKING = False  # what the real one is at run time, without importing typing
if TYPE_CHECKING:
    from typing import NotRequired, TypedDict

    class Template(TypedDict):
        """The root that bubblewrap's commands see, prepared once.

        Attributes:
            root: Folder that it is mounted on, in the keeper's namespace alone.
            folders: Files and folders that are shown read-only, and where.
            devices: Devices that are shown.
            links: Links, and where they lie.
        """

        root: bytes
        folders: list[tuple[bytes, bytes]]
        devices: list[bytes]
        links: list[tuple[bytes, bytes]]

    class Setup(TypedDict):
        """What holds for all commands of one keeper.

        Attributes:
            level: The level.
            folder: In which each command's private folder is made.
            program: Filter of system calls.
            program_at: Descriptor on which bubblewrap reads it.
            template: What to prepare for bubblewrap, where that is possible.
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
        program: bytes
        limits: list[tuple[int, int]]
        processes: int
        memory: int

    Report = tuple[str, int | str, int | str, int]

__all__ = ["ABSTRACT_UNIX_SCOPE", "SIGNAL_SCOPE", "landlock_abi", "main"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION, _PATH_BENEATH = 1, 1
ABSTRACT_UNIX_SCOPE, SIGNAL_SCOPE = 1, 2
"""What a Landlock domain may be scoped by, from its sixth version on."""

_SET_PDEATHSIG, _SET_DUMPABLE, _SET_SECCOMP, _CAPBSET_DROP = 1, 4, 22, 24
_SET_SUBREAPER, _SET_NO_NEW_PRIVS = 36, 38
_SECCOMP_FILTER = 2
_NEW_NS, _NEW_USER, _NEW_NET = 0x20000, 0x10000000, 0x40000000
_NEW_UTS, _NEW_CGROUP = 0x4000000, 0x2000000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 2, 4, 0x1000, 0x4000, 0x80000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 1, 2, 4, 8
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_CAP_DAC_OVERRIDE, _LAST_CAP = 1, 63
_CAP_VERSION = 0x20080522
_HEAD = struct.Struct("=I")
_STARTED = struct.Struct("=QQ")
_TICK_MS = 50
_STALE_COUNT_S = 10.0
_FIRST_TO_BOUND_SIGNALS = 6
_OWN_TASKS = 4  # the keeper, and bubblewrap's
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_STOPPED = getattr(select, "POLLRDHUP", 0)
_linux = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, *values: int) -> None:
    padded = [*values, 0, 0, 0, 0][:4]
    _checked(_libc.prctl(option, *(ctypes.c_ulong(value) for value in padded)))


def landlock_abi() -> int:
    """Return the version of Landlock that this kernel has, from 1 on.

    Raises:
        OSError: It has none, it is switched off, or the call is not allowed.
    """
    if not _linux:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _checked(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


def _ruleset(fs: int, net: int, scoped: int) -> int:
    wanted = _Ruleset(fs, net, scoped)
    # Older kernels know a shorter structure, and take the longer one only if its end is zero.
    size = ctypes.c_size_t(24 if scoped else 16 if net else 8)
    return _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), size, 0))


def _opened(path: bytes, allowed: int, of_files: int) -> tuple[int, int]:
    """Return a handle of *path*, and of *allowed* what makes sense for what it is."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
    return handle, allowed if is_folder else allowed & of_files


def _allow(ruleset: int, handle: int, allowed: int) -> None:
    """Allow *allowed* below a handle."""
    if allowed:
        rule = _PathBeneath(allowed, handle)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))


def _enter(ruleset: int) -> None:
    _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))


def _filter(program: bytes) -> None:
    wanted = _Program(len(program) // 8, program)
    _checked(_libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_FILTER), ctypes.byref(wanted), 0, 0))


def _drop_capabilities() -> None:
    """Give up what root has beyond other users, but for files that are not its own."""
    for capability in range(_LAST_CAP + 1):
        if capability == _CAP_DAC_OVERRIDE:
            continue
        if _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # the first that this kernel does not know
    kept = 1 << _CAP_DAC_OVERRIDE
    data = (_CapData * 2)(_CapData(kept, kept, 0), _CapData(0, 0, 0))
    _checked(_libc.capset(ctypes.byref(_CapHeader(_CAP_VERSION, 0)), data))


def _bound_signals() -> bool:
    """Go below a bound for signals; return whether it is there.

    Whoever is told so ends processes with `kill(-1)`, which without the bound ends all of a user's.
    So it must be seen that our parent, who is outside, can be signalled before and not after.
    """
    outside = os.getppid()
    try:
        if landlock_abi() < _FIRST_TO_BOUND_SIGNALS:
            return False
        os.kill(outside, 0)
        ruleset = _ruleset(0, 0, SIGNAL_SCOPE)
        _enter(ruleset)
        os.close(ruleset)
    except OSError:
        return False
    try:
        os.kill(outside, 0)
    except PermissionError:
        return True
    return False


def _mount(source: bytes, target: bytes, kind: bytes | None, flags: int, data: bytes = b"") -> None:
    _checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data or None))


def _set_mount(target: bytes, attributes: int) -> None:
    """Add *attributes* to a mount and those below it, without taking any away."""
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    size = ctypes.c_size_t(32)
    _checked(
        _libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, target, _AT_RECURSIVE, ctypes.byref(wanted), size)
    )


def _have_namespaces(user: int, group: int, template: Template) -> None:
    """Go into a user, network, host name, cgroup and mount namespace, and prepare a root there.

    Making a network namespace and mounting what every command sees takes half of what bubblewrap
    needs. Commands that follow one another may share these: nothing in that network, in which
    loopback is all there is, outlives the processes that use it, the host name and the cgroup are
    not theirs to change, and they see the root read-only.
    """
    _checked(_libc.unshare(_NEW_USER | _NEW_NET | _NEW_NS | _NEW_UTS | _NEW_CGROUP))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"0 {user} 1"),
        ("gid_map", f"0 {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    _mount(b"none", b"/", None, _MS_REC | _MS_SLAVE)
    root = template["root"]
    _mount(b"tmpfs", root, b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0755,size=16m")
    for folder, target in template["folders"]:
        if os.path.isdir(folder):
            os.makedirs(root + target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(root + target), exist_ok=True)
            os.close(os.open(root + target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        _mount(folder, root + target, None, _MS_BIND | _MS_REC)
        _set_mount(root + target, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    os.mkdir(root + b"/dev")
    for device in template["devices"]:
        os.close(os.open(root + device, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        _mount(device, root + device, None, _MS_BIND)
        _set_mount(root + device, _ATTR_NOSUID | _ATTR_NOEXEC)
    for target, link in template["links"]:
        os.symlink(target, root + link)
    for folder in (b"/proc", b"/tmp", b"/run"):
        os.mkdir(root + folder)


def _can_have_namespaces(template: Template) -> bool:
    """Return whether that works here, found out by a child that tries."""
    user, group = os.getuid(), os.getgid()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            _have_namespaces(user, group, template)
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


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
        self._is_root = os.geteuid() == 0  # before a namespace makes it look so
        self._page = resource.getpagesize()
        self._wake, self._woken = os.pipe()
        self._started, self._start = os.pipe()
        for handle in (self._wake, self._woken, self._started):
            os.set_blocking(handle, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._tasks = 0
        self._counted = 0.0
        self.bounds_signals = False
        template = setup.get("template")
        self.is_prepared = template is not None and _can_have_namespaces(template)
        if self.is_prepared and template is not None:
            _have_namespaces(os.getuid(), os.getgid(), template)
        if _linux:
            _prctl(_SET_SUBREAPER, 1)
            _prctl(_SET_DUMPABLE, 0)
            if self._level != "none":
                _prctl(_SET_NO_NEW_PRIVS, 1)
                self.bounds_signals = _bound_signals()
        self._system: list[tuple[int, int]] = []
        if self._level == "landlock":
            for path, allowed in setup["rules"]:
                with contextlib.suppress(FileNotFoundError):
                    self._system.append(_opened(path, allowed, setup["of_files"]))
            if self._is_root:
                _drop_capabilities()
            _filter(setup["program"])

    def serve(self) -> None:
        """Run orders until the line ends."""
        poll = select.poll()
        poll.register(self._line, _STOPPED)
        poll.register(self._wake, select.POLLIN)
        poll.register(self._started, select.POLLIN)
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
        if _linux and not self._is_root and time.monotonic() - self._counted > _STALE_COUNT_S:
            self._tasks = _tasks_of(os.getuid())
            self._counted = time.monotonic()
        keeper = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                self._be_command(keeper, private)
            finally:
                os._exit(127)
        return child

    def _keep(self, poll: select.poll, child: int, private: bytes) -> bool:
        """Wait for one command and end what it left; return whether the line goes on."""
        limits: tuple[int, int] | None = None
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
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 512)
                ended = self._reap(child)
                if ended is not None:
                    break
            elif limits is not None and not ready and not reason:
                reason = self._over(limits)
                if reason:
                    self._end_all(but=child)
        self._end_all()
        if limits is None:
            with contextlib.suppress(BlockingIOError):
                limits = _STARTED.unpack(os.read(self._started, _STARTED.size))
        is_over = limits is None  # it died before it read its order: what is in the line is no use
        try:
            if not is_over:
                _send(self._line, ("ended", ended[0], reason, ended[1].ru_maxrss))
        except OSError:
            is_over = True
        if self._level != "bwrap":
            _remove(private)
        return not is_over

    def _clean_up(self) -> None:
        """Remove what Aiex, which is gone, has made for its keepers; the last one succeeds."""
        folder = os.fsencode(self._setup["folder"])
        if self.is_prepared:
            _libc.umount2(folder + b"/root", 2)  # MNT_DETACH
        _remove(folder + b"/root")
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    def _reap(self, child: int) -> tuple[int, resource.struct_rusage] | None:
        """Reap who has ended; return the status of *child* if it is one of them."""
        found = None
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            if pid == child:
                found = (status, usage)

    def _over(self, limits: tuple[int, int]) -> str:
        if not _linux:
            return ""
        below = _descendants()
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

    def _be_command(self, keeper: int, private: bytes) -> None:
        """Become the next command; reports what kept it from that."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and that is inherited
        if _linux:
            _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        if os.getppid() != keeper:
            return
        with contextlib.suppress(OSError):
            _prctl(_SET_DUMPABLE, 1)  # else these files are root's
            handle = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
            os.write(handle, b"800")
            os.close(handle)
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
                    _allow(ruleset, *_opened(path, allowed, self._setup["of_files"]))
                _enter(ruleset)
                if order["program"]:
                    step = "seccomp"
                    _filter(order["program"])
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
        ruleset = _ruleset(fs, net, scoped)
        for handle, allowed in self._system:
            _allow(ruleset, handle, allowed)
        private_rights = self._setup["private"]
        _allow(ruleset, *_opened(private, private_rights, self._setup["of_files"]))
        return ruleset

    def _limit(self, limits: list[tuple[int, int]]) -> None:
        for which, most in limits:
            wanted = most
            if which == resource.RLIMIT_NPROC:
                if self._is_root:
                    continue  # the kernel does not count root's
                if self.is_prepared:
                    _lower(which, most + _OWN_TASKS)
                    continue  # it counts by user namespace
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
