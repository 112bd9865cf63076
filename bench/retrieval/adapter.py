"""Answers a file of questions about one folder, for a scorer of retrieval.

    python bench/retrieval/adapter.py --repo FOLDER --batch QUESTIONS.jsonl [--pack]

A line of QUESTIONS has `id`, `query` and `budget`; for each a line is printed with `id`, `budget`,
`ms` and `results`: spans of `path`, `start`, `end` (lines from 1, the last one included) and
`score`, best first. With a budget of 0 they are at most 50; else as many as `aiex context pack`
looks at, for the scorer to pack, or with `--pack` those that Aiex itself packs into that many
tokens, paths and line numbers paid for. The last line holds `stats`.

The index is made in a folder of its own, through the sandbox, by what `aiex context` uses, and
nothing outlives the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from aiex.assistant.context import packed_for, selected
from aiex.assistant.indexing import Fresh, Indexer
from aiex.core import Actor, EventBody, Principal, Request
from aiex.sandbox import AuditLog, FilePolicy, Files

_RANKED, _LOOKED_AT = 50, 300
_BYTES_A_TOKEN = 4


class Asked:
    """A request for the index of a folder, of which nobody wants to hear how far it is.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.request = Request(
            id="bench",
            verb="context",
            arguments=msgspec.Raw(b"{}"),
            principal=Principal(user="bench", interface="cli"),
            root=str(root),
        )

    async def emit(self, body: EventBody) -> None:
        """Let it pass."""


@asynccontextmanager
async def indexed(root: Path, state: Path) -> AsyncGenerator[Fresh, None]:
    """Hand out the index of *root*, brought up to date.

    Args:
        root: The folder that is indexed.
        state: Where the index and the audit are kept.
    """
    actor = Actor(user="bench", interface="cli")
    with (
        AuditLog(state / "audit") as audit,
        Files(
            root, state=state, policy=FilePolicy(), audit=audit, actor=actor, op_id="bench"
        ) as files,
    ):
        indexer = Indexer(lambda _: files, state / "index")
        async with indexer.fresh(Asked(root)) as fresh:
            yield fresh


def tokens_of(text: str) -> int:
    """Return about how many tokens *text* has."""
    return len(text) // _BYTES_A_TOKEN


async def spans_for(fresh: Fresh, query: str, budget: int, *, packs: bool) -> list[dict[str, Any]]:
    """Return the spans that answer *query*, best first."""
    found = await selected(fresh, query, limit=_LOOKED_AT if budget else _RANKED)
    if budget and packs:
        packed = await packed_for(fresh.files, found.hits, budget, tokens_of)
        return [
            {"path": s.path, "start": s.start_line, "end": s.end_line, "score": 0.0}
            for s in packed.spans
        ]
    return [
        {"path": h.path, "start": h.start_line, "end": h.end_line, "score": h.score}
        for h in found.hits
    ]


async def answer(root: Path, questions: Sequence[Any], *, packs: bool) -> None:
    with tempfile.TemporaryDirectory() as state:
        began = time.perf_counter()
        async with indexed(root, Path(state)) as fresh:
            index_s = time.perf_counter() - began
            for question in questions:
                began = time.perf_counter()
                spans = await spans_for(fresh, question["query"], question["budget"], packs=packs)
                line = {
                    "id": question["id"],
                    "budget": question["budget"],
                    "ms": round((time.perf_counter() - began) * 1000, 2),
                    "results": spans,
                }
                print(json.dumps(line))
            size = fresh.index.size()
            scan = fresh.files.scan()
            stats = {
                "index_s": round(index_s, 2),
                "files": sum(size.files.values()),
                "bytes": sum(entry.size for entry in scan.entries),
                "chunks": size.chunks,
                "index_bytes": size.bytes_on_disk,
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            }
            print(json.dumps({"stats": stats}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repo", type=Path, required=True)
    parser.add_argument("--batch", type=Path, required=True)
    parser.add_argument("--pack", action="store_true")
    asked = parser.parse_args()
    questions = [json.loads(line) for line in asked.batch.read_text().splitlines() if line]
    asyncio.run(answer(asked.repo.resolve(), questions, packs=asked.pack))


if __name__ == "__main__":
    main()
