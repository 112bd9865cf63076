"""What was done to a user's files and what ran: one JSON record a line, appended, never changed.

A change is written down as an `intent` before it happens and as an `op` after, under one `op_id`.
Content and environment are never recorded. Records that change nothing are buffered, for at most
64 records or 50 ms; a kill of Aiex can lose those, and a power cut what the last 50 ms wrote. An
intent and a refusal are written at once, and a command that runs is on disk before it runs.

The folder, private to the user, holds segments of records (a new one each day, or when one is
large), the key, where the log ends (`head`), and the checkpoints. Any number of processes and
threads append to one chain: `flock` lets in one process at a time, a lock one thread of it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from aiex.core import AiexError, NotFoundError, RefusedError
from aiex.sandbox.audit.checkpoint import Anchor, Checkpoint, FileAnchor, sign_note
from aiex.sandbox.audit.head import HEAD_NAME, Head, read_head, write_head
from aiex.sandbox.audit.keys import make_key, read_key, signing_seed
from aiex.sandbox.audit.records import Actor, AuditRecord, Seal

__all__ = ["CHECKPOINTS_NAME", "AuditLog", "origin_of", "segments_of"]

CHECKPOINTS_NAME = "checkpoints"
"""Default file of the checkpoints, in the folder of the log."""

_BUFFERED = 64
_LONGEST_WAIT = 0.05
_SEGMENT_BYTES = 64 << 20
_CHECKPOINT_RECORDS = 1000
_CHECKPOINT_SECONDS = 600.0
_SEGMENT_NAME = re.compile(r"[0-9]{12,}\.jsonl")
_WE = Actor(user="aiex", interface="audit")

_logger = logging.getLogger(__name__)


class AuditLog:
    """Appends records; safe for many threads and processes at once.

    Args:
        directory: Folder of the log, private to the user; made if absent.
        node: Name of this machine in the records.
        now: Wall time, aware.
        anchor: Where checkpoints go; `None` for a file in the folder.
        redact: Takes the secrets out of a text.
        fsync: Whether every record is on disk before it counts.
        segment_bytes: Size at which a segment ends.

    Raises:
        RefusedError: The log cannot be written, or its key is gone.
    """

    def __init__(
        self,
        directory: Path,
        *,
        node: str = "local",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        anchor: Anchor | None = None,
        redact: Callable[[str], str] = str,
        fsync: bool = False,
        segment_bytes: int = _SEGMENT_BYTES,
    ) -> None:
        self._directory = directory
        self._node = node
        self._now = now
        self._anchor = anchor or FileAnchor(directory / CHECKPOINTS_NAME)
        self._redact = redact
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._buffer: list[tuple[datetime, AuditRecord]] = []
        self._segment: tuple[str, int] = ("", -1)
        self._is_dirty = False
        self._failure: RefusedError | None = None
        self._later = _Later(self._flush_late)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._gate = os.open(directory / "lock", flags, 0o600)
            self._head = os.open(directory / HEAD_NAME, flags, 0o600)
            with self._alone():
                self._key = self._first_or_known_key()
        except OSError as error:
            raise self._unwritable(error) from error
        self._seal = Seal(self._key)
        self._is_open = True

    def _first_or_known_key(self) -> bytes:
        key = read_key(self._directory)
        if key is not None:
            return key
        if segments_of(self._directory):
            raise RefusedError(
                f"the audit log in {self._directory} has lost its key, so it cannot go on",
                hint="restore audit.key from a backup, or move the folder away to begin a new log",
            )
        key = make_key(self._directory)
        write_head(self._head, Head(checked_at=self._now().timestamp()), Seal(key))
        return key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """The folder of the log."""
        return self._directory

    @property
    def origin(self) -> str:
        """Name of the log in its checkpoints."""
        return origin_of(self._seal)

    def record(self, record: AuditRecord) -> None:
        """Take *record*; an intent, a refusal and a command are in the log when this returns.

        Raises:
            RefusedError: The log cannot be written, so the operation must not happen.
        """
        record = self._redacted(record)
        with self._lock:
            if not self._is_open:
                raise NotFoundError("the audit log was closed")
            self._buffer.append((self._now(), record))
            runs = record.op == "exec"
            urgent = runs or record.kind == "intent" or record.decision == "deny"
            if urgent or self._fsync or self._failure or len(self._buffer) >= _BUFFERED:
                try:
                    self._flush(sync=runs or self._fsync)
                except RefusedError:
                    self._buffer.pop()  # what it tells of does not happen
                    raise
            if not self._later.is_pending:
                self._later.soon()

    def _redacted(self, record: AuditRecord) -> AuditRecord:
        if not (record.argv or record.reason):
            return record
        return msgspec.structs.replace(
            record,
            argv=tuple(self._redact(word) for word in record.argv),
            reason=None if record.reason is None else self._redact(record.reason),
        )

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            RefusedError: The log cannot be written.
        """
        with self._lock:
            self._flush(sync=self._fsync)

    def close(self) -> None:
        """Write what is buffered, make a checkpoint if one is due, and close the files.

        Raises:
            RefusedError: The log cannot be written.
        """
        self._later.stop()
        with self._lock:
            if not self._is_open:
                return
            try:
                self._flush(sync=True)
                self._checkpoint_if_due()
            finally:
                self._is_open = False
                for handle in (self._gate, self._head, self._segment[1]):
                    if handle >= 0:
                        os.close(handle)

    def _flush_late(self) -> None:
        """Write and sync what waits; called on a thread of its own."""
        with self._lock:
            if not self._is_open:
                return
            try:
                self._flush(sync=True)
                self._checkpoint_if_due()
            except RefusedError as error:
                self._failure = error  # whoever records next is told

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def _flush(self, *, sync: bool) -> None:
        try:
            if self._buffer:
                with self._alone():
                    head, notes = self._end()
                    self._append(head, [*((self._now(), note) for note in notes), *self._buffer])
                self._buffer.clear()
                self._is_dirty = True
            if sync and self._is_dirty:
                os.fdatasync(self._segment[1])
                self._is_dirty = False
        except OSError as error:
            raise self._unwritable(error) from error
        self._failure = None

    def _end(self) -> tuple[Head, list[AuditRecord]]:
        """Return where to append, and what has to be said about how the log was found."""
        head = read_head(self._directory, self._seal)
        notes = []
        if head is None:
            head = self._search_end()
            notes.append(_note("what told where the log ends was missing or damaged"))
        head, note = self._after_kill(head) if head.segment else (head, None)
        notes += [_note(note)] if note else []
        day = self._now().astimezone(UTC).date().isoformat()
        if not head.segment or head.size >= self._segment_bytes or head.day != day:
            if self._is_dirty:
                os.fdatasync(self._segment[1])
            name = f"{head.seq + 1:012}.jsonl"
            head = msgspec.structs.replace(head, segment=name, size=0, day=day)
            head, note = self._after_kill(head)
            notes += [_note(note)] if note else []
        return head, notes

    def _after_kill(self, head: Head) -> tuple[Head, str | None]:
        """Return *head* moved past records that were written when a kill kept it from moving.

        The note says what stands in the file or is missing from it and is no such record.
        """
        handle = self._open(head.segment)
        size = os.fstat(handle).st_size
        if size == head.size:
            return head, None
        if size < head.size:
            note = f"{head.size - size} bytes were missing from the end of {head.segment}"
            return msgspec.structs.replace(head, size=size), note
        tail = os.pread(handle, size - head.size, head.size)
        at = head.size
        for line in tail.splitlines(keepends=True):
            link = self._seal.link(line[:-1]) if line.endswith(b"\n") else None
            if link is None or (link.seq, link.prev) != (head.seq + 1, head.mac):
                break
            at += len(line)
            head = msgspec.structs.replace(head, seq=link.seq, mac=link.mac, size=at)
        if at == size:
            return head, None
        if not tail.endswith(b"\n"):
            os.write(handle, b"\n")
            size += 1
        note = f"{size - at} bytes after record {head.seq} were no record"
        return msgspec.structs.replace(head, size=size), note

    def _search_end(self) -> Head:
        """Return the end of the log as its last records tell it."""
        head = Head(checked_at=self._now().timestamp())
        for path in segments_of(self._directory):
            with path.open("rb") as lines:
                for line in lines:
                    link = self._seal.link(line.rstrip(b"\n"))
                    if link is not None and link.seq > head.seq:
                        head = msgspec.structs.replace(head, seq=link.seq, mac=link.mac)
            head = msgspec.structs.replace(head, segment=path.name, size=path.stat().st_size)
        return head

    def _open(self, name: str) -> int:
        if self._segment[0] != name:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(self._directory / name, flags, 0o600)
            if self._segment[1] >= 0:
                os.close(self._segment[1])
            self._segment = (name, handle)
        return self._segment[1]

    def _append(self, head: Head, records: list[tuple[datetime, AuditRecord]]) -> None:
        seq, mac = head.seq, head.mac
        lines = []
        for at, record in records:
            seq += 1
            line, mac = self._seal.line(record, seq=seq, at=at, node=self._node, prev=mac)
            lines.append(line + b"\n")
        data = b"".join(lines)
        handle = self._segment[1]
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, data[written:])
        head = msgspec.structs.replace(head, seq=seq, mac=mac, size=head.size + len(data))
        write_head(self._head, head, self._seal)

    def _checkpoint_if_due(self) -> None:
        head = read_head(self._directory, self._seal)
        if head is None or not self._is_due(head):
            return
        checkpoint = Checkpoint(origin=self.origin, seq=head.seq, mac=head.mac)
        try:
            self._anchor.publish(sign_note(checkpoint, signing_seed(self._key)))
            with self._alone():
                head = read_head(self._directory, self._seal)
                if head is not None:
                    head = msgspec.structs.replace(
                        head,
                        checked_seq=max(head.checked_seq, checkpoint.seq),
                        checked_at=self._now().timestamp(),
                    )
                    write_head(self._head, head, self._seal)
        except (OSError, AiexError) as error:
            _logger.warning("a checkpoint of the audit log could not be kept: %s", error)

    def _is_due(self, head: Head) -> bool:
        news = head.seq - head.checked_seq
        is_old = self._now().timestamp() - head.checked_at >= _CHECKPOINT_SECONDS
        return news >= _CHECKPOINT_RECORDS or (news > 0 and is_old)

    def _unwritable(self, error: OSError) -> RefusedError:
        return RefusedError(
            f"the audit log in {self._directory} cannot be written ({error.strerror}), and nothing "
            "is done without it",
            hint="make room or give its folder back to your user, then run again",
        )


class _Later:
    """Calls a function on a thread of its own, soon after it was asked to.

    Args:
        call: The function.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._asked = threading.Event()
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a call was asked for and has not begun."""
        return self._asked.is_set()

    def soon(self) -> None:
        """Ask for a call."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="aiex-audit", daemon=True)
            self._thread.start()
        self._asked.set()

    def stop(self) -> None:
        """Return when no call is under way; none follows."""
        self._ends.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._asked.wait()
            if self._ends.wait(_LONGEST_WAIT):
                return
            self._asked.clear()
            self._call()


def _note(text: str) -> AuditRecord:
    return AuditRecord(op_id="audit", kind="op", actor=_WE, op="audit_repaired", reason=text)


def origin_of(seal: Seal) -> str:
    """Return the name of a log in its checkpoints."""
    return f"aiex/audit/{seal.key_id}"


def segments_of(directory: Path) -> list[Path]:
    """Return the files of records in *directory*, oldest first."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - its names are all that is needed
    except OSError:
        return []
    return [directory / name for name in sorted(names) if _SEGMENT_NAME.fullmatch(name)]
