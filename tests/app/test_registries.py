"""Whom to ask about packages is what the user's own tools are set up for."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiex.app.registries import Registries, registries_of

A, B = "https://a.example.org/x", "https://b.example.org/x"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def found(home: Path, files: dict[str, str] | None = None, **env: str) -> Registries:
    for name, text in (files or {}).items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    plain = {"HOME": str(home), "PIP_CONFIG_FILE": "/dev/null", "XDG_CONFIG_DIRS": str(home)}
    return registries_of({**plain, **env})


def test_a_user_who_set_nothing_up_has_no_index(home: Path) -> None:
    bare = found(home)

    assert (bare.python, bare.python_extra, bare.npm, bare.go) == ("", (), "", ())
    assert (bare.cargo, bare.hex) == ("", "")


def test_python_goes_by_pip_or_uv(home: Path) -> None:
    pip = found(home, PIP_INDEX_URL=A, PIP_EXTRA_INDEX_URL=f"{B} file:///srv/index")
    uv = found(
        home, UV_DEFAULT_INDEX=A, UV_INDEX=f"mine={B}", PIP_INDEX_URL="https://c.example.org"
    )

    assert (pip.python, pip.python_extra) == (A, (B, "file:///srv/index"))
    assert (uv.python, uv.python_extra) == (A, (B,))


def test_python_goes_by_the_users_settings_of_uv(home: Path) -> None:
    tables = f'[[index]]\nurl = "{B}"\n[[index]]\nurl = "{A}"\ndefault = true\n'
    plain = f'index-url = "{A}"\nextra-index-url = ["{B}"]\n'
    for text in (tables, plain):
        uv = found(home, {".config/uv/uv.toml": text})

        assert (uv.python, uv.python_extra) == (A, (B,))


def test_npm_goes_by_the_environment_before_the_users_file(home: Path) -> None:
    file = {".npmrc": f"; mine\nregistry = ${{HOST}}/x\n@me:registry={B}\n//b/:_authToken=secret\n"}
    by_file = found(home, file, HOST="https://a.example.org")
    by_env = found(home, file, npm_config_registry=B)
    elsewhere = found(home, {"other": f"registry={B}"}, NPM_CONFIG_USERCONFIG=str(home / "other"))

    assert (by_file.npm, by_file.npm_scopes) == (A, {"@me": B})
    assert (by_env.npm, elsewhere.npm) == (B, B)


@pytest.mark.parametrize(
    ("setting", "proxies"),
    [
        (f"{A},direct", (A,)),
        (f"{A}|{B}", (A, B)),
        (f"{A},off,{B}", (A,)),
        ("off", ()),
        ("direct", ()),
    ],
)
def test_go_goes_by_goproxy_in_the_environment_or_its_file(
    home: Path, setting: str, proxies: tuple[str, ...]
) -> None:
    assert found(home, GOPROXY=setting).go == proxies
    assert found(home, {".config/go/env": f"GOFLAGS=\nGOPROXY={setting}\n"}).go == proxies
    assert found(home, GOENV="off").go == ()


def test_cargo_goes_by_the_source_that_takes_the_place_of_its_own(home: Path) -> None:
    config = (
        '[source.crates-io]\nreplace-with = "b"\n[source.b]\nreplace-with = "c"\n'
        f'[source.c]\nregistry = "sparse+{A}/"\n'
    )
    circle = '[source.crates-io]\nreplace-with = "crates-io"\n'
    by_git = '[source.crates-io]\nreplace-with = "b"\n[source.b]\nregistry = "https://a.b/git"\n'

    assert found(home, {".cargo/config.toml": config}).cargo == f"{A}/"
    assert found(home, {"c/config.toml": config}, CARGO_HOME=str(home / "c")).cargo == f"{A}/"
    for other in (circle, by_git, "[source", ""):
        assert found(home, {".cargo/config.toml": other}).cargo == ""


def test_settings_that_are_odd_are_passed_by(home: Path) -> None:
    (home / ".npmrc").mkdir()
    (home / ".cargo").write_text("x")
    odd = found(home, {".config/go/env": "\0" * 10}, HEX_API_URL="ftp://example.org")

    assert (odd.npm, odd.cargo, odd.go, odd.hex) == ("", "", (), "")
