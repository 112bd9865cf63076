"""How far the estimates of prompts are from what providers billed for them.

    python bench/tokens.py RECORDINGS [--json]

Replays recorded exchanges (as aiex.testing.replay reads them) and compares. Left out are prompts
of fewer than 40 tokens, and those whose bill is for more than was sent: pictures, tools of the
provider's own, parts that only their wire understands.

Each way of counting is measured as it starts (`known`) and as it is when it has learned from all
other exchanges but the one that is measured, five times over (`learned`). `body` is what is done
for a request that nobody decodes. An error is (estimate - bill) / bill: below 0 is the side that
overflows a window.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import msgspec

from aiex.core import Finish, ImagePart, ModelCall, OpaquePart, ToolResultPart, Usage
from aiex.llm import TokenCounter
from aiex.llm.body_size import BodySize
from aiex.llm.ports import Counted
from aiex.testing.replay import Exchange, load_exchanges
from aiex.wires import anthropic_messages, ollama, openai_chat, openai_responses

WIRES: dict[str, ModuleType] = {
    "/v1/chat/completions": openai_chat,
    "/v1/responses": openai_responses,
    "/v1/messages": anthropic_messages,
    "/api/chat": ollama,
}
SMALLEST = 40
ROUNDS = 5


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt and its bill."""

    call: ModelCall
    body: bytes
    billed: int


def usage_of(exchange: Exchange, wire: ModuleType) -> Usage | None:
    if not exchange.is_stream:
        reply: Any = wire.decode_reply(bytes(exchange.response.body))
        return reply.finish.usage  # type: ignore[no-any-return]
    decoder = wire.StreamDecoder()
    deltas = [*decoder.feed((exchange.response.stream_text or "").encode()), *decoder.end()]
    return next((delta.usage for delta in deltas if isinstance(delta, Finish)), None)


def is_text(call: ModelCall) -> bool:
    parts = [part for message in call.messages for part in message.parts]
    return not any(
        isinstance(part, ImagePart | OpaquePart)
        or (isinstance(part, ToolResultPart) and part.images)
        for part in parts
    ) and all(tool.opaque is None or bytes(tool.parameters) for tool in call.tools)


def cases_in(folder: Path) -> list[Case]:
    cases = []
    for exchange in load_exchanges(folder):
        wire = WIRES.get(exchange.api)
        if wire is None or exchange.response.status != 200:
            continue
        body = bytes(exchange.request.body)
        call = wire.decode_request(body).call
        usage = usage_of(exchange, wire)
        if usage is not None and usage.input_tokens >= SMALLEST and is_text(call):
            cases.append(Case(call=call, body=body, billed=usage.input_tokens))
    return cases


Measure = Callable[[TokenCounter, Case], Counted]


def by_text(counter: TokenCounter, case: Case) -> Counted:
    return counter.measure(case.call)


def by_body(counter: TokenCounter, case: Case) -> Counted:
    size = BodySize.of(case.body)
    return counter.measure_body(
        size.text_bytes,
        model=case.call.model,
        beside=size.other_tokens,
        has_tools=size.has_tools,
    )


def error(counter: TokenCounter, case: Case, measure: Measure) -> float:
    estimate = counter.tokens(measure(counter, case), case.call.model)
    return (estimate - case.billed) / case.billed


def summary(errors: Sequence[float]) -> dict[str, float]:
    sizes = sorted(abs(one) for one in errors)
    return {
        "prompts": len(errors),
        "median": round(statistics.median(sizes), 3),
        "p90": round(sizes[int(len(sizes) * 0.9)], 3),
        "worst_below": round(min(errors), 3),
        "below_by_a_tenth": round(sum(one < -0.1 for one in errors) / len(errors), 3),
    }


async def opened(sharp: bool) -> TokenCounter | None:
    counter = TokenCounter()
    return None if sharp and not await counter.sharpen() else counter


async def measured(
    cases: Sequence[Case], measure: Measure, *, sharp: bool
) -> dict[str, dict[str, float]] | None:
    known = await opened(sharp)
    if known is None:
        return None
    before = [error(known, case, measure) for case in cases]
    after = []
    for case in cases:
        counter = await opened(sharp)
        assert counter is not None
        for other in [one for one in cases if one is not case] * ROUNDS:
            counter.learn(other.call.model, measure(counter, other), billed=other.billed)
        after.append(error(counter, case, measure))
    return {"known": summary(before), "learned": summary(after)}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    cases = cases_in(asked.recordings)
    if not cases:
        parser.exit(1, f"no recorded exchanges in {asked.recordings}\n")
    large = [case for case in cases if case.billed >= 400]
    found = {
        f"{name}, {size}": await measured(some, measure, sharp=name == "o200k")
        for name, measure in (("bytes", by_text), ("o200k", by_text), ("body", by_body))
        for size, some in (("all", cases), ("400 tokens and more", large))
    }
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    for name, rows in found.items():
        print(name if rows else f"{name}: the extra tokens is not installed")
        for row, values in (rows or {}).items():
            told = "  ".join(f"{key} {value:g}" for key, value in values.items())
            print(f"  {row:8} {told}")


if __name__ == "__main__":
    anyio.run(main)
