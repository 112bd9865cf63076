"""Fitting what of a project a model should see into what its window holds, by counted tokens.

Nothing is left out in silence: what was cut, folded or dropped is named in the answer, and a cut
inside a text is marked where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from aiex.context.compress.excerpts import closing_fences, lines_of
from aiex.context.compress.forms import Form
from aiex.core import LeftOut

__all__ = ["Count", "Fitted", "Item", "ShownItem", "fit"]

Count = Callable[[str], int]
"""Tokens of a text, by whatever counts for the model at hand."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something worth showing.

    Attributes:
        path: File it comes from; empty if from none.
        start_line: Line of its first line, 1-based.
        text: The text, whole lines.
        reason: Why it is shown, in a few words.
        shorter: The same with less in it, longest first; tried when *text* does not fit.
        may_be_cut: Whether it may end after some line, if nothing else helps; the first item
            always may.
    """

    path: str
    start_line: int
    text: str
    reason: str
    shorter: tuple[Form, ...] = ()
    may_be_cut: bool = False

    @property
    def place(self) -> str:
        """Where it comes from, for a reader."""
        return f"{self.path}:{self.start_line}" if self.path else self.reason


class ShownItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as it is shown.

    Attributes:
        item: What it was made of.
        text: The text that is shown.
        start_line: Line of its first line, 1-based.
        tokens: Its tokens.
        form: `whole`, `shorter` for one of its shorter forms, or `cut` after some line.
    """

    item: Item
    text: str
    start_line: int
    tokens: int
    form: str


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What fits.

    Attributes:
        shown: In the order given.
        dropped: What did not fit at all.
        left_out: What of all items is not shown, in the order given.
        tokens: Tokens of all that is shown; at most the budget.
    """

    shown: tuple[ShownItem, ...]
    dropped: tuple[Item, ...]
    left_out: tuple[LeftOut, ...]
    tokens: int


def fit(items: Sequence[Item], budget: int, count: Count) -> Fitted:
    """Return as much of *items* as *budget* tokens hold, first things first.

    Each item is shown whole if it fits, else in its longest shorter form that does, else not at
    all; a later, smaller one may still fit. The first item is what it is all about: if nothing
    else helps it is cut after a line and marked, as are others that may be.

    Args:
        items: Most important first.
        budget: Tokens there are.
        count: Counts the tokens of a text.
    """
    shown: list[ShownItem] = []
    dropped: list[Item] = []
    left_out: list[LeftOut] = []
    left = budget
    for position, item in enumerate(items):
        whole = count(item.text)
        if whole <= left:
            best: _Shown | None = _Shown(Form(text=item.text), whole, "whole")
        else:
            best = _shorter(item, left, count)
            if best is None and (item.may_be_cut or not position):
                best = _cut(item, left, count)
        if best is None:
            dropped.append(item)
            lines = len(lines_of(item.text))
            left_out.append(LeftOut(what=item.place, how="dropped", lines=lines, tokens=whole))
            continue
        left -= best.tokens
        shown.append(
            ShownItem(
                item=item,
                text=best.form.text,
                start_line=item.start_line + best.form.skipped,
                tokens=best.tokens,
                form=best.how,
            )
        )
        if best.how != "whole":
            left_out.append(best.left_out(item, whole))
    return Fitted(
        shown=tuple(shown),
        dropped=tuple(dropped),
        left_out=tuple(left_out),
        tokens=budget - left,
    )


class _Shown:
    """One form of an item, which fits.

    Args:
        form: The form.
        tokens: Its tokens.
        how: `whole`, `shorter` or `cut`.
        notes: Lines of it that stand for none of the item and for no fold.
    """

    def __init__(self, form: Form, tokens: int, how: str, *, notes: int = 0) -> None:
        self.form = form
        self.tokens = tokens
        self.how = how
        self._notes = notes

    def left_out(self, item: Item, whole: int) -> LeftOut:
        """Return what is missing of *item*, which has *whole* tokens."""
        folds = self.form.folds
        written = len(lines_of(self.form.text)) - self._notes - len(folds)
        return LeftOut(
            what=item.place,
            how="cut" if self.how == "cut" else "folded" if folds else "shortened",
            lines=max(0, len(lines_of(item.text)) - written),
            tokens=max(0, whole - self.tokens),
            kinds=tuple(dict.fromkeys(fold.kind for fold in folds)),
        )


def _shorter(item: Item, left: int, count: Count) -> _Shown | None:
    for form in item.shorter:
        tokens = count(form.text)
        if tokens <= left:
            return _Shown(form, tokens, "shorter")
    return None


def _cut(item: Item, left: int, count: Count) -> _Shown | None:
    """Return the shortest form of *item* up to some line; `None` if not even one line fits."""
    shortest = item.shorter[-1] if item.shorter else Form(text=item.text)
    lines = lines_of(shortest.text)
    spans = shortest.spans()
    fences = closing_fences(lines)

    def marked(kept: int) -> str:
        fence = fences[kept]
        closing = "" if fence is None else fence[1]
        more = spans[-1][1] - spans[kept][0] + 1
        return "".join(lines[:kept]) + f"{closing}[... {more} more lines left out ...]\n"

    low, high = 0, len(lines) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if count(marked(middle)) <= left:
            low = middle
        else:
            high = middle - 1
    if low <= 0:
        return None
    text = marked(low)
    tokens = count(text)
    if tokens > left:
        return None
    folds = tuple(fold for fold in shortest.folds if fold.last <= spans[low - 1][1])
    form = Form(text=text, skipped=shortest.skipped, folds=folds)
    return _Shown(form, tokens, "cut", notes=1 + (fences[low] is not None))
