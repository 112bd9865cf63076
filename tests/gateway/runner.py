"""A process of a test: runs a verb that says what it reads from its input, line by line."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec

from aiex.assistant import Run
from aiex.cluster.local import SqliteStore
from aiex.core import EventBody, Finished, Principal, Redactor, Request, Text
from aiex.gateway.local import LocalGateway
from aiex.gateway.presence import Presence
from aiex.gateway.records import RequestRecords
from aiex.gateway.tables import TABLES
from aiex.runtime import SystemClock

DONE = Finished(status="ok", data=msgspec.Raw(b"{}"))


class Nothing(msgspec.Struct, frozen=True, kw_only=True):
    """No arguments."""


class Teller:
    """Says each line of the input; ends with it."""

    name = "tell"
    arguments_type = Nothing

    async def run(self, arguments: Nothing, run: Run) -> Finished:
        del arguments
        while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            await run.emit(Text(text=line.rstrip("\n")))
        return DONE


class Streamer:
    """Streams as many words as it is asked for, in the task of its reader."""

    name = "stream"
    arguments_type = Nothing

    async def stream(self, arguments: Nothing, request: Request) -> AsyncGenerator[EventBody, None]:
        del arguments, request
        for number in range(50):
            await anyio.sleep(0.01)
            yield Text(text=str(number))
        yield DONE


class Process:
    """What one process has, with a store of its own over the file of all."""

    def __init__(self, path: Path, owner: str, redactor: Redactor | None = None) -> None:
        clock = SystemClock()
        redactor = redactor or Redactor()
        self.store = SqliteStore(path, TABLES, clock=clock)
        self.presence = Presence(
            self.store, clock=clock, entropy=secrets.token_bytes, owner=owner, node="here"
        )
        self.records = RequestRecords(self.store, self.presence, clock=clock, redact=redactor)
        self.gateway = LocalGateway(
            {"tell": Teller, "stream": Streamer},
            clock=clock,
            store=self.store,
            records=self.records,
        )

    async def open(self, stack: AsyncExitStack) -> Process:
        for one in (self.store, self.presence, self.records, self.gateway):
            await stack.enter_async_context(one)
        return self


def request(id_: str = "r1", verb: str = "tell") -> Request:
    return Request(
        id=id_,
        verb=verb,
        arguments=msgspec.Raw(b"{}"),
        principal=Principal(user="ada", interface="test"),
    )


async def main(path: Path) -> None:
    async with AsyncExitStack() as stack:
        process = await Process(path, "runner").open(stack)
        async for event in process.gateway.run(request()):
            sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
