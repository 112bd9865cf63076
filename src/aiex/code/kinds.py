"""What kind of file a path names: code, a test, an example, prose, configuration."""

from __future__ import annotations

import re
from typing import Literal

from aiex.code.read import language_of

__all__ = ["FileKind", "kind_of"]

FileKind = Literal["code", "test", "example", "prose", "config", "generated"]

_TEST = re.compile(
    r"/(?:tests?|__tests__|specs?|testdata|test[_-]data|fixtures|e2e|testing|test[_-]helpers?"
    r"|test[_-]?support|(?:integration|runtime|unit)[_-]tests?|__snapshots__)/"
    r"|[._-](?:test|spec)s?\.[a-z]+$|/test_[^/]*$|/conftest\.py$"
    r"|/[^/]*[A-Za-z0-9](?:Test|Tests|Spec|TestCase|IT)\.(?:java|kt|scala|cs|swift)$"
    r"|/tests?\.(?:rs|py|go)$"
)
_EXAMPLE = re.compile(
    r"/(?:examples?|samples?|demos?|tutorials?|benchmarks?|bench|benches)/", re.IGNORECASE
)
_GENERATED = re.compile(
    r"/(?:dist|third_party|vendor|node_modules|priv/static|__generated__)/"
    r"|[.-]min\.(?:js|css)$|\.(?:bundle|cjs|umd|iife)\.js$|\.(?:lock|map|snap|sum)$"
    r"|(?:/|[-.])lock\.(?:json|yaml)$|_pb2(?:_grpc)?\.py$|\.pb\.(?:go|cc|h)$|\.svg$"
)
_DOCS = re.compile(r"/(?:docs?|website|documentation|man)/", re.IGNORECASE)
_PROSE = frozenset(
    {"adoc", "asciidoc", "html", "htm", "livemd", "markdown", "md", "mdx", "org", "rst", "tex"}
    | {"textile", "txt"}
)
_PROSE_NAMES = re.compile(
    r"/(?:readme|changelog|changes|history|licen[cs]e|copying|authors|contributors|notice|news)"
    r"[^/]*$",
    re.IGNORECASE,
)
_CODE = frozenset(
    {"astro", "clj", "cljs", "coffee", "cr", "cs", "css", "d", "dart", "eex", "elm", "erl", "f90"}
    | {"fs", "gql", "graphql", "groovy", "heex", "hrl", "hs", "jl", "kt", "kts", "leex", "less"}
    | {"lua", "m", "ml", "mli", "mm", "nim", "php", "pl", "pm", "prisma", "proto", "r", "rb"}
    | {"sass", "scala", "scss", "sol", "sql", "svelte", "swift", "thrift", "vb", "vue", "zig"}
)


def kind_of(path: str) -> FileKind:
    """Return what kind of file *path* (relative to its project) is, by its name alone.

    Example:
        >>> [kind_of(p) for p in ("src/a.py", "tests/test_a.py", "docs/a.md", "dist/a.min.js")]
        ['code', 'test', 'prose', 'generated']
    """
    full = f"/{path}"
    name = full.rpartition("/")[2]
    ending = name.rpartition(".")[2].lower()
    if _GENERATED.search(full):
        return "generated"
    if ending in _PROSE or _PROSE_NAMES.search(full):
        return "prose"
    is_code = ending in _CODE or language_of(path, b"") is not None
    if is_code and _TEST.search(full):
        return "test"
    if is_code and _EXAMPLE.search(full):
        return "example"
    if _DOCS.search(full):
        return "prose"
    return "code" if is_code else "config"
