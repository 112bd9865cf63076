"""What `explain` found, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from aiex.core import ChangedFile, ExplainFacts, ExplainResult, Finished, SymbolFacts
from aiex.interfaces.cli.console import Console, safe
from aiex.interfaces.cli.render.costs import costs_in_words

__all__ = ["FORMS", "markdown", "show", "show_facts"]

_MOST = 12


def show_facts(data: msgspec.Raw, console: Console) -> None:
    """Write the facts, before the model's words."""
    facts = msgspec.json.decode(data, type=ExplainFacts)
    console.line(facts.title, "bold")
    if facts.docstring:
        console.line(facts.docstring)
    for label, lines in _sections(facts):
        for number, line in enumerate(lines):
            head = label if number == 0 else ""
            console.line(line, label=f"{head:<9}")
    console.line()


def show(finished: Finished, console: Console) -> None:
    """Write what follows the words: costs of a dry run, and what did not fit."""
    result = msgspec.json.decode(finished.data, type=ExplainResult)
    if finished.termination_reason == "no_model":
        return
    for line in costs_in_words(result.estimates):
        console.line(line)
    left_out = [c for c in result.context if c.form == "left_out"]
    if left_out and result.text is not None:
        names = ", ".join(f"{c.path}:{c.start_line}" for c in left_out[:3])
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        console.note(f"not shown to the model, for lack of room: {names}{more}", "dim")


def markdown(finished: Finished) -> str:
    """Return the whole answer as Markdown."""
    result = msgspec.json.decode(finished.data, type=ExplainResult)
    facts = result.facts
    lines = [f"# {_cell(facts.title)}", ""]
    if facts.docstring:
        lines += [_cell(facts.docstring), ""]
    for label, rows in _sections(facts):
        lines += [f"**{label}**", "", *(f"- {_cell(row)}" for row in rows), ""]
    if result.text is not None:
        lines += ["## Explanation", "", safe(result.text).strip(), ""]
    lines += [f"- {line}" for line in costs_in_words(result.estimates)]
    return "\n".join(lines).rstrip() + "\n"


def _sections(facts: ExplainFacts) -> Iterator[tuple[str, list[str]]]:
    """Yield a heading and its lines for everything that is known."""
    if facts.symbol is not None:
        yield "is", [_symbol(facts.symbol)]
    sections: list[tuple[str, list[str]]] = [
        ("message", [facts.message] if facts.message else []),
        (
            "frames",
            [f"{f.path}:{f.line} {f.symbol or ''}  {f.source}".rstrip() for f in facts.frames],
        ),
        (
            "changed",
            [_changed(c) for c in facts.changed],
        ),
        ("defines", [_symbol(s) for s in facts.symbols]),
        ("imports", [", ".join(facts.imports)] if facts.imports else []),
        ("used by", list(facts.imported_by)),
        ("calls", [f"{c.name}  {c.path}:{c.line}" for c in facts.calls]),
        ("also", [_some(facts.other_calls)] if facts.other_calls else []),
        ("callers", [f"{c.path}:{c.line} {c.caller}".rstrip() for c in facts.callers]),
        (
            "findings",
            [f"{f.severity} {f.path}:{f.line} {f.rule} {f.message}" for f in facts.findings],
        ),
    ]
    for label, lines in sections:
        if lines:
            more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
            yield label, lines[:_MOST] + more


def _changed(file: ChangedFile) -> str:
    path = f"{file.renamed_from} -> {file.path}" if file.renamed_from else file.path
    size = "(binary)" if file.is_binary else f"+{file.added_lines} -{file.removed_lines}"
    return f"{file.status} {path} {size}  {' '.join(file.symbols[:_MOST])}".rstrip()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def _symbol(symbol: SymbolFacts) -> str:
    what = symbol.signature or f"{symbol.kind} {symbol.name}"
    complexity = f"  complexity {symbol.complexity}" if symbol.complexity is not None else ""
    return f"{symbol.start_line:>5}  {what}{complexity}"


def _cell(text: str) -> str:
    return safe(text).replace("\n", " ").replace("<", "&lt;")


FORMS: dict[str, Callable[[Finished], str]] = {"md": markdown}
