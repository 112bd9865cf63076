"""What of the project a model should see of a file or a definition, most important first. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from aiex.code import FileFacts, Symbol
from aiex.context import Form, Item, forms_of
from aiex.core import CallSite, ExplainFacts, RelatedSymbol

__all__ = ["around", "items_of_file", "items_of_symbol", "neighbour_paths"]

_MOST_CALLED = 8
_MOST_CALLERS = 6
_LINES_AROUND = 3
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def neighbour_paths(facts: ExplainFacts) -> tuple[str, ...]:
    """Return the other files that the items of *facts* quote, each once."""
    called = [c.path for c in facts.calls[:_MOST_CALLED]]
    callers = [c.path for c in facts.callers[:_MOST_CALLERS]]
    return tuple(p for p in dict.fromkeys([*called, *callers]) if p != facts.path)


def items_of_file(
    path: str, text: str, file: FileFacts, facts: ExplainFacts, texts: Mapping[str, str]
) -> list[Item]:
    """Return what to show of a whole file.

    Args:
        path: File, relative to the root; may be empty.
        text: Its text.
        file: What was read from it.
        facts: The facts that will be told.
        texts: Texts of the files that `neighbour_paths` named, by path.
    """
    subject = Item(
        path=path,
        start_line=1,
        text=text,
        reason="what is explained",
        shorter=forms_of(text, file),
    )
    return [subject, *_calling(facts.callers, texts)]


def items_of_symbol(
    path: str,
    text: str,
    file: FileFacts,
    symbol: Symbol,
    facts: ExplainFacts,
    texts: Mapping[str, str],
) -> list[Item]:
    """Return what to show of one definition; *texts* must hold *path* too."""
    subject = Item(
        path=path,
        start_line=symbol.start_line,
        text=_slice(text, symbol.start_line, symbol.end_line),
        reason="what is explained",
        shorter=forms_of(text, file, lines=(symbol.start_line, symbol.end_line)),
    )
    return [
        subject,
        *_called(facts.calls, texts),
        *_calling(facts.callers, texts),
    ]


def around(path: str, text: str, line: int, *, reason: str, lines: int = 15) -> Item:
    """Return the lines around *line*, with shorter forms nearer to it."""
    first = max(1, line - lines)
    nearer = (lines // 2, _LINES_AROUND)
    return Item(
        path=path,
        start_line=first,
        text=_slice(text, first, line + lines),
        reason=reason,
        shorter=tuple(
            Form(text=_slice(text, line - n, line + n), skipped=max(1, line - n) - first)
            for n in nearer
        ),
    )


def _called(calls: Sequence[RelatedSymbol], texts: Mapping[str, str]) -> Iterable[Item]:
    for called in calls[:_MOST_CALLED]:
        if called.path in texts:
            yield Item(
                path=called.path,
                start_line=called.line,
                text=_slice(texts[called.path], called.line, called.end_line),
                reason=f"{called.name} is called",
                shorter=(Form(text=f"{called.signature}\n"),) if called.signature else (),
            )


def _calling(callers: Sequence[CallSite], texts: Mapping[str, str]) -> Iterable[Item]:
    for site in callers[:_MOST_CALLERS]:
        text = texts.get(site.path)
        if text is None:
            continue
        yield around(
            site.path,
            text,
            site.line,
            reason=f"calls {site.callee}" + (f" in {site.caller}" if site.caller else ""),
            lines=_LINES_AROUND,
        )


def _slice(text: str, first: int, last: int) -> str:
    return "".join(_LINE.findall(text)[max(0, first - 1) : last])
