"""Definitions of C++ files as libclang sees them.

Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
What the preprocessor leaves out (`dead`) and what only a macro's expansion defines (`ignored`) is
not to be compared. A header that is missing is passed over; a file that does not
compile for it, or for anything else, is left out. CPP_INCLUDE may name directories of headers, by
`:`, and CPP_FLAGS what else the compiler is given.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import sys
from typing import Any

from clang import cindex  # type: ignore[import-untyped]

K = cindex.CursorKind
FUNCTIONS = {
    K.FUNCTION_DECL,
    K.FUNCTION_TEMPLATE,
    K.CXX_METHOD,
    K.CONSTRUCTOR,
    K.DESTRUCTOR,
    K.CONVERSION_FUNCTION,
}
TYPES = {
    K.CLASS_DECL: "class",
    K.CLASS_TEMPLATE: "class",
    K.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION: "class",
    K.STRUCT_DECL: "struct",
    K.UNION_DECL: "union",
    K.ENUM_DECL: "enum",
}
ALIASES = {K.TYPE_ALIAS_DECL, K.TYPEDEF_DECL, K.TYPE_ALIAS_TEMPLATE_DECL}
OWNERS = {K.CLASS_DECL, K.CLASS_TEMPLATE, K.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION}
OWNERS |= {K.STRUCT_DECL, K.UNION_DECL}
KEEP_GOING = 0x200  # after a header that is missing


_WORD = re.compile(rb"\w+")
_OPERATOR = re.compile(rb"operator\s[^(]*[^(\s]")
_IS_OPERATOR = re.compile(r"operator\W")
_ANONYMOUS = re.compile(r"\((?:anonymous|unnamed|lambda)")
_IN_FRONT = re.compile(rb"[A-Z][A-Z0-9_]{2,}\b(?:\((?:[^()]|\([^()]*\))*\))?(?:\s+|//[^\n]*\n)+")
_MISSING = "file not found"


class Ranges(ctypes.Structure):
    """CXSourceRangeList."""

    _fields_ = [("count", ctypes.c_uint), ("ranges", ctypes.POINTER(cindex.SourceRange))]


LIB: Any = cindex.conf.lib
LIB.clang_getSkippedRanges.restype = ctypes.POINTER(Ranges)
LIB.clang_getSkippedRanges.argtypes = [cindex.TranslationUnit, ctypes.c_void_p]


def dead_lines(unit: Any, path: str) -> list[list[int]]:
    LIB.clang_getSkippedRanges.argtypes = [type(unit), ctypes.c_void_p]
    file = cindex.File.from_name(unit, path)
    found = LIB.clang_getSkippedRanges(unit, file).contents
    return [[found.ranges[at].start.line, found.ranges[at].end.line] for at in range(found.count)]


class Reader:
    """What one file defines."""

    def __init__(self, source: bytes, path: str) -> None:
        self.source = source
        self.path = path
        self.symbols: list[list[Any]] = []
        self.ignored: list[list[Any]] = []
        self.namespaces: list[Any] = []
        self.others: dict[str, bytes] = {}
        self.seen: set[tuple[str, int, int]] = set()

    def is_here(self, cursor: Any) -> bool:
        file = cursor.location.file
        return file is not None and file.name == self.path

    def written(self, cursor: Any) -> bool:
        """Say whether the name stands in its file, not in a macro."""
        start = cursor.location.offset
        name = cursor.spelling.partition("<")[0].encode() or b"{"
        if name.startswith((b"operator", b"~")):
            name = name[:1]
        return self.text(cursor)[start : start + len(name)] == name

    def text(self, cursor: Any) -> bytes:
        """Return the file in which *cursor* stands."""
        file = cursor.location.file
        if file is None or file.name == self.path:
            return self.source
        if file.name not in self.others:
            with open(file.name, "rb") as other:  # noqa: PTH123
                self.others[file.name] = other.read()
        return self.others[file.name]

    def scope(self, cursor: Any) -> list[str]:
        """Return the names around *cursor*: namespaces as they are opened where it stands."""
        around = [one.get_usr() for one in self.namespaces]
        names: list[str] = []
        parent = cursor.semantic_parent
        while parent is not None and parent.kind != K.TRANSLATION_UNIT:
            if parent.kind == K.NAMESPACE and parent.get_usr() in around:
                outer = self.namespaces[: around.index(parent.get_usr()) + 1]
                return [one.spelling for one in outer if self.is_named(one)] + names
            if self.is_named(parent):
                names.insert(0, parent.spelling.partition("<")[0])
            elif parent.kind in FUNCTIONS and self.is_here(parent):
                names.insert(0, self.macro(parent))
            parent = parent.semantic_parent
        return names

    def is_named(self, scope: Any) -> bool:
        if scope.kind == K.LINKAGE_SPEC or not scope.spelling:
            return False
        return not _ANONYMOUS.search(scope.spelling) and self.written(scope)

    def add(self, kind: str, name: str, cursor: Any) -> None:
        extent = cursor.extent
        qualified = ".".join([*self.scope(cursor), name])
        if not self.written(cursor):
            self.ignored += [[one, extent.start.line] for one in (name, self.macro(cursor))]
            return
        self.symbols.append([kind, qualified, self.first_line(cursor), extent.end.line])

    def first_line(self, cursor: Any) -> int:
        """Return where a definition begins: after macros in front, which may be empty or not."""
        start = cursor.extent.start
        at, match = start.offset, _IN_FRONT.match(self.source, start.offset)
        while match is not None and match.end() <= cursor.location.offset:
            at = match.end()
            match = _IN_FRONT.match(self.source, at)
        return int(start.line) + self.source.count(b"\n", start.offset, at)

    def macro(self, cursor: Any) -> str:
        """Return the name of the macro that makes *cursor*."""
        word = _WORD.match(self.source, cursor.extent.start.offset)
        return word[0].decode() if word else ""

    def operator(self, cursor: Any) -> str:
        """Return the name of an operator as it is written: what it converts to may be an alias."""
        text = self.source[cursor.location.offset : cursor.extent.end.offset]
        match = _OPERATOR.match(text)
        return " ".join(match[0].decode().split()) if match else str(cursor.spelling)

    def ending(self, cursor: Any) -> str:
        written = self.source[cursor.extent.start.offset : cursor.extent.end.offset]
        last: bytes = written.rpartition(b"=")[2].strip()
        return str(last.decode("utf-8", "replace"))

    def function(self, cursor: Any) -> None:
        if not (cursor.is_definition() or self.ending(cursor) in {"delete", "default"}):
            return
        parent = cursor.semantic_parent
        method = parent is not None and parent.kind in OWNERS
        name = cursor.spelling
        if cursor.kind == K.CONVERSION_FUNCTION or name.startswith("operator "):
            name = self.operator(cursor)
        elif not _IS_OPERATOR.match(name):
            name = name.partition("<")[0]
        kind = "method" if method else "function"
        if method and name == parent.spelling.partition("<")[0]:
            kind = "constructor"
        self.add(kind, name, cursor)

    def visit(self, cursor: Any) -> None:
        for child in cursor.get_children():
            if not self.is_here(child) or self.is_again(child):
                continue
            if child.kind in FUNCTIONS:
                self.function(child)
            elif child.kind in TYPES:
                anonymous = not child.spelling or _ANONYMOUS.search(child.spelling)
                if child.is_definition() and not anonymous:
                    self.add(self.keyword(child), child.spelling.partition("<")[0], child)
            elif child.kind == K.NAMESPACE and self.names(child):
                self.add("namespace", child.spelling, child)
            elif child.kind in ALIASES:
                self.add("type", child.spelling, child)
            elif child.kind == K.MACRO_DEFINITION:
                end = child.location.offset + len(child.spelling.encode())
                is_function = self.source[end : end + 1] == b"("
                self.add("macro" if is_function else "constant", child.spelling, child)
            if child.kind != K.TYPE_ALIAS_TEMPLATE_DECL:  # its child is the same alias again
                self.namespaces += [child] * (child.kind == K.NAMESPACE)
                self.visit(child)
                del self.namespaces[len(self.namespaces) - (child.kind == K.NAMESPACE) :]

    def is_again(self, cursor: Any) -> bool:
        """Say whether a type was seen: one that declares variables is a child of each."""
        if cursor.kind not in TYPES:
            return False
        key = (str(cursor.kind), cursor.extent.start.offset, cursor.extent.end.offset)
        if key in self.seen:
            return True
        self.seen.add(key)
        return False

    def names(self, namespace: Any) -> bool:
        """Say whether a namespace is one to list: the `a` of `a::b` is not."""
        after = namespace.location.offset + len(namespace.spelling.encode())
        rest = self.source[after : after + 100].lstrip()
        return bool(namespace.spelling) and not rest.startswith(b"::")

    def keyword(self, cursor: Any) -> str:
        """A template of a struct is a class to libclang."""
        if cursor.kind in {K.CLASS_TEMPLATE, K.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION}:
            words = [t.spelling for t in cursor.get_tokens()]
            depth = 0
            for at, word in enumerate(words):
                if word in {"(", ")"}:
                    depth += 100 if word == "(" else -100
                elif word in {"<", ">", ">>"} and depth < 100:
                    depth += word.count("<") - word.count(">")
                if depth == 0 and word in {"class", "struct", "union"} and at:
                    return str(word)
        return TYPES[cursor.kind]


def read(index: Any, path: str) -> dict[str, Any]:
    include = [f"-I{one}" for one in os.environ.get("CPP_INCLUDE", "").split(":") if one]
    flags = shlex.split(os.environ.get("CPP_FLAGS", "-std=c++20"))
    unit = index.parse(
        path,
        args=["-x", "c++", "-ferror-limit=0", *include, *flags],
        options=cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD
        | cindex.TranslationUnit.PARSE_INCOMPLETE
        | KEEP_GOING,
    )
    for problem in unit.diagnostics:
        file = problem.location.file
        if problem.severity < cindex.Diagnostic.Error or _MISSING in problem.spelling:
            continue
        if file is None or file.name == path:
            return {"error": f"{problem.location.line}: {problem.spelling}"}
    with open(path, "rb") as file:  # noqa: PTH123
        reader = Reader(file.read(), path)
    reader.visit(unit.cursor)
    return {
        "symbols": reader.symbols,
        "ignored": reader.ignored,
        "dead": dead_lines(unit, path),
    }


def main() -> None:
    index = cindex.Index.create()
    for line in sys.stdin:
        path = line.rstrip("\n")
        try:
            found = read(index, path)
        except (cindex.TranslationUnitLoadError, OSError) as error:
            found = {"error": str(error)}
        print(json.dumps({"path": path, **found}), flush=True)


if __name__ == "__main__":
    main()
