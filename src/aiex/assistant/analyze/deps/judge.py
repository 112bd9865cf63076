"""What of the answers is worth a look, as findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from aiex.code.manifests import Ecosystem, is_major_step
from aiex.core import Dependency, Finding, Vulnerability, with_ids

__all__ = ["findings_of"]

_OUTDATED = "aiex:outdated-dependency"


def findings_of(
    dependencies: Iterable[Dependency], vulnerabilities: Iterable[Vulnerability]
) -> tuple[Finding, ...]:
    """Return the findings, with their identifiers, which stay when a version or a line changes."""
    known: dict[tuple[str, str, str], list[Vulnerability]] = {}
    for one in vulnerabilities:
        known.setdefault((one.ecosystem, one.package, one.version), []).append(one)
    return with_ids(
        finding for one in dependencies for finding in (*_behind(one), *_unsafe(one, known))
    )


def _behind(one: Dependency) -> Iterator[Finding]:
    if not one.is_outdated or one.newest is None:
        return
    ecosystem = cast("Ecosystem", one.ecosystem)
    if one.version is None:
        message = f"{one.name}: {one.requirement} does not allow {one.newest}, the newest version"
        severity = "low"
    else:
        message = f"{one.name} {one.version} is behind {one.newest}"
        severity = "low" if is_major_step(ecosystem, one.version, one.newest) else "info"
    yield Finding(
        rule=_OUTDATED,
        severity="low" if severity == "low" else "info",
        path=one.path,
        line=one.line,
        end_line=one.end_line,
        message=message,
        anchor=f"{one.ecosystem}:{one.name}:{one.group}",
        symbol=one.name,
        fix=f"go to {one.newest}",
    )


def _unsafe(
    one: Dependency, known: Mapping[tuple[str, str, str], list[Vulnerability]]
) -> Iterator[Finding]:
    for found in known.get((one.ecosystem, one.name, one.version or ""), ()):
        if found.id not in (one.vulnerabilities or ()):
            continue
        cve = next((alias for alias in found.aliases if alias.startswith("CVE-")), None)
        names = found.id if cve is None else f"{found.id} ({cve})"
        untold = "; its severity is not known" if found.severity_from == "none" else ""
        yield Finding(
            rule=f"osv:{found.id}",
            severity=found.severity,
            path=one.path,
            line=one.line,
            end_line=one.end_line,
            message=f"{one.name} {one.version}: {names} {found.summary}".rstrip() + untold,
            anchor=f"{one.ecosystem}:{one.name}:{one.group}",
            symbol=one.name,
            fix=f"go to {found.fixed} or newer" if found.fixed else None,
            tool="OSV",
            url=found.url,
        )
