"""What `analyze deps` answers: dependencies, and what is known against them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from aiex.core.findings import Finding, Severity

__all__ = ["Coverage", "Dependency", "DepsResult", "ManifestSummary", "Vulnerability"]


class ManifestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A file that names dependencies.

    Attributes:
        path: File, relative to the root.
        ecosystem: `pypi`, `npm`, `go`, `cargo` or `hex`.
        role: `manifest` for what is wanted, `lock` for what was chosen.
        packages: Packages that it names.
    """

    path: str
    ecosystem: str
    role: Literal["manifest", "lock"]
    packages: int


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """A package that the project needs.

    Attributes:
        ecosystem: `pypi`, `npm`, `go`, `cargo` or `hex`.
        name: Name of the package.
        requirement: What is required, as written; empty for any version, and for a package that
            only a lock file names.
        version: Exact version, from a lock file or a requirement that allows no other; `None` if
            unknown.
        group: `main`, `dev`, `build`, the name of an extra; `indirect` for what others need.
        is_dev: Whether only developers of the project need it.
        source: Where it comes from instead of an index: `git`, `path`, `url`, `workspace`;
            `None` for an index.
        path: File that names it, relative to the root.
        line: Line in it, 1-based; 0 if unknown.
        end_line: Last line.
        newest: Newest version that was found; `None` if nobody was asked, or nobody knew.
        published: When that was published, aware UTC; `None` if unknown.
        is_outdated: Whether there is a newer one than is used, or than is allowed where the
            version is unknown; `None` if that was not checked.
        vulnerabilities: Identifiers of what is known against the version; `None` if that was
            not checked.
    """

    ecosystem: str
    name: str
    requirement: str = ""
    version: str | None = None
    group: str = "main"
    is_dev: bool = False
    source: str | None = None
    path: str
    line: int = 0
    end_line: int = 0
    newest: str | None = None
    published: datetime | None = None
    is_outdated: bool | None = None
    vulnerabilities: tuple[str, ...] | None = None


class Vulnerability(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is known against versions of a package.

    Attributes:
        id: Identifier in the database that tells of it.
        aliases: Identifiers of the same thing elsewhere.
        ecosystem: Ecosystem of the package.
        package: Name of the package.
        version: Version that is affected.
        severity: How bad it is.
        severity_from: Where the severity is from: `database`, `cvss`, or `none` where none was
            given and it is an assumption.
        summary: What it is, in a line; empty if unknown.
        fixed: First version after *version* without it; `None` if none is known.
        url: Page about it.
    """

    id: str
    aliases: tuple[str, ...] = ()
    ecosystem: str
    package: str
    version: str
    severity: Severity
    severity_from: Literal["database", "cvss", "none"] = "none"
    summary: str = ""
    fixed: str | None = None
    url: str | None = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a question was answered, so that silence is never taken for an all-clear.

    Attributes:
        is_asked: Whether the user asked it.
        checked: Packages that were checked.
        packages: Packages that there are to check.
        found: Packages of them with something against them.
    """

    is_asked: bool
    checked: int
    packages: int
    found: int

    @property
    def is_complete(self) -> bool:
        """Whether everything there is was checked; never true of nothing."""
        return 0 < self.packages == self.checked


class DepsResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="deps"):
    """What `analyze deps` found.

    Attributes:
        manifests: Files that name dependencies, by path.
        dependencies: What they name: first what the project itself wants, then what only lock
            files name, each by path and line.
        outdated: How much is known of newer versions.
        security: How much is known of vulnerabilities.
        vulnerabilities: What is known, the worst first.
        findings: Ranked, the worst first.
        severities: Number of findings by severity.
    """

    manifests: tuple[ManifestSummary, ...]
    dependencies: tuple[Dependency, ...]
    outdated: Coverage
    security: Coverage
    vulnerabilities: tuple[Vulnerability, ...] = ()
    findings: tuple[Finding, ...] = ()
    severities: dict[Severity, int] = {}
