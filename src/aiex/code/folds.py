"""Which lines of a source text can be left out so that the rest can still be read."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from aiex.code.read import unreadable, walk_of
from aiex.code.scan import Walk
from aiex.code.values import Language, Symbol

__all__ = ["FoldKind", "Foldable", "Folds", "comment_mark", "read_folds"]

FoldKind = Literal["comments", "imports", "bodies", "definitions"]
"""What the lines are: comments and documentation, imports, bodies of functions, or whatever
stands between the heads of definitions."""

_FUNCTIONS = frozenset({"function", "method", "constructor", "macro"})
_HASH = frozenset({"python", "elixir"})
_BEFORE_IMPORT = re.compile(rb"\s*(?:import\s+|(?:const|let|var)\s[^=\n]*=\s*)?")
_AFTER_IMPORT = frozenset({b"", b";"})
_OPENS = (b"{", b"do")
_CLOSES = (b"}", b"end")
_SPACE = b" \t\r\n\f\v"
_WORD = re.compile(rb"[^\W_]|[\x80-\xff]")


class Foldable(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that can be left out together.

    Attributes:
        kind: What they are.
        first: Their first line, 1-based.
        last: Their last line, 1-based, included.
        count: How many things they are: imports; 1 elsewhere.
        symbol: The definition whose body they are; `None` for others.
    """

    kind: FoldKind
    first: int
    last: int
    count: int = 1
    symbol: Symbol | None = None


class Folds(msgspec.Struct, frozen=True, kw_only=True):
    """What can be left out of a source text.

    Attributes:
        comments: All but the first line with words of each comment and doc string, and but the
            line that closes it.
        imports: Imports that stand together.
        bodies: Bodies of functions, without the lines that open and close them.
        heads: First and last line of the head of every definition.
    """

    comments: tuple[Foldable, ...] = ()
    imports: tuple[Foldable, ...] = ()
    bodies: tuple[Foldable, ...] = ()
    heads: tuple[tuple[int, int], ...] = ()


def comment_mark(language: Language) -> str:
    """Return what begins a comment of one line in *language*."""
    return "#" if language in _HASH else "//"


def read_folds(source: bytes, language: Language) -> Folds:
    """Return what can be left out of *source*; nothing where it cannot be parsed.

    Args:
        source: The whole file.
        language: What to read it as.
    """
    if unreadable(source) is not None:
        return Folds()
    walk = walk_of(source, language)
    lines = _Lines(source)
    return Folds(
        comments=tuple(_comments(walk, lines)),
        imports=tuple(_imports(walk, lines)),
        bodies=tuple(_bodies(walk, lines, language)),
        heads=tuple(sorted(_heads(walk, lines))),
    )


class _Lines:
    """Where the lines of a source begin."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self._starts = [0, *(m.end() for m in re.finditer(rb"\n", source))]

    def at(self, offset: int) -> int:
        """Return the line of a byte, 1-based."""
        return bisect_right(self._starts, offset)

    def of(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return the first and the last line of a span, which may end with a line break."""
        start, end = span[0], self.end(span)
        return self.at(start), self.at(max(start, end - 1))

    def end(self, span: tuple[int, int]) -> int:
        """Return where a span ends without the space at its end.

        Nothing is copied: bodies nested in one another would be copied over and over.
        """
        start, end = span
        while end > start and self.source[end - 1] in _SPACE:
            end -= 1
        return end

    def before(self, offset: int) -> bytes:
        """Return what stands on the line before a byte."""
        return self.source[self._starts[self.at(offset) - 1] : offset]

    def after(self, offset: int) -> bytes:
        """Return what stands on the line from a byte on."""
        end = self.source.find(b"\n", offset)
        return self.source[offset : len(self.source) if end < 0 else end].strip()

    def text(self, number: int) -> bytes:
        """Return one line."""
        start = self._starts[number - 1]
        return (
            self.source[start : self._starts[number]]
            if number < len(self._starts)
            else (self.source[start:])
        )

    def inside(self, span: tuple[int, int]) -> tuple[int, int] | None:
        """Return the lines of a body without those that open and close it; `None` for none."""
        first, last = self.of(span)
        opens = self.source.startswith(_OPENS, *span)
        if opens or self.before(span[0]).strip():
            first += 1
        if opens and self.source.endswith(_CLOSES, span[0], self.end(span)):
            last -= 1
        return (first, last) if first <= last else None


