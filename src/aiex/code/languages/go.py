"""Go."""

from __future__ import annotations

from tree_sitter import Node

from aiex.code.comments import doc_lines_before
from aiex.code.scan import LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_TYPES: dict[str, SymbolKind] = {"struct_type": "struct", "interface_type": "interface"}


def _is_public(name: str) -> bool:
    return name[:1].isupper()


def _count(node: Node) -> int:
    """Return the number of parameters; `a, b int` are two."""
    parameters = node.child_by_field_name("parameters")
    if parameters is None:
        return 0
    return sum(
        max(1, len(declaration.children_by_field_name("name")))
        for declaration in parameters.named_children
        if declaration.type in {"parameter_declaration", "variadic_parameter_declaration"}
    )


def _function(walk: Walk, node: Node) -> None:
    name = text_of(node.child_by_field_name("name"))
    if name == "_":
        walk.open_function(name)
        return
    walk.define(
        node,
        "function",
        name,
        body=node.child_by_field_name("body"),
        docstring=doc_lines_before(node, "//"),
        parameters=_count(node),
        is_public=_is_public(name),
    )


def _method(walk: Walk, node: Node) -> None:
    name = text_of(node.child_by_field_name("name"))
    walk.define(
        node,
        "method",
        name,
        body=node.child_by_field_name("body"),
        docstring=doc_lines_before(node, "//"),
        parameters=_count(node),
        is_public=_is_public(name),
        within=_receiver(node),
    )


def _receiver(node: Node) -> str | None:
    """Return the name of the receiver's type, without its star and type parameters."""
    receiver = node.child_by_field_name("receiver")
    if receiver is None or not receiver.named_children:
        return None
    written = text_of(receiver.named_children[0].child_by_field_name("type"))
    return written.lstrip("*( ").partition("[")[0].rstrip(") ") or None


def _documented(node: Node) -> str | None:
    holder = node.parent
    if holder is not None and holder.type in {"var_spec_list", "const_spec_list"}:
        holder = holder.parent
    own = doc_lines_before(node, "//")
    return own or (doc_lines_before(holder, "//") if holder is not None else None)


def _type(walk: Walk, node: Node) -> None:
    name = text_of(node.child_by_field_name("name"))
    if name == "_":
        return
    written = node.child_by_field_name("type")
    kind = _TYPES.get(written.type if written is not None else "", "type")
    walk.define(
        node,
        kind,
        name,
        whole=_alone(node),
        docstring=_documented(node),
        is_public=_is_public(name),
        opens=kind == "interface",
    )


def _alone(node: Node) -> Node:
    """Return `type T ...` for the `T ...` in it, unless brackets hold several."""
    above = node.parent
    if above is None or any(child.type == "(" for child in above.children):
        return node
    return above


def _interface_method(walk: Walk, node: Node) -> None:
    """Take a method of a named interface."""
    spec = node.parent.parent if node.parent is not None else None
    if spec is None or spec.type not in {"type_spec", "type_alias"}:
        return
    name = text_of(node.child_by_field_name("name"))
    walk.define(
        node,
        "method",
        name,
        docstring=doc_lines_before(node, "//"),
        parameters=_count(node),
        is_public=_is_public(name),
        opens=False,
    )


def _values(walk: Walk, node: Node) -> None:
    holder = node.parent
    if holder is not None and holder.type == "var_spec_list":
        holder = holder.parent
    if holder is None or holder.parent is None or holder.parent.type != "source_file":
        return
    kind: SymbolKind = "constant" if node.type == "const_spec" else "variable"
    for name in node.children_by_field_name("name"):
        if name.type == "identifier":
            written = text_of(name)
            if written == "_":
                continue
            walk.define(
                node,
                kind,
                written,
                docstring=_documented(node),
                is_public=_is_public(written),
                opens=False,
            )


def _import(walk: Walk, node: Node) -> None:
    walk.imported(node, text_of(node.child_by_field_name("path")).strip('"`'))


def _call(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("function"))


def _binary(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in {"&&", "||"}:
        walk.branch()


TABLE = LanguageTable(
    handlers={
        "function_declaration": _function,
        "method_declaration": _method,
        "method_elem": _interface_method,
        "type_spec": _type,
        "type_alias": _type,
        "const_spec": _values,
        "var_spec": _values,
        "import_spec": _import,
        "call_expression": _call,
        "binary_expression": _binary,
    },
    branches=frozenset(
        {
            "if_statement",
            "for_statement",
            "expression_case",
            "type_case",
            "communication_case",
        }
    ),
    opaque=frozenset({"interpreted_string_literal", "raw_string_literal"}),
)
