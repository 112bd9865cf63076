"""Answers a file of questions as other ways to find code do; beside `adapter.py`, same contract.

    python -m venv PEERS && PEERS/bin/pip install semble==0.7.0 bm25s==0.3.16
    PEERS/bin/python bench/retrieval/peers.py KIND --repo FOLDER --batch QUESTIONS.jsonl

KIND is `semble` (its chunks and its BM25, without its embeddings, which want a model),
`semble-reranked` (its reranker on top of that), `files` (BM25 by bm25s over whole source files) or
`lines` (over every 40 lines of them). They are never part of Aiex, which is not imported here.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

_RANKED, _LOOKED_AT = 50, 300
_LINES = 40
_LARGEST = 1 << 20
_SOURCES = re.compile(r"\.(?:c|cc|cpp|exs?|go|h|hpp|java|jsx?|kt|php|py|rb|rs|tsx?|vue)$")

Spans = list[dict[str, Any]]
Search = Callable[[str, int], Spans]


class NoModel:
    """Stands where semble has a model of embeddings: every text is the same to it."""

    dim = 1

    def encode(self, texts: list[str], **_: object) -> Any:
        """Return the same vector for each of *texts*."""
        return importlib.import_module("numpy").ones((len(texts), 1), dtype="float32")


def semble(root: Path, *, reranks: bool) -> tuple[Search, int]:
    """Return how semble's BM25 searches *root*, and its number of chunks."""
    create = importlib.import_module("semble.index.create").create_index_from_path
    search = importlib.import_module("semble.search").search
    model = NoModel()
    bm25, vectors, chunks, _ = create(root, model, display_root=root)

    def find(query: str, limit: int) -> Spans:
        found = search(query, model, vectors, bm25, chunks, limit, alpha=0.0, rerank=reranks)
        return [
            {
                "path": one.chunk.file_path,
                "start": one.chunk.start_line,
                "end": one.chunk.end_line,
                "score": float(one.score),
            }
            for one in found
        ]

    return find, len(chunks)


def sources(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the path and the lines of each source file below *root*."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in {".git", "node_modules"}]
        for name in names:
            path = Path(folder, name)
            if _SOURCES.search(name) and path.stat().st_size <= _LARGEST:
                yield str(path.relative_to(root)), path.read_text("utf-8", "replace").split("\n")


def plain(root: Path, *, lines: int | None) -> tuple[Search, int]:
    """Return how plain BM25 searches *root*, and its number of pieces.

    Args:
        root: The folder.
        lines: Lines of a piece; `None` for whole files.
    """
    bm25s = importlib.import_module("bm25s")
    pieces: list[tuple[str, int, int]] = []
    texts: list[str] = []
    for path, text in sources(root):
        step = lines or len(text)
        for first in range(0, len(text), step):
            part = text[first : first + step]
            pieces.append((path, first + 1, first + len(part)))
            texts.append("\n".join([path, *part]))
    words = partial(bm25s.tokenize, stopwords="en", show_progress=False)
    index = bm25s.BM25()
    index.index(words(texts), show_progress=False)

    def find(query: str, limit: int) -> Spans:
        numbers, scores = index.retrieve(
            words([query]), k=min(limit, len(pieces)), show_progress=False
        )
        return [
            dict(
                zip(("path", "start", "end", "score"), (*pieces[number], float(score)), strict=True)
            )
            for number, score in zip(numbers[0], scores[0], strict=True)
            if score > 0
        ]

    return find, len(pieces)


KINDS: dict[str, Callable[[Path], tuple[Search, int]]] = {
    "semble": partial(semble, reranks=False),
    "semble-reranked": partial(semble, reranks=True),
    "files": partial(plain, lines=None),
    "lines": partial(plain, lines=_LINES),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--repo", type=Path, required=True)
    parser.add_argument("--batch", type=Path, required=True)
    asked = parser.parse_args()
    began = time.perf_counter()
    find, chunks = KINDS[asked.kind](asked.repo.resolve())
    index_s = round(time.perf_counter() - began, 2)
    for line in asked.batch.read_text().splitlines():
        question = json.loads(line)
        began = time.perf_counter()
        spans = find(question["query"], _LOOKED_AT if question["budget"] else _RANKED)
        ms = round((time.perf_counter() - began) * 1000, 2)
        answer = {"id": question["id"], "budget": question["budget"], "ms": ms, "results": spans}
        print(json.dumps(answer))
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"stats": {"index_s": index_s, "chunks": chunks, "rss_mb": rss_mb}}))


if __name__ == "__main__":
    main()
