"""What stands around a new module: what it would replace, whose style it follows."""

from __future__ import annotations

import re

import msgspec

from aiex.assistant.create.placement import Placement
from aiex.sandbox import FileContent, Files

__all__ = ["Surroundings", "read_surroundings"]

_CONVENTIONS = "AGENTS.md"
_MOST_EXAMPLES = 2
_EXAMPLE_BYTES = range(200, 24_000)
_SUFFIXES = {"python": ".py", "elixir": ".ex"}
_LINE_LENGTH = re.compile(rb"^line-length\s*=\s*([0-9]{2,3})\s*$", re.MULTILINE)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What was read.

    Attributes:
        before: Content of the files that stand where the new ones shall, by path.
        conventions: Text of the project's AGENTS.md; empty without one.
        examples: Path and text of neighbours, nearest first.
        line_length: Longest line that the project's formatter makes, in columns.
    """

    before: dict[str, bytes]
    conventions: str
    examples: tuple[tuple[str, str], ...]
    line_length: int


def read_surroundings(files: Files, place: Placement, language: str) -> Surroundings:
    """Return what stands around the module that shall stand at *place*."""
    wanted = (place.path, place.test_path, place.docs_path)
    folder = place.path.rpartition("/")[0]
    scan = files.scan((folder,) if folder and files.exists(folder) else (".",))
    near = [
        entry
        for entry in scan.entries
        if entry.path.endswith(_SUFFIXES[language])
        and entry.size in _EXAMPLE_BYTES
        and entry.path not in wanted
    ]
    near.sort(key=lambda entry: (entry.path.count("/"), -entry.mtime_ns, entry.path))
    examples = _read(files, *(entry.path for entry in near[:_MOST_EXAMPLES]))
    settings = _read(files, "ruff.toml", "pyproject.toml")
    lengths = [match for raw in settings.values() if (match := _LINE_LENGTH.search(raw))]
    return Surroundings(
        before=_read(files, *wanted),
        conventions=_read(files, _CONVENTIONS).get(_CONVENTIONS, b"").decode("utf-8", "replace"),
        examples=tuple((path, raw.decode("utf-8", "replace")) for path, raw in examples.items()),
        line_length=int(lengths[0][1]) if lengths else 88,
    )


def _read(files: Files, *paths: str) -> dict[str, bytes]:
    found = files.read_many(paths)
    return {c.path: c.content for c in found if isinstance(c, FileContent)}
