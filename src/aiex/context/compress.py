"""Fitting what a model should see into what its window holds, by counted tokens.

Nothing is left out in silence: what was cut, folded or dropped is named in the answer, and a cut
inside a text is marked where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

__all__ = ["Fitted", "Item", "ShownItem", "fit", "fold"]

_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # splitlines() would also split at U+2028 and form feeds

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
        skipped: Lines of *text* before the first of each shorter form; empty if there are none.
    """

    path: str
    start_line: int
    text: str
    reason: str
    shorter: tuple[str, ...] = ()
    skipped: tuple[int, ...] = ()


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
        left_out: What did not fit.
        tokens: Tokens of all that is shown; at most the budget.
    """

    shown: tuple[ShownItem, ...]
    left_out: tuple[Item, ...]
    tokens: int


def fit(items: Sequence[Item], budget: int, count: Count) -> Fitted:
    """Return as much of *items* as *budget* tokens hold, first things first.

    Each item is shown whole if it fits, else in its longest shorter form that does, else not at
    all; a later, smaller one may still fit. The first item is what it is all about: if nothing
    else helps it is cut after a line and marked.

    Args:
        items: Most important first.
        budget: Tokens there are.
        count: Counts the tokens of a text.
    """
    shown: list[ShownItem] = []
    left_out: list[Item] = []
    left = budget
    for position, item in enumerate(items):
        best = _form(item, left, count) or (None if position else _cut(item, left, count))
        if best is None:
            left_out.append(item)
            continue
        shown.append(best)
        left -= best.tokens
    return Fitted(shown=tuple(shown), left_out=tuple(left_out), tokens=budget - left)


def _form(item: Item, left: int, count: Count) -> ShownItem | None:
    for position, text in enumerate((item.text, *item.shorter)):
        tokens = count(text)
        if tokens <= left:
            form = "shorter" if position else "whole"
            start = _start_of(item, position)
            return ShownItem(item=item, text=text, start_line=start, tokens=tokens, form=form)
    return None


def _start_of(item: Item, position: int) -> int:
    """Return the first line of the text (0) or of a shorter form (1 and more)."""
    return item.start_line + (item.skipped[position - 1] if position and item.skipped else 0)


def _cut(item: Item, left: int, count: Count) -> ShownItem | None:
    shortest = (item.text, *item.shorter)[-1]
    lines = _lines(shortest)

    def marked(kept: int) -> str:
        return "".join(lines[:kept]) + f"[... {len(lines) - kept} more lines left out ...]\n"

    low, high = 0, len(lines) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if count(marked(middle)) <= left:
            low = middle
        else:
            high = middle - 1
    text = marked(low)
    tokens = count(text)
    if low == 0 or tokens > left:
        return None
    start = _start_of(item, len(item.shorter))
    return ShownItem(item=item, text=text, start_line=start, tokens=tokens, form="cut")


def _lines(text: str) -> list[str]:
    return _LINE.findall(text)


def fold(text: str, bodies: Sequence[tuple[int, int]], *, comment: str = "#") -> str:
    r"""Return *text* with each of *bodies* replaced by one line that says how long it was.

    Args:
        text: Whole lines.
        bodies: First and last line of each body, 1-based, both included; bodies inside another
            are folded with it, and bodies of one line stay.
        comment: What begins a comment in the language.

    Example:
        >>> print(fold("def f():\n    a\n    b\n", [(2, 3)]), end="")
        def f():
            # ... 2 lines ...
    """
    lines = _lines(text)
    out: list[str] = []
    line = 1
    for first, last in sorted(bodies, key=lambda body: (body[0], -body[1])):
        if first < line or last <= first or last > len(lines):
            continue
        out += lines[line - 1 : first - 1]
        body = lines[first - 1]
        indent = body[: len(body) - len(body.lstrip())].rstrip("\r\n")
        out.append(f"{indent}{comment} ... {last - first + 1} lines ...\n")
        line = last + 1
    return "".join(out + lines[line - 1 :])
