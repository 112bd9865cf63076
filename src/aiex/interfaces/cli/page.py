"""Markdown as it comes, shown at a terminal as soon as a paragraph of it is whole."""

from __future__ import annotations

import io
import re
import shutil

from aiex.interfaces.cli.console import safe

__all__ = ["Page"]

_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_WIDEST = 100  # columns: longer lines are hard to read


class Page:
    r"""Turns pieces of Markdown into what a terminal shows.

    Example:
        >>> page = Page()
        >>> page.add("Half of"), page.waiting
        ('', 7)
    """

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._fence = ""

    @property
    def waiting(self) -> int:
        """Characters that have come and are not shown yet."""
        return len(self._text)

    def add(self, text: str) -> str:
        """Take the next piece, and return what can be shown now."""
        self._text += text
        shown = ""
        while (end := self._text.find("\n", self._at)) >= 0:
            line = self._text[self._at : end]
            self._at = end + 1
            self._mark(line)
            if not line.strip() and not self._fence:
                shown += self._shown(self._text[: self._at])
                self._text, self._at = self._text[self._at :], 0
        return shown

    def _mark(self, line: str) -> None:
        """Note whether a block of code begins or ends with *line*."""
        found = _FENCE.match(line)
        if found is None:
            return
        if not self._fence:
            self._fence = found[1]
        elif found[1].startswith(self._fence) and not line[found.end() :].strip():
            self._fence = ""

    def end(self) -> str:
        """Return what is left to show."""
        text, self._text, self._at, self._fence = self._text, "", 0, ""
        return self._shown(text)

    def _shown(self, text: str) -> str:
        if not text.strip():
            return ""
        from rich.console import Console
        from rich.markdown import Markdown

        width = min(shutil.get_terminal_size().columns, _WIDEST)
        out = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=width)
        with out.capture() as captured:
            out.print(Markdown(safe(text), hyperlinks=False))
        lines = captured.get().rstrip("\n").split("\n")
        return "\n".join(line.rstrip() for line in lines) + "\n\n"
