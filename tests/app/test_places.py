"""Where Aiex keeps what is its own."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from aiex.app import places_of
from aiex.app.places import further_roots
from aiex.app.settings import StateSettings
from aiex.core import ConfigurationError


def _has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the user be one that the system does not know, as in a bare container."""

    def nobody(number: int) -> None:
        raise KeyError(number)

    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_everything_lies_below_the_folder_that_was_named(tmp_path: Path) -> None:
    places = places_of(StateSettings(directory=str(tmp_path)))

    assert places.store == tmp_path / "aiex.db"
    assert {places.audit.parent, places.blobs.parent, places.models.parent} == {tmp_path}


def test_models_may_lie_elsewhere(tmp_path: Path) -> None:
    places = places_of(StateSettings(directory=str(tmp_path / "a"), models=str(tmp_path / "b")))

    assert places.models == tmp_path / "b"


def test_a_tilde_is_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert places_of(StateSettings(directory="~/kept")).state == tmp_path / "kept"


def test_the_home_of_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)

    with pytest.raises(ConfigurationError, match="no-such-user"):
        places_of(StateSettings(directory="~no-such-user/kept"))


def test_without_a_home_nothing_is_kept_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _has_no_home(monkeypatch)

    with pytest.raises(ConfigurationError, match="no home folder") as caught:
        places_of(StateSettings())

    assert caught.value.hint is not None
    assert "AIEX_STATE_DIRECTORY" in caught.value.hint


def test_further_roots_are_absolute_and_those_that_are_not_there_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "docs").mkdir()

    found = further_roots("sandbox.readable", (str(tmp_path), "~/docs", "/no/such/folder"))

    assert found == [tmp_path, tmp_path / "docs"]
    assert "/no/such/folder is no folder" in caplog.text
    with pytest.raises(ConfigurationError, match=r"sandbox\.readable.*no absolute path"):
        further_roots("sandbox.readable", ("docs",))
