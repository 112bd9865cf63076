"""Elixir's `mix.exs`, parsed and never evaluated, and `mix.lock`.

Source: hexdocs "Mix.Tasks.Deps" (read 2026-11-25): `{app, requirement}`, `{app, options}` and
`{app, requirement, options}` in the list that `deps:` of `project/0` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tree_sitter import Node, Parser

from aiex.code.manifests.lines import text_of
from aiex.code.manifests.values import Declared, Locked, Manifest, Note
from aiex.code.read import grammar_of

__all__ = ["MAX_MIX_BYTES", "read_mix_exs", "read_mix_lock"]

MAX_MIX_BYTES = 256 << 10
"""Largest `mix.exs` that is parsed, bytes; a real one has some thousand."""

_DEFINES = frozenset({"def", "defp"})
_EXACT = re.compile(r"(?:==\s*)?(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)")
_LOCKED = re.compile(
    r'\s*"([^"\\]+)":\s*\{:(hex|git|path)(?:,\s*:"?([A-Za-z0-9_@]+)"?,\s*"([^"]+)")?'
)
_MOST_NOTES = 20


def read_mix_exs(source: bytes) -> Manifest:
    """Return the dependencies of a `mix.exs`; what is computed there is noted.

    Raises:
        ValueError: It is not UTF-8, or too large.
    """
    if len(source) > MAX_MIX_BYTES:
        raise ValueError(f"it has {len(source)} bytes, over the {MAX_MIX_BYTES} that are parsed")
    text_of(source)
    tree = Parser(grammar_of("elixir")).parse(source)
    values = list(_values_of_deps(tree.root_node))
    names = {_word(value) for value in values if value.type in {"call", "identifier"}}
    bodies = [value for value in values if value.type not in {"call", "identifier"}]
    bodies += [body for name, body in _functions(tree.root_node) if name in (names or {"deps"})]
    declared: list[Declared] = []
    notes: list[Note] = []
    if tree.root_node.has_error:
        notes.append(Note(reason="it does not parse as Elixir everywhere"))
    for body in bodies:
        for entry in _entries(body):
            one = _declared(entry)
            if one is not None:
                declared.append(one)
            elif len(notes) < _MOST_NOTES:
                reason = "a part of the dependencies is computed, and nothing of a project is run"
                notes.append(Note(reason=reason, line=_line(entry)))
    return Manifest(declared=tuple(declared), notes=tuple(notes))


def _nodes(root: Node, kind: str) -> Iterator[Node]:
    """Yield the nodes of *kind* below *root*, by cursor, never by recursion."""
    cursor = root.walk()
    while True:
        node = cursor.node
        if node is not None and node.type == kind:
            yield node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def _values_of_deps(root: Node) -> Iterator[Node]:
    for key, value in _pairs(root):
        if key == "deps":
            yield value


def _pairs(root: Node) -> Iterator[tuple[str, Node]]:
    for pair in _nodes(root, "pair"):
        if len(pair.named_children) == 2:
            key, value = pair.named_children
            yield _text(key).strip().rstrip(":").strip('"'), value


def _functions(root: Node) -> Iterator[tuple[str, Node]]:
    """Yield name and body of each function."""
    for call in _nodes(root, "call"):
        target = call.child_by_field_name("target")
        if target is None or _text(target) not in _DEFINES:
            continue
        arguments = next((c for c in call.named_children if c.type == "arguments"), None)
        if arguments is None or not arguments.named_children:
            continue
        name = _word(arguments.named_children[0])
        block = next((c for c in call.named_children if c.type == "do_block"), None)
        if block is not None:
            for expression in block.named_children[-1:]:
                yield name, expression
        elif len(arguments.named_children) > 1 and arguments.named_children[-1].type == "keywords":
            for pair in arguments.named_children[-1].named_children:
                if pair.type == "pair" and _text(pair.named_children[0]).strip() == "do:":
                    yield name, pair.named_children[-1]


def _entries(body: Node) -> Iterator[Node]:
    """Yield what a list of dependencies holds; of lists that are joined, of each."""
    waiting = [body]
    while waiting:
        node = waiting.pop()
        if node.type == "comment":
            continue
        if node.type == "list":
            for child in node.named_children:
                if child.type == "keywords":
                    yield from (c for c in child.named_children if c.type == "pair")
                elif child.type != "comment":
                    yield child
        elif node.type == "binary_operator" and b"++" in _operator(node):
            waiting += reversed(node.named_children)
        else:
            yield node


def _operator(node: Node) -> bytes:
    operator = node.child_by_field_name("operator")
    return b"" if operator is None else operator.text or b""


def _declared(entry: Node) -> Declared | None:
    """Return an entry of the list; `None` if it is no plain one."""
    parts = entry.named_children
    if entry.type not in {"tuple", "pair"} or len(parts) < 2:
        return None
    name = _text(parts[0]).strip().strip(":").strip('"')
    if parts[0].type not in {"atom", "quoted_atom", "keyword", "quoted_keyword"}:
        return None
    rest = parts[1:]
    requirement = ""
    if rest[0].type == "string":
        if any(child.type != "quoted_content" for child in rest[0].named_children):
            return None  # it is put together when it runs
        requirement = _text(rest[0]).strip('"')
        rest = rest[1:]
    options = dict(pair for node in rest for pair in _pairs(node))
    if rest and not options:
        return None
    kinds = {"git": "git", "github": "git", "path": "path", "in_umbrella": "workspace"}
    source = next((kinds[key] for key in kinds if key in options), None)
    only = _text(options["only"]) if "only" in options else ""
    renamed = _text(options["hex"]).strip(':"') if "hex" in options else ""
    exact = _EXACT.fullmatch(requirement.strip())
    return Declared(
        ecosystem="hex",
        name=renamed or name,
        requirement=requirement,
        pin=exact[1] if exact is not None else None,
        group="dev" if only and ":prod" not in only else "main",
        is_dev=bool(only) and ":prod" not in only,
        source=source,
        line=_line(entry),
        end_line=entry.end_point[0] + 1,
    )


def _word(node: Node) -> str:
    """Return the name that a call or an identifier has."""
    return _text(node).partition("(")[0].strip()


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _line(node: Node) -> int:
    return int(node.start_point[0]) + 1


def read_mix_lock(source: bytes) -> Manifest:
    """Return the versions of a `mix.lock`, which has one package a line.

    Raises:
        ValueError: It is not UTF-8.
    """
    locked = []
    for number, line in enumerate(text_of(source).split("\n"), start=1):
        match = _LOCKED.match(line[:4096])
        if match is not None and match[2] == "hex" and match[3]:
            locked.append(Locked(ecosystem="hex", name=match[3], version=match[4], line=number))
    return Manifest(locked=tuple(locked))
