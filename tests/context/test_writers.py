from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiex.context import Writers
from aiex.core import StoreError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "writers"


def test_who_lives_is_not_gone_and_who_left_is_not_known(folder: Path) -> None:
    own, other = Writers(folder, name="proc_a"), Writers(folder, name="proc_b")
    own.live()
    own.live()

    assert not other.is_gone("proc_a")
    assert not own.is_gone("proc_a")
    own.close()
    assert not other.is_gone("proc_a")
    assert not list(folder.iterdir())


def test_who_let_go_of_its_lock_without_a_word_is_gone(folder: Path) -> None:
    folder.mkdir()
    (folder / "proc_dead").touch()
    own = Writers(folder, name="proc_a")

    assert own.is_gone("proc_dead")
    assert own.is_gone("proc_dead")
    own.forget("proc_dead")
    assert not own.is_gone("proc_dead")


def test_a_name_is_no_path(folder: Path) -> None:
    folder.mkdir()
    (folder.parent / "precious").touch()
    own = Writers(folder, name="proc_a")

    for name in ("../precious", "", "a/b", "..", "A"):
        assert not own.is_gone(name)
        own.forget(name)
    assert (folder.parent / "precious").exists()


def test_locks_of_long_ago_are_cleared_away(folder: Path) -> None:
    folder.mkdir()
    for name in ("proc_old", "proc_new"):
        (folder / name).touch()
    os.utime(folder / "proc_old", (0, 0))
    own = Writers(folder, name="proc_a")

    own.live()

    assert sorted(path.name for path in folder.iterdir()) == ["proc_a", "proc_new"]
    own.close()


def test_where_nothing_can_be_written_is_said(folder: Path) -> None:
    folder.parent.joinpath("writers").write_text("a file")

    with pytest.raises(StoreError, match="cannot be written"):
        Writers(folder, name="proc_a").live()
