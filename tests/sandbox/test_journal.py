"""A kill at any step leaves old or new content of each file, and the next start makes it whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiex.core import ConflictError, FileEdit, StoreBusyError, StoreError, digest_of
from aiex.sandbox import Files, Recovered, journal, swap

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

OLD = {"changed": b"old 1", "sub/changed": b"old 2" * 1000, "deleted": b"old 3"}
NEW = {"changed": b"new 1", "sub/changed": b"new 2" * 900, "made": b"new 4", "a/b/made": b"new 5"}


def edits() -> list[FileEdit]:
    return [
        FileEdit(
            path=path,
            after=NEW.get(path),
            before_sha256=digest_of(OLD[path]) if path in OLD else None,
        )
        for path in sorted(OLD | NEW)
    ]


def lay(root: Path, files: dict[str, bytes] = OLD) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def found(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def folders(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}


def left_in_journal(place: Place) -> list[str]:
    return [p.name for p in (place.state / "changes").glob("*") if p.suffix != ".lock"]


CHILD = """
import json, os, signal, sys
from pathlib import Path
import msgspec
from aiex.core import Actor, FileEdit
from aiex.sandbox import AuditLog, FilePolicy, Files, journal

def main(base, edits, killed_at, unsupported, conflicts):
    calls = [0]
    def stepping(function):
        def step(*args, **kwargs):
            calls[0] += 1
            if calls[0] == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return step
    for name in ("open", "mkdir", "write", "fchmod", "fsync", "rename", "unlink", "link", "rmdir"):
        setattr(os, name, stepping(getattr(os, name)))
    Path.replace, Path.unlink = stepping(Path.replace), stepping(Path.unlink)
    journal.exchange = stepping(journal.exchange)
    journal.move_new = stepping(journal.move_new)
    if unsupported:
        from aiex.sandbox import swap
        swap._try = lambda *_: False
    if conflicts:
        keep = journal.Target.commit
        def commit(target):
            if target.name == "changed" and len(target.names) == 2:
                os.rename(base / "project" / "theirs", base / "project" / "sub" / "changed")
            keep(target)
        journal.Target.commit = commit
    with AuditLog(base / "state" / "audit") as log:
        files = Files(base / "project", state=base / "state", policy=FilePolicy(), audit=log,
                      actor=Actor(user="u", interface="cli"), op_id="op")
        files.apply(edits, op_id="the-change")

base = Path(sys.argv[1])
edits = msgspec.json.decode(sys.stdin.buffer.read(), type=list[FileEdit])
main(base, edits, int(sys.argv[2]), sys.argv[3] == "True", sys.argv[4] == "True")
"""


def killed(place: Place, at: int, *, unsupported: bool = False, conflicts: bool = False) -> bool:
    """Apply the change in a process that is killed at step *at*; return whether it was."""
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            str(place.root.parent),
            str(at),
            f"{unsupported}",
            f"{conflicts}",
        ],
        input=msgspec.json.encode(edits()),
        capture_output=True,
        check=False,
    )
    if process.returncode not in {0, -signal.SIGKILL} and b"ConflictError" not in process.stderr:
        raise AssertionError(process.stderr.decode())
    return process.returncode == -signal.SIGKILL


def each_is_old_or_new(root: Path) -> None:
    now = found(root)
    for path in OLD | NEW:
        assert now.get(path) in {OLD.get(path), NEW.get(path)}, path


class Fresh:
    """Projects of their own for every kill, below one folder."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._number = 0

    def place(self) -> Place:
        self._number += 1
        base = self._place.root.parent / f"kill{self._number}"
        base.mkdir()
        fresh = type(self._place)(base, self._place._stack)
        lay(fresh.root)
        return fresh


