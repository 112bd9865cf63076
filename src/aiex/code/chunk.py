"""Source text in pieces that each fit a thought: along the syntax tree, in whole lines.

A node that is too large is split into its children, and small neighbours are put together again,
as cAST does (Zhang et al., "cAST: Enhancing Code Retrieval-Augmented Generation with Structural
Chunking via Abstract Syntax Tree", 2025). Comments and attributes stay with what they stand above.
Text without a grammar is split at headings, blank lines and where its indentation ends.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import tree_sitter

from aiex.code.read import FACTS_VERSION, read_tree
from aiex.code.values import FileFacts, Language, Symbol
from aiex.core import Span

__all__ = ["CHUNK_VERSION", "Chunk", "chunk_code", "chunk_text"]

CHUNK_VERSION = f"1.{FACTS_VERSION}"
"""Version of where the chunks of a file begin and end, and of what they carry."""

_MOST = 700  # visible characters of a chunk: 400 to 700 find better than 1500
_LEAST = 200  # as many can stand alone where a definition begins or ends
_LONGEST_LINE = 4000  # bytes; a longer line is cut, as one of a minified file
_BLANK = b" \t\r\n\f\v"
_ABOVE = ("comment", "attribute", "decorator", "annotation", "directive")
_HEADING = re.compile(rb"#{1,6}\s|={2,6}\s|[-=~^\"*+]{3,}\s*$")


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a file; the chunks of a file tile it.

    Attributes:
        span: Its bytes.
        start_line: Line of its first byte, 1-based.
        end_line: Line of its last byte, 1-based; two pieces of one long line share it.
        scope: Qualified name of the innermost definition around its beginning; empty at top level.
        symbols: Qualified names of what is defined in it.
        heads: The head of each of *symbols*, in their order; may be empty texts.
        signature: Head of the definition around its beginning; empty at top level.
    """

    span: Span
    start_line: int
    end_line: int
    scope: str = ""
    symbols: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    signature: str = ""


def chunk_code(source: bytes, language: Language) -> tuple[FileFacts, tuple[Chunk, ...]]:
    """Return the facts of a file and its chunks, for which it is parsed once.

    Args:
        source: The whole file.
        language: What to read it as.
    """
    facts, tree = read_tree(source, language)
    text = _Lines(source)
    whole = _Piece(0, text.count, 0)
    if tree is None:
        pieces: Iterable[_Piece] = _at_blank_lines(text, whole)
    else:
        pieces = _merged(text, _cuts(text, tree.root_node))
    return facts, tuple(_with_symbols(text, pieces, facts.symbols))


def chunk_text(source: bytes) -> tuple[Chunk, ...]:
    """Return the chunks of a file without a grammar, such as prose or configuration."""
    text = _Lines(source)
    pieces = _at_blank_lines(text, _Piece(0, text.count, 0))
    return tuple(_with_symbols(text, pieces, ()))


