"""The logins of the indexes that uv and pip are set up for, for what we download ourselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from aiex.app.indexes import package_index

A, B = "https://a.example.org/simple", "https://b.example.org/simple"


def logins(home: Path, **env: str) -> Mapping[str, tuple[str, str]]:
    plain = {"HOME": str(home), "PIP_CONFIG_FILE": "/dev/null"}
    return package_index({**plain, **env}).access.logins


def test_an_index_with_a_name_has_its_login_in_variables_of_that_name(tmp_path: Path) -> None:
    found = logins(
        tmp_path,
        UV_DEFAULT_INDEX=f"mine={A}",
        UV_INDEX=f"{B}",
        UV_INDEX_MINE_USERNAME="me",
        UV_INDEX_MINE_PASSWORD="a/b@c",
        UV_INDEX_OTHER_PASSWORD="x",
    )

    assert found == {"a.example.org": ("me", "a/b@c")}


@pytest.mark.parametrize("name", ["my-own.index", "My_Own-index", "MY-OWN_INDEX"])
def test_what_no_variable_can_hold_of_a_name_is_an_underscore(tmp_path: Path, name: str) -> None:
    found = logins(tmp_path, UV_INDEX=f"{name}={A}", UV_INDEX_MY_OWN_INDEX_PASSWORD="p")

    assert found == {"a.example.org": ("", "p")}


def test_a_user_alone_is_a_login(tmp_path: Path) -> None:
    found = logins(tmp_path, UV_INDEX=f"mine={A} {B}", UV_INDEX_MINE_USERNAME="token")

    assert found == {"a.example.org": ("token", "")}


def test_variables_count_before_the_address(tmp_path: Path) -> None:
    address = "https://them:theirs@a.example.org/simple"

    assert logins(tmp_path, UV_INDEX=f"mine={address}") == {"a.example.org": ("them", "theirs")}
    found = logins(tmp_path, UV_INDEX=f"mine={address}", UV_INDEX_MINE_USERNAME="me")
    assert found == {"a.example.org": ("me", "")}


def test_an_index_of_uvs_settings_has_them_too(tmp_path: Path) -> None:
    file = tmp_path / "uv.toml"
    file.write_text(
        f'[[index]]\nname = "mine"\nurl = "{A}"\n[[index]]\nurl = "https://u:p@b.example.org/"\n'
        "[[index]]\nname = 3\n"
    )

    found = logins(tmp_path, UV_CONFIG_FILE=str(file), UV_INDEX_MINE_PASSWORD="p")

    assert found == {"a.example.org": ("", "p"), "b.example.org": ("u", "p")}


def test_an_equals_sign_in_an_address_makes_no_name(tmp_path: Path) -> None:
    assert logins(tmp_path, UV_INDEX=f"{A}?mine=1", UV_INDEX_MINE_PASSWORD="p") == {}


def test_what_uv_would_not_read_is_no_login(tmp_path: Path) -> None:
    for text in ("index = 3", "[[index]]\nname = 'mine'", "not toml ["):
        (tmp_path / "uv.toml").write_text(text)

        assert logins(tmp_path, UV_CONFIG_FILE=str(tmp_path / "uv.toml")) == {}
