"""What the user asked for, apart from the command itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["Globals"]


class Globals(msgspec.Struct, frozen=True, kw_only=True):
    """The global options; they may stand before and after the command.

    Attributes:
        directory: Folder to work in; `None` for the current one.
        json: Whether to write the envelope.
        fields: Fields of its data to keep; empty for all.
        jsonl: Whether to write each event as a line of JSON.
        format: How to write the result.
        quiet: Whether to leave notices and progress out.
        verbose: Whether to say more.
        color: When to use colour; `None` for what the configuration says.
        offline: Whether to open no connection beyond this machine.
        dry_run: Whether to say what would be sent instead of sending it.
        yes: Whether to answer every question with yes.
        model: Model that was named.
        provider: Provider that was named.
        max_cost: Most micro-dollars that the request may cost.
        max_tokens: Most tokens of a reply.
        timeout: Seconds that the request may take.
        use_cache: Whether results of earlier runs may be used.
        seed: Seed for the model.
        show_context: Whether to show what is sent to the model.
        record_prompts: Whether to keep prompt and reply in the record of the call.
    """

    directory: Path | None = None
    json: bool = False
    fields: tuple[str, ...] = ()
    jsonl: bool = False
    format: Literal["text", "json", "md", "sarif", "mermaid", "dot"] = "text"
    quiet: bool = False
    verbose: bool = False
    color: Literal["auto", "always", "never"] | None = None
    offline: bool = False
    dry_run: bool = False
    yes: bool = False
    model: str | None = None
    provider: str | None = None
    max_cost: int | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    use_cache: bool = True
    seed: int | None = None
    show_context: bool = False
    record_prompts: bool = False
