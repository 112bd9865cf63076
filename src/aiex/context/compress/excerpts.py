"""Cutting a text that is no code: its beginning and its end, with every fence closed."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["closed", "closing_fences", "excerpt", "lines_of", "said_of_lines"]

_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # splitlines() would also split at U+2028 and form feeds
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def lines_of(text: str) -> list[str]:
    """Return the lines of *text* with their ends; only a line feed ends one."""
    return _LINE.findall(text)


def said_of_lines(count: int) -> str:
    """Return *count* with the right word.

    Example:
        >>> said_of_lines(1), said_of_lines(2)
        ('1 line', '2 lines')
    """
    return f"{count} line{'' if count == 1 else 's'}"


def closing_fences(lines: Sequence[str]) -> list[tuple[str, str] | None]:
    r"""Return for the place before each line, and for the end, which fence is open there.

    It is the line that opened it and the line that would close it; `None` outside of fences.

    Example:
        >>> closing_fences(["```py\n", "x\n", "```\n"])
        [None, ('```py\n', '```\n'), ('```py\n', '```\n'), None]
    """
    open_at: list[tuple[str, str] | None] = [None]
    for line in lines:
        fence = open_at[-1]
        match = _FENCE.match(line)
        if match is None:
            open_at.append(fence)
        elif fence is None:
            opens = match[1][0] == "~" or "`" not in match[2]
            opening = line if line.endswith("\n") else f"{line}\n"
            open_at.append((opening, f"{match[1]}\n") if opens else None)
        else:
            closes = match[1].startswith(fence[1].rstrip("\n")) and not match[2].strip()
            open_at.append(None if closes else fence)
    return open_at


def closed(text: str) -> str:
    r"""Return *text*, ended by what closes a fence that it leaves open.

    Example:
        >>> closed("```py\nx = 1")
        '```py\nx = 1\n```\n'
    """
    fence = closing_fences(lines_of(text))[-1]
    return text if fence is None else f"{text.removesuffix(chr(10))}\n{fence[1]}"


def excerpt(text: str, most: int) -> tuple[str, int]:
    r"""Return the beginning and the end of *text* around a note, and the lines left out.

    Whole lines are kept, two thirds of them at the beginning. A fence that is cut is closed before
    the note and opened again after it. Lines that are too long themselves are cut where no fence
    is; else the note stands alone.

    Args:
        text: Any text.
        most: Most characters that are kept of it.

    Returns:
        *text* itself and 0 where that is not longer.

    Example:
        >>> print(excerpt("one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n" * 2, 20)[0], end="")
        one
        two
        [... 13 lines left out ...]
        eight
    """
    lines = lines_of(text)
    head = _kept(lines, most * 2 // 3)
    tail = _kept(lines[head:][::-1], most // 3)
    left_out = len(lines) - head - tail
    if len(text) <= most or left_out <= 0:
        return text, 0
    fences = closing_fences(lines)
    if not head and not tail and not any(fences):
        return _of_long_lines(text, most, left_out)
    before, after = fences[head], fences[len(lines) - tail]
    pieces = [
        *lines[:head],
        *([] if before is None else [before[1]]),
        f"[... {said_of_lines(left_out)} left out ...]\n",
        *([] if after is None or not tail else [after[0]]),
        *lines[len(lines) - tail :],
    ]
    short = closed("".join(pieces))
    return (short, left_out) if len(short) < len(text) else (text, 0)


def _of_long_lines(text: str, most: int, lines: int) -> tuple[str, int]:
    """Return the excerpt of a text of long lines, such as JSON on one: cut inside them."""
    head, tail = most * 2 // 3, most // 3
    note = f"[... {len(text) - head - tail} characters left out ...]"
    around = [text[:head], note, text[len(text) - tail :]] if head and tail else [note]
    short = "\n".join(around)
    return (short, lines) if len(short) < len(text) else (text, 0)


def _kept(lines: Sequence[str], most: int) -> int:
    """Return how many of *lines* have together no more than *most* characters."""
    total = 0
    for number, line in enumerate(lines):
        total += len(line)
        if total > most:
            return number
    return len(lines)
