"""What is known against the versions that are used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import cast

import msgspec

from aiex.assistant.analyze.deps.crowd import for_each
from aiex.assistant.analyze.deps.notes import by_reason
from aiex.assistant.analyze.deps.ports import Advisory, AdvisorySource, PackageVersion
from aiex.code.manifests import Ecosystem, is_behind, is_package_name, newest
from aiex.core import (
    SEVERITIES,
    Dependency,
    NotChecked,
    NotFoundError,
    Severity,
    UnavailableError,
    Vulnerability,
)

__all__ = ["Known", "to_check", "with_vulnerabilities"]

Tell = Callable[[int, int], Awaitable[None]]

_MOST_ADVISORIES = 5_000
_LONGEST_VERSION = 200
_UNREAD: Severity = "high"
"""What counts for an advisory that could not be read, so that no gate opens for want of details."""

_UNTOLD: Severity = "medium"
"""What counts where the database gives no severity."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the question for vulnerabilities gave.

    Attributes:
        dependencies: All of them, those that were checked with what is known against them.
        vulnerabilities: What is known, the worst first.
        not_checked: What could not be told, and why.
    """

    dependencies: tuple[Dependency, ...]
    vulnerabilities: tuple[Vulnerability, ...]
    not_checked: tuple[NotChecked, ...]


def _version_of(one: Dependency) -> PackageVersion | None:
    """Return what can be asked about; `None` if the version is unknown or nowhere published."""
    if one.version is None or one.source is not None:
        return None
    return PackageVersion(cast("Ecosystem", one.ecosystem), one.name, one.version)


def to_check(dependencies: Iterable[Dependency]) -> int:
    """Return the number of packages there are to check, those of unknown version included."""
    return len({(d.ecosystem, d.name, d.version) for d in dependencies if _is_of_interest(d)})


def _is_of_interest(one: Dependency) -> bool:
    """Return whether a package comes from others: what the project itself has is not looked up."""
    return one.source not in {"path", "workspace"}


async def with_vulnerabilities(
    dependencies: Sequence[Dependency], source: AdvisorySource, *, tell: Tell, seconds: float
) -> Known:
    """Return *dependencies* with what is known against each exact version.

    Args:
        dependencies: All of them.
        source: Whom to ask.
        tell: Is told how many questions are done, and of how many.
        seconds: Time for all questions; what is not answered by then is named.
    """
    question = _Question(source, tell, seconds)
    versions = list(dict.fromkeys(v for one in dependencies if (v := _version_of(one))))
    await question.ask([v for v in versions if _is_askable(v)])
    reasons: dict[str, list[str]] = {}
    checked = []
    for one in dependencies:
        version = _version_of(one)
        reason = _why_not(one, version)
        if version is not None and reason is None:
            reason = question.unanswered.get(version)
            found = question.ids_of(version)
            if reason is None or found:
                one = msgspec.structs.replace(one, vulnerabilities=found)  # noqa: PLW2901
        if reason is not None and _is_of_interest(one):
            reasons.setdefault(reason, []).append(one.name)
        checked.append(one)
    return Known(
        dependencies=tuple(checked),
        vulnerabilities=question.vulnerabilities(),
        not_checked=(
            *by_reason("vulnerabilities", reasons, tool=source.name),
            *question.not_read(),
        ),
    )


def _is_askable(version: PackageVersion) -> bool:
    return (
        is_package_name(version.ecosystem, version.name)
        and len(version.version) <= _LONGEST_VERSION
    )


def _why_not(one: Dependency, version: PackageVersion | None) -> str | None:
    if version is None:
        if one.source is None:
            return "its version is not known: no lock file names it, and no == pins it"
        return f"it does not come from an index but by {one.source}"
    return None if _is_askable(version) else "it is no name and version that a package can have"


class _Question:
    """Asks in two steps, which advisories there are and what they say, and keeps all answers."""

    def __init__(self, source: AdvisorySource, tell: Tell, seconds: float) -> None:
        self._source = source
        self._tell = tell
        self._seconds = seconds
        self._ids: dict[PackageVersion, tuple[str, ...]] = {}
        self._advisories: dict[str, Advisory] = {}
        self._unread: dict[str, str] = {}
        self._found: dict[PackageVersion, tuple[Vulnerability, ...]] = {}
        self.unanswered: dict[PackageVersion, str] = {}

    async def ask(self, versions: Sequence[PackageVersion]) -> None:
        """Ask about *versions*."""
        late = f"{self._source.name} gave no answer within {self._seconds:g} s in all"
        self.unanswered = dict.fromkeys(versions, late)
        most = self._source.most_at_once
        batches = [versions[n : n + most] for n in range(0, len(versions), most)]
        done = 0

        async def batch(some: Sequence[PackageVersion]) -> None:
            nonlocal done
            await self._affecting(some)
            done += len(some)
            await self._tell(done, len(versions))

        async def silent(_: int) -> None:
            return

        await for_each(batches, batch, tell=silent, seconds=self._seconds)
        wanted = list(dict.fromkeys(i for ids in self._ids.values() for i in ids))
        self._unread = dict.fromkeys(wanted, late)
        self._unread.update(
            dict.fromkeys(wanted[_MOST_ADVISORIES:], f"only {_MOST_ADVISORIES} are read")
        )
        await for_each(
            wanted[:_MOST_ADVISORIES], self._advisory, tell=silent, seconds=self._seconds
        )
        for version, ids in self._ids.items():
            self._found[version] = tuple(self._merged(version, ids))

    async def _affecting(self, some: Sequence[PackageVersion]) -> None:
        try:
            affecting = await self._source.affecting(some)
        except UnavailableError as error:
            self.unanswered.update(dict.fromkeys(some, error.message))
            return
        self._ids.update(affecting.ids)
        for version in some:
            del self.unanswered[version]
        self.unanswered.update(affecting.unfinished)

    async def _advisory(self, identifier: str) -> None:
        try:
            self._advisories[identifier] = await self._source.advisory(identifier)
        except (NotFoundError, UnavailableError) as error:
            self._unread[identifier] = error.message
        else:
            del self._unread[identifier]

    def ids_of(self, version: PackageVersion) -> tuple[str, ...]:
        """Return the identifiers of what is known against *version*."""
        return tuple(one.id for one in self._found.get(version, ()))

    def vulnerabilities(self) -> tuple[Vulnerability, ...]:
        """Return all that is known, the worst first."""
        return tuple(
            sorted(
                (one for found in self._found.values() for one in found),
                key=lambda v: (-SEVERITIES.index(v.severity), v.ecosystem, v.package, v.id),
            )
        )

    def not_read(self) -> tuple[NotChecked, ...]:
        """Return the advisories of which no more than the identifier is known."""
        reasons: dict[str, list[str]] = {}
        for identifier, reason in self._unread.items():
            reasons.setdefault(reason, []).append(identifier)
        return by_reason("details", reasons, tool=self._source.name)

    def _merged(self, version: PackageVersion, ids: Sequence[str]) -> list[Vulnerability]:
        """Return what is known against *version*, what several databases tell of only once."""
        kept = [i for i in dict.fromkeys(ids) if not self._is_withdrawn(i)]
        groups: list[tuple[set[str], list[str]]] = []
        for identifier in kept:
            names = {identifier, *self._aliases(identifier)}
            same = [group for group in groups if group[0] & names]
            members = [identifier, *(m for _, some in same for m in some)]
            names = names.union(*(group[0] for group in same))
            groups = [group for group in groups if group not in same]
            groups.append((names, members))
        return sorted(
            (self._vulnerability(version, members, names) for names, members in groups),
            key=lambda v: v.id,
        )

    def _is_withdrawn(self, identifier: str) -> bool:
        advisory = self._advisories.get(identifier)
        return advisory is not None and advisory.is_withdrawn

    def _aliases(self, identifier: str) -> tuple[str, ...]:
        advisory = self._advisories.get(identifier)
        return () if advisory is None else advisory.aliases

    def _vulnerability(
        self, version: PackageVersion, members: Sequence[str], names: set[str]
    ) -> Vulnerability:
        """Return one of the merged; the reviewed database of GitHub gives it its name."""
        chosen = min(members, key=lambda i: (not i.startswith("GHSA-"), i))
        read = [self._advisories[i] for i in members if i in self._advisories]
        told = [(one.severity, one.severity_from) for one in read if one.severity is not None]
        main = self._advisories.get(chosen)
        if told:
            severity, origin = max(told, key=lambda pair: SEVERITIES.index(pair[0]))
        else:
            severity, origin = (_UNTOLD if len(read) == len(members) else _UNREAD), "none"
        summary = main.summary if main is not None else ""
        return Vulnerability(
            id=chosen,
            aliases=tuple(sorted(names - {chosen})),
            ecosystem=version.ecosystem,
            package=version.name,
            version=version.version,
            severity=severity,
            severity_from=origin,
            summary=summary or next((one.summary for one in read if one.summary), ""),
            fixed=_fixed(version, read),
            url=main.url if main is not None else None,
        )


def _fixed(version: PackageVersion, advisories: Sequence[Advisory]) -> str | None:
    """Return the first later version in which none of *advisories* is left; `None` if unknown."""
    firsts = []
    for advisory in advisories:
        later = [
            repair.version
            for repair in advisory.repairs
            if repair.ecosystem == version.ecosystem
            and _folded(version.ecosystem, repair.package)
            == _folded(version.ecosystem, version.name)
            and is_behind(version.ecosystem, version.version, repair.version)
        ]
        first = _least(version.ecosystem, later)
        if first is not None:
            firsts.append(first)
    return newest(version.ecosystem, firsts, version.version) or (firsts[0] if firsts else None)


def _folded(ecosystem: Ecosystem, name: str) -> str:
    return name.casefold().replace("_", "-").replace(".", "-") if ecosystem == "pypi" else name


def _least(ecosystem: Ecosystem, versions: Sequence[str]) -> str | None:
    best: str | None = None
    for version in versions:
        if best is None or is_behind(ecosystem, version, best):
            best = version
    return best
