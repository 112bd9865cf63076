"""Words that were mistyped."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """Return the word of *known* that *word* was most likely meant to be; `None` if none is near.

    Args:
        word: What was typed.
        known: What could have been.
        cutoff: Least likeness, 0 to 1.

    Example:
        >>> nearest("explian", ["explain", "analyze"])
        'explain'
    """
    import difflib  # noqa: PLC0415 - 3 ms that only a mistake needs

    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)
