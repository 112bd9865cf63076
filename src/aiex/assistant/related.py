"""What else of a project a model should see for a question: pieces that the index finds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import anyio.to_thread

from aiex.assistant.context import selected
from aiex.assistant.indexing import Indexer
from aiex.assistant.project import looks_like_project
from aiex.assistant.verbs import Run
from aiex.context import Hit, Item
from aiex.core import AiexError, Notice, StoreError
from aiex.sandbox import Files

__all__ = ["Related"]

_MOST = 8


class Related:
    """Finds pieces of the project that have to do with a question.

    Args:
        indexer: Keeps the index of the project.
    """

    def __init__(self, indexer: Indexer) -> None:
        self._indexer = indexer

    async def items(
        self, run: Run, question: str, *, reason: str, without: Collection[str] = ()
    ) -> list[Item]:
        """Return the pieces of code that fit *question*, best first; none where nothing does.

        A folder that looks like no project is not searched, and neither is one whose index
        cannot be kept, which is said: what is asked can be done without.

        Args:
            run: The request.
            question: In words, or anything else that can be searched for.
            reason: Why they are shown.
            without: Paths of files that are shown anyway.
        """
        root = run.request.root
        if root is None or not await anyio.to_thread.run_sync(looks_like_project, Path(root)):
            return []
        try:
            async with self._indexer.fresh(run) as fresh:
                found = await selected(fresh, question, limit=_MOST + len(without))
                if found.confidence in {"weak", "none"}:
                    return []
                hits = [hit for hit in found.hits if hit.path not in without][:_MOST]
                return await anyio.to_thread.run_sync(_read, fresh.files, hits, reason)
        except StoreError as error:
            text = f"the project was not searched: {error.message}"
            await run.emit(Notice(text=text, level="warning"))
            return []


def _read(files: Files, hits: Sequence[Hit], reason: str) -> list[Item]:
    items: list[Item] = []
    for hit in hits:
        if hit.kind not in {"code", "test", "example"}:
            continue
        try:
            lines = files.read_lines(hit.path, hit.start_line, hit.end_line)
        except AiexError:
            continue  # it went away since it was found
        text = lines.content.decode("utf-8", "replace")
        items.append(Item(path=hit.path, start_line=hit.start_line, text=text, reason=reason))
    return items
