"""Programs that try to get out: refused at every level, and successful without any.

An escape that never came to try counts as a failure, and the control shows of each that the same
program does get out where nothing keeps it: it cannot pass for want of trying.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiex.sandbox import ESCAPES, LEVELS, CommandPolicy, CommandResult, Level, Probe, bwrap
from aiex.sandbox.escapes import Escape, Ground, argv_of, attempt, bounds_of, judge
from aiex.sandbox.levels import probe
from aiex.sandbox.spawner import Spawner

# What keeps these from working is the machine's, or nothing but a bound of ours.
NOT_FOR_EVERYBODY = {
    *("kernel-settings", "mount", "ptrace"),
    *("user-namespace", "user-namespace-clone3"),
}
BY_NAME = pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.name)


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    opened = Spawner(bounds_of(CommandPolicy()), dict(os.environ))
    yield opened
    opened.close()


@BY_NAME
def test_an_escape_is_refused(escape: Escape, spawner: Spawner, kept_at: Level) -> None:
    tried = attempt(escape, spawner, kept_at)

    assert tried.started, tried.detail
    assert tried.refused, tried.detail


@BY_NAME
def test_without_a_sandbox_it_gets_out(escape: Escape, tmp_path: Path) -> None:
    if escape.name in NOT_FOR_EVERYBODY and os.geteuid() != 0:
        pytest.skip("only root can do that on every machine")
    if escape.name in {"symlink", "overtime"}:
        pytest.skip("what refuses it are our own files, and our own clock")
    with Ground() as ground:
        ran = subprocess.run(
            argv_of(escape, ground),
            env={"TMPDIR": str(tmp_path)},
            capture_output=True,
            check=False,
            timeout=60,
        )
        ended = CommandResult(exit=ran.returncode, stdout=ran.stdout, stderr=ran.stderr, ms=0)
        tried = judge(escape, ground, ended)

    assert tried.started, tried.detail
    assert not tried.refused, tried.detail


def test_what_never_started_is_no_pass(spawner: Spawner, kept_at: Level) -> None:
    broken = Escape(name="broken", tries="nothing", code="this is no Python")

    tried = attempt(broken, spawner, kept_at)

    assert not tried.started
    assert not tried.refused


def test_what_gets_out_is_seen(spawner: Spawner, kept_at: Level) -> None:
    harmless = Escape(
        name="harmless", tries="what is allowed", code="open(os.devnull, 'w').close()"
    )

    assert attempt(harmless, spawner, kept_at).started
    assert not attempt(harmless, spawner, kept_at).refused


ALL = """
import os, sys
from aiex.sandbox import ESCAPES, CommandPolicy
from aiex.sandbox.escapes import attempt, bounds_of
from aiex.sandbox.levels import probe
from aiex.sandbox.spawner import Spawner
spawner = Spawner(bounds_of(CommandPolicy()), dict(os.environ))
seen = probe(sys.argv[1], spawner)
print("probe", seen.passes, seen.detail)
for escape in ESCAPES if seen.passes else ():
    tried = attempt(escape, spawner, seen.level)
    print("refused" if tried.refused else "OUT", tried.name, tried.detail.replace("\\n", " "))
spawner.close()
"""


@pytest.fixture
def as_nobody() -> Iterator[tuple[list[str], dict[str, str]]]:
    """The beginning of a command line that runs Python as an ordinary user, and its variables."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        pytest.skip("only root can become somebody else")
    again = "import subprocess as s, sys; s.run([sys.executable, '-c', sys.argv[1]], check=True)"
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, 65534, 65534)
        env = {
            "PATH": os.defpath,
            "HOME": home,
            "TMPDIR": home,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
            start = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", python]
            tried = subprocess.run(
                [*start, "-c", again, "import aiex.sandbox"],
                env=env,
                cwd="/",
                capture_output=True,
                check=False,
            )
            if tried.returncode == 0:
                break
        else:
            pytest.skip("an ordinary user cannot read this Python or these packages")
        yield start, env


@pytest.mark.parametrize("level", LEVELS[1:])
def test_every_escape_of_an_ordinary_user_is_refused(
    level: Level, as_nobody: tuple[list[str], dict[str, str]]
) -> None:
    start, env = as_nobody

    ran = subprocess.run(
        [*start, "-c", ALL, level],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    if not lines[0].startswith("probe True"):
        pytest.skip(lines[0])
    assert len(lines) == 1 + len(ESCAPES)
    assert [line for line in lines[1:] if not line.startswith("refused")] == []


def test_the_probe_sees_a_level_that_lets_a_file_be_written(
    spawner: Spawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = spawner.run
    monkeypatch.setattr(spawner, "run", lambda command, _level: run(command, "none"))

    seen = probe("landlock", spawner)

    if "not start" not in seen.detail and "Function not implemented" not in seen.detail:
        assert not seen.passes


def test_escapes_are_refused_where_a_keeper_may_prepare_nothing(
    spawner: Spawner, offered: Callable[[Level], Probe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a security module lets bubblewrap alone make namespaces."""
    if not offered("bwrap").passes:
        pytest.skip(offered("bwrap").detail)
    real = bwrap.template
    absent = {"devices": [b"/dev/no-such-device"]}
    monkeypatch.setattr(bwrap, "template", lambda *words: {**real(*words), **absent})

    escapes = [*ESCAPES[:13], *(one for one in ESCAPES if one.name == "kernel-settings")]
    tried = [attempt(escape, spawner, "bwrap") for escape in escapes]

    assert all(line.is_by_bubblewrap for line in spawner._idle)
    assert [one for one in tried if not one.refused] == []
