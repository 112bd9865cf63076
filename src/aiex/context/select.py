"""Who calls what in a project, by name and import, from the facts of its files.

Names are resolved as a reader would: what the file itself defines, what it imports, and else a
definition only if it is the only one of its name that the file can see. Calls through a variable
(`x.get()`) are matched only when one visible class defines the method, so what is listed is
likely and what is missing is possible; nothing is guessed among several.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from aiex.code import Call, FileFacts, Symbol

__all__ = ["Place", "Reference", "SymbolIndex"]

_CALLABLE = frozenset({"function", "method", "constructor", "macro"})
_TYPES = frozenset(
    {"class", "struct", "record", "enum", "interface", "trait", "protocol", "module", "type"}
)
_SELF = frozenset({"", "self", "cls", "this", "super()", "super", "Self", "__MODULE__"})


class Place(msgspec.Struct, frozen=True, order=True):
    """A symbol of a project.

    Attributes:
        path: File, relative to the root.
        symbol: The symbol.
    """

    path: str
    symbol: Symbol


class Reference(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One call in a project.

    Attributes:
        path: File of the call.
        line: Line of the call, 1-based.
        caller: Qualified name of the function around it; empty at top level.
        callee: What is called, as written.
    """

    path: str
    line: int
    caller: str
    callee: str


class SymbolIndex:
    """Finds callers and callees in a project.

    Args:
        files: Facts by path, relative to the root.
        imports: For each path the paths that it imports, however it does.
    """

    def __init__(
        self, files: Mapping[str, FileFacts], imports: Mapping[str, AbstractSet[str]]
    ) -> None:
        self._files = files
        self._imports = imports
        self._by_name: defaultdict[str, list[Place]] = defaultdict(list)
        for path, facts in files.items():
            for symbol in facts.symbols:
                if symbol.kind in _CALLABLE or symbol.kind in _TYPES:
                    self._by_name[symbol.name].append(Place(path, symbol))

    def callees(self, path: str, symbol: Symbol | None = None) -> Sequence[Place]:
        """Return what is called from *symbol* (or the whole file), in order of the calls.

        Only definitions of this project are returned, each once; a function that calls itself
        is not among its own callees.
        """
        facts = self._files[path]
        seen: dict[Place, None] = {}
        for call in facts.calls:
            if symbol is not None and not _is_inside(call, symbol):
                continue
            for place in self._targets(path, call):
                if place.path == path and place.symbol == symbol:
                    continue
                if symbol is None and place.path == path:
                    continue
                seen.setdefault(place)
        return list(seen)

    def callers(self, path: str, symbols: Iterable[Symbol]) -> Sequence[Reference]:
        """Return the calls of *symbols* of *path*, other files first, in order of place.

        A call inside its own callee (recursion) does not count.
        """
        wanted = {symbol.name: symbol for symbol in symbols}
        found = [
            reference
            for other in self._files
            if other == path or self._can_see(other, path)
            for reference in self._calls_of(other, path, wanted)
        ]
        return sorted(found, key=lambda ref: (ref.path == path, ref))

    def _calls_of(self, other: str, path: str, wanted: Mapping[str, Symbol]) -> Iterator[Reference]:
        for call in self._files[other].calls:
            symbol = wanted.get(_last(call.callee))
            if symbol is None or (other == path and _is_inside(call, symbol)):
                continue
            if any(
                place.path == path and place.symbol.qualified_name == symbol.qualified_name
                for place in self._targets(other, call)
            ):
                yield Reference(
                    path=other, line=call.line, caller=call.caller or "", callee=call.callee
                )

    def _can_see(self, path: str, target: str) -> bool:
        if target in self._imports.get(path, ()):
            return True
        # Files of one folder see each other without an import in Go, Java and Elixir.
        return (
            self._files[path].language in {"go", "java", "elixir"}
            and self._files[path].language == self._files[target].language
        )

    def _targets(self, path: str, call: Call) -> list[Place]:
        """Return the definitions that *call* can mean; several only for overloads of one name."""
        name = _last(call.callee)
        visible = [
            place
            for place in self._by_name.get(name, ())
            if place.path == path or self._can_see(path, place.path)
        ]
        if not visible:
            return []
        receiver = call.callee[: -len(name)].rstrip(".:->?!&")
        if receiver in _SELF:
            here = [place for place in visible if place.path == path]
            return _one(_of_own_class(here, call) if receiver else here) or _one(visible)
        owner = _last(receiver)
        named = [place for place in visible if owner in _owners(place)]
        return _one(named) or _one([p for p in visible if p.symbol.kind == "method"])


def _is_inside(call: Call, symbol: Symbol) -> bool:
    return symbol.start_line <= call.line <= symbol.end_line


def _last(name: str) -> str:
    for separator in (".", "::", "->"):
        name = name.rpartition(separator)[2]
    return name


def _owners(place: Place) -> set[str]:
    """Return the names by which a caller may address what holds *place*."""
    stem = place.path.rpartition("/")[2].partition(".")[0]
    folder = place.path.rpartition("/")[0].rpartition("/")[2]
    return {_last(place.symbol.parent or ""), stem, folder} - {""}


def _of_own_class(places: list[Place], call: Call) -> list[Place]:
    own = (call.caller or "").rpartition(".")[0]
    return [place for place in places if own and place.symbol.parent == own] or places


def _one(places: list[Place]) -> list[Place]:
    """Return *places* if they are one definition, or overloads of it; else nothing."""
    names = {(place.path, place.symbol.qualified_name) for place in places}
    return places[:1] if len(names) == 1 else []
