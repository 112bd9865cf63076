"""Whether the audit log is what was written: the first record that is not, and what befell it.

One pass over the segments, in constant memory; a second one only to tell a record that was moved
from one that was taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

from aiex.core import ConfigurationError, Damage, DamageKind, NotFoundError, Verification
from aiex.sandbox.audit.chain import FIRST_PREV, Link, Seal, decode_line
from aiex.sandbox.audit.checkpoint import Anchor, FileAnchor, open_note
from aiex.sandbox.audit.head import HEAD_NAME, read_head
from aiex.sandbox.audit.keys import KEY_NAME, read_key, signing_seed
from aiex.sandbox.audit.log import CHECKPOINTS_NAME, origin_of, segments_of

__all__ = ["lines_of", "verify_log"]

_LONGEST_LINE = 1 << 20
_MOST_OPEN = 1000
_STEP = 50_000
_REPAIRED = b'"op":"audit_repaired"'
_INTENT = b'"kind":"intent"'


class Line(msgspec.Struct, frozen=True):
    """A line of a segment.

    Attributes:
        segment: Name of the file.
        offset: Where it begins, bytes.
        raw: Its bytes, without the end.
        is_whole: Whether its end is there.
    """

    segment: str
    offset: int
    raw: bytes
    is_whole: bool


def lines_of(directory: Path, *, since: int = 1) -> Iterator[Line]:
    """Yield the lines of the log, oldest first, from the segment that holds record *since*."""
    segments = segments_of(directory)
    starts = [index for index, path in enumerate(segments) if int(path.stem) <= since]
    for path in segments[starts[-1] if starts else 0 :]:
        offset = 0
        with path.open("rb") as file:
            while raw := file.readline(_LONGEST_LINE):
                is_whole = raw.endswith(b"\n")
                yield Line(path.name, offset, raw[:-1] if is_whole else raw, is_whole)
                offset += len(raw)


def verify_log(
    directory: Path,
    *,
    since: int = 1,
    anchor: Anchor | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Return whether the log in *directory* is what was written. Blocks.

    Args:
        directory: Folder of the log.
        since: First record to check; what the one before it says is believed.
        anchor: Where checkpoints were sent; `None` for the file in the folder.
        progress: Told the records checked, now and then.

    Raises:
        NotFoundError: There is no log.
        ConfigurationError: Its key is missing, or the checkpoints that it had made.
        RefusedError: Its key is open to others or is none.
    """
    key = read_key(directory)
    if key is None:
        if not segments_of(directory):
            raise NotFoundError(f"there is no audit log in {directory}")
        raise ConfigurationError(
            f"the key {directory / KEY_NAME} is missing, so nothing can be checked",
            hint="restore it from a backup of the state directory",
        )
    seal = Seal(key)
    check = _Check(directory, seal, since=since, progress=progress)
    check.expect(_checkpoints(directory, seal, key, anchor))
    check.run()
    return check.result()


def _checkpoints(
    directory: Path, seal: Seal, key: bytes, anchor: Anchor | None
) -> Iterator[tuple[int, str] | None]:
    """Yield number and code of each checkpoint; `None` for one that is not ours."""
    if anchor is None:
        path = directory / CHECKPOINTS_NAME
        head = read_head(directory, seal)
        if not path.exists() and (head is None or not head.checked_seq):
            return  # none was ever due
        anchor = FileAnchor(path)
    seed, origin = signing_seed(key), origin_of(seal)
    for note in anchor.notes():
        found = open_note(note, origin, seed)
        yield None if found is None else (found.seq, found.mac)


class _Found(Exception):  # noqa: N818 - carries the answer out of the pass
    def __init__(self, damage: Damage) -> None:
        self.damage = damage


