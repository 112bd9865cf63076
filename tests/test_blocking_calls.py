"""The rule for blocking calls is watched over while the tests run."""

from __future__ import annotations

from pathlib import Path

import anyio.to_thread
import pytest
from blockbuster import BlockingError

from aiex.cluster.local.files import open_writer

pytestmark = pytest.mark.anyio


def _open(path: Path) -> None:
    open_writer(path, busy_timeout=1.0, fsync=False).close()


async def test_a_blocking_call_of_aiex_in_the_event_loop_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BlockingError):
        _open(tmp_path / "store.db")


async def test_the_same_call_in_a_thread_is_none(tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(_open, tmp_path / "store.db")

    assert (tmp_path / "store.db").exists()
