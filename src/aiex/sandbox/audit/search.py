"""Reading the audit log back: its newest records, and those that something is true of."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from aiex.core import NotFoundError
from aiex.sandbox.audit.log import segments_of
from aiex.sandbox.audit.records import AuditLine, decode_line
from aiex.sandbox.audit.verify import lines_of

__all__ = ["AuditQuery", "last_records", "matching_records"]

_BLOCK = 1 << 16


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


def last_records(directory: Path, most: int) -> list[AuditLine]:
    """Return the newest *most* records, oldest first; damaged lines are passed by. Blocks.

    Raises:
        NotFoundError: There is no log.
    """
    found: deque[AuditLine] = deque()
    for path in reversed(_must_exist(directory)):
        for raw in _backwards(path):
            line = decode_line(raw)
            if line is not None:
                found.appendleft(line)
            if len(found) == most:
                return list(found)
    return list(found)


def matching_records(
    directory: Path, query: AuditQuery, *, since_seq: int = 1
) -> Iterator[AuditLine]:
    """Yield the records that *query* asks for, oldest first; damaged lines are passed by. Blocks.

    Args:
        directory: Folder of the log.
        query: Which records.
        since_seq: Number of the first record to look at.

    Raises:
        NotFoundError: There is no log.
    """
    _must_exist(directory)
    wanted = None if query.text is None else query.text.encode("ascii", "backslashreplace")
    for line in lines_of(directory, since=since_seq):
        if wanted is not None and wanted not in line.raw:
            continue
        record = decode_line(line.raw)
        if record is not None and record.seq >= since_seq and query.takes(record):
            yield record


def _must_exist(directory: Path) -> list[Path]:
    segments = segments_of(directory)
    if not segments:
        raise NotFoundError(f"there is no audit log in {directory}")
    return segments


def _backwards(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, the last first."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        rest = b""
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            lines = (file.read(end - start) + rest).split(b"\n")
            rest = lines[0]
            yield from (line for line in reversed(lines[1:]) if line)
            end = start
        if rest:
            yield rest