def check_after_a_kill(fresh: Place) -> str:
    each_is_old_or_new(fresh.root)
    recovered = fresh.files().recover()
    now = found(fresh.root)
    if not recovered:
        assert now in (OLD, NEW)
    else:
        assert recovered[0].op_id == "the-change"
        assert now == {"completed": NEW, "taken_back": OLD}[recovered[0].outcome]
        assert recovered[0].paths == tuple(sorted(OLD | NEW))
    if now == OLD:
        assert folders(fresh.root) == {"sub"}
    assert left_in_journal(fresh) == []
    assert fresh.files().recover() == []
    return recovered[0].outcome if recovered else "whole"


@pytest.mark.parametrize("unsupported", [False, True], ids=["exchanging", "renaming"])
def test_a_kill_at_any_step_is_completed_or_taken_back_by_the_next_start(
    place: Place, unsupported: bool
) -> None:
    fresh = Fresh(place)
    outcomes: dict[str, int] = {}
    steps = Random(7).sample(range(1, 75), 16)
    for at in sorted(steps):
        project = fresh.place()
        killed(project, at, unsupported=unsupported)
        outcome = check_after_a_kill(project)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    assert {"completed", "taken_back"} <= set(outcomes)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("unsupported", [False, True], ids=["exchanging", "renaming"])
def test_a_kill_at_every_step_is_completed_or_taken_back(place: Place, unsupported: bool) -> None:
    fresh = Fresh(place)
    at = 0
    outcomes: set[str] = set()
    while True:
        at += 1
        project = fresh.place()
        if not killed(project, at, unsupported=unsupported):
            break
        outcomes.add(check_after_a_kill(project))

    assert at > 50
    assert {"completed", "taken_back"} <= outcomes
    assert found(project.root) == NEW


@pytest.mark.parametrize("unsupported", [False, True], ids=["exchanging", "renaming"])
def test_a_kill_while_a_conflict_is_taken_back_is_taken_back_by_the_next_start(
    place: Place, unsupported: bool
) -> None:
    fresh = Fresh(place)
    outcomes = set()
    for at in (*range(44, 98, 5), 100_000):
        project = fresh.place()
        (project.root / "theirs").write_bytes(b"of somebody else")
        was_killed = killed(project, at, unsupported=unsupported, conflicts=True)
        recovered = project.files().recover()
        now = found(project.root)
        theirs = now.pop("theirs", None) or now.pop("sub/changed")
        assert theirs == b"of somebody else"
        rest = {path: content for path, content in now.items() if path != "sub/changed"}
        mine = [{p: c for p, c in side.items() if p != "sub/changed"} for side in (OLD, NEW)]
        if rest not in mine:
            # Where names cannot be exchanged, what a second fault leaves is named, not undone.
            assert unsupported
            assert recovered[0].outcome == "conflict"
            assert "changed" in recovered[0].paths
        outcomes.add(recovered[0].outcome if recovered else f"killed {was_killed}")

    assert "killed False" in outcomes
    assert {"conflict", "taken_back"} & outcomes


@pytest.mark.parametrize("unsupported", [False, True], ids=["exchanging", "renaming"])
def test_kills_at_random_times_in_a_loop_leave_old_or_new(place: Place, unsupported: bool) -> None:
    """One project, one process after another, each killed by another process at any time."""
    lay(place.root)
    random = Random(11)
    flip = FLIP.replace("UNSUPPORTED", str(unsupported))
    seen: set[str] = set()
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", flip, str(place.root.parent)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(random.randrange(1, 12)):
                assert process.stdout.readline() == b"whole\n"
            spin = random.randrange(0, 60_000)
            for _ in range(spin):  # any time inside a change, without waiting for anything
                pass
            process.kill()
        for name in ("one", "two"):
            path = place.root / name
            assert not path.exists() or path.read_bytes() in {b"a" * 70_000, b"b" * 60_000}
        seen.update(r.outcome for r in place.files().recover())
        now = {n: c for n, c in found(place.root).items() if n in {"one", "two"}}
        assert len(set(now.values())) <= 1
        assert len(now) in {0, 2}
        assert left_in_journal(place) == []
        assert not list(place.root.rglob(".aiex-*"))
    assert "conflict" not in seen


