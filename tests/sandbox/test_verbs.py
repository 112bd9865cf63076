"""What each verb that changes one file, lists a folder or reads lines does and leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiex.core import (
    ConflictError,
    NotFoundError,
    PathRefusedError,
    RefusedError,
    UsageError,
    digest_of,
)
from aiex.sandbox import FilePolicy, Files, swap

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

Open = Callable[..., Files]


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_written_once_and_over_only_when_told(place: Place, opened: Open) -> None:
    files = opened()

    made = files.write("a/b/new", b"one\r\n", mode=0o750)
    with pytest.raises(ConflictError, match="exists already"):
        files.write("a/b/new", b"two")
    over = files.write("a/b/new", b"two\r\nlast", overwrite=True, mode=0o600)

    assert (made.path, made.sha256_before, made.sha256_after) == (
        "a/b/new",
        None,
        digest_of(b"one\r\n"),
    )
    assert (over.sha256_before, over.sha256_after) == (made.sha256_after, digest_of(b"two\r\nlast"))
    assert (place.root / "a/b/new").read_bytes() == b"two\r\nlast"
    assert (place.root / "a/b/new").stat().st_mode & 0o777 == 0o750
    assert names_below(place.root) == ["a", "a/b", "a/b/new"]


def test_a_digest_says_which_file_is_meant(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"old")
    files = opened()

    files.write("file", b"new", expect=digest_of(b"old"))
    files.append("file", b"er", expect=digest_of(b"new"))
    files.copy("file", "copy", expect=digest_of(b"newer"))
    files.move("copy", "moved", expect=digest_of(b"newer"))
    files.delete("file", expect=digest_of(b"newer"))

    assert names_below(place.root) == ["moved"]
    assert (place.root / "moved").read_bytes() == b"newer"


def test_appending_keeps_every_byte_and_makes_what_is_missing(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"one\r\n\xff")
    (place.root / "file").chmod(0o640)
    files = opened()

    files.append("file", b"\r\ntwo")
    made = files.append("new", b"x")

    assert (place.root / "file").read_bytes() == b"one\r\n\xff\r\ntwo"
    assert (place.root / "file").stat().st_mode & 0o777 == 0o640
    assert (made.sha256_before, (place.root / "new").read_bytes()) == (None, b"x")


def test_appends_at_once_lose_nothing(place: Place, opened: Open) -> None:
    def add(files: Files, name: bytes) -> None:
        for number in range(15):
            files.append("log", b"%s%d\n" % (name, number))

    threads = [threading.Thread(target=add, args=(opened(), name)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = (place.root / "log").read_bytes().split()
    assert sorted(lines) == sorted(b"%s%d" % (n, i) for n in (b"a", b"b", b"c") for i in range(15))
    assert [line for line in lines if line[:1] == b"b"] == [b"b%d" % i for i in range(15)]


def test_what_somebody_writes_without_taking_turns_is_added_to(
    place: Place, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody replaces the file in the last moment, three times: the append begins anew."""
    from aiex.sandbox import journal

    (place.root / "log").write_bytes(b"0")
    exchange, left = swap.exchange, [b"1", b"2", b"3"]

    def after_somebody(directory: int, one: str, other: str) -> bool:
        now = (place.root / "log").read_bytes()
        if other == "log" and left and not now.endswith(b"mine"):  # it is put back then
            (place.root / "theirs").write_bytes(now + left.pop(0))
            (place.root / "theirs").replace(place.root / "log")
        return exchange(directory, one, other)

    monkeypatch.setattr(journal, "exchange", after_somebody)
    opened().append("log", b"mine")

    assert (place.root / "log").read_bytes() == b"0123mine"
    assert names_below(place.root) == ["log"]


def test_appending_never_reaches_a_shared_inode(place: Place, opened: Open) -> None:
    (place.outside / "shared").write_bytes(b"old")
    (place.root / "mine").hardlink_to(place.outside / "shared")

    opened().append("mine", b" and new")

    assert (place.root / "mine").read_bytes() == b"old and new"
    assert (place.outside / "shared").read_bytes() == b"old"


