"""Finding places in a project for a model that asks for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import anyio.to_thread
import msgspec

from aiex.core import Request
from aiex.sandbox import FileContent, Files, ScanEntry

__all__ = ["Found", "LineSearch", "Searcher"]

_MOST_BYTES: Final = 1 << 20  # of a file: what is larger is rarely written by hand
_MOST_ALL_BYTES: Final = 64 << 20
_BATCH: Final = 64
_LONGEST_LINE: Final = 240
_SHORTEST_WORD: Final = 3
_WORD = re.compile(r"\w+")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found.

    Attributes:
        text: Places with their text, best first, as the model is shown them.
        how: How was searched, in a few words.
        left_out: What was not looked at, in a sentence; empty if nothing.
    """

    text: str
    how: str
    left_out: str = ""


class Searcher(Protocol):
    """Finds places in the project of a request."""

    async def search(self, query: str, request: Request, *, most: int) -> Found:
        """Return the places that answer *query* best.

        Args:
            query: What to look for, in words or as it stands in the code.
            request: Whose project.
            most: Most places.
        """


class _Hit(msgspec.Struct, frozen=True, kw_only=True, order=True):
    rank: tuple[int, int]
    path: str
    line: int
    text: str


class LineSearch:
    """Satisfies `Searcher` by looking at every line: whole phrases first, then words of it.

    Args:
        files: Opens the files of a request; blocks.
    """

    how = "line by line, without an index"

    def __init__(self, files: Callable[[Request], Files]) -> None:
        self._files = files

    async def search(self, query: str, request: Request, *, most: int) -> Found:
        """Return the lines that hold *query*, or most of its words."""
        return await anyio.to_thread.run_sync(self._search, query, request, most)

    def _search(self, query: str, request: Request, most: int) -> Found:
        phrase = " ".join(query.split()).casefold()
        words = {w.casefold() for w in _WORD.findall(query) if len(w) >= _SHORTEST_WORD}
        if not phrase:
            return Found(text="", how=self.how)
        # Of fixed texts alone: a pattern of a model's own could take for ever.
        wanted = re.compile("|".join(map(re.escape, {phrase, *words})), re.IGNORECASE)
        files = self._files(request)
        scan = files.scan()
        entries, left = _looked_at(scan.entries)
        hits: list[_Hit] = []
        for start in range(0, len(entries), _BATCH):
            batch = entries[start : start + _BATCH]
            for content in files.read_many([entry.path for entry in batch]):
                if isinstance(content, FileContent) and b"\0" not in content.content[:8192]:
                    hits += _hits(content, wanted, phrase, words)
            hits = sorted(hits)[:most]
        text = "\n".join(f"{hit.path}:{hit.line}: {hit.text}" for hit in hits)
        return Found(text=text, how=self.how, left_out=left)


def _looked_at(entries: tuple[ScanEntry, ...]) -> tuple[list[ScanEntry], str]:
    found: list[ScanEntry] = []
    size = 0
    for entry in entries:
        if entry.size <= _MOST_BYTES and size + entry.size <= _MOST_ALL_BYTES:
            found.append(entry)
            size += entry.size
    missing = len(entries) - len(found)
    return found, f"{missing} large files were not looked at" if missing else ""


def _hits(
    content: FileContent, wanted: re.Pattern[str], phrase: str, words: set[str]
) -> Iterator[_Hit]:
    text = content.content.decode("utf-8", "replace")
    if wanted.search(text) is None:
        return
    in_path = sum(word in content.path.casefold() for word in words)
    for number, line in enumerate(text.splitlines(), 1):
        if wanted.search(line) is None:
            continue
        folded = " ".join(line.split()).casefold()
        has_phrase = phrase in folded
        score = sum(word in folded for word in words)
        shown = line.strip()[:_LONGEST_LINE]
        yield _Hit(
            rank=(-1 if has_phrase else 0, -score - in_path),
            path=content.path,
            line=number,
            text=shown,
        )
