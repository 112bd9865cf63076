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

__all__ = ["Place", "Reference", "SymbolIndex", "names_called"]

_CALLABLE = frozenset({"function", "method", "constructor", "macro"})
_TYPES = frozenset(
    {"class", "struct", "record", "enum", "interface", "trait", "protocol", "module", "type"}
)
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_WHOLE = ""  # what an import takes that names nothing: the module itself
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
        self._taken = {
            path: frozenset(name for i in facts.imports for name in i.names or (_WHOLE,))
            for path, facts in files.items()
        }
        self._seen: dict[tuple[str, str, str], bool] = {}
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

    def other_calls(self, path: str, symbol: Symbol | None = None) -> Sequence[str]:
        """Return what else is called from *symbol* (or the whole file), as written, each once.

        These are calls of libraries and built-ins, and those whose definition cannot be told
        from the text alone.
        """
        return names_called(
            call
            for call in self._files[path].calls
            if (symbol is None or _is_inside(call, symbol)) and not self._targets(path, call)
        )

    def callers(self, path: str, symbols: Iterable[Symbol]) -> Sequence[Reference]:
        """Return the calls of *symbols* of *path*, other files first, in order of place.

        A call inside its own callee (recursion) does not count.
        """
        wanted = {symbol.name: symbol for symbol in symbols}
        found = [
            reference for other in self._files for reference in self._calls_of(other, path, wanted)
        ]
        return sorted(set(found), key=lambda ref: (ref.path == path, ref))

    def _calls_of(self, other: str, path: str, wanted: Mapping[str, Symbol]) -> Iterator[Reference]:
        ends = tuple(wanted)
        for call in self._files[other].calls:
            if not call.callee.endswith(ends):  # quickly past nearly all of them
                continue
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

    def _can_see(self, path: str, place: Place) -> bool:
        target = place.path
        if path == target or target in self._imports.get(path, ()):
            return True
        # Files of one folder see each other without an import in Go, Java and Elixir.
        if self._files[path].language in {"go", "java", "elixir"}:
            return self._files[path].language == self._files[target].language
        name = place.symbol.qualified_name.partition(".")[0]
        key = (path, target, name)
        if key not in self._seen:
            self._seen[key] = self._is_handed_on(path, target, name)
        return self._seen[key]

    def _is_handed_on(self, path: str, target: str, name: str) -> bool:
        """Return whether *path* gets *name* of *target* through files that import and offer it.

        Such as a package's `__init__.py`, or an `index.ts`.
        """
        if not self._taken[path] & {name, "*", _WHOLE}:
            return False
        waiting = list(self._imports.get(path, ()))
        known = {path, *waiting}
        while waiting:
            between = waiting.pop()
            if not self._taken.get(between, frozenset()) & {name, "*"}:
                continue
            targets = self._imports.get(between, frozenset())
            if target in targets:
                return True
            waiting += targets - known
            known |= targets
        return False

    def _targets(self, path: str, call: Call) -> list[Place]:
        """Return the definitions that *call* can mean; several only for overloads of one name."""
        name = _last(call.callee)
        visible = [place for place in self._by_name.get(name, ()) if self._can_see(path, place)]
        if not visible:
            return []
        receiver = call.callee[: -len(name)].rstrip(".:->?!&")
        if receiver in _SELF:
            here = [place for place in visible if place.path == path]
            return _one(_of_own_class(here, call) if receiver else here) or _one(visible)
        owner = _last(receiver)
        named = [place for place in visible if owner in _owners(place)]
        return _one(named) or _one([p for p in visible if p.symbol.kind == "method"])


def names_called(calls: Iterable[Call]) -> Sequence[str]:
    """Return what *calls* call, each once, without the arguments of the calls inside it.

    Example:
        >>> names_called([Call(callee='read("a.b").strip', line=1), Call(callee="len", line=2)])
        ['read().strip', 'len']
    """
    return list(dict.fromkeys(filter(None, (_without_arguments(c.callee) for c in calls))))


def _without_arguments(callee: str) -> str:
    """Return *callee* with empty brackets; `""` if it was cut inside of them."""
    kept: list[str] = []
    depth = 0
    for character in callee:
        depth -= character in _CLOSING
        if depth == 0:
            kept.append(character)
        depth += character in _OPENING
    return "" if depth else "".join(kept)


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
    """Return the one definition of *places*, the longest of its overloads; else nothing."""
    names = {(place.path, place.symbol.qualified_name) for place in places}
    if len(names) != 1:
        return []
    return [max(places, key=lambda p: p.symbol.end_line - p.symbol.start_line)]
