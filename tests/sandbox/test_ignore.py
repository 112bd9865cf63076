"""What .gitignore files exclude is what git itself excludes, and no rule takes for ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from aiex.sandbox import Files

if TYPE_CHECKING:
    from tests.sandbox.conftest import Place

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

NAMES = [
    "a",
    "b",
    "ab",
    "a.py",
    "b.py",
    "a b",
    "#a",
    "!a",
    "[a]",
    "a*",
    "-a",
    ".a",
    "ä",
    "A",
    "a\\b",
]
FOLDERS = ["d", "e", "d.py", "ab"]
PIECES = ["a", "b", "ab", "d", "e", "*", "?", "**", "*.py", "[ab]", "[!a]", "a*", "d*", ".*", "ä"]
ODD = [
    "",
    "# a",
    "\\#a",
    "\\!a",
    "!",
    "/",
    "//",
    "a ",
    "a\\ ",
    "a b",
    "a\t",
    " a",
    "a\\",
    "[a",
    "[a-b]",
    "[[:alpha:]]",
    "[^a]",
    "[]a]",
    "\\a",
    "a\\*",
    "\\[a\\]",
    "***",
    "a**",
    "**a",
    "d/**/a",
    "**/d/**",
    "d/**",
    "/**",
    "**/",
    "d//a",
    "./a",
    "a/.",
    "a\r",
    "d/\r",
    "*.py\r",
    "!a.py\r",
    "-a",
]


def git_lists(root: Path) -> set[str]:
    """Return what git takes for not ignored and not tracked, as it is: all files of the tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z"],
        cwd=root,
        capture_output=True,
        check=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"},
    )
    return {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}


def rule(random: Random) -> str:
    if random.random() < 0.3:
        return random.choice(ODD)
    pieces = [random.choice(PIECES) for _ in range(random.choice([1, 1, 1, 2, 2, 3]))]
    text = "/".join(pieces)
    return (
        ("!" if random.random() < 0.3 else "")
        + ("/" if random.random() < 0.2 else "")
        + text
        + ("/" if random.random() < 0.25 else "")
    )


def lay_tree(root: Path, random: Random, folder: Path, depth: int = 0) -> None:
    for name in random.sample(NAMES, random.randrange(2, 7)):
        if not (folder / name).exists():
            (folder / name).write_bytes(b"")
    if random.random() < (0.9 if depth == 0 else 0.4):
        lines = [rule(random) for _ in range(random.randrange(1, 6))]
        end = random.choice(["\n", "\n", "\r\n"])
        start = "\ufeff" if random.random() < 0.1 else ""
        last = end if random.random() < 0.8 else ""
        (folder / ".gitignore").write_bytes((start + end.join(lines) + last).encode())
    if depth < 3:
        for name in random.sample(FOLDERS, random.randrange(0, 3)):
            child = folder / name
            if not child.exists():
                child.mkdir()
                lay_tree(root, random, child, depth + 1)


def compare(place: Place, seed: int) -> None:
    random = Random(seed)
    root = place.root
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    if random.random() < 0.3:
        (root / ".git" / "info").mkdir(exist_ok=True)
        (root / ".git" / "info" / "exclude").write_text(rule(random) + "\n")
    lay_tree(root, random, root)

    ours = {entry.path for entry in place.files().scan().entries}
    rules = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob(".gitignore")}

    assert ours == git_lists(root), (seed, rules)


@needs_git
@pytest.mark.parametrize("block", range(6))
def test_a_scan_lists_what_git_lists(place: Place, block: int) -> None:
    base = place.root.parent
    for seed in range(block * 20, block * 20 + 20):
        (base / str(seed)).mkdir()
        compare(type(place)(base / str(seed), place._stack), seed)


@pytest.mark.slow
@needs_git
def test_a_scan_lists_what_git_lists_in_a_thousand_trees(place: Place) -> None:
    base = place.root.parent
    for seed in range(1000, 2000):
        (base / str(seed)).mkdir()
        compare(type(place)(base / str(seed), place._stack), seed)


