"""Elixir, in which every definition is a call of a macro."""

from __future__ import annotations

import inspect

from tree_sitter import Node

from aiex.code.scan import LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_MODULES: dict[str, SymbolKind] = {
    "defmodule": "module",
    "defprotocol": "protocol",
    "defimpl": "implementation",
}
_FUNCTIONS: dict[str, SymbolKind] = {
    "def": "function",
    "defp": "function",
    "defdelegate": "function",
    "defmacro": "macro",
    "defmacrop": "macro",
    "defguard": "macro",
    "defguardp": "macro",
}
_STRUCTS = frozenset({"defstruct", "defexception"})
_IMPORTS = frozenset({"alias", "import", "use", "require"})
_BRANCHES = frozenset({"if", "unless", "for", "while"})
_NO_CALLS = frozenset({"quote", "unquote", "when", "do", "end", "moduledoc", "doc", "spec", "type"})


def _arguments(node: Node) -> list[Node]:
    holder = next((child for child in node.children if child.type == "arguments"), None)
    return [] if holder is None else list(holder.named_children)


def _call(walk: Walk, node: Node) -> None:
    target = node.child_by_field_name("target")
    if target is None:
        return
    name = text_of(target)
    if target.type == "identifier":
        if _is_in_attribute(node):
            return
        if name in _MODULES:
            _module(walk, node, name)
            return
        if name in _FUNCTIONS:
            _function(walk, node, name)
            return
        if name in _STRUCTS and walk.parent is not None:
            walk.define(node, "struct", walk.parent.rpartition(".")[2], opens=False)
            return
        if name in _IMPORTS and _arguments(node):
            _import(walk, node, name)
            return
        if name in _BRANCHES:
            walk.branch()
        if name in _NO_CALLS or _is_head(node):
            return
    walk.called(node, target)


def _is_in_attribute(node: Node) -> bool:
    """Say whether the call is the inside of `@spec`, `@type` and the like."""
    above = node.parent
    return above is not None and above.type == "unary_operator" and text_of(above)[:1] == "@"


def _is_head(node: Node) -> bool:
    """Say whether the call is the head `f(x)` of a definition, not a call of f."""
    above = node.parent
    if above is not None and above.type == "binary_operator":
        above = above.parent
    if above is None or above.type != "arguments" or above.parent is None:
        return False
    holder = text_of(above.parent.child_by_field_name("target"))
    return holder in _FUNCTIONS and above.named_children[0].start_byte == node.start_byte


def _body(node: Node) -> Node | None:
    return next((child for child in node.children if child.type == "do_block"), None)


def _module(walk: Walk, node: Node, macro: str) -> None:
    arguments = _arguments(node)
    if not arguments:
        return
    name = text_of(arguments[0])
    if macro == "defimpl":
        target = next(
            (text_of(a).partition("for:")[2].strip() for a in arguments if "for:" in text_of(a)), ""
        )
        name = f"{name}.{target}" if target else name
    walk.define(
        node,
        _MODULES[macro],
        name,
        body=_body(node),
        docstring=_attribute_text(walk, _body(node), "moduledoc"),
    )


def _function(walk: Walk, node: Node, macro: str) -> None:
    arguments = _arguments(node)
    if not arguments:
        return
    head = arguments[0]
    if head.type == "binary_operator" and text_of(head.child_by_field_name("operator")) == "when":
        head = head.child_by_field_name("left") or head
    name, count = _head(head)
    if not name:
        return
    walk.define(
        node,
        _FUNCTIONS[macro],
        name,
        body=_body(node),
        docstring=_doc_before(walk, node),
        parameters=count,
        is_public=not macro.endswith("p"),
    )


def _head(head: Node) -> tuple[str, int]:
    if head.type == "call":
        name = text_of(head.child_by_field_name("target"))
        # `def unquote(name)` defines what the quoted name says, so that is its name.
        return (text_of(head), 0) if name == "unquote" else (name, len(_arguments(head)))
    if head.type == "binary_operator":
        return text_of(head.child_by_field_name("operator")), 2
    if head.type == "unary_operator":
        return text_of(head.child_by_field_name("operator")), 1
    return text_of(head) if head.type == "identifier" else "", 0


def _attribute(node: Node) -> tuple[str, Node | None] | None:
    """Return the name and the value of `@name value`; `None` if *node* is no attribute."""
    if node.type != "unary_operator" or not text_of(node).startswith("@"):
        return None
    operand = node.child_by_field_name("operand")
    if operand is None or operand.type != "call":
        return (text_of(operand), None)
    arguments = _arguments(operand)
    return text_of(operand.child_by_field_name("target")), arguments[0] if arguments else None


def _attribute_text(walk: Walk, block: Node | None, wanted: str) -> str | None:
    for child in block.named_children if block is not None else ():
        found = _attribute(child)
        if found is not None and found[0] == wanted:
            return _text(walk, found[1])
    return None


def _doc_before(walk: Walk, node: Node) -> str | None:
    before = node.prev_named_sibling
    while before is not None:
        found = _attribute(before)
        if found is None and before.type != "comment":
            return None
        if found is not None and found[0] == "doc":
            return _text(walk, found[1])
        before = before.prev_named_sibling
    return None


def _text(walk: Walk, value: Node | None) -> str | None:
    """Note the documentation *value* and return it; `None` for `false` and the like."""
    if value is None or value.type not in {"string", "sigil"}:
        return None
    walk.documented(value)
    content = "".join(
        text_of(c) for c in value.named_children if c.type in {"quoted_content", "escape_sequence"}
    )
    return inspect.cleandoc(content).strip() or None


def _import(walk: Walk, node: Node, macro: str) -> None:
    target = _arguments(node)[0]
    base = text_of(target)
    if target.type == "dot" and "{" in base:
        prefix, _, rest = base.partition(".{")
        for name in rest.rstrip("} \n").split(","):
            walk.imported(node, f"{prefix}.{name.strip()}", names=[macro])
        return
    walk.imported(node, base, names=[macro])


def _stab(walk: Walk, node: Node) -> None:
    """Count every clause of case, cond, with and fn but the first of each."""
    before = node.prev_named_sibling
    if before is not None and before.type == "stab_clause":
        walk.branch()


def _operator(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in {"&&", "||", "and", "or"}:
        walk.branch()


TABLE = LanguageTable(
    handlers={"call": _call, "stab_clause": _stab, "binary_operator": _operator},
)
