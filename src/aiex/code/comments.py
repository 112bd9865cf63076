"""Documentation that stands in comments before a definition."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from tree_sitter import Node

from aiex.code.scan import text_of

__all__ = ["doc_block_before", "doc_lines_before"]

_STAR = re.compile(r"^[ \t]*\*+[ \t]?", re.MULTILINE)
_COMMENTS = frozenset({"comment", "line_comment", "block_comment"})


def doc_block_before(node: Node) -> str | None:
    """Return the text of the `/** ... */` right before *node*, without its stars."""
    before = node.prev_sibling
    while before is not None and before.type in {"decorator", "attribute_item"}:
        before = before.prev_sibling
    if before is None or before.type not in _COMMENTS:
        return None
    text = text_of(before)
    if not text.startswith(("/**", "/*!")) or text == "/**/":
        return None
    if node.start_point[0] - before.end_point[0] > 1:
        return None
    inner = text[3:].removesuffix("*/").removesuffix("*")
    return inspect.cleandoc(_STAR.sub("", inner)).strip() or None


def doc_lines_before(
    node: Node, marker: str, *, skip: Callable[[Node], bool] = lambda _: False
) -> str | None:
    """Return the text of the comment lines right before *node* that begin with *marker*.

    Args:
        node: The definition.
        marker: Such as `///`.
        skip: Says which siblings may stand between, such as attributes.
    """
    lines: list[str] = []
    line = node.start_point[0]
    before = node.prev_sibling
    while before is not None:
        if skip(before):
            line = before.start_point[0]
            before = before.prev_sibling
            continue
        text = text_of(before).rstrip("\n")
        end = before.start_point[0] + text.count("\n")
        if before.type not in _COMMENTS or line - end != 1 or not text.startswith(marker):
            break
        lines.append(text.removeprefix(marker).removeprefix(" ").rstrip())
        line = before.start_point[0]
        before = before.prev_sibling
    return "\n".join(reversed(lines)).strip() or None
