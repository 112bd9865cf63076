"""A page of documentation for a module, from what its text says. Pure, and without a model."""

from __future__ import annotations

from aiex.code import FileFacts, Symbol

__all__ = ["page_of"]


def page_of(name: str, description: str, facts: FileFacts, *, language: str) -> str:
    """Return the Markdown page of the module *name*.

    Args:
        name: Name as its language writes it.
        description: What it shall do, in the user's words.
        facts: Facts of its text.
        language: Its language, for the fences.
    """
    lines = [f"# {name}", "", (facts.docstring or _moduledoc(facts) or description).strip(), ""]
    public = [s for s in facts.symbols if s.is_public and s.kind != "module"]
    if public:
        lines += ["## What it offers", ""]
    for symbol in public:
        fence = [f"```{language}", symbol.signature or symbol.qualified_name, "```"]
        lines += [f"### {symbol.qualified_name}", "", *fence, ""]
        if symbol.docstring:
            lines += [symbol.docstring.strip(), ""]
    return "\n".join(lines).rstrip() + "\n"


def _moduledoc(facts: FileFacts) -> str | None:
    modules: list[Symbol] = [s for s in facts.symbols if s.kind == "module"]
    return modules[0].docstring if modules else None
