"""What the index of `aiex context` costs: to make, to keep up, to ask, to hold.

    python bench/index.py [FOLDER] [--runs N] [--large FILES]

Without a FOLDER a project of 1,000 files is made from the blocks of Aiex's own sources; it is
worked on as a copy, and through the sandbox. `--large` adds a project of that many files, of the
same make (100000 gives some million chunks, takes 2 GB below the folder of temporary files, and
many minutes). What is timed follows the imports; each row names its bar, and the peer or the bound
that was measured with it, in turn with it:

cold     files whose language is read, a second of CPU of all threads (bar: 230); resident: 200 MB
check    10,000 unchanged files: scan through the sandbox and compare (bar: 100 ms), beside a bare
         walk by os.scandir and stat
changed  one file changed: everything of a command but its start, to the answer that has the new
         word (bar: 100 ms)
query    understood and selected, with neighbours (bars: 10 ms at the median, 30 ms at the 99th
         percentile; at a million chunks 100 ms at the median), beside FTS5 of SQLite over the same
         chunks, any of the same words, best 50
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import re
import resource
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from aiex.assistant.context import selected
from aiex.code import chunk_code, chunk_text, is_binary, language_of
from aiex.context import Selector, understand
from retrieval.adapter import indexed

OWN_SOURCES = Path(__file__).resolve().parents[1] / "src"
CODE_KINDS = ("code", "test", "example", "generated")
SETTLED = 2.1
QUERIES = 300
BLOCKS_A_FILE = 12
CHECKED = 10_000

T = TypeVar("T")


class Cold(msgspec.Struct, kw_only=True):
    """What it took to index a project.

    Attributes:
        files: Files that are indexed.
        code_files: Those whose language is read.
        chunks: Their pieces.
        lines: Their lines.
        cpu: Seconds of CPU, of all threads.
        wall: Seconds.
        resident: Largest resident set until then, bytes.
        on_disk: Bytes of the index.
    """

    files: int
    code_files: int
    chunks: int
    lines: int
    cpu: float
    wall: float
    resident: int
    on_disk: int


def in_child(function: Callable[..., T], *arguments: object) -> T:
    """Return what *function* returns in a process of its own, whose memory is nobody else's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as children:
        return children.submit(function, *arguments).result()


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


# ---------------------------------------------------------------- projects


def blocks() -> tuple[list[bytes], list[bytes]]:
    """Return the definitions of Aiex's own sources that stand at the margin, and all names."""
    texts = [path.read_bytes() for path in sorted(OWN_SOURCES.rglob("*.py"))]
    found = [part for text in texts for part in re.split(rb"\n\n\n(?=[A-Za-z@])", text)]
    names = sorted({name for text in texts for name in re.findall(rb"[a-z]{4,}", text)})
    return found, names


def make_project(folder: Path, files: int) -> None:
    """Write a project of *files* modules, the same every time.

    Each is a dozen blocks of real code and a function that no other has, so that words come as
    often as they do in life.
    """
    chance = random.Random(15)
    parts, names = blocks()
    for number in range(files):
        package = folder / f"part_{number // 2500}" / f"room_{number // 50 % 50}"
        if number % 50 == 0:
            package.mkdir(parents=True, exist_ok=True)
        one, two = chance.choice(names), chance.choice(names)
        own = b"def %s_%s_%d(%s):\n    return %s\n" % (one, two, number, one, one)
        body = b"\n\n\n".join([*chance.choices(parts, k=BLOCKS_A_FILE), own])
        package.joinpath(f"{one.decode()}_{number}.py").write_bytes(body)


def questions(root: Path, most: int) -> list[str]:
    """Return comments and prose of a project, a line each, as things that one could ask."""
    chance = random.Random(7)
    found: list[str] = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.stat().st_size > 1 << 20 or len(found) > 100_000:
            continue
        content = path.read_bytes()
        if not is_binary(content):
            lines = map(str.strip, content.decode("utf-8", "replace").split("\n"))
            found += [
                line
                for line in lines
                if re.match(r"(?:#|//|\*|--|[A-Z])", line) and 4 <= len(line.split()) <= 20
            ]
    return chance.sample(found, min(most, len(found)))


