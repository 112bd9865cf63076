"""A project's settings of ruff, as we read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiex.assistant.ruff_settings import RuffSettings, find_settings, settings_among
from aiex.code import RUFF_SELECT
from aiex.sandbox import Files

TOOL = b"[tool.ruff]\nline-length = 70\n"


def of(contents: dict[str, bytes], path: str = "a.py") -> RuffSettings:
    return settings_among(contents, [path]).by_path[path]


def notes(contents: dict[str, bytes]) -> list[tuple[str, str]]:
    return [(n.what, n.reason) for n in settings_among(contents, ["a.py"]).not_checked]


def test_without_settings_ours_are_used() -> None:
    assert of({}) == RuffSettings()
    assert of({"pyproject.toml": b"[project]\nname = 'a'\n"}) == RuffSettings()
    assert RuffSettings().select == RUFF_SELECT


def test_the_nearest_file_counts_alone() -> None:
    contents = {"pyproject.toml": TOOL, "sub/deep/ruff.toml": b"line-length = 50\n"}

    assert of(contents, "a.py").line_length == 70
    assert of(contents, "sub/a.py").line_length == 70
    assert of(contents, "sub/deep/a.py").line_length == 50
    assert of(contents, "sub/deep/er/a.py").base == "sub/deep/"
    assert of(contents, "sub/deeper/a.py").origin == "pyproject.toml"


def test_of_one_folder_the_hidden_file_comes_first_and_pyproject_last() -> None:
    contents = {
        "pyproject.toml": TOOL,
        "ruff.toml": b"line-length = 60\n",
        ".ruff.toml": b"line-length = 50\n",
    }

    assert of(contents).line_length == 50
    del contents[".ruff.toml"]
    assert of(contents).line_length == 60
    del contents["ruff.toml"]
    assert of(contents).line_length == 70


def test_a_selection_replaces_ours_but_security_and_complexity_stay() -> None:
    settings = of({"ruff.toml": b"[lint]\nselect = ['E', 'F']\nextend-select = ['B', 'F']\n"})

    assert settings.select == ("E", "F", "B", "S", "C901")


def test_what_is_ignored_is_ignored() -> None:
    settings = of({"ruff.toml": b"[lint]\nignore = ['S']\nextend-ignore = ['B']\n"})

    assert settings.select[: len(RUFF_SELECT)] == RUFF_SELECT
    assert settings.ignore[:2] == ("S", "B")


def test_rules_in_the_outer_table_count_as_they_do_for_ruff() -> None:
    settings = of({"ruff.toml": b"select = ['E']\nignore = ['E7']\nfix = true\nsrc = ['lib']\n"})

    assert settings.select == ("E", "S", "C901")
    assert settings.ignore[0] == "E7"
    assert settings.options == ()


def test_the_rest_is_handed_over_as_it_was_written() -> None:
    source = b"""
