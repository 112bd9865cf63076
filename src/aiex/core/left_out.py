"""What a model was not shown of what it might have been shown."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["LeftOut"]


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that did not fit, and what stands for it.

    Attributes:
        what: Path and line, or what of a conversation it was.
        how: `folded` when single lines stand for several, `shortened` to a shorter form or to
            its beginning and end, `cut` after some line, `summarised` by a model, `dropped`.
        lines: Lines that are not shown.
        tokens: Tokens saved, by our own count.
        kinds: What was folded, such as `comments`, `imports` and `bodies`.
    """

    what: str
    how: Literal["folded", "shortened", "cut", "summarised", "dropped"]
    lines: int = 0
    tokens: int = 0
    kinds: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """One line for a reader.

        Example:
            >>> LeftOut(what="a.py:1", how="folded", lines=9, tokens=70, kinds=("bodies",)).in_words
            'a.py:1 folded: 9 lines of bodies, about 70 tokens'
        """
        lines = f"{self.lines} line{'' if self.lines == 1 else 's'}"
        kinds = f" of {' and '.join(self.kinds)}" if self.kinds else ""
        return f"{self.what} {self.how}: {lines}{kinds}, about {self.tokens} tokens"
