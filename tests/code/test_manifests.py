"""What a project depends on is read out of every kind of manifest, and never run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiex.code.manifests import Declared, Manifest, is_package_name, kind_of, unread_kind

PATHS = (
    "pyproject.toml",
    "requirements.txt",
    "package.json",
    "go.mod",
    "Cargo.toml",
    "mix.exs",
    "uv.lock",
    "package-lock.json",
    "Cargo.lock",
    "mix.lock",
)


def read(path: str, text: str | bytes) -> Manifest:
    kind = kind_of(path)
    assert kind is not None, path
    return kind.read(text if isinstance(text, bytes) else text.encode())


def brief(declared: Sequence[Declared]) -> list[tuple[str, str, str | None, str, str | None, int]]:
    return [(d.name, d.requirement, d.pin, d.group, d.source, d.line) for d in declared]


def test_pyproject_names_its_dependencies_extras_groups_and_build_tools_with_their_lines() -> None:
    found = read(
        "pyproject.toml",
        '[build-system]\nrequires = ["hatchling>=1.2"]\n'
        "[project]\ndependencies = [\n"
        "  \"Requests[socks]>=2,<3 ; python_version > '3.8'\",\n"
        '  "six==1.16.0",\n'
        '  "mine @ git+https://example.org/mine.git",\n]\n'
        '[project.optional-dependencies]\nspeed = ["uvloop"]\n'
        '[dependency-groups]\ndev = ["pytest~=8.0", {include-group = "lint"}]\nlint = ["ruff"]\n'
        "[tool.uv.sources]\nruff = {path = '../ruff'}\n",
    )

    assert brief(found.declared) == [
        ("requests", ">=2,<3", None, "main", None, 5),
        ("six", "==1.16.0", "1.16.0", "main", None, 6),
        ("mine", "git+https://example.org/mine.git", None, "main", "git", 7),
        ("uvloop", "", None, "speed", None, 10),
        ("pytest", "~=8.0", None, "dev", None, 12),
        ("ruff", "", None, "lint", "path", 13),
        ("hatchling", ">=1.2", None, "build", None, 2),
    ]
    assert [d.is_dev for d in found.declared] == [False] * 4 + [True] * 3
    assert not found.notes


def test_pyproject_of_poetry_is_read_with_its_carets() -> None:
    found = read(
        "pyproject.toml",
        '[tool.poetry.dependencies]\npython = "^3.11"\nflask = "^2.0"\nattrs = "23.1.0"\n'
        'mine = {git = "https://example.org/mine.git"}\n'
        '[tool.poetry.group.test.dependencies]\npytest = {version = "8.0", optional = true}\n',
    )

    assert brief(found.declared) == [
        ("flask", "^2.0", None, "main", None, 3),
        ("attrs", "23.1.0", "23.1.0", "main", None, 4),
        ("mine", "", None, "main", "git", 5),
        ("pytest", "8.0", "8.0", "test", None, 7),
    ]


def test_dependencies_that_a_build_computes_are_noted_and_those_in_files_are_included() -> None:
    computed = read("pyproject.toml", '[project]\ndynamic = ["version", "dependencies"]\n')
    in_files = read(
        "pyproject.toml",
        '[project]\ndynamic = ["dependencies"]\n'
        '[tool.setuptools.dynamic]\ndependencies = {file = ["req.txt"]}\n',
    )

    assert [n.line for n in computed.notes] == [2]
    assert "computed" in computed.notes[0].reason
    assert [i.path for i in in_files.includes] == ["req.txt"]
    assert not in_files.notes


def test_requirements_are_read_with_comments_continuations_hashes_and_options() -> None:
    found = read(
        "requirements.txt",
        b"\xef\xbb\xbf# all of it\n-i https://example.org/simple\nsix==1.16.0 \\\n"
        b"    --hash=sha256:00 \\\n    --hash=sha256:11\nDjango>=4 # the web\r\n"
        b"-r more.txt\n-cpins.txt\n-e .\n-e ./other\n--no-binary :all:\n"
        b"git+https://example.org/x.git#egg=x\n./wheels/y-1.0.whl\nnot a requirement\n",
    )

    assert brief(found.declared) == [
        ("six", "==1.16.0", "1.16.0", "main", None, 3),
        ("django", ">=4", None, "main", None, 6),
        ("x", "git+https://example.org/x.git#egg=x", None, "main", "git", 12),
    ]
    assert found.declared[0].end_line == 5
    assert [(i.path, i.is_constraint, i.line) for i in found.includes] == [
        ("more.txt", False, 7),
        ("pins.txt", True, 8),
    ]
    assert [n.line for n in found.notes] == [10, 13, 14]


def test_package_json_names_aliases_and_what_is_no_package_of_a_registry() -> None:
    found = read(
        "package.json",
        '{\n "name": "x",\n "dependencies": {\n  "react": "^18.0.0",\n'
        '  "old": "npm:left-pad@1.1.0",\n  "mine": "file:../mine",\n  "ws": "workspace:*",\n'
        '  "hub": "user/repo",\n  "tar": "https://example.org/t.tgz",\n  "odd": 3\n },\n'
        ' "devDependencies": {\n  "react": "18.2.0"\n }\n}',
    )

    assert brief(found.declared) == [
        ("react", "^18.0.0", None, "main", None, 4),
        ("left-pad", "1.1.0", "1.1.0", "main", None, 5),
        ("mine", "file:../mine", None, "main", "path", 6),
        ("ws", "workspace:*", None, "main", "workspace", 7),
        ("hub", "user/repo", None, "main", "git", 8),
        ("tar", "https://example.org/t.tgz", None, "main", "url", 9),
        ("react", "18.2.0", "18.2.0", "dev", None, 13),
    ]
    assert [n.line for n in found.notes] == [10]


def test_go_mod_has_exact_versions_what_is_indirect_and_what_is_replaced() -> None:
    found = read(
        "go.mod",
        "module example.org/m\n\ngo 1.22\n\nrequire github.com/BurntSushi/toml v1.3.2\n"
        "require (\n\tgolang.org/x/net v0.17.0 // indirect\n\texample.org/a v1.0.0\n"
        "\texample.org/b v1.0.0\n)\nreplace example.org/a => ../a\n"
        "replace example.org/b v1.0.0 => example.org/c v1.2.0\nexclude example.org/z v0.1.0\n",
    )

    assert brief(found.declared) == [
        ("github.com/BurntSushi/toml", "v1.3.2", "v1.3.2", "main", None, 5),
        ("golang.org/x/net", "v0.17.0", "v0.17.0", "indirect", None, 7),
        ("example.org/a", "v1.0.0", None, "main", "path", 8),
        ("example.org/c", "v1.2.0", "v1.2.0", "main", None, 9),
    ]


def test_cargo_toml_names_targets_renames_and_what_the_workspace_says() -> None:
    found = read(
        "Cargo.toml",
        '[workspace.dependencies]\nserde = "1.0"\n[dependencies]\nserde = { workspace = true }\n'
        'rand07 = { package = "rand", version = "=0.7.3" }\nmine = { path = "../mine" }\n'
        '[target."cfg(unix)".dependencies]\nlibc = "0.2"\n[dev-dependencies]\nproptest = "1"\n',
    )

    assert brief(found.declared) == [
        ("serde", "", None, "main", "workspace", 4),
        ("rand", "=0.7.3", "0.7.3", "main", None, 5),
        ("mine", "", None, "main", "path", 6),
        ("proptest", "1", None, "dev", None, 10),
        ("libc", "0.2", None, "main", None, 8),
    ]
    assert found.inherited["serde"].requirement == "1.0"


MIX = """defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [app: :shop, version: System.cmd("id", []), deps: wanted()]
  end

  defp wanted do
    [
      # {:commented, "1.0"},
      {:phoenix, "~> 1.7"},
      {:ecto, "3.11.0", only: [:dev, :test], runtime: false},
      {:renamed, ">= 0.0.0", hex: :real_name},
      {:mine, path: "../mine"},
      {:hub, [github: "a/b"]},
      {:umbrella, in_umbrella: true},
      {:computed, "~> #{@version}"},
      extra()
    ] ++ [short: "~> 2.0"]
  end

  defp other, do: [{:not_wanted, "1.0"}]