def listed(files: Files, *paths: str) -> set[str]:
    return {entry.path for entry in files.scan(paths or (".",)).entries}


@needs_git
@pytest.mark.parametrize(
    ("rules", "names"),
    [
        (
            line,
            ["a", "b", "ab", "a.py", "a ", " a", "#a", "!a", "a\\b", "d/a", "d/e/a", "a\t", "[a]"],
        )
        for line in sorted({*ODD, *PIECES, *(f"!{piece}" for piece in PIECES)})
    ],
)
def test_each_kind_of_rule_means_what_it_means_to_git(
    place: Place, rules: str, names: list[str]
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=place.root, check=True)
    for name in names:
        (place.root / name).parent.mkdir(parents=True, exist_ok=True)
        (place.root / name).write_bytes(b"")
    (place.root / ".gitignore").write_bytes(f"{rules}\n".encode())

    odd = {"a\t"}  # control characters are left out, ignored or not
    assert listed(place.files()) | odd == git_lists(place.root) | odd


def test_rules_above_a_folder_count_when_only_it_is_scanned(place: Place) -> None:
    (place.root / "d" / "e").mkdir(parents=True)
    (place.root / ".gitignore").write_text("*.log\n")
    (place.root / "d" / ".gitignore").write_text("!keep.log\n")
    for name in ("x.log", "keep.log", "x.py"):
        (place.root / "d" / "e" / name).write_bytes(b"")

    assert listed(place.files(), "d/e") == {"d/e/keep.log", "d/e/x.py"}


def test_links_and_pipes_are_no_rules(place: Place) -> None:
    (place.outside / "rules").write_text("*\n")
    (place.root / "file").write_bytes(b"")
    (place.root / "real").write_text("file\n")
    makes: list[Callable[[Path], None]] = [
        lambda path: path.symlink_to("../outside/rules"),
        lambda path: path.symlink_to("real"),
        os.mkfifo,
        Path.mkdir,
    ]
    for number, make in enumerate(makes):
        make(place.root / ".gitignore")
        assert "file" in listed(place.files()), number
        if (place.root / ".gitignore").is_dir():
            (place.root / ".gitignore").rmdir()
        else:
            (place.root / ".gitignore").unlink()


@pytest.mark.parametrize(
    "rules",
    [
        "*a*a*a*a*a*a*a*a*b",
        "**/**/**/**/**/**/**/**/x",
        "\n".join(f"*{n}*a*b*c*d" for n in range(5000)),
        "[" * 5000,
        "?" * 5000 + "*" * 5000,
    ],
)
def test_no_rule_takes_for_ever(place: Place, rules: str) -> None:
    (place.root / ".gitignore").write_text(rules)
    for number in range(50):
        (place.root / f"{'a' * 200}{number}").write_bytes(b"")
    began = time.monotonic()

    scan = place.files().scan()

    assert len(scan.entries) <= 51
    assert time.monotonic() - began < 60  # what takes too long takes hours


def test_more_rules_than_a_mebibyte_are_cut_at_a_line_and_named(place: Place) -> None:
    (place.root / "hidden").write_bytes(b"")
    (place.root / "h").write_bytes(b"")
    (place.root / ".gitignore").write_text("hidden\n" + "# comment\n" * 200_000 + "h\n")

    scan = place.files().scan()

    assert [e.path for e in scan.entries] == [".gitignore", "h"]
    assert [n.what for n in scan.left_out] == ["the end of .gitignore"]


def test_ignored_files_are_listed_when_asked_for(place: Place) -> None:
    (place.root / ".gitignore").write_text("*.log\n")
    (place.root / "x.log").write_bytes(b"")
    (place.root / "node_modules").mkdir()
    (place.root / "node_modules" / "m.js").write_bytes(b"")

    plain = {entry.path for entry in place.files().scan().entries}
    every = {entry.path for entry in place.files().scan(ignored=True).entries}

    assert plain == {".gitignore"}
    assert every == {".gitignore", "x.log", "node_modules/m.js"}
