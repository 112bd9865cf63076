"""One function runs commands: no shell, our environment, and all of it ends with the call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from aiex.core import NotFoundError
from aiex.sandbox import Command, CommandResult, isolation_status, run_command

pytestmark = pytest.mark.anyio


async def python(script: str, *arguments: str, **settings: object) -> CommandResult:
    argv = (sys.executable, "-c", script, *arguments)
    return await run_command(Command(argv=argv, **settings))  # type: ignore[arg-type]


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


async def until_dead(pid: int) -> None:
    await until(lambda: not is_alive(pid))


def wrote(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text() != ""


async def test_arguments_reach_the_program_as_they_are_and_no_shell() -> None:
    odd = ["$(touch x)", "; rm -rf /", "a b", "'", '"', "*", "\n", "ä", "\udcff", "-c", ""]

    result = await python(
        "import os,sys; sys.stdout.buffer.write(os.fsencode('\\0'.join(sys.argv[1:])))", *odd
    )

    assert result.stdout.split(b"\0") == [os.fsencode(a) for a in odd]
    assert (result.exit, result.timed_out, result.truncated) == (0, False, False)


async def test_a_command_sees_the_environment_that_we_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LD_PRELOAD_OF_NOBODY", "x")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")

    result = await python(
        "import json,os; print(sorted(os.environ), os.environ['HOME'], os.environ['MINE'])",
        environment={"MINE": "yes"},
    )

    names = result.stdout.decode()
    assert "/nonexistent yes" in names
    for name in ("OPENAI_API_KEY", "LD_PRELOAD_OF_NOBODY", "PYTHONPATH"):
        assert name not in names


async def test_programs_of_the_project_are_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    other = tmp_path / "other project"
    places = {project: "tree", project / "bin": "tree", other: "tree", tmp_path / "bin": "mine"}
    for folder, says in places.items():
        folder.mkdir(exist_ok=True)
        (folder / "tool").write_text(f"#!/bin/sh\necho {says}; echo $PATH\n")
        (folder / "tool").chmod(0o755)
    (tmp_path / "alias").symlink_to(project / "bin")
    monkeypatch.chdir(other)
    path = f".::bin:{project}:{project / 'bin'}:{tmp_path / 'alias'}:{tmp_path / 'bin'}"
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")

    result = await run_command(Command(argv=("tool",), cwd=project))
    elsewhere = await run_command(Command(argv=("tool",), cwd=tmp_path, project=project))

    says, seen = result.stdout.decode().splitlines()
    assert says == "mine"
    assert str(project) not in seen
    assert seen.split(":")[0] == str(tmp_path / "bin")
    assert elsewhere.stdout == result.stdout
    for relative in ("./tool", "bin/tool"):
        with pytest.raises(NotFoundError, match="no bare name"):
            await run_command(Command(argv=(relative,), cwd=project))


async def test_what_cannot_be_started_is_said_and_no_fault(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not installed"):
        await run_command(Command(argv=("no-such-program-of-anybody",)))
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python("pass", cwd=tmp_path / "missing")
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python("pass", "a\0b")
    with pytest.raises(NotFoundError, match="cannot be started"):
        await python("pass", "x" * 3_000_000)


async def test_input_output_and_status_come_through() -> None:
    text = os.urandom(1 << 20)

    result = await python(
        "import sys; d=sys.stdin.buffer.read(); sys.stdout.buffer.write(d[::-1]);"
        "sys.stderr.write('said'); sys.exit(7)",
        stdin=text,
    )

    assert (result.stdout, result.stderr, result.exit) == (text[::-1], b"said", 7)


async def test_without_input_the_command_reads_none() -> None:
    assert (await python("import sys; print(len(sys.stdin.read()))")).stdout == b"0\n"


async def test_a_command_that_reads_nothing_of_much_input_ends() -> None:
    assert (await python("print('done')", stdin=b"x" * (8 << 20))).stdout == b"done\n"


async def test_output_is_bounded_and_its_writer_never_waits() -> None:
    script = (
        "import sys\nfor _ in range(200): sys.stdout.write('x' * 100_000)\n"
        "print(end='end', file=sys.stderr)"
    )

    result = await python(script, max_output_bytes=1000)

    assert result.stdout == b"x" * 1000
    assert (result.stderr, result.truncated, result.exit) == (b"end", True, 0)


async def test_a_time_out_ends_the_command_and_all_that_it_started() -> None:
    result = await python(
        "import subprocess, sys, time\n"
        "p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)",
        timeout=4.0,
    )

    assert result.timed_out
    assert result.exit == -signal.SIGKILL
    await until_dead(int(result.stdout))


async def test_a_command_that_ignores_every_signal_ends_too() -> None:
    result = await python(
        "import signal, time\n"
        "for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(600)",
        timeout=4.0,
    )

    assert (result.timed_out, result.stdout) == (True, b"deaf\n")


async def test_what_a_command_left_running_ends_with_it() -> None:
    """Its pipes are held open by the child: that is neither waited for nor a time-out."""
    result = await python(
        "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid)", timeout=60.0
    )

    assert (result.exit, result.timed_out) == (0, False)
    assert result.ms < 30_000
    await until_dead(int(result.stdout))


async def test_a_child_in_a_session_of_its_own_is_not_waited_for() -> None:
    result = await python(
        "import subprocess\n"
        "p = subprocess.Popen(['sleep', '600'], start_new_session=True); print(p.pid)",
        timeout=60.0,
    )
    pid = int(result.stdout)
    os.kill(pid, signal.SIGKILL)  # what no level keeps from escaping yet

    assert (result.exit, result.timed_out) == (0, False)
    assert result.ms < 30_000


async def test_a_cancelled_call_ends_its_command(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = (
        "import os, sys, time; open(sys.argv[1] + 'x', 'w').write(str(os.getpid()));"
        "os.rename(sys.argv[1] + 'x', sys.argv[1]); time.sleep(600)"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: python(script, str(told)))
        await until(wrote(told))
        tasks.cancel_scope.cancel()

    assert not is_alive(int(told.read_text()))


async def test_no_open_file_of_ours_is_passed_on(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        result = await python(
            "import os\n"
            "for n in range(3, 256):\n"
            "    try: print(os.readlink(f'/proc/self/fd/{n}'))\n"
            "    except OSError: pass"
        )

    assert "secret" not in result.stdout.decode()
    assert "audit" not in result.stdout.decode()


async def test_a_command_has_a_session_and_a_folder_of_its_own(tmp_path: Path) -> None:
    script = "import os; print(os.getsid(0) == os.getpid(), os.getcwd())"

    assert (await python(script)).stdout == b"True /\n"
    assert (await python(script, cwd=tmp_path)).stdout.decode() == f"True {tmp_path}\n"


PARENT = """
import sys, anyio
from aiex.sandbox import Command, run_command
script = "import os, time; open({!r}, 'w').write(str(os.getpid())); time.sleep(600)"
anyio.run(run_command, Command(argv=(sys.executable, "-c", script.format(sys.argv[1]))))
"""


async def test_a_command_ends_when_we_are_killed(tmp_path: Path) -> None:
    if not isolation_status().dies_with_us:
        pytest.skip("there is no setpriv here")
    told = tmp_path / "pid"
    parent = await anyio.to_thread.run_sync(
        lambda: subprocess.Popen([sys.executable, "-c", PARENT, str(told)])
    )
    try:
        await until(wrote(told))
    finally:
        parent.kill()
        await anyio.to_thread.run_sync(parent.wait)

    await until_dead(int(told.read_text()))


async def test_many_commands_run_at_once() -> None:
    results: list[CommandResult] = []

    async def one(number: int) -> None:
        results.append(await python(f"print({number})"))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(one, number)

    assert sorted(int(r.stdout) for r in results) == list(range(8))


def test_the_status_says_what_no_level_keeps_from() -> None:
    status = isolation_status()

    assert status.level == "none"
    assert status.paths_by in {"openat2", "walk"}
    assert "the network" in status.missing