end
"""


def test_mix_exs_is_read_from_the_function_that_the_project_names_and_never_run() -> None:
    found = read("mix.exs", MIX)

    assert brief(found.declared) == [
        ("phoenix", "~> 1.7", None, "main", None, 11),
        ("ecto", "3.11.0", "3.11.0", "dev", None, 12),
        ("real_name", ">= 0.0.0", None, "main", None, 13),
        ("mine", "", None, "main", "path", 14),
        ("hub", "", None, "main", "git", 15),
        ("umbrella", "", None, "main", "workspace", 16),
        ("short", "~> 2.0", None, "main", None, 19),
    ]
    assert [n.line for n in found.notes] == [17, 18]


def test_lock_files_give_exact_versions_with_their_lines() -> None:
    python = (
        'version = 1\n\n[[package]]\nname = "Six"\nversion = "1.16.0"\n'
        'source = { registry = "https://example.org/simple" }\n'
        'dependencies = [\n    { name = "other", version = "9" },\n]\n\n'
        '[[package]]\nname = "shop"\nversion = "0.1"\nsource = { editable = "." }\n'
        '[package.metadata]\nname = "not this"\n'
        '[[package]]\nname = "forked"\nversion = "2.0"\n[package.dependencies]\nversion = "3"\n'
        '[package.source]\ntype = "git"\nurl = "https://example.org/f.git"\n'
    )
    cargo = (
        '[[package]]\nname = "shop"\nversion = "0.1.0"\ndependencies = [\n "rand 0.8.5",\n]\n\n'
        '[[package]]\nname = "rand"\nversion = "0.7.3"\nsource = "registry+https://example.org"\n'
        '[[package]]\nname = "rand"\nversion = "0.8.5"\nsource = "registry+https://example.org"\n'
    )
    mix = (
        '%{\n  "ecto": {:hex, :ecto, "3.11.1", "00", [:mix], [{:x, "~> 1.0", [hex: :x]}], "hexpm"},'
        '\n  "hub": {:git, "https://example.org/h.git", "00", []},\n}\n'
    )

    assert [(p.name, p.version, p.source, p.line) for p in read("a/uv.lock", python).locked] == [
        ("six", "1.16.0", None, 4),
        ("shop", "0.1", "path", 12),
        ("forked", "2.0", "git", 18),
    ]
    rust = read("Cargo.lock", cargo)
    assert [(p.name, p.version, p.source) for p in rust.locked] == [
        ("shop", "0.1.0", "path"),
        ("rand", "0.7.3", None),
        ("rand", "0.8.5", None),
    ]
    assert rust.chosen == {"rand": "0.8.5"}
    assert [(p.name, p.version, p.line) for p in read("mix.lock", mix).locked] == [
        ("ecto", "3.11.1", 2)
    ]


LOCK_3 = """{"lockfileVersion": 3, "packages": {"": {"name": "x", "version": "1.0.0"},
"node_modules/a": {"version": "1.0.0", "resolved": "https://example.org/a.tgz"},
"node_modules/a/node_modules/b": {"version": "2.0.0", "dev": true},
"node_modules/l": {"resolved": "p", "link": true}, "p": {"name": "l", "version": "0.1.0"}}}"""
LOCK_1 = """{"lockfileVersion": 1, "dependencies": {"l": {"version": "file:p"},
"a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0", "dev": true}}}}}"""


@pytest.mark.parametrize("text", [LOCK_3, LOCK_1])
def test_package_locks_of_each_version_give_what_is_installed_at_any_depth(text: str) -> None:
    found = read("package-lock.json", text)

    from_index = [(p.name, p.version, p.is_dev) for p in found.locked if p.source is None]
    assert from_index == [("a", "1.0.0", False), ("b", "2.0.0", True)]
    assert [p.name for p in found.locked if p.source is not None] == ["l"]
    assert found.chosen["a"] == "1.0.0"
    assert "b" not in found.chosen


@pytest.mark.parametrize(
    ("path", "is_read"),
    [
        ("a/requirements.txt", True),
        ("requirements-dev.txt", True),
        ("dev_requirements.in", True),
        ("requirements/base.txt", True),
        ("docs/notes.txt", False),
        ("requirements.md", False),
        ("package.json5", False),
    ],
)
def test_manifests_are_known_by_their_names(path: str, is_read: bool) -> None:
    assert (kind_of(path) is not None) == is_read


def test_what_would_have_to_be_run_or_has_a_form_of_its_own_is_named() -> None:
    assert unread_kind("setup.py") == "it would have to be run, and nothing of a project is"
    assert "yarn" in str(unread_kind("web/yarn.lock"))
    assert unread_kind("main.py") is None


DEEP = 200_000
KILLERS = {
    "pyproject.toml": b"a = " + b"[" * DEEP,
    "Cargo.toml": b"a = " + b"{b=" * DEEP,
    "package.json": b'{"dependencies": ' + b"[" * DEEP,
    "package-lock.json": b'{"packages": ' + b'{"a":' * DEEP,
    "requirements.txt": b"a" + b"(" * DEEP + b"\n" + b"b; " + b"(" * DEEP,
    "mix.exs": b"[" * DEEP,
}


@pytest.mark.parametrize("path", KILLERS)
def test_nesting_without_end_is_refused_or_noted_and_never_breaks_the_reader(path: str) -> None:
    try:
        found = read(path, KILLERS[path])
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is an answer
    else:
        assert found.notes
        assert not found.declared


@pytest.mark.parametrize("path", [p for p in PATHS if not p.endswith(".lock")])
def test_what_is_not_utf_8_is_refused_with_the_reason(path: str) -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        read(path, b'{"a": "\xff\xfe"}')


@given(path=st.sampled_from(PATHS), data=st.binary(max_size=400) | st.text(max_size=400))
def test_any_bytes_give_an_answer_or_a_reason(path: str, data: bytes | str) -> None:
    source = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    try:
        found = read(path, source)
    except ValueError as error:
        assert str(error)  # noqa: PT017
    else:
        lines = source.count(b"\n") + 1
        assert all(0 <= d.line <= d.end_line <= lines for d in found.declared)


@given(
    names=st.lists(st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True), unique=True, max_size=30)
)
def test_each_requirement_is_found_on_its_own_line(names: list[str]) -> None:
    text = "".join(f"{name}>=1\n" for name in names)
    quoted = ",\n".join(f'"{name}>=1"' for name in names)
    in_toml = read("pyproject.toml", f"[project]\ndependencies = [\n{quoted}\n]\n")

    plain = read("requirements.txt", text)
    assert [(d.name, d.line) for d in plain.declared] == [(n, i) for i, n in enumerate(names, 1)]
    assert [(d.name, d.line) for d in in_toml.declared] == [(n, i) for i, n in enumerate(names, 3)]


def test_names_that_would_lead_an_address_elsewhere_are_no_names() -> None:
    for ecosystem in ("pypi", "npm", "go", "cargo", "hex"):
        for name in ("..", "../x", "a?b", "a#b", "a b", "", "a\x1b", "x" * 301):
            assert not is_package_name(ecosystem, name), (ecosystem, name)
