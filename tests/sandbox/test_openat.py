"""Whatever a path leads through, what is opened is inside; by the kernel and by our own walk."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiex.core import NotFoundError, PathRefusedError
from aiex.sandbox import FilePolicy, Files, split_path
from aiex.sandbox.openat import EscapeError, open_beneath

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

Open = Callable[..., Files]


def refusal(files: Files, path: str) -> str:
    with pytest.raises(PathRefusedError) as refused:
        files.read(path)
    return refused.value.rule


def test_links_inside_are_followed_and_named_by_what_they_lead_to(
    place: Place, opened: Open
) -> None:
    (place.root / "a" / "b").mkdir(parents=True)
    (place.root / "a" / "b" / "file").write_bytes(b"inside")
    (place.root / "folder").symlink_to("a/b")
    (place.root / "a" / "up").symlink_to("../a/./b/../b//file")
    (place.root / "chain").symlink_to("a/up")
    files = opened()

    for path in ("folder/file", "a/up", "chain", "folder/../b/file", "a/b/../../chain"):
        assert (files.read(path).path, files.read(path).content) == ("a/b/file", b"inside")


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../outside/secret.txt", "../../../../../../etc/passwd", "a/../../outside"],
)
@pytest.mark.parametrize("place_of_link", ["last", "middle", "chain"])
def test_links_that_lead_out_are_refused(
    place: Place, opened: Open, target: str, place_of_link: str
) -> None:
    (place.root / "a").mkdir()
    (place.root / "link").symlink_to(target)
    (place.root / "chain").symlink_to("a/../link")
    path = {"last": "link", "middle": "link/secret.txt", "chain": "chain"}[place_of_link]

    assert refusal(opened(), path) == "outside_root"


def test_an_absolute_link_that_leads_inside_is_refused_too(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"x")
    (place.root / "link").symlink_to(place.root / "file")

    assert refusal(opened(), "link") == "outside_root"


@pytest.mark.parametrize("path", ["a/../../outside/secret.txt", "..", "../outside/secret.txt"])
def test_parents_of_the_root_are_refused(place: Place, opened: Open, path: str) -> None:
    (place.root / "a").mkdir()

    assert refusal(opened(), path) == "outside_root"


def test_a_parent_behind_a_link_counts_from_where_the_link_leads(
    place: Place, opened: Open
) -> None:
    (place.root / "x" / "y").mkdir(parents=True)
    (place.root / "x" / "file").write_bytes(b"in x")
    (place.root / "deep").symlink_to("x/y")
    (place.root / "here").symlink_to(".")
    files = opened()

    assert files.read("deep/../file").content == b"in x"
    assert refusal(files, "here/../outside/secret.txt") == "outside_root"


def test_magic_links_are_refused(place: Place, opened: Open) -> None:
    (place.root / "me").symlink_to("/proc/self/root/etc/passwd")
    (place.root / "fd").symlink_to("/dev/fd/0")

    assert refusal(opened(), "me") == "outside_root"
    assert refusal(opened(), "fd") == "outside_root"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_magic_links_below_the_root_are_not_followed(portable: bool) -> None:
    root = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path in ("self/root/etc/hostname", "self/cwd/x", "self/exe", "thread-self/fd/0"):
            with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is what counts
                open_beneath(root, split_path(path), os.O_RDONLY, portable=portable)
            assert refused.value.errno in {errno.EXDEV, errno.ELOOP}
    finally:
        os.close(root)


def test_circles_of_links_end(place: Place, opened: Open) -> None:
    (place.root / "one").symlink_to("two")
    (place.root / "two").symlink_to("one")
    (place.root / "self").symlink_to("self/self")
    for number in range(60):
        (place.root / f"l{number}").symlink_to(f"l{number + 1}")
    (place.root / "l60").write_bytes(b"end")
    files = opened()

    assert refusal(files, "one") == "link_loop"
    assert refusal(files, "self/x") == "link_loop"
    assert refusal(files, "l0") == "link_loop"
    assert files.read("l30").content == b"end"


def test_links_to_devices_are_refused_without_opening_them(place: Place, opened: Open) -> None:
    for name in ("zero", "null", "tty", "random"):
        (place.root / name).symlink_to(f"/dev/{name}")
        assert refusal(opened(), name) == "outside_root"


def test_pipes_sockets_and_folders_are_no_files_and_never_hang(place: Place, opened: Open) -> None:
    os.mkfifo(place.root / "pipe")
    (place.root / "folder").mkdir()
    (place.root / "to_pipe").symlink_to("pipe")
    here = Path.cwd()
    os.chdir(place.root)  # the address of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)
    files = opened()

    for path in ("pipe", "to_pipe", "socket", "folder", "."):
        assert refusal(files, path) == "not_a_file"
    assert not files.exists("pipe")
    assert files.exists("folder")
    with pytest.raises(PathRefusedError):
        files.stat("pipe")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_devices_are_no_files(place: Place, opened: Open) -> None:
    try:
        os.mknod(place.root / "zero", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("devices cannot be made here")

    assert refusal(opened(), "zero") in {"not_a_file", "not_permitted"}


def test_hard_links_are_read_or_refused_by_policy(place: Place, opened: Open) -> None:
    (place.root / "one").write_bytes(b"shared")
    (place.root / "two").hardlink_to(place.root / "one")

    assert opened(FilePolicy(hardlinks="read")).read("one").content == b"shared"
    assert refusal(opened(FilePolicy(hardlinks="deny")), "two") == "hardlink"


def test_sizes_are_bounded_also_of_sparse_files(place: Place, opened: Open) -> None:
    with (place.root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (place.root / "small").write_bytes(b"12345")
    files = opened(FilePolicy(max_file_bytes=5))

    assert refusal(files, "sparse") == "too_large"
    assert files.read("small").content == b"12345"
    with pytest.raises(PathRefusedError, match="over the limit of 4"):
        files.read("small", limit=4)
    with pytest.raises(PathRefusedError, match="over the limit of 5"):
        files.read("sparse", limit=1 << 50)
    with pytest.raises(PathRefusedError, match="over the limit of 0"):
        files.read("small", limit=0)


def test_a_link_to_a_protected_name_is_refused(place: Place, opened: Open) -> None:
    (place.root / ".git").mkdir()
    (place.root / ".git" / "config").write_bytes(b"[core]")
    (place.root / ".env").write_bytes(b"KEY=1")
    (place.root / "innocent").symlink_to(".git")
    (place.root / "sample").symlink_to(".env")
    files = opened()

    for path in ("innocent/config", "sample", ".git/config", "x/../.git/config", ".GIT/config"):
        (place.root / "x").mkdir(exist_ok=True)
        assert refusal(files, path) == "protected_name"
    for path in ("innocent", "innocent/config"):
        with pytest.raises(PathRefusedError):
            files.scan([path])
        with pytest.raises(PathRefusedError):
            files.exists(path)


def test_what_is_protected_is_refused_also_while_it_is_missing(place: Place, opened: Open) -> None:
    for path in (".git/hooks/pre-commit", ".mcp.json/../.aiex/x", "sub/.envrc"):
        assert refusal(opened(), path) == "protected_name"


@pytest.mark.usefixtures("ordinary_user")
def test_what_may_not_be_read_is_refused(place: Place, opened: Open) -> None:
    (place.root / "locked").write_bytes(b"x")
    (place.root / "locked").chmod(0)
    (place.root / "closed").mkdir(mode=0)

    assert refusal(opened(), "locked") == "not_permitted"
    assert refusal(opened(), "closed/x") == "not_permitted"


def test_what_is_not_there_is_not_found(place: Place, opened: Open) -> None:
    (place.root / "file").write_bytes(b"")
    (place.root / "dangling").symlink_to("nothing")

    for path in ("nothing", "nothing/x", "file/x", "dangling", "x/../file"):
        with pytest.raises(NotFoundError):
            opened().read(path)


@pytest.mark.parametrize(
    "name", ["a$b.ex", "R&D.md", "v1..v2.diff", " ", "%2e%2e", "ä\u0308", "\udcff", "a\\b", "-n"]
)
def test_legal_odd_names_are_read(place: Place, opened: Open, name: str) -> None:
    (place.root / name).write_bytes(b"odd")

    assert opened().read(name).content == b"odd"


@pytest.mark.parametrize("path", ["/x\0y", "\ud800", "/\ud800", "n" * 300, "d/" * 3000 + "f"])
def test_what_no_file_system_holds_is_an_answer_and_no_fault(
    place: Place, opened: Open, path: str
) -> None:
    with pytest.raises((PathRefusedError, NotFoundError)):
        opened().read(path)


def test_deep_paths_are_read_and_handles_stay_few(place: Place, portable: bool) -> None:
    import resource

    root = os.open(place.root, os.O_RDONLY | os.O_DIRECTORY)
    here = os.dup(root)
    depth = 3000
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        child = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = child
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/dev/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
    try:
        names = ("d",) * depth
        handle, resolved = open_beneath(root, (*names, "file"), os.O_RDONLY, portable=portable)
        os.close(handle)
        assert len(resolved) == depth + 1
        ups = ("d", "..") * 30_000
        with pytest.raises(OSError, match="too long"):
            open_beneath(root, (*ups, "d"), os.O_RDONLY, portable=portable)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(root)
        subprocess.run(["rm", "-rf", str(place.root / "d")], check=True)


MOUNTED = """
import os, sys
from pathlib import Path
from aiex.core import Actor, PathRefusedError
from aiex.sandbox import AuditLog, FilePolicy, Files
base = Path(sys.argv[1])
(base / "project" / "mounted" / "file").write_bytes(b"x")
with AuditLog(base / "state") as log:
    files = Files(base / "project", state=base / "state", policy=FilePolicy(), audit=log,
                  actor=Actor(user="u", interface="cli"), op_id="op",
                  portable=sys.argv[2] == "True")
    for path in ("mounted/file", "link"):
        try:
            files.read(path)
        except PathRefusedError as error:
            print(error.rule)
    scan = files.scan()
    print([e.path for e in scan.entries], [n.reason for n in scan.left_out][0])
