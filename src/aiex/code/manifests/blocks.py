"""The `[[package]]` blocks of generated lock files, line by line.

What writes these files always writes them so, one key a line; a whole TOML parser takes seconds
for a large one and does not say where a package stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

__all__ = ["Block", "locked_blocks"]

_HEAD = re.compile(r"\[\[packages?\]\]\s*")
_KEY = re.compile(r"([A-Za-z0-9_-]+)\s*=\s*(.*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WORD = re.compile(r"[{,]\s*([a-z]+)\s*=")
_SOURCE_TABLE = re.compile(r"\[packages?\.(source|vcs|directory|archive)\]\s*")
_TYPE = re.compile(r"type\s*=\s*\"([a-z]+)\"")
_LONGEST = 500


class Block(msgspec.Struct, kw_only=True):
    """One package of a lock file.

    Attributes:
        line: Line of its name, 1-based.
        name: Its name; empty if the block has none.
        version: Its version; empty if the block has none.
        source: What stands after `source =`, as written; empty if nothing does.
        source_words: Keys of an inline `source`, or what a table of it says.
        dependencies: What it depends on, each `name` or `name version`, where they are listed as
            plain texts (Cargo).
    """

    line: int
    name: str = ""
    version: str = ""
    source: str = ""
    source_words: tuple[str, ...] = ()
    dependencies: list[str] = []


def locked_blocks(text: str) -> Iterator[Block]:
    """Yield the packages of a lock file, in its order."""
    block: Block | None = None
    part, listed = "", False
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if line.startswith("["):
            listed = False
            if block is not None and not line.startswith(("[package.", "[packages.")):
                yield block
                block = None
            if _HEAD.fullmatch(line):
                block, part = Block(line=number), "package"
            elif block is not None:
                part = _part(block, line)
        elif block is None:
            continue
        elif listed:
            block.dependencies += _QUOTED.findall(line)
            listed = not line.endswith("]")
        elif part == "package" and (match := _KEY.match(line[: 4 * _LONGEST])):
            listed = _take(block, match[1], match[2], number)
        elif part == "source" and (match := _TYPE.match(line)):
            block.source_words += (match[1],)
    if block is not None:
        yield block


def _part(block: Block, header: str) -> str:
    """Return which table of a block begins, noting what its mere being there says."""
    match = _SOURCE_TABLE.fullmatch(header)
    if match is None:
        return "other"
    kinds = {"vcs": "git", "directory": "directory", "archive": "url"}
    if match[1] in kinds:
        block.source_words += (kinds[match[1]],)
    return "source"


def _take(block: Block, key: str, value: str, number: int) -> bool:
    """Put a key of a block into it; return whether a list of dependencies begins."""
    quoted = _QUOTED.match(value)
    text = quoted[1][:_LONGEST] if quoted is not None else ""
    if key == "name":
        block.name, block.line = text, number
    elif key == "version":
        block.version = text
    elif key == "source":
        block.source = text
        block.source_words = tuple(_WORD.findall(value)) if not text else ()
    elif key == "dependencies":
        block.dependencies += _QUOTED.findall(value) if "{" not in value else []
        return "]" not in value
    return False
