"""The audit log, for a terminal."""

from __future__ import annotations

import msgspec

from aiex.core import AuditLine, AuditResult, Finished, Verification
from aiex.interfaces.cli.console import Console, Style

__all__ = ["show"]

_REFUSED: tuple[Style, ...] = ("red",)


def show(finished: Finished, console: Console) -> None:
    """Write what `audit` answered."""
    result = msgspec.json.decode(finished.data, type=AuditResult)
    if result.verification is not None:
        _verification(result.verification, console)
    elif result.action == "export":
        console.note(f"{result.exported} records", "dim")
    elif not result.records:
        console.note("no record matches")
    for line in result.records:
        _record(line, console)


def _record(line: AuditLine, console: Console) -> None:
    denied = line.decision == "deny"
    what = " ".join(line.argv) or line.path
    kind = "intent " if line.kind == "intent" else ""
    about = [kind + line.op, what]
    if line.count is not None:
        about.append(f"({line.count})")
    if line.exit is not None:
        about.append(f"exit {line.exit}")
    if denied:
        about.append(f"refused: {line.rule or line.reason or 'not allowed'}")
    elif line.reason:
        about.append(line.reason)
    stamp = line.ts.replace("T", " ")[:19]
    console.line(
        " ".join(part for part in about if part),
        *(_REFUSED if denied else ()),
        label=f"{line.seq:>7}  {stamp}  {line.actor.user}  ",
    )


def _verification(found: Verification, console: Console) -> None:
    damage = found.damage
    if damage is None:
        console.line(f"intact: {found.records} records, the last is {found.last_seq}", "green")
    else:
        where = f"{damage.segment} at byte {damage.offset}" if damage.segment else "the checkpoints"
        console.line(f"damaged: {damage.kind} at record {damage.seq}: {damage.reason}", "red")
        console.line(f"{where}; {found.records} records before it are right", label="where  ")
    if found.checkpoints:
        console.line(f"{found.checkpoints}, up to record {found.anchored_seq}", label="signed ")
    for intent in found.open_intents:
        console.line(f"began, and nothing is known of its end: {intent}", "yellow")
