"""Live escapes: programs that try to get out of the sandbox, to see that they are refused.

Each one is run as a command would be, says that it has started, and then tries. It counts as
refused only if it has started, and only if nothing of what it tried can be seen from outside.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from aiex.core import Actor, AiexError, FileEdit, PathRefusedError
from aiex.sandbox.audit.log import AuditLog
from aiex.sandbox.command import Command, CommandPolicy, CommandResult, Level
from aiex.sandbox.files import Files
from aiex.sandbox.roots import FilePolicy
from aiex.sandbox.spawner import Spawner

__all__ = [
    "ESCAPES",
    "Attempt",
    "Escape",
    "Ground",
    "argv_of",
    "attempt",
    "bounds_of",
    "judge",
]

_SECRET = "a secret that lies outside"  # noqa: S105 - what is looked for in outputs
_STARTED = b"started\n"
_OUT = b"\nout"
_TIMEOUT = 30.0
_MOST_PROCESSES = 64
_MOST_MEMORY = 512 << 20
_MOST_FILE = 8 << 20
_MOST_OUTPUT = 1 << 20
_HEAD = """
import ctypes, os, socket, sys, time
a = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    if libc.syscall(*words) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
arm = os.uname().machine == "aarch64"
print("started", flush=True)
try:
"""
_TAIL = """
except (OSError, MemoryError) as error:
    print("refused:", error or type(error).__name__, flush=True)
else:
    print("out", flush=True)
"""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How one escape ended.

    Attributes:
        name: Its name.
        tries: What it tries.
        started: Whether it came to try.
        refused: Whether it was kept inside; never without having started.
        detail: What was seen.
    """

    name: str
    tries: str
    started: bool
    refused: bool
    detail: str


