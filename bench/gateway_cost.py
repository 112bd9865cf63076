"""What the gateway itself costs a request and an event: CPU, in microseconds.

    python bench/gateway_cost.py [--requests N] [--events N]

A verb that only yields runs through `Gateway.run` with everything on that stands in the way of a
wire's request: admission, the journal for replay, published events, a deadline. Set beside it is
the same generator without a gateway. CPU is that of the process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import msgspec

from aiex.app.services import HouseServices
from aiex.cluster.local import SqliteStore
from aiex.core import (
    CompleteArguments,
    EventBody,
    Finished,
    Passthrough,
    Principal,
    Redactor,
    Request,
    WireBytes,
)
from aiex.gateway.admission import Admission, OwnMachine
from aiex.gateway.local import LocalGateway
from aiex.gateway.tables import TABLES
from aiex.runtime import SystemClock

PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
DONE = Finished(status="ok", data=msgspec.Raw(b"null"))


class Yielding:
    """A verb that does nothing but yield."""

    name = "complete"
    arguments_type = CompleteArguments

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    async def stream(
        self, arguments: CompleteArguments, request: Request
    ) -> AsyncGenerator[EventBody, None]:
        for _ in range(self.pieces):
            yield WireBytes(data=PIECE)
        yield DONE


async def cost(requests: int, pieces: int, *, bare: bool) -> float:
    """Return microseconds of CPU a request."""
    clock = SystemClock()
    verb = Yielding(pieces)
    with TemporaryDirectory() as folder:
        async with SqliteStore(Path(folder) / "store.db", TABLES, clock=clock) as store:
            services = HouseServices(store, clock=clock, redact=Redactor())
            gateway = LocalGateway(
                {"complete": lambda: verb},
                clock=clock,
                store=store,
                services=services.services(OwnMachine("ann")),
                records=services.records,
                admission=Admission(),
            )
            async with services.presence, services.bulletin, services.records, gateway:
                principal = Principal(user="ann", interface="http")
                raw = msgspec.Raw(msgspec.json.encode(CompleteArguments(model="a:b", stream=True)))
                before = time.process_time()
                for number in range(requests):
                    request = Request(
                        id=f"req_{number}",
                        verb="complete",
                        arguments=raw,
                        principal=principal,
                        deadline=clock.now() + timedelta(seconds=600),
                        passthrough=Passthrough(wire="openai_chat", body=b"{}"),
                    )
                    if bare:
                        async for _ in verb.stream(CompleteArguments(), request):
                            pass
                    else:
                        async for _ in gateway.run(request):
                            pass
                return (time.process_time() - before) / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=200)
    given = parser.parse_args()
    few = given.requests // 20
    bare = anyio.run(lambda: cost(given.requests, 1, bare=True))
    one = anyio.run(lambda: cost(given.requests, 1, bare=False))
    bare_long = anyio.run(lambda: cost(few, given.events + 1, bare=True))
    long = anyio.run(lambda: cost(few, given.events + 1, bare=False))
    print(f"a request with one piece: {one:.1f} us; without a gateway {bare:.1f} us")
    print(f"a further piece: {(long - one) / given.events:.2f} us; "
          f"without a gateway {(bare_long - bare) / given.events:.2f} us")  # fmt: skip


if __name__ == "__main__":
    main()
