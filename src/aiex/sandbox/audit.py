"""What was done to a user's files and what ran: one JSON record a line, appended, never changed.

A record is in the file when `record` returns, so a kill loses none; it is on disk at once when it
is an `intent` or a refusal, and otherwise with the next of those, after 64 records or 50 ms, or
when the log is closed. A change is written down as an `intent` before it happens and as an `op`
after, under one `op_id`. Content and environment are never recorded, and what looks like a key in
a name, a reason or a command line is masked. The file is private to the user (0600), every line
is printable ASCII, so a name in it cannot act on a terminal.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from aiex.core import NotFoundError, RefusedError

__all__ = ["Actor", "AuditLog", "AuditRecord", "redacted"]

_UNSYNCED = 64
_LONGEST_UNSYNCED = 0.05
_LOCK_WAIT = 10.0
_LOCK_PAUSE = 0.001
_MASK = "[redacted]"
_SECRET = re.compile(
    r"""-----BEGIN[ ][A-Z0-9 ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z0-9 ]*-----|$)
    | \b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}
    | \baiex_[A-Za-z0-9]+_[A-Za-z0-9_-]{16,}
    | \bgh[pousr]_[A-Za-z0-9]{16,} | \bgithub_pat_[A-Za-z0-9_]{16,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b
    | \bAIza[A-Za-z0-9_-]{30,}
    | \bhf_[A-Za-z0-9]{16,}
    | \bxox[a-z]-[A-Za-z0-9-]{8,}
    | \beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)""",
    re.VERBOSE | re.DOTALL,
)


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
        op: Verb, such as `read` or `apply`.
        path: File, relative to the root; empty where none is meant.
        root_id: Digest of the root's absolute path, 12 hexadecimal digits.
        decision: Whether it was allowed.
        rule: Rule that refused it; `None` if nothing did.
        reason: In words; `None` if there is nothing to say.
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
    bytes: int | None = None
    count: int | None = None
    sha256_before: str | None = None
    sha256_after: str | None = None
    argv: tuple[str, ...] = ()
    exit: int | None = None
    dur_us: int = 0


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    v: int
    seq: int
    ts: str
    node: str
    record: AuditRecord


def redacted(text: str) -> str:
    """Return *text* with everything masked that looks like a key, a token or a password.

    Example:
        >>> redacted("curl https://me:hunter2@example.org")
        'curl https://[redacted]@example.org'
    """
    return _SECRET.sub(_MASK, text)


class AuditLog:
    """Appends records; safe for many threads and processes at once.

    Args:
        directory: Folder of the log, private to the user; made if absent.
        node: Name of this machine in the records.
        now: Wall time, aware.

    Raises:
        RefusedError: The log cannot be opened for writing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        node: str = "local",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._path = directory / "audit.jsonl"
        self._node = node
        self._now = now
        self._lock = threading.Lock()
        self._seq = 0
        self._size = 0
        self._unsynced = 0
        self._oldest = 0.0
        self._handle = self._open()

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
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    def record(self, *records: AuditRecord) -> None:
        """Write *records*; an intent and a refusal are on disk when this returns.

        Raises:
            RefusedError: The log cannot be written, so the operation must not happen.
        """
        with self._lock:
            if self._handle < 0:
                raise NotFoundError("the audit log was closed")
            try:
                self._append(records)
                urgent = any(r.kind == "intent" or r.decision == "deny" for r in records)
                self._sync(urgent=urgent)
            except OSError as error:
                raise _unwritable(self._path, error) from error

    def flush(self) -> None:
        """Have everything that was recorded on disk.

        Raises:
            RefusedError: The disk did not take it.
        """
        with self._lock:
            if self._handle < 0 or not self._unsynced:
                return
            try:
                self._sync(urgent=True)
            except OSError as error:
                raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Have everything on disk and close the file."""
        try:
            self.flush()
        finally:
            with self._lock:
                if self._handle >= 0:
                    os.close(self._handle)
                    self._handle = -1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise RefusedError(f"the audit log {self._path} is no regular file")
        return handle

    def _append(self, records: Iterable[AuditRecord]) -> None:
        self._wait_for_turn()
        try:
            status = os.fstat(self._handle)
            torn = False
            if status.st_size != self._size:  # another process wrote, or this is the first record
                self._seq, torn = _last_seq(self._handle, status.st_size)
            lines = [b"\n"] if torn else []
            for number, record in enumerate(records, start=self._seq + 1):
                lines.append(self._line(number, record))
            data = b"".join(lines)
            self._size = -1  # if this fails, the next record looks at what is there
            written = os.write(self._handle, data)
            while written < len(data):
                written += os.write(self._handle, data[written:])
            self._seq += len(lines) - torn
            self._size = status.st_size + len(data)
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _wait_for_turn(self) -> None:
        """Lock the file that has the log's name now, for a deadline's time at most."""
        deadline = time.monotonic() + _LOCK_WAIT
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_PAUSE)
                continue
            if os.fstat(self._handle).st_nlink:
                return
            # Somebody removed the log: what is written to a file without a name is lost.
            fresh = self._open()
            os.close(self._handle)
            self._handle, self._size = fresh, -1

    def _line(self, seq: int, record: AuditRecord) -> bytes:
        stamp = self._now().astimezone(UTC).isoformat(timespec="microseconds")
        line = _Line(v=1, seq=seq, ts=stamp, node=self._node, record=_masked(record))
        try:
            raw = msgspec.json.encode(line)
        except UnicodeEncodeError:  # a name that is not UTF-8
            raw = b"\xff"
        if not raw.isascii():
            plain = msgspec.to_builtins(line)
            raw = json.dumps(plain, separators=(",", ":")).encode("ascii")
        return raw.replace(b"\x7f", b"\\u007f") + b"\n"

    def _sync(self, *, urgent: bool) -> None:
        now = time.monotonic()
        if not self._unsynced:
            self._oldest = now
        self._unsynced += 1
        late = now - self._oldest > _LONGEST_UNSYNCED
        if urgent or late or self._unsynced >= _UNSYNCED:
            os.fsync(self._handle)
            self._unsynced = 0


def _masked(record: AuditRecord) -> AuditRecord:
    """Return *record* without what looks like a secret in its words."""
    words = (record.path, record.reason or "", *record.argv)
    if not any(map(_SECRET.search, words)):
        return record
    return msgspec.structs.replace(
        record,
        path=redacted(record.path),
        reason=None if record.reason is None else redacted(record.reason),
        argv=tuple(map(redacted, record.argv)),
    )


def _last_seq(handle: int, size: int) -> tuple[int, bool]:
    """Return the newest number in the log, and whether its last line was cut by a kill."""
    if size == 0:
        return 0, False
    tail = b""
    start = size
    while start > 0:
        start = max(0, start - 65536)
        tail = os.pread(handle, size - start, start)
        lines = [line for line in tail.split(b"\n")[0 if start == 0 else 1 :] if line]
        for line in reversed(lines):
            try:
                seq = msgspec.json.decode(line, type=_Seq).seq
            except msgspec.DecodeError:
                continue
            return seq, not tail.endswith(b"\n")
    return 0, not tail.endswith(b"\n")


class _Seq(msgspec.Struct):
    seq: int


def _unwritable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"the audit log {path} cannot be written ({error.strerror}), and nothing is done "
        "without it",
        hint="make room or give its folder back to your user, then run again",
    )