FLIP = """
import sys
from pathlib import Path
from aiex.core import Actor, FileEdit, digest_of
from aiex.sandbox import AuditLog, FilePolicy, Files, swap
if UNSUPPORTED:
    swap._try = lambda *_: False
base = Path(sys.argv[1])
A, B = b"a" * 70_000, b"b" * 60_000
with AuditLog(base / "state" / "audit") as log:
    files = Files(base / "project", state=base / "state", policy=FilePolicy(), audit=log,
                  actor=Actor(user="u", interface="cli"), op_id="op")
    now = files.read("one").content if files.exists("one") else None
    while True:
        after = B if now == A else A
        before = None if now is None else digest_of(now)
        files.apply([FileEdit(path=p, after=after, before_sha256=before) for p in ("one", "two")])
        now = after
        print("whole", flush=True)
"""


def test_recovery_is_on_the_record(place: Place) -> None:
    lay(place.root)
    assert killed(place, 45)
    recovered = place.files().recover()

    record = place.records()[-1]
    assert record["op"] == "recover"
    assert (record["op_id"], record["reason"]) == ("the-change", recovered[0].outcome)


def note_of(place: Place, entries: list[dict[str, Any]], state: str, **more: Any) -> Path:
    """Write what a killed change left, as the journal keeps it."""
    root_id = digest_of(os.fsencode(place.root))[:12]
    folder = place.state / "changes"
    folder.mkdir(parents=True, exist_ok=True)
    note = {"v": 2, "op_id": "cut", "root": str(place.root), "state": state, "entries": entries}
    path = folder / f"{root_id}-00.json"
    path.write_text(json.dumps({**note, **more}))
    return path


def entry(path: str, before: bytes | None, after: bytes | None, folders: int = 0) -> dict[str, Any]:
    return {
        "path": path,
        "temporary": ".aiex-00-0.tmp",
        "before": None if before is None else digest_of(before),
        "before_size": len(before or b""),
        "after": None if after is None else digest_of(after),
        "after_size": len(after or b""),
        "folders": folders,
    }


def test_what_somebody_changed_in_between_is_left_alone_and_named(place: Place) -> None:
    (place.root / "file").write_bytes(b"of somebody else")
    (place.root / ".aiex-00-0.tmp").write_bytes(b"new")
    note_of(place, [entry("file", b"old", b"new")], "prepared")

    recovered = place.files().recover()

    assert recovered == [Recovered(op_id="cut", outcome="conflict", paths=("file",))]
    assert found(place.root) == {"file": b"of somebody else"}


def test_what_somebody_changed_in_the_last_moment_is_put_back(place: Place) -> None:
    """The kill came between the exchange and the look at what was taken out."""
    (place.root / "file").write_bytes(b"new")
    (place.root / ".aiex-00-0.tmp").write_bytes(b"of somebody else")
    note_of(place, [entry("file", b"old", b"new")], "prepared")

    recovered = place.files().recover()

    assert recovered[0].outcome == "conflict"
    assert found(place.root) == {"file": b"of somebody else"}


@pytest.mark.parametrize("target", ["../outside", ".git", "other", "nothing"])
def test_recovery_follows_no_link_that_took_a_folders_place(place: Place, target: str) -> None:
    for name in (".git", "other"):
        (place.root / name).mkdir()
    (place.root / "sub").symlink_to(target)
    for folder in (place.outside, place.root / ".git", place.root / "other"):
        (folder / ".aiex-00-0.tmp").write_bytes(b"new")
    note_of(place, [entry("sub/file", None, b"new")], "prepared")

    recovered = place.files().recover()

    assert recovered[0].outcome == "conflict"
    for folder in (place.outside, place.root / ".git", place.root / "other"):
        assert not (folder / "file").exists()


