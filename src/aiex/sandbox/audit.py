"""What was done to a user's files and what ran: one JSON record a line, appended, never changed.

Records are buffered for at most 64 records or until something is about to be changed; a change is
written down as an `intent` before it happens and as an `op` after, under one `op_id`. Content and
environment are never recorded. The file is private to the user (0600), every line is ASCII, so a
name in it cannot act on a terminal.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from aiex.core import NotFoundError, RefusedError

__all__ = ["Actor", "AuditLog", "AuditRecord"]

_BUFFERED = 64
_LONGEST_WAIT = 0.05


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


class AuditLog:
    """Appends records; safe for many threads and processes at once.

    Args:
        directory: Folder of the log, private to the user; made if absent.
        node: Name of this machine in the records.
        now: Wall time, aware.
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
        self._buffer: list[tuple[datetime, AuditRecord]] = []
        self._oldest = 0.0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._handle = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise _unwritable(self._path, error) from error

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

    def record(self, record: AuditRecord) -> None:
        """Take *record*; an intent and a refusal are on disk when this returns.

        Raises:
            RefusedError: The log cannot be written, so the operation must not happen.
        """
        with self._lock:
            if self._handle < 0:
                raise NotFoundError("the audit log was closed")
            if not self._buffer:
                self._oldest = time.monotonic()
            self._buffer.append((self._now(), record))
            urgent = record.kind == "intent" or record.decision == "deny"
            late = time.monotonic() - self._oldest > _LONGEST_WAIT
            if urgent or late or len(self._buffer) >= _BUFFERED:
                self._flush()

    def flush(self) -> None:
        """Write what is buffered."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Write what is buffered and close the file."""
        with self._lock:
            if self._handle < 0:
                return
            try:
                self._flush()
            finally:
                os.close(self._handle)
                self._handle = -1

    def _flush(self) -> None:
        if not self._buffer:
            return
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                self._append()
            finally:
                fcntl.flock(self._handle, fcntl.LOCK_UN)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        self._buffer.clear()

    def _append(self) -> None:
        size = os.fstat(self._handle).st_size
        seq, torn = _last_seq(self._handle, size)
        lines = [b"\n"] if torn else []
        for number, (at, record) in enumerate(self._buffer, start=seq + 1):
            stamp = at.astimezone(UTC).isoformat(timespec="microseconds")
            line = _Line(v=1, seq=number, ts=stamp, node=self._node, record=record)
            lines.append(_ascii(msgspec.json.encode(line)) + b"\n")
        data = b"".join(lines)
        written = os.write(self._handle, data)
        while written < len(data):
            written += os.write(self._handle, data[written:])


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


def _ascii(line: bytes) -> bytes:
    if line.isascii():
        return line
    import json  # noqa: PLC0415 - names that are not ASCII are rare

    return json.dumps(json.loads(line), separators=(",", ":")).encode("ascii")


def _unwritable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(
        f"the audit log {path} cannot be written ({error.strerror}), and nothing is done "
        "without it",
        hint="make room or give its folder back to your user, then run again",
    )
