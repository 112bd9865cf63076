"""Where a word stands in a file whose parser does not say."""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_left
from collections.abc import Container, Iterator
from operator import itemgetter
from typing import Any

import msgspec

__all__ = ["Lines", "json_of", "text_of", "toml_of"]

_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'([^\'\n]*)\'')
_BARE_KEY = re.compile(r"^[ \t]*(?:[A-Za-z0-9_.\"'-]+\.)?([A-Za-z0-9_-]+)[ \t]*=", re.MULTILINE)
_HEADER = re.compile(r"^[ \t]*\[{1,2}([^\]\n]+)\]", re.MULTILINE)


class Lines:
    """The lines of a file on which each quoted text, bare key or header of a table stands.

    A header is found as it is written, and `[dependencies.name]` also as `name`.

    Args:
        text: The file.
        only: Texts that will be asked for, so that no others are kept; `None` for any.
    """

    def __init__(self, text: str, only: Container[str] | None = None) -> None:
        starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._starts = starts
        self._found: dict[str, list[int]] = {}
        for word, offset in _words(text, only):
            lines = self._found.setdefault(word, [])
            line = bisect_left(starts, offset + 1)
            if not lines or lines[-1] != line:
                lines.append(line)

    def find(self, word: str, after: int = 0) -> int:
        """Return the first line that has *word* at or after the line *after*; 0 for none."""
        lines = self._found.get(word, [])
        place = bisect_left(lines, after)
        return lines[place] if place < len(lines) else 0


def _words(text: str, only: Container[str] | None) -> list[tuple[str, int]]:
    """Return the words of a file by the place where they stand."""
    found = [(word, at) for word, at in _all_words(text) if only is None or word in only]
    return sorted(found, key=itemgetter(1))


def _all_words(text: str) -> Iterator[tuple[str, int]]:
    for match in _STRING.finditer(text):
        word = match[1] if match[1] is not None else match[2]
        if "\\" in word:
            try:
                word = str(json.loads(f'"{word}"'))
            except ValueError:
                continue
        yield word, match.start()
    for match in _BARE_KEY.finditer(text):
        yield match[1], match.start(1)
    for match in _HEADER.finditer(text):
        header = match[1].strip()
        yield header, match.start(1)
        above, _, last = header.rpartition(".")
        if above.endswith("dependencies"):
            yield last.strip("\"'"), match.start(1)


def text_of(source: bytes) -> str:
    """Return a file as text.

    Raises:
        ValueError: It is not UTF-8.
    """
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def toml_of(text: str) -> dict[str, Any]:
    """Return a TOML document.

    Raises:
        ValueError: It is none, or nested too deep.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is no valid TOML: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def json_of(text: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ValueError: It is none, or nested too deep.
    """
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"it is no valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - the file's value, not an argument's type
    return found
