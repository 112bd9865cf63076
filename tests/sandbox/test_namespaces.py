"""Namespaces that are a command's own, and what it finds in them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from aiex.core import RefusedError
from aiex.sandbox import Command, CommandPolicy, CommandResult, Level, Probe
from aiex.sandbox.spawner import Spawner

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


class Kept:
    """Runs commands in namespaces, one after another."""

    def __init__(self, spawner: Spawner) -> None:
        self.spawner = spawner

    def __call__(self, script: str, *words: str, **settings: object) -> CommandResult:
        return self.run("sh", "-c", script, "sh", *words, **settings)

    def run(self, *argv: str, **settings: object) -> CommandResult:
        return self.spawner.run(Command(argv=argv, **settings), "bwrap")  # type: ignore[arg-type]

    @property
    def is_prepared(self) -> bool:
        """Whether the keeper, not bubblewrap, makes the namespaces."""
        (line,) = self.spawner._idle
        return not line.is_by_bubblewrap

    def only_prepared(self) -> None:
        self("true")
        if not self.is_prepared:
            pytest.skip("only bubblewrap may make namespaces here")


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    opened = Spawner(CommandPolicy(require="none"), dict(os.environ))
    yield opened
    opened.close()


@pytest.fixture
def kept(spawner: Spawner, offered: Callable[[Level], Probe]) -> Kept:
    if not offered("bwrap").passes:
        pytest.skip(offered("bwrap").detail)
    return Kept(spawner)


def test_no_two_commands_share_a_namespace_nor_one_with_us(kept: Kept) -> None:
    kept.only_prepared()  # the numbers of those that are gone may be given out again
    paths = [f"/proc/self/ns/{name}" for name in NAMESPACES]
    ours = {str(Path(path).readlink()) for path in paths}
    before: set[str] = set()

    for _ in range(3):
        said = set(kept(f"readlink {' '.join(paths)}").stdout.decode().split())
        assert len(said) == len(NAMESPACES)
        assert not said & (ours | before)
        before = said


def test_what_one_command_left_or_saw_the_next_one_does_not_find(
    kept: Kept, tmp_path: Path
) -> None:
    first = kept("touch /tmp/left /dev/shm/left && ls -d $1", str(tmp_path), reads=(tmp_path,))
    assert first.stdout.decode() == f"{tmp_path}\n"

    said = kept("ls -A /tmp /dev/shm /run; test -e $1; echo $?", str(tmp_path.parent))

    assert said.stdout.decode().split() == ["/dev/shm:", "/run:", "/tmp:", "home", "1"]


def test_nothing_of_the_root_can_be_written_but_what_is_private(kept: Kept) -> None:
    script = (
        "for f in / /dev /etc /proc /run /usr /proc/sys/kernel /tmp /dev/shm; do\n"
        "  (: > $f/new) 2>/dev/null && echo $f; done; cat /proc/self/mountinfo"
    )

    said = kept(script).stdout.decode().splitlines()

    mounts = [line.split() for line in said if " - " in line]
    assert [line for line in said if " - " not in line] == ["/tmp", "/dev/shm"]
    writable = {where for *_, where, options in (m[:6] for m in mounts) if "rw" in options}
    assert {where for where in writable if not where.startswith("/dev/")} == {"/tmp"}


def test_a_command_has_no_capability_and_cannot_get_one(kept: Kept) -> None:
    said = kept("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status").stdout.decode()

    values = dict(line.split(":\t") for line in said.splitlines())
    capabilities = {name: value for name, value in values.items() if name.startswith("Cap")}
    assert len(capabilities) == 5
    if kept.is_prepared:  # nor has the process that waits for it
        waiting = kept("grep ^Cap /proc/1/status").stdout.decode().splitlines()
        capabilities |= {f"waiting {line[:6]}": line.split("\t")[1] for line in waiting}
        assert len(capabilities) == 10
    assert {int(value, 16) for value in capabilities.values()} == {0}
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")


def test_the_first_process_of_a_namespace_is_out_of_the_commands_reach(kept: Kept) -> None:
    """It is the same user's, and the one that tells us how the command has ended."""
    kept.only_prepared()
    script = (
        "for s in KILL STOP USR1 TERM CHLD; do kill -$s 1; done\n"
        "for f in mem environ maps cwd/tmp root/tmp exe fd/3 fd/4 fd/5; do\n"
        "  (: < /proc/1/$f) 2>/dev/null && echo read $f\n"
        "  (: >> /proc/1/$f) 2>/dev/null && echo wrote $f; done; exit 7"
    )

    ended = kept(script)

    assert (ended.exit, ended.stdout) == (7, b"")


