"""What the verbs stand on, for real: a store, a cache and files in folders of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from aiex.assistant.project import ProjectReader
from aiex.cluster import Store
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, AnalysisCache, DigestCache
from aiex.core import Actor, EventBody, Principal, Request, RunOptions
from aiex.sandbox import AuditLog, FilePolicy, Files
from aiex.testing.clock import FakeClock


class Told:
    """A request that runs, and what it told."""

    def __init__(self, root: Path, *, use_cache: bool = True) -> None:
        self.request = Request(
            id="req_1",
            verb="analyze",
            arguments=msgspec.Raw(b"{}"),
            principal=Principal(user="ada", interface="test"),
            root=str(root),
            options=RunOptions(use_cache=use_cache),
        )
        self.events: list[EventBody] = []

    async def emit(self, body: EventBody) -> None:
        self.events.append(body)


@pytest.fixture
def told() -> type[Told]:
    return Told


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with SqliteStore(tmp_path / "store.db", TABLES, clock=clock) as opened:
        yield opened


@pytest.fixture
def cache(store: Store) -> AnalysisCache:
    return AnalysisCache(store)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def files(tmp_path: Path, root: Path) -> Iterator[Files]:
    log = tmp_path / "audit"
    log.mkdir(mode=0o700)
    with (
        AuditLog(log, now=lambda: datetime.now(UTC)) as audit,
        Files(
            root,
            state=tmp_path / "state",
            policy=FilePolicy(),
            audit=audit,
            actor=Actor(user="ada", interface="test"),
            op_id="op_1",
        ) as opened,
    ):
        yield opened


@pytest.fixture
def reader(store: Store, cache: AnalysisCache, files: Files) -> ProjectReader:
    return ProjectReader(lambda _: files, cache, DigestCache(store))
