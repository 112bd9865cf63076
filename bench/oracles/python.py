"""Definitions, imports and calls of Python files, as the standard library's `ast` sees them.

Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import warnings
from pathlib import Path

Def = ast.FunctionDef | ast.AsyncFunctionDef
SPACE = re.compile(r"\s+")
TYPING = {"TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING"}


class Reader(ast.NodeVisitor):
    """What one file defines, imports and calls."""

    def __init__(self, source: bytes) -> None:
        self.lines = source.split(b"\n")
        self.symbols: list[list[object]] = []
        self.details: dict[str, object] = {}
        self.imports: list[list[object]] = []
        self.calls: list[list[object]] = []
        self.unplaced: list[int] = []
        self.scopes: list[tuple[str, str]] = []
        self.when = ["eager"]

    def qualified(self, name: str) -> str:
        return ".".join([*(scope for _, scope in self.scopes), name])

    def text(self, node: ast.expr) -> str:
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        rows = self.lines[first : last + 1]
        rows[-1] = rows[-1][: node.end_col_offset]
        rows[0] = rows[0][node.col_offset :]
        return b"\n".join(rows).decode("utf-8", "replace")

    def add(self, kind: str, name: str, node: ast.stmt, start: int | None = None) -> None:
        self.symbols.append([kind, self.qualified(name), start or node.lineno, node.end_lineno])

    def inside(self, kind: str, node: ast.ClassDef | Def) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
        self.add(kind, node.name, node, first)
        key = f"{self.qualified(node.name)}:{first}"
        detail: dict[str, object] = {"docstring": ast.get_docstring(node)}
        if not isinstance(node, ast.ClassDef):
            every = node.args
            count = len(every.posonlyargs) + len(every.args) + len(every.kwonlyargs)
            detail["parameters"] = count + bool(every.vararg) + bool(every.kwarg)
        self.details[key] = detail
        self.scopes.append((kind, node.name))
        self.when.append(self.when[-1] if kind == "class" else "lazy")
        for field, value in ast.iter_fields(node):
            if field != "decorator_list":
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        self.visit(child)
        self.scopes.pop()
        self.when.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.inside("class", node)

    def visit_FunctionDef(self, node: Def) -> None:
        in_class = bool(self.scopes) and self.scopes[-1][0] == "class"
        kind = "function"
        if in_class:
            kind = "constructor" if node.name == "__init__" else "method"
        self.inside(kind, node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def names(self, target: ast.expr) -> list[str]:
        if isinstance(target, ast.Name):
            return [target.id]
        if isinstance(target, ast.Tuple | ast.List):
            return [name for element in target.elts for name in self.names(element)]
        return self.names(target.value) if isinstance(target, ast.Starred) else []

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        in_class = bool(self.scopes) and self.scopes[-1][0] == "class"
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not self.looped and (in_class or not self.scopes):
            for target in targets:
                for name in self.names(target):
                    outside = "constant" if name.isupper() else "variable"
                    self.add("field" if in_class else outside, name, node)
        self.generic_visit(node)

    visit_AnnAssign = visit_Assign
    looped = 0

    def visit_For(self, node: ast.AST) -> None:
        self.looped += 1
        self.generic_visit(node)
        self.looped -= 1

    visit_AsyncFor = visit_While = visit_For

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        typing = ast.unparse(node.test) in TYPING and self.when[-1] != "lazy"
        self.when.append("typing" if typing else self.when[-1])
        for child in node.body:
            self.visit(child)
        self.when.pop()
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports.append([alias.name, [], 0, node.lineno, self.when[-1]])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = [alias.name for alias in node.names]
        self.imports.append([node.module or "", names, node.level, node.lineno, self.when[-1]])

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        # Until Python 3.12 the places of what stands inside are wrong.
        self.unplaced.extend(range(node.lineno, (node.end_lineno or node.lineno) + 1))

    def visit_Call(self, node: ast.Call) -> None:
        caller = None
        for depth, (kind, _) in enumerate(self.scopes):
            if kind != "class":
                caller = ".".join(name for _, name in self.scopes[: depth + 1])
        callee = SPACE.sub("", self.text(node.func)[:200])
        self.calls.append([callee, node.lineno, caller])
        self.generic_visit(node)


def read(path: str) -> dict[str, object]:
    source = Path(path).read_bytes()
    tree = ast.parse(source)
    reader = Reader(source)
    for child in tree.body:
        reader.visit(child)
    return {
        "symbols": reader.symbols,
        "details": reader.details,
        "imports": reader.imports,
        "calls": reader.calls,
        "unplaced": reader.unplaced,
        "docstring": ast.get_docstring(tree),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        path = line.rstrip("\n")
        try:
            found: dict[str, object] = read(path)
        except (SyntaxError, ValueError, RecursionError) as error:
            found = {"error": str(error)}
        print(json.dumps({"path": path, **found}))


if __name__ == "__main__":
    main()
