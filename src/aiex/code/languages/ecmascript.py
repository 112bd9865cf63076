"""JavaScript, TypeScript and TSX."""

from __future__ import annotations

import re

from tree_sitter import Node

from aiex.code.comments import doc_block_before
from aiex.code.scan import Handler, LanguageTable, Walk, text_of
from aiex.code.values import SymbolKind

__all__ = ["TABLE"]

_FUNCTION_VALUES = frozenset(
    {"arrow_function", "function_expression", "generator_function", "function"}
)
_OWNERS = frozenset(
    {"class_declaration", "abstract_class_declaration", "class", "interface_declaration"}
)
_PATH = re.compile(r"[\w$]+(?:\.[\w$]+)+")
_EXPORTS = re.compile(r"^(?:module\.exports|exports)\.")
_SIGNATURE = re.compile(
    rb"(?m)^([ \t]*)[ \t](?=<\s*(?:const\s+)?\w+(?:\s+extends\b|\s*[,>=])"
    rb"|\[\w+: *\w+\] *\??:|\[Symbol\.\w+\] *[(:<])"
)
"""A line that begins with a signature that has no name, or none that is written plainly."""
_HEAD = re.compile(rb"\b(?:class|function|type|interface)\s+[\w$]+\Z")
_FARTHEST = 4000
_LOGICAL = frozenset({"&&", "||", "??"})


def _exported(node: Node) -> Node:
    """Return the statement that a reader would take for the definition."""
    parent = node.parent
    if parent is not None and parent.type in {"export_statement", "ambient_declaration"}:
        return _exported(parent)
    return node


def _add(
    walk: Walk,
    node: Node,
    kind: SymbolKind,
    name: str,
    *,
    value: Node | None = None,
    opens: bool = True,
) -> None:
    function = value or node
    whole = _exported(node)
    parameters = function.child_by_field_name("parameters")
    single = function.child_by_field_name("parameter")
    count = None
    if kind in {"function", "method", "constructor"}:
        count = 1 if single is not None else _count(parameters)
    walk.define(
        node,
        kind,
        name,
        whole=whole,
        body=function.child_by_field_name("body"),
        docstring=doc_block_before(whole),
        parameters=count,
        is_public=not name.startswith(("#", "_")) and not _is_private(node),
        opens=opens,
    )


def _count(parameters: Node | None) -> int:
    if parameters is None:
        return 0
    return sum(child.type != "comment" for child in parameters.named_children)


def _is_private(node: Node) -> bool:
    return any(
        child.type == "accessibility_modifier" and text_of(child) == "private"
        for child in node.children
    )


def _name(node: Node) -> str:
    return text_of(node.child_by_field_name("name")).strip("'\"")


def _function(walk: Walk, node: Node) -> None:
    _add(walk, node, "function", _name(node) or "default")


def _signature(walk: Walk, node: Node) -> None:
    _add(walk, node, "function", _name(node), opens=False)


def _class(walk: Walk, node: Node) -> None:
    name = _name(node)
    if name or (node.parent is not None and node.parent.type == "export_statement"):
        _add(walk, node, "class", name or "default")


def _default(walk: Walk, node: Node) -> None:
    """Take `export default` of a function or a class without a declaration."""
    value = node.child_by_field_name("value")
    if value is None:
        return
    is_class = value.type == "class"
    if is_class or value.type in _FUNCTION_VALUES:
        kind: SymbolKind = "class" if is_class else "function"
        name = _name(value) or "default"
        _declare_value(walk, node, kind, name, value, doc_block_before(node))


def _method(walk: Walk, node: Node) -> None:
    if node.parent is not None and node.parent.type == "object":
        return
    name = _name(node)
    _add(walk, node, "constructor" if name == "constructor" else "method", name)


def _method_signature(walk: Walk, node: Node) -> None:
    holder = node.parent
    owner = holder.parent if holder is not None else None
    if owner is not None and owner.type in _OWNERS:
        name = _name(node)
        kind: SymbolKind = "constructor" if name == "constructor" else "method"
        _add(walk, node, kind, name, opens=False)


def _field(walk: Walk, node: Node) -> None:
    value = node.child_by_field_name("value")
    named = node.child_by_field_name("name") or node.child_by_field_name("property")
    name = text_of(named).strip("'\"")
    if value is not None and value.type in _FUNCTION_VALUES:
        _add(walk, node, "method", name, value=value)
    else:
        _add(walk, node, "field", name, opens=False)


def _declarator(walk: Walk, node: Node) -> None:
    name = node.child_by_field_name("name")
    value = node.child_by_field_name("value")
    if name is None or name.type != "identifier":
        return
    statement = node.parent
    if statement is None or statement.type not in {"lexical_declaration", "variable_declaration"}:
        return
    if value is not None and value.type in _FUNCTION_VALUES:
        _declare(walk, node, statement, "function", text_of(name), value)
    elif value is not None and value.type == "class":
        _declare(walk, node, statement, "class", text_of(name), value)
    elif walk.parent is None and _exported(statement).parent is not None:
        holder = _exported(statement).parent
        if holder is not None and holder.type == "program":
            kind: SymbolKind = "constant" if text_of(name).isupper() else "variable"
            _declare(walk, node, statement, kind, text_of(name), node)


def _declare(
    walk: Walk, node: Node, statement: Node, kind: SymbolKind, name: str, value: Node
) -> None:
    alone = sum(child.type == "variable_declarator" for child in statement.children) == 1
    whole = _exported(statement) if alone else node
    doc = doc_block_before(_exported(statement))
    _declare_value(walk, whole, kind, name, value, doc)


