"""`context`: what of a project answers a question, and the index that tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import anyio.to_thread
import msgspec

from aiex.assistant.indexing import Fresh, Indexer
from aiex.assistant.models import Models
from aiex.assistant.verbs import Run
from aiex.context import Hit, Packed, Selection, Selector, outline, pack, understand
from aiex.core import (
    AiexError,
    ContextArguments,
    ContextResult,
    Finished,
    HitView,
    IndexView,
    PackedView,
    UsageError,
)
from aiex.sandbox import Files

__all__ = ["ContextVerb", "packed_for", "selected"]

_MOST_PACKED = 300  # pieces that are looked at for a text
_LEAST_BUDGET, _MOST_BUDGET = 100, 1_000_000
_MOST_HITS = 500
_BYTES_A_TOKEN = 4

Count = Callable[[str], int]


class ContextVerb:
    """The verb.

    Args:
        indexer: Keeps the indexes.
        models: Counts tokens.
    """

    name = "context"
    arguments_type = ContextArguments

    def __init__(self, indexer: Indexer, models: Models) -> None:
        self._indexer = indexer
        self._models = models

    async def run(self, arguments: ContextArguments, run: Run) -> Finished:
        """Do it; every action but `status` and `forget` brings the index up to date first."""
        _check(arguments)
        if arguments.action == "forget":
            async with self._indexer.opened(run) as fresh:
                await anyio.to_thread.run_sync(fresh.index.forget)
            return _finished(ContextResult(action="forget"))
        if arguments.action == "status":
            async with self._indexer.opened(run) as fresh:
                result = ContextResult(action="status", index=await _view(fresh))
            return _finished(result, fresh)
        async with self._indexer.fresh(run, rebuild=arguments.rebuild) as fresh:
            match arguments.action:
                case "search":
                    result = await self._search(arguments, fresh)
                case "pack":
                    result = await self._pack(arguments, fresh, run)
                case "map":
                    result = await self._map(arguments, fresh, run)
                case _:
                    result = ContextResult(action="index")
            result = msgspec.structs.replace(result, index=await _view(fresh))
        return _finished(result, fresh)

    async def _search(self, arguments: ContextArguments, fresh: Fresh) -> ContextResult:
        found = await selected(fresh, arguments.query, limit=arguments.limit)
        return _found(arguments, found)

    async def _pack(self, arguments: ContextArguments, fresh: Fresh, run: Run) -> ContextResult:
        found = await selected(fresh, arguments.query, limit=_MOST_PACKED)
        count = partial(self._models.count, model=run.request.options.model or "")
        packed = await packed_for(fresh.files, found.hits, arguments.budget, count)
        return msgspec.structs.replace(
            _found(arguments, msgspec.structs.replace(found, hits=())),
            text=packed.text,
            tokens=packed.tokens,
            packed=tuple(
                PackedView(path=s.path, start_line=s.start_line, end_line=s.end_line)
                for s in packed.spans
            ),
            left_out=packed.left_out,
        )

    async def _map(self, arguments: ContextArguments, fresh: Fresh, run: Run) -> ContextResult:
        count = partial(self._models.count, model=run.request.options.model or "")
        made = await anyio.to_thread.run_sync(outline, fresh.index, arguments.budget, count)
        return ContextResult(
            action="map", text=made.text, tokens=made.tokens, left_out=made.left_out
        )


async def selected(fresh: Fresh, query: str, *, limit: int) -> Selection:
    """Return what of the project answers *query*, best first."""
    select = partial(Selector(fresh.index).select, limit=limit)
    return await anyio.to_thread.run_sync(select, understand(query))


async def packed_for(files: Files, hits: Sequence[Hit], budget: int, count: Count) -> Packed:
    """Return *hits* as one text of at most *budget* tokens, read through the sandbox.

    No more files are opened than the budget can hold a piece of.
    """
    return await anyio.to_thread.run_sync(partial(_read_and_pack, files, hits, budget, count))


def _read_and_pack(files: Files, hits: Sequence[Hit], budget: int, count: Count) -> Packed:
    texts: dict[str, list[str]] = {}
    left = budget * _BYTES_A_TOKEN
    for hit in hits:
        if hit.path in texts:
            continue
        if left < 0:
            break
        [content] = files.read_many([hit.path])
        if not isinstance(content, AiexError):
            texts[hit.path] = content.content.decode("utf-8", "replace").split("\n")
            left -= sum(map(len, texts[hit.path][hit.start_line - 1 : hit.end_line]))
    return pack(hits, texts, budget, count)


def _check(arguments: ContextArguments) -> None:
    if arguments.action in {"search", "pack"} and not arguments.query.strip():
        raise UsageError(
            "there is nothing to look for", hint=f'aiex context {arguments.action} "a question"'
        )
    if not 1 <= arguments.limit <= _MOST_HITS:
        raise UsageError(f"the limit is {arguments.limit}, and must be 1 to {_MOST_HITS}")
    if not _LEAST_BUDGET <= arguments.budget <= _MOST_BUDGET:
        raise UsageError(
            f"the budget is {arguments.budget} tokens, and must be "
            f"{_LEAST_BUDGET} to {_MOST_BUDGET}"
        )


def _found(arguments: ContextArguments, found: Selection) -> ContextResult:
    return ContextResult(
        action=arguments.action,
        query=arguments.query,
        hits=tuple(
            HitView(
                path=hit.path,
                start_line=hit.start_line,
                end_line=hit.end_line,
                score=hit.score,
                kind=hit.kind,
                scope=hit.scope,
                symbols=hit.symbols,
                signature=hit.signature,
                reason=hit.reason,
            )
            for hit in found.hits
        ),
        confidence=found.confidence,
        strength=found.strength,
        unknown=found.unknown,
    )


async def _view(fresh: Fresh) -> IndexView:
    size = await anyio.to_thread.run_sync(fresh.index.size)
    return IndexView(
        files=dict(size.files),
        chunks=size.chunks,
        lines=size.lines,
        bytes_on_disk=size.bytes_on_disk,
        read=fresh.read,
        removed=fresh.removed,
        waiting=fresh.waiting,
        rebuilt=fresh.index.rebuilt,
        folder=str(fresh.index.folder),
    )


def _finished(result: ContextResult, fresh: Fresh | None = None) -> Finished:
    reasons = {"forget": "forgotten", "index": "indexed", "status": "looked", "map": "outlined"}
    return Finished(
        status="ok",
        data=msgspec.Raw(msgspec.json.encode(result)),
        termination_reason=reasons.get(result.action, result.confidence),
        not_checked=() if fresh is None else fresh.not_checked,
    )
