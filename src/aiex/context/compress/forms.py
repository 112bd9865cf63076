"""Shorter forms of a source text, each of which can still be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from aiex.code import FileFacts, Foldable, FoldKind, Folds, comment_mark, read_folds
from aiex.context.compress.excerpts import lines_of, said_of_lines

__all__ = ["Fold", "Form", "forms_of"]


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that one line stands for.

    Attributes:
        kind: What they are.
        first: Their first line, 1-based.
        last: Their last line, 1-based, included.
    """

    kind: FoldKind
    first: int
    last: int

    @property
    def lines(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A text with less in it than another.

    Attributes:
        text: The text.
        skipped: Lines of the other before the first of this.
        folds: Lines of the other that one line of this stands for, in order.
    """

    text: str
    skipped: int = 0
    folds: tuple[Fold, ...] = ()

    def spans(self) -> list[tuple[int, int]]:
        """Return which lines of the other each line stands for: first and last, 1-based."""
        folds = {fold.first: fold.last for fold in self.folds}
        spans: list[tuple[int, int]] = []
        line = self.skipped + 1
        for _ in lines_of(self.text):
            last = folds.get(line, line)
            spans.append((line, last))
            line = last + 1
        return spans


def forms_of(
    text: str,
    facts: FileFacts | None,
    *,
    lines: tuple[int, int] | None = None,
    keep: Sequence[tuple[int, int]] = (),
) -> tuple[Form, ...]:
    """Return shorter forms of a source text, longest first, each shorter than the one before.

    Comments and doc strings go first, down to their first line; then imports; then the bodies of
    functions, private ones before public ones and, among those, what is not called by what is
    kept before what is; at last all but the heads of definitions. Every line is one of the text
    as it stands or a comment that says how many it stands for.

    Args:
        text: The whole file.
        facts: What was read from it; `None` for a language that is not read, which has no forms.
        lines: First and last line, 1-based, of a definition that alone is wanted; forms are then
            of these lines, and its own body stays. `None` for the whole file.
        keep: Lines that must stay as they are, first and last of each.
    """
    if facts is None:
        return ()
    whole = lines_of(text)
    first, last = lines or (1, len(whole))
    folds = read_folds(text.encode("utf-8", "replace"), facts.language)
    folder = _Folder(whole, first, min(last, len(whole)), comment_mark(facts.language))
    forms: list[Form] = []
    shortest = sum(map(len, whole[first - 1 : last]))
    for step in _steps(folds, facts, first, last, keep, is_part=lines is not None):
        form = folder.form(step)
        if form.text and len(form.text) < shortest:
            forms.append(form)
            shortest = len(form.text)
    return tuple(forms)


def _steps(
    folds: Folds,
    facts: FileFacts,
    first: int,
    last: int,
    keep: Sequence[tuple[int, int]],
    *,
    is_part: bool,
) -> Iterator[list[Foldable]]:
    """Yield what is folded in each form, more and more."""

    def may_go(fold: Foldable) -> bool:
        is_inside = first <= fold.first and fold.last <= last
        return is_inside and not any(fold.first <= b and a <= fold.last for a, b in keep)

    folded: list[Foldable] = []
    for group in (folds.comments, folds.imports, *_bodies_by_value(folds, facts, keep)):
        folded += [fold for fold in group if may_go(fold) and not _is_itself(fold, first, last)]
        yield folded
    if not is_part and folds.heads:
        yield list(_between_heads(folds.heads, keep, last))


def _bodies_by_value(
    folds: Folds, facts: FileFacts, keep: Sequence[tuple[int, int]]
) -> list[list[Foldable]]:
    called = {
        call.callee.rpartition(".")[2]
        for call in facts.calls
        if any(a <= call.line <= b for a, b in keep)
    }
    ranked: dict[tuple[bool, bool], list[Foldable]] = {}
    for body in folds.bodies:
        if body.symbol is not None:
            rank = (body.symbol.is_public, body.symbol.name in called)
            ranked.setdefault(rank, []).append(body)
    return [ranked[rank] for rank in sorted(ranked)]


def _is_itself(fold: Foldable, first: int, last: int) -> bool:
    """Say whether *fold* is the body of the very definition that is wanted."""
    symbol = fold.symbol
    return symbol is not None and (symbol.start_line, symbol.end_line) == (first, last)


def _between_heads(
    heads: Sequence[tuple[int, int]], keep: Sequence[tuple[int, int]], last: int
) -> Iterator[Foldable]:
    line = 1
    for start, end in sorted([*heads, *keep]):
        if line < start:
            yield Foldable(kind="definitions", first=line, last=start - 1)
        line = max(line, end + 1)
    if line <= last:
        yield Foldable(kind="definitions", first=line, last=last)


class _Folder:
    """Makes forms of some lines of a text.

    Args:
        whole: All lines of the text.
        first: First of the lines, 1-based.
        last: Last of them.
        mark: What begins a comment.
    """

    def __init__(self, whole: Sequence[str], first: int, last: int, mark: str) -> None:
        self._whole = whole
        self._first = first
        self._last = last
        self._mark = mark

    def form(self, folds: Iterable[Foldable]) -> Form:
        """Return the lines with each of *folds* on one line, where that is shorter.

        What is inside of another fold goes with it.
        """
        out: list[str] = []
        done: list[Fold] = []
        line = self._first
        for fold in sorted(folds, key=lambda fold: (fold.first, -fold.last)):
            if fold.first < line:
                continue
            standing = self._standing_for(fold)
            if len(standing) >= sum(map(len, self._whole[fold.first - 1 : fold.last])):
                continue
            out += [*self._whole[line - 1 : fold.first - 1], standing]
            begin = self._first - 1
            done.append(Fold(kind=fold.kind, first=fold.first - begin, last=fold.last - begin))
            line = fold.last + 1
        out += self._whole[line - 1 : self._last]
        return Form(text="".join(out), folds=tuple(done))

    def _standing_for(self, fold: Foldable) -> str:
        folded = self._whole[fold.first - 1 : fold.last]
        body = next((line for line in folded if line.strip()), "")
        indent = body[: len(body) - len(body.lstrip())].rstrip("\r\n")
        said = said_of_lines(len(folded))
        if fold.kind == "imports":
            said = f"{fold.count} import{'' if fold.count == 1 else 's'}, {said}"
        ending = "\n" if folded[-1].endswith("\n") else ""
        return f"{indent}{self._mark} ... {said} ...{ending}"
