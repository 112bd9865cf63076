"""Go's `go.mod`, whose versions are exact: the least that are required are the ones that are used.

Source: go.dev "Go Modules Reference", sections "go.mod files" and "Minimal version selection"
(read 2026-11-25). Since Go 1.17 the file names indirect modules, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aiex.code.manifests.lines import text_of
from aiex.code.manifests.values import Declared, Manifest

__all__ = ["read_go_mod"]

_BLOCK = re.compile(r"(require|replace|exclude|retract|tool|ignore|godebug)\s*\(")
_SINGLE = re.compile(r"(require|replace)\s+(.*)")
_REQUIRE = re.compile(r"(\S+)\s+(v\S+)")
_REPLACE = re.compile(r"(\S+)(?:\s+(v\S+))?\s+=>\s+(\S+)(?:\s+(v\S+))?")


def read_go_mod(source: bytes) -> Manifest:
    """Return the modules that a `go.mod` requires, replaced as it says.

    Raises:
        ValueError: It is not UTF-8.
    """
    declared: list[Declared] = []
    replaced: dict[tuple[str, str | None], tuple[str, str | None]] = {}
    for number, verb, text, comment in _entries(text_of(source)):
        if verb == "require" and (match := _REQUIRE.fullmatch(text)):
            is_indirect = comment.startswith("indirect")
            declared.append(
                Declared(
                    ecosystem="go",
                    name=_unquoted(match[1]),
                    requirement=match[2],
                    pin=match[2],
                    group="indirect" if is_indirect else "main",
                    line=number,
                    end_line=number,
                )
            )
        elif verb == "replace" and (match := _REPLACE.fullmatch(text)):
            replaced[_unquoted(match[1]), match[2]] = (_unquoted(match[3]), match[4])
    return Manifest(declared=tuple(_replaced(one, replaced) for one in declared))


def _replaced(one: Declared, by: dict[tuple[str, str | None], tuple[str, str | None]]) -> Declared:
    other = by.get((one.name, one.pin)) or by.get((one.name, None))
    if other is None:
        return one
    name, version = other
    return Declared(
        ecosystem="go",
        name=one.name if version is None else name,
        requirement=one.requirement if version is None else version,
        pin=version,
        group=one.group,
        source="path" if version is None else None,
        line=one.line,
        end_line=one.end_line,
    )


def _entries(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield line, directive, what it says, and the comment behind it."""
    block = ""
    for number, raw in enumerate(text.split("\n"), start=1):
        code, _, comment = raw.partition("//")
        line = code.strip()
        if block:
            if line == ")":
                block = ""
            elif line:
                yield number, block, line, comment.strip()
        elif match := _BLOCK.fullmatch(line):
            block = match[1]
        elif match := _SINGLE.fullmatch(line):
            yield number, match[1], match[2].strip(), comment.strip()


def _unquoted(word: str) -> str:
    return word.strip("\"`'")