preview = true
builtins = ["_", "\\u007f\\""]
exclude = ["gen"]
cache-dir = "/elsewhere"
[lint.mccabe]
max-complexity = 5
[lint.per-file-ignores]
"tests/*" = ["S101"]
[lint.pylint]
max-args = 3
"""
    settings = of({"ruff.toml": source})

    assert settings.max_complexity == 5
    assert settings.options == (
        r'builtins=["_", "\u007f\""]',
        'exclude=["gen"]',
        "preview=true",
        'lint."per-file-ignores"={"tests/*" = ["S101"]}',
        'lint."pylint"={"max-args" = 3}',
    )


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        (">=3.9", "py39"),
        (">= 3.12, <4", "py312"),
        ("<4,>=3.11.2", "py311"),
        (">=3.6", "py37"),
        (">=3.99", "py314"),
        ("~=3.9", None),
        ("", None),
    ],
)
def test_the_oldest_python_of_the_project_is_the_target(asked: str, target: str | None) -> None:
    project = f'[project]\nrequires-python = "{asked}"\n'.encode()

    assert of({"pyproject.toml": project}).target_version == target
    assert of({"pyproject.toml": project, "ruff.toml": b"fix = true\n"}).target_version == target
    both = {"pyproject.toml": project, "ruff.toml": b"target-version = 'py310'\n"}
    assert of(both).target_version == "py310"


def test_what_is_extended_lies_below() -> None:
    contents = {
        "base/ruff.toml": b"line-length = 60\n[lint]\nselect = ['E']\nignore = ['E7']\n",
        "sub/ruff.toml": b"extend = '../base/ruff.toml'\n[lint]\nselect = ['F']\n",
    }
    settings = of(contents, "sub/a.py")

    assert settings.line_length == 60
    assert settings.select == ("F", "S", "C901")
    assert settings.ignore[0] == "E7"


@pytest.mark.parametrize(
    "extended", ["/etc/passwd", "../../etc/passwd", "missing.toml", "ruff.toml", ""]
)
def test_what_extends_something_that_is_not_there_is_named(extended: str) -> None:
    contents = {"ruff.toml": f"extend = '{extended}'\n".encode()}

    assert of(contents) == RuffSettings()
    ((what, reason),) = notes(contents)
    assert what == "settings of ruff in ruff.toml"
    assert "no file of settings inside the project" in reason


@pytest.mark.parametrize(
    "source",
    [
        b"line-length = \xff\n",
        b"line-length = \n",
        b"line-length = 'long'\n",
        b"line-length = []\n",
        b"lint = 3\n",
        b"extend = 3\n",
        b"[lint]\nselect = 'E'\n",
        b"[lint]\nselect = [3]\n",
        b"[lint]\nmccabe = 3\n",
        b"[lint]\ntyping-modules = [2020-01-01]\n",
        b"[lint]\nexternal = ['" + b"x" * 100_000 + b"']\n",
        b"a = " + b"[" * 100_000 + b"\n",
    ],
)
def test_settings_that_cannot_be_read_are_named_and_ours_are_used(source: bytes) -> None:
    contents = {"ruff.toml": source}

    assert of(contents) == RuffSettings()
    assert [what for what, _ in notes(contents)] == ["settings of ruff in ruff.toml"]


@pytest.mark.parametrize("select", ["['I']", "['ALL']", "['TC001']"])
def test_rules_that_look_at_other_files_are_left_out_and_named(select: str) -> None:
    contents = {"ruff.toml": f"[lint]\nselect = {select}\n".encode()}

    assert {"I001", "INP001", "TC001"} <= set(of(contents).ignore)
    ((what, _),) = notes(contents)
    assert what.endswith("of ruff.toml")
    assert notes({"ruff.toml": b"[lint]\nselect = ['F']\n"}) == []


def test_files_are_found_above_below_and_where_they_are_extended(files: Files, root: Path) -> None:
    for path, text in {
        "pyproject.toml": "[tool.ruff]\nextend = 'conf/base.toml'\n",
        "conf/base.toml": "line-length = 40\n",
        "a/ruff.toml": "line-length = 50\n",
        "a/b/c/.ruff.toml": "line-length = 60\n",
        "large/ruff.toml": "#" * 300_000,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    paths = ["x.py", "a/x.py", "a/b/x.py", "a/b/c/x.py", "large/x.py"]

    whole = find_settings(files, paths, entries=files.scan().entries)
    part = find_settings(files, paths[2:3], entries=files.scan(["a/b"]).entries, starts=["a/b"])
    absolute = find_settings(files, paths[2:3], starts=[f"{files.root}/a/b/x.py"])

    assert [whole.by_path[path].line_length for path in paths] == [40, 50, 50, 60, 40]
    assert [note.what for note in whole.not_checked] == ["settings of ruff in large/ruff.toml"]
    assert part.by_path[paths[2]].line_length == 50
    assert absolute.by_path == part.by_path


def test_more_files_than_can_be_meant_are_named(files: Files, root: Path) -> None:
    for number in range(205):
        (root / f"d{number}").mkdir()
        (root / f"d{number}/ruff.toml").write_text("line-length = 50\n")

    found = find_settings(files, ["d1/a.py"], entries=files.scan().entries)

    assert found.by_path["d1/a.py"].line_length == 50
    assert len(found.not_checked) == 1
