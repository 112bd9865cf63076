"""Several roots: which one a path means, what each allows, and what of Aiex itself is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aiex.core import (
    Actor,
    AiexError,
    ConfigurationError,
    FileEdit,
    NotFoundError,
    PathRefusedError,
    UsageError,
    digest_of,
)
from aiex.sandbox import FilePolicy, Files
from aiex.sandbox.roots import Root

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

Open = Callable[..., Files]


@pytest.fixture
def around(place: Place, portable: bool) -> Callable[..., Files]:
    """Opens the project with further roots; the folders `more` and `docs` are there."""
    for name in ("more", "docs"):
        (place.root.parent / name).mkdir()
        (place.root.parent / name / "file").write_bytes(name.encode())
    (place.root / "file").write_bytes(b"project")

    def open_files(policy: FilePolicy | None = None, **more: Any) -> Files:
        return place.files(policy, portable=portable, **more)

    return open_files


def both(place: Place) -> dict[str, list[Path]]:
    base = place.root.parent
    return {"roots": [base / "more"], "readable": [base / "docs"]}


def rule_of(call: Callable[[], object]) -> str:
    with pytest.raises(PathRefusedError) as refused:
        call()
    return refused.value.rule


def test_relative_paths_mean_the_main_root_and_absolute_ones_the_root_around_them(
    place: Place, around: Open
) -> None:
    files = around(**both(place))
    base = place.root.parent

    assert files.read("file").content == b"project"
    assert files.read(f"{base}/project/file").path == "file"
    for name in ("more", "docs"):
        found = files.read(f"{base}/{name}/./file")
        assert (found.path, found.content) == (f"{base}/{name}/file", name.encode())
        assert files.stat(found.path).path == found.path
        assert files.read_lines(found.path).path == found.path
        assert files.exists(found.path)
        assert [f.path for f in files.list(f"{base}/{name}").files] == [found.path]
        assert [f.path for f in files.scan([f"{base}/{name}"]).entries] == [found.path]
    scanned = files.scan([".", f"{base}/docs"])
    assert [f.path for f in scanned.entries] == [f"{base}/docs/file", "file"]
    for path in (f"{base}/outside/secret.txt", f"{base}/more2/x", f"{base}/docs/../outside/x"):
        with pytest.raises(PathRefusedError, match="outside"):
            files.read(path)
    assert rule_of(lambda: files.read("../docs/file")) == "outside_root"


def test_a_root_is_told_by_its_folder_and_not_by_its_text(place: Place, around: Open) -> None:
    base = place.root.parent
    (base / "alias").symlink_to("docs")
    (base / "more" / "in").symlink_to("../docs")
    files = around(**both(place))

    assert files.read(f"{base}/alias/file").path == f"{base}/docs/file"
    assert files.read(f"{base}/project/../docs/file").path == f"{base}/docs/file"
    # The folder was moved and another took its name: the name means nothing then.
    (base / "docs").rename(base / "old")
    (base / "docs").mkdir()
    (base / "docs" / "file").write_bytes(b"SECRET")
    assert rule_of(lambda: files.read(f"{base}/docs/file")) == "outside_root"


def test_what_may_only_be_read_is_never_written(place: Place, around: Open) -> None:
    files = around(**both(place))
    there, new = f"{place.root.parent}/docs/file", f"{place.root.parent}/docs/sub/new"

    for call in (
        lambda: files.write(there, b"x", overwrite=True),
        lambda: files.write(new, b"x"),
        lambda: files.append(there, b"x"),
        lambda: files.delete(there),
        lambda: files.mkdir(f"{place.root.parent}/docs/sub"),
        lambda: files.copy("file", new),
        lambda: files.move("file", new),
        lambda: files.move(there, "new"),
        lambda: files.apply([FileEdit(path=new, after=b"x")]),
        lambda: files.check([FileEdit(path=there, after=b"x")]),
    ):
        assert rule_of(call) == "read_only"
    assert files.copy(there, "copy").path == "copy"
    assert sorted(path.name for path in (place.root.parent / "docs").iterdir()) == ["file"]
    assert (place.root / "file").exists()


def test_every_verb_writes_in_another_root(place: Place, around: Open) -> None:
    files = around(**both(place))
    more = f"{place.root.parent}/more"

    assert files.write(f"{more}/new", b"1").path == f"{more}/new"
    assert files.append(f"{more}/new", b"2").path == f"{more}/new"
    assert files.mkdir(f"{more}/sub") == f"{more}/sub"
    assert files.copy("file", f"{more}/sub/copy").path == f"{more}/sub/copy"
    assert files.move("file", f"{more}/sub/moved").path == f"{more}/sub/moved"
    assert files.move(f"{more}/new", "back").sha256_after == digest_of(b"12")
    applied = files.apply([FileEdit(path=f"{more}/applied", after=b"x")])
    assert applied.paths == (f"{more}/applied",)
    assert files.delete(f"{more}/applied").sha256_after is None

    assert sorted(path.name for path in place.root.iterdir()) == ["back"]
    found = [f.path.removeprefix(more) for f in files.scan([more]).entries]
    assert found == ["/file", "/sub/copy", "/sub/moved"]
    with pytest.raises(UsageError, match="one root"):
        files.apply([FileEdit(path="a", after=b""), FileEdit(path=f"{more}/a", after=b"")])
    assert files.recover() == []


def test_records_name_the_root_that_each_is_of(place: Place, around: Open) -> None:
    base = place.root.parent
    files = around(**both(place))
    files.read("file")
    files.read(f"{base}/docs/file")
    files.write(f"{base}/more/new", b"x")
    with pytest.raises(PathRefusedError):
        files.read(f"{base}/docs/.env")

    ids = {name: digest_of(os.fsencode(base / name))[:12] for name in ("project", "docs", "more")}
    assert [(r["op"], r["path"], r["root_id"]) for r in place.records()] == [
        ("read", "file", ids["project"]),
        ("read", "file", ids["docs"]),
        ("write", "new", ids["more"]),
        ("write", "new", ids["more"]),
        ("read", ".env", ids["docs"]),
    ]


def test_of_roots_in_one_another_the_nearest_that_allows_it_counts(
    place: Place, around: Open
) -> None:
    (place.root / "vendor").mkdir()
    base = place.root.parent
    files = around(roots=[base], readable=[place.root / "vendor"])

    assert files.write(f"{place.root}/vendor/x", b"1").path == "vendor/x"
    assert files.read(f"{place.root}/vendor/x").path == f"{place.root}/vendor/x"
    assert files.read(f"{base}/outside/secret.txt").content == b"SECRET"
    assert rule_of(lambda: files.read("../outside/secret.txt")) == "outside_root"


def test_a_root_that_is_not_there_leaves_no_handle(place: Place, around: Open) -> None:
    before = len(list(Path("/dev/fd").iterdir()))

    with pytest.raises(NotFoundError):
        place._stack.enter_context(
            Files(
                place.root,
                state=place.state,
                policy=FilePolicy(),
                audit=None,  # type: ignore[arg-type]
                actor=Actor(user="u", interface="cli"),
                op_id="op",
                roots=[place.root.parent / "missing"],
            )
        )
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_aiexs_own_is_out_of_reach_also_while_it_is_missing(
    place: Place, around: Open, is_there: bool
) -> None:
    """A project may be the home folder, where the state and the user's settings are."""
    base = place.root.parent
    settings = base / "config" / "config.toml"
    if is_there:
        settings.parent.mkdir()
        settings.write_text("[sandbox]")
    files = around(roots=[base], own=[settings])
    (base / "link").symlink_to("state")

    for path in ("state/audit/key", "state/changes/x", "STATE/x", "config/config.toml", "link/x"):
        for call in (
            lambda path=path: files.read(f"{base}/{path}"),
            lambda path=path: files.list(f"{base}/{path}"),
            lambda path=path: files.write(f"{base}/{path}", b"x", overwrite=True),
            lambda path=path: files.delete(f"{base}/{path}"),
            lambda path=path: files.mkdir(f"{base}/{path}", parents=True),
            lambda path=path: files.apply([FileEdit(path=f"{base}/{path}", after=b"")]),
        ):
            with pytest.raises(AiexError) as refused:
                call()
            rule = getattr(refused.value, "rule", refused.value.code)
            assert rule == "own_state" or (path == "link/x" and rule == "not_found")
    assert not any(
        "state/" in e.path or "config/" in e.path for e in files.scan([str(base)]).entries
    )
    assert "state" not in [Path(f).name for f in files.list(str(base)).folders]
    assert files.write(f"{base}/config/other.toml", b"x").path == f"{base}/config/other.toml"