def test_a_copy_has_the_permissions_of_what_it_is_of(place: Place, opened: Open) -> None:
    (place.root / "tool").write_bytes(b"#!")
    (place.root / "tool").chmod(0o750)
    (place.root / "there").write_bytes(b"old")
    (place.root / "there").chmod(0o604)
    files = opened()

    files.copy("tool", "bin/tool")
    files.copy("tool", "there", overwrite=True)

    assert (place.root / "bin/tool").read_bytes() == b"#!"
    assert (place.root / "bin/tool").stat().st_mode & 0o777 == 0o750
    assert (place.root / "there").read_bytes() == b"#!"
    assert (place.root / "there").stat().st_mode & 0o777 == 0o604
    assert (place.root / "tool").exists()


def test_a_moved_file_keeps_permissions_and_attributes(place: Place, opened: Open) -> None:
    (place.root / "old").write_bytes(b"x")
    (place.root / "old").chmod(0o666)  # which the umask would not give
    (place.root / "there").write_bytes(b"other")
    try:
        os.setxattr(place.root / "old", "user.note", b"kept")
        noted = True
    except (OSError, AttributeError):
        noted = False
    files = opened()

    moved = files.move("old", "sub/new")
    with pytest.raises(ConflictError):
        files.move("sub/new", "there")
    over = files.move("sub/new", "there", overwrite=True)

    assert (moved.path, moved.sha256_before) == ("sub/new", None)
    assert over.sha256_before == digest_of(b"other")
    assert names_below(place.root) == ["sub", "there"]
    assert (place.root / "there").read_bytes() == b"x"
    assert (place.root / "there").stat().st_mode & 0o777 == 0o666
    assert not noted or os.getxattr(place.root / "there", "user.note") == b"kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_a_moved_file_stays_its_owners(place: Place, opened: Open) -> None:
    (place.root / "old").write_bytes(b"x")
    os.chown(place.root / "old", 65534, 65534)

    opened().move("old", "new")

    status = (place.root / "new").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65534)


def test_verbs_act_on_what_a_link_inside_leads_to(place: Place, opened: Open) -> None:
    (place.root / "real").write_bytes(b"1")
    (place.root / "link").symlink_to("real")
    files = opened()

    assert files.append("link", b"2").path == "real"
    assert files.copy("link", "copy").path == "copy"
    assert files.delete("link").path == "real"
    assert (place.root / "link").is_symlink()
    assert (place.root / "copy").read_bytes() == b"12"


def test_folders_are_made_one_by_one_or_all_at_once(place: Place, opened: Open) -> None:
    files = opened()

    with pytest.raises(NotFoundError, match="the folder above"):
        files.mkdir("a/b/c")
    assert files.mkdir("a") == "a"
    assert files.mkdir("./a//b/c/d", parents=True) == "a/b/c/d"
    with pytest.raises(ConflictError):
        files.mkdir("a/b")
    assert files.mkdir("a/b", exist_ok=True) == "a/b"
    (place.root / "file").touch()
    with pytest.raises(NotFoundError):
        files.mkdir("file/x", parents=True)

    assert names_below(place.root) == ["a", "a/b", "a/b/c", "a/b/c/d", "file"]


@pytest.mark.usefixtures("ordinary_user")
def test_a_folder_that_cannot_be_made_is_refused(place: Place, opened: Open) -> None:
    (place.root / "closed").mkdir(mode=0o555)

    with pytest.raises(RefusedError, match="nothing was made"):
        opened().mkdir("closed/x")


