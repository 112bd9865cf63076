"""The import graph in the languages of Mermaid and Graphviz. Pure.

Names of files are shown as text and used as nothing else: nodes are numbered, and what could end
a label or mean something in it is replaced by its character reference (Mermaid, which shows them)
or escaped (DOT, https://graphviz.org/doc/info/lang.html, read 2026-11-24).
"""

from __future__ import annotations

from aiex.core import GraphResult
from aiex.interfaces.cli.console import safe

__all__ = ["dot", "mermaid"]

_PLAIN = frozenset(" /._-")


def mermaid(result: GraphResult) -> str:
    """Return the graph as a Mermaid flow chart; deferred imports are dotted, cycles are red."""
    numbers = {node.path: number for number, node in enumerate(result.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  n{numbers[node.path]}["{_referenced(node.path)}"]' for node in result.nodes]
    for edge in result.edges:
        arrow = "-->" if edge.when == "eager" else "-.->"
        lines.append(f"  n{numbers[edge.source]} {arrow} n{numbers[edge.target]}")
    circular = [f"n{numbers[path]}" for group in result.cycles for path in group]
    if circular:
        lines.append("  classDef cycle stroke:#c00,stroke-width:2px")
        lines.append(f"  class {','.join(circular)} cycle")
    return "\n".join(lines) + "\n"


def dot(result: GraphResult) -> str:
    """Return the graph in DOT; deferred imports are dashed, cycles are red."""
    numbers = {node.path: number for number, node in enumerate(result.nodes)}
    circular = {path for group in result.cycles for path in group}
    lines = ["digraph imports {", "  rankdir=LR;", "  node [shape=box];"]
    for node in result.nodes:
        color = ", color=red" if node.path in circular else ""
        lines.append(f'  n{numbers[node.path]} [label="{_quoted(node.path)}"{color}];')
    for edge in result.edges:
        style = "" if edge.when == "eager" else " [style=dashed]"
        lines.append(f"  n{numbers[edge.source]} -> n{numbers[edge.target]}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _referenced(text: str) -> str:
    return "".join(
        char if char.isalnum() or char in _PLAIN else f"#{ord(char)};" for char in _one_line(text)
    )


def _quoted(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def _one_line(text: str) -> str:
    return safe(text.replace("\n", "\\n").replace("\t", "\\t"))
