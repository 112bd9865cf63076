"""What every manifest and lock file of a project says is joined; what cannot be read is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiex.assistant.analyze.deps.collect import Collected, collect
from aiex.core import Actor
from aiex.sandbox import AuditLog, FilePolicy, Files

Collect = Callable[[Mapping[str, str | bytes]], Collected]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


@pytest.fixture
def collected(root: Path, tmp_path: Path) -> Iterator[Collect]:
    """Writes files and collects what they say."""
    audit = AuditLog(tmp_path / "audit", now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    files = Files(
        root,
        state=tmp_path / "state",
        policy=FilePolicy(),
        audit=audit,
        actor=Actor(user="a", interface="test"),
        op_id="op",
    )

    def write_and_collect(contents: Mapping[str, str | bytes]) -> Collected:
        for path, content in contents.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            raw = content if isinstance(content, bytes) else content.encode()
            (root / path).write_bytes(raw)
        return collect(files, files.scan())

    with files:
        yield write_and_collect
    audit.close()


def versions(found: Collected) -> list[tuple[str, str, str | None, str]]:
    return [(d.path, d.name, d.version, d.group) for d in found.dependencies]


def reasons(found: Collected) -> dict[str, str]:
    return {note.what: note.reason for note in found.not_checked}


def uv_lock(**packages: str) -> str:
    return "".join(
        f'[[package]]\nname = "{name}"\nversion = "{version}"\n'
        'source = { registry = "https://example.org" }\n'
        for name, version in packages.items()
    )


def test_the_lock_file_above_gives_versions_and_what_is_indirect(collected: Collect) -> None:
    found = collected(
        {
            "pyproject.toml": '[project]\ndependencies = ["six>=1", "gone"]\n',
            "libs/a/pyproject.toml": '[project]\ndependencies = ["Attrs"]\n',
            "uv.lock": uv_lock(six="1.16.0", attrs="23.1.0", deep="0.1"),
        }
    )

    assert versions(found) == [
        ("libs/a/pyproject.toml", "attrs", "23.1.0", "main"),
        ("pyproject.toml", "six", "1.16.0", "main"),
        ("pyproject.toml", "gone", None, "main"),
        ("uv.lock", "deep", "0.1", "indirect"),
    ]
    assert [(m.path, m.role, m.packages) for m in found.manifests] == [
        ("libs/a/pyproject.toml", "manifest", 1),
        ("pyproject.toml", "manifest", 2),
        ("uv.lock", "lock", 3),
    ]
    assert not found.not_checked


def test_of_several_locked_versions_the_one_that_fits_is_taken_and_the_others_are_kept(
    collected: Collect,
) -> None:
    lock = uv_lock(numpy="1.26.0") + uv_lock(numpy="2.1.0")
    found = collected(
        {"pyproject.toml": '[project]\ndependencies = ["numpy<2"]\n', "uv.lock": lock}
    )

    assert versions(found) == [
        ("pyproject.toml", "numpy", "1.26.0", "main"),
        ("uv.lock", "numpy", "2.1.0", "indirect"),
    ]


def test_a_member_of_a_workspace_of_rust_inherits_and_gets_what_the_lock_chose(
    collected: Collect,
) -> None:
    source = 'source = "registry+https://example.org"\n'
    found = collected(
        {
            "Cargo.toml": '[workspace.dependencies]\nrand = ">=0.7"\n',
            "a/Cargo.toml": "[dependencies]\nrand.workspace = true\n",
            "Cargo.lock": (
                '[[package]]\nname = "a"\nversion = "0.1.0"\ndependencies = [\n "rand 0.7.3",\n]\n'
                f'[[package]]\nname = "rand"\nversion = "0.7.3"\n{source}'
                f'[[package]]\nname = "rand"\nversion = "0.8.5"\n{source}'
            ),
        }
    )

    assert versions(found)[0] == ("a/Cargo.toml", "rand", "0.7.3", "main")
    assert found.dependencies[0].requirement == ">=0.7"


def test_what_requirements_include_is_read_and_constraints_give_versions(
    collected: Collect,
) -> None:
    found = collected(
        {
            "requirements.txt": "-r deps/base.list\n-c pins.list\nflask\n",
            "deps/base.list": "six\n-r ../more.list\n",
            "more.list": "attrs==23.1.0\n",
            "pins.list": "flask==3.0.0\nunused==1.0\n",
        }
    )

    assert versions(found) == [
        ("deps/base.list", "six", None, "main"),
        ("more.list", "attrs", "23.1.0", "main"),
        ("requirements.txt", "flask", "3.0.0", "main"),
    ]
    assert not found.not_checked


def test_includes_in_circles_outside_absent_or_special_are_named(
    collected: Collect, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("stolen==1.0\n")
    os.mkfifo(root / "pipe.list")
    (root / "link.list").symlink_to(tmp_path / "secret.txt")
    found = collected(
        {
            "requirements.txt": (
                "-r a.list\n-r ../secret.txt\n-r /etc/passwd\n-r absent.list\n-r pipe.list\n"
                "-r link.list\n-r https://example.org/r.txt\n-r .env\n"
            ),
            "a.list": "-r b.list\nsix\n",
            "b.list": "-r a.list\n-r b.list\n",
            ".env": "secret==1\n",
        }
    )

    assert [d.name for d in found.dependencies] == ["six"]
    said = reasons(found)
    assert "in a circle: a.list, b.list" in said["a.list"]
    assert "circle" in said["b.list"]
    assert "outside the project" in said["requirements.txt:2"]
    assert "outside the project" in said["requirements.txt:3"]
    assert "regular file" in said["pipe.list"]
    assert {"absent.list", "link.list", ".env", "requirements.txt:7"} <= said.keys()


@pytest.mark.parametrize("size", [3 << 20, 20 << 20])
def test_a_manifest_that_is_too_large_is_named_and_not_read(collected: Collect, size: int) -> None:
    found = collected({"requirements.txt": b"a" * size, "package.json": b'{"dependencies": {}}'})

    assert [m.path for m in found.manifests] == ["package.json"]
    assert f"{size} bytes" in reasons(found)["requirements.txt"]


def test_odd_files_by_the_name_of_a_manifest_are_named(collected: Collect, root: Path) -> None:
    os.mkfifo(root / "pyproject.toml")
    (root / "web").mkdir()
    (root / "web/package.json").symlink_to("/dev/zero")
    (root / "real\x1b[2J").mkdir()
    (root / "real\x1b[2J/go.mod").write_text("require example.org/a v1.0.0\n")
    found = collected({"b/Cargo.toml": b"\xff\xfe", "c/package.json": b"[]", "setup.py": "x"})

    said = reasons(found)
    assert "regular file" in said["pyproject.toml"]
    assert said["b/Cargo.toml"] == "it is not UTF-8"
    assert "object" in said["c/package.json"]
    assert "run" in said["setup.py"]
    assert "symbolic links are not followed" in said.values()
    assert not any("\x1b" in what for what in said)


def test_ten_thousand_dependencies_are_read_each_with_its_line(collected: Collect) -> None:
    names = [f"package-{n}" for n in range(10_000)]
    quoted = ",\n".join(f'"{name}>=1"' for name in names)
    found = collected(
        {
            "pyproject.toml": f"[project]\ndependencies = [\n{quoted}\n]\n",
            "uv.lock": uv_lock(**dict.fromkeys(names, "1.0")),
        }
    )

    assert len(found.dependencies) == 10_000
    assert {d.version for d in found.dependencies} == {"1.0"}
    assert [d.line for d in found.dependencies] == list(range(3, 10_003))
