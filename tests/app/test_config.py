"""Where settings come from, and who wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiex.app.config import all_settings, find_root, load, set_user
from aiex.core import ConfigurationError, NotFoundError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"AIEX_CONFIG": str(tmp_path / "config.toml")}


def test_the_nearer_source_wins(env: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "config.toml").write_text("[analysis]\nmax_complexity = 1\n")
    assert load(env, root=root).settings.analysis.max_complexity == 1
    (root / "pyproject.toml").write_text("[tool.aiex.analysis]\nmax_complexity = 2\n")
    assert load(env, root=root).settings.analysis.max_complexity == 2
    (root / "aiex.toml").write_text("[analysis]\nmax_complexity = 3\n")
    assert load(env, root=root).settings.analysis.max_complexity == 3
    env["AIEX_ANALYSIS_MAX_COMPLEXITY"] = "4"
    loaded = load(env, root=root)
    assert loaded.settings.analysis.max_complexity == 4
    assert loaded.origins["analysis.max_complexity"] == "environment"
    flags = {"analysis.max_complexity": 5}
    assert load(env, root=root, flags=flags).settings.analysis.max_complexity == 5


def test_a_profile_sets_other_defaults(env: dict[str, str]) -> None:
    assert load({**env, "AIEX_PROFILE": "prod"}, root=None).settings.state.fsync is True
    with pytest.raises(ConfigurationError, match="AIEX_PROFILE"):
        load({**env, "AIEX_PROFILE": "production"}, root=None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[analysis]\nmax_complexty = 1\n", "did you mean analysis.max_complexity"),
        ("[analysis]\nmax_complexity = 'ten'\n", "analysis.max_complexity"),
        ("analysis = 1\n", "must be a table"),
        ("[analysis\n", "no valid TOML"),
        ("[model]\nopenai_key = 'sk-1'\n", "keys do not belong in a file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(env: dict[str, str], text: str, says: str) -> None:
    Path(env["AIEX_CONFIG"]).write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        load(env, root=None)

    assert says in f"{caught.value.message} {caught.value.hint}"
    assert env["AIEX_CONFIG"] in caught.value.message


@pytest.mark.parametrize("key", [s.key for s in all_settings() if s.user_only])
def test_no_file_of_a_project_can_set_what_is_the_users(
    env: dict[str, str], tmp_path: Path, key: str
) -> None:
    branch, _, name = key.partition(".")
    (tmp_path / "aiex.toml").write_text(f"[{branch}]\n{name} = 1\n")

    with pytest.raises(ConfigurationError, match="only the user may set"):
        load(env, root=tmp_path)


def test_a_project_whose_own_file_is_broken_can_still_be_looked_at(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.aiex\xff")

    assert load(env, root=tmp_path).origins == {}


def test_a_variable_that_means_nothing_is_an_error(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({**env, "AIEX_MODEL_DEFAULTS": "x"}, root=None)

    assert caught.value.hint == "did you mean AIEX_MODEL_DEFAULT?"


def test_setting_one_value_keeps_the_rest_of_the_file(env: dict[str, str]) -> None:
    file = Path(env["AIEX_CONFIG"])
    file.write_text("# mine\n[cli]\ncolor = 'never'  # always\n\n[model]\n# here\n")

    set_user(env, "model.order", "ollama, local")
    set_user(env, "cli.color", "auto")
    set_user(env, "state.fsync", "yes")

    settings = load(env, root=None).settings
    assert settings.model.order == ("ollama", "local")
    assert settings.cli.color == "auto"
    assert settings.state.fsync is True
    assert file.read_text().startswith("# mine\n[cli]\n")
    assert "# here" in file.read_text()


def test_a_value_that_does_not_fit_is_not_written(env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        set_user(env, "cli.color", "green")
    with pytest.raises(NotFoundError) as caught:
        set_user(env, "cli.colour", "never")

    assert caught.value.hint == "did you mean cli.color?"
    assert not Path(env["AIEX_CONFIG"]).exists()


def test_the_root_is_the_nearest_folder_that_looks_like_a_project(tmp_path: Path) -> None:
    inner = tmp_path / "a/b/c"
    inner.mkdir(parents=True)
    (tmp_path / "a/pyproject.toml").touch()

    assert find_root(inner) == tmp_path / "a"
    assert find_root(tmp_path) == tmp_path
