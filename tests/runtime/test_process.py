"""Children are real processes: they say when they are ready, and nothing of them stays behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from aiex.core import ChildError
from aiex.runtime import ChildProcess

pytestmark = pytest.mark.anyio

POLITE = """
import sys
sys.stdin.readline()
print("ready", flush=True)
sys.stdin.read()
"""

ECHO = """
import sys
print("got " + sys.stdin.readline().strip(), flush=True)
sys.stdin.read()
"""

DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    time.sleep(60)
"""

TALKER = """
import sys
sys.stderr.write("x" * 1_000_000 + "the end")
sys.stderr.flush()
sys.stdout.write("ready\\n" + "y" * 1_000_000)
sys.stdout.flush()
sys.exit(7)
"""


def child(script: str, **settings: object) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", script], name="server", **settings)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def running(
    process: ChildProcess, inside: Callable[[bytes, int], object]
) -> tuple[bytes, int]:
    """Run *process* until it is ready, look *inside*, and stop it; return its line and its pid."""
    seen: list[tuple[bytes, int]] = []

    def ready(line: bytes) -> None:
        assert process.pid is not None
        seen.append((line, process.pid))
        inside(line, process.pid)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run, ready)
    return seen[0]


async def test_a_child_is_told_its_secret_and_says_that_it_is_ready() -> None:
    line, _ = await running(child(ECHO, stdin=b"a secret\n"), lambda *_: None)
    assert line == b"got a secret"


async def test_a_child_lives_in_a_session_of_its_own_and_ends_when_it_is_stopped() -> None:
    sessions: list[int] = []
    _, pid = await running(
        child(POLITE, stdin=b"\n"), lambda _, pid: sessions.append(os.getsid(pid))
    )
    assert sessions == [pid]
    assert not is_alive(pid)


async def test_a_child_that_does_not_end_when_asked_is_killed() -> None:
    _, pid = await running(child(DEAF, stop_within=0.05), lambda *_: None)
    assert not is_alive(pid)


async def test_what_a_child_writes_never_blocks_it_and_only_its_end_is_kept() -> None:
    process = child(TALKER)
    with pytest.raises(ChildError, match="ended with status 7") as caught:
        await process.run(lambda _: None)
    assert len(process.stderr) == 64 * 1024
    assert process.stderr.endswith("the end")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("the end")


async def test_a_child_that_ends_well_raises_nothing() -> None:
    await child("print('ready')").run(lambda _: None)


async def test_a_child_that_dies_before_it_is_ready_says_why() -> None:
    with pytest.raises(ChildError, match="status 3 before it was ready") as caught:
        await child("import sys; print('no model', file=sys.stderr); sys.exit(3)").run(print)
    assert caught.value.hint == "it said: no model"


async def test_a_child_that_is_not_ready_in_time_is_stopped() -> None:
    process = child("import sys; sys.stdin.read()", ready_within=0.05)
    with pytest.raises(ChildError, match="not ready within"):
        await process.run(print)
    assert process.pid is None


async def test_a_child_that_never_ends_its_line_is_refused() -> None:
    script = "import sys; sys.stdout.write('x' * 100_000); sys.stdout.flush(); sys.stdin.read()"
    with pytest.raises(ChildError, match="does not say that it is ready"):
        await child(script).run(print)


async def test_a_program_that_is_not_there_is_an_error_of_the_child() -> None:
    with pytest.raises(ChildError):
        await ChildProcess(["/nonexistent/server"], name="server").run(print)


async def test_a_killed_child_says_by_which_signal() -> None:
    process = child(POLITE, stdin=b"\n")

    def kill(_: bytes) -> None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(ChildError, match="was ended by SIGKILL"):
        await process.run(kill)


async def test_an_error_of_whoever_waits_for_the_line_stops_the_child() -> None:
    process = child(POLITE, stdin=b"\n")
    pids: list[int | None] = []

    def refuse(_: bytes) -> None:
        pids.append(process.pid)
        raise ChildError("not a line of ours")

    with pytest.raises(ChildError, match="not a line of ours"):
        await process.run(refuse)
    assert pids[0] is not None
    assert not is_alive(pids[0])


async def test_a_child_can_be_run_again() -> None:
    process = child(POLITE, stdin=b"\n")
    _, first = await running(process, lambda *_: None)
    _, second = await running(process, lambda *_: None)
    assert first != second


PARENT = """
import sys
import anyio
from aiex.runtime import ChildProcess

child = ChildProcess([sys.executable, "-c", *sys.argv[1:]], name="server", stdin=b"\\n")
anyio.run(child.run, lambda _: print("running", flush=True))
"""

HOLDS_A_PIPE = "import sys; held = open(sys.argv[1], 'w')\n"


@pytest.mark.parametrize("script", [POLITE, DEAF], ids=["polite", "deaf"])
def test_a_parent_that_is_killed_leaves_no_orphan(script: str, tmp_path: Path) -> None:
    if script is DEAF and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed; only children that watch their input end")
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, HOLDS_A_PIPE + script, str(fifo)], stdout=subprocess.PIPE
    )
    with parent, fifo.open() as held:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"running\n"
        parent.kill()
        assert held.read() == ""  # its other end is closed when the child is gone