def test_recovery_reads_nothing_huge_and_hangs_on_nothing(place: Place) -> None:
    with (place.root / "huge").open("wb") as file:
        file.truncate(1 << 42)
    os.mkfifo(place.root / "pipe")
    (place.root / "folder").mkdir()
    entries = [entry(name, b"old", b"new") for name in ("huge", "pipe", "folder")]
    note_of(place, entries, "prepared")

    recovered = place.files().recover()

    assert recovered[0].paths == ("huge", "pipe", "folder")


def test_a_journal_of_another_version_is_kept_and_named(place: Place) -> None:
    path = note_of(place, [], "of another version")

    with pytest.raises(StoreError, match="no journal of this version"):
        place.files().recover()
    assert path.exists()


def test_journals_of_other_roots_wait_for_them(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    mine = type(place)(other, place._stack)
    mine.state = place.state
    note_of(mine, [entry("file", None, b"new")], "preparing")

    assert place.files().recover() == []
    assert mine.files().recover()[0].outcome == "taken_back"


def test_a_change_under_way_is_not_recovered_by_another_start(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(place.root)
    files, other = place.files(), place.files()
    started, go_on = threading.Event(), threading.Event()
    prepare = journal.Target.prepare

    def held(target: journal.Target) -> None:
        prepare(target)
        started.set()
        assert go_on.wait(30)

    monkeypatch.setattr(journal.Target, "prepare", held)
    monkeypatch.setattr(journal, "_RECOVER_WAIT", 0.0)
    monkeypatch.setattr(journal, "_APPLY_WAIT", 0.0)
    thread = threading.Thread(target=files.apply, args=(edits(),))
    thread.start()
    try:
        assert started.wait(30)
        assert other.recover() == []
        with pytest.raises(StoreBusyError):
            other.apply([FileEdit(path="x", after=b"x")])
    finally:
        go_on.set()
        thread.join()
    assert found(place.root) == NEW


def test_of_changes_at_once_one_wins_and_none_is_lost(place: Place) -> None:
    (place.root / "count").write_bytes(b"0")
    wins, conflicts = [0], [0]
    lock = threading.Lock()

    def count(files: Files) -> None:
        for _ in range(20):
            now = files.read("count").content
            change = FileEdit(
                path="count", after=b"%d" % (int(now) + 1), before_sha256=digest_of(now)
            )
            try:
                files.apply([change])
            except ConflictError:
                with lock:
                    conflicts[0] += 1
            else:
                with lock:
                    wins[0] += 1

    threads = [threading.Thread(target=count, args=(place.files(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wins[0] + conflicts[0] == 80
    assert int((place.root / "count").read_bytes()) == wins[0]


def test_a_change_that_somebody_makes_in_the_last_moment_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(place.root)
    exchange = swap.exchange
    happened: list[str] = []

    def after_somebody(directory: int, one: str, other: str) -> bool:
        if other == "changed" and not happened:
            happened.append(other)
            (place.root / "theirs").write_bytes(b"of somebody else")
            (place.root / "theirs").replace(place.root / "changed")
        return exchange(directory, one, other)

    monkeypatch.setattr(journal, "exchange", after_somebody)
    with pytest.raises(ConflictError, match="was changed while"):
        place.files().apply(edits())

    now = found(place.root)
    if "changed" in now and now["changed"] == OLD["changed"]:
        pytest.skip("this file system cannot exchange")
    assert now == {**OLD, "changed": b"of somebody else"}
    assert left_in_journal(place) == []


def test_a_file_that_appears_while_a_change_is_written_is_never_replaced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(place.root)
    move_new = swap.move_new

    def after_somebody(directory: int, old: str, new: str) -> None:
        if new == "made":
            (place.root / "made").write_bytes(b"of somebody else")
        move_new(directory, old, new)

    monkeypatch.setattr(journal, "move_new", after_somebody)
    with pytest.raises(ConflictError):
        place.files().apply(edits())

    assert found(place.root) == {**OLD, "made": b"of somebody else"}
    assert folders(place.root) == {"sub"}