def test_a_folder_made_where_the_way_was_moved_is_taken_back(
    place: Place, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiex.sandbox.journal import Folders

    (place.root / "dir").mkdir()
    make = Folders.make

    def after_somebody(folders: Folders) -> None:
        (place.root / "dir").rename(place.outside / "dir")
        make(folders)

    monkeypatch.setattr(Folders, "make", after_somebody)
    with pytest.raises(ConflictError, match="moved"):
        opened().mkdir("dir/new")

    assert names_below(place.outside) == ["dir", "secret.txt"]


def test_one_folder_is_listed_by_the_rules_of_a_scan(place: Place, opened: Open) -> None:
    for folder in ("src/sub/deep", "src/.git", "src/__pycache__", "src/build"):
        (place.root / folder).mkdir(parents=True)
    for file in ("src/b", "src/a", "src/.env", "src/x.log", "src/sub/inner", "top"):
        (place.root / file).write_bytes(b"123")
    (place.root / ".gitignore").write_text("*.log\nbuild/\n")
    (place.root / "src/.gitignore").write_text("b\n")
    (place.root / "src/link").symlink_to("a")
    os.mkfifo(place.root / "src/pipe")
    files = opened()

    found = files.list("./src")
    everything = files.list("src", ignored=True)

    assert (found.path, found.folders) == ("src", ("src/sub",))
    assert [(f.path, f.size) for f in found.files] == [("src/.gitignore", 2), ("src/a", 3)]
    assert {(n.what, n.reason) for n in found.left_out} == {
        ("src/pipe", "it is no regular file"),
        ("1 more", "symbolic links are not followed"),
    }
    assert everything.folders == ("src/__pycache__", "src/build", "src/sub")
    assert [f.path for f in everything.files] == ["src/.gitignore", "src/a", "src/b", "src/x.log"]
    assert files.list().folders == ("src",)
    assert files.list("src/../src/sub").path == "src/sub"
    with pytest.raises(PathRefusedError) as refused:
        files.list("top")
    assert refused.value.rule == "not_a_folder"


def test_no_listing_looks_at_more_than_the_limit(place: Place, opened: Open) -> None:
    for number in range(20):
        (place.root / f"f{number:02}").touch()

    found = opened(FilePolicy(max_entries=5)).list()

    assert len(found.files) == 5
    assert [n.reason for n in found.left_out] == ["there are more entries than the limit allows"]


@pytest.mark.parametrize(
    ("content", "first", "last", "gives", "of"),
    [
        (b"a\nb\nc\n", 1, None, b"a\nb\nc\n", 3),
        (b"a\nb\nc", 2, 2, b"b\n", 3),
        (b"a\nb\nc", 3, 9, b"c", 3),
        (b"a\r\nb\r\n", 2, 2, b"b\r\n", 2),
        (b"\n\n\n", 2, 3, b"\n\n", 3),
        (b"a\n", 2, None, b"", 1),
        (b"", 1, None, b"", 0),
        (b"\n", 1, 1, b"\n", 1),
        (b"a", 5, 9, b"", 1),
    ],
)
def test_lines_are_counted_from_one_and_keep_their_ends(
    place: Place, opened: Open, content: bytes, first: int, last: int | None, gives: bytes, of: int
) -> None:
    (place.root / "file").write_bytes(content)

    lines = opened().read_lines("file", first, last)

    assert (lines.content, lines.total, lines.first) == (gives, of, first)
    assert lines.last == min(of, of if last is None else last)
    assert lines.sha256 == digest_of(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.sampled_from([b"\n", b"x", b"\r\n", b"long" * 9]), max_size=60),
    st.integers(1, 30),
    st.none() | st.integers(0, 30),
    st.integers(1, 7),
)
def test_lines_are_those_of_the_whole_whatever_the_blocks(
    place: Place, parts: list[bytes], first: int, more: int | None, block: int
) -> None:
    from aiex.sandbox import lines as module

    content = b"".join(parts)
    (place.root / "file").write_bytes(content)
    whole = content.split(b"\n")
    kept = [line + b"\n" for line in whole[:-1]] + ([whole[-1]] if whole[-1] else [])
    last = None if more is None else first + more
    handle = os.open(place.root / "file", os.O_RDONLY)
    before = module._BLOCK
    module._BLOCK = block
    try:
        wanted = module.LineRange(first, last, most=1 << 20, path="file")
        read = wanted.read(handle, len(content))
    finally:
        module._BLOCK = before
        os.close(handle)

    assert read.content == b"".join(kept[first - 1 : last])
    assert (read.total, read.seen, read.sha256) == (len(kept), len(content), digest_of(content))


