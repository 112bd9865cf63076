"""Definitions of C++ files as libclang sees them.

Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
What the preprocessor leaves out (`dead`) and what only a macro's expansion defines (`ignored`) is
not to be compared. CPP_INCLUDE may name directories of headers, by `:`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

from clang import cindex  # type: ignore[import-not-found]

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


class Ranges(ctypes.Structure):
    """CXSourceRangeList."""

    _fields_ = [("count", ctypes.c_uint), ("ranges", ctypes.POINTER(cindex.SourceRange))]


LIB: Any = cindex.conf.lib
LIB.clang_getSkippedRanges.restype = ctypes.POINTER(Ranges)
LIB.clang_getSkippedRanges.argtypes = [cindex.TranslationUnit, ctypes.c_void_p]
LIB.clang_getSpellingLocation.argtypes = [cindex.SourceLocation] + [ctypes.c_void_p] * 4
LIB.clang_getExpansionLocation.argtypes = [cindex.SourceLocation] + [ctypes.c_void_p] * 4


def dead_lines(unit: Any, path: str) -> list[list[int]]:
    LIB.clang_getSkippedRanges.argtypes = [type(unit), ctypes.c_void_p]
    file = cindex.File.from_name(unit, path)
    found = LIB.clang_getSkippedRanges(unit, file).contents
    return [[found.ranges[at].start.line, found.ranges[at].end.line] for at in range(found.count)]


def offset(location: Any, function: Any) -> int:
    value = ctypes.c_uint()
    function(location, None, None, None, ctypes.byref(value))
    return value.value


class Reader:
    """What one file defines."""

    def __init__(self, source: bytes, path: str) -> None:
        self.source = source
        self.path = path
        self.symbols: list[list[Any]] = []
        self.ignored: list[list[Any]] = []

    def is_here(self, cursor: Any) -> bool:
        file = cursor.location.file
        return file is not None and file.name == self.path

    def written(self, cursor: Any) -> bool:
        """Say whether the name stands in the file, not in a macro."""
        start = cursor.location.offset
        name = cursor.spelling.partition("<")[0].encode() or b"{"
        if name.startswith((b"operator", b"~")):
            name = name[:1]
        return self.source[start : start + len(name)] == name

    def scope(self, cursor: Any) -> list[str]:
        names: list[str] = []
        parent = cursor.semantic_parent
        while parent is not None and parent.kind != K.TRANSLATION_UNIT:
            hidden = parent.kind == K.LINKAGE_SPEC or not parent.spelling
            if parent.kind == K.NAMESPACE and self.is_here(parent):
                hidden = hidden or not self.written(parent)
            if not hidden and "(" not in parent.spelling:
                names.insert(0, parent.spelling.partition("<")[0])
            parent = parent.semantic_parent
        return names

    def add(self, kind: str, name: str, cursor: Any) -> None:
        extent = cursor.extent
        qualified = ".".join([*self.scope(cursor), name])
        if not self.written(cursor):
            self.ignored.append([name, extent.start.line])
            return
        self.symbols.append([kind, qualified, extent.start.line, extent.end.line])

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
        if not name.startswith("operator"):
            name = name.partition("<")[0]
        kind = "method" if method else "function"
        if method and name == parent.spelling.partition("<")[0]:
            kind = "constructor"
        self.add(kind, name, cursor)

    def visit(self, cursor: Any) -> None:
        for child in cursor.get_children():
            if not self.is_here(child):
                continue
            if child.kind in FUNCTIONS:
                self.function(child)
            elif child.kind in TYPES:
                anonymous = not child.spelling or "(" in child.spelling
                if child.is_definition() and not anonymous:
                    self.add(self.keyword(child), child.spelling.partition("<")[0], child)
            elif child.kind == K.NAMESPACE and child.spelling:
                self.add("namespace", child.spelling, child)
            elif child.kind in ALIASES:
                self.add("type", child.spelling, child)
            elif child.kind == K.MACRO_DEFINITION:
                is_function = LIB.clang_Cursor_isMacroFunctionLike(child)
                self.add("macro" if is_function else "constant", child.spelling, child)
            if child.kind != K.TYPE_ALIAS_TEMPLATE_DECL:  # its child is the same alias again
                self.visit(child)

    def keyword(self, cursor: Any) -> str:
        """A template of a struct is a class to libclang."""
        if cursor.kind in {K.CLASS_TEMPLATE, K.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION}:
            words = [t.spelling for t in cursor.get_tokens()]
            depth = 0
            for at, word in enumerate(words):
                depth += word.count("<") - word.count(">") if word in {"<", ">", ">>"} else 0
                if depth == 0 and word in {"class", "struct", "union"} and at:
                    return str(word)
        return TYPES[cursor.kind]


def read(index: Any, path: str) -> dict[str, Any]:
    include = [f"-I{one}" for one in os.environ.get("CPP_INCLUDE", "").split(":") if one]
    unit = index.parse(
        path,
        args=["-x", "c++", "-std=c++20", "-ferror-limit=0", *include],
        options=cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD,
    )
    serious = [d for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
    if serious:
        return {"error": serious[0].spelling}
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
