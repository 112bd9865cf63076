"""Where settings come from, and who wins."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from aiex.app.config import all_settings, find_root, load, set_user, user_file
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[model]\norder = ['olama']\n", "did you mean ollama?"),
        ("[cli]\ncolor = 'nevr'\n", "did you mean never?"),
        ("[model]\ntotal_timeout = -1\n", "model.total_timeout takes a number, not -1"),
        ("[sandbox]\nmax_entries = 0\n", "sandbox.max_entries takes a whole number, not 0"),
        ("[state]\nfsync = 'yes'\n", "state.fsync takes true or false, not 'yes'"),
        ("[modle]\norder = []\n", "did you mean model.order?"),
    ],
)
def test_a_wrong_value_says_what_is_taken(env: dict[str, str], text: str, says: str) -> None:
    Path(env["AIEX_CONFIG"]).write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        load(env, root=None)

    assert says in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.message.startswith(env["AIEX_CONFIG"])


@pytest.mark.parametrize("name", ["protected", "read_only"])
def test_a_project_adds_to_what_is_forbidden_and_never_takes_from_it(
    env: dict[str, str], tmp_path: Path, name: str
) -> None:
    Path(env["AIEX_CONFIG"]).write_text(f"[sandbox]\n{name} = ['secrets', 'vault']\n")
    (tmp_path / "pyproject.toml").write_text(f"[tool.aiex.sandbox]\n{name} = ['dumps']\n")
    (tmp_path / "aiex.toml").write_text(f"[sandbox]\n{name} = []\n")

    loaded = load(env, root=tmp_path)

    assert getattr(loaded.settings.sandbox, name) == ("secrets", "vault", "dumps")


@pytest.mark.parametrize("name", ["max_file_bytes", "max_total_bytes", "max_entries"])
@pytest.mark.parametrize(
    ("user", "project", "holds"), [(100, 7, 7), (7, 100, 7), (None, 7, 7), (None, 1 << 60, None)]
)
def test_a_project_lowers_limits_and_never_raises_them(
    env: dict[str, str],
    tmp_path: Path,
    name: str,
    user: int | None,
    project: int,
    holds: int | None,
) -> None:
    if user is not None:
        Path(env["AIEX_CONFIG"]).write_text(f"[sandbox]\n{name} = {user}\n")
    (tmp_path / "aiex.toml").write_text(f"[sandbox]\n{name} = {project}\n")

    loaded = load(env, root=tmp_path)

    default = next(s.default for s in all_settings() if s.key == f"sandbox.{name}")
    assert getattr(loaded.settings.sandbox, name) == (default if holds is None else holds)
    is_the_projects = holds == project and user != project
    origin = loaded.origins.get(f"sandbox.{name}", "default")
    assert (origin == str(tmp_path / "aiex.toml")) == is_the_projects


@pytest.mark.parametrize(
    ("user", "project", "holds"),
    [("read", "deny", "deny"), ("deny", "read", "deny"), (None, "deny", "deny")],
)
def test_a_project_may_refuse_hard_links_and_never_allow_them(
    env: dict[str, str], tmp_path: Path, user: str | None, project: str, holds: str
) -> None:
    if user is not None:
        Path(env["AIEX_CONFIG"]).write_text(f"[sandbox]\nhardlinks = '{user}'\n")
    (tmp_path / "aiex.toml").write_text(f"[sandbox]\nhardlinks = '{project}'\n")

    assert load(env, root=tmp_path).settings.sandbox.hardlinks == holds


def test_two_files_of_a_project_narrow_one_another(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.aiex.sandbox]\nmax_entries = 5\n")
    (tmp_path / "aiex.toml").write_text("[sandbox]\nmax_entries = 9\n")

    assert load(env, root=tmp_path).settings.sandbox.max_entries == 5


def test_what_a_project_narrowed_is_the_users_to_set(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "aiex.toml").write_text("[sandbox]\nmax_entries = 5\n")
    env["AIEX_SANDBOX_MAX_ENTRIES"] = "9"

    assert load(env, root=tmp_path).settings.sandbox.max_entries == 9


def test_every_setting_of_the_sandbox_is_the_users_or_narrows() -> None:
    for setting in all_settings():
        if setting.key.startswith("sandbox."):
            assert setting.user_only or setting.narrows, setting.key


def test_what_a_project_may_set_can_only_narrow_or_choose() -> None:
    # Whatever is added here must not loosen the sandbox, send code or keys elsewhere, or spend.
    may_choose = {s.key for s in all_settings() if not s.user_only and not s.narrows}
    assert may_choose == {
        "model.openai_model",
        "model.anthropic_model",
        "model.local_model",
        "model.connect_timeout",
        "model.first_token_timeout",
        "model.between_timeout",
        "model.total_timeout",
        "analysis.max_complexity",
        "cli.color",
    }


@pytest.mark.parametrize(
    ("mine", "theirs", "counts"),
    [
        (None, "bwrap", "bwrap"),
        (None, "landlock", "landlock"),
        (None, "none", "landlock"),
        ("none", "landlock", "landlock"),
        ("bwrap", "landlock", "bwrap"),
        ("bwrap", "bwrap", "bwrap"),
    ],
)
def test_a_project_may_only_raise_what_isolation_is_required(
    env: dict[str, str], tmp_path: Path, mine: str | None, theirs: str, counts: str
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "aiex.toml").write_text(f'[sandbox]\nrequire = "{theirs}"\n')
    if mine is not None:
        user_file(env).parent.mkdir(parents=True, exist_ok=True)
        user_file(env).write_text(f'[sandbox]\nrequire = "{mine}"\n')

    assert load(env, root=root).settings.sandbox.require == counts


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"AIEX_CLI_COLOUR": "never"}, 7),
        ({"AIEX_PROFILE": "production"}, 7),
        ({"AIEX_ANALYSIS_MAX_COMPLEXITY": "many"}, 7),
    ],
)
def test_what_is_wrong_can_be_left_out_and_told(
    env: dict[str, str], tmp_path: Path, more: dict[str, str], kept: int
) -> None:
    (tmp_path / "aiex.toml").write_text("[analysis]\nmax_complexity = 7\n")

    loaded = load({**env, **more}, root=tmp_path, strict=False)

    assert loaded.problem is not None
    assert loaded.problem.code == "configuration"
    assert loaded.settings.analysis.max_complexity == kept


def test_the_first_mistake_of_several_is_told(env: dict[str, str], tmp_path: Path) -> None:
    Path(env["AIEX_CONFIG"]).write_text("[cli]\ncolour = 1\n")
    (tmp_path / "aiex.toml").write_text("[cli]\nlog_level = 'debug'\n")

    loaded = load(env, root=tmp_path, strict=False)

    assert loaded.problem is not None
    assert "cli.colour" in loaded.problem.message
    assert loaded.settings.cli.log_level == "warning"


def test_a_dry_run_checks_and_writes_nothing(env: dict[str, str]) -> None:
    file = set_user(env, "cli.color", "never", dry=True)

    assert not file.exists()
    with pytest.raises(ConfigurationError):
        set_user(env, "cli.color", "green", dry=True)


def test_without_a_home_no_file_of_the_current_folder_is_taken_for_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.chdir(tmp_path)
    planted = tmp_path / "~/.config/aiex/config.toml"
    planted.parent.mkdir(parents=True)
    planted.write_text("[model]\nopenai_url = 'http://evil.example'\n")

    assert load({}, root=None).origins == {}
    with pytest.raises(ConfigurationError, match="no home folder"):
        set_user({}, "cli.color", "never")
