"""What was done to a user's files and what ran: one JSON record a line, appended, never changed.

A change is written down as an `intent` before it happens and as an `op` after, under one `op_id`.
Content and environment are never recorded, and what looks like a secret is masked. A record is in
the file when `record` returns, so a kill of Aiex loses none. It is on disk at once when it tells
of something that is about to change or run, or was refused; all others within 50 ms.

The folder, private to the user, holds segments of records (a new one each day, or when one is
large), the key, where the log ends (`head`), and the checkpoints. Any number of processes and
threads append to one chain: `flock` lets in one process at a time, a lock one thread of it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from aiex.core import Actor, AiexError, AuditRecord, NotFoundError, RefusedError, redacted
from aiex.sandbox.audit.chain import Seal
from aiex.sandbox.audit.checkpoint import Anchor, Checkpoint, FileAnchor, sign_note
from aiex.sandbox.audit.head import HEAD_NAME, Head, HeadFile
from aiex.sandbox.audit.keys import make_key, read_key, signing_seed

__all__ = ["CHECKPOINTS_NAME", "AuditLog", "origin_of", "segments_of"]

CHECKPOINTS_NAME = "checkpoints"
"""Default file of the checkpoints, in the folder of the log."""

_LONGEST_UNSYNCED = 0.05
_LONGEST_LOCK = 10.0
_LOCK_PAUSE = 0.001
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
        redact: Callable[[str], str] = redacted,
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
        self._segment: tuple[str, int] = ("", -1)
        self._is_dirty = False
        self._synced = 0.0
        self._later = _Later(self._sync_late)
        self._gate = self._head_handle = -1
        self._is_open = False
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._gate = os.open(directory / "lock", flags, 0o600)
            self._head_handle = os.open(directory / HEAD_NAME, flags, 0o600)
            with self._alone():
                self._begin()
            self._is_open = True
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            if not self._is_open:
                self._close_handles()

    def _begin(self) -> None:
        """Take the key of the log, or make it, and with it the log."""
        key = self._known_key()
        self._key = key or make_key(self._directory)
        self._seal = Seal(self._key)
        self._head = HeadFile(self._head_handle, self._seal)
        if key is None:
            self._head.write(Head(checked_at=self._now().timestamp()))

    def _known_key(self) -> bytes | None:
        key = read_key(self._directory)
        if key is None and segments_of(self._directory):
            raise RefusedError(
                f"the audit log in {self._directory} has lost its key, so it cannot go on",
                hint="restore audit.key from a backup, or move the folder away to begin a new log",
            )
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

    def record(self, *records: AuditRecord) -> None:
        """Write *records*; an intent and a command are on disk when this returns.

        Raises:
            RefusedError: The log cannot be written, so the operation must not happen.
        """
        with self._lock:
            if not self._is_open:
                raise NotFoundError("the audit log was closed")
            try:
                with self._alone():
                    self._append(*self._end(), records)
                self._is_dirty = True
                if self._fsync or any(map(self._is_urgent, records)):
                    self._sync()
            except OSError as error:
                raise self._unwritable(error) from error
            if not self._later.is_pending:
                self._later.soon()

    def flush(self) -> None:
        """Have everything that was recorded on disk.

        Raises:
            RefusedError: The disk did not take it.
        """
        with self._lock:
            try:
                self._sync()
            except OSError as error:
                raise self._unwritable(error) from error

    def close(self) -> None:
        """Have everything on disk, make a checkpoint if one is due, and close the files.

        Raises:
            RefusedError: The disk did not take it.
        """
        self._later.stop()
        with self._lock:
            if not self._is_open:
                return
            try:
                self._sync()
                self._checkpoint_if_due()
            except OSError as error:
                raise self._unwritable(error) from error
            finally:
                self._is_open = False
                self._close_handles()

    def _close_handles(self) -> None:
        for handle in (self._gate, self._head_handle, self._segment[1]):
            if handle >= 0:
                os.close(handle)

    def _sync_late(self) -> None:
        """Sync what was written; called on a thread of its own."""
        with self._lock:
            if not self._is_open:
                return
            try:
                self._sync()
                self._checkpoint_if_due()
            except OSError as error:
                _logger.warning("the audit log could not be synced: %s", error)

    def _is_urgent(self, record: AuditRecord) -> bool:
        """Return whether *record* has to be on disk before anything goes on.

        A tree can be made to have thousands of refusals; they share a sync.
        """
        if record.kind == "intent":
            return True
        return record.decision == "deny" and time.monotonic() > self._synced + _LONGEST_UNSYNCED

    def _sync(self) -> None:
        if self._is_dirty:
            os.fdatasync(self._segment[1])
            self._is_dirty = False
            self._synced = time.monotonic()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out; wait for one that is in for a deadline's time at most."""
        ends = time.monotonic() + _LONGEST_LOCK
        while True:
            try:
                fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > ends:
                    raise
                time.sleep(_LOCK_PAUSE)
        try:
            yield
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def _end(self) -> tuple[Head, list[AuditRecord]]:
        """Return where to append, and what has to be said about how the log was found."""
        head = self._head.read()
        notes = []
        if head is None:
            head = self._search_end()
            notes.append(_note("what told where the log ends was missing or damaged"))
        head, note = self._after_kill(head) if head.segment else (head, None)
        notes += [_note(note)] if note else []
        day = self._now().astimezone(UTC).date().isoformat()
        if not head.segment or head.size >= self._segment_bytes or head.day != day:
            self._sync()
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
        is_gone = self._segment[1] >= 0 and not os.fstat(self._segment[1]).st_nlink
        if self._segment[0] != name or is_gone:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            handle = os.open(self._directory / name, flags, 0o600)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise OSError(errno.EINVAL, f"{name} is no regular file")
            if self._segment[1] >= 0:
                os.close(self._segment[1])
            self._segment = (name, handle)
        return self._segment[1]

    def _append(
        self, head: Head, notes: Sequence[AuditRecord], records: Sequence[AuditRecord]
    ) -> None:
        seq, mac, at = head.seq, head.mac, self._now()
        lines = []
        for record in (*notes, *records):
            seq += 1
            masked = self._masked(record)
            line, mac = self._seal.line(masked, seq=seq, at=at, node=self._node, prev=mac)
            lines.append(line + b"\n")
        data = b"".join(lines)
        handle = self._segment[1]
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, data[written:])
        head = msgspec.structs.replace(head, seq=seq, mac=mac, size=head.size + len(data))
        self._head.write(head)

    def _masked(self, record: AuditRecord) -> AuditRecord:
        """Return *record* without the secrets in its words."""
        words = (record.path, record.reason or "", *record.argv)
        path, reason, *argv = kept = tuple(map(self._redact, words))
        if kept == words:
            return record
        return msgspec.structs.replace(record, path=path, reason=reason or None, argv=tuple(argv))

    def _checkpoint_if_due(self) -> None:
        head = self._head.read()
        if head is None or not self._is_due(head):
            return
        checkpoint = Checkpoint(origin=self.origin, seq=head.seq, mac=head.mac)
        try:
            self._anchor.publish(sign_note(checkpoint, signing_seed(self._key)))
            with self._alone():
                head = self._head.read()
                if head is not None:
                    head = msgspec.structs.replace(
                        head,
                        checked_seq=max(head.checked_seq, checkpoint.seq),
                        checked_at=self._now().timestamp(),
                    )
                    self._head.write(head)
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
        while not self._ends.is_set():  # `stop` may ask just before the next line but one
            self._asked.wait()
            if self._ends.wait(_LONGEST_UNSYNCED):
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
