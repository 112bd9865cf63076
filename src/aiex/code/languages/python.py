"""Python: definitions, imports, calls, and complexity as ruff's C901 counts it."""

from __future__ import annotations

import ast
import inspect
import warnings
from typing import Literal

from tree_sitter import Node

from aiex.code.scan import LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_PATTERNS = frozenset(
    {
        "pattern_list",
        "tuple_pattern",
        "list_pattern",
        "list_splat_pattern",
        "parenthesized_expression",
    }
)
_PLAIN = frozenset(
    {
        "assignment",
        "expression_statement",
        "block",
        "if_statement",
        "elif_clause",
        "else_clause",
        "try_statement",
        "except_clause",
        "except_group_clause",
        "finally_clause",
        "with_statement",
        "match_statement",
        "case_clause",
        "class_definition",
    }
)
"""What may stand between an assignment and the module or class that it belongs to."""


def _docstring(walk: Walk, body: Node | None) -> str | None:
    """Note the documentation at the head of *body*, and return it as `inspect.cleandoc` does."""
    if body is None:
        return None
    first = next((child for child in body.named_children if child.type != "comment"), None)
    if first is None or first.type != "expression_statement" or not first.named_children:
        return None
    string = first.named_children[0]
    if string.type not in {"string", "concatenated_string"} or first.named_child_count != 1:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text_of(string))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(value, str):
        return None
    walk.documented(string)
    return inspect.cleandoc(value)


def _outer(node: Node) -> Node:
    parent = node.parent
    return parent if parent is not None and parent.type == "decorated_definition" else node


def _module(walk: Walk, node: Node) -> None:
    walk.docstring = _docstring(walk, node)


def _class(walk: Walk, node: Node) -> None:
    name = text_of(node.child_by_field_name("name"))
    body = node.child_by_field_name("body")
    walk.define(
        node,
        "class",
        name,
        whole=_outer(node),
        body=body,
        docstring=_docstring(walk, body),
        is_public=not name.startswith("_"),
    )


def _function(walk: Walk, node: Node) -> None:
    name = text_of(node.child_by_field_name("name"))
    body = node.child_by_field_name("body")
    kind: SymbolKind = "method" if walk.parent_kind == "class" else "function"
    if kind == "method" and name == "__init__":
        kind = "constructor"
    parameters = node.child_by_field_name("parameters")
    count = sum(
        child.type not in {"comment", "keyword_separator", "positional_separator"}
        for child in (parameters.named_children if parameters is not None else ())
    )
    walk.define(
        node,
        kind,
        name,
        whole=_outer(node),
        body=body,
        docstring=_docstring(walk, body),
        parameters=count,
        is_public=not name.startswith("_") or (name.startswith("__") and name.endswith("__")),
    )


def _assignment(walk: Walk, node: Node) -> None:
    """Take names assigned in a module or a class, but not in its loops."""
    if walk.in_function:
        return
    statement = node
    above = node.parent
    while above is not None and above.type in _PLAIN:
        if above.type == "assignment":
            statement = above
        if above.type == "class_definition":
            break
        above = above.parent
    if above is None or above.type not in {"module", "class_definition"}:
        return
    in_class = walk.parent_kind == "class"
    for name in _targets(node.child_by_field_name("left")):
        kind: SymbolKind = "field" if in_class else "constant" if name.isupper() else "variable"
        walk.define(statement, kind, name, is_public=not name.startswith("_"), opens=False)


def _targets(left: Node | None) -> list[str]:
    """Return the names that an assignment binds."""
    if left is None:
        return []
    if left.type == "identifier":
        return [text_of(left)]
    if left.type in _PATTERNS:
        return [name for child in left.named_children for name in _targets(child)]
    return []


def _type_alias(walk: Walk, node: Node) -> None:
    left = node.child_by_field_name("left")
    name = text_of(left).partition("[")[0].strip()
    walk.define(node, "type", name, is_public=not name.startswith("_"), opens=False)


def _when(walk: Walk, node: Node) -> Literal["typing", "lazy"] | None:
    """Say whether an import stands under `if TYPE_CHECKING:`."""
    above = node.parent
    while above is not None and above.type != "module":
        if above.type == "if_statement":
            condition = text_of(above.child_by_field_name("condition"))
            if condition in {"TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING"}:
                consequence = above.child_by_field_name("consequence")
                if consequence is not None and (
                    consequence.start_byte <= node.start_byte < consequence.end_byte
                ):
                    return "typing"
        if above.type == "function_definition":
            return "lazy"
        above = above.parent
    return None


def _imported_name(node: Node) -> str:
    inner = node.child_by_field_name("name") if node.type == "aliased_import" else node
    return text_of(inner)


def _import(walk: Walk, node: Node) -> None:
    for name in node.children_by_field_name("name"):
        walk.imported(node, _imported_name(name), when=_when(walk, node))


def _import_from(walk: Walk, node: Node) -> None:
    module = node.child_by_field_name("module_name")
    written = text_of(module).replace(" ", "")
    target = written.lstrip(".")
    names = [_imported_name(name) for name in node.children_by_field_name("name")]
    if any(child.type == "wildcard_import" for child in node.children):
        names = ["*"]
    walk.imported(
        node, target, names=names, level=len(written) - len(target), when=_when(walk, node)
    )


def _future(walk: Walk, node: Node) -> None:
    names = [_imported_name(name) for name in node.children_by_field_name("name")]
    walk.imported(node, "__future__", names=names)


def _call(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("function"))


def _try(walk: Walk, node: Node) -> None:
    if any(child.type == "else_clause" for child in node.children):
        walk.branch()


def _match(walk: Walk, node: Node) -> None:
    """Count the cases; a last one that takes everything is no branch."""
    body = node.child_by_field_name("body")
    cases = [c for c in (body or node).children if c.type == "case_clause"]
    walk.branch(len(cases))
    if cases and _takes_everything(cases[-1]):
        walk.branch(-1)


def _takes_everything(case: Node) -> bool:
    patterns = [child for child in case.named_children if child.type == "case_pattern"]
    if case.child_by_field_name("guard") is not None or len(patterns) != 1:
        return False
    return text_of(patterns[0]).strip("() ").isidentifier()


TABLE = LanguageTable(
    handlers={
        "module": _module,
        "class_definition": _class,
        "function_definition": _function,
        "assignment": _assignment,
        "type_alias_statement": _type_alias,
        "import_statement": _import,
        "import_from_statement": _import_from,
        "future_import_statement": _future,
        "call": _call,
        "try_statement": _try,
        "match_statement": _match,
    },
    branches=frozenset(
        {
            "if_statement",
            "elif_clause",
            "for_statement",
            "while_statement",
            "except_clause",
            "except_group_clause",
        }
    ),
    adds_nested=True,
    ends_before_comments=True,
)
