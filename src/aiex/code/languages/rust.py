"""Rust."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tree_sitter import Node

from aiex.code.comments import doc_block_before, doc_lines_before
from aiex.code.scan import Handler, LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_OWNERS = frozenset({"impl_item", "trait_item"})
_SPACE = re.compile(r"\s+")
_NAMES = frozenset({"identifier", "self", "super", "crate"})
_LONGEST_PATH = 19
_ITEMS = frozenset(
    {
        "function_item",
        "function_signature_item",
        "struct_item",
        "enum_item",
        "union_item",
        "trait_item",
        "type_item",
        "const_item",
        "static_item",
        "macro_definition",
        "mod_item",
        "impl_item",
        "foreign_mod_item",
        "use_declaration",
        "extern_crate_declaration",
        "macro_invocation",
    }
)
_BESIDES = frozenset(
    {
        "attribute_item",
        "inner_attribute_item",
        "line_comment",
        "block_comment",
        "empty_statement",
        "expression_statement",
    }
)


def _between(node: Node) -> bool:
    return node.type == "attribute_item"


def _add(walk: Walk, node: Node, kind: SymbolKind, *, opens: bool) -> None:
    name = text_of(node.child_by_field_name("name"))
    parameters = node.child_by_field_name("parameters")
    count = None
    if parameters is not None and kind in {"function", "method"}:
        count = sum(c.type in {"parameter", "self_parameter"} for c in parameters.named_children)
    walk.define(
        node,
        kind,
        name,
        start=_first_attribute(node),
        body=node.child_by_field_name("body"),
        docstring=doc_lines_before(node, "///", skip=_between) or doc_block_before(node),
        parameters=count,
        is_public=any(child.type == "visibility_modifier" for child in node.children)
        or walk.parent_kind == "trait",
        opens=opens,
    )


def _first_attribute(node: Node) -> Node | None:
    """Return the first attribute that is attached to *node*; `None` without one."""
    first = None
    before = node.prev_sibling
    while before is not None and before.type in {"attribute_item", "line_comment", "block_comment"}:
        if before.type == "attribute_item":
            first = before
        before = before.prev_sibling
    return first


def _function(walk: Walk, node: Node) -> None:
    above = node.parent.parent if node.parent is not None else None
    inside = above is not None and above.type in _OWNERS
    if above is None and node.parent is not None:
        inside = walk.reads_members  # of a macro that stands among them
    _add(walk, node, "method" if inside else "function", opens=node.type == "function_item")


def _kind(kind: SymbolKind, *, opens: bool = False) -> Handler:
    def add(walk: Walk, node: Node) -> None:
        _add(walk, node, kind, opens=opens)

    return add


def _impl(walk: Walk, node: Node) -> None:
    written = text_of(node.child_by_field_name("type"))
    walk.open(_without_generics(written))


def _without_generics(written: str) -> str:
    """Return the name of a type without `<...>`, its parts joined by dots."""
    kept = []
    depth = 0
    before = ""
    for letter in _SPACE.sub(" ", written):
        if letter == "<":
            depth += 1
        elif letter == ">" and before != "-" and depth:
            depth -= 1
        elif not depth:
            kept.append(letter)
        before = letter
    return "".join(kept).replace("::", ".").strip()


def _macro(walk: Walk, node: Node) -> None:
    _add(walk, node, "macro", opens=False)


def _constant(walk: Walk, node: Node) -> None:
    if walk.function is None:
        _add(walk, node, "constant", opens=False)


def _module(walk: Walk, node: Node) -> None:
    _add(walk, node, "module", opens=True)
    if node.child_by_field_name("body") is None:
        walk.imported(node, text_of(node.child_by_field_name("name")), names=["mod"])


def _use(walk: Walk, node: Node) -> None:
    """Take a use apart: `a::{b, c::d}` imports two things."""
    argument = node.child_by_field_name("argument")
    for path in _paths(argument, ""):
        walk.imported(node, path)


def _paths(node: Node | None, prefix: str) -> list[str]:
    if node is None:
        return []
    if node.type == "use_list":
        return [path for child in node.named_children for path in _paths(child, prefix)]
    if node.type == "scoped_use_list":
        inner = text_of(node.child_by_field_name("path"))
        longer = "::".join(part for part in (prefix, inner) if part)
        return _paths(node.child_by_field_name("list"), longer)
    if node.type == "use_as_clause":
        return _paths(node.child_by_field_name("path"), prefix)
    if node.type in {"line_comment", "block_comment"}:
        return []
    return ["::".join(part for part in (prefix, text_of(node)) if part)]


def _extern(walk: Walk, node: Node) -> None:
    walk.imported(node, text_of(node.child_by_field_name("name")))


def _call(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("function"))


def _invocation(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("macro"))
    if walk.function is not None and node.named_children[-1].type == "token_tree":
        _calls_in_tokens(walk, node.named_children[-1])
    if walk.function is None and walk.reparse is not None and _is_item(node):
        tokens = node.named_children[-1]
        if tokens.type == "token_tree":
            tree = walk.reparse(tokens)
            if _is_items(tree.root_node):
                before, walk.reads_members = walk.reads_members, _is_member(node)
                walk.run_inside(tree)
                walk.reads_members = before


def _calls_in_tokens(walk: Walk, tokens: Node) -> None:
    """Add what looks like a call in what a macro is given: a path and then round brackets."""
    found: list[tuple[Node, str]] = []
    todo = [tokens]
    while todo:
        children = todo.pop().children
        for at, child in enumerate(children):
            if child.type == "token_tree":
                todo.append(child)
                if walk.source[child.start_byte : child.start_byte + 1] == b"(":
                    found.append((child, _path_before(children, at)))
    for child, name in sorted(found, key=lambda one: one[0].start_byte):
        if name:
            walk.called_as(child, name)


def _path_before(tokens: Sequence[Node], end: int) -> str:
    """Return the path, such as `a::b` or `self.x.f`, that ends before the token at *end*."""
    start = end
    while start and end - start < _LONGEST_PATH:
        kind = tokens[start - 1].type
        wants_name = (end - start) % 2 == 0
        if wants_name != (kind in _NAMES) or (not wants_name and kind not in {"::", "."}):
            break
        start -= 1
    path = tokens[start:end]
    if path and path[0].type in {"::", "."}:  # of something that has no name
        path = path[1:]
    is_macro_or_definition = start and tokens[start - 1].type in {"fn", "!"}
    return "" if is_macro_or_definition else "".join(text_of(token) for token in path)


def _is_member(node: Node) -> bool:
    above = node.parent
    while above is not None and above.type in {"expression_statement", "declaration_list"}:
        above = above.parent
    return above is not None and above.type in _OWNERS


def _is_item(node: Node) -> bool:
    above = node.parent
    if above is not None and above.type == "expression_statement":
        above = above.parent
    return above is not None and above.type in {"source_file", "declaration_list"}


def _is_items(root: Node) -> bool:
    """Say whether what a macro was given is items, and nothing else."""
    kinds = [child.type for child in root.named_children]
    return (
        not root.has_error
        and all(kind in _ITEMS or kind in _BESIDES for kind in kinds)
        and any(kind in _ITEMS for kind in kinds)
    )


def _binary(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in {"&&", "||"}:
        walk.branch()


TABLE = LanguageTable(
    handlers={
        "function_item": _function,
        "function_signature_item": _function,
        "struct_item": _kind("struct"),
        "enum_item": _kind("enum"),
        "union_item": _kind("union"),
        "trait_item": _kind("trait", opens=True),
        "type_item": _kind("type"),
        "associated_type": _kind("type"),
        "const_item": _constant,
        "static_item": _constant,
        "macro_definition": _macro,
        "mod_item": _module,
        "impl_item": _impl,
        "use_declaration": _use,
        "extern_crate_declaration": _extern,
        "call_expression": _call,
        "macro_invocation": _invocation,
        "binary_expression": _binary,
    },
    branches=frozenset(
        {"if_expression", "while_expression", "for_expression", "loop_expression", "match_arm"}
    ),
    comments=frozenset({"line_comment", "block_comment"}),
    opaque=frozenset({"string_literal", "raw_string_literal", "token_tree"}),
)