def test_how_a_command_ended_is_told_as_it_is(kept: Kept) -> None:
    kept.only_prepared()  # bubblewrap tells of a signal as of a status above 128

    assert kept("exit 139").exit == 139
    assert kept("kill -SEGV $$").exit == -11


def test_a_loopback_of_its_own_works(kept: Kept) -> None:
    script = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "c = socket.create_connection(s.getsockname()); c.send(b'x')\n"
        "print(s.accept()[0].recv(1), [name for _, name in socket.if_nameindex()])"
    )

    assert kept.run(sys.executable, "-c", script).stdout == b"b'x' ['lo']\n"


def test_a_link_of_the_project_is_no_way_out_for_what_is_mounted(
    kept: Kept, tmp_path: Path
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project / ".git", project / "src", elsewhere):
        folder.mkdir(parents=True)
    (elsewhere / "f").write_text("outside")
    (project / "src" / "out").symlink_to(elsewhere)
    (project / "link").symlink_to(elsewhere)

    ended = kept("cat link/f src/out/f; touch src/new && ls src", cwd=project, writes=(project,))

    assert ended.stdout == b"new\nout\n"
    assert list(elsewhere.iterdir()) == [elsewhere / "f"]


def test_a_folder_that_became_a_link_is_not_mounted_through(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and the mount: what lies on top would go where the link leads."""
    kept.only_prepared()
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "alias").symlink_to("/etc")
    order = kept.spawner._order

    def late(*words: object) -> object:
        made = order(*words)  # type: ignore[arg-type]
        made["shown"].append((os.fsencode(project / "alias" / "ssl"), True))
        return made

    monkeypatch.setattr(kept.spawner, "_order", late)

    with pytest.raises(RefusedError, match="was not started: mounts"):
        kept("true", reads=(project,))


def test_where_tmp_is_shown_the_private_folder_is_elsewhere(kept: Kept) -> None:
    said = kept("echo $TMPDIR $HOME; touch $TMPDIR/f $HOME/f; ls /tmp", reads=(Path("/tmp"),))

    first, *shown = said.stdout.decode().splitlines()
    assert (first, said.stderr) == ("/run /run/home", b"")
    assert {path.name for path in Path("/tmp").iterdir()} & set(shown)


def test_many_in_a_row_end_as_they_do_whatever_they_leave(spawner: Spawner, level: Level) -> None:
    """The process for the next one waits already, among those that have to be ended."""
    scripts = {"exit 3": 3, "sleep 60 & exit 4": 4, "kill -9 $$": -9, "setsid sleep 60 & exit 0": 0}
    for _ in range(8):
        for script, status in scripts.items():
            ended = spawner.run(Command(argv=("sh", "-c", script)), level)
            assert (ended.exit, ended.timed_out) == (status, False)

    below = _below(_keeper(spawner))
    assert not [pid for pid in below if b"sleep" in _words(pid)]
    assert len(below) <= 2  # the next one's, and one on its way out


def test_another_process_takes_the_place_of_one_that_was_ended_while_it_waited(
    spawner: Spawner, level: Level, tmp_path: Path
) -> None:
    spawner.run(Command(argv=("true",)), level)
    keeper = _keeper(spawner)
    wait = Command(argv=("sh", "-c", "touch $0/on; until test -e $0/go; do :; done", str(tmp_path)))
    wait = msgspec.structs.replace(wait, scratch=(tmp_path,))
    with ThreadPoolExecutor() as threads:
        running = threads.submit(spawner.run, wait, level)
        while not ((tmp_path / "on").exists() and (waiting := _waiting(keeper))):
            assert not running.done()
        (pid,) = waiting
        os.kill(pid, signal.SIGKILL)
        while pid in _below(keeper):
            assert not running.done()
        (tmp_path / "go").touch()
        assert running.result().exit == 0

    assert spawner.run(Command(argv=("echo", "on")), level).stdout == b"on\n"


def _keeper(spawner: Spawner) -> int:
    (line,) = spawner._idle
    return line.process.pid


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in children.split()]


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _waiting(keeper: int) -> list[int]:
    """Return what waits for the next command; while one runs, as its first process has a child."""
    return [pid for pid in _below(keeper) if b"import keeper" in _words(pid) and not _below(pid)]
