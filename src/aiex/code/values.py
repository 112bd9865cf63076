"""What is known of one source file without a model: plain values, ready to be stored."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core import NotChecked, Span

__all__ = [
    "Call",
    "FileFacts",
    "Import",
    "Language",
    "LineCounts",
    "Symbol",
    "SymbolKind",
]

Language = Literal[
    "python", "elixir", "javascript", "typescript", "tsx", "go", "rust", "java", "cpp"
]
SymbolKind = Literal[
    "module",
    "namespace",
    "class",
    "interface",
    "protocol",
    "implementation",
    "struct",
    "record",
    "enum",
    "union",
    "trait",
    "type",
    "function",
    "method",
    "constructor",
    "macro",
    "constant",
    "variable",
    "field",
    "property",
    "annotation",
]


class Symbol(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named definition.

    Attributes:
        name: Name as written.
        qualified_name: Name with its scopes, joined by `.`; definitions of one name (overloads,
            conditional ones, clauses of different arity) share it and differ by span.
        kind: What is defined.
        span: Bytes of the definition, decorators and attached attributes included.
        start_line: First line of the span, 1-based.
        end_line: Last line of the span, 1-based.
        signature: The definition's head on one line, without its body.
        docstring: Its documentation, dedented, without markers; `None` without one.
        parent: Qualified name of the enclosing symbol; `None` at top level.
        complexity: Cyclomatic complexity (ruff's C901 for Python, the same idea elsewhere);
            `None` for what is no function.
        parameters: Number of parameters; `None` for what is no function.
        is_public: Whether the language, or its custom, makes the name visible outside.
    """

    name: str
    qualified_name: str
    kind: SymbolKind
    span: Span
    start_line: int
    end_line: int
    signature: str = ""
    docstring: str | None = None
    parent: str | None = None
    complexity: int | None = None
    parameters: int | None = None
    is_public: bool = True


class Import(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One import, use, require, alias or include.

    Attributes:
        target: What is imported as written: `os.path`, `./util`, `java.util.List`, `Foo.Bar`.
        names: Names taken out of it; empty when the whole is imported.
        level: Leading dots of a relative Python import; 0 elsewhere.
        line: Line, 1-based.
        when: `eager` at load, `typing` under TYPE_CHECKING or `import type`, `lazy` inside a
            function or by a dynamic import.
    """

    target: str
    line: int
    names: tuple[str, ...] = ()
    level: int = 0
    when: Literal["eager", "typing", "lazy"] = "eager"


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call in the source.

    Attributes:
        callee: What is called, as written without arguments and white space: `foo`, `self.bar`,
            `Mod.fun`.
        line: Line, 1-based.
        caller: Qualified name of the innermost function around it; `None` at top level.
    """

    callee: str
    line: int
    caller: str | None = None


class LineCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a file; a line with code and a comment counts as code.

    Attributes:
        total: All lines.
        code: Lines with code, doc strings included.
        comment: Lines with nothing but a comment.
        blank: Empty lines.
    """

    total: int
    code: int
    comment: int
    blank: int


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known of one file from its bytes.

    Attributes:
        language: Language that it was read as.
        lines: Line counts.
        symbols: Definitions in order of their start.
        imports: In order.
        calls: In order.
        docstring: Documentation of the file itself; `None` without one.
        is_generated: Whether a marker says that a program wrote it.
        error_lines: Lines where the text does not parse, 1-based, at most 20; empty if it does.
        depth: Levels of its syntax tree, which long chains and deep nesting both add to; 0 if it
            was not parsed.
        not_checked: What could not be read, and why.
        version: Version of this analysis; another version is another cache entry.
    """

    language: Language
    lines: LineCounts
    symbols: tuple[Symbol, ...] = ()
    imports: tuple[Import, ...] = ()
    calls: tuple[Call, ...] = ()
    docstring: str | None = None
    is_generated: bool = False
    error_lines: tuple[int, ...] = ()
    depth: int = 0
    not_checked: tuple[NotChecked, ...] = ()
    version: int = 1
