"""One function runs commands: no shell, our environment, and all of it ends with the call."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import aiex
from aiex.core import ChildError, NotFoundError, RefusedError, UsageError
from aiex.sandbox import (
    Command,
    CommandPolicy,
    CommandResult,
    Isolation,
    Level,
    isolation_status,
    run_command,
)

pytestmark = pytest.mark.anyio


class Runner:
    """Runs Python at one level.

    Attributes:
        level: The level.
        isolation: What it runs it with.
        token: Word that marks this test's processes, whatever their numbers are inside.
    """

    def __init__(self, level: Level, isolation: Isolation) -> None:
        self.level = level
        self.isolation = isolation
        self.token = f"token-{secrets.token_hex(8)}"

    async def __call__(self, script: str, *arguments: str, **settings: object) -> CommandResult:
        argv = (sys.executable, "-c", script, *arguments)
        return await self.run(argv, **settings)

    async def run(self, argv: tuple[str, ...], **settings: object) -> CommandResult:
        command = Command(argv=argv, **settings)  # type: ignore[arg-type]
        return await self.isolation.run(command, level=self.level)

    def left(self) -> list[int]:
        """Return the processes that carry the token."""
        found: list[int] = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    line = (folder / "cmdline").read_bytes()
                except OSError:
                    continue
                if self.token.encode() in line and is_alive(int(folder.name)):
                    found.append(int(folder.name))
        return found


@pytest.fixture
async def python(level: Level) -> AsyncIterator[Runner]:
    async with Isolation(CommandPolicy(require="none")) as isolation:
        yield Runner(level, isolation)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


async def until(claim: Callable[[], bool]) -> None:
    """Wait for what nobody tells of: the end of another's child, a file of another's making."""
    with anyio.fail_after(30):
        while not claim():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_arguments_reach_the_program_as_they_are_and_no_shell(python: Runner) -> None:
    odd = ["$(touch x)", "; rm -rf /", "a b", "'", '"', "*", "\n", "ä", "\udcff", "-c", ""]

    result = await python(
        "import os,sys; sys.stdout.buffer.write(os.fsencode('\\0'.join(sys.argv[1:])))", *odd
    )

    assert result.stdout.split(b"\0") == [os.fsencode(a) for a in odd]
    assert (result.exit, result.timed_out, result.truncated) == (0, False, False)
    assert result.level == python.level


async def test_a_command_sees_the_environment_that_we_made(
    monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LD_PRELOAD_OF_NOBODY", "x")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    async with Isolation(CommandPolicy(require="none")) as isolation:
        result = await Runner(level, isolation)(
            "import json, os; print(json.dumps(dict(os.environ)))", environment={"MINE": "yes"}
        )

    assert b"sk-secret" not in result.stdout
    names = set(eval(result.stdout))
    assert names - {"LC_ALL", "LC_CTYPE", "TZ", "PWD"} == {
        *("HOME", "LANG", "MINE", "PATH", "TMPDIR")
    }


async def test_home_and_tmpdir_are_private_and_gone_afterwards(python: Runner) -> None:
    script = (
        "import os\nfor n in ('HOME', 'TMPDIR'):\n"
        "    p = os.environ[n]; assert not {'deep'} & set(os.listdir(p)), os.listdir(p)\n"
        "    os.makedirs(p + '/deep/er'); open(p + '/deep/er/f', 'w').close()\n"
        "    os.chmod(p + '/deep/er', 0o700); print(p)"
    )
    if python.level == "landlock":  # a command that may write nothing changes no modes either
        script = script.replace("os.chmod(p + '/deep/er', 0o700); ", "")

    first = (await python(script)).stdout.decode().split()
    second = await python(script)

    assert second.exit == 0, second.stderr
    assert len(first) == 2
    assert os.environ["HOME"] not in first
    if python.level != "bwrap":  # there they are folders of the namespace
        assert second.stdout.decode().split() != first
        await until(lambda: not any(Path(path).exists() for path in first))


async def test_programs_of_the_project_are_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    project = tmp_path / "project"
    for folder in (project, project / "bin", tmp_path / "bin"):
        folder.mkdir(exist_ok=True)
    for folder, says in ((project, "tree"), (project / "bin", "tree"), (tmp_path / "bin", "mine")):
        (folder / "tool").write_text(f"#!/bin/sh\necho {says}; echo $PATH\n")
        (folder / "tool").chmod(0o755)
    (tmp_path / "alias").symlink_to(project / "bin")
    monkeypatch.chdir(project)
    path = f".::bin:{project}:{project / 'bin'}:{tmp_path / 'alias'}:{tmp_path / 'bin'}"
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")

    async with Isolation(CommandPolicy(require="none")) as isolation:
        run = isolation.run
        result = await run(Command(argv=("tool",), cwd=project), level=level)
        elsewhere = await run(Command(argv=("tool",), project=project), level=level)
        for relative in ("./tool", "bin/tool"):
            with pytest.raises(NotFoundError, match="no bare name"):
                await run(Command(argv=(relative,), cwd=project), level=level)

    says, seen = result.stdout.decode().splitlines()
    assert says == "mine"
    assert str(project) not in seen
    assert seen.split(":")[0] == str(tmp_path / "bin")
    assert elsewhere.stdout == result.stdout


async def test_what_cannot_be_started_is_said_and_no_fault(tmp_path: Path, python: Runner) -> None:
    with pytest.raises(NotFoundError, match="not installed"):
        await python.run(("no-such-program-of-anybody",))
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python("pass", cwd=tmp_path / "missing")
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python("pass", "a\0b")
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python("pass", "x" * 3_000_000)
    (tmp_path / "broken").write_text("#!/no/such/interpreter\n")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python.run((str(tmp_path / "broken"),))
    assert (await python("print('on it goes')")).stdout == b"on it goes\n"


async def test_input_output_and_status_come_through(python: Runner) -> None:
    text = os.urandom(1 << 20)

    result = await python(
        "import sys; d=sys.stdin.buffer.read(); sys.stdout.buffer.write(d[::-1]);"
        "sys.stderr.write('said'); sys.exit(7)",
        stdin=text,
    )

    assert (result.stdout, result.stderr, result.exit) == (text[::-1], b"said", 7)


async def test_the_signal_that_ended_a_command_is_its_negative_status(python: Runner) -> None:
    result = await python("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")

    assert result.exit == -signal.SIGTERM


async def test_without_input_the_command_reads_none(python: Runner) -> None:
    assert (await python("import sys; print(len(sys.stdin.read()))")).stdout == b"0\n"


async def test_a_command_that_reads_nothing_of_much_input_ends(python: Runner) -> None:
    assert (await python("print('done')", stdin=b"x" * (8 << 20))).stdout == b"done\n"


async def test_output_is_bounded_and_its_writer_never_waits(python: Runner) -> None:
    script = (
        "import sys\nfor _ in range(200): sys.stdout.write('x' * 100_000)\n"
        "print(end='end', file=sys.stderr)"
    )

    result = await python(script, max_output_bytes=1000)

    assert result.stdout == b"x" * 1000
    assert (result.stderr, result.truncated, result.exit) == (b"end", True, 0)


async def test_a_time_out_ends_the_command_and_all_that_it_started(python: Runner) -> None:
    result = await python(
        "import subprocess, sys, time\n"
        "code = 'import time; time.sleep(600)'\n"
        "subprocess.Popen([sys.executable, '-c', code, sys.argv[1]])\n"
        "print('on', flush=True); time.sleep(600)",
        python.token,
        timeout=2.0,
    )

    assert (result.timed_out, result.exit) == (True, -signal.SIGKILL)
    assert result.stdout == b"on\n"
    assert python.left() == []


async def test_a_command_that_ignores_every_signal_ends_too(python: Runner) -> None:
    result = await python(
        "import signal, time\n"
        "for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(600)",
        timeout=2.0,
    )

    assert (result.timed_out, result.stdout) == (True, b"deaf\n")


LEAVES = """
import os, subprocess, sys, time
def leave(deep):
    if os.fork() == 0:
        if deep: os.setsid(); leave(deep - 1)
        time.sleep(600)