class Ground:
    """What escapes try to reach: files, sockets and a process outside, and a project inside.

    Attributes:
        project: Folder that a command may write, but for what is protected in it.
        outside: Folder that it may not reach.
        victim: A process outside.
        token: Word that marks the command's own processes.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.token = f"escape-{secrets.token_hex(8)}"
        self.reached: list[str] = []

    def __enter__(self) -> Self:
        with self._stack as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aiex-escape-"))
            self._base = Path(folder).resolve()
            self.project = self._base / "project"
            self.outside = self._base / "outside"
            (self.project / ".git").mkdir(parents=True)
            (self.project / "src").mkdir()
            (self.project / ".git" / "config").write_text("kept\n")
            (self.project / ".env").write_text("KEPT=1\n")
            self.outside.mkdir()
            (self.outside / "secret").write_text(_SECRET)
            self.victim = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env={"AIEX_ESCAPE": _SECRET},
            )
            stack.callback(self._end_victim)
            self.tcp = self._listen(stack, socket.AF_INET, ("127.0.0.1", 0))
            self.udp = self._listen(stack, socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)
            self.unix = self._listen(stack, socket.AF_UNIX, str(self.outside / "socket"))
            self.abstract = self._listen(stack, socket.AF_UNIX, f"\0{self.token}")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end_victim(self) -> None:
        self.victim.kill()
        self.victim.communicate()

    @staticmethod
    def _listen(
        stack: contextlib.ExitStack,
        family: int,
        address: tuple[str, int] | str,
        kind: int = socket.SOCK_STREAM,
    ) -> socket.socket:
        opened = stack.enter_context(socket.socket(family, kind))
        opened.bind(address)
        if kind == socket.SOCK_STREAM:
            opened.listen()
        opened.setblocking(False)
        return opened

    def port(self, of: socket.socket) -> str:
        """Return the port of a socket."""
        return str(of.getsockname()[1])

    def was_reached(self, of: socket.socket) -> bool:
        """Return whether somebody has connected or sent to a socket."""
        try:
            if of.type == socket.SOCK_STREAM:
                of.accept()[0].close()
            else:
                of.recv(64)
        except BlockingIOError:
            return False
        return True

    def left_behind(self) -> list[int]:
        """Return the processes of the command that still run."""
        found: list[int] = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and self.token.encode() in (
                    (folder / "cmdline").read_bytes()
                ):
                    found.append(int(folder.name))
        return found

    def is_written_through_link(self) -> bool:
        """Return whether our own writing follows a link that a command has left."""
        state = self._base / "state"
        audit = AuditLog(state / "audit", now=lambda: datetime.now(UTC))
        with (
            audit,
            Files(
                self.project,
                state=state,
                policy=FilePolicy(),
                audit=audit,
                actor=Actor(user="escape", interface="cli"),
                op_id="escape",
            ) as files,
            contextlib.suppress(PathRefusedError),
        ):
            files.apply([FileEdit(path="src/link/new", after=b"through\n")])
        return (self.outside / "new").exists()


def _nothing(ground: Ground, result: CommandResult) -> bool:
    return False


class Escape(msgspec.Struct, frozen=True, kw_only=True):
    """One way out that is tried.

    Attributes:
        name: Its name.
        tries: What it tries, in words.
        code: Python that tries it, and ends without an error if it got out.
        words: What the code finds in `a`.
        got_out: Whether it can be seen from outside that it got out; besides what it says.
        timeout: Seconds that it gets.
    """

    name: str
    tries: str
    code: str
    words: Callable[[Ground], list[str]] = lambda _: []
    got_out: Callable[[Ground, CommandResult], bool] = _nothing
    timeout: float = _TIMEOUT


def _file(name: str) -> Callable[[Ground], list[str]]:
    return lambda ground: [str(ground.outside / name)]


def _exists(name: str) -> Callable[[Ground, CommandResult], bool]:
    return lambda ground, _: (ground.outside / name).exists()


def _says_secret(_: Ground, result: CommandResult) -> bool:
    return _SECRET.encode() in result.stdout


def _victim(ground: Ground) -> list[str]:
    return [str(ground.victim.pid)]


def _is_victim_dead(ground: Ground, _: CommandResult) -> bool:
    return ground.victim.poll() is not None


def _is_protected_written(ground: Ground, _: CommandResult) -> bool:
    project = ground.project
    return (
        (project / ".git" / "config").read_text() != "kept\n"
        or (project / ".env").read_text() != "KEPT=1\n"
        or any((project / name).exists() for name in (".envrc", ".vscode", ".git/hooks"))
    )


def _is_left(ground: Ground, _: CommandResult) -> bool:
    return bool(ground.left_behind())


ESCAPES: tuple[Escape, ...] = (
    Escape(
        name="write-outside",
        tries="write a file outside the project",
        code="open(a[0], 'w').write('x')",
        words=_file("written"),
        got_out=_exists("written"),
    ),
    Escape(
        name="read-outside",
        tries="read a secret outside the project",
        code="print(open(a[0]).read())",
        words=_file("secret"),
        got_out=_says_secret,
    ),
    Escape(
        name="rename-outside",
        tries="move a file of the project out of it",
        code="open(a[0] + '/src/f', 'w').close(); os.rename(a[0] + '/src/f', a[1])",
        words=lambda g: [str(g.project), str(g.outside / "moved")],
        got_out=_exists("moved"),
    ),
    Escape(
        name="link-outside",
        tries="give a file outside a second name in the project",
        code="os.link(a[1], a[0] + '/src/secret'); print(open(a[0] + '/src/secret').read())",
        words=lambda g: [str(g.project), str(g.outside / "secret")],
        got_out=_says_secret,
    ),
    Escape(
        name="protected-names",
        tries="write protected names in the project, there or not",
        code=(
            "done = 0\n"
            "for name in ('.git/config', '.git/hooks', '.env', '.envrc', '.vscode'):\n"
            "    try:\n"
            "        open(a[0] + '/' + name, 'w').write('x'); done += 1\n"
            "    except OSError as error: last = error\n"
            "if not done: raise last"
        ),
        words=lambda g: [str(g.project)],
        got_out=_is_protected_written,
    ),
    Escape(
        name="symlink",
        tries="leave a link in the project, for Aiex to write through",
        code="os.symlink(a[1], a[0] + '/src/link'); raise OSError('the link is there')",
        words=lambda g: [str(g.project), str(g.outside)],
        got_out=lambda g, _: (
            not (g.project / "src/link").is_symlink() or g.is_written_through_link()
        ),
    ),
    Escape(
        name="tcp",
        tries="connect to a server of this machine",
        code="socket.create_connection(('127.0.0.1', int(a[0])), 2)",
        words=lambda g: [g.port(g.tcp)],
        got_out=lambda g, _: g.was_reached(g.tcp),
    ),
    Escape(
        name="udp",
        tries="send a datagram",
        code=(
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
            ".sendto(b'x', ('127.0.0.1', int(a[0])))\n"
            "raise OSError('sent to nobody')"
        ),
        words=lambda g: [g.port(g.udp)],
        got_out=lambda g, _: g.was_reached(g.udp),
    ),
    Escape(
        name="unix-socket",
        tries="connect to a socket that is a file outside",
        code="socket.socket(socket.AF_UNIX).connect(a[0])",
        words=_file("socket"),
        got_out=lambda g, _: g.was_reached(g.unix),
    ),
    Escape(
        name="abstract-socket",
        tries="connect to a socket that has a name and no file",
        code="socket.socket(socket.AF_UNIX).connect('\\0' + a[0])",
        words=lambda g: [g.token],
        got_out=lambda g, _: g.was_reached(g.abstract),
    ),
    Escape(
        name="signal",
        tries="end a process outside",
        code="os.kill(int(a[0]), 9); time.sleep(0.2)",
        words=_victim,
        got_out=_is_victim_dead,
    ),
    Escape(
        name="ptrace",
        tries="trace a process outside",
        code="call(117 if arm else 101, 0x4206, int(a[0]), 0, 0)",  # PTRACE_SEIZE
        words=_victim,
    ),
    Escape(
        name="environment",
        tries="read the environment of a process outside",
        code="print(open(f'/proc/{a[0]}/environ').read())",
        words=_victim,
        got_out=_says_secret,
    ),
    Escape(
        name="fork-bomb",
        tries=f"run more than {_MOST_PROCESSES} processes",
        code=(
            "made = 0\n"
            "for _ in range(int(a[0])):\n"
            "    if os.fork() == 0:\n"
            "        time.sleep(20); os._exit(0)\n"
            "    made += 1\n"
            "time.sleep(2)"
        ),
        words=lambda _: [str(_MOST_PROCESSES * 6)],
        got_out=_is_left,
    ),
    Escape(
        name="memory",
        tries=f"use more than {_MOST_MEMORY >> 20} MiB of memory",
        code="held = [bytearray(b'x' * (1 << 25)) for _ in range(int(a[0]) >> 25)]",
        words=lambda _: [str(2 * _MOST_MEMORY)],
    ),
    Escape(
        name="file-size",
        tries=f"write a file of more than {_MOST_FILE >> 20} MiB",
        code=(
            "import signal\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "with open(os.environ['TMPDIR'] + '/f', 'wb') as f:\n"
            "    for _ in range(int(a[0]) >> 20): f.write(b'x' * (1 << 20))"
        ),
        words=lambda _: [str(2 * _MOST_FILE)],
    ),
    Escape(
        name="output",
        tries=f"make Aiex keep more than {_MOST_OUTPUT >> 20} MiB of output",
        code=(
            "for _ in range(16): sys.stdout.write('x' * (1 << 20))\n"
            "sys.stdout.flush(); raise OSError('written')"
        ),
        got_out=lambda _, result: len(result.stdout) > _MOST_OUTPUT or not result.truncated,
    ),
    Escape(
        name="daemon",
        tries="leave a process behind",
        code=(
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        for n in (0, 1, 2): os.close(n)\n"
            "        time.sleep(60)\n"
            "    os._exit(0)\n"
            "os.wait(); raise OSError('the daemon runs')"
        ),
        got_out=_is_left,
    ),
    Escape(
        name="overtime",
        tries="run for longer than it may",
        code="time.sleep(60)",
        timeout=1.0,
        got_out=lambda _, result: not result.timed_out,
    ),
    Escape(
        name="setuid",
        tries="make a program that runs as its owner",
        code=(
            "path = os.environ['TMPDIR'] + '/program'\n"
            "open(path, 'w').close(); os.chmod(path, 0o4755)"
        ),
    ),
    Escape(
        name="mount",
        tries="mount a file system",
        # On its own folder, and taken back: where nothing refuses it, nobody else may feel it.
        code=(
            "own = os.environ['TMPDIR'].encode()\n"
            "call(40 if arm else 165, b'none', own, b'tmpfs', 0, None)\n"
            "call(39 if arm else 166, own, 0)"
        ),
    ),
    Escape(
        name="kernel-settings",
        tries="open a setting of the kernel to write it",  # nothing is written, wherever it runs
        code="open('/proc/sys/kernel/core_pattern', 'r+b', 0).close()",
    ),
    Escape(
        name="user-namespace",
        tries="become root of a user namespace of its own",
        code="call(97 if arm else 272, 0x10000000)",
    ),
    Escape(
        name="user-namespace-clone3",
        tries="become root of a user namespace of its own, by a newer call",
        code=(
            "want = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)\n"
            "child = libc.syscall(435, ctypes.byref(want), ctypes.sizeof(want))\n"
            "if child == 0: os._exit(0)\n"
            "if child < 0: raise OSError(ctypes.get_errno(), 'clone3')"
        ),
    ),
)
"""Every escape, by what it tries to reach."""


def bounds_of(policy: CommandPolicy) -> CommandPolicy:
    """Return *policy* with bounds that escapes are soon at."""
    return msgspec.structs.replace(
        policy,
        max_processes=_MOST_PROCESSES,
        max_memory_bytes=_MOST_MEMORY,
        max_file_bytes=_MOST_FILE,
    )


def argv_of(escape: Escape, ground: Ground) -> tuple[str, ...]:
    """Return the program that tries *escape*."""
    body = "\n".join(f"    {line}" for line in escape.code.split("\n"))
    python = str(Path(sys.executable).resolve())
    code = f"{_HEAD}{body}{_TAIL}"
    return (python, "-I", "-S", "-c", code, *escape.words(ground), ground.token)


def judge(escape: Escape, ground: Ground, result: CommandResult) -> Attempt:
    """Return how an escape ended whose program has ended with *result*."""
    started = result.stdout.startswith(_STARTED)
    got_out = _OUT in result.stdout or escape.got_out(ground, result)
    for pid in ground.left_behind():  # it must not outlive the attempt, whatever it proved
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    detail = _detail(result) if started else f"it never started: {_detail(result)}"
    return _told(escape, started=started, refused=started and not got_out, detail=detail)


def attempt(escape: Escape, spawner: Spawner, level: Level) -> Attempt:
    """Try *escape* at *level* and return how it ended. Blocks."""
    with Ground() as ground:
        command = Command(
            argv=argv_of(escape, ground),
            reads=(Path(sys.base_prefix),),
            writes=(ground.project,),
            timeout=escape.timeout,
            max_output_bytes=_MOST_OUTPUT,
        )
        try:
            result = spawner.run(command, level)
        except AiexError as error:
            return _told(escape, started=False, refused=False, detail=error.message)
        return judge(escape, ground, result)


def _told(escape: Escape, *, started: bool, refused: bool, detail: str) -> Attempt:
    return Attempt(
        name=escape.name, tries=escape.tries, started=started, refused=refused, detail=detail
    )


def _detail(result: CommandResult) -> str:
    if result.timed_out:
        return "it was ended for its time"
    if result.ended_for:
        return f"it was ended for its {result.ended_for}"
    if result.truncated:
        return "what was too much of it was dropped"
    for line in result.stdout[-4096:].decode("utf-8", "replace").split("\n"):
        if line.startswith("refused: "):
            return line.removeprefix("refused: ")
    said = result.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
    return said or f"it ended with {result.exit}"