class _Lines:
    """The lines of a text: where each begins, and how many visible characters stand before it."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.starts = [0]
        self.visible = [0]
        seen = at = 0
        for line in source.split(b"\n"):
            at += len(line) + 1
            seen += len(line.translate(None, _BLANK))
            self.starts.append(at)
            self.visible.append(seen)
        self.starts[-1] = len(source)
        if len(self.starts) > 2 and self.starts[-2] == len(source):
            del self.starts[-1], self.visible[-1]  # the text ends with a line end
        self.count = len(self.starts) - 1

    def size(self, first: int, last: int) -> int:
        """Return the visible characters of the lines [*first*, *last*), numbered from 0."""
        return self.visible[last] - self.visible[first]


class _Piece(NamedTuple):
    """The lines [first, last), numbered from 0, at a depth of splitting."""

    first: int
    last: int
    depth: int


def _cuts(text: _Lines, root: tree_sitter.Node) -> list[_Piece]:
    """Return the smallest pieces: nodes that are small enough, or cannot be split."""
    pieces: list[_Piece] = []
    waiting: list[tuple[tree_sitter.Node | None, _Piece]] = [(root, _Piece(0, text.count, 0))]
    while waiting:
        node, piece = waiting.pop()
        first, last, depth = piece
        if text.size(first, last) <= _MOST or last - first <= 1:
            pieces.append(piece)
            continue
        borders = [] if node is None else _borders(node, first, last)
        if not borders:
            pieces.extend(_at_blank_lines(text, piece))
            continue
        ends = [*(begin for _, begin in borders[1:]), last]
        inside: list[tuple[tree_sitter.Node | None, _Piece]] = [
            (child, _Piece(begin, end, depth + 1))
            for (child, begin), end in zip(borders, ends, strict=True)
        ]
        if borders[0][1] > first:
            inside.insert(0, (None, _Piece(first, borders[0][1], depth)))
        waiting.extend(reversed(inside))
    return pieces


def _borders(node: tree_sitter.Node, first: int, last: int) -> list[tuple[tree_sitter.Node, int]]:
    """Return the children of *node* that begin a line of their own, each with that line.

    One alone that covers the whole is replaced by its own children.
    """
    while True:
        found: list[tuple[tree_sitter.Node, int]] = []
        before = first - 1
        is_above = False
        largest = node
        width = -1
        for child in node.children:
            row, end = child.start_point[0], child.end_point[0]
            if end - row > width:
                largest, width = child, end - row
            is_new_line = row > before
            if is_new_line and row < last and (row > first or not found):
                if not is_above:
                    found.append((child, row))
                else:
                    found[-1] = (child, found[-1][1])
                is_above = any(word in child.type for word in _ABOVE)
            elif found and row <= before and end > found[-1][0].end_point[0]:
                found[-1] = (child, found[-1][1])
            before = max(before, row)
        if len(found) > 1 or (found and found[0][1] > first):
            return found
        if width < 1 or largest is node:
            return []
        node = largest


def _merged(text: _Lines, pieces: Sequence[_Piece]) -> Iterator[_Piece]:
    """Yield *pieces* with small neighbours put together."""
    whole = pieces[0]
    for piece in pieces[1:]:
        size = text.size(whole.first, whole.last)
        is_apart = piece.depth != whole.depth and size >= _LEAST
        if not is_apart and size + text.size(piece.first, piece.last) <= _MOST:
            whole = _Piece(whole.first, piece.last, piece.depth)
            continue
        yield whole
        whole = piece
    yield whole


def _at_blank_lines(text: _Lines, piece: _Piece) -> list[_Piece]:
    """Return the lines of *piece* in pieces that end where the text rests."""
    first, last, depth = piece
    pieces: list[_Piece] = []
    while text.size(first, last) > _MOST and last - first > 1:
        most = bisect_right(text.visible, text.visible[first] + _MOST, first, last) - 1
        most = max(most, first + 1)
        least = bisect_right(text.visible, text.visible[first] + _MOST // 2, first, most)
        cut = max(range(max(least, first + 1), most + 1), key=lambda n: (_rest(text, n), n))
        pieces.append(_Piece(first, cut, depth))
        first = cut
    pieces.append(_Piece(first, last, depth))
    return pieces


def _rest(text: _Lines, line: int) -> int:
    """Return how well a piece can begin at *line*; more is better."""
    source, starts = text.source, text.starts
    if line >= text.count:
        return 0
    begin = source[starts[line] : starts[line] + 80]
    if _HEADING.match(begin):
        return 100
    indent = len(begin) - len(begin.lstrip(b" \t"))
    before = source[starts[line - 1] : starts[line]]
    return (50 if not before.strip() else 0) - min(indent, 40)


def _with_symbols(
    text: _Lines, pieces: Iterable[_Piece], symbols: Sequence[Symbol]
) -> Iterator[Chunk]:
    around: list[Symbol] = []
    position = 0
    for first, last, _ in pieces:
        start, end = text.starts[first], text.starts[last]
        line = first + 1
        while around and around[-1].span.end <= start:
            around.pop()
        scope = around[-1] if around else None
        inside: list[Symbol] = []
        while position < len(symbols) and symbols[position].span.start < end:
            symbol = symbols[position]
            position += 1
            inside.append(symbol)
            while around and around[-1].span.end <= symbol.span.start:
                around.pop()
            if symbol.span.end > end:
                around.append(symbol)
        heads = {symbol.qualified_name: symbol.signature for symbol in reversed(inside)}
        names = tuple(dict.fromkeys(symbol.qualified_name for symbol in inside))
        chunk = Chunk(
            span=Span(start, end),
            start_line=line,
            end_line=last,
            scope=scope.qualified_name if scope else "",
            symbols=names,
            heads=tuple(heads[name] for name in names),
            signature=scope.signature if scope else "",
        )
        if end - start > _LONGEST_LINE and last - first == 1:
            yield from _cut_line(text.source, chunk)
        else:
            yield chunk


def _cut_line(source: bytes, chunk: Chunk) -> Iterator[Chunk]:
    """Yield the pieces of a long line, none of which ends inside a character."""
    start = chunk.span.start
    while start < chunk.span.end:
        end = min(start + _LONGEST_LINE, chunk.span.end)
        while start + 1 < end < chunk.span.end and source[end] & 0xC0 == 0x80:
            end -= 1
        yield msgspec.structs.replace(chunk, span=Span(start, end))
        start = end
