"""The language of a text that has no name."""

from __future__ import annotations

from aiex.code.read import LANGUAGES, language_of, read_facts
from aiex.code.values import Language

__all__ = ["guess_language"]

_LOOKED_AT = 64 << 10


def guess_language(source: bytes) -> Language | None:
    """Return the language that *source* is most likely written in; `None` if no one fits.

    Its first line may say so. Else it is the one as which it parses without an error and gives
    the most definitions, imports and calls.
    """
    said = language_of("", source)
    if said is not None:
        return said
    text = source[:_LOOKED_AT].rpartition(b"\n")[0] if len(source) > _LOOKED_AT else source
    best: Language | None = None
    most = 0
    for language in LANGUAGES:
        facts = read_facts(text, language)
        # Some grammars take almost any words for calls, so calls alone say nothing.
        defined = 3 * len(facts.symbols) + 2 * len(facts.imports)
        found = defined + len(facts.calls) if defined else 0
        if not facts.error_lines and found > most:
            best, most = language, found
    return best
