"""Which file imports which, from the facts of all of them, and where that goes in circles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

import msgspec

from aiex.code.values import FileFacts, Import

__all__ = ["ImportGraph", "cycles", "import_graph"]

_JS = frozenset({"javascript", "typescript", "tsx"})
_JS_ENDINGS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".d.ts")


class ImportGraph(msgspec.Struct, frozen=True, kw_only=True):
    """Imports between the files of a project.

    Attributes:
        edges: For each file every file of the project that it imports, however it does.
        eager: Only the imports that run when the file is loaded: what cycles are made of.
        outside: For each file what it imports that is not in the project, as written.
    """

    edges: dict[str, frozenset[str]]
    eager: dict[str, frozenset[str]]
    outside: dict[str, tuple[str, ...]]


def import_graph(files: Mapping[str, FileFacts]) -> ImportGraph:
    """Return the imports between *files*.

    Python packages are found wherever they stand (`src/`, a folder of a monorepo); JavaScript
    and TypeScript by relative path; Go by the folder that an import path ends in; Rust by `mod`
    and `crate::`; Java and Elixir by the names that files define; C++ by quoted path.

    Args:
        files: Facts by path, relative to the root, with `/`.
    """
    finder = _Finder(files)
    edges: dict[str, frozenset[str]] = {}
    eager: dict[str, frozenset[str]] = {}
    outside: dict[str, tuple[str, ...]] = {}
    for path, facts in files.items():
        all_targets: set[str] = set()
        eager_targets: set[str] = set()
        unknown: dict[str, None] = {}
        for imported in facts.imports:
            found = finder.find(path, facts.language, imported) - {path}
            all_targets |= found
            if imported.when == "eager":
                eager_targets |= found
            if not found:
                unknown.setdefault("." * imported.level + imported.target)
        edges[path] = frozenset(all_targets)
        eager[path] = frozenset(eager_targets)
        outside[path] = tuple(unknown)
    return ImportGraph(edges=edges, eager=eager, outside=outside)


def cycles(edges: Mapping[str, AbstractSet[str]]) -> list[tuple[str, ...]]:
    """Return the groups of files that all reach each other, largest first, each sorted.

    Tarjan's strongly connected components, without recursion.

    Example:
        >>> cycles({"a": {"b"}, "b": {"a"}, "c": {"a"}})
        [('a', 'b')]
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: set[str] = set()
    stack: list[str] = []
    found: list[tuple[str, ...]] = []
    for root in edges:
        if root in index:
            continue
        work = [(root, iter(sorted(edges[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            target = next((t for t in targets if t in edges), None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = _pop_group(stack, on_stack, node)
                    if len(group) > 1:
                        found.append(tuple(sorted(group)))
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                on_stack.add(target)
                work.append((target, iter(sorted(edges[target]))))
            elif target in on_stack:
                low[node] = min(low[node], index[target])
    return sorted(found, key=lambda group: (-len(group), group))


def _pop_group(stack: list[str], on_stack: set[str], until: str) -> list[str]:
    group: list[str] = []
    while True:
        node = stack.pop()
        on_stack.discard(node)
        group.append(node)
        if node == until:
            return group


class _Finder:
    """Finds the files that an import means."""

    def __init__(self, files: Mapping[str, FileFacts]) -> None:
        self._paths = frozenset(files)
        self._python = _python_modules(p for p, f in files.items() if f.language == "python")
        self._names = _defined_names(files)
        self._folders: dict[str, list[str]] = {}
        for path, facts in files.items():
            if facts.language == "go" and not path.endswith("_test.go"):
                self._folders.setdefault(str(PurePosixPath(path).parent), []).append(path)

    def find(self, path: str, language: str, imported: Import) -> set[str]:
        if language == "python":
            return self._in_python(path, imported)
        if language in _JS:
            return self._in_javascript(path, imported)
        if language == "go":
            return self._in_go(imported)
        if language == "rust":
            return self._in_rust(path, imported)
        if language == "cpp":
            return self._in_cpp(path, imported)
        return self._by_name(language, imported)

    def _in_python(self, path: str, imported: Import) -> set[str]:
        base = imported.target
        if imported.level:
            package = list(PurePosixPath(path).parent.parts)
            package = (
                package[: len(package) - (imported.level - 1)] if imported.level > 1 else package
            )
            prefix = "/".join(package)
            return self._python_at(prefix, base, imported)
        targets: set[str] = set()
        for name in imported.names or ("",):
            dotted = f"{base}.{name}" if name else base
            found = self._python.get(dotted) or self._python.get(base)
            if found is not None:
                targets.add(_nearest(found, path))
        return targets

    def _python_at(self, folder: str, base: str, imported: Import) -> set[str]:
        below = "/".join(part for part in (folder, *base.split(".")) if part)
        targets: set[str] = set()
        for name in imported.names or ("",):
            for candidate in (f"{below}/{name}" if name else below, below):
                file = next(
                    (
                        p
                        for p in (f"{candidate}.py", f"{candidate}/__init__.py")
                        if p in self._paths
                    ),
                    None,
                )
                if file is not None:
                    targets.add(file)
                    break
        return targets

    def _in_javascript(self, path: str, imported: Import) -> set[str]:
        if not imported.target.startswith("."):
            return set()
        base = _join(str(PurePosixPath(path).parent), imported.target)
        stem = base.removesuffix(".js").removesuffix(".jsx").removesuffix(".mjs")
        candidates = [base, *(f"{b}{e}" for b in (base, stem) for e in _JS_ENDINGS)]
        candidates += [f"{base}/index{ending}" for ending in _JS_ENDINGS]
        return {next((c for c in candidates if c in self._paths), "")} - {""}

    def _in_go(self, imported: Import) -> set[str]:
        parts = imported.target.split("/")
        for start in range(len(parts)):
            folder = "/".join(parts[start:])
            if folder in self._folders and (start > 0 or "." not in parts[0]):
                return set(self._folders[folder])
        return set()

    def _in_rust(self, path: str, imported: Import) -> set[str]:
        here = PurePosixPath(path)
        own = here.parent if here.stem in {"mod", "lib", "main"} else here.parent / here.stem
        parts = imported.target.split("::")
        if imported.names == ("mod",):
            return self._rust_at(str(own), parts)
        if parts[0] == "crate":
            root = next((str(p) for p in here.parents if p.name == "src"), str(here.parent))
            return self._rust_at(root, parts[1:])
        if parts[0] == "self":
            return self._rust_at(str(own), parts[1:])
        if parts[0] == "super":
            return self._rust_at(str(own.parent), parts[1:])
        return self._rust_at(str(own), parts[:1])

    def _rust_at(self, folder: str, parts: Sequence[str]) -> set[str]:
        for length in range(len(parts), 0, -1):
            base = _join(folder, "/".join(parts[:length]))
            for candidate in (f"{base}.rs", f"{base}/mod.rs"):
                if candidate in self._paths:
                    return {candidate}
        return set()

    def _in_cpp(self, path: str, imported: Import) -> set[str]:
        if imported.names == ("system",):
            return set()
        beside = _join(str(PurePosixPath(path).parent), imported.target)
        if beside in self._paths:
            return {beside}
        ending = f"/{imported.target}"
        found = sorted(p for p in self._paths if p == imported.target or p.endswith(ending))
        return {_nearest(found, path)} if found else set()

    def _by_name(self, language: str, imported: Import) -> set[str]:
        name = imported.target
        names = self._names.get("java" if language == "java" else "elixir", {})
        if imported.names == ("*",) and language == "java":
            prefix = f"{name}."
            return {p for n, paths in names.items() if n.startswith(prefix) for p in paths}
        while name:
            if name in names:
                return set(names[name])
            if language != "java":
                return set()
            name = name.rpartition(".")[0]
        return set()


def _python_modules(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return the files of each module name, for every folder that could be on the import path."""
    known = set(paths)
    modules: dict[str, list[str]] = {}
    for path in known:
        parts = list(PurePosixPath(path).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        folders = list(PurePosixPath(path).parent.parts)
        # The path begins above the topmost package that holds the file, or higher, where a
        # package without __init__.py is around it or only a part of the project was read.
        start = len(folders)
        while start > 0 and "/".join([*folders[:start], "__init__.py"]) in known:
            start -= 1
        for begin in range(start + 1):
            if parts[begin:]:
                modules.setdefault(".".join(parts[begin:]), []).append(path)
    return modules


def _defined_names(files: Mapping[str, FileFacts]) -> dict[str, dict[str, list[str]]]:
    names: dict[str, dict[str, list[str]]] = {"java": {}, "elixir": {}}
    for path, facts in files.items():
        if facts.language == "java":
            folder = PurePosixPath(path).parent.parts
            stem = PurePosixPath(path).stem
            for start in range(len(folder) + 1):
                dotted = ".".join([*folder[start:], stem])
                names["java"].setdefault(dotted, []).append(path)
        elif facts.language == "elixir":
            for symbol in facts.symbols:
                if symbol.kind in {"module", "protocol"}:
                    names["elixir"].setdefault(symbol.qualified_name, []).append(path)
    return names


def _nearest(candidates: Sequence[str], path: str) -> str:
    """Return the candidate that shares the longest beginning with *path*."""

    def shared(candidate: str) -> int:
        return next((n for n, (a, b) in enumerate(zip(candidate, path, strict=False)) if a != b), 0)

    return min(candidates, key=lambda candidate: (-shared(candidate), len(candidate), candidate))


def _join(folder: str, relative: str) -> str:
    parts = [] if folder in {"", "."} else folder.split("/")
    for part in relative.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
