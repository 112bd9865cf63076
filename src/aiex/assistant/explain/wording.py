"""The facts as a model reads them: short lines, nothing that it cannot use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiex.core import ExplainFacts

__all__ = ["facts_in_words"]

_MOST = 12


def facts_in_words(facts: ExplainFacts, shown: Iterable[str] = ()) -> str:
    """Return *facts* as a list in Markdown; long lists are cut with the number left out.

    Args:
        facts: What is known.
        shown: Texts that stand beside the list: what one of them says is not said twice.
    """
    said = [" ".join(text.split()) for text in shown]

    def is_new(text: str) -> bool:
        return not any(" ".join(text.split()) in one for one in said)

    lines = [f"- {facts.path + ': ' if facts.path else ''}{facts.title}"]
    if facts.symbol is not None:
        if is_new(facts.symbol.signature):
            lines.append(f"- signature: `{facts.symbol.signature}`")
        if facts.symbol.complexity is not None:
            lines.append(f"- cyclomatic complexity: {facts.symbol.complexity}")
    if facts.docstring and is_new(facts.docstring):
        lines.append(f"- documented as: {facts.docstring}")
    if facts.message:
        lines.append(f"- error: {facts.message}")
    lines += _some(
        "place",
        [
            f"{f.path}:{f.line}{' in ' + f.symbol if f.symbol else ''}"
            f"{': `' + f.source + '`' if f.source else ' (outside the project)'}"
            for f in facts.frames
        ],
    )
    lines += _some(
        "changed",
        [
            f"{c.path} {c.status}{f' from {c.renamed_from}' if c.renamed_from else ''} "
            f"{'(binary)' if c.is_binary else f'+{c.added_lines} -{c.removed_lines}'} "
            f"{' '.join(c.symbols)}".strip()
            for c in facts.changed
        ],
    )
    if facts.kind == "file":
        lines += _some("defines", [f"{s.kind} {s.name}" for s in facts.symbols])
    lines += _some("imports", facts.imports)
    lines += _some("imported by", facts.imported_by)
    lines += _some("calls", [f"{c.name} ({c.path}:{c.line})" for c in facts.calls])
    lines += _some("also calls", facts.other_calls)
    lines += _some(
        "called by", [f"{c.caller or 'top level'} ({c.path}:{c.line})" for c in facts.callers]
    )
    lines += _some("finding", [f"line {f.line}: {f.message}" for f in facts.findings])
    return "\n".join(lines)


def _some(label: str, things: Sequence[str]) -> Iterable[str]:
    if not things:
        return
    more = f", and {len(things) - _MOST} more" if len(things) > _MOST else ""
    yield f"- {label}: {', '.join(things[:_MOST])}{more}"
