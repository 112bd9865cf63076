"""Reading the audit log back: its newest records, and those that something is true of."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from aiex.core import AuditLine, AuditQuery, NotFoundError
from aiex.sandbox.audit.chain import decode_line
from aiex.sandbox.audit.log import segments_of
from aiex.sandbox.audit.verify import lines_of

__all__ = ["last_records", "matching_lines"]

_BLOCK = 1 << 16


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


def matching_lines(
    directory: Path, query: AuditQuery, *, since_seq: int = 1
) -> Iterator[tuple[bytes, AuditLine]]:
    """Yield what *query* asks for, oldest first: each line as it stands, and what it says.

    Lines that are no records are passed by. Blocks.

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
            yield line.raw, record


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
