"""OSV as a source of advisories.

Sources: google.github.io/osv.dev, "POST /v1/querybatch" and "GET /v1/vulns/{id}" (docs/api of
google/osv.dev), at most 1000 queries at once and a page token for each query that has more; and
the OSV schema 1.7.5 of ossf/osv-schema (read 2026-11-25).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from aiex.assistant.analyze.deps.cvss import base_score, severity_of_score
from aiex.assistant.analyze.deps.ports import Advisory, Affecting, PackageVersion, Repair
from aiex.assistant.analyze.deps.web import Web, decoded, host_of
from aiex.code.manifests import Ecosystem
from aiex.core import SEVERITIES, NotFoundError, Severity, UnavailableError

__all__ = ["OsvDatabase"]

_MOST_PAGES = 20
_LONGEST_SUMMARY = 300
_PAGES = "https://osv.dev/vulnerability/"

# By name and ecosystem rather than by purl, whose library folds the case of Go's names: a module
# with a capital would be found to have nothing against it.
_ECOSYSTEMS: dict[Ecosystem, str] = {"pypi": "PyPI", "npm": "npm", "go": "Go", "hex": "Hex"}
_PURL = {"cargo": "pkg:cargo/"}

_WORDS: dict[str, Severity] = {
    "critical": "critical",
    "high": "high",
    "important": "high",
    "moderate": "medium",
    "medium": "medium",
    "low": "low",
}


class _Package(msgspec.Struct, omit_defaults=True):
    name: str | None = None
    ecosystem: str | None = None
    purl: str | None = None


class _Query(msgspec.Struct, omit_defaults=True):
    package: _Package
    version: str
    page_token: str | None = None


class _Queries(msgspec.Struct):
    queries: list[_Query]


class _Hit(msgspec.Struct):
    id: str


class _Hits(msgspec.Struct):
    vulns: list[_Hit] | None = None
    next_page_token: str | None = None


class _Answer(msgspec.Struct):
    results: list[_Hits | None]


class _Event(msgspec.Struct):
    fixed: str | None = None


class _Range(msgspec.Struct):
    type: str = ""
    events: list[_Event] | None = None


class _Score(msgspec.Struct):
    type: str = ""
    score: str = ""


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] | None = None
    severity: list[_Score] | None = None
    ecosystem_specific: dict[str, Any] | None = None
    database_specific: dict[str, Any] | None = None


class _Record(msgspec.Struct):
    id: str
    withdrawn: datetime | None = None
    aliases: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[_Score] | None = None
    affected: list[_Affected] | None = None
    database_specific: dict[str, Any] | None = None


_DECODE_ANSWER = msgspec.json.Decoder(_Answer).decode
_DECODE_RECORD = msgspec.json.Decoder(_Record).decode


class OsvDatabase:
    """Asks OSV, or what answers like it.

    Args:
        web: Asks.
        address: Address of the API, with its version.
    """

    most_at_once = 1000

    def __init__(self, web: Web, address: str) -> None:
        self._web = web
        self._address = address.rstrip("/")

    @property
    def name(self) -> str:
        """What the database is called."""
        return "OSV"

    async def affecting(self, versions: Sequence[PackageVersion]) -> Affecting:
        """Return which advisories are about *versions*; raises as `AdvisorySource` says."""
        ids: dict[PackageVersion, tuple[str, ...]] = {}
        waiting: list[tuple[PackageVersion, str | None]] = [(one, None) for one in versions]
        for page in range(_MOST_PAGES):
            try:
                results = await self._page(waiting)
            except UnavailableError as error:
                if page == 0:
                    raise
                return Affecting(ids=ids, unfinished={one: error.message for one, _ in waiting})
            more: list[tuple[PackageVersion, str | None]] = []
            for (one, _), hits in zip(waiting, results, strict=True):
                if hits is None:
                    continue
                if hits.vulns:
                    ids[one] = (*ids.get(one, ()), *(hit.id for hit in hits.vulns))
                if hits.next_page_token:
                    more.append((one, hits.next_page_token))
            waiting = more
            if not waiting:
                return Affecting(ids=ids, unfinished={})
        reason = f"{self.name} has more than {_MOST_PAGES} pages about it"
        return Affecting(ids=ids, unfinished={one: reason for one, _ in waiting})

    async def _page(
        self, waiting: Sequence[tuple[PackageVersion, str | None]]
    ) -> list[_Hits | None]:
        queries = [
            _Query(package=_package_of(one), version=_version_of(one), page_token=token)
            for one, token in waiting
        ]
        host = host_of(self._address)
        try:
            body = await self._web.post(
                f"{self._address}/querybatch", msgspec.json.encode(_Queries(queries))
            )
        except NotFoundError as error:
            raise UnavailableError(f"{host} answers no questions about vulnerabilities") from error
        results = decoded(_DECODE_ANSWER, body, host).results
        if len(results) != len(waiting):
            raise UnavailableError(
                f"{host} gave {len(results)} answers to {len(waiting)} questions"
            )
        return results

    async def advisory(self, identifier: str) -> Advisory:
        """Return what it knows of one advisory; raises as `AdvisorySource` says."""
        host = host_of(self._address)
        _, body = await self._web.get(f"{self._address}/vulns/{quote(identifier, safe='')}")
        record = decoded(_DECODE_RECORD, body, host)
        severity, origin = _severity(record)
        text = record.summary or (record.details or "").strip().partition("\n")[0]
        return Advisory(
            id=record.id,
            aliases=tuple(record.aliases or ()),
            summary=" ".join(text.split())[:_LONGEST_SUMMARY],
            severity=severity,
            severity_from=origin,
            is_withdrawn=record.withdrawn is not None,
            repairs=tuple(_repairs(record)),
            url=f"{_PAGES}{quote(record.id, safe='')}",
        )


def _package_of(one: PackageVersion) -> _Package:
    if one.ecosystem in _PURL:
        return _Package(purl=f"{_PURL[one.ecosystem]}{quote(one.name, safe='')}")
    return _Package(name=one.name, ecosystem=_ECOSYSTEMS[one.ecosystem])


def _version_of(one: PackageVersion) -> str:
    """Return the version as the database writes it: those of Go are without their `v`."""
    return one.version.removeprefix("v") if one.ecosystem == "go" else one.version


def _severity(record: _Record) -> tuple[Severity | None, Any]:
    """Return the severity and where it is from: a word of the database, else a CVSS vector."""
    affected = record.affected or []
    places = [record.database_specific, *(a.database_specific for a in affected)]
    places += [a.ecosystem_specific for a in affected]
    found = [severity for place in places if (severity := _word(place)) is not None]
    if found:
        return max(found, key=SEVERITIES.index), "database"
    if record.id.startswith("MAL-"):
        return "critical", "database"  # the package itself is malicious
    vectors = [*(record.severity or ()), *(s for a in affected for s in a.severity or ())]
    scores = [score for v in vectors if (score := base_score(v.score)) is not None]
    if scores:
        return severity_of_score(max(scores)), "cvss"
    return None, "none"


def _word(place: Mapping[str, Any] | None) -> Severity | None:
    if not place:
        return None
    if isinstance(place.get("informational"), str):
        return "info"  # RustSec's word for what is no hole, such as `unmaintained`
    word = place.get("severity")
    return _WORDS.get(word.casefold()) if isinstance(word, str) else None


def _repairs(record: _Record) -> list[Repair]:
    return [
        Repair(
            ecosystem=_ecosystem(affected.package),
            package=affected.package.name or "",
            version=event.fixed,
        )
        for affected in record.affected or ()
        if affected.package is not None
        for one in affected.ranges or ()
        if one.type in {"SEMVER", "ECOSYSTEM"}
        for event in one.events or ()
        if event.fixed
    ]


def _ecosystem(package: _Package) -> str:
    """Return our word for the ecosystem of a package of theirs."""
    kind = (package.purl or "").removeprefix("pkg:").partition("/")[0]
    if kind:
        return {"golang": "go"}.get(kind, kind)
    word = (package.ecosystem or "").casefold().partition(".")[0]
    return {"crates": "cargo"}.get(word, word)
