"""Whom `analyze deps` asks: the indexes that the user's tools are set up for, else two services.

Only the user's own settings are read, and the environment: a project's files must not decide where
the names of its packages go. Sources (read 2026-11-25): npm's page "npmrc"; go.dev "Go Modules
Reference", GOPROXY and GOENV; the Cargo book, "Source Replacement"; hexdocs "mix hex.config";
docs.astral.sh "uv settings".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.app.indexes import package_index
from aiex.app.settings import AnalysisSettings
from aiex.app.tool_settings import text_of, toml_of, uv_settings
from aiex.assistant.analyze.deps.analysis import Asked
from aiex.assistant.analyze.deps.depsdev import SYSTEMS, DepsDev
from aiex.assistant.analyze.deps.indexes import (
    CargoIndex,
    GoProxy,
    HexApi,
    NpmRegistry,
    SimpleIndex,
)
from aiex.assistant.analyze.deps.osv import OsvDatabase
from aiex.assistant.analyze.deps.ports import VersionSource
from aiex.assistant.analyze.deps.web import Web
from aiex.code.manifests import Ecosystem
from aiex.core import logins_in
from aiex.llm import Access

__all__ = ["Registries", "open_asked", "registries_of"]

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Registries(msgspec.Struct, frozen=True, kw_only=True):
    """The indexes that the user's own tools are set up for; empty where they are not.

    Attributes:
        python: Address of the index that pip or uv replaces its own with.
        python_extra: Addresses of further ones.
        npm: Address of npm's registry.
        npm_scopes: Addresses for certain scopes, by scope such as `@mine`.
        go: Addresses of proxies, the first one first.
        cargo: Address of the sparse index that takes the place of cargo's own.
        hex: Address of the JSON API of Hex.
        access: What it takes to be let in by the indexes of Python.
    """

    python: str = ""
    python_extra: tuple[str, ...] = ()
    npm: str = ""
    npm_scopes: dict[str, str] = {}
    go: tuple[str, ...] = ()
    cargo: str = ""
    hex: str = ""
    access: Access = Access()


def registries_of(env: Mapping[str, str]) -> Registries:
    """Return what the tools of the user of *env* are set up for. Blocks."""
    home = Path(env.get("HOME") or "~").expanduser()
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    python, extra, access = _python(env)
    npm, scopes = _npm(env, home)
    return Registries(
        python=python,
        python_extra=extra,
        npm=npm,
        npm_scopes=scopes,
        go=_go(env, config),
        cargo=_cargo(env, home),
        hex=_address(env.get("HEX_API_URL", "")),
        access=access,
    )


@asynccontextmanager
async def open_asked(
    settings: AnalysisSettings, env: Mapping[str, str], *, hold: Callable[[str], None] | None = None
) -> AsyncIterator[Asked]:
    """Open whom to ask; closing it closes every connection.

    Args:
        settings: Addresses of the two services; an empty one is not asked.
        env: Environment variables.
        hold: Told of the logins in the addresses, so that they are masked.
    """
    found = await anyio.to_thread.run_sync(registries_of, env)
    access = found.access
    if hold is not None:
        for secret in _secrets_of(found):
            hold(secret)
    async with Web(certificates=access.certificates, logins=access.logins) as web:
        yield Asked(
            versions=_sources(found, settings.versions_url, web),
            advisories=OsvDatabase(web, settings.osv_url) if settings.osv_url else None,
        )


def _secrets_of(found: Registries) -> Iterator[str]:
    addresses = (
        *(found.python, *found.python_extra, found.npm, *found.npm_scopes.values()),
        *(*found.go, found.cargo, found.hex),
    )
    for address in addresses:
        yield from logins_in(address)
    for user, password in found.access.logins.values():
        yield password or user


def _sources(
    found: Registries, service: str, web: Web
) -> dict[Ecosystem, tuple[VersionSource, ...]]:
    """Return whom to ask for each ecosystem: its index where one is set, else *service*."""
    own: dict[Ecosystem, list[VersionSource]] = {
        "pypi": [SimpleIndex(web, found.python)] if found.python else [],
        "npm": [NpmRegistry(web, found.npm, found.npm_scopes)] if found.npm else [],
        "go": [GoProxy(web, found.go[0])] if found.go else [],
        "cargo": [CargoIndex(web, found.cargo)] if found.cargo else [],
        "hex": [HexApi(web, found.hex)] if found.hex else [],
    }
    for ecosystem in SYSTEMS:
        if service and not own[ecosystem]:
            own[ecosystem].append(DepsDev(web, service, ecosystem))
    own["pypi"] += [SimpleIndex(web, address) for address in found.python_extra]
    return {ecosystem: tuple(sources) for ecosystem, sources in own.items()}


def _python(env: Mapping[str, str]) -> tuple[str, tuple[str, ...], Access]:
    index = package_index(env)
    uv = uv_settings(env)
    default = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or index.default
    named = [*_words(env, "UV_INDEX"), *_words(env, "UV_EXTRA_INDEX_URL"), *index.extra]
    for one in uv.get("index", ()) if isinstance(uv.get("index"), list) else ():
        address = one.get("url") if isinstance(one, dict) else None
        if isinstance(address, str) and one.get("default") is True:
            default = default or address
        elif isinstance(address, str):
            named.append(address)
    told = uv.get("index-url")
    default = default or (told if isinstance(told, str) else None)
    more = uv.get("extra-index-url")
    named += [one for one in more if isinstance(one, str)] if isinstance(more, list) else []
    extra = [address for one in named if (address := _address(_unnamed(one), file=True))]
    return _address(_unnamed(default or ""), file=True), tuple(dict.fromkeys(extra)), index.access


def _words(env: Mapping[str, str], name: str) -> list[str]:
    return env.get(name, "").split()


def _unnamed(address: str) -> str:
    """Return an address without the name that uv lets stand before it: `mine=https://...`."""
    name, equals, rest = address.partition("=")
    return rest if equals and "/" not in name else address


def _npm(env: Mapping[str, str], home: Path) -> tuple[str, dict[str, str]]:
    file = env.get("npm_config_userconfig") or env.get("NPM_CONFIG_USERCONFIG")
    registry, scopes = "", {}
    for line in text_of(Path(file) if file else home / ".npmrc").split("\n"):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or key.startswith(("#", ";")):
            continue
        address = _address(_VARIABLE.sub(lambda m: env.get(m[1], ""), value.strip("\"'")))
        if key == "registry":
            registry = address
        elif key.startswith("@") and key.endswith(":registry") and address:
            scopes[key.removesuffix(":registry")] = address
    told = env.get("npm_config_registry") or env.get("NPM_CONFIG_REGISTRY") or ""
    return _address(told) or registry, scopes


def _go(env: Mapping[str, str], config: Path) -> tuple[str, ...]:
    told = env.get("GOPROXY", "")
    file = env.get("GOENV", "")
    if not told and file != "off":
        for line in text_of(Path(file) if file else config / "go" / "env").split("\n"):
            key, _, value = line.strip().partition("=")
            told = value if key == "GOPROXY" else told
    words = [word.strip() for word in re.split(r"[,|]", told)]
    before = words[: words.index("off")] if "off" in words else words
    return tuple(address for word in before if (address := _address(word)))


def _cargo(env: Mapping[str, str], home: Path) -> str:
    folder = Path(env.get("CARGO_HOME") or home / ".cargo")
    tree = toml_of(folder / "config.toml") or toml_of(folder / "config")
    sources = tree.get("source")
    name: object = "crates-io"
    for _ in range(10):
        source = sources.get(name) if isinstance(sources, dict) else None
        if not isinstance(source, dict):
            return ""
        if "replace-with" not in source:
            registry = source.get("registry")
            is_sparse = isinstance(registry, str) and registry.startswith("sparse+")
            return _address(str(registry).removeprefix("sparse+")) if is_sparse else ""
        name = source["replace-with"]
    return ""


def _address(text: str, *, file: bool = False) -> str:
    schemes = ("https://", "http://", *(("file://",) if file else ()))
    return text if text.startswith(schemes) else ""
