"""The rules of .gitignore files, matched in bounded time whatever they say.

A rule becomes a regular expression whose time can grow with the length of the path to the power
of its wildcards: `*a*a*a*a*b` takes 4 s for one name of 200 letters.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from pathspec import GitIgnoreSpec

__all__ = ["IgnoreFile", "MatchingTime"]

_CHEAP_STEPS = 10_000
_MOST_STEPS = 10_000_000
_MOST_SECONDS = 5.0
_CHEAP_RULES = 500
_WIDE = ("[^/]*", ".+", ".*")


class MatchingTime:
    """How long costly rules took in one listing, and what was not matched to end it.

    Attributes:
        skipped: Number of paths that some rule was not matched against.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._seconds = 0.0

    @property
    def is_spent(self) -> bool:
        """Whether only cheap rules are matched from now on."""
        return self._seconds >= _MOST_SECONDS

    def add(self, seconds: float) -> None:
        """Add what one match took."""
        self._seconds += seconds


class IgnoreFile:
    """The rules of one file.

    Args:
        lines: Its lines.

    Raises:
        ValueError: A line is no rule.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._spec = GitIgnoreSpec.from_lines(lines)
        self._wildcards = [_wildcards(pattern.regex) for pattern in self._spec.patterns]
        self._most = max(self._wildcards, default=0)
        self._parts: dict[tuple[int, int], GitIgnoreSpec] = {}

    def verdict(self, path: str, spent: MatchingTime) -> bool | None:
        """Return whether *path* is ignored; `None` if no rule speaks of it.

        Rules that could take too long for a path of this length are left out and counted.

        Args:
            path: Relative to the folder of the file; a folder's path ends in `/`.
            spent: What the listing has spent so far.
        """
        rules = len(self._wildcards)
        if _steps(len(path), self._most) <= _CHEAP_STEPS and rules <= _CHEAP_RULES:
            return self._spec.check_file(path).include
        most_steps = _CHEAP_STEPS if spent.is_spent else _MOST_STEPS
        wildcards = self._most
        while wildcards and _steps(len(path), wildcards) > most_steps:
            wildcards -= 1
        if spent.is_spent:
            rules = min(rules, _CHEAP_RULES)
        spent.skipped += (wildcards, rules) != (self._most, len(self._wildcards))
        began = time.perf_counter()
        verdict = self._part(wildcards, rules).check_file(path).include
        spent.add(time.perf_counter() - began)
        return verdict

    def _part(self, wildcards: int, rules: int) -> GitIgnoreSpec:
        """Return the first *rules* that have at most *wildcards*."""
        if (wildcards, rules) not in self._parts:
            own = zip(self._spec.patterns, self._wildcards, strict=True)
            kept = [pattern for pattern, count in own if count <= wildcards]
            self._parts[wildcards, rules] = GitIgnoreSpec(kept[:rules])
        return self._parts[wildcards, rules]


def _wildcards(regex: object) -> int:
    """Return how many parts of a rule's expression match any number of characters."""
    pattern = str(getattr(regex, "pattern", ""))
    return sum(pattern.count(wide) for wide in _WIDE)


def _steps(length: int, wildcards: int) -> float:
    """Return how many ways there are at most to share *length* characters between wildcards."""
    return length**wildcards / math.factorial(wildcards) if wildcards < 100 else math.inf
