"""Pieces of files put together in one text for a model, with paths and line numbers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from aiex.context.select import Hit

__all__ = ["Packed", "Span", "pack"]

_NEAR = 3  # lines between two pieces that cost less than a new heading says

Count = Callable[[str], int]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a file.

    Attributes:
        path: File, relative to the root.
        start_line: First line, 1-based.
        end_line: Last line.
    """

    path: str
    start_line: int
    end_line: int


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """A text for a model.

    Attributes:
        text: The text: each file's best piece decides where the file stands, and its lines stand
            in their order.
        tokens: Its tokens.
        spans: What stands in it, in its order.
        left_out: How many pieces had no place.
    """

    text: str
    tokens: int
    spans: tuple[Span, ...]
    left_out: int


def pack(
    hits: Sequence[Hit], texts: Mapping[str, Sequence[str]], budget: int, count: Count
) -> Packed:
    """Return as many of *hits* as *budget* tokens hold, best first; a smaller one may still fit.

    Args:
        hits: Best first.
        texts: Lines of their files, by path; a hit whose file is missing counts as left out.
        budget: Tokens there are.
        count: Counts the tokens of a text.
    """
    taken: dict[str, list[tuple[int, int]]] = {}
    tokens = left_out = 0
    sizes: dict[str, int] = {}
    for hit in hits:
        lines = texts.get(hit.path)
        if lines is None or hit.start_line > len(lines):
            left_out += 1
            continue
        spans = _with(taken.get(hit.path, []), (hit.start_line, min(hit.end_line, len(lines))))
        size = count(_section(hit.path, lines, spans))
        grown = tokens - sizes.get(hit.path, 0) + size
        if grown > budget:
            left_out += 1
            continue
        taken[hit.path], sizes[hit.path], tokens = spans, size, grown
    sections = [_section(path, texts[path], spans) for path, spans in taken.items()]
    return Packed(
        text="\n".join(sections),
        tokens=tokens,
        spans=tuple(
            Span(path=path, start_line=first, end_line=last)
            for path, spans in taken.items()
            for first, last in spans
        ),
        left_out=left_out,
    )


def _with(spans: Sequence[tuple[int, int]], new: tuple[int, int]) -> list[tuple[int, int]]:
    """Return *spans* and *new* in order, those that touch or nearly do as one."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted([*spans, new]):
        if joined and first <= joined[-1][1] + 1 + _NEAR:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return joined


def _section(path: str, lines: Sequence[str], spans: Sequence[tuple[int, int]]) -> str:
    width = len(str(spans[-1][1]))
    parts = [f"{path}\n"]
    for number, (first, last) in enumerate(spans):
        if number:
            parts.append(f"{'':>{width}} ...\n")
        parts += [
            f"{line:>{width}} {lines[line - 1]}".rstrip() + "\n" for line in range(first, last + 1)
        ]
    return "".join(parts)