leave(int(sys.argv[1])); print('left', flush=True)
"""


@pytest.mark.parametrize("sessions", [0, 1, 3])
async def test_what_a_command_left_running_ends_with_it(python: Runner, sessions: int) -> None:
    """Also in sessions of its own, and with pipes held open, which is no time-out."""
    result = await python(LEAVES, str(sessions), python.token, timeout=60.0)

    assert (result.exit, result.timed_out) == (0, False)
    assert result.ms < 30_000
    assert python.left() == []


async def test_those_that_fork_without_end_end_too(python: Runner) -> None:
    """Each one forks and goes: whoever ends them one by one never gets hold of the last."""
    hop = (
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    until = time.monotonic() + 8\n"
        "    while time.monotonic() < until:\n"
        "        if os.fork(): os._exit(0)\n"
        "    open(sys.argv[2] + '/survived', 'w').close()"
    )

    result = await python(hop, python.token, "/nonexistent", timeout=60.0)

    assert result.exit == 0
    assert python.left() == []


async def test_a_cancelled_call_ends_its_command(tmp_path: Path, python: Runner) -> None:
    script = "import sys, time; open(sys.argv[1], 'w').write('on'); time.sleep(600)"
    told = tmp_path / "told"

    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            await python(script, str(told), python.token, scratch=(tmp_path,))

        tasks.start_soon(call)
        await until(lambda: told.exists() and told.read_text() == "on")
        tasks.cancel_scope.cancel()

    assert python.left() == []
    assert (await python("print('on it goes')")).stdout == b"on it goes\n"


async def test_no_open_file_of_ours_is_passed_on(tmp_path: Path, python: Runner) -> None:
    with (tmp_path / "secret").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        result = await python(
            "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])"
        )

    seen = set(eval(result.stdout))
    # 3 is the folder itself; bubblewrap reads its filter on 9 and leaves it open, at its end.
    assert seen - {9} == {0, 1, 2, 3}


async def test_a_command_has_a_session_and_a_folder_of_its_own(
    tmp_path: Path, python: Runner
) -> None:
    script = "import os; print(os.getsid(0) != 0 or os.getpid() < 4, os.getcwd())"

    alone = (await python(script)).stdout.decode().split()
    assert alone[0] == "True"
    assert alone[1] != str(Path.cwd())
    assert (await python(script, cwd=tmp_path)).stdout.decode().split()[1] == str(tmp_path)


PARENT = """
import sys, anyio
from aiex.sandbox import Command, CommandPolicy, Isolation
script = "import os, sys, time; os.fork() or os.setsid(); print('on', flush=True); time.sleep(600)"
async def main():
    async with Isolation(CommandPolicy(require="none")) as isolation:
        argv = (sys.executable, "-c", script, sys.argv[2])
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(lambda: isolation.run(Command(argv=argv), level=sys.argv[1]))
anyio.run(main)
"""


async def test_a_command_ends_when_we_are_killed(python: Runner, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = await anyio.to_thread.run_sync(
        lambda: subprocess.Popen(
            [sys.executable, "-c", PARENT, python.level, python.token], env=env
        )
    )
    try:
        # The parent itself carries the token, and each command is two.
        await until(lambda: len(python.left()) >= 5)
    finally:
        parent.kill()
        await anyio.to_thread.run_sync(parent.wait)

    await until(lambda: python.left() == [])
    await until(lambda: list(tmp_path.iterdir()) == [])


async def test_a_keeper_ends_with_the_isolation_and_leaves_nothing(
    level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    others = _keepers()
    async with Isolation(CommandPolicy(require="none")) as isolation:
        await isolation.run(Command(argv=("true",)), level=level)
        keepers = _keepers() - others
        assert len(keepers) == 1
        assert len(_entries(tmp_path)) == 1
    assert not any(is_alive(pid) for pid in keepers)
    assert _entries(tmp_path) == []
    with pytest.raises(ChildError, match="closed"):
        await isolation.run(Command(argv=("true",)), level=level)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _keepers() -> set[int]:
    """Return the children of ours that are keepers."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = {int(pid) for child in children for pid in child.read_text().split()}
    return {pid for pid in pids if b"import keeper" in Path(f"/proc/{pid}/cmdline").read_bytes()}