def walked(root: str) -> int:
    """Return the number of files below *root*, each of which was asked for its stat."""
    count = 0
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


# ---------------------------------------------------------------- what is measured


def cold(root: Path, state: Path) -> Cold:
    """Index *root* for the first time."""

    async def run() -> Cold:
        wall, cpu = time.perf_counter(), time.process_time()
        async with indexed(root, state) as fresh:
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            size = fresh.index.size()
            return Cold(
                files=sum(size.files.values()),
                code_files=sum(size.files.get(kind, 0) for kind in CODE_KINDS),
                chunks=size.chunks,
                lines=size.lines,
                cpu=cpu,
                wall=wall,
                resident=resident(),
                on_disk=size.bytes_on_disk,
            )

    return asyncio.run(run())


def checks(root: Path, state: Path, runs: int) -> dict[str, list[float]]:
    """Return the seconds of each step of looking for changes where there are none."""
    spent: dict[str, list[float]] = {"bare walk": [], "scan": [], "compare": []}

    async def run() -> None:
        async with indexed(root, state) as fresh:
            for _ in range(runs):
                spent["bare walk"].append(_timed(lambda: walked(str(root)))[0])
                seconds, scan = _timed(fresh.files.scan)
                spent["scan"].append(seconds)
                seconds, changed = _timed(lambda: fresh.index.compare(scan.entries))  # noqa: B023
                spent["compare"].append(seconds)
                if changed.touched or changed.gone:
                    raise SystemExit("what nobody changed was found changed")

    asyncio.run(run())
    return spent


