"""Which of two versions is newer, and whether a requirement allows one, by ecosystem.

Python: PEP 440 through `packaging`. The others: Semantic Versioning 2.0.0, section 11, with the
`v` and `+incompatible` of Go; requirements as npm's semver README, the Cargo book "Specifying
Dependencies" and Elixir's `Version` have them (read 2026-11-25).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from aiex.code.manifests.values import Ecosystem

__all__ = ["allows", "is_behind", "is_major_step", "newest"]

_SEMVER = re.compile(
    r"[v=]?(\d{1,18})(?:\.(\d{1,18}))?(?:\.(\d{1,18}))?"
    r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_CLAUSE = re.compile(
    r"(\^|~>|~=|~|>=|<=|==|>|<|=|!=)?\s*v?(\d{1,18}|[xX*])(?:\.(\d{1,18}|[xX*]))?"
    r"(?:\.(\d{1,18}|[xX*]))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
)
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_SPACED = re.compile(r"(\^|~>|~=|~|>=|<=|==|>|<|=|!=)\s+")
_LONGEST = 200

Key = tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]


@functools.lru_cache(maxsize=65536)
def _semver(version: str) -> Key | None:
    match = _SEMVER.fullmatch(version.strip()) if len(version) <= _LONGEST else None
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    return numbers, match[4] is None, _prerelease(match[4])


def _prerelease(text: str | None) -> tuple[tuple[bool, int, str], ...]:
    if not text:
        return ()
    return tuple(
        (False, int(part[:300]), "") if part.isdigit() else (True, 0, part)
        for part in text.split(".")
    )


@functools.lru_cache(maxsize=65536)
def _pep440(version: str) -> Version | None:
    try:
        return Version(version) if len(version) <= _LONGEST else None
    except InvalidVersion:
        return None


def _is_stable(ecosystem: Ecosystem, version: str) -> bool | None:
    """Return whether *version* is no pre-release; `None` if it is no version."""
    if ecosystem == "pypi":
        found = _pep440(version)
        return None if found is None else not found.is_prerelease
    key = _semver(version)
    return None if key is None else key[1]


def is_behind(ecosystem: Ecosystem, version: str, other: str) -> bool | None:
    """Return whether *version* is older than *other*; `None` if one of them is no version.

    Example:
        >>> is_behind("pypi", "1.10", "1.9"), is_behind("npm", "1.0.0-rc.2", "1.0.0")
        (False, True)
    """
    if ecosystem == "pypi":
        old, new = _pep440(version), _pep440(other)
        return None if old is None or new is None else old < new
    before, after = _semver(version), _semver(other)
    return None if before is None or after is None else before < after


def is_major_step(ecosystem: Ecosystem, version: str, other: str) -> bool:
    """Return whether the first number that is not 0 differs: such a step may break what uses it.

    Example:
        >>> is_major_step("cargo", "0.2.9", "0.3.0"), is_major_step("cargo", "1.2.9", "1.3.0")
        (True, False)
    """
    first, second = _numbers(ecosystem, version), _numbers(ecosystem, other)
    for one, two in zip(first, second, strict=True):
        if one != two:
            return True
        if one:
            return False
    return False


def _numbers(ecosystem: Ecosystem, version: str) -> tuple[int, ...]:
    if ecosystem == "pypi":
        found = _pep440(version)
        return ((found.epoch, *found.release, 0, 0, 0)[1:4]) if found is not None else (0, 0, 0)
    key = _semver(version)
    return key[0] if key is not None else (0, 0, 0)


def newest(ecosystem: Ecosystem, versions: Iterable[str], current: str | None = None) -> str | None:
    """Return the newest of *versions*; a pre-release only if *current* is one, or all are.

    Args:
        ecosystem: Where the package comes from.
        versions: In any order; what is no version is passed by.
        current: Version in use; `None` if unknown.

    Returns:
        `None` if none of them is a version.

    Example:
        >>> newest("npm", ["1.0.0", "2.0.0-beta.1", "1.9.0", "odd"])
        '1.9.0'
    """
    stability = {version: _is_stable(ecosystem, version) for version in versions}
    known = [version for version, stable in stability.items() if stable is not None]
    wants_stable = current is None or _is_stable(ecosystem, current) is not False
    stable = [version for version in known if stability[version]]
    best: str | None = None
    for version in (stable or known) if wants_stable else known:
        if best is None or is_behind(ecosystem, best, version):
            best = version
    return best


def allows(ecosystem: Ecosystem, requirement: str, version: str) -> bool | None:
    """Return whether *requirement* allows *version*; `None` if that cannot be told.

    Example:
        >>> allows("pypi", ">=1,<2", "2.1"), allows("npm", "^1.2.0", "1.9.0")
        (False, True)
        >>> allows("cargo", "0.2", "0.3.0"), allows("hex", "~> 1.7", "1.8.1")
        (False, True)
    """
    text = requirement.strip()
    if len(text) > _LONGEST:
        return None
    if ecosystem == "pypi" and not re.match(r"\^|~(?!=)", text):
        found = _pep440(version)
        try:
            return None if found is None else SpecifierSet(text).contains(found, prereleases=True)
        except InvalidSpecifier:
            return None
    if ecosystem == "go":
        return None  # what a module requires is the least version, never a range
    key = _semver(version)
    if key is None:
        return None
    default = "^" if ecosystem == "cargo" else "="
    verdicts = [
        _allows_all(alternative, key, default) for alternative in re.split(r"\|\||\bor\b", text)
    ]
    if any(verdicts):
        return True
    return None if None in verdicts else False


def _allows_all(text: str, key: Key, default: str) -> bool | None:
    hyphen = _HYPHEN.fullmatch(text.strip())
    if hyphen is not None:
        text = f">={hyphen[1]} <={hyphen[2]}"
    text = _SPACED.sub(r"\1", text.replace(" and ", " "))
    clauses = [clause for clause in re.split(r"[,\s]+", text) if clause]
    verdicts = [_allows_one(clause, key, default) for clause in clauses]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _allows_one(clause: str, key: Key, default: str) -> bool | None:
    if clause in {"*", "x", "latest"}:
        return True
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        return None
    operator = match[1] or default
    given = [int(part) for part in match.groups()[1:4] if part is not None and part.isdigit()]
    if not given:
        return True
    low = (given[0], given[1] if len(given) > 1 else 0, given[2] if len(given) > 2 else 0)
    floor: Key = (low, match[5] is None, _prerelease(match[5]))
    if operator in {"=", "=="}:
        return key == floor if len(given) == 3 else floor <= key < _above(low, len(given) - 1)
    if operator == "!=":
        return key != floor
    if operator in {">=", "<"}:
        return (key >= floor) == (operator == ">=")
    if operator in {">", "<="}:
        top = floor if len(given) == 3 else _above(low, len(given) - 1)
        above = key > floor if len(given) == 3 else key >= top
        return above == (operator == ">")
    return floor <= key < _above(low, _fixed(operator, low, given))


def _fixed(operator: str, low: tuple[int, ...], given: list[int]) -> int:
    """Return the place of the last number that the operator lets nothing change."""
    if operator == "^":
        return next((n for n, number in enumerate(low) if number), len(given) - 1)
    if operator in {"~>", "~="}:
        return max(0, len(given) - 2)
    return min(1, len(given) - 1)


def _above(low: tuple[int, ...], place: int) -> Key:
    """Return what is below every version with the next higher number at *place*."""
    numbers = (*low[:place], low[place] + 1, 0, 0)[:3]
    return (numbers[0], numbers[1], numbers[2]), False, ()
