"""Finding places in a project for a model that asks for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import anyio.to_thread
import msgspec

from aiex.assistant.context import selected
from aiex.assistant.indexing import Indexer
from aiex.context import Hit
from aiex.core import AiexError, EventBody, Request, StoreError
from aiex.sandbox import FileContent, Files, ScanEntry

__all__ = ["Found", "IndexSearch", "LineSearch", "Searcher"]

_MOST_BYTES: Final = 1 << 20  # of a file: what is larger is rarely written by hand
_MOST_ALL_BYTES: Final = 64 << 20
_BATCH: Final = 64
_LONGEST_LINE: Final = 240
_SHORTEST_WORD: Final = 3
_MOST_PIECES: Final = 8
_LINES_OF_A_PIECE: Final = 40
_WORDS_OF_A_NAME: Final = 3
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


class _Quiet:
    """A run whose events nobody sees: what the index has to tell of its own is no answer."""

    def __init__(self, request: Request) -> None:
        self.request = request

    async def emit(self, body: EventBody) -> None:
        """Drop it."""


class IndexSearch:
    """Satisfies `Searcher` by the index of the project, and by its lines where a name is asked.

    Args:
        indexer: Keeps the index.
        lines: Searches line by line, also where no index can be kept.
    """

    how = "by the index of the project"

    def __init__(self, indexer: Indexer, lines: LineSearch) -> None:
        self._indexer = indexer
        self._lines = lines

    async def search(self, query: str, request: Request, *, most: int) -> Found:
        """Return the pieces that answer *query* best, and the lines that hold it as it stands."""
        if not query.strip():
            return Found(text="", how=self.how)
        try:
            async with self._indexer.fresh(_Quiet(request)) as fresh:
                found = await selected(fresh, query, limit=_MOST_PIECES)
                pieces = await anyio.to_thread.run_sync(_pieces, fresh.files, found.hits)
        except StoreError:
            return await self._lines.search(query, request, most=most)
        if len(query.split()) > _WORDS_OF_A_NAME:
            return Found(text="\n\n".join(pieces), how=self.how)
        lines = await self._lines.search(query, request, most=most // 2)
        texts = [*pieces, *([lines.text] if lines.text else [])]
        return Found(
            text="\n\n".join(texts), how=f"{self.how}, then {lines.how}", left_out=lines.left_out
        )


def _pieces(files: Files, hits: Sequence[Hit]) -> list[str]:
    """Return the text of each of *hits*, with its place and the numbers of its lines."""
    pieces = []
    for hit in hits:
        last = min(hit.end_line, hit.start_line + _LINES_OF_A_PIECE - 1)
        try:
            lines = files.read_lines(hit.path, hit.start_line, last)
        except AiexError:
            continue  # it went away since it was found
        rows = lines.content.decode("utf-8", "replace").rstrip("\n").split("\n")
        body = "\n".join(
            f"{n:>5}  {row[:_LONGEST_LINE]}" for n, row in enumerate(rows, lines.first)
        )
        pieces.append(f"{hit.path}:{hit.start_line}\n{body}")
    return pieces


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

    how = "line by line"

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
