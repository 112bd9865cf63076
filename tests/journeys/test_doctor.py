"""`aiex doctor` where something is wrong: it looks at everything, and says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli, Ended


def _problems(ended: Ended) -> dict[str, Any]:
    assert ended.code == 1, ended.err
    assert ended.json["status"] == "findings"
    assert "Traceback" not in ended.err
    checks = ended.json["data"]["checks"]
    assert {check["area"] for check in checks} >= {"program", "tools", "sandbox", "state"}
    found = {check["name"]: check for check in checks if check["state"] == "problem"}
    assert all(check["hint"] for check in found.values())
    return found


def test_a_store_that_is_damaged(cli: Cli) -> None:
    state = Path(cli.env["HOME"]) / ".local/state/aiex"
    state.mkdir(parents=True)
    (state / "aiex.db").write_text("no database")

    problem = _problems(cli("doctor", "--json"))["store"]

    assert "is damaged" in problem["detail"]
    assert "AIEX_STATE_DIRECTORY" in problem["hint"]
    assert (state / "aiex.db").read_text() == "no database"
    assert "problem  store" in cli("doctor").out


def test_a_state_directory_that_cannot_be(cli: Cli) -> None:
    (cli.project / "file").touch()
    cli.env["AIEX_STATE_DIRECTORY"] = str(cli.project / "file/state")

    assert "cannot be used" in _problems(cli("doctor", "--json"))["store"]["detail"]


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("aiex.toml", "[cli]\ncolour = 'never'\n", "did you mean cli.color?"),
        ("aiex.toml", "[model]\nopenai_url = 'http://evil.example'\n", "if you trust it"),
        ("pyproject.toml", "[tool.aiex.cli]\ncolour = 1\n", "did you mean cli.color?"),
        ("aiex.toml", "[cli\n", "aiex config list"),
    ],
)
def test_a_mistake_in_a_file(cli: Cli, file: str, text: str, says: str) -> None:
    (cli.project / file).write_text(text)

    problem = _problems(cli("doctor", "--json"))["mistake"]

    assert file in problem["detail"]
    assert says in problem["hint"]


def test_a_variable_that_means_nothing(cli: Cli) -> None:
    cli.env["AIEX_CLI_COLOUR"] = "never"

    assert _problems(cli("doctor", "--json"))["mistake"]["hint"] == "did you mean AIEX_CLI_COLOR?"


def _as_nobody(cli: Cli, home: Path | None) -> subprocess.CompletedProcess[str]:
    """Run `doctor` as a user that may write nowhere, and that the system does not know."""
    env = {name: value for name, value in cli.env.items() if name != "HOME"}
    if home is not None:
        env["HOME"] = str(home)
    return subprocess.run(
        ["unshare", "--user", "--map-user=54321", "--", *cli.argv("doctor")],
        cwd=cli.project,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _can_be_nobody() -> bool:
    program = shutil.which("unshare")
    argv = [str(program), "--user", "--map-user=54321", "true"]
    return (
        program is not None
        and subprocess.run(argv, check=False, capture_output=True).returncode == 0
    )


_needs_namespace = pytest.mark.skipif(
    not _can_be_nobody(), reason="no user namespace can be made (unshare --user)"
)


@_needs_namespace
def test_without_a_home_nothing_is_written_into_the_project(cli: Cli) -> None:
    before = sorted(cli.project.rglob("*"))

    ended = _as_nobody(cli, None)

    assert ended.returncode == 2, ended.stderr
    assert "no home folder is known" in ended.stderr
    assert "AIEX_STATE_DIRECTORY" in ended.stderr
    assert sorted(cli.project.rglob("*")) == before


@_needs_namespace
def test_a_home_that_cannot_be_written(cli: Cli) -> None:
    home = Path(cli.env["HOME"])
    if os.access("/sys", os.W_OK) and os.geteuid() == 0:
        home = Path("/sys")  # read-only to root as well

    ended = _as_nobody(cli, home)

    assert "Traceback" not in ended.stderr
    assert ended.returncode in {0, 1}
    if home == Path("/sys"):
        assert ended.returncode == 1
        assert "AIEX_STATE_DIRECTORY" in ended.stdout