def test_lines_of_a_file_larger_than_may_be_read_are_read_in_bounded_memory(
    place: Place, opened: Open
) -> None:
    import tracemalloc

    line = b"x" * 99 + b"\n"
    (place.root / "big").write_bytes(line * 200_000)  # 20 MB
    files = opened(FilePolicy(max_file_bytes=1000))

    with pytest.raises(PathRefusedError):
        files.read("big")
    tracemalloc.start()
    try:
        found = files.read_lines("big", 150_000, 150_009)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (found.content, found.total) == (line * 10, 200_000)
    assert peak < 4 << 20
    with pytest.raises(PathRefusedError) as refused:
        files.read_lines("big", 1, 11)
    assert (refused.value.rule, refused.value.hint) == ("too_large", "ask for fewer lines")
    with pytest.raises(PathRefusedError, match="over the limit"):
        opened(FilePolicy(max_total_bytes=1000)).read_lines("big", 1, 1)
    for first, last in ((0, None), (3, 2), (-1, 1)):
        with pytest.raises(UsageError):
            files.read_lines("big", first, last)


def test_lines_read_while_they_are_written_are_of_one_file(place: Place, opened: Open) -> None:
    sides = [(letter * 999 + b"\n") * 300 for letter in (b"a", b"b")]
    (place.root / "file").write_bytes(sides[0])
    writer, reader = opened(), opened()
    stop = threading.Event()

    def replace() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            writer.write("file", sides[number % 2], overwrite=True)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(100):
            lines = reader.read_lines("file", 2, 299)
            assert len(set(lines.content)) == 2
            assert lines.sha256 in {digest_of(side) for side in sides}
    finally:
        stop.set()
        thread.join()


def test_every_change_is_on_the_record_before_and_after(place: Place, opened: Open) -> None:
    files = opened()
    files.write("a", b"1")
    files.append("a", b"2")
    files.copy("a", "b")
    files.move("b", "c")
    files.delete("c")
    files.mkdir("d/e", parents=True)
    files.list()
    files.read_lines("a", 1, 1)
    for refused, error in (
        (lambda: files.write("a", b""), ConflictError),
        (lambda: files.append("../x", b""), PathRefusedError),
        (lambda: files.delete("nothing"), NotFoundError),
        (lambda: files.move("a", ".git/x"), PathRefusedError),
        (lambda: files.mkdir("d"), ConflictError),
    ):
        with pytest.raises(error):
            refused()

    told = [
        (r["op"], r["kind"], r.get("path"), r.get("decision", "allow"), r.get("rule"))
        for r in place.records()
    ]

    def pair(op: str, *paths: str) -> list[tuple[str, str, str, str, None]]:
        return [(op, kind, path, "allow", None) for kind in ("intent", "op") for path in paths]

    assert told == [
        *pair("write", "a"),
        *pair("append", "a"),
        ("read", "op", "a", "allow", None),
        *pair("copy", "b"),
        *pair("move", "c", "b"),
        *pair("delete", "c"),
        *pair("mkdir", "d/e"),
        ("list", "op", ".", "allow", None),
        ("read_lines", "op", "a", "allow", None),
        ("write", "op", "a", "allow", None),
        ("append", "op", "../x", "deny", "outside_root"),
        ("delete", "op", "nothing", "allow", None),
        ("move", "op", "a", "deny", "protected_name"),
        ("mkdir", "op", "d", "allow", None),
    ]
    records = place.records()
    append = next(r for r in records if r["op"] == "append" and r["kind"] == "op")
    assert (append["sha256_before"], append["sha256_after"]) == (digest_of(b"1"), digest_of(b"12"))
    copied = next(r for r in records if r["op"] == "copy" and r["kind"] == "op")
    assert copied["reason"] == "from a"
    gone = [r for r in records if r["op"] == "move" and r["kind"] == "op" and r["path"] == "b"]
    assert (gone[0]["sha256_before"], gone[0].get("sha256_after")) == (digest_of(b"12"), None)
    assert all(r.get("reason") for r in records[-5:])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_without_a_log_no_verb_does_anything(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"old")
    files = opened()
    files.read("file")
    full = os.open("/dev/full", os.O_WRONLY)
    handle = files._audit._segment[1]
    whole = os.dup(handle)
    os.dup2(full, handle)  # the disk is full from now on

    for attempt in (
        lambda: files.write("file", b"new", overwrite=True),
        lambda: files.append("file", b"new"),
        lambda: files.delete("file"),
        lambda: files.copy("file", "new"),
        lambda: files.move("file", "new"),
        lambda: files.mkdir("new"),
        files.list,
        lambda: files.read_lines("file"),
    ):
        with pytest.raises(RefusedError, match="audit log"):
            attempt()
    os.dup2(whole, handle)
    os.close(whole)
    os.close(full)
    assert names_below(place.root) == ["file"]
    assert (place.root / "file").read_bytes() == b"old"