class _Check:
    """One pass over a log."""

    def __init__(
        self, directory: Path, seal: Seal, *, since: int, progress: Callable[[int], None]
    ) -> None:
        self._directory = directory
        self._seal = seal
        self._since = since
        self._progress = progress
        self._seq = 0 if since <= 1 else -1  # -1: what comes first is believed
        self._mac = FIRST_PREV
        self._records = 0
        self._unsure: list[Line] = []
        self._last = Line("", 0, b"", True)
        self._anchored: dict[int, str] = {}
        self._checkpoints = 0
        self._vouched = 0
        self._foreign_checkpoint = False
        self._open: dict[tuple[str, str], None] = {}
        self._damage: Damage | None = None

    def expect(self, checkpoints: Iterator[tuple[int, str] | None]) -> None:
        for checkpoint in checkpoints:
            if checkpoint is None:
                self._foreign_checkpoint = True
            elif self._anchored.setdefault(checkpoint[0], checkpoint[1]) != checkpoint[1]:
                self._damage = Damage(
                    kind="rolled-back",
                    seq=checkpoint[0],
                    segment="",
                    offset=0,
                    reason=f"two checkpoints of record {checkpoint[0]} differ",
                )

    def run(self) -> None:
        try:
            for line in lines_of(self._directory, since=self._since):
                self._take(line)
            self._finish()
        except _Found as found:
            self._damage = self._damage or found.damage

    def result(self) -> Verification:
        return Verification(
            is_intact=self._damage is None,
            records=self._records,
            last_seq=max(0, self._seq),
            checkpoints=self._checkpoints,
            anchored_seq=self._vouched,
            damage=self._damage,
            open_intents=tuple(f"{op_id} {path}".rstrip() for op_id, path in self._open),
        )

    def _take(self, line: Line) -> None:
        link = self._seal.link(line.raw) if line.is_whole else None
        if link is None:
            self._last = line
            self._unsure.append(line)
            if len(self._unsure) > _MOST_OPEN:
                self._fail(self._unsure[0], "foreign", "many lines are no records of this log")
            return
        if self._seq < 0:
            if link.seq < self._since - 1:
                return
            self._seq, self._mac = link.seq - 1, link.prev
        if link.seq != self._seq + 1 or link.prev != self._mac:
            self._misfit(line, link)
        elif self._unsure and _REPAIRED not in line.raw:
            self._fail(self._unsure[0], "foreign", "a line that is no record was put in")
        anchored = self._anchored.get(link.seq)
        if anchored is not None:
            if anchored != link.mac:
                self._fail(line, "rolled-back", "a checkpoint tells of another record here")
            self._checkpoints += 1
            self._vouched = link.seq
        self._unsure.clear()
        self._last = line
        self._seq, self._mac = link.seq, link.mac
        self._records += 1
        self._note_intent(line.raw)
        if self._records % _STEP == 0:
            self._progress(self._records)

    def _misfit(self, line: Line, link: Link) -> NoReturn:
        """Say what befell the log where *line*, one of its records, does not follow."""
        expected = self._seq + 1
        if link.seq == expected:
            self._fail(line, "rolled-back", "the record follows another history than this one")
        if link.seq < expected:
            self._fail(line, "reordered", f"record {link.seq} stands after record {self._seq}")
        if self._unsure and link.seq - expected <= len(self._unsure):
            self._fail_as_edited(self._unsure[0])
        if self._stands_later(expected, line):
            self._fail(line, "reordered", f"record {link.seq} stands before record {expected}")
        last = link.seq - 1
        which = f"record {expected} is" if last == expected else f"records {expected}-{last} are"
        self._fail(line, "removed", f"{which} missing")

    def _stands_later(self, seq: int, after: Line) -> bool:
        for line in lines_of(self._directory, since=self._since):
            if (line.segment, line.offset) <= (after.segment, after.offset):
                continue
            link = self._seal.link(line.raw)
            if link is not None and link.seq == seq:
                return True
        return False

    def _fail_as_edited(self, line: Line) -> NoReturn:
        said = decode_line(line.raw)
        if said is not None and said.key_id != self._seal.key_id:
            self._fail(line, "foreign", f"the record was written with the key {said.key_id}")
        self._fail(line, "edited", "the record does not match its code")

    def _finish(self) -> None:
        """Check where the log ends."""
        head = read_head(self._directory, self._seal)
        if head is None:
            what = "is missing" if not (self._directory / HEAD_NAME).exists() else "is damaged"
            self._fail_at_end(
                "cut", f"the file {HEAD_NAME}, which tells where the log ends, {what}"
            )
        if self._seq < 0:
            raise NotFoundError(
                f"the log has no record {self._since}", hint=f"its last one is {head.seq}"
            )
        if self._unsure:
            line = self._unsure[0]
            if head.seq <= self._seq:
                kind: DamageKind = "torn-tail" if not self._unsure[-1].is_whole else "foreign"
                self._fail(line, kind, "what follows the last record is none")
            if line.is_whole:
                self._fail_as_edited(line)
            self._fail(line, "cut", f"record {self._seq + 1} is cut short, of {head.seq}")
        if head.seq > self._seq:
            self._fail_at_end("cut", f"the log ended with record {head.seq}")
        if head.seq == self._seq and head.mac != self._mac:
            self._fail_at_end("rolled-back", "the last record is not the one that was written")
        later = max(self._anchored, default=0)
        if later > self._seq:
            self._fail_at_end("rolled-back", f"a checkpoint tells of record {later}")
        if self._foreign_checkpoint:
            self._fail_at_end("foreign", "a checkpoint was not signed by this log")

    def _note_intent(self, raw: bytes) -> None:
        if _INTENT not in raw and not self._open:
            return
        said = decode_line(raw)
        if said is None:
            return
        name = (said.op_id, said.path)
        if said.kind == "op":
            self._open.pop(name, None)
        elif len(self._open) < _MOST_OPEN:
            self._open[name] = None

    def _fail(self, line: Line, kind: DamageKind, reason: str) -> NoReturn:
        raise _Found(
            Damage(
                kind=kind,
                seq=self._seq + 1,
                segment=line.segment,
                offset=line.offset,
                reason=reason,
            )
        )

    def _fail_at_end(self, kind: DamageKind, reason: str) -> NoReturn:
        end = self._last.offset + len(self._last.raw) + self._last.is_whole
        self._fail(Line(self._last.segment, end, b"", is_whole=True), kind, reason)
