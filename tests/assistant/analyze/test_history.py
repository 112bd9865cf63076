"""How often files changed, from a history that need not be there."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aiex.assistant.analyze.history import HistoryReader
from aiex.context import AnalysisCache
from aiex.sandbox import Git

pytestmark = pytest.mark.anyio


class Calendar:
    """The wall time of a test."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, tzinfo=UTC)


class Asked:
    """Opens git, and counts how often."""

    def __init__(self) -> None:
        self.churns = 0

    def __call__(self, root: Path) -> Git:
        asked = self

        class Counting(Git):
            async def churn(self, since: str | None = None) -> dict:  # type: ignore[type-arg]
                asked.churns += 1
                return await super().churn(since)

        return Counting(root)


def git(root: Path, *words: str, at: str = "2026-05-01T00:00:00Z") -> None:
    who = {"NAME": "ada", "EMAIL": "ada@example.org", "DATE": at}
    env = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
    env |= {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "-C", str(root), *words], env=env, check=True, capture_output=True)


def commit(root: Path, text: str, at: str = "2026-05-01T00:00:00Z") -> None:
    (root / "a.py").write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--message", "change", at=at)


@pytest.fixture
def repository(root: Path) -> Path:
    git(root, "init", "--initial-branch=main")
    commit(root, "x = 1\n", at="2020-01-01T00:00:00Z")
    commit(root, "x = 2\n")
    return root


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def history(cache: AnalysisCache, calendar: Calendar, asked: Asked) -> HistoryReader:
    return HistoryReader(asked, cache, now=lambda: calendar.now)


async def test_the_history_is_read_once_for_each_commit_and_day(
    history: HistoryReader, repository: Path, calendar: Calendar, asked: Asked
) -> None:
    root = str(repository)
    first = await history.read(root, "2000-01-01", use_cache=True)
    again = await history.read(root, "2000-01-01", use_cache=True)

    assert first == again
    assert first.churn["a.py"].commits == 2
    assert asked.churns == 1
    await history.read(root, "2021-01-01", use_cache=True)
    assert asked.churns == 2
    calendar.now = datetime(2026, 6, 2, tzinfo=UTC)
    await history.read(root, "2000-01-01", use_cache=True)
    assert asked.churns == 3
    await history.read(root, "2000-01-01", use_cache=False)
    assert asked.churns == 4


async def test_a_history_without_changes_in_the_time_says_so(
    history: HistoryReader, repository: Path
) -> None:
    found = await history.read(str(repository), "2030-01-01", use_cache=True)

    assert found.churn == {}
    assert [(n.what, n.tool) for n in found.not_checked] == [("hotspots", "git")]


async def test_a_shallow_clone_says_what_is_missing(
    history: HistoryReader, repository: Path, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--depth=1", f"file://{repository}", "shallow")

    found = await history.read(str(tmp_path / "shallow"), "2000-01-01", use_cache=True)

    assert found.churn["a.py"].commits == 1
    assert [n.what for n in found.not_checked] == ["changes before the clone"]


async def test_no_repository_and_no_commit_are_named_and_never_raised(
    history: HistoryReader, root: Path
) -> None:
    without = await history.read(str(root), None, use_cache=True)
    git(root, "init")
    empty = await history.read(str(root), None, use_cache=True)

    assert without.churn == empty.churn == {}
    assert without.not_checked[0].reason == "this is no git repository"
    assert empty.not_checked[0].reason == "the repository has no commit yet"
