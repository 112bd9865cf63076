"""The rules of .gitignore files, as git matches them, in bounded time whatever they say.

The words of https://git-scm.com/docs/gitignore (read 2026-11-25) leave much open; what counts is
git's own matcher (dir.c and wildmatch.c of git 2.39), and the tests compare with it. Like there,
names are bytes: `?` is one byte of a letter that takes several.

A rule becomes a regular expression whose time can grow with the length of the path to the power
of its wildcards: `*a*a*a*a*b` takes 4 s for one name of 200 letters.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Sequence

__all__ = ["IgnoreFile", "MatchingTime"]

_CHEAP_STEPS = 10_000
_MOST_STEPS = 10_000_000
_MOST_SECONDS = 5.0
_CHEAP_RULES = 500
_LONGEST_RULE = 4096
_LITERAL = re.compile(rb"[^*?\[\\]*")
_CLASSES: dict[bytes, Callable[[int], bool]] = {
    b"alnum": lambda c: chr(c).isalnum() and c < 128,
    b"alpha": lambda c: chr(c).isalpha() and c < 128,
    b"blank": lambda c: c in b" \t",
    b"cntrl": lambda c: c < 32 or c == 127,
    b"digit": lambda c: c in b"0123456789",
    b"graph": lambda c: 32 < c < 127,
    b"lower": lambda c: c in b"abcdefghijklmnopqrstuvwxyz",
    b"print": lambda c: 32 <= c < 127,
    b"punct": lambda c: 32 < c < 127 and not chr(c).isalnum(),
    b"space": lambda c: c in b" \t\n\v\f\r",
    b"upper": lambda c: c in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    b"xdigit": lambda c: c in b"0123456789abcdefABCDEF",
}


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
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(os.fsencode(line))) is not None]
        self._most = max((rule.wildcards for rule in self._rules), default=0)
        self._parts: dict[tuple[int, int], list[_Rule]] = {}

    def __len__(self) -> int:
        """Return how many lines are rules."""
        return len(self._rules)

    def verdict(self, path: str, spent: MatchingTime) -> bool | None:
        """Return whether *path* is ignored; `None` if no rule speaks of it.

        Rules that could take too long for a path of this length are left out and counted. What
        is in a folder that is ignored is not asked about: git does not look there.

        Args:
            path: Relative to the folder of the file; a folder's path ends in `/`.
            spent: What the listing has spent so far.
        """
        rules = len(self._rules)
        raw = os.fsencode(path)
        is_folder = raw.endswith(b"/")
        raw = raw.removesuffix(b"/")
        if _steps(len(raw), self._most) <= _CHEAP_STEPS and rules <= _CHEAP_RULES:
            return _last_word(self._rules, raw, is_folder)
        most_steps = _CHEAP_STEPS if spent.is_spent else _MOST_STEPS
        wildcards = self._most
        while wildcards and _steps(len(raw), wildcards) > most_steps:
            wildcards -= 1
        if spent.is_spent:
            rules = min(rules, _CHEAP_RULES)
        spent.skipped += (wildcards, rules) != (self._most, len(self._rules))
        began = time.perf_counter()
        verdict = _last_word(self._part(wildcards, rules), raw, is_folder)
        spent.add(time.perf_counter() - began)
        return verdict

    def _part(self, wildcards: int, rules: int) -> list[_Rule]:
        """Return the first *rules* that have at most *wildcards*."""
        if (wildcards, rules) not in self._parts:
            kept = [rule for rule in self._rules if rule.wildcards <= wildcards]
            self._parts[wildcards, rules] = kept[:rules]
        return self._parts[wildcards, rules]


class _Rule:
    """One line.

    Args:
        regex: Matches a whole name, or a whole path if the line has a `/` in it.
        wildcards: Parts of it that match any number of characters.
        ignores: Whether what it matches is ignored; it is taken back otherwise.
        only_folders: Whether it speaks of folders only.
        is_name: Whether it is matched against names.
    """

    __slots__ = ("ignores", "is_name", "match", "only_folders", "wildcards")

    def __init__(
        self, regex: bytes, wildcards: int, *, ignores: bool, only_folders: bool, is_name: bool
    ) -> None:
        self.match = re.compile(regex, re.DOTALL).fullmatch
        self.wildcards = wildcards
        self.ignores = ignores
        self.only_folders = only_folders
        self.is_name = is_name


def _last_word(rules: Sequence[_Rule], path: bytes, is_folder: bool) -> bool | None:
    name = path.rpartition(b"/")[2]
    for rule in reversed(rules):
        if rule.only_folders and not is_folder:
            continue
        if rule.match(name if rule.is_name else path):
            return rule.ignores
    return None


def _rule(line: bytes) -> _Rule | None:
    """Return what a line says; `None` if it says nothing, or what no path can match."""
    line = line.removesuffix(b"\r")
    if not line or line.startswith(b"#") or len(line) > _LONGEST_RULE:
        return None
    pattern = _without_spaces(line)
    ignores = not pattern.startswith(b"!")
    pattern = pattern.removeprefix(b"!")
    only_folders = pattern.endswith(b"/")
    pattern = pattern.removesuffix(b"/")
    is_name = b"/" not in pattern
    pattern = pattern.removeprefix(b"/")
    # git compares what comes before the first wildcard, and begins to match behind it.
    literal = pattern[: _LITERAL.match(pattern).end()]  # type: ignore[union-attr]
    rest = _Glob(pattern[len(literal) :]).regex()
    if not pattern or rest is None:
        return None
    return _Rule(
        re.escape(literal) + rest[0],
        rest[1],
        ignores=ignores,
        only_folders=only_folders,
        is_name=is_name,
    )


def _without_spaces(line: bytes) -> bytes:
    r"""Return *line* without the spaces at its end that no `\` stands before."""
    at = end = 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 2
            end = at
        else:
            at += 1
            if line[at - 1 : at] != b" ":
                end = at
    return line[:end]


class _Glob:
    """Reads one pattern from its first wildcard on."""

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._at = 0

    def _here(self, ahead: int = 0) -> bytes:
        return self._pattern[self._at + ahead : self._at + ahead + 1]

    def regex(self) -> tuple[bytes, int] | None:
        """Return the regular expression and its wildcards; `None` if nothing can match."""
        out: list[bytes] = []
        wildcards = 0
        while one := self._here():
            if one == b"*":
                out.append(self._stars())
                wildcards += 1
                continue
            if one == b"[":
                members = self._set()
                if not members:
                    return None
                out.append(b"[" + b"".join(b"\\x%02x" % byte for byte in members) + b"]")
                continue
            self._at += 1
            if one == b"?":
                out.append(b"[^/]")
                continue
            if one == b"\\":
                one = self._here()
                self._at += 1
                if not one:
                    return None
            out.append(re.escape(one))
        return b"".join(out), wildcards

    def _stars(self) -> bytes:
        before = self._pattern[self._at - 1 : self._at] if self._at else b"/"
        begin = self._at
        while self._here() == b"*":
            self._at += 1
        after = self._here()
        ends = after in {b"", b"/"} or (after == b"\\" and self._here(1) == b"/")
        if self._at - begin == 1 or before != b"/" or not ends:
            return b"[^/]*"
        if after == b"/":
            self._at += 1
            return b"(?:.*/)?"
        return b".*"

    def _set(self) -> list[int] | None:
        """Return the bytes that a `[...]` matches; `None` if it is none."""
        self._at += 1
        negated = self._here() in {b"!", b"^"}
        self._at += negated
        members: set[int] = set()
        previous = 0
        first = True
        while first or self._here() != b"]":
            first = False
            one = self._here()
            if not one:
                return None
            if one == b"\\":
                self._at += 1
                one = self._here()
                if not one:
                    return None
                members.add(one[0])
                previous = one[0]
            elif one == b"-" and previous and self._here(1) not in {b"", b"]"}:
                self._at += 1
                if self._here() == b"\\":
                    self._at += 1
                if not self._here():
                    return None
                members.update(range(previous, self._here()[0] + 1))
                previous = 0
            elif one == b"[" and self._here(1) == b":":
                end = self._pattern.find(b"]", self._at + 2)
                if end < 0:
                    return None
                name = self._pattern[self._at + 2 : end - 1]
                if end == self._at + 2 or self._pattern[end - 1 : end] != b":":
                    members.add(one[0])
                    previous = one[0]
                else:
                    if name not in _CLASSES:
                        return None
                    members.update(filter(_CLASSES[name], range(256)))
                    self._at = end
                    previous = 0
            else:
                members.add(one[0])
                previous = one[0]
            self._at += 1
        self._at += 1
        wanted = set(range(256)) - members if negated else members
        return sorted(wanted - {0x2F})


def _steps(length: int, wildcards: int) -> float:
    """Return how many ways there are at most to share *length* characters between wildcards."""
    return length**wildcards / math.factorial(wildcards) if wildcards < 100 else math.inf