def test_a_root_inside_of_what_is_aiexs_own_is_refused_whole(place: Place, around: Open) -> None:
    inner = place.state / "blobs"
    inner.mkdir(parents=True)
    (inner / "file").write_bytes(b"x")
    files = around(roots=[inner])

    assert rule_of(lambda: files.read(f"{inner}/file")) == "own_state"


@pytest.mark.parametrize(
    ("pattern", "path", "is_refused"),
    [
        ("*.lock", "a/uv.lock", True),
        ("*.lock", "a/uv.LOCK", True),
        ("*.lock", "uv.locks", False),
        ("/vendor/", "vendor/deep/file", True),
        ("/vendor/", "src/vendor/file", False),
        ("vendor", "src/vendor/file", True),
        ("src/**/gen", "src/a/b/gen/x", True),
        ("src/**/gen", "src/a/b/general", False),
        ("SRC", "src/x", True),
        ("*", "anything", True),
    ],
)
def test_patterns_say_what_is_only_read(
    place: Place, around: Open, pattern: str, path: str, is_refused: bool
) -> None:
    (place.root / path).parent.mkdir(parents=True, exist_ok=True)
    (place.root / path).write_bytes(b"old")
    (place.root / "to-it").symlink_to(path)
    files = around(FilePolicy(read_only=(pattern,)))

    assert files.read(path).content == b"old"
    for name in (path, f"{place.root}/{path}", "to-it"):
        for call in (
            lambda name=name: files.write(name, b"new", overwrite=True),
            lambda name=name: files.append(name, b"new"),
            lambda name=name: files.check(
                [FileEdit(path=name, after=b"", before_sha256=files.read(name).sha256)]
            ),
        ):
            if is_refused:
                assert rule_of(call) == "read_only"
            else:
                call()