"""


def test_what_is_mounted_inside_is_not_part_of_the_root(place: Place, portable: bool) -> None:
    (place.root / "mounted").mkdir()
    (place.root / "link").symlink_to("mounted/file")
    mount = f'mount -t tmpfs none "{place.root}/mounted" || exit 77; exec "$@"'
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    script = [sys.executable, "-c", MOUNTED, str(place.root.parent), str(portable)]
    try:
        ran = subprocess.run(
            [*unshare, "sh", "-c", mount, "sh", *script],
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if ran.returncode == 77 or "unshare failed" in ran.stderr:
        pytest.skip("nothing can be mounted here")

    assert ran.stdout.splitlines() == [
        "outside_root",
        "outside_root",
        "[] it is another file system",
    ], ran.stderr


def test_the_root_may_be_reached_by_its_absolute_path(place: Place, opened: Open) -> None:
    (place.root / "sub").mkdir()
    (place.root / "sub" / "file").write_bytes(b"x")
    (place.root.parent / "project2").mkdir()
    (place.root.parent / "project2" / "file").write_bytes(b"x")
    other = place.root.parent / "alias"
    other.symlink_to(place.root)
    files = opened()

    assert files.read(str(place.root / "sub" / "file")).path == "sub/file"
    assert files.read(str(other / "sub" / "file")).path == "sub/file"
    for path in ("project2/file", "outside/secret.txt", "projec", "project/../outside/secret.txt"):
        assert refusal(files, str(place.root.parent / path)) == "outside_root"


def test_an_escape_is_an_error_of_the_operating_system() -> None:
    assert issubclass(EscapeError, OSError)
