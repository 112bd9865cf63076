"""Which names may be asked for, and which are protected however they are spelt."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiex.core import PathRefusedError
from aiex.sandbox import Access, printable, protected_by, split_path

NEVER = [".git", ".hg", ".svn", ".jj", ".aiex", ".envrc", ".ssh", ".netrc", ".pypirc", ".env"]
NEVER_WRITTEN = [
    ".gitmodules",
    ".gitattributes",
    ".mcp.json",
    ".vscode",
    ".idea",
    ".claude",
    ".cursor",
    ".codex",
    ".gemini",
    ".husky",
    ".githooks",
]
IGNORABLE = "\u00ad\u034f\u200b\u200c\u200d\u200e\u202e\u2060\u2064\u206f\ufe0f\ufeff\U000e0001"

parts = st.sampled_from(["..", ".", "", "a", "b c", "ä", ".git", "...", "x" * 300])
paths = st.lists(parts | st.text(st.characters(exclude_characters="/\0")), max_size=12).map(
    "/".join
)
legal_names = st.text(
    st.characters(exclude_characters="/\0~:", exclude_categories=["Cs", "Cc", "Cf", "Mn", "Lo"]),
    min_size=1,
).filter(lambda name: not name.startswith(".") and not name.strip(". ").startswith("."))


def _depths(names: tuple[str, ...]) -> list[int]:
    depth, seen = 0, [0]
    for name in names:
        depth += -1 if name == ".." else 1
        seen.append(depth)
    return seen


@given(paths)
@example("a/../..")
@example("./../a")
@example("a/../../a/b")
def test_a_path_that_is_taken_never_leaves_its_root_on_the_way(path: str) -> None:
    try:
        names = split_path(path)
    except PathRefusedError:
        return
    assert min(_depths(names)) >= 0
    assert not {"", "."} & set(names)
    assert all("/" not in name and "\0" not in name for name in names)


@given(st.lists(st.sampled_from(["a", "b", ".."]), max_size=8), st.text(max_size=4))
def test_a_path_is_refused_exactly_when_its_text_leaves_the_root(
    names: list[str], tail: str
) -> None:
    path = "/".join([*names, "x"])
    if min(_depths(tuple(names))) < 0:
        with pytest.raises(PathRefusedError) as refused:
            split_path(path)
        assert refused.value.rule == "outside_root"
    else:
        assert split_path(path) == (*names, "x")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("", "empty"),
        ("/etc/passwd", "outside_root"),
        ("//etc/passwd", "outside_root"),
        ("..", "outside_root"),
        ("a/../../b", "outside_root"),
        ("a\0b", "nul"),
        ("\ud800", "not_a_name"),
        ("a/\udfff/b", "not_a_name"),
    ],
)
def test_what_is_no_path_below_a_root_is_refused_by_its_rule(path: str, rule: str) -> None:
    with pytest.raises(PathRefusedError) as refused:
        split_path(path)

    assert refused.value.rule == rule
    assert refused.value.message.isascii() or refused.value.message.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "a$b.ex",
        "R&D.md",
        "v1..v2.diff",
        "a b",
        " leading",
        "...",
        "....",
        "~",
        "-rf",
        "%2e%2e",
        "%2e%2e%2fetc",
        "a\\..\\b",
        "C:",
        "naïve.py",
        "日本語.md",
        "👩‍💻.md",
        "\udcff.bin",
        "gitignore",
        ".gitignore",
        ".github",
        ".gitlab-ci.yml",
        ".gitkeep",
        ".env.example",
        ".env.production.sample",
        ".editorconfig",
        "env",
        "git",
        "git~",
        "foo.git~1~",
        "hooks",
        "config",
        "digit~1.txt",
    ],
)
def test_legal_odd_names_stay_legal(name: str) -> None:
    assert split_path(f"sub/{name}") == ("sub", name)
    assert protected_by(("sub", name), "write") is None


@given(legal_names)
def test_no_name_without_a_dot_in_front_is_protected(name: str) -> None:
    folds_to_a_dot = unicodedata.normalize("NFKC", name).startswith(".")
    assert folds_to_a_dot or protected_by((name,), "write") is None


spellings = st.builds(
    lambda base, upper, noise, tail, full: (
        _wide(_spelt(base, upper, noise), full) + tail,
        base,
    ),
    st.sampled_from(NEVER + NEVER_WRITTEN),
    st.integers(0, 2**16),
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from(IGNORABLE)), max_size=3),
    st.sampled_from(["", ".", " ", ". .", "...", "::$INDEX_ALLOCATION", ":stream"]),
    st.booleans(),
)


def _spelt(base: str, upper: int, noise: list[tuple[int, str]]) -> str:
    letters = [c.upper() if upper >> i & 1 else c for i, c in enumerate(base)]
    for at, mark in noise:
        letters.insert(min(at, len(letters)), mark)
    return "".join(letters)


def _wide(name: str, full: bool) -> str:
    if not full:
        return name
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)


@given(spellings, st.lists(st.sampled_from(["a", "b"]), max_size=3), st.booleans())
@example((".GIT", ".git"), [], False)
@example((".g\u200cit", ".git"), [], True)
def test_a_protected_name_is_protected_at_any_depth_in_any_spelling(
    spelling: tuple[str, str], above: list[str], below: bool
) -> None:
    name, base = spelling
    names = (*above, name, *(["config"] if below else []))

    assert protected_by(names, "write") == name
    assert (protected_by(names, "read") == name) == (base in NEVER)


@pytest.mark.parametrize(
    ("name", "access"),
    [
        ("git~1", "read"),
        ("GIT~1", "read"),
        ("Git~27", "read"),
        ("aiex~1", "read"),
        ("ENVRC~1", "read"),
        ("gitmod~1", "write"),
        ("MCP~1.JSO", "write"),
        ("vscode~2", "write"),
        (".env.local", "read"),
        (".env-prod", "read"),
        (".env~", "read"),
        (".ENV", "read"),
        (".env.example.local", "read"),
    ],
)
def test_short_names_and_variants_are_protected(name: str, access: Access) -> None:
    assert protected_by(("x", name), access) == name


def test_further_names_are_protected_in_any_spelling() -> None:
    from aiex.sandbox.paths import folded

    extra = frozenset({folded("Secrets.YML")})

    assert protected_by(("conf", "SECRETS.yml. "), "read", extra) == "SECRETS.yml. "
    assert protected_by(("conf", "secrets.yaml"), "read", extra) is None


@given(st.text())
@example("\x1b[31m\u202e\n\x9b")
@example("\ud800")
def test_what_is_printed_acts_on_no_terminal(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert not set("\u202e\u200b\u2066") & set(shown)
    assert printable(shown) == shown
