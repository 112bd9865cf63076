"""One walk over a syntax tree, in which a language's own table says what each node means.

The walk goes by cursor, never by recursion, so that nesting costs memory in the parser alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
from tree_sitter import Node, Tree

from aiex.code.values import Call, Import, Symbol, SymbolKind
from aiex.core import Span

__all__ = ["Handler", "LanguageTable", "Walk", "one_line", "text_of"]

_SPACE = re.compile(r"\s+")
_LONGEST_SIGNATURE = 400
_LONGEST_CALLEE = 200
_MOST_ERRORS = 20

Handler = Callable[["Walk", Node], None]
"""Says what a node means by calling the methods of the walk."""


class LanguageTable(msgspec.Struct, frozen=True, kw_only=True):
    """What the nodes of one grammar mean.

    Attributes:
        handlers: What to do at a node, by its type.
        branches: Types that add one to the complexity of the function around them.
        comments: Types of comments.
        opaque: Types whose inside is not walked, besides comments.
        adds_nested: Whether a function's complexity counts in the function around it, as C901
            does.
        ends_before_comments: Whether comments at the end of a definition stand after it, though
            the grammar puts them inside.
        prepare: Blanks out what the grammar cannot know, such as macros; every byte keeps its
            place.
    """

    handlers: Mapping[str, Handler]
    branches: frozenset[str] = frozenset()
    comments: frozenset[str] = frozenset({"comment"})
    opaque: frozenset[str] = frozenset()
    adds_nested: bool = False
    ends_before_comments: bool = False
    prepare: Callable[[bytes], bytes] | None = None


class _Scope:
    """A definition that the walk is inside of."""

    __slots__ = ("complexity", "depth", "index", "is_function", "name")

    def __init__(self, depth: int, index: int | None, name: str, *, is_function: bool) -> None:
        self.depth = depth
        self.index = index
        self.name = name
        self.is_function = is_function
        self.complexity = 1


class Walk:
    """What is found on the way through one file.

    Args:
        source: The file's bytes.
        table: What the nodes mean.
        reparse: Parses a byte range of the source by itself, places kept.

    Attributes:
        symbols: Definitions, in order of their start.
        imports: Imports, in order.
        calls: Calls, in order.
        comment_spans: Byte ranges of the comments.
        doc_spans: Byte ranges of documentation that is no comment.
        import_spans: Byte ranges of the imports; several of one statement share one.
        body_spans: Byte range of the body of a symbol, by its place in *symbols*.
        error_lines: First lines where the text does not parse, 1-based.
        namespaces: Qualified names of the namespaces that were opened.
        deepest: Levels of the syntax tree.
        reads_members: Whether the tree that is walked stands for members of a type.
    """

    def __init__(
        self, source: bytes, table: LanguageTable, reparse: Callable[[Node], Tree] | None = None
    ) -> None:
        self.source = source
        self.reparse = reparse
        self.symbols: list[Symbol] = []
        self.imports: list[Import] = []
        self.calls: list[Call] = []
        self.comment_spans: list[tuple[int, int]] = []
        self.doc_spans: list[tuple[int, int]] = []
        self.import_spans: list[tuple[int, int]] = []
        self.body_spans: dict[int, tuple[int, int]] = {}
        self.error_lines: list[int] = []
        self.namespaces: set[str] = set()
        self.docstring: str | None = None
        self.reads_members = False
        self.deepest = 0
        self._table = table
        self._depth = 0
        self._scopes: list[_Scope] = []

    def run_inside(self, tree: Tree) -> None:
        """Walk a tree that stands for the inside of the node that the walk is at."""
        self._depth += 1
        self.run(tree)
        self._depth -= 1

    def run(self, tree: Tree) -> None:
        """Walk the whole tree."""
        table = self._table
        handlers, branches, comments = table.handlers, table.branches, table.comments
        closed = table.opaque | comments
        has_error = tree.root_node.has_error
        cursor = tree.walk()
        while True:
            node = cursor.node
            if node is None:
                return
            kind = node.type
            if has_error and (node.is_error or node.is_missing):
                self._error(node)
            if kind in branches:
                self.branch()
            handler = handlers.get(kind)
            if handler is not None:
                handler(self, node)
            elif kind in comments:
                self.comment_spans.append((node.start_byte, node.end_byte))
            if kind not in closed and cursor.goto_first_child():
                self._depth += 1
                self.deepest = max(self.deepest, self._depth)
                continue
            while True:
                self._leave()
                if cursor.goto_next_sibling():
                    break
                if not cursor.goto_parent():
                    return
                self._depth -= 1

    def trim(self) -> None:
        """End definitions before the comments at their end."""
        if not self._table.ends_before_comments:
            return
        starts = {end: start for start, end in self.comment_spans}
        for at, symbol in enumerate(self.symbols):
            end = symbol.span.end
            while end in starts and starts[end] > symbol.span.start:
                end = symbol.span.start + len(self.source[symbol.span.start : starts[end]].rstrip())
            if end != symbol.span.end:
                lines = self.source.count(b"\n", end, symbol.span.end)
                self.symbols[at] = msgspec.structs.replace(
                    symbol,
                    span=Span(symbol.span.start, end),
                    end_line=symbol.end_line - lines,
                )

    def _error(self, node: Node) -> None:
        line = node.start_point[0] + 1
        if len(self.error_lines) < _MOST_ERRORS and line not in self.error_lines:
            self.error_lines.append(line)

    def _leave(self) -> None:
        """Close the scopes that end with the node that is left."""
        while self._scopes and self._scopes[-1].depth == self._depth:
            scope = self._scopes.pop()
            if not scope.is_function:
                if self._table.adds_nested and self._scopes:
                    self._scopes[-1].complexity += scope.complexity - 1
                continue
            if scope.index is not None:
                symbol = self.symbols[scope.index]
                self.symbols[scope.index] = msgspec.structs.replace(
                    symbol, complexity=scope.complexity
                )
            if self._table.adds_nested and self._scopes:
                self._scopes[-1].complexity += scope.complexity

    def branch(self, amount: int = 1) -> None:
        """Add to the complexity of the function that the walk is in."""
        if self._scopes:
            self._scopes[-1].complexity += amount

    @property
    def parent(self) -> str | None:
        """Qualified name of the definition that the walk is in."""
        return self._scopes[-1].name if self._scopes else None

    @property
    def parent_kind(self) -> SymbolKind | None:
        """Kind of the definition that the walk is in."""
        index = self._scopes[-1].index if self._scopes else None
        return self.symbols[index].kind if index is not None else None

    def around(self, kind: SymbolKind) -> str | None:
        """Return the qualified name of the innermost definition of *kind* around the walk."""
        for scope in reversed(self._scopes):
            if scope.index is not None and self.symbols[scope.index].kind == kind:
                return scope.name
        return None

    @property
    def function(self) -> str | None:
        """Qualified name of the innermost function that the walk is in."""
        return next((s.name for s in reversed(self._scopes) if s.is_function), None)

    @property
    def in_function(self) -> bool:
        """Whether the innermost definition that the walk is in is a function."""
        return bool(self._scopes) and self._scopes[-1].is_function

    def open(self, name: str) -> None:
        """Open a scope that is no symbol of its own, such as `impl Type`."""
        self._scopes.append(_Scope(self._depth, None, self._qualified(name), is_function=False))

    def open_function(self, name: str) -> None:
        """Open the scope of a function that is no symbol."""
        self._scopes.append(_Scope(self._depth, None, self._qualified(name), is_function=True))

    def _qualified(self, name: str) -> str:
        return f"{self.parent}.{name}" if self.parent else name

    def define(
        self,
        node: Node,
        kind: SymbolKind,
        name: str,
        *,
        whole: Node | None = None,
        start: Node | None = None,
        body: Node | None = None,
        docstring: str | None = None,
        parameters: int | None = None,
        is_public: bool = True,
        opens: bool = True,
        within: str | None = None,
        is_global: bool = False,
    ) -> None:
        """Add a symbol.

        Args:
            node: The definition.
            kind: What is defined.
            name: Its name.
            whole: Node with decorators and the like around it; `None` for *node*.
            start: First node of it, when that stands before *whole*.
            body: Where its signature ends; `None` to take all of it.
            docstring: Its documentation.
            parameters: Number of parameters, for functions.
            is_public: Whether it is visible outside.
            opens: Whether what is inside belongs to it.
            within: Scope that it belongs to when that is not where it stands (a Go method).
            is_global: Whether it belongs to no scope wherever it stands (a C++ macro).
        """
        outer = whole or node
        first = start or outer
        scope = None if is_global else within or self.parent
        qualified = f"{scope}.{name}" if scope else name
        end = _end_of_head(node, node.end_byte if body is None else body.start_byte)
        is_function = kind in {"function", "method", "constructor", "macro"}
        if kind == "namespace":
            self.namespaces.add(qualified)
        self.symbols.append(
            Symbol(
                name=name,
                qualified_name=qualified,
                kind=kind,
                span=Span(first.start_byte, outer.end_byte),
                start_line=first.start_point[0] + 1,
                end_line=outer.end_point[0] + 1 if outer.end_point[1] else outer.end_point[0],
                signature=one_line(self.source[node.start_byte : end]),
                docstring=docstring or None,
                parent=scope,
                complexity=1 if is_function else None,
                parameters=parameters,
                is_public=is_public,
            )
        )
        if body is not None:
            self.body_spans[len(self.symbols) - 1] = (body.start_byte, body.end_byte)
        if opens:
            index = len(self.symbols) - 1
            self._scopes.append(_Scope(self._depth, index, qualified, is_function=is_function))

    def imported(
        self,
        node: Node,
        target: str,
        *,
        names: Sequence[str] = (),
        level: int = 0,
        when: Literal["eager", "typing", "lazy"] | None = None,
    ) -> None:
        """Add an import; inside a function it is lazy unless said otherwise."""
        self.import_spans.append((node.start_byte, node.end_byte))
        self.imports.append(
            Import(
                target=target,
                line=node.start_point[0] + 1,
                names=tuple(names),
                level=level,
                when=when or ("lazy" if self.function else "eager"),
            )
        )

    def documented(self, node: Node) -> None:
        """Note that *node* is documentation, though it is no comment."""
        self.doc_spans.append((node.start_byte, node.end_byte))

    def called(self, node: Node, callee: Node | None, owner: Node | None = None) -> None:
        """Add a call of *callee*, which may belong to *owner*."""
        if callee is None:
            return
        name = _SPACE.sub("", text_of(callee)[:_LONGEST_CALLEE])
        if owner is not None:
            name = f"{_SPACE.sub('', text_of(owner))[-_LONGEST_CALLEE:]}.{name}"
        self.called_as(node, name)

    def called_as(self, node: Node, name: str) -> None:
        """Add a call of what is called *name* at *node*."""
        self.calls.append(Call(callee=name, line=node.start_point[0] + 1, caller=self.function))


def text_of(node: Node | None) -> str:
    """Return the source of *node* as text; `""` for none."""
    if node is None or node.text is None:
        return ""
    return node.text.decode("utf-8", "replace")


def _end_of_head(node: Node, end: int) -> int:
    """Return *end*, or where a comment begins that stands between a head and its body."""
    for child in node.children:
        if child.start_byte >= end:
            break
        if child.type.endswith("comment"):
            return child.start_byte
    return end


def one_line(source: bytes) -> str:
    """Return *source* on one line, without what only opens a body, at most 400 characters."""
    text = _SPACE.sub(" ", source[: 4 * _LONGEST_SIGNATURE].decode("utf-8", "replace")).strip()
    text = text.removesuffix("{").removesuffix(":").rstrip()
    return text if len(text) <= _LONGEST_SIGNATURE else f"{text[: _LONGEST_SIGNATURE - 1]}…"
