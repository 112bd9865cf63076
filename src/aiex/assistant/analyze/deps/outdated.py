"""Which packages are behind: the versions that are used against the newest ones there are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

import msgspec

from aiex.assistant.analyze.deps.crowd import for_each
from aiex.assistant.analyze.deps.notes import by_reason
from aiex.assistant.analyze.deps.ports import VersionSource
from aiex.code.manifests import Ecosystem, allows, is_behind, is_package_name, newest
from aiex.core import Dependency, NotChecked, NotFoundError, UnavailableError

__all__ = ["Newer", "Sources", "to_compare", "with_newest"]

Sources = Mapping[Ecosystem, Sequence[VersionSource]]
"""Whom to ask about an ecosystem; nobody where it is set up for none."""

Key = tuple[Ecosystem, str]
Tell = Callable[[int, int], Awaitable[None]]

_NOBODY: dict[Ecosystem, str] = {
    "hex": "no service that is known without a setting has packages of Hex; HEX_API_URL names one",
}
_NOBODY_ELSE = "no service is set up that knows it; analysis.versions_url names one"


class Newer(msgspec.Struct, frozen=True, kw_only=True):
    """What the question for newer versions gave.

    Attributes:
        dependencies: All of them, those that were checked with what is newest.
        not_checked: What could not be told, and why.
        asked: Who was asked and answered.
    """

    dependencies: tuple[Dependency, ...]
    not_checked: tuple[NotChecked, ...]
    asked: tuple[str, ...]


class _Known(msgspec.Struct):
    """What the sources said of one package."""

    published: dict[str, datetime | None] = {}
    reason: str | None = None
    is_known: bool = False


def to_compare(dependencies: Iterable[Dependency]) -> list[Key]:
    """Return the packages whose newest version is of interest: those the project itself wants."""
    wanted: dict[Key, None] = {}
    for one in dependencies:
        if one.source is None and one.group != "indirect":
            wanted[_key(one)] = None
    return list(wanted)


def _key(one: Dependency) -> Key:
    return cast("Ecosystem", one.ecosystem), one.name


async def with_newest(
    dependencies: Sequence[Dependency], sources: Sources, *, tell: Tell, seconds: float
) -> Newer:
    """Return *dependencies* with the newest version of each that the project itself wants.

    Args:
        dependencies: All of them.
        sources: Whom to ask.
        tell: Is told how many packages are done, and of how many.
        seconds: Time for all questions; what is not answered by then is named.
    """
    packages = to_compare(dependencies)
    known: dict[Key, _Known] = {}
    asked: dict[str, None] = {}

    async def ask(package: Key) -> None:
        known[package] = await _asked(package, sources.get(package[0], ()), asked)

    async def progress(done: int) -> None:
        await tell(done, len(packages))

    await for_each(packages, ask, tell=progress, seconds=seconds)
    late = _Known(reason=f"there was no answer within {seconds:g} s in all")
    reasons: dict[str, list[str]] = {}
    checked = []
    for one in dependencies:
        found = known.get(_key(one), late)
        if one.source is not None or one.group == "indirect":
            checked.append(one)
            continue
        verdict = _judged(one, found)
        checked.append(verdict)
        if verdict.is_outdated is None:
            reason = found.reason or _why_not(one, verdict)
            reasons.setdefault(reason, []).append(one.name)
    return Newer(
        dependencies=tuple(checked),
        not_checked=by_reason("newer versions", reasons),
        asked=tuple(asked),
    )


async def _asked(package: Key, sources: Sequence[VersionSource], asked: dict[str, None]) -> _Known:
    """Return what all of *sources* say together; the reason is that of one that did not answer."""
    ecosystem, name = package
    if not is_package_name(ecosystem, name):
        return _Known(reason="it is no name that a package can have")
    if not sources:
        return _Known(reason=_NOBODY.get(ecosystem, _NOBODY_ELSE))
    known = _Known()
    for source in sources:
        try:
            versions = await source.versions(name)
        except NotFoundError:
            continue
        except UnavailableError as error:
            known.reason = error.message
        else:
            known.published = {**versions.published, **known.published}
            known.is_known = True
            asked[source.name] = None
    if not known.is_known and known.reason is None:
        known.reason = f"{', '.join(source.name for source in sources)} has no such package"
    return known


def _judged(one: Dependency, known: _Known) -> Dependency:
    """Return *one* with the newest version, and the verdict where that is sound.

    What some source did not answer can only make a package newer still: that it is behind holds
    all the same, that it is not does not.
    """
    ecosystem = cast("Ecosystem", one.ecosystem)
    best = newest(ecosystem, known.published, one.version)
    if best is None:
        return one
    if one.version is not None:
        behind = is_behind(ecosystem, one.version, best)
    else:
        allowed = allows(ecosystem, one.requirement, best)
        behind = None if allowed is None else not allowed
    if behind is False and known.reason is not None:
        behind = None
    return msgspec.structs.replace(
        one, newest=best, published=known.published.get(best), is_outdated=behind
    )


def _why_not(one: Dependency, verdict: Dependency) -> str:
    if verdict.newest is None:
        return "no version of it that can be compared was found"
    if one.version is None:
        return "its version is not known, and what its requirement allows could not be told"
    return "its version cannot be compared with the newest"