def _assignment(walk: Walk, node: Node) -> None:
    """Take `exports.f = function`, `A.prototype.f = ...` and `app.f = ...` outside of functions."""
    statement = node.parent
    left = node.child_by_field_name("left")
    value = node.child_by_field_name("right")
    if (
        statement is None
        or statement.type != "expression_statement"
        or left is None
        or left.type != "member_expression"
        or value is None
        or not (value.type == "class" or value.type in _FUNCTION_VALUES)
        or walk.function is not None
    ):
        return
    path = text_of(left)
    if not _PATH.fullmatch(path) or path.startswith("this."):
        return
    kind: SymbolKind = "method" if ".prototype." in path else "function"
    scope, _, name = _EXPORTS.sub("", path).replace(".prototype.", ".").rpartition(".")
    _declare_value(
        walk,
        statement,
        "class" if value.type == "class" else kind,
        name,
        value,
        doc_block_before(statement),
        scope,
    )


def _declare_value(
    walk: Walk,
    whole: Node,
    kind: SymbolKind,
    name: str,
    value: Node,
    docstring: str | None,
    scope: str = "",
) -> None:
    is_function = kind in {"function", "method"}
    opens = is_function or kind == "class"
    single = value.child_by_field_name("parameter")
    count = 1 if single is not None else _count(value.child_by_field_name("parameters"))
    walk.define(
        whole,
        kind,
        name,
        body=value.child_by_field_name("body") if opens else None,
        docstring=docstring,
        parameters=count if is_function else None,
        is_public=not name.startswith("_"),
        opens=opens,
        within=".".join(part for part in (walk.parent, scope) if part) or None,
    )


def _simple(kind: SymbolKind, *, opens: bool) -> Handler:
    def add(walk: Walk, node: Node) -> None:
        _add(walk, node, kind, _name(node), opens=opens)

    return add


def _namespace(walk: Walk, node: Node) -> None:
    if node.is_named:  # the keyword `module` has the same type
        _add(walk, node, "namespace", _name(node))


def _export(walk: Walk, node: Node) -> None:
    _default(walk, node)
    _import(walk, node)


def _import(walk: Walk, node: Node) -> None:
    source = node.child_by_field_name("source")
    if source is None:
        return
    is_type = any(child.type == "type" for child in node.children)
    names = [
        text_of(specifier.child_by_field_name("name"))
        for clause in node.named_children
        if clause.type in {"import_clause", "export_clause"}
        for part in [clause, *clause.named_children]
        for specifier in part.named_children
        if specifier.type in {"import_specifier", "export_specifier"}
    ]
    walk.imported(
        node, text_of(source).strip("'\"`"), names=names, when="typing" if is_type else None
    )


def _call(walk: Walk, node: Node) -> None:
    function = node.child_by_field_name("function")
    if function is None:
        return
    name = text_of(function)
    arguments = node.child_by_field_name("arguments")
    first = arguments.named_children[0] if arguments and arguments.named_children else None
    if name in {"require", "import"} and first is not None and first.type == "string":
        lazy = name == "import" or walk.function is not None
        walk.imported(node, text_of(first).strip("'\"`"), when="lazy" if lazy else "eager")
        return
    walk.called(node, function)


def _new(walk: Walk, node: Node) -> None:
    walk.called(node, node.child_by_field_name("constructor"))


def _binary(walk: Walk, node: Node) -> None:
    if text_of(node.child_by_field_name("operator")) in _LOGICAL:
        walk.branch()


def _prepare(source: bytes) -> bytes:
    """End signatures that only a line break ends: the grammar reads `T[K]` and `<K>()` as one."""

    def end(match: re.Match[bytes]) -> bytes:
        before = _code_before(source, match.start())
        ends = before[-1:].isalnum() or before[-1:] in b"])}>_'\"/`"
        if not before or not ends or before.endswith(b"=>") or _HEAD.search(before):
            return match[0]
        return match[1] + b";"

    return _SIGNATURE.sub(end, source)


def _code_before(source: bytes, end: int) -> bytes:
    """Return the end of what stands before *end*, without space and comments at its end."""
    before = source[max(0, end - _FARTHEST) : end].rstrip()
    while True:
        start = before.rfind(b"\n") + 1
        comment = before.rfind(b"/*") if before.endswith(b"*/") else -1
        if comment < 0 and before[start:].lstrip().startswith(b"//"):
            comment = start
        if comment < 0:
            comment = before.find(b" //", start)
        if comment < 0:
            return before[-100:]
        before = before[:comment].rstrip()


TABLE = LanguageTable(
    handlers={
        "function_declaration": _function,
        "generator_function_declaration": _function,
        "function_signature": _signature,
        "class_declaration": _class,
        "abstract_class_declaration": _class,
        "method_definition": _method,
        "method_signature": _method_signature,
        "abstract_method_signature": _method_signature,
        "public_field_definition": _field,
        "field_definition": _field,
        "variable_declarator": _declarator,
        "interface_declaration": _simple("interface", opens=True),
        "type_alias_declaration": _simple("type", opens=False),
        "enum_declaration": _simple("enum", opens=True),
        "internal_module": _namespace,
        "module": _namespace,
        "import_statement": _import,
        "export_statement": _export,
        "assignment_expression": _assignment,
        "call_expression": _call,
        "new_expression": _new,
        "binary_expression": _binary,
    },
    branches=frozenset(
        {
            "if_statement",
            "for_statement",
            "for_in_statement",
            "while_statement",
            "do_statement",
            "switch_case",
            "catch_clause",
            "ternary_expression",
        }
    ),
    opaque=frozenset({"regex", "string"}),
    prepare=_prepare,
)
