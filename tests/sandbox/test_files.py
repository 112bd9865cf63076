"""What may be done to files, what is left of them, and that each operation is on the record."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiex.core import (
    AiexError,
    ConflictError,
    FileEdit,
    NotFoundError,
    PathRefusedError,
    RefusedError,
    UsageError,
    digest_of,
)
from aiex.sandbox import FileContent, FilePolicy, Files

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

Open = Callable[..., Files]


def edit(path: str, after: bytes | None, before: bytes | None = None, **more: Any) -> FileEdit:
    return FileEdit(
        path=path, after=after, before_sha256=None if before is None else digest_of(before), **more
    )


def open_handles() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_read_whole_with_its_digest(place: Place, opened: Open) -> None:
    content = b"one\r\ntwo\n\x00\xff"
    (place.root / "file").write_bytes(content)
    (place.root / "file").chmod(0o640)

    read = opened().read("./file")

    assert (read.path, read.content, read.sha256) == ("file", content, digest_of(content))
    assert (read.mode, read.mtime_ns) == (0o640, (place.root / "file").stat().st_mtime_ns)


def test_empty_files_and_files_of_many_blocks_are_read(place: Place, opened: Open) -> None:
    big = os.urandom(1 << 20) * 5 + b"end"
    (place.root / "empty").write_bytes(b"")
    (place.root / "big").write_bytes(big)

    assert opened().read("empty").content == b""
    assert opened().read("big").content == big


def test_many_files_are_read_to_the_limit_of_all_of_them(place: Place, opened: Open) -> None:
    for name in "abc":
        (place.root / name).write_bytes(name.encode() * 4)
    files = opened(FilePolicy(max_total_bytes=10))

    found = files.read_many(["a", "../x", "b", "missing", "c"])

    assert [f.content for f in found if isinstance(f, FileContent)] == [b"aaaa", b"bbbb"]
    assert [type(f) for f in found if isinstance(f, AiexError)] == [
        PathRefusedError,
        NotFoundError,
        PathRefusedError,
    ]


def test_nothing_more_is_read_when_the_limit_of_all_is_used_up(place: Place, opened: Open) -> None:
    (place.root / "a").write_bytes(b"1234")
    (place.root / "b").write_bytes(b"5")
    found = opened(FilePolicy(max_total_bytes=4)).read_many(["a", "b"])

    assert isinstance(found[1], PathRefusedError)
    assert found[1].rule == "too_large"


def test_stat_says_what_the_folder_says(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"12345")
    status = (place.root / "file").stat()

    entry = opened().stat("file")

    assert (entry.path, entry.size, entry.inode) == ("file", 5, status.st_ino)


def test_exists_tells_files_and_folders_from_everything_else(place: Place, opened: Open) -> None:
    (place.root / "folder").mkdir()
    (place.root / "file").touch()
    files = opened()

    assert files.exists("file")
    assert files.exists("folder")
    assert files.exists(".")
    assert not files.exists("missing")
    with pytest.raises(PathRefusedError):
        files.exists("../outside")


def test_changes_keep_permissions_and_every_byte(place: Place, opened: Open) -> None:
    (place.root / "script").write_bytes(b"old\r\n")
    (place.root / "script").chmod(0o751)
    after = b"new\r\nline\rlast without end"

    opened().apply([edit("script", after, b"old\r\n")])

    assert (place.root / "script").read_bytes() == after
    assert (place.root / "script").stat().st_mode & 0o7777 == 0o751
    assert names_below(place.root) == ["script"]


def test_new_content_gets_no_special_permission_bits(place: Place, opened: Open) -> None:
    (place.root / "tool").write_bytes(b"old")
    (place.root / "tool").chmod(0o6755)

    opened().apply([edit("tool", b"new", b"old"), edit("fresh", b"x", mode=0o4755)])

    assert (place.root / "tool").stat().st_mode & 0o7777 == 0o755
    assert (place.root / "fresh").stat().st_mode & 0o7000 == 0


def test_new_files_and_folders_honour_the_umask(place: Place, opened: Open) -> None:
    before = os.umask(0o077)
    try:
        opened().apply([edit("a/b/plain", b"x"), edit("a/run", b"x", mode=0o755)])
    finally:
        os.umask(before)

    modes = {
        name: (place.root / name).stat().st_mode & 0o777 for name in ("a", "a/b/plain", "a/run")
    }
    assert modes == {"a": 0o700, "a/b/plain": 0o600, "a/run": 0o700}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_a_file_stays_its_owners(place: Place, opened: Open) -> None:
    (place.root / "theirs").write_bytes(b"old")
    os.chown(place.root / "theirs", 65534, 65534)

    opened().apply([edit("theirs", b"new", b"old")])

    status = (place.root / "theirs").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65534)


def test_attributes_of_the_user_stay(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"old")
    try:
        os.setxattr(place.root / "file", "user.note", b"kept")
    except (OSError, AttributeError):
        pytest.skip("this file system keeps no attributes")

    opened().apply([edit("file", b"new", b"old")])

    assert os.getxattr(place.root / "file", "user.note") == b"kept"


def test_writing_never_reaches_a_shared_inode(place: Place, opened: Open) -> None:
    (place.outside / "shared").write_bytes(b"old")
    (place.root / "mine").hardlink_to(place.outside / "shared")

    opened().apply([edit("mine", b"new", b"old")])

    assert (place.root / "mine").read_bytes() == b"new"
    assert (place.outside / "shared").read_bytes() == b"old"


def test_a_link_inside_stays_and_what_it_leads_to_is_written(place: Place, opened: Open) -> None:
    (place.root / "sub").mkdir()
    (place.root / "sub" / "real").write_bytes(b"old")
    (place.root / "link").symlink_to("sub/real")
    (place.root / "folder").symlink_to("sub")

    applied = opened().apply([edit("link", b"new", b"old"), edit("folder/x/fresh", b"f")])

    assert applied.paths == ("sub/real", "sub/x/fresh")
    assert (place.root / "link").is_symlink()
    assert (place.root / "sub" / "real").read_bytes() == b"new"
    assert (place.root / "sub" / "x" / "fresh").read_bytes() == b"f"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("../outside/new", "outside_root"),
        ("link/new", "outside_root"),
        ("file_link", "outside_root"),
        ("/tmp/elsewhere-of-nobody/new", "outside_root"),
        (".git/hooks/pre-commit", "protected_name"),
        ("a/.GIT/config", "protected_name"),
        ("git~1/config", "protected_name"),
        (".vscode/tasks.json", "protected_name"),
        (".mcp.json", "protected_name"),
        ("hidden/tasks.json", "protected_name"),
        (".envrc", "protected_name"),
        ("folder", "not_a_file"),
        ("pipe", "not_a_file"),
        (".", "no_file"),
        ("folder/..", "no_file"),
    ],
)
def test_nothing_is_written_where_nothing_may_be(
    place: Place, opened: Open, path: str, rule: str
) -> None:
    (place.root / "link").symlink_to("../outside")
    (place.root / "file_link").symlink_to("../outside/secret.txt")
    (place.root / ".vscode").mkdir()
    (place.root / "hidden").symlink_to(".vscode")
    (place.root / "folder").mkdir()
    os.mkfifo(place.root / "pipe")
    before = names_below(place.root.parent)

    with pytest.raises(PathRefusedError) as refused:
        opened().apply([edit("good", b"x"), edit(path, b"x")])

    assert refused.value.rule == rule
    assert [n for n in names_below(place.root.parent) if not n.startswith("state")] == before


def test_every_path_and_digest_is_checked_before_anything_is_written(
    place: Place, opened: Open
) -> None:
    (place.root / "one").write_bytes(b"1")
    (place.root / "two").write_bytes(b"changed")
    good = [edit("one", b"new", b"1"), edit("folder/new", b"x")]
    files = opened()

    for bad, error in [
        (edit("two", b"x", b"2"), ConflictError),
        (edit("gone", b"x", b"2"), ConflictError),
        (edit("two", b"x"), ConflictError),
        (edit("two", None, b"2"), ConflictError),
        (edit("./one", b"again", b"1"), UsageError),
        (edit("folder/sub/../new", b"again"), NotFoundError),
        (edit("missing/../fresh", b"x"), NotFoundError),
    ]:
        with pytest.raises(error):
            files.apply([*good, bad])
        with pytest.raises(error):
            files.check([*good, bad])
        assert names_below(place.root) == ["one", "two"]
        assert (place.root / "one").read_bytes() == b"1"


def test_two_edits_of_one_new_file_are_refused_however_they_are_spelt(
    place: Place, opened: Open
) -> None:
    (place.root / "a").mkdir()

    with pytest.raises(UsageError, match="two edits"):
        opened().apply([edit("fresh", b"1"), edit("a/../fresh", b"2")])


def test_what_is_too_large_is_not_written(place: Place, opened: Open) -> None:
    with pytest.raises(UsageError, match="over the limit"):
        opened(FilePolicy(max_file_bytes=3)).apply([edit("big", b"1234")])
    assert names_below(place.root) == []


def test_files_are_deleted_only_as_they_were(place: Place, opened: Open) -> None:
    (place.root / "gone").write_bytes(b"x")

    with pytest.raises(ConflictError):
        opened().apply([edit("gone", None, b"y")])
    opened().apply([edit("gone", None, b"x")])

    assert names_below(place.root) == []


@pytest.mark.usefixtures("ordinary_user")
def test_a_folder_that_may_not_be_written_leaves_all_as_it_was(place: Place, opened: Open) -> None:
    (place.root / "closed").mkdir(mode=0o555)

    with pytest.raises(RefusedError, match="nothing was written"):
        opened().apply([edit("new/file", b"x"), edit("closed/file", b"x")])

    assert names_below(place.root) == ["closed"]


def test_every_operation_leaves_a_record(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"old")
    files = opened()

    files.read("file")
    files.stat("file")
    files.exists("file")
    files.exists("missing")
    files.scan()
    files.read_many(["file"])
    with pytest.raises(NotFoundError):
        files.read("missing")
    with pytest.raises(PathRefusedError):
        files.read("../outside/secret.txt")
    files.check([edit("file", b"new", b"old")])
    files.apply([edit("file", b"new", b"old"), edit("b", b"x")], op_id="change-1")
    with pytest.raises(ConflictError):
        files.apply([edit("file", b"new", b"old")])

    told = [
        (r["op"], r["kind"], r.get("path"), r.get("decision", "allow")) for r in place.records()
    ]
    assert told == [
        ("read", "op", "file", "allow"),
        ("stat", "op", "file", "allow"),
        ("exists", "op", "file", "allow"),
        ("exists", "op", "missing", "allow"),
        ("scan", "op", ".", "allow"),
        ("read", "op", "file", "allow"),
        ("read", "op", "missing", "allow"),
        ("read", "op", "../outside/secret.txt", "deny"),
        ("check", "op", "file", "allow"),
        ("check", "op", "file", "allow"),
        ("check", "op", "b", "allow"),
        ("write", "intent", "file", "allow"),
        ("write", "intent", "b", "allow"),
        ("write", "op", "file", "allow"),
        ("write", "op", "b", "allow"),
        ("check", "op", "file", "allow"),
    ]
    write = next(r for r in place.records() if r["op"] == "write" and r["kind"] == "op")
    assert (write["sha256_before"], write["sha256_after"], write["op_id"]) == (
        digest_of(b"old"),
        digest_of(b"new"),
        "change-1",
    )
    assert place.records()[4]["count"] == 1


def test_a_change_that_failed_says_so_after_its_intent(place: Place, opened: Open) -> None:
    (place.state / "changes").parent.mkdir(exist_ok=True)
    (place.state / "changes").write_bytes(b"no folder")

    with pytest.raises(AiexError):
        opened().apply([edit("new", b"x")])

    intent, op = place.records()[-2:]
    assert (intent["kind"], op["kind"], op["decision"]) == ("intent", "op", "deny")
    assert names_below(place.root) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_without_a_log_nothing_is_read_or_written(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"old")
    files = opened()
    files.read("file")
    full = os.open("/dev/full", os.O_WRONLY)
    handle = files._audit._segment[1]
    whole = os.dup(handle)
    os.dup2(full, handle)  # the disk is full from now on

    for attempt in (
        lambda: files.read("file"),
        lambda: files.stat("file"),
        lambda: files.exists("file"),
        files.scan,
        lambda: files.check([edit("new", b"x")]),
        lambda: files.apply([edit("new", b"x")]),
    ):
        with pytest.raises(RefusedError, match="audit log"):
            attempt()
    os.dup2(whole, handle)
    os.close(whole)
    os.close(full)
    assert names_below(place.root) == ["file"]
    assert len(place.records()) == 1


def test_files_read_while_they_are_written_are_never_torn(place: Place, opened: Open) -> None:
    """Writers that replace, as ours do, are never seen half."""
    sides = [bytes([letter]) * 300_000 for letter in b"ab"]
    (place.root / "file").write_bytes(sides[0])
    writer = opened()
    reader = opened()
    stop = threading.Event()

    def replace() -> None:
        now = 0
        while not stop.is_set():
            writer.apply([edit("file", sides[1 - now], sides[now])])
            now = 1 - now

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        seen = {reader.read("file").content for _ in range(400)}
    finally:
        stop.set()
        thread.join()
    assert seen <= set(sides)


def test_a_folder_that_is_moved_out_while_a_change_waits_is_not_written(
    place: Place, opened: Open
) -> None:
    (place.root / "dir").mkdir()
    files = opened()
    root, targets = files._targets([edit("dir/new", b"x")])
    (place.root / "dir").rename(place.outside / "dir")
    (place.root / "dir").mkdir()

    with pytest.raises(ConflictError, match="moved"):
        root.journal.apply("op", targets, root.handle)
    for target in targets:
        target.close()

    assert names_below(place.outside) == ["dir", "secret.txt"]
    assert names_below(place.root) == ["dir"]


def test_a_root_that_is_no_folder_is_not_found(place: Place) -> None:
    place.root.rmdir()
    place.root.write_bytes(b"")

    with pytest.raises(NotFoundError, match="no folder"):
        place.files()


def test_no_handle_is_left_open(place: Place, opened: Open) -> None:
    (place.root / "a").mkdir()
    (place.root / "a" / "file").write_bytes(b"x")
    (place.root / "out").symlink_to("../outside")
    (place.root / ".git").mkdir()
    (place.root / "protected").symlink_to(".git")
    os.mkfifo(place.root / "pipe")
    files = opened()
    files.scan()
    before = open_handles()

    for path in ("a/file", "out/x", "protected/x", "pipe", "missing", "a", "a/../a/file", "out"):
        for verb in (files.read, files.stat, files.exists, lambda p: files.scan([p])):
            try:
                verb(path)
            except AiexError:
                continue
        for after in (b"y", None):
            try:
                files.check([edit("ok", b"x"), edit(path, after, b"other")])
            except AiexError:
                continue
    files.apply([edit("x/y/z", b"1")])
    with pytest.raises(ConflictError):
        files.apply([edit("x/y/z", b"1")])
    assert open_handles() == before


def test_records_name_the_root_by_its_digest_and_hold_no_content(
    place: Place, opened: Open
) -> None:
    (place.root / "file").write_bytes(b"CONTENT-OF-THE-FILE")
    files = opened()
    files.read("file")
    files.apply([edit("file", b"CONTENT-THAT-IS-NEW", b"CONTENT-OF-THE-FILE")])

    raw = place.log.read_text("ascii")
    assert "CONTENT" not in raw
    assert str(place.root) not in raw
    assert json.loads(raw.splitlines()[0])["root_id"] == digest_of(os.fsencode(place.root))[:12]
