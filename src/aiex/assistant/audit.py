"""`audit`: shows, searches, checks and writes out what was done on this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import anyio.from_thread
import anyio.to_thread
import msgspec

from aiex.assistant.verbs import Run
from aiex.core import (
    AuditArguments,
    AuditLine,
    AuditResult,
    Finished,
    Progress,
    Text,
)
from aiex.sandbox import (
    Anchor,
    FileAnchor,
    last_records,
    matching_lines,
    ocsf_event,
    verify_log,
)

__all__ = ["AuditVerb"]

_BATCH = 500


class AuditVerb:
    """The verb.

    Args:
        directory: Folder of the log.
        anchor: Where its checkpoints are sent; `None` for the file in the folder.
    """

    name = "audit"
    arguments_type = AuditArguments

    def __init__(self, directory: Path, *, anchor: Anchor | None = None) -> None:
        self._directory = directory
        self._anchor = anchor

    async def run(self, arguments: AuditArguments, run: Run) -> Finished:
        """Do what was asked for."""
        match arguments.action:
            case "tail":
                found = await anyio.to_thread.run_sync(
                    last_records, self._directory, arguments.most
                )
                return _finished(AuditResult(action="tail", records=tuple(found)))
            case "search":
                return _finished(await self._search(arguments))
            case "verify":
                return await self._verify(arguments, run)
            case "export":
                return await self._export(arguments, run)

    async def _search(self, arguments: AuditArguments) -> AuditResult:
        """Return the newest of the records that are asked for."""

        def search() -> tuple[AuditLine, ...]:
            found = matching_lines(self._directory, arguments.query)
            return tuple(deque((line for _, line in found), maxlen=arguments.most))

        records = await anyio.to_thread.run_sync(search)
        return AuditResult(action="search", records=records)

    async def _verify(self, arguments: AuditArguments, run: Run) -> Finished:
        named = arguments.anchor
        anchor = self._anchor if named is None else FileAnchor(Path(named))

        def tell(done: int) -> None:
            progress = Progress(stage="verifying", done=done, unit="records")
            anyio.from_thread.run(run.emit, progress)

        found = await anyio.to_thread.run_sync(
            lambda: verify_log(
                self._directory, since=arguments.since_seq, anchor=anchor, progress=tell
            )
        )
        result = AuditResult(action="verify", verification=found)
        return Finished(
            status="ok" if found.is_intact else "findings",
            data=msgspec.Raw(msgspec.json.encode(result)),
            termination_reason="intact" if found.damage is None else found.damage.kind,
        )

    async def _export(self, arguments: AuditArguments, run: Run) -> Finished:
        lines = matching_lines(self._directory, arguments.query, since_seq=arguments.since_seq)
        form = _FORMS[arguments.form]
        count = 0
        while batch := await anyio.to_thread.run_sync(_batch, lines):
            await run.emit(Text(text="".join(form(raw, line) for raw, line in batch)))
            count += len(batch)
        return _finished(AuditResult(action="export", exported=count))


def _batch(lines: Iterator[tuple[bytes, AuditLine]]) -> list[tuple[bytes, AuditLine]]:
    return list(islice(lines, _BATCH))


def _as_ocsf(_raw: bytes, line: AuditLine) -> str:
    return msgspec.json.encode(ocsf_event(line)).decode() + "\n"


def _as_it_is(raw: bytes, _line: AuditLine) -> str:
    return raw.decode("ascii", "backslashreplace") + "\n"


_FORMS: dict[str, Callable[[bytes, AuditLine], str]] = {"ocsf": _as_ocsf, "raw": _as_it_is}


def _finished(result: AuditResult) -> Finished:
    return Finished(status="ok", data=msgspec.Raw(msgspec.json.encode(result)))
