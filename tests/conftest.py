"""What every test stands on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blocking_calls_in_the_loop_fail(request: pytest.FixtureRequest) -> Iterator[None]:
    """A blocking call made by Aiex inside the event loop is an error."""
    with blockbuster_ctx("aiex") as buster:
        _allow_imports(buster)
        _allow_small_reads(buster)
        yield


def _allow_imports(buster: BlockBuster) -> None:
    """Importing a module reads files; it happens once and is not what the rule is about."""
    for function in buster.functions.values():
        function.can_block_in("importlib/_bootstrap_external.py", {"get_data", "path_stats"})
        function.can_block_in("<frozen importlib._bootstrap_external>", {"get_data", "path_stats"})
        function.can_block_in("<frozen importlib._bootstrap>", "_load_unlocked")


def _allow_small_reads(buster: BlockBuster) -> None:
    """The named exemption: reads on a dedicated read-only SQLite connection."""
    for name, function in buster.functions.items():
        if name.startswith("sqlite3."):
            function.can_block_in("aiex/cluster/local/database.py", {"read_now"})
