"""A store for what this room keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiex.cluster import Store
from aiex.cluster.local import SqliteStore
from aiex.context import TABLES, BlobFiles
from aiex.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with SqliteStore(tmp_path / "store.db", TABLES, clock=clock) as opened:
        yield opened


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "blobs")