async def test_many_commands_run_at_once(python: Runner) -> None:
    results: list[CommandResult] = []

    async def one(number: int) -> None:
        results.append(await python(f"print({number})"))

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(one, number)

    assert sorted(int(r.stdout) for r in results) == list(range(12))


@pytest.mark.slow
async def test_of_thousands_of_commands_every_one_ends_as_it_did(python: Runner) -> None:
    # What ends at the very moment that its keeper looks at something else was told once as ended
    # by the next one's status: one in hundreds, on a busy machine.
    wrong: list[CommandResult] = []

    async def some(status: int) -> None:
        for _ in range(300):
            result = await python.run(("/bin/sh", "-c", f"echo {status}; exit {status}"))
            if (result.exit, result.stdout) != (status, f"{status}\n".encode()):
                wrong.append(result)

    async with anyio.create_task_group() as tasks:
        for status in range(8):
            tasks.start_soon(some, status)

    assert wrong == []


async def test_a_keeper_that_is_killed_is_replaced(python: Runner) -> None:
    await python("pass")
    spawner = python.isolation._spawner
    for line in spawner._idle:
        line.process.kill()
        await anyio.to_thread.run_sync(line.process.wait)

    assert (await python("print('on it goes')")).stdout == b"on it goes\n"


async def test_what_is_not_named_cannot_be_read_and_what_is_can(
    tmp_path: Path, kept_at: Level
) -> None:
    for name in ("reads", "writes", "scratch", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    script = (
        "import sys\n"
        "for n in ('reads', 'writes', 'scratch', 'other'):\n"
        "    p = f'{sys.argv[1]}/{n}/'\n"
        "    for how in ('r', 'a', 'x'):\n"
        "        try: open(p + ('new' if how == 'x' else 'f'), how).close(); print(n, how)\n"
        "        except OSError: pass"
    )
    async with Isolation() as isolation:
        result = await isolation.run(
            Command(
                argv=(sys.executable, "-c", script, str(tmp_path)),
                reads=(tmp_path / "reads",),
                writes=(tmp_path / "writes",),
                scratch=(tmp_path / "scratch",),
            ),
            level=kept_at,
        )

    assert result.stdout.decode().splitlines() == [
        "reads r",
        "writes r",
        "writes a",
        "scratch r",
        "scratch a",
        "scratch x",
    ]


async def test_protected_names_are_read_only_at_any_depth_that_is_there(
    tmp_path: Path, kept_at: Level
) -> None:
    for name in (".git/config", "a/b/.vscode/tasks.json", "a/b/plain", "a/.ENV", "top"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("as it was")
    tried = [".git/config", "a/b/.vscode/tasks.json", "a/.ENV", ".envrc", "a/b/.idea", "a/b/plain"]
    script = (
        "import sys\nfor p in sys.argv[1:]:\n"
        "    try: open(p, 'w').close(); print(p)\n    except OSError: pass"
    )
    async with Isolation() as isolation:
        result = await isolation.run(
            Command(
                argv=(sys.executable, "-c", script, *tried, "top"),
                cwd=tmp_path,
                writes=(tmp_path,),
            ),
            level=kept_at,
        )

    assert result.stdout.decode().split() == ["a/b/plain", "top"]
    assert not (tmp_path / ".envrc").exists()


async def test_bounds_hold_for_each_command(kept_at: Level) -> None:
    script = "import resource as r; print(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_FSIZE))"
    policy = CommandPolicy(max_file_bytes=1 << 20)
    async with Isolation(policy) as isolation:
        result = await isolation.run(Command(argv=(sys.executable, "-c", script)), level=kept_at)

    assert result.stdout.decode() == f"(0, 0) ({1 << 20}, {1 << 20})\n"


async def test_the_root_of_the_file_system_is_no_folder_to_give(level: Level) -> None:
    async with Isolation(CommandPolicy(require="none")) as isolation:
        with pytest.raises(UsageError, match="root of the file system"):
            await isolation.run(Command(argv=("true",), writes=(Path("/"),)), level=level)


async def test_below_what_is_required_nothing_runs() -> None:
    async with Isolation() as isolation:
        with pytest.raises(RefusedError, match="require"):
            await isolation.run(Command(argv=("true",)), level="none")


async def test_run_command_goes_through_the_isolation_that_is_open() -> None:
    async with Isolation(CommandPolicy(max_file_bytes=12345)):
        inside = await run_command(Command(argv=("sh", "-c", "ulimit -c; ulimit -f")))
        assert (await isolation_status()).require == "landlock"
    alone = await run_command(Command(argv=("sh", "-c", "ulimit -c; ulimit -f")))

    assert inside.stdout != alone.stdout
    assert inside.level == alone.level != "none"


STARTS = re.compile(
    r"\b(?:subprocess\.(?!DEVNULL|PIPE|STDOUT|TimeoutExpired)|open_process\(|run_process\("
    r"|create_subprocess|os\.(?:fork|exec\w*|posix_spawn\w*|spawn\w*|system|popen)\()"
)
STARTERS = {
    "sandbox/keeper.py",  # the one that runs commands, inside
    "sandbox/namespaces.py",  # tries whether it may, in a child that ends
    "sandbox/spawner.py",  # starts keepers
    "sandbox/escapes.py",  # starts the victim that an escape goes for
    "runtime/process.py",  # starts Aiex's own servers
    "llm/wheels.py",  # asks uv, in a folder of ours
    "testing/hostile_tree.py",
    "testing/serving.py",
}


def test_nothing_else_of_aiex_starts_a_process() -> None:
    src = Path(aiex.__file__).parent
    found = {
        path.relative_to(src).as_posix()
        for path in src.rglob("*.py")
        if STARTS.search(path.read_text("utf-8"))
    }

    assert found <= STARTERS
    assert "sandbox/keeper.py" in found
