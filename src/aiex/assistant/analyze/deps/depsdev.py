"""deps.dev as a source of versions, for what no index of the user's own is set up for.

Source: `GET /v3/systems/{system}/packages/{name}`, docs.deps.dev/api/v3 and api/v3/api.proto of
google/deps.dev (commit of 2026-08-11, read 2026-11-25). Names are percent-encoded whole. A
version that is deprecated is left out, as it is not what one would go to.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import msgspec

from aiex.assistant.analyze.deps.ports import Versions
from aiex.assistant.analyze.deps.web import Web, decoded, host_of
from aiex.code.manifests import Ecosystem

__all__ = ["SYSTEMS", "DepsDev"]

SYSTEMS: frozenset[Ecosystem] = frozenset({"pypi", "npm", "go", "cargo"})
"""Ecosystems that it knows."""


class _VersionKey(msgspec.Struct):
    version: str


class _Version(msgspec.Struct, rename="camel"):
    version_key: _VersionKey
    published_at: datetime | None = None
    is_deprecated: bool = False


class _Package(msgspec.Struct):
    versions: list[_Version] = []


_DECODE = msgspec.json.Decoder(_Package).decode


class DepsDev:
    """Asks deps.dev, or what answers like it, about one ecosystem.

    Args:
        web: Asks.
        address: Address of the API, with its version.
        system: Ecosystem, one of `SYSTEMS`.
    """

    def __init__(self, web: Web, address: str, system: Ecosystem) -> None:
        self._web = web
        self._address = address.rstrip("/")
        self._system = system

    @property
    def name(self) -> str:
        """The host."""
        return host_of(self._address)

    async def versions(self, package: str) -> Versions:
        """Return the versions of *package*; raises as `VersionSource` says."""
        url = f"{self._address}/systems/{self._system}/packages/{quote(package, safe='')}"
        _, body = await self._web.get(url)
        found = decoded(_DECODE, body, self.name)
        return Versions(
            published={
                one.version_key.version: one.published_at
                for one in found.versions
                if not one.is_deprecated
            }
        )
