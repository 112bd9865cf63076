"""What `explain` answers: the facts first, then the model's words and what it was shown."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core.findings import Finding

__all__ = [
    "CallSite",
    "ChangedFile",
    "CostEstimate",
    "ExplainFacts",
    "ExplainResult",
    "FrameFacts",
    "RelatedSymbol",
    "ShownContext",
    "SymbolFacts",
]


class SymbolFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A definition of the file that is explained.

    Attributes:
        name: Qualified name.
        kind: What is defined, such as `function`.
        start_line: First line, 1-based.
        end_line: Last line, 1-based.
        signature: Its head on one line.
        summary: First paragraph of its documentation; empty without any.
        complexity: Cyclomatic complexity; `None` for what is no function.
        is_public: Whether it is visible outside, by rule or custom.
    """

    name: str
    kind: str
    start_line: int
    end_line: int
    signature: str = ""
    summary: str = ""
    complexity: int | None = None
    is_public: bool = True


class RelatedSymbol(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A definition of the project that the explained code calls.

    Attributes:
        path: File, relative to the root.
        line: First line of the definition, 1-based.
        end_line: Its last line.
        name: Qualified name.
        signature: Its head on one line.
    """

    path: str
    line: int
    end_line: int
    name: str
    signature: str = ""


class CallSite(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place that calls the explained code.

    Attributes:
        path: File, relative to the root.
        line: Line of the call, 1-based.
        caller: Function around it; empty at top level.
        callee: What is called, as written there.
    """

    path: str
    line: int
    caller: str = ""
    callee: str = ""


class FrameFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place of a traceback.

    Attributes:
        path: File, relative to the root if it is in the project, else as written.
        line: Line, 1-based.
        symbol: Function around it; `None` if unknown.
        source: The line itself, stripped; empty if the file is not in the project.
        in_project: Whether the file is in the project and was read.
    """

    path: str
    line: int
    symbol: str | None = None
    source: str = ""
    in_project: bool = False


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that differs from the base.

    Attributes:
        path: File, relative to the root.
        status: How it differs.
        added_lines: Lines that came.
        removed_lines: Lines that went.
        symbols: Definitions that came, went or changed, as `+name`, `-name`, `~name`.
        renamed_from: Where a renamed file stood at the base, relative to the root.
        is_binary: Whether it is no text, before or now; its lines are not counted then.
    """

    path: str
    status: Literal["added", "modified", "deleted", "renamed"]
    added_lines: int = 0
    removed_lines: int = 0
    symbols: tuple[str, ...] = ()
    renamed_from: str = ""
    is_binary: bool = False


class ExplainFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known without a model.

    Attributes:
        kind: What was asked about.
        path: File, relative to the root; empty for standard input, errors and diffs.
        language: Language; `None` if it is none that we read.
        title: What it is, in one line.
        lines: Lines of the file or of standard input.
        code_lines: Lines of them with code.
        docstring: First paragraph of the file's or the symbol's documentation.
        symbol: The definition that was asked about; `None` for a whole file.
        symbols: Definitions of the file (or inside the symbol), in order.
        imports: What the file imports, as written.
        imported_by: Files that import it.
        calls: Definitions of the project that it calls.
        other_calls: What else it calls, as written: of libraries, built in, or of what cannot be
            told without running it.
        callers: Places that call it.
        findings: Findings in what is explained.
        frames: Places of a traceback.
        message: The error of a traceback.
        changed: Files of a diff.
        base: Revision that a diff is against.
    """

    kind: Literal["file", "symbol", "text", "error", "diff"]
    title: str
    path: str = ""
    language: str | None = None
    lines: int = 0
    code_lines: int = 0
    docstring: str = ""
    symbol: SymbolFacts | None = None
    symbols: tuple[SymbolFacts, ...] = ()
    imports: tuple[str, ...] = ()
    imported_by: tuple[str, ...] = ()
    calls: tuple[RelatedSymbol, ...] = ()
    other_calls: tuple[str, ...] = ()
    callers: tuple[CallSite, ...] = ()
    findings: tuple[Finding, ...] = ()
    frames: tuple[FrameFacts, ...] = ()
    message: str = ""
    changed: tuple[ChangedFile, ...] = ()
    base: str = ""


class ShownContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of the project that the model was shown, or that did not fit.

    Attributes:
        path: File, relative to the root; empty for standard input.
        start_line: First line, 1-based.
        reason: Why it was chosen.
        form: `whole`, `shorter`, `cut`, or `left_out`.
        tokens: Its tokens by our count; 0 when left out.
    """

    path: str
    start_line: int
    reason: str
    form: str
    tokens: int = 0


class CostEstimate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call would cost at one endpoint; what `--dry-run` reports.

    Attributes:
        provider: Name of the provider.
        model: Name of the model.
        input_tokens: Estimated tokens of the prompt.
        output_tokens: Most tokens of the reply.
        cost_usd_micros: Most that it would cost, micro-dollars; `None` when unpriced.
        fits: Whether prompt and reply fit into its window; `None` if the window is unknown.
    """

    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_usd_micros: int | None = None
    fits: bool | None = None


class ExplainResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole answer.

    Attributes:
        facts: What is known without a model.
        estimates: What the call would cost, for a dry run.
        text: The model's words; `None` if no model was asked.
        provider: Provider that answered; `None` if none was asked.
        model: Model that answered; `None` if none was asked.
        context: What the model was shown, and what did not fit.
    """

    facts: ExplainFacts
    text: str | None = None
    provider: str | None = None
    model: str | None = None
    context: tuple[ShownContext, ...] = ()
    estimates: tuple[CostEstimate, ...] = ()
