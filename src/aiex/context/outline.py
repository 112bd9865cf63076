"""The outline of a project: its most referenced definitions, by file, within a budget of tokens."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

import msgspec

from aiex.context.index import ContextIndex

__all__ = ["Outline", "outline"]

_LONGEST_HEAD = 160
Count = Callable[[str], int]


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """An outline.

    Attributes:
        text: For each file its path, and below it the heads of its definitions in their order.
        tokens: Its tokens.
        shown: Number of definitions in it.
        left_out: Number of those that had no place.
    """

    text: str
    tokens: int
    shown: int
    left_out: int


class _Definition(msgspec.Struct, frozen=True):
    path: str
    line: int
    order: int
    name: str
    head: str
    worth: float


def outline(index: ContextIndex, budget: int, count: Count) -> Outline:
    """Return the outline of the project of *index* in at most *budget* tokens.

    A definition is worth the pieces that call its name, shared among all definitions of that
    name; a type is worth the best of its members besides. Tests and examples are left out.

    Args:
        index: The index, entered.
        budget: Tokens there are.
        count: Counts the tokens of a text.
    """
    definitions = _definitions(index)
    order = sorted(definitions, key=lambda d: (-d.worth, d.path, d.line, d.order))
    taken: defaultdict[str, list[_Definition]] = defaultdict(list)
    tokens = shown = 0
    for definition in order:
        cost = count(_line(definition))
        if definition.path not in taken:
            cost += count(f"{definition.path}\n")
        if tokens + cost > budget:
            continue
        tokens += cost
        shown += 1
        taken[definition.path].append(definition)
    return Outline(
        text="\n".join(_section(path, taken[path]) for path in sorted(taken)),
        tokens=tokens,
        shown=shown,
        left_out=len(definitions) - shown,
    )


def _definitions(index: ContextIndex) -> list[_Definition]:
    found: list[tuple[str, int, int, str, str]] = []
    for one, piece in index.all_pieces():
        if one.kind == "code":
            found += [
                (piece.path, one.start_line, number, name, head)
                for number, (name, head) in enumerate(zip(piece.symbols, piece.heads, strict=True))
                if head
            ]
    names = Counter(_last(name) for *_, name, _ in found)
    called = {name: index.callers(name) / many for name, many in names.items()}
    worth = {(path, name): called[_last(name)] for path, _, _, name, _ in found}
    for path, _, _, name, _ in found:
        above = (path, name.rpartition(".")[0])
        if above in worth:
            worth[above] = max(worth[above], worth[path, name])
    return [
        _Definition(path, line, number, name, head[:_LONGEST_HEAD], worth[path, name])
        for path, line, number, name, head in found
    ]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _line(definition: _Definition) -> str:
    return f"{'  ' * (1 + definition.name.count('.'))}{definition.head}\n"


def _section(path: str, definitions: Iterable[_Definition]) -> str:
    inside = sorted(definitions, key=lambda d: (d.line, d.order))
    return f"{path}\n" + "".join(map(_line, inside))
