"""Java."""

from __future__ import annotations

from tree_sitter import Node

from aiex.code.comments import doc_block_before
from aiex.code.scan import Handler, LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_CALLABLE = frozenset({"method", "constructor"})


def _modifiers(node: Node) -> str:
    return text_of(next((child for child in node.children if child.type == "modifiers"), None))


def _define(kind: SymbolKind) -> Handler:
    def add(walk: Walk, node: Node) -> None:
        parameters = node.child_by_field_name("parameters")
        count = None
        if kind in _CALLABLE:
            count = sum(
                child.type in {"formal_parameter", "spread_parameter"}
                for child in (parameters.named_children if parameters is not None else ())
            )
        walk.define(
            node,
            kind,
            text_of(node.child_by_field_name("name")),
            body=node.child_by_field_name("body"),
            docstring=doc_block_before(node),
            parameters=count,
            is_public="public" in _modifiers(node).split()
            or walk.parent_kind in {"interface", "annotation"},
        )

    return add


def _field(walk: Walk, node: Node) -> None:
    body = node.parent
    owner = body.parent if body is not None else None
    if owner is not None and owner.type == "enum_body":
        owner = owner.parent
    if owner is None or not owner.type.endswith("_declaration"):
        return
    words = _modifiers(node).split()
    is_constant = {"static", "final"} <= set(words) or node.type == "constant_declaration"
    kind: SymbolKind = "constant" if is_constant else "field"
    for declarator in node.children_by_field_name("declarator"):
        walk.define(
            node,
            kind,
            text_of(declarator.child_by_field_name("name")),
            docstring=doc_block_before(node),
            is_public="public" in words or node.type == "constant_declaration",
            opens=False,
        )


def _import(walk: Walk, node: Node) -> None:
    written = text_of(node).removeprefix("import").strip().removesuffix(";").strip()
    is_static = written.startswith("static ")
    target = written.removeprefix("static ").replace(" ", "")
    if target.endswith(".*"):
        walk.imported(node, target.removesuffix(".*"), names=["*"])
    elif is_static:
        owner, _, name = target.rpartition(".")
        walk.imported(node, owner, names=[name])
    else:
        walk.imported(node, target)


def _call(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("name"), node.child_by_field_name("object"))


def _new(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("type"))


def _binary(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in {"&&", "||"}:
        walk.branch()


def _label(walk: Walk, node: Node) -> None:
    if text_of(node).startswith("case"):
        walk.branch()


TABLE = LanguageTable(
    handlers={
        "class_declaration": _define("class"),
        "interface_declaration": _define("interface"),
        "enum_declaration": _define("enum"),
        "record_declaration": _define("record"),
        "annotation_type_declaration": _define("annotation"),
        "method_declaration": _define("method"),
        "annotation_type_element_declaration": _define("method"),
        "constructor_declaration": _define("constructor"),
        "compact_constructor_declaration": _define("constructor"),
        "field_declaration": _field,
        "constant_declaration": _field,
        "import_declaration": _import,
        "method_invocation": _call,
        "object_creation_expression": _new,
        "binary_expression": _binary,
        "switch_label": _label,
    },
    branches=frozenset(
        {
            "if_statement",
            "for_statement",
            "enhanced_for_statement",
            "while_statement",
            "do_statement",
            "catch_clause",
            "ternary_expression",
        }
    ),
    comments=frozenset({"line_comment", "block_comment"}),
    opaque=frozenset({"string_literal"}),
)
