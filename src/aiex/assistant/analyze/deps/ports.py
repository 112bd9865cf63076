"""Who knows about packages: what a recipe asks, whoever answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from aiex.code.manifests import Ecosystem
from aiex.core import Severity

__all__ = [
    "Advisory",
    "AdvisorySource",
    "Affecting",
    "PackageVersion",
    "Repair",
    "VersionSource",
    "Versions",
]


class PackageVersion(msgspec.Struct, frozen=True, order=True):
    """One version of one package.

    Attributes:
        ecosystem: Where it comes from.
        name: Name of the package.
        version: The version.
    """

    ecosystem: Ecosystem
    name: str
    version: str


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """The versions of a package that one may take: none that was withdrawn.

    Attributes:
        published: When each was published, aware UTC; `None` if unknown.
    """

    published: Mapping[str, datetime | None]


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A version in which something is repaired.

    Attributes:
        ecosystem: Ecosystem of the package, as the database writes it, in lower case.
        package: Name of the package.
        version: First version of a range without it.
    """

    ecosystem: str
    package: str
    version: str


class Advisory(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is known against versions of packages.

    Attributes:
        id: Identifier.
        aliases: Identifiers of the same thing elsewhere.
        summary: What it is, in a line; empty if unknown.
        severity: How bad it is; `None` if the database does not say.
        severity_from: Where that is from.
        is_withdrawn: Whether it was taken back.
        repairs: Versions in which it is repaired.
        url: Page about it.
    """

    id: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    severity: Severity | None = None
    severity_from: Literal["database", "cvss", "none"] = "none"
    is_withdrawn: bool = False
    repairs: tuple[Repair, ...] = ()
    url: str | None = None


class Affecting(msgspec.Struct, frozen=True, kw_only=True):
    """Which advisories are about which of the versions that were asked about.

    Attributes:
        ids: Identifiers, for each version that has any.
        unfinished: Versions of which more may be known, with the reason why that was not read.
    """

    ids: Mapping[PackageVersion, tuple[str, ...]]
    unfinished: Mapping[PackageVersion, str]


class VersionSource(Protocol):
    """Knows the versions of the packages of one ecosystem."""

    @property
    def name(self) -> str:
        """Who is asked, for the reader: a service, or a host."""

    async def versions(self, package: str) -> Versions:
        """Return the versions of *package*.

        Raises:
            NotFoundError: There is no such package.
            UnavailableError: It did not answer.
        """


class AdvisorySource(Protocol):
    """Knows what is known against versions of packages."""

    @property
    def name(self) -> str:
        """Who is asked, for the reader."""

    @property
    def most_at_once(self) -> int:
        """Most versions that one question may name."""

    async def affecting(self, versions: Sequence[PackageVersion]) -> Affecting:
        """Return which advisories are about *versions*.

        Raises:
            UnavailableError: It did not answer.
        """

    async def advisory(self, identifier: str) -> Advisory:
        """Return what it knows of one advisory.

        Raises:
            NotFoundError: There is none.
            UnavailableError: It did not answer.
        """
