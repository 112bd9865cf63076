"""Which file imports which, from the facts of all of them, and where that goes in circles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import PurePosixPath

import msgspec

from aiex.code.values import FileFacts, Import

__all__ = ["ImportGraph", "cycles", "import_graph"]

_JS = frozenset({"javascript", "typescript", "tsx"})
_DEEPEST_NAME = 32  # a name of more parts is found only by its whole path
_MOST_PACKAGE_EDGES = 500_000
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
    and `crate::`; Java and Elixir by the names that files define; C++ by quoted path. Of several
    files that an import could mean it is the nearest: the one with which the importer shares most
    folders. The work grows with the size of *files*, whatever they are named. Where imports of
    whole packages (Go, `import x.*` in Java) would make over 500,000 edges, each further one
    means the package's first file.

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


class _Nearest:
    """The files of each name, and which of them is nearest to a path.

    For a name with several files the nearest below each folder is kept once it is asked for, so
    that every further look-up costs the depth of a path, however many files have the name.
    """

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}
        self._below: dict[str, dict[str, str]] = {}

    def add(self, name: str, path: str) -> None:
        self._files.setdefault(name, []).append(path)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def find(self, name: str, path: str) -> str:
        """Return the file called *name* that shares most folders with *path*.

        Then the shortest one, then the first in order.

        Raises:
            KeyError: There is none.
        """
        files = self._files[name]
        if len(files) == 1:
            return files[0]
        below = self._below.get(name)
        if below is None:
            below = self._below[name] = {}
            for file in sorted(files, key=lambda file: (len(file), file)):
                for folder in _folders_of(file):
                    below.setdefault(folder, file)
        return next(below[folder] for folder in _folders_of(path) if folder in below)


def _folders_of(path: str) -> Iterator[str]:
    """Yield the folders around *path*, innermost first, at last the root as `""`."""
    while path:
        path = path.rpartition("/")[0]
        yield path


class _Finder:
    """Finds the files that an import means."""

    def __init__(self, files: Mapping[str, FileFacts]) -> None:
        self._paths = frozenset(files)
        self._python = _python_modules(p for p, f in files.items() if f.language == "python")
        self._java, self._java_packages = _java_types(files)
        self._elixir = _elixir_modules(files)
        self._included = _included_files(files)
        self._edges_left = _MOST_PACKAGE_EDGES
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
        if language == "java":
            return self._in_java(path, imported)
        name = imported.target
        return {self._elixir.find(name, path)} if name in self._elixir else set()

    def _package(self, files: Sequence[str]) -> set[str]:
        if len(files) > self._edges_left:
            return set(files[:1])
        self._edges_left -= len(files)
        return set(files)

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
            if dotted in self._python:
                targets.add(self._python.find(dotted, path))
            elif base in self._python:
                targets.add(self._python.find(base, path))
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
                return self._package(self._folders[folder])
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
        if imported.target in self._included:
            return {self._included.find(imported.target, path)}
        return set()

    def _in_java(self, path: str, imported: Import) -> set[str]:
        name = imported.target
        if imported.names == ("*",) and name in self._java_packages:
            return self._package(self._java_packages[name])
        while name:
            if name in self._java:
                return {self._java.find(name, path)}
            name = name.rpartition(".")[0]
        return set()


def _python_modules(paths: Iterable[str]) -> _Nearest:
    """Return the files of each module name, for every folder that could be on the import path."""
    known = set(paths)
    modules = _Nearest()
    for path in known:
        *folders, name = path.split("/")
        stem = name.rpartition(".")[0] or name
        parts = folders if stem == "__init__" else [*folders, stem]
        # The path begins above the topmost package that holds the file, or higher, where a
        # package without __init__.py is around it or only a part of the project was read.
        start = len(folders)
        while start > 0 and "/".join([*folders[:start], "__init__.py"]) in known:
            start -= 1
        for begin in {0, *range(max(0, len(parts) - _DEEPEST_NAME), start + 1)}:
            if parts[begin:]:
                modules.add(".".join(parts[begin:]), path)
    return modules


def _included_files(files: Mapping[str, FileFacts]) -> _Nearest:
    """Return the files of each quoted path that some file includes."""
    wanted = {
        imported.target
        for facts in files.values()
        if facts.language == "cpp"
        for imported in facts.imports
    }
    found = _Nearest()
    for path in files if wanted else ():
        parts = path.split("/")
        for begin in {0, *range(max(0, len(parts) - _DEEPEST_NAME), len(parts))}:
            ending = "/".join(parts[begin:])
            if ending in wanted:
                found.add(ending, path)
    return found


def _java_types(files: Mapping[str, FileFacts]) -> tuple[_Nearest, dict[str, list[str]]]:
    """Return the files of each type's name, and those of each package."""
    types = _Nearest()
    packages: dict[str, list[str]] = {}
    for path, facts in files.items():
        if facts.language != "java":
            continue
        folder = PurePosixPath(path).parent.parts
        for begin in {0, *range(max(0, len(folder) - _DEEPEST_NAME), len(folder) + 1)}:
            package = ".".join(folder[begin:])
            packages.setdefault(package, []).append(path)
            types.add(".".join([*folder[begin:], PurePosixPath(path).stem]), path)
    return types, packages


def _elixir_modules(files: Mapping[str, FileFacts]) -> _Nearest:
    modules = _Nearest()
    for path, facts in files.items():
        if facts.language == "elixir":
            names = {s.qualified_name for s in facts.symbols if s.kind in {"module", "protocol"}}
            for name in names:
                modules.add(name, path)
    return modules


def _join(folder: str, relative: str) -> str:
    parts = [] if folder in {"", "."} else folder.split("/")
    for part in relative.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)
