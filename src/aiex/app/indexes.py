"""Where packages come from on this machine, as pip is set up: uv reads its own settings only."""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiex.app.masking import environment_of_child
from aiex.app.tool_settings import uv_settings
from aiex.llm import Access, PackageIndex

__all__ = ["package_index"]

_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_NOT_IN_VARIABLES = re.compile("[^A-Z0-9]")
_SECTIONS = ("global", "download", "install")


def package_index(env: Mapping[str, str]) -> PackageIndex:
    """Return the index of packages; where uv is set up by *env*, pip's settings do not count.

    Read as pip.pypa.io "Configuration" has it (2026-11): variables before files, the file of the
    environment before the user's before the machine's. Blocks.
    """
    pip = _Pip(env)
    uv_has = [env[name] for name in _UV_INDEXES if env.get(name)]
    default, extra = pip.value("index-url"), pip.value("extra-index-url").split()
    links = pip.value("find-links").split()
    addresses = " ".join([*uv_has, default, *extra, *links]).split()
    addresses += [f"{name}={address}" for name, address in _of_uv_settings(env)]
    certificates = env.get("SSL_CERT_FILE") or pip.value("cert")
    environment = environment_of_child(env, of_uv=True)
    if certificates:
        environment["SSL_CERT_FILE"] = certificates
    return PackageIndex(
        default=None if uv_has else default or None,
        extra=() if uv_has else tuple(extra),
        find_links=() if uv_has else tuple(links),
        environment=environment,
        access=Access(
            certificates=Path(certificates) if certificates else None,
            logins=_logins(addresses, env),
        ),
    )


class _Pip:
    """pip's settings, read without pip."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._files = [_read(path) for path in _files_of(env)]

    def value(self, name: str) -> str:
        """Return a setting; empty if there is none."""
        told = self._env.get("PIP_" + name.upper().replace("-", "_"))
        if told:
            return told
        found = ""
        for file in self._files:
            for section in _SECTIONS:
                found = file.get(section, name, fallback=found)
        return found


def _files_of(env: Mapping[str, str]) -> list[Path]:
    """Return pip's files, the one that counts most last; those that are absent are empty."""
    named = env.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(env.get("HOME") or "~").expanduser()
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    if sys.platform == "darwin":
        application = home / "Library" / "Application Support" / "pip"
        user = application / "pip.conf" if application.is_dir() else user
    return [
        *(Path(folder) / "pip" / "pip.conf" for folder in _machine_folders(env)),
        Path("/etc/pip.conf"),
        home / ".pip" / "pip.conf",
        user,
        Path(sys.prefix) / "pip.conf",
        *([Path(named)] if named else []),
    ]


def _machine_folders(env: Mapping[str, str]) -> list[str]:
    if sys.platform == "darwin":
        return ["/Library/Application Support"]
    return [part for part in env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if part][::-1]


def _read(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return configparser.RawConfigParser()  # pip itself will say what is wrong with it
    return parser


def _of_uv_settings(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name, which may be empty, and the address of each index in uv's settings."""
    tables = uv_settings(env).get("index")
    for table in tables if isinstance(tables, list) else ():
        if isinstance(table, dict) and isinstance(table.get("url"), str):
            yield str(table.get("name") or ""), table["url"]


def _logins(addresses: list[str], env: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return user and password by host, of addresses that may have a name: `mine=https://...`.

    Those in the variables of a named index count before those in its address, as uv has it.
    """
    in_addresses: dict[str, tuple[str, str]] = {}
    in_variables: dict[str, tuple[str, str]] = {}
    for one in addresses:
        name, named, rest = one.partition("=")
        is_named = bool(named) and "/" not in name
        parts = urlsplit(rest if is_named else one)
        if parts.hostname and parts.username:
            login = (unquote(parts.username), unquote(parts.password or ""))
            in_addresses[parts.hostname] = login
        told = _told_of(name, env) if is_named and name else None
        if parts.hostname and told is not None:
            in_variables[parts.hostname] = told
    return in_addresses | in_variables


def _told_of(name: str, env: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the login of the index *name*: docs.astral.sh "Indexes", 2026-11."""
    prefix = f"UV_INDEX_{_NOT_IN_VARIABLES.sub('_', name.upper())}"
    user, password = env.get(f"{prefix}_USERNAME"), env.get(f"{prefix}_PASSWORD")
    return None if user is None and password is None else (user or "", password or "")