def changes(root: Path, state: Path, runs: int) -> list[float]:
    """Return the seconds from each change of a file until it is found."""
    files = sorted(
        (p for p in root.rglob("*") if p.is_file() and language_of(p.name, b"")),
        key=lambda path: path.stat().st_size,
    )
    path = files[len(files) // 2]

    async def search(word: str) -> str:
        async with indexed(root, state) as fresh:
            found = await selected(fresh, word, limit=5)
            return found.hits[0].path if found.hits else "nothing"

    spent: list[float] = []
    for number in range(runs):
        word = f"quagga{number}"
        with path.open("a") as file:
            file.write(f"\n{word} = {number}\n")
        seconds, answer = _timed(lambda: asyncio.run(search(word)))  # noqa: B023
        spent.append(seconds)
        if answer != str(path.relative_to(root)):
            raise SystemExit(f"{word} of {path} was found in {answer}")
    return spent


def asks(root: Path, state: Path, queries: Sequence[str]) -> tuple[list[float], int]:
    """Return the seconds of each query, and the largest resident set after them, bytes."""

    async def run() -> list[float]:
        async with indexed(root, state) as fresh:
            selector = Selector(fresh.index)
            selector.select(understand("warm"))
            return [_timed(lambda: selector.select(understand(q)))[0] for q in queries]  # noqa: B023

    return asyncio.run(run()), resident()


def texts_of(root: Path) -> Iterator[str]:
    """Yield the text of each chunk of a project."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and not is_binary(source := path.read_bytes()):
            language = language_of(path.name, source[:256])
            chunks = chunk_text(source) if language is None else chunk_code(source, language)[1]
            for chunk in chunks:
                yield source[chunk.span.start : chunk.span.end].decode("utf-8", "replace")


def asks_fts(root: Path, queries: Sequence[str]) -> list[float]:
    """Return the seconds of each query, asked of FTS5."""
    with tempfile.TemporaryDirectory() as folder:
        table = sqlite3.connect(Path(folder, "fts.db"))
        table.execute("CREATE VIRTUAL TABLE chunk USING fts5(text)")
        table.executemany("INSERT INTO chunk VALUES (?)", ((text,) for text in texts_of(root)))
        table.commit()
        search = "SELECT rowid, rank FROM chunk WHERE chunk MATCH ? ORDER BY rank LIMIT 50"
        spent: list[float] = []
        for query in queries:
            terms = dict.fromkeys(understand(query).terms)
            any_of = " OR ".join(f'"{term}"' for term in terms)
            spent.append(_timed(lambda: table.execute(search, (any_of,)).fetchall())[0])  # noqa: B023
        table.close()
        return spent


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


# ---------------------------------------------------------------- the report


def at(spent: Sequence[float], share: float) -> float:
    """Return the milliseconds within which *share* of *spent* (seconds) were."""
    return sorted(spent)[min(int(len(spent) * share), len(spent) - 1)] * 1000


def told(root: Path, scratch: Path) -> Cold:
    """Index *root*, say what it took, and return it."""
    one = in_child(cold, root, scratch)
    print(
        f"cold     {one.files} files ({one.code_files} of code), {one.lines} lines, {one.chunks}"
        f" chunks: {one.cpu:.2f} s of CPU ({one.wall:.2f} s), {one.code_files / one.cpu:.0f} files"
        f"/s, {one.chunks / one.cpu:.0f} chunks/s, index {one.on_disk / 1e6:.1f} MB,"
        f" resident {one.resident / 1e6:.0f} MB"
    )
    return one


def tell_queries(root: Path, state: Path, *, beside_fts: bool) -> None:
    queries = questions(root, QUERIES)
    spent, held = in_child(asks, root, state, queries)
    line = f"query    {len(spent)} queries: {at(spent, 0.5):.2f} ms at the median,"
    line += f" {at(spent, 0.99):.2f} ms at the 99th percentile, resident {held / 1e6:.0f} MB"
    if beside_fts:
        fts = in_child(asks_fts, root, queries)
        line += f"; FTS5 {at(fts, 0.5):.2f} and {at(fts, 0.99):.2f} ms"
        line += f" ({at(spent, 0.5) / at(fts, 0.5):.2f} x)"
    print(line)


def tell_checks(scratch: Path, runs: int) -> None:
    many = scratch / "many"
    for number in range(CHECKED):
        folder = many / f"folder_{number // 25}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath(f"module_{number}.py").write_text(f"value_{number} = {number}\n")
    time.sleep(SETTLED)
    in_child(cold, many, scratch / "many-state")
    spent = in_child(checks, many, scratch / "many-state", runs)
    middle = {name: statistics.median(seconds) * 1000 for name, seconds in spent.items()}
    whole = middle["scan"] + middle["compare"]
    print(
        f"check    {CHECKED} files: scan {middle['scan']:.1f} ms + compare"
        f" {middle['compare']:.1f} ms = {whole:.1f} ms; bare walk {middle['bare walk']:.1f} ms"
        f" ({whole / middle['bare walk']:.1f} x)"
    )


def measure(source: Path | None, scratch: Path, runs: int) -> None:
    project = scratch / "project"
    if source is None:
        make_project(project, 1000)
    else:
        shutil.copytree(source, project, ignore=shutil.ignore_patterns(".git"), symlinks=True)
    time.sleep(SETTLED)
    for number in range(3):
        told(project, scratch / f"state-{number}")
    tell_queries(project, scratch / "state-0", beside_fts=True)
    spent = in_child(changes, project, scratch / "state-0", runs)
    print(f"changed  {statistics.median(spent) * 1000:.1f} ms until it is found")
    tell_checks(scratch, runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--large", type=int, default=0, metavar="FILES")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        measure(asked.folder and asked.folder.resolve(), scratch, asked.runs)
        if asked.large:
            large = scratch / "large"
            make_project(large, asked.large)
            sys.stdout.flush()
            told(large, scratch / "large-state")
            tell_queries(large, scratch / "large-state", beside_fts=False)


if __name__ == "__main__":
    main()