CHILD = """
import os, signal, sys
from pathlib import Path
from aiex.core import Actor
from aiex.sandbox import AuditLog, FilePolicy, Files, journal

calls = [0]
def stepping(function):
    def step(*args, **kwargs):
        calls[0] += 1
        if calls[0] == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return step
base = Path(sys.argv[1])
with AuditLog(base / "state" / "audit") as log:
    files = Files(base / "project", state=base / "state", policy=FilePolicy(), audit=log,
                  actor=Actor(user="u", interface="cli"), op_id="op")
    for name in ("open", "mkdir", "write", "fchmod", "fsync", "rename", "unlink", "link"):
        setattr(os, name, stepping(getattr(os, name)))
    Path.replace, Path.unlink = stepping(Path.replace), stepping(Path.unlink)
    journal.exchange, journal.move_new = stepping(journal.exchange), stepping(journal.move_new)
    {
        "write": lambda: files.write("file", b"new", overwrite=True),
        "append": lambda: files.append("file", b" new"),
        "delete": lambda: files.delete("file"),
        "copy": lambda: files.copy("file", "to/copy"),
        "move": lambda: files.move("file", "to/moved"),
    }[sys.argv[3]]()
"""

AFTER = {
    "write": {"file": b"new"},
    "append": {"file": b"old new"},
    "delete": {},
    "copy": {"file": b"old", "to/copy": b"old"},
    "move": {"to/moved": b"old"},
}


@pytest.mark.parametrize("verb", AFTER)
def test_a_kill_in_any_verb_leaves_old_or_new(place: Place, verb: str) -> None:
    before = {"file": b"old"}
    seen = set()
    for at in sorted(Random(verb).sample(range(1, 45), 7)):
        base = place.root.parent / f"kill{at}"
        base.mkdir()
        fresh = type(place)(base, place._stack)
        (fresh.root / "file").write_bytes(b"old")
        script = [sys.executable, "-c", CHILD, str(base), str(at), verb]
        ran = subprocess.run(script, check=False, capture_output=True)
        assert ran.returncode in {0, -signal.SIGKILL}, ran.stderr.decode()
        now = {
            n: (fresh.root / n).read_bytes()
            for n in AFTER[verb] | before
            if (fresh.root / n).exists()
        }
        assert all(now[name] in {before.get(name), AFTER[verb].get(name)} for name in now)
        fresh.files().recover()
        left = {
            str(path.relative_to(fresh.root)): path.read_bytes()
            for path in fresh.root.rglob("*")
            if path.is_file()
        }
        assert left in (before, AFTER[verb])
        assert fresh.files().recover() == []
        seen.add(ran.returncode)
    assert -signal.SIGKILL in seen


def test_names_that_are_not_utf8_are_changed_and_recovered(place: Place, opened: Open) -> None:
    name = os.fsdecode(b"caf\xe9")
    files = opened()

    files.write(name, b"1")
    files.append(name, b"2")
    files.move(name, f"{name}2")

    assert [os.fsencode(path.name) for path in place.root.iterdir()] == [b"caf\xe92"]
