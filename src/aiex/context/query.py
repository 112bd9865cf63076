"""What a question asks for, understood without a model: terms, names, places, whether of tests."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from aiex.code import Frame, kind_of, read_traceback
from aiex.context.terms import STOP_WORDS, WORD, stem, terms_of

__all__ = ["Query", "understand"]

_LATER_LINES = 0.7  # what stands below the first line says less of what is meant
_OF_NAME = 1.25  # a name counts more than the same word in a sentence
_QUOTED = 0.5  # what stands in quotes counts that much more
_OF_STEM = 0.35
_MOST_CHARACTERS = 20_000
_MOST_TERMS = 64
_TRAILER = re.compile(
    r"(?i)\s*(?:(?:co-authored|signed-off|reviewed|reported|tested|acked)-by:"
    r"|(?:closes?|fix(?:es|ed)?|refs?|resolves?|see(?: also)?|pr-url|change-id):?\s*"
    r"(?:#|gh-|https?:|[\w.-]+/[\w.-]+#))"
)
_QUOTES = re.compile(r"`([^`\n]{2,80})`|\"([^\"\n]{2,80})\"|(?<!\w)'([^'\n]{2,80})'(?!\w)")
_NAME = re.compile(
    r"(?:[^\W\d]\w*(?:\.|::|->|#))*(?:[^\W\d]\w*_\w+|_\w+|[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*"
    r"|[A-Z]{2,}[a-z]\w*|[^\W\d]\w*(?=\(\)))|[^\W\d]\w*(?:(?:\.|::)[^\W\d]\w*)+"
)
_PATH = re.compile(
    r"(?<![\w/.:-])((?:[\w@.-]+/)*[\w@.-]+\.[A-Za-z]\w{0,5}|(?:[\w@.-]+/)+[\w@.-]*)"
    r"(?::(\d{1,7}))?(?![\w/])"
)
_SETTINGS = frozenset({"cfg", "conf", "ini", "json", "lock", "sh", "toml", "yaml", "yml"})
_SCOPE = re.compile(r"^\w+(?:\([^)\n]*\))?!?:\s")
_OF_TESTS = re.compile(
    r"(?i)\b(?:tests?|specs?|test ?(?:case|suite)s?|fixtures?|unit ?tests?|mocks?)\b"
)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A question, as it is searched for.

    Attributes:
        text: As it was asked.
        terms: How much each term counts, more than 0.
        stems: The same for the stems of the terms.
        names: Identifiers that the question names, last parts alone, as written.
        paths: Files and folders that it names, as written.
        frames: Places that it names with a line, those of a traceback included.
        is_name: Whether it is nothing but names.
        wants_tests: Whether it asks for tests.
    """

    text: str
    terms: Mapping[str, float]
    stems: Mapping[str, float]
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    frames: tuple[Frame, ...] = ()
    is_name: bool = False
    wants_tests: bool = False


def understand(text: str) -> Query:
    """Return what *text* asks for: a question, an error, a name, or the message of a commit.

    A question that has nothing but common words is searched by these.

    Example:
        >>> query = understand("Why does `parse_url` fail in src/urls.py?")
        >>> query.names, query.paths, query.wants_tests
        (('parse_url',), ('src/urls.py',), False)
    """
    text = text[:_MOST_CHARACTERS]
    lines = [line for line in text.split("\n") if not _TRAILER.match(line)] or [text]
    first = lines[0] if lines[0].strip() else text
    paths, frames = _places(text)
    terms = _weighed(lines, STOP_WORDS) or _weighed(lines, frozenset())
    words = WORD.findall(first)
    names = _names_in(lines)
    return Query(
        text=text,
        terms=terms,
        stems=_stems_of(terms),
        names=names,
        paths=paths,
        frames=frames,
        is_name=len(text.split()) <= 2 and len(words) > 0 and not paths,
        wants_tests=bool(_OF_TESTS.search(_SCOPE.sub("", first))),
    )


def _weighed(lines: Sequence[str], without: frozenset[str]) -> dict[str, float]:
    """Return how much each term of *lines* counts; one that comes again counts a little more."""
    counted: defaultdict[str, float] = defaultdict(float)
    for number, line in enumerate(lines):
        weight = _LATER_LINES if number else 1.0
        for word in WORD.findall(line):
            is_name = "_" in word.strip("_") or (
                word != word.upper() and word[1:] != word[1:].lower()
            )
            for position, term in enumerate(terms_of(word)):
                if term not in without:
                    counted[term] += weight * (_OF_NAME if is_name and not position else 1.0)
        for quoted in _QUOTES.findall(line):
            for term in terms_of(" ".join(quoted)):
                if term not in without:
                    counted[term] += weight * _QUOTED
    found = {term: n if n < 1 else 1 + math.log(n) for term, n in counted.items()}
    if len(found) <= _MOST_TERMS:
        return found
    return dict(sorted(found.items(), key=lambda item: -item[1])[:_MOST_TERMS])


def _stems_of(terms: Mapping[str, float]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for term, weight in terms.items():
        found[stem(term)] += weight * _OF_STEM
    return dict(found)


def _names_in(lines: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for line in lines:
        for match in _NAME.finditer(_PATH.sub(_blank_path, line)):
            found.setdefault(re.split(r"\.|::|->|#", match[0])[-1])
        for quoted in _QUOTES.findall(line):
            inside = "".join(quoted)
            if re.fullmatch(r"[\w.:#]+(?:\(\))?", inside) and WORD.search(inside):
                found.setdefault(re.split(r"\.|::|#", inside.removesuffix("()"))[-1])
    return tuple(name for name in found if name)


def _places(text: str) -> tuple[tuple[str, ...], tuple[Frame, ...]]:
    frames = {(frame.path, frame.line): frame for frame in read_traceback(text).frames}
    paths: dict[str, None] = {}
    for match in _PATH.finditer(text):
        path = _path_in(match)
        if not path:
            continue
        if match[2] is not None:
            frames.setdefault((path, int(match[2])), Frame(path=path, line=int(match[2])))
        else:
            paths.setdefault(path)
    return tuple(paths), tuple(frames.values())


def _path_in(match: re.Match[str]) -> str:
    """Return the path that was matched; empty if it is none."""
    path = match[1].removeprefix("./").strip("/")
    return path if "/" in match[1] or _is_file(path) else ""


def _blank_path(match: re.Match[str]) -> str:
    """Return what stands in the place of a match where no path is to be read as a name."""
    return " " if _path_in(match) else match[0]


def _is_file(name: str) -> bool:
    """Return whether *name* is one of a file, and not of a member (`Cart.total`)."""
    return kind_of(name) != "config" or name.rpartition(".")[2] in _SETTINGS
