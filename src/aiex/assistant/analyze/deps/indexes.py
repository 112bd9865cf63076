"""The indexes that the user's own tools are set up for, as sources of versions.

Sources (read 2026-11-25): packaging.python.org "Simple repository API" (PEP 503, 592, 691, 700);
npm's "package metadata" in its abbreviated form; go.dev "Go Modules Reference", GOPROXY protocol;
the Cargo book, "Index Format"; hexpm's specifications, the JSON API.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import anyio.to_thread
import msgspec
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from aiex.assistant.analyze.deps.ports import Versions
from aiex.assistant.analyze.deps.web import Web, decoded, host_of
from aiex.core import NotFoundError, UnavailableError

__all__ = ["CargoIndex", "GoProxy", "HexApi", "NpmRegistry", "SimpleIndex"]

_SIMPLE = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"
_ABBREVIATED = "application/vnd.npm.install-v1+json, application/json;q=0.8"
_MAX_PAGE_BYTES = 64 << 20


class _File(msgspec.Struct, rename="kebab"):
    filename: str
    yanked: bool | str = False
    upload_time: datetime | None = msgspec.field(default=None, name="upload-time")


class _Page(msgspec.Struct):
    files: list[_File] = []


_DECODE_PAGE = msgspec.json.Decoder(_Page).decode


class SimpleIndex:
    """An index of Python packages: JSON or HTML over HTTP, or folders with pages on this machine.

    Args:
        web: Asks.
        address: Address of the index, `https`, `http` or `file`.
    """

    def __init__(self, web: Web, address: str) -> None:
        self._web = web
        self._address = address.rstrip("/")

    @property
    def name(self) -> str:
        """The host; for one on this machine its folder."""
        parts = urlsplit(self._address)
        return unquote(parts.path) if parts.scheme == "file" else host_of(self._address)

    async def versions(self, package: str) -> Versions:
        """Return the versions of *package* that have a file which was not yanked."""
        name = canonicalize_name(package)
        if urlsplit(self._address).scheme == "file":
            kind = "text/html"
            folder = Path(unquote(urlsplit(self._address).path)) / name
            body = await anyio.to_thread.run_sync(_page_of, folder)
        else:
            kind, body = await self._web.get(f"{self._address}/{name}/", accept=_SIMPLE)
        if kind.endswith("json"):
            files = decoded(_DECODE_PAGE, body, self.name).files
        else:
            files = list(_files_of_page(body))
        found: dict[str, datetime | None] = {}
        for file in files:
            version = _version_of(file.filename, name)
            if version is not None and file.yanked is False:
                known = found.get(version)
                times = [time for time in (known, file.upload_time) if time is not None]
                found[version] = min(times) if times else None
        return Versions(published=found)


def _page_of(folder: Path) -> bytes:
    page = folder / "index.html"
    try:
        if page.stat().st_size > _MAX_PAGE_BYTES:
            raise UnavailableError(f"{page} has more than {_MAX_PAGE_BYTES} bytes")
        return page.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{folder.parent} knows nothing of it") from error
    except OSError as error:
        raise UnavailableError(f"{page} cannot be read: {error.strerror}") from error


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.files: list[_File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the file that a link leads to."""
        told = dict(attrs)
        address = told.get("href")
        if tag == "a" and address:
            name = unquote(urlsplit(address).path).rpartition("/")[2]
            self.files.append(_File(filename=name, yanked="data-yanked" in told))


def _files_of_page(body: bytes) -> Iterator[_File]:
    parser = _Anchors()
    parser.feed(body.decode("utf-8", "replace"))
    yield from parser.files


def _version_of(filename: str, package: str) -> str | None:
    """Return the version that a file is of; `None` if it is no file of *package*."""
    try:
        if filename.endswith(".whl"):
            name, version, *_ = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return str(version) if name == package else None


class _Packument(msgspec.Struct):
    versions: dict[str, dict[str, Any]] = {}


_DECODE_PACKUMENT = msgspec.json.Decoder(_Packument).decode


class NpmRegistry:
    """A registry of npm.

    Args:
        web: Asks.
        address: Address of the registry.
        scopes: Addresses for the packages of certain scopes, by scope such as `@mine`.
    """

    def __init__(self, web: Web, address: str, scopes: dict[str, str] | None = None) -> None:
        self._web = web
        self._address = address
        self._scopes = scopes or {}

    @property
    def name(self) -> str:
        """The host."""
        return host_of(self._address)

    async def versions(self, package: str) -> Versions:
        """Return the versions of *package* that are not deprecated."""
        address = self._scopes.get(package.partition("/")[0], self._address).rstrip("/")
        url = f"{address}/{quote(package, safe='@')}"
        _, body = await self._web.get(url, accept=_ABBREVIATED)
        found = decoded(_DECODE_PACKUMENT, body, host_of(address)).versions
        return Versions(
            published={
                version: None for version, entry in found.items() if not entry.get("deprecated")
            }
        )


class _Index:
    """An index at one address.

    Args:
        web: Asks.
        address: Its address.
    """

    def __init__(self, web: Web, address: str) -> None:
        self._web = web
        self._address = address.rstrip("/")

    @property
    def name(self) -> str:
        """The host."""
        return host_of(self._address)


class GoProxy(_Index):
    """A proxy of Go modules.

    Args:
        web: Asks.
        address: Address of the proxy.
    """

    async def versions(self, package: str) -> Versions:
        """Return the tagged versions of the module *package*."""
        escaped = "".join(f"!{c.lower()}" if c.isupper() else c for c in package)
        _, body = await self._web.get(f"{self._address}/{escaped}/@v/list", accept="text/plain")
        lines = body.decode("utf-8", "replace").split()
        return Versions(published=dict.fromkeys(lines))


class _Crate(msgspec.Struct):
    name: str
    vers: str
    yanked: bool = False


_DECODE_CRATES = msgspec.json.Decoder(_Crate).decode_lines


class CargoIndex(_Index):
    """A sparse index of crates.

    Args:
        web: Asks.
        address: Address of the index, without `sparse+`.
    """

    async def versions(self, package: str) -> Versions:
        """Return the versions of the crate *package* that are not yanked."""
        low = package.lower()
        place = {1: "1", 2: "2", 3: f"3/{low[:1]}"}.get(len(low), f"{low[:2]}/{low[2:4]}")
        _, body = await self._web.get(f"{self._address}/{place}/{low}", accept="text/plain")
        found = decoded(_DECODE_CRATES, body, self.name)
        return Versions(published={one.vers: None for one in found if not one.yanked})


class _HexRelease(msgspec.Struct):
    version: str
    inserted_at: datetime | None = None


class _HexPackage(msgspec.Struct):
    releases: list[_HexRelease] = []
    retirements: dict[str, Any] = {}


_DECODE_HEX = msgspec.json.Decoder(_HexPackage).decode


class HexApi(_Index):
    """The JSON API of a Hex repository.

    Args:
        web: Asks.
        address: Address of the API.
    """

    async def versions(self, package: str) -> Versions:
        """Return the versions of *package* that are not retired."""
        _, body = await self._web.get(f"{self._address}/packages/{quote(package, safe='')}")
        found = decoded(_DECODE_HEX, body, self.name)
        return Versions(
            published={
                one.version: one.inserted_at
                for one in found.releases
                if one.version not in found.retirements
            }
        )
