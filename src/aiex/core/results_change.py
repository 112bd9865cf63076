"""What `change` and `create` answer: proposals as they are shown, projects as they were begun."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from aiex.core.findings import Finding
from aiex.core.results_explain import CostEstimate
from aiex.core.types import NotChecked, ToolRun

__all__ = [
    "ChangeView",
    "ChangesResult",
    "CreateModuleResult",
    "CreateProjectResult",
    "ProposedFile",
]


class ProposedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of a proposal.

    Attributes:
        path: File, relative to the root.
        status: What happens to it.
        added_lines: Lines that come.
        removed_lines: Lines that go.
    """

    path: str
    status: Literal["added", "modified", "deleted"]
    added_lines: int = 0
    removed_lines: int = 0


class ChangeView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stored proposal as it is shown.

    Attributes:
        id: Identifier, 12 hexadecimal digits.
        short: Shortest beginning of it that no other has.
        status: What became of it.
        created: Aware UTC time.
        verb: Verb that made it.
        root: Project that it is for.
        summary: What it does, in one line.
        files: What it writes.
        model: As `provider:model`; `None` if no model was asked.
        cost_usd_micros: What it cost, micro-dollars; `None` when that is not known.
        checks: What was run on it.
        not_checked: What a complete proof would have run.
        findings: What the linter says of the new files.
        error: Why applying it failed; `None` if it did not.
        diff: The unified diff that was shown when it was made; empty in lists.
    """

    id: str
    short: str
    status: Literal["proposed", "applied", "failed"]
    created: datetime
    verb: str
    root: str
    summary: str = ""
    files: tuple[ProposedFile, ...] = ()
    model: str | None = None
    cost_usd_micros: int | None = None
    checks: tuple[ToolRun, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    findings: tuple[Finding, ...] = ()
    error: str | None = None
    diff: str = ""


class ChangesResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `change` answers.

    Attributes:
        action: What was done.
        changes: The proposals that it is about, newest first.
        would_apply: Whether the proposal could be applied as things are; `None` if not asked.
    """

    action: Literal["list", "show", "diff", "apply"]
    changes: tuple[ChangeView, ...]
    would_apply: bool | None = None


class CreateModuleResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `create module` answers.

    Attributes:
        name: Name of the module as its language writes it.
        language: Its language.
        change: The proposal; `None` for a dry run.
        repairs: How often a reply had to be asked for again.
        estimates: What asking would cost, for a dry run.
    """

    name: str
    language: str
    change: ChangeView | None = None
    repairs: int = 0
    estimates: tuple[CostEstimate, ...] = ()


class CreateProjectResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `create project` answers.

    Attributes:
        name: Name of the project.
        language: Its language.
        folder: Absolute path of its folder.
        files: What was written, relative to the folder; for a dry run, what would be.
        written: Whether they were.
        next: Command that runs its tests.
    """

    name: str
    language: str
    folder: str
    files: tuple[str, ...]
    written: bool
    next: str
