"""What the audit log holds, what is asked of it, and whether it is what was written."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Actor",
    "AuditLine",
    "AuditQuery",
    "AuditRecord",
    "AuditResult",
    "Damage",
    "DamageKind",
    "Verification",
]


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who acts.

    Attributes:
        user: Stable name of the person or service.
        interface: Door that the request came through.
        session: Session that it belongs to; `None` without one.
        agent: Program that acts for the user; `None` if the user does.
        model: Model whose words led to it; `None` if none did.
    """

    user: str
    interface: str
    session: str | None = None
    agent: str | None = None
    model: str | None = None


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was done, tried or about to be done.

    Attributes:
        op_id: Groups an intent with its outcome.
        kind: `intent` before a change, `op` after it and for everything that changes nothing.
        actor: Who acts.
        op: Verb, such as `read`, `apply` or `exec`.
        path: File, relative to the root; empty where none is meant.
        root_id: Digest of the root's absolute path, 12 hexadecimal digits.
        decision: Whether it was allowed.
        rule: Rule that refused it; `None` if nothing did.
        reason: In words; `None` if there is nothing to say.
        level: What kept a command inside, such as `bwrap`; `None` for files.
        bytes: Bytes read or written; `None` where that means nothing.
        count: Things that one record stands for, such as the files of a scan; `None` for one.
        sha256_before: Digest before a change, or of what was read or listed.
        sha256_after: Digest after a change; `None` if there is no file then.
        argv: Command line of what ran; empty for files.
        exit: Exit status of what ran; `None` for files.
        dur_us: Microseconds that it took.
    """

    op_id: str
    kind: Literal["intent", "op"]
    actor: Actor
    op: str
    path: str = ""
    root_id: str = ""
    decision: Literal["allow", "deny"] = "allow"
    rule: str | None = None
    reason: str | None = None
    level: str | None = None
    bytes: int | None = None
    count: int | None = None
    sha256_before: str | None = None
    sha256_after: str | None = None
    argv: tuple[str, ...] = ()
    exit: int | None = None
    dur_us: int = 0


class AuditLine(AuditRecord, frozen=True, kw_only=True, omit_defaults=True):
    """A record as it stands in the log.

    Attributes:
        v: Version of the form.
        seq: Number in the log, 1 for the first, without gaps.
        ts: UTC time, ISO 8601 with microseconds.
        node: Name of the machine.
        key_id: Which key the codes are made with: the beginning of its digest.
        prev: Code of the record before; 64 zeros for the first.
        mac: Code of this one, 64 hexadecimal digits.
    """

    v: int
    seq: int
    ts: str
    node: str
    key_id: str
    prev: str
    mac: str


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are asked for; what is `None` does not matter.

    Attributes:
        op: What was done, such as `read`.
        path: Part of the file's path.
        user: Who acted.
        decision: Whether it was allowed.
        op_id: The request that it belongs to.
        text: Text that stands anywhere in the record.
        since: ISO 8601 UTC time from which on, or its beginning, such as `2026-11-25`.
        until: ISO 8601 UTC time before which, or its beginning.
    """

    op: str | None = None
    path: str | None = None
    user: str | None = None
    decision: Literal["allow", "deny"] | None = None
    op_id: str | None = None
    text: str | None = None
    since: str | None = None
    until: str | None = None

    def takes(self, line: AuditLine) -> bool:
        """Return whether *line* is asked for."""
        return (
            self.op in {None, line.op}
            and (self.path is None or self.path in line.path)
            and self.user in {None, line.actor.user}
            and self.decision in {None, line.decision}
            and self.op_id in {None, line.op_id}
            and (self.since is None or line.ts >= self.since)
            and (self.until is None or line.ts < self.until)
        )


DamageKind = Literal["edited", "removed", "reordered", "cut", "rolled-back", "foreign", "torn-tail"]
"""What befell a log: a record was changed, taken away, moved or repeated; its end was cut off; an
older state of the whole was put back; something that this log did not write stands in it; or a
kill cut the last record short, which the next record repairs."""


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that is wrong.

    Attributes:
        kind: What befell it.
        seq: Number of the first record that is not as it was written, or is missing.
        segment: File where that shows; empty where it is the file that is missing.
        offset: Byte in that file where it shows.
        reason: In words.
    """

    kind: DamageKind
    seq: int
    segment: str
    offset: int
    reason: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        is_intact: Whether every record is there and as it was written.
        records: Records that were checked.
        last_seq: Number of the last one that is right; 0 for none.
        checkpoints: Signed checkpoints that the log agrees with.
        anchored_seq: Last record that a checkpoint vouches for; 0 for none.
        damage: The first thing that is wrong; `None` if nothing is.
        open_intents: Changes that began and of whose end nothing is known, at most 1000, as
            `op_id path`.
    """

    is_intact: bool
    records: int
    last_seq: int
    checkpoints: int
    anchored_seq: int
    damage: Damage | None = None
    open_intents: tuple[str, ...] = ()


class AuditResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `audit` answers.

    Attributes:
        action: What was done.
        records: The records that were asked for, oldest first.
        verification: What verifying found; `None` when it was not asked for.
        exported: Records that were written out.
    """

    action: Literal["tail", "search", "verify", "export"]
    records: tuple[AuditLine, ...] = ()
    verification: Verification | None = None
    exported: int = 0
