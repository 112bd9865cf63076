"""C++, and C as far as its headers and sources parse as C++."""

from __future__ import annotations

import re

from tree_sitter import Node

from aiex.code.comments import doc_block_before, doc_lines_before
from aiex.code.languages.cpp_macros import without_macros
from aiex.code.scan import Handler, LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_OPERATOR = re.compile(r"\boperator\b")
_GENERICS = re.compile(r"<[^<>]*>")
_AROUND = frozenset({"template_declaration", "type_definition", "friend_declaration"})
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
    if parent is not None and parent.type in _AROUND:
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
    before, is_operator, name = _split_operator(plain)
    scope = before.removesuffix("::")
    if not is_operator:
        scope, _, name = plain.rpartition("::")
    if not name.strip():
        return
    if node.child_by_field_name("type") is None and name.isupper() and walk.function:
        return  # a macro with a block, such as a loop
    friend = _is_friend(node)
    in_class = not friend and _is_member(node)
    around = walk.around("namespace") if friend else walk.parent  # a friend is no member
    parts = [part for part in (around, *scope.split("::")) if part]
    of_type = in_class or (bool(scope) and ".".join(parts) not in walk.namespaces)
    kind: SymbolKind = "method" if of_type else "function"
    owner = scope.rpartition("::")[2] or (walk.parent or "").rpartition(".")[2]
    if kind == "method" and name == owner:
        kind = "constructor"
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
        is_global=not parts,
    )


def _is_member(node: Node) -> bool:
    above = node.parent
    while above is not None and (
        above.type == "template_declaration" or above.type.startswith("preproc_")
    ):
        above = above.parent
    return above is not None and above.type == "field_declaration_list"


def _is_friend(node: Node) -> bool:
    if node.parent is not None and node.parent.type == "friend_declaration":
        return True
    return any(
        child.start_byte < declarator.start_byte and text_of(child) == "friend"
        for declarator in node.children_by_field_name("declarator")
        for child in node.children
    )


def _split_operator(name: str) -> tuple[str, bool, str]:
    """Return what stands before the name of an operator, whether it is one, and that name."""
    match = _OPERATOR.search(name)
    if match is None:
        return "", False, ""
    written = re.sub(r"\s+", " ", name[match.start() :])
    return (
        name[: match.start()],
        True,
        re.sub(r'^operator (?=[^\w:])|(?<="") ', lambda m: m[0].strip(), written),
    )


def _without_generics(name: str) -> str:
    scope, found, operator = _split_operator(name)
    if found and scope.count("<") == scope.count(">"):
        return f"{_without_generics(scope)}{operator}"
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
        inner: Node | None = declarator
        while inner is not None and inner.type != "type_identifier":
            inner = inner.child_by_field_name("declarator") or next(
                (
                    child
                    for child in inner.named_children
                    if child.type.endswith(("declarator", "type_identifier"))
                ),
                None,
            )
        if inner is not None:
            walk.define(node, "type", text_of(inner), docstring=_doc(node), opens=False)


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
    function = node.child_by_field_name("function")
    if function is not None and function.type != "primitive_type":
        walk.called(node, function)


def _binary(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in {"&&", "||", "and", "or"}:
        walk.branch()


def _case(walk: Walk, node: Node) -> None:
    if node.child_by_field_name("value") is not None:
        walk.branch()


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
    prepare=without_macros,
)
