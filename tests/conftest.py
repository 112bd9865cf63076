"""What every test stands on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def real_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `smollm2-135m`: the one AIEX_TEST_MODELS names, or pulled once for the run."""
    if find_spec("xllamacpp") is None:
        pytest.skip("the extra `local` is not installed")
    told = os.environ.get("AIEX_TEST_MODELS")
    if told:
        return Path(told)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "real-models"
    pulled = subprocess.run(
        [sys.executable, "-m", "aiex", "model", "pull", "smollm2-135m"],
        env={
            **os.environ,
            "AIEX_STATE_DIRECTORY": str(base / "state"),
            "AIEX_STATE_MODELS": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if pulled.returncode:
        pytest.skip(f"no index gives smollm2-135m: {pulled.stderr.strip()[-300:]}")
    return folder


@pytest.fixture
def children_of() -> Callable[[int, str], list[int]]:
    """Gives the processes below one, however deep, whose command line has a word."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are looked up in /proc")
    return _children_of


def _children_of(pid: int, word: str) -> list[int]:
    """Return the processes below *pid*, however deep, in whose command line *word* stands."""
    parents: dict[int, int] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text(errors="replace")
            lines[int(entry.name)] = (
                (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    return [one for one in parents if word in lines.get(one, "") and _is_below(one, pid, parents)]


def _is_below(one: int, pid: int, parents: dict[int, int]) -> bool:
    while one in parents:
        one = parents[one]
        if one == pid:
            return True
    return False


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
