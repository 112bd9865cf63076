"""C++, and C as far as its headers and sources parse as C++."""

from __future__ import annotations

import re

from tree_sitter import Node

from aiex.code.comments import doc_block_before, doc_lines_before
from aiex.code.scan import Handler, LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_GENERICS = re.compile(r"<[^<>]*>")
_NO_SPACE = re.compile(rb"[^\s]")
_EXPORT = re.compile(
    rb"(\b(?:class|struct|union)\s+)([A-Z][A-Z0-9_]+(?:\([^()\n]*\))?)"
    rb"(?=\s+(?!final\b)[A-Za-z_][\w:]*(?:<[^<>{};]*>)?\s*(?:final\s*)?(?::(?!:)|\{))"
)
"""`class NAME_EXPORT Name {`."""
_ALONE = re.compile(rb"(?m)(?<![\\,(=+|&])(?<=\n)[ \t]*[A-Z][A-Z0-9]*_[A-Z0-9_]*[ \t]*(?=\r?$)")
"""A line with nothing but `NAME_BEGIN_NAMESPACE`."""
_ATTRIBUTE = re.compile(
    rb"(?m)(^[ \t]*(?:template[^;{}()\n]*>[ \t]*|static |inline |constexpr |virtual |explicit )*)"
    rb"([A-Z][A-Z0-9]*_[A-Z0-9_]*)(?=[ \t]+[A-Za-z_~])"
)
"""`NAME_API void f()`; a line of a directive begins with `#`."""
_WRAPPERS = frozenset(
    {
        "pointer_declarator",
        "reference_declarator",
        "parenthesized_declarator",
        "attributed_declarator",
    }
)


def _whole(node: Node) -> Node:
    parent = node.parent
    if parent is not None and parent.type in {"template_declaration", "type_definition"}:
        return _whole(parent)
    return node


def _doc(node: Node) -> str | None:
    whole = _whole(node)
    return doc_block_before(whole) or doc_lines_before(whole, "///")


def _function_declarator(node: Node) -> Node | None:
    declarator = node.child_by_field_name("declarator")
    while declarator is not None and declarator.type != "function_declarator":
        inner = declarator.child_by_field_name("declarator")
        if inner is None and declarator.type in _WRAPPERS:
            inner = next(
                (c for c in declarator.named_children if c.type.endswith("declarator")), None
            )
        declarator = inner
    return declarator


def _function(walk: Walk, node: Node) -> None:
    declarator = _function_declarator(node)
    if declarator is None:
        operator = node.child_by_field_name("declarator")
        written = text_of(operator).partition("(")[0].strip()
        parameters = None
    else:
        written = text_of(declarator.child_by_field_name("declarator"))
        parameters = declarator.child_by_field_name("parameters")
    plain = _without_generics(written)
    scope, _, name = plain.rpartition("::")
    if not name.strip():
        return
    in_class = walk.parent_kind in {"class", "struct", "union"}
    kind: SymbolKind = "method" if in_class or scope else "function"
    owner = scope.rpartition("::")[2] or (walk.parent or "").rpartition(".")[2]
    if kind == "method" and name == owner:
        kind = "constructor"
    parts = [part for part in (walk.parent, *scope.split("::")) if part]
    walk.define(
        node,
        kind,
        name.strip(),
        whole=_whole(node),
        body=node.child_by_field_name("body"),
        docstring=_doc(node),
        parameters=_count(parameters),
        is_public=True,
        within=".".join(parts) or None,
    )


def _without_generics(name: str) -> str:
    if name.startswith("operator") or "::operator" in name:
        return re.sub(r"\s+", " ", name)
    previous = ""
    while previous != name:
        previous, name = name, _GENERICS.sub("", name)
    return re.sub(r"\s+", "", name)


def _count(parameters: Node | None) -> int:
    if parameters is None or text_of(parameters).replace(" ", "") == "(void)":
        return 0
    return sum(
        child.type.endswith("parameter_declaration") or child.type == "variadic_parameter"
        for child in parameters.named_children
    )


def _type(kind: SymbolKind) -> Handler:
    def add(walk: Walk, node: Node) -> None:
        body = node.child_by_field_name("body")
        name = _without_generics(text_of(node.child_by_field_name("name")))
        if body is None or not name:
            return
        scope, _, last = name.rpartition("::")
        parts = [part for part in (walk.parent, *scope.split("::")) if part]
        walk.define(
            node,
            kind,
            last,
            whole=_whole(node),
            body=body,
            docstring=_doc(node),
            within=".".join(parts) or None,
        )

    return add


def _namespace(walk: Walk, node: Node) -> None:
    name = text_of(node.child_by_field_name("name")).replace("::", ".")
    if name:
        walk.define(
            node, "namespace", name, body=node.child_by_field_name("body"), docstring=_doc(node)
        )


def _alias(walk: Walk, node: Node) -> None:
    walk.define(
        node,
        "type",
        text_of(node.child_by_field_name("name")),
        whole=_whole(node),
        docstring=_doc(node),
        opens=False,
    )


def _typedef(walk: Walk, node: Node) -> None:
    for declarator in node.children_by_field_name("declarator"):
        if declarator.type == "type_identifier":
            walk.define(node, "type", text_of(declarator), docstring=_doc(node), opens=False)


def _macro(walk: Walk, node: Node) -> None:
    kind: SymbolKind = "macro" if node.type == "preproc_function_def" else "constant"
    walk.define(
        node,
        kind,
        text_of(node.child_by_field_name("name")),
        body=node.child_by_field_name("value"),
        docstring=_doc(node),
        opens=False,
        is_global=True,
    )


def _include(walk: Walk, node: Node) -> None:
    written = text_of(node.child_by_field_name("path"))
    walk.imported(node, written.strip('"<>'), names=["system"] if written[:1] == "<" else ())


def _call(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("function"))


def _binary(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in {"&&", "||", "and", "or"}:
        walk.branch()


def _case(walk: Walk, node: Node) -> None:
    if node.child_by_field_name("value") is not None:
        walk.branch()


def _blank(match: re.Match[bytes]) -> bytes:
    return _NO_SPACE.sub(b" ", match[0])


def _blank_export(match: re.Match[bytes]) -> bytes:
    return match[1] + _NO_SPACE.sub(b" ", match[2])


def _prepare(source: bytes) -> bytes:
    """Blank out macros that stand where the grammar expects none."""
    source = _EXPORT.sub(_blank_export, source)
    source = _ALONE.sub(_blank, source)
    return _ATTRIBUTE.sub(_blank_export, source)


TABLE = LanguageTable(
    handlers={
        "function_definition": _function,
        "class_specifier": _type("class"),
        "struct_specifier": _type("struct"),
        "union_specifier": _type("union"),
        "enum_specifier": _type("enum"),
        "namespace_definition": _namespace,
        "alias_declaration": _alias,
        "type_definition": _typedef,
        "preproc_function_def": _macro,
        "preproc_def": _macro,
        "preproc_include": _include,
        "call_expression": _call,
        "binary_expression": _binary,
        "case_statement": _case,
    },
    branches=frozenset(
        {
            "if_statement",
            "for_statement",
            "for_range_loop",
            "while_statement",
            "do_statement",
            "catch_clause",
            "conditional_expression",
        }
    ),
    opaque=frozenset({"string_literal", "raw_string_literal"}),
    prepare=_prepare,
)
