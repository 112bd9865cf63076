"""Folders that are indexed in tests, without a sandbox."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aiex.code import chunk_code, chunk_text, kind_of, language_of
from aiex.context import ContextIndex, ReadFile


class Stat(msgspec.Struct, frozen=True):
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


def stats_of(root: Path) -> list[Stat]:
    found = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_file() and not path.is_symlink():
            found.append(
                Stat(
                    str(path.relative_to(root)),
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    status.st_ino,
                    status.st_dev,
                )
            )
    return found


def read(root: Path, stat: Stat) -> ReadFile:
    content = (root / stat.path).read_bytes()
    language = language_of(stat.path, content[:256])
    facts, chunks = (
        (None, chunk_text(content)) if language is None else chunk_code(content, language)
    )
    return ReadFile(
        stat=stat,
        digest=hashlib.sha256(content).hexdigest(),
        content=content,
        kind=kind_of(stat.path),
        chunks=chunks,
        facts=facts,
    )


def refresh(index: ContextIndex, root: Path) -> list[str]:
    """Bring *index* up to date and return what was indexed anew."""
    began = time.time_ns()
    changed = index.compare(stats_of(root))
    done = []
    with index.updating() as update:
        assert update is not None
        for stat in changed.touched:
            file = read(root, stat)
            if file.digest == changed.digests.get(stat.path):
                update.keep(stat, read_at_ns=began)
                continue
            update.put(file, read_at_ns=began)
            done.append(stat.path)
        for path in changed.gone:
            update.remove(path)
    return done


@contextmanager
def indexed(files: dict[str, str], base: Path) -> Iterator[tuple[ContextIndex, Path]]:
    root = base / "project"
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    root.mkdir(exist_ok=True)
    with ContextIndex(base / "indexes", str(root)) as index:
        refresh(index, root)
        yield index, root


def settled(root: Path) -> None:
    """Set the times of all files back, as if nobody had touched them for a while."""
    at = time.time() - 60
    for path in root.rglob("*"):
        os.utime(path, (at, at))
