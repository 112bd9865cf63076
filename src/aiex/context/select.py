"""Retrieval: which pieces of a project answer a question, best first, and how sure that is.

A piece counts by its own words (BM25 over its text, names, scope and path), by how well the rest of
its file fits, and by what kind of file it is in: tests, examples and prose only come first when
they are asked for. What the question names itself (a path, a line of a traceback, a symbol) counts
on top of that. The weights are those that did best on commits of fourteen projects in eight
languages; none of them turns on which project or language it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from aiex.code import FileKind
from aiex.context.index import ContextIndex, Found, Piece, number_of
from aiex.context.query import Query
from aiex.context.terms import stem

__all__ = ["Confidence", "Hit", "Selection", "Selector"]

_FILE_WEIGHT = 0.35
_FILE_DECAY = 0.7
_FILE_CHUNKS = 5
_WEIGHTS: Final[Mapping[FileKind, float]] = {
    "code": 1.0,
    "test": 0.3,
    "example": 0.3,
    "generated": 0.15,
    "prose": 0.3,
    "config": 0.3,
}
_WANTED_TEST = 1.2
_AT_LINE, _AT_PATH, _IN_FOLDER = 2.0, 1.0, 0.3
_DEFINES, _DEFINES_ALONE = 0.15, 1.0
_MOST_NAMES, _MOST_PLACES, _MOST_DEFINITIONS = 8, 16, 20
_NEIGHBOURS_OF, _MOST_NEIGHBOURS, _NEIGHBOUR = 3, 4, 0.3
_COMMON = 12  # a name that more chunks call or define than this tells nothing
_K1 = 1.2  # of tantivy's BM25
_STRONG, _FAIR = 0.3, 0.15

Confidence = Literal["strong", "fair", "weak", "none"]


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A piece that answers.

    Attributes:
        path: File, relative to the root.
        start_line: First line, 1-based.
        end_line: Last line.
        score: How well it answers; comparable within one selection only.
        kind: What its file is.
        scope: Qualified name of the definition around it; may be empty.
        symbols: Qualified names of what it defines.
        signature: Head of the definition around it, else of the first one in it; may be empty.
        reason: Why it is here: `words`, `path`, `place`, `definition` or `calls NAME`.
    """

    path: str
    start_line: int
    end_line: int
    score: float
    kind: FileKind
    scope: str = ""
    symbols: tuple[str, ...] = ()
    signature: str = ""
    reason: str = "words"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for a question.

    Attributes:
        hits: Best first.
        confidence: How sure it is that the first ones answer: `none` if nothing was found.
        strength: What `confidence` is told by: the share, 0 to 1, of the question that the best
            piece has.
        unknown: Words of the question that no piece of code has, as they were searched.
    """

    hits: tuple[Hit, ...]
    confidence: Confidence
    strength: float
    unknown: tuple[str, ...]


class Selector:
    """Selects from an index.

    Args:
        index: The index, entered.
    """

    def __init__(self, index: ContextIndex) -> None:
        self._index = index

    def select(self, query: Query, *, limit: int = 50, neighbours: bool = True) -> Selection:
        """Return the pieces that answer *query*, best first.

        Args:
            query: The question.
            limit: Most pieces.
            neighbours: Whether to add who calls the first ones, and what they call.
        """
        found = self._index.find(query, limit=max(300, limit))
        best = max((one.score for one in found), default=0.0)
        ranked = _Ranked(found, best, wants_tests=query.wants_tests)
        self._add_places(ranked, query)
        self._add_definitions(ranked, query)
        order = ranked.order()[:limit]
        pieces = self._index.pieces(order)
        hits = [
            _hit(one, piece, ranked.scores[_key(one)], ranked.reasons.get(_key(one), "words"))
            for one, piece in zip(order, pieces, strict=True)
        ]
        if neighbours:
            hits = self._with_neighbours(hits, order)[:limit]
        strength, unknown = self._strength(query, best)
        return Selection(
            hits=tuple(hits),
            confidence=_confidence(strength, hits),
            strength=round(strength, 3),
            unknown=unknown,
        )

    def _add_places(self, ranked: _Ranked, query: Query) -> None:
        """Raise the pieces of files, folders and lines that the question names."""
        named = [(frame.path, frame.line) for frame in query.frames]
        named += [(path, 0) for path in query.paths]
        if not named:
            return
        files = self._index.paths()
        for path, line in named[:_MOST_PLACES]:
            for file in _matching(path, files):
                for one in self._index.within(number_of(file)):
                    if one.start_line <= line <= one.end_line:
                        ranked.raise_by(one, _AT_LINE, "place")
                    elif not line:
                        ranked.raise_by(one, _AT_PATH, "path")
            if not line and "." not in path.rpartition("/")[2]:
                inside = {number_of(f) for f in files if f"/{path}/" in f"/{f}"}
                ranked.raise_all(inside, _IN_FOLDER)

    def _add_definitions(self, ranked: _Ranked, query: Query) -> None:
        """Raise the pieces that define what the question names."""
        names: Sequence[str] = query.names
        if query.is_name and not names:
            names = query.text.split()
        weight = _DEFINES_ALONE if query.is_name else _DEFINES
        for name in names[:_MOST_NAMES]:
            definitions = self._index.defining(name, limit=_MOST_DEFINITIONS + 1)
            if len(definitions) <= _MOST_DEFINITIONS:
                for one in definitions:
                    ranked.raise_by(one, weight, "definition")

    def _with_neighbours(self, hits: list[Hit], found: Sequence[Found]) -> list[Hit]:
        """Return *hits* with who calls what the first ones define, where that can be told."""
        seen = {_key(one) for one in found}
        more: list[Hit] = []
        for hit in hits[:_NEIGHBOURS_OF]:
            if hit.kind != "code":
                continue
            added = 0
            for symbol in hit.symbols:
                name = symbol.rpartition(".")[2]
                if not 0 < self._index.callers(name) <= _COMMON:
                    continue
                callers = [
                    one
                    for one in self._index.calling(name, limit=_COMMON)
                    if _key(one) not in seen and one.kind == "code"
                ]
                for one, piece in zip(callers, self._index.pieces(callers), strict=True):
                    if added == _MOST_NEIGHBOURS:
                        break
                    seen.add(_key(one))
                    added += 1
                    more.append(_hit(one, piece, hit.score * _NEIGHBOUR, f"calls {name}"))
        return sorted([*hits, *more], key=lambda hit: -hit.score) if more else hits

    def _strength(self, query: Query, best: float) -> tuple[float, tuple[str, ...]]:
        """Return the share of the question that the best piece has, and what no piece has."""
        stems = {term: stem(term) for term in query.terms}
        rarity = self._index.rarity(list(query.stems))
        unknown = self._index.unknown(list(query.stems))
        most = sum(weight * rarity[root] for root, weight in query.stems.items())
        most += sum(weight * rarity[stems[term]] for term, weight in query.terms.items())
        share = best / (most * (_K1 + 1)) if most else 0.0
        return share, tuple(term for term, root in stems.items() if root in unknown)


class _Ranked:
    """Chunks with their scores, which may be raised."""

    def __init__(self, found: Sequence[Found], best: float, *, wants_tests: bool) -> None:
        self.found: dict[tuple[int, int, int], Found] = {}
        self.scores: dict[tuple[int, int, int], float] = {}
        self.reasons: dict[tuple[int, int, int], str] = {}
        self._weights = {**_WEIGHTS, "test": _WANTED_TEST} if wants_tests else _WEIGHTS
        of_file: defaultdict[int, list[float]] = defaultdict(list)
        for one in found:
            of_file[one.file].append(one.score)
        fits = {file: _of_file(scores) for file, scores in of_file.items()}
        best_file = max(fits.values(), default=1.0)
        for one in found:
            key = _key(one)
            self.found[key] = one
            self.scores[key] = self._weights[one.kind] * (
                one.score / best + _FILE_WEIGHT * fits[one.file] / best_file
            )

    def raise_by(self, one: Found, amount: float, reason: str) -> None:
        """Add *amount* to the score of a chunk, which need not have been found by its words."""
        key = _key(one)
        self.found.setdefault(key, one)
        self.scores[key] = self.scores.get(key, 0.0) + amount * max(self._weights[one.kind], 0.5)
        self.reasons[key] = reason

    def raise_all(self, files: Iterable[int], amount: float) -> None:
        """Add *amount* to the score of every chunk of *files* that was found by its words."""
        inside = set(files)
        for key, one in self.found.items():
            if one.file in inside:
                self.scores[key] += amount * self._weights[one.kind]

    def order(self) -> list[Found]:
        """Return the chunks, best first."""
        keys = sorted(self.scores, key=lambda key: (-self.scores[key], key))
        return [self.found[key] for key in keys]


def _hit(one: Found, piece: Piece, score: float, reason: str) -> Hit:
    return Hit(
        path=piece.path,
        start_line=one.start_line,
        end_line=one.end_line,
        score=round(score, 4),
        kind=one.kind,
        scope=piece.scope,
        symbols=piece.symbols,
        signature=piece.signature or next(iter(piece.heads), ""),
        reason=reason,
    )


def _of_file(scores: list[float]) -> float:
    scores.sort(reverse=True)
    return sum(s * _FILE_DECAY**n for n, s in enumerate(scores[:_FILE_CHUNKS]))


def _key(one: Found) -> tuple[int, int, int]:
    return (one.file, one.start_line, one.end_line)


def _matching(path: str, files: Sequence[str]) -> list[str]:
    """Return the *files* that *path* can mean: the longest end of it that names any of them."""
    parts = path.replace("\\", "/").strip("/").split("/")
    for first in range(len(parts)):
        end = "/".join(parts[first:])
        found = [file for file in files if file == end or file.endswith(f"/{end}")]
        if found:
            return found if len(found) <= _MOST_PLACES else []
    return []


def _confidence(strength: float, hits: Sequence[Hit]) -> Confidence:
    if not hits:
        return "none"
    if hits[0].reason in {"place", "path", "definition"} or strength >= _STRONG:
        return "strong"
    return "fair" if strength >= _FAIR else "weak"
