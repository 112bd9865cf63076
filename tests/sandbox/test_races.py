"""Every verb, while another process makes names change places as fast as it can."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.sandbox.naive import NaiveFiles

from aiex.core import Actor, AiexError, FileEdit
from aiex.sandbox import AuditLog, FilePolicy, Files

SECRET, INSIDE = b"SECRET", b"INSIDE"
MEMORY = Path("/dev/shm")

SWAPPER = """
import ctypes, os, sys
os.chdir(sys.argv[1])
swap = ctypes.CDLL(None, use_errno=True).renameat2
pairs = [(a.encode(), b.encode()) for a, b in zip(sys.argv[2::2], sys.argv[3::2])]
print("ready", flush=True)
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(50):
        for a, b in pairs:
            swap(-100, a, -100, b, 2)
"""


def _must_be_a_file(path: Path) -> bool:
    assert path.is_file(), f"{path} was made"
    return True


class Track:
    """A project in which a folder and a file change places with links that lead out."""

    def __init__(self, base: Path) -> None:
        self.root, self.outside, self.state = base / "project", base / "outside", base / "state"
        for folder in (self.root / "dir", self.root / ".git", self.outside):
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(INSIDE if folder.name == "dir" else SECRET)
            (folder / "victim").write_bytes(INSIDE if folder.name == "dir" else SECRET)
        (self.root / "one").write_bytes(INSIDE)
        (self.root / "mine").write_bytes(INSIDE)
        (self.root / "dir_out").symlink_to("../outside")
        (self.root / "dir_git").symlink_to(".git")
        (self.root / "one_out").symlink_to("../outside/file")

    def untouchable(self) -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for folder in (self.outside, self.root / ".git")
            for path in folder.rglob("*")
            if _must_be_a_file(path)
        }

    @contextmanager
    def swapping(self) -> Iterator[None]:
        names = ("dir", "dir_out", "one", "one_out", "dir", "dir_git")
        with subprocess.Popen(
            [sys.executable, "-c", SWAPPER, str(self.root), *names], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == b"ready\n", "the hostile process never started"
                yield
                assert process.poll() is None, "the hostile process ended early"
            finally:
                process.kill()

    @contextmanager
    def files(self, *, portable: bool) -> Iterator[Files]:
        with (
            AuditLog(self.state / "audit") as audit,
            Files(
                self.root,
                state=self.state,
                policy=FilePolicy(),
                audit=audit,
                actor=Actor(user="tester", interface="cli"),
                op_id="race",
                portable=portable,
            ) as files,
        ):
            yield files


AnyFiles = Files | NaiveFiles


def _seen(result: object) -> bytes:
    return repr(result).encode()


def _read_many(files: AnyFiles, _: int) -> bytes:
    found = files.read_many(["dir/file", "one"])
    for one in found:
        if isinstance(one, AiexError):
            raise one
    return _seen(found)


def _rewrite(files: AnyFiles, path: str) -> bytes:
    return _seen(files.write(path, INSIDE, overwrite=True))


def _new(files: AnyFiles, number: int) -> bytes:
    return _seen(files.write(f"dir/new-{number}", INSIDE))


def _append(files: AnyFiles, number: int) -> bytes:
    path = ("dir/file", "one")[number % 2]
    return _seen(files.append(path, b"")) + _seen(files.read(path))


def _delete(files: AnyFiles, number: int) -> bytes:
    if number % 2:
        return _rewrite(files, "dir/victim")
    return _seen(files.delete("dir/victim"))


def _copy(files: AnyFiles, number: int) -> bytes:
    ends = (("dir/file", "copied"), ("one", "copied"), ("mine", "dir/copied"))[number % 3]
    files.copy(*ends, overwrite=True)
    return _seen(files.read("copied" if number % 3 < 2 else "mine"))


def _move(files: AnyFiles, number: int) -> bytes:
    if number % 2:
        files.move("dir/victim", "moved", overwrite=True)
        return _seen(files.read("moved"))
    return _seen(files.move("moved", "dir/victim", overwrite=True))


def _apply(files: AnyFiles, number: int) -> bytes:
    edits = [FileEdit(path=f"dir/applied-{number}", after=b"x")]
    files.apply(edits)
    return _seen(files.check([FileEdit(path="dir/never", after=b"x")]))


RACES: dict[str, Callable[[AnyFiles, int], bytes]] = {
    "read": lambda files, n: _seen(files.read(("dir/file", "one", "dir/../dir/file")[n % 3])),
    "read, absolute": lambda files, _: _seen(files.read(f"{files.root}/dir/file")),
    "read_many": _read_many,
    "read_lines": lambda files, n: _seen(files.read_lines(("dir/file", "one")[n % 2])),
    "stat": lambda files, n: _seen(files.stat(("dir/file", "one")[n % 2])),
    "exists": lambda files, _: _seen(files.exists("dir/file")),
    "list": lambda files, _: _seen(files.list("dir")),
    "scan": lambda files, _: _seen(files.scan(["dir"])),
    "write": lambda files, n: _rewrite(files, ("dir/file", "one")[n % 2]),
    "write new": _new,
    "append": _append,
    "delete": _delete,
    "mkdir": lambda files, n: _seen(files.mkdir(f"dir/made-{n}")),
    "copy": _copy,
    "move": _move,
    "apply": _apply,
}
_BLOCK = 200  # tries at least before what was made is removed, so that folders stay small


def run(track: Track, files: AnyFiles, verb: str, tries: int) -> dict[str, int]:
    """Try a verb while names change places; return how often it was done and how often not.

    It goes on until both have happened, so that a race that was never run is not taken for won.
    """
    outcomes = {"done": 0, "refused": 0}
    (track.outside / "file").write_bytes(SECRET + b"!")  # of another size than what is inside
    (track.root / ".git" / "file").write_bytes(SECRET + b"!")
    before = track.untouchable()
    attempt, size = RACES[verb], f"size={len(SECRET) + 1}".encode()
    number, until = 0, time.monotonic() + 60
    while number < tries or (0 in outcomes.values() and time.monotonic() < until):
        with track.swapping():
            for _ in range(max(_BLOCK, tries // 10)):
                number += 1
                try:
                    seen = attempt(files, number)
                except AiexError:
                    outcomes["refused"] += 1
                    continue
                outcomes["done"] += 1
                assert SECRET not in seen
                assert size not in seen
        assert track.untouchable() == before
        _clean(track)
    return outcomes


def _clean(track: Track) -> None:
    for path in track.root.rglob("*"):
        assert not path.name.startswith(".aiex-"), "a temporary file is left"
        if path.name.startswith(("new-", "made-", "applied-")) and not path.is_symlink():
            assert ".git" not in path.parts
            path.rmdir() if path.is_dir() else path.unlink()


@contextmanager
def track_in_memory() -> Iterator[Track]:
    """A project where a sync costs nothing, so that the tries follow closely on one another."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as base:
        yield Track(Path(base))


@pytest.mark.parametrize("verb", RACES)
def test_a_race_of_names_reads_and_writes_nothing_outside(verb: str, portable: bool) -> None:
    with track_in_memory() as track, track.files(portable=portable) as files:
        outcomes = run(track, files, verb, 1)

    assert outcomes["done"] > 0
    assert outcomes["refused"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", RACES)
def test_a_race_of_20000_tries_reads_and_writes_nothing_outside(verb: str, portable: bool) -> None:
    with track_in_memory() as track, track.files(portable=portable) as files:
        outcomes = run(track, files, verb, 20_000)

    assert outcomes["done"] > 500
    assert outcomes["refused"] > 500


@pytest.mark.parametrize("verb", ["read", "read_lines", "write", "write new", "mkdir", "copy"])
def test_a_check_of_real_paths_loses_the_race(verb: str) -> None:
    """Which shows that the tests above can fail, against the same process."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with track_in_memory() as track:
            try:
                run(track, NaiveFiles(track.root), verb, 300)
            except (AssertionError, pytest.fail.Exception):
                return
            except OSError:
                continue
    pytest.fail("the naive implementation was never caught")