@pytest.mark.parametrize("pattern", ["!src", "", "# note", "[", "x" * 5000])
def test_a_pattern_that_would_forbid_nothing_is_an_error(
    place: Place, around: Open, pattern: str
) -> None:
    with pytest.raises(ConfigurationError, match="read_only"):
        around(FilePolicy(read_only=("docs", pattern)))


def test_a_pattern_that_takes_too_long_forbids_rather_than_allows(
    place: Place, around: Open
) -> None:
    files = around(FilePolicy(read_only=("*a" * 30 + "z",)))

    assert rule_of(lambda: files.write("a" * 200, b"x")) == "read_only"


@pytest.mark.parametrize(
    ("age", "reads"), [(0, [b"ab", b"bb", b"bb"]), (60, [b"ab"])], ids=["just now", "a minute ago"]
)
def test_a_file_that_was_changed_just_now_is_read_until_two_reads_agree(
    place: Place, portable: bool, age: int, reads: list[bytes]
) -> None:
    """Two changes within a tick of the clock have one time, so the time alone does not tell."""
    (place.root / "file").write_bytes(b"..")
    root = Root(place.root, policy=FilePolicy(), portable=portable)
    then = time.time_ns() + (3600 if age == 0 else -age) * 10**9
    os.utime(place.root / "file", ns=(then, then))
    left = list(reads)
    try:
        content, *_ = root.steady("file", 9, lambda _handle, _size: left.pop(0), len)
    finally:
        root.close()

    assert (content, left) == (reads[-1], [])
