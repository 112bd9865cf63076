"""A scan lists what is there once, names what it passes by, and ends whatever the tree is like."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiex.core import NotFoundError, PathRefusedError
from aiex.sandbox import FilePolicy, Files, Scan

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

Open = Callable[..., Files]


def paths(scan: Scan) -> list[str]:
    return [entry.path for entry in scan.entries]


def reasons(scan: Scan) -> dict[str, str]:
    return {one.what: one.reason for one in scan.left_out}


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode("utf-8", "surrogateescape"))


def test_files_are_listed_by_path_with_what_the_folder_says(place: Place, opened: Open) -> None:
    lay(place.root, "b", "a/z", "a/b/c", "a.py", "A")
    (place.root / "a.py").chmod(0o750)

    scan = opened().scan()

    assert paths(scan) == ["A", "a.py", "a/b/c", "a/z", "b"]
    status = (place.root / "a.py").stat()
    entry = scan.entries[1]
    assert (entry.size, entry.mode, entry.inode) == (4, 0o750, status.st_ino)
    assert (entry.mtime_ns, entry.ctime_ns) == (status.st_mtime_ns, status.st_ctime_ns)
    assert scan.left_out == ()


def test_several_starts_list_each_file_once(place: Place, opened: Open) -> None:
    lay(place.root, "a/b/c", "a/d", "e")
    (place.root / "link").symlink_to("a/b")

    assert paths(opened().scan(["a", "a/b", "link", "e", "a/d"])) == ["a/b/c", "a/d", "e"]


def test_a_start_that_is_outside_protected_or_missing_is_refused(
    place: Place, opened: Open
) -> None:
    lay(place.root, ".git/config", "a/.env")
    (place.root / "out").symlink_to("../outside")
    files = opened(FilePolicy(protected=("Private",)))
    lay(place.root, "private/key")

    for start in ("..", "out", ".git", "a/.env", "x/../..", "private"):
        with pytest.raises(PathRefusedError):
            files.scan([start])
    with pytest.raises(NotFoundError):
        files.scan(["missing"])
    assert paths(files.scan()) == []


def test_links_are_counted_and_never_followed(place: Place, opened: Open) -> None:
    lay(place.root, "a/file")
    (place.root / "a" / "self").symlink_to(".")
    (place.root / "a" / "up").symlink_to("..")
    (place.root / "out").symlink_to("../outside")
    (place.root / "dangling").symlink_to("nothing")
    (place.root / "file").symlink_to("a/file")

    scan = opened().scan()

    assert paths(scan) == ["a/file"]
    assert reasons(scan) == {"5 more": "symbolic links are not followed"}


def test_pipes_and_sockets_are_named_and_hold_nothing_up(place: Place, opened: Open) -> None:
    lay(place.root, "file")
    os.mkfifo(place.root / "pipe")
    here = Path.cwd()
    os.chdir(place.root)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)

    scan = opened().scan()

    assert paths(scan) == ["file"]
    assert reasons(scan) == {"pipe": "it is no regular file", "socket": "it is no regular file"}
    assert reasons(opened().scan(["pipe"])) == {"pipe": "it is no regular file"}


@pytest.mark.usefixtures("ordinary_user")
def test_what_may_not_be_read_is_named(place: Place, opened: Open) -> None:
    lay(place.root, "open/file", "closed/file", "listed/file", "locked")
    (place.root / "closed").chmod(0)
    (place.root / "listed").chmod(0o444)
    (place.root / "locked").chmod(0)

    scan = opened().scan()
    for name in ("closed", "listed"):
        (place.root / name).chmod(0o755)

    assert paths(scan) == ["locked", "open/file"]
    assert reasons(scan) == {"closed": "it may not be read", "listed/file": "it may not be read"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("\udcff.py", "its name is not UTF-8"),
        ("a\x1b[2Jb", "its name holds control or direction characters"),
        ("new\nline", "its name holds control or direction characters"),
        ("\u202egnp.py", "its name holds control or direction characters"),
        ("\x7f", "its name holds control or direction characters"),
    ],
)
def test_names_that_act_on_a_terminal_are_left_out_and_shown_harmless(
    place: Place, opened: Open, name: str, reason: str
) -> None:
    lay(place.root, name, f"folder/{name}/inner")

    for scan in (opened().scan(), opened().scan([name, "folder"])):
        assert paths(scan) == []
        assert set(reasons(scan).values()) == {reason}
        assert len(scan.left_out) == 2
        assert all(one.what.isprintable() for one in scan.left_out)


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "R&D.md",
        "ä",
        "日本語",
        "a\u00a0b",
        "👩\u200d💻",
        "\U0001fae8",
        "می\u200cخواهم",
        "%41",
        "~",
    ],
)
def test_honest_names_of_all_scripts_are_listed(place: Place, opened: Open, name: str) -> None:
    lay(place.root, name)

    assert paths(opened().scan()) == [name]
    assert opened().read(name).path == name


def test_a_tree_3000_folders_deep_ends_with_few_handles(place: Place, opened: Open) -> None:
    here = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(3000):
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        os.mkdir("d", dir_fd=here)
        child = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = child
    os.close(here)
    files = opened()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 220, hard))
    try:
        scan = files.scan()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        subprocess.run(["rm", "-rf", str(place.root / "d")], check=True)

    assert len(scan.entries) == 200
    assert list(reasons(scan).values()) == ["it is more than 200 folders deep"]


@pytest.mark.parametrize("shape", ["wide", "deep", "ignored"])
def test_entries_are_bounded_wherever_they_are(place: Place, opened: Open, shape: str) -> None:
    names = [f"{number:04}" for number in range(300)]
    if shape == "deep":
        names = [f"{number % 10}/{number % 3}/{number}" for number in range(300)]
    if shape == "ignored":
        (place.root / ".gitignore").write_text("*")
    lay(place.root, *names)

    scan = opened(FilePolicy(max_entries=50)).scan()

    assert len(scan.entries) == {"wide": 50, "ignored": 0}.get(shape, len(scan.entries)) <= 50
    assert "there are more entries than the limit allows" in reasons(scan).values()


def test_at_most_200_things_are_named_and_the_rest_counted(place: Place, opened: Open) -> None:
    for number in range(250):
        os.mkfifo(place.root / f"{number:03}")

    scan = opened().scan()

    assert len(scan.left_out) == 201
    assert scan.left_out[-1].what == "50 more"


def test_protected_names_are_not_listed_in_any_spelling(place: Place, opened: Open) -> None:
    lay(place.root, ".git/config", ".GIT/x", "git~1/x", "a/.env", "a/.env.example", ".mcp.json")

    assert paths(opened().scan()) == [".mcp.json", "a/.env.example"]


def test_folders_that_tools_fill_are_passed_by(place: Place, opened: Open) -> None:
    lay(place.root, "node_modules/a.js", ".venv/b.py", "__pycache__/c.pyc", "deps/d.ex", "e/deps/f")
    assert paths(opened().scan()) == ["deps/d.ex", "e/deps/f"]

    lay(place.root, "mix.exs")
    assert paths(opened().scan()) == ["e/deps/f", "mix.exs"]


def test_one_scan_is_one_record_with_count_and_digest(place: Place, opened: Open) -> None:
    lay(place.root, "a", "b")
    files = opened()
    files.scan()
    files.scan()
    (place.root / "b").write_bytes(b"changed")
    files.scan()

    first, second, third = place.records()
    assert first["count"] == second["count"] == 2
    assert first["sha256_before"] == second["sha256_before"] != third["sha256_before"]


def test_a_tree_that_changes_while_it_is_listed_is_no_fault(place: Place, opened: Open) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            lay(place.root, f"d{number % 7}/e/f{number % 5}")
            shutil.rmtree(place.root / f"d{(number + 3) % 7}", ignore_errors=True)

    files = opened()
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(150):
            assert len(files.scan().entries) <= 35
    finally:
        stop.set()
        thread.join()