def _bodies(walk: Walk, lines: _Lines, language: Language) -> Iterator[Foldable]:
    docs = dict(walk.doc_spans)
    for at, (start, end) in walk.body_spans.items():
        symbol = walk.symbols[at]
        is_block = language == "python" or lines.source.startswith(_OPENS, start)
        if symbol.kind not in _FUNCTIONS or not is_block:
            continue
        if language == "cpp" and symbol.kind == "macro":
            continue  # its lines are joined, and none can be a comment
        inside = lines.inside((start, end))
        if inside is not None and start in docs:  # what the function is for stays
            inside = lines.at(docs[start] - 1) + 1, inside[1]
        if inside is not None and inside[0] <= inside[1]:
            yield Foldable(kind="bodies", first=inside[0], last=inside[1], symbol=symbol)


def _heads(walk: Walk, lines: _Lines) -> Iterator[tuple[int, int]]:
    for at, symbol in enumerate(walk.symbols):
        span = walk.body_spans.get(at)
        if span is None:
            yield symbol.start_line, symbol.start_line
            continue
        inside = lines.inside(span)
        last = lines.of(span)[1] if inside is None else inside[0] - 1
        yield symbol.start_line, max(symbol.start_line, last)


def _comments(walk: Walk, lines: _Lines) -> Iterator[Foldable]:
    runs: list[tuple[int, int]] = []
    for start, end in walk.comment_spans:
        first, last = lines.of((start, end))
        if lines.before(start).strip():
            continue
        if first != last:
            yield from _block(lines, (start, end))
        elif not lines.after(lines.end((start, end))):
            if runs and runs[-1][1] == first - 1:
                runs[-1] = (runs[-1][0], first)
            else:
                runs.append((first, first))
    for first, last in runs:
        kept = _first_with_words(lines, first, last)
        if kept < last:
            yield Foldable(kind="comments", first=kept + 1, last=last)
    for span in walk.doc_spans:
        yield from _block(lines, span)


def _block(lines: _Lines, span: tuple[int, int]) -> Iterator[Foldable]:
    """Yield what can go of a comment or a text over several lines, whose last line closes it."""
    first, last = lines.of(span)
    kept = (
        first if _WORD.search(lines.after(span[0])) else _first_with_words(lines, first + 1, last)
    )
    if kept + 1 <= last - 1:
        yield Foldable(kind="comments", first=kept + 1, last=last - 1)


def _first_with_words(lines: _Lines, first: int, last: int) -> int:
    return next((n for n in range(first, last + 1) if _WORD.search(lines.text(n))), first)


def _imports(walk: Walk, lines: _Lines) -> Iterator[Foldable]:
    """Yield imports that have their lines for themselves, with what is empty between them."""
    blocks: list[list[int]] = []
    comments = set(_whole_lines(walk.comment_spans, lines))
    for start, end in sorted(dict.fromkeys(walk.import_spans)):
        first, last = lines.of((start, end))
        after = lines.after(lines.end((start, end)))
        if not _BEFORE_IMPORT.fullmatch(lines.before(start)) or after not in _AFTER_IMPORT:
            continue
        if blocks and _is_empty(lines, blocks[-1][1] + 1, first - 1, comments):
            blocks[-1][1] = last
            blocks[-1][2] += 1
        else:
            blocks.append([first, last, 1])
    for first, last, count in blocks:
        yield Foldable(kind="imports", first=first, last=last, count=count)


def _whole_lines(spans: Iterable[tuple[int, int]], lines: _Lines) -> Iterator[int]:
    for start, end in spans:
        if not lines.before(start).strip():
            first, last = lines.of((start, end))
            yield from range(first, last + 1)


def _is_empty(lines: _Lines, first: int, last: int, comments: set[int]) -> bool:
    return all(not lines.text(n).strip() or n in comments for n in range(first, last + 1))
