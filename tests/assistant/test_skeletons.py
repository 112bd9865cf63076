from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiex.assistant.skeletons import project_files
from aiex.core import UsageError


def write(folder: Path, name: str, language: str) -> Path:
    for edit in project_files(name, language):
        assert edit.after is not None
        path = folder / edit.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(edit.after)
    return folder / name


@pytest.mark.parametrize("name", ["shop", "web-shop", "WebShop"])
def test_the_python_skeletons_own_tests_lint_and_types_pass(tmp_path: Path, name: str) -> None:
    project = write(tmp_path, name, "python")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for argv in (
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."],
        [sys.executable, "-m", "ruff", "format", "--no-cache", "--check", "."],
    ):
        run = subprocess.run(
            argv, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_python_skeletons_tests_can_fail(tmp_path: Path) -> None:
    project = write(tmp_path, "shop", "python")
    module = project / "src/shop/__init__.py"
    module.write_text(module.read_text().replace("Hello, {name}", "Hi, {name}"))
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        check=False,
    )
    assert run.returncode == 1


@pytest.mark.skipif(shutil.which("mix") is None, reason="Elixir's mix is not installed")
@pytest.mark.parametrize("name", ["shop", "web-shop", "WebShop"])
def test_the_elixir_skeletons_own_tests_and_format_pass(tmp_path: Path, name: str) -> None:
    project = write(tmp_path, name, "elixir")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    for argv in (["mix", "test"], ["mix", "format", "--check-formatted"]):
        run = subprocess.run(
            argv, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    "name", ["", "1st", "a b", "../x", "a--b", "a/", "class", "tests", "é", "Email", "json"]
)
def test_a_name_that_cannot_be_a_package_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        project_files(name, "python")


def test_a_language_without_a_skeleton_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(UsageError, match="no project skeleton for cobol") as error:
        project_files("shop", "cobol")
    assert error.value.hint == "--language python | elixir"
