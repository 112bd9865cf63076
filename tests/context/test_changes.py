from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiex.cluster import Store
from aiex.context import BlobFiles, Change, Changes, change_id
from aiex.core import (
    ConflictError,
    FileEdit,
    NotFoundError,
    StoreCorruptError,
    ToolRun,
    UsageError,
)
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def changes(store: Store, blobs: BlobFiles) -> Changes:
    return Changes(store, blobs)


def change(clock: FakeClock, id_: str, *edits: FileEdit, **more: Any) -> Change:
    given: dict[str, Any] = {
        "request_id": "req_1",
        "created": clock.now(),
        "verb": "create",
        "user": "ann",
        "interface": "cli",
        "root": "/project",
        "diff_sha256": "d" * 64,
        "checks": (ToolRun(name="syntax", ms=3),),
    }
    small = FileEdit(path="a.py", after=b"print()\n\xff")
    return Change(id=id_, edits=edits or (small,), **{**given, **more})


async def test_a_proposal_comes_back_as_it_was_stored(changes: Changes, clock: FakeClock) -> None:
    stored = await changes.add(change(clock, "7f3a00000000"))

    assert stored.revision > 0
    assert await changes.get("7f3a00000000") == stored


async def test_an_id_may_be_cut_as_long_as_it_is_the_only_one(
    changes: Changes, clock: FakeClock
) -> None:
    for id_ in ("7f3a00000000", "7f3b10000000", "7f3b20000000", "ffffffffffff"):
        await changes.add(change(clock, id_))

    assert (await changes.get("7f3a")).id == "7f3a00000000"
    assert (await changes.get("ffff")).id == "ffffffffffff"
    with pytest.raises(UsageError, match="7f3b10000000, 7f3b20000000"):
        await changes.get("7f3b")
    with pytest.raises(NotFoundError):
        await changes.get("7f3c")
    with pytest.raises(UsageError, match="4 or more"):
        await changes.get("7f3")
    shorts = [await changes.short_id(one) for one in await changes.list()]
    assert sorted(shorts) == ["7f3a", "7f3b1", "7f3b2", "ffff"]


async def test_the_same_proposal_is_stored_once(changes: Changes, clock: FakeClock) -> None:
    id_ = change_id("req_1", "d" * 64)
    assert len(id_) == 12
    await changes.add(change(clock, id_))
    with pytest.raises(ConflictError):
        await changes.add(change(clock, id_))


async def test_large_contents_go_to_private_files_and_come_back(
    changes: Changes, clock: FakeClock, tmp_path: Path
) -> None:
    edits = (
        FileEdit(path="large.bin", after=bytes(range(256)) * 2000, before_sha256="0" * 64),
        FileEdit(path="gone.py", after=None, before_sha256="1" * 64),
        FileEdit(path="empty.py", after=b""),
        FileEdit(path="copy.bin", after=bytes(range(256)) * 2000),
    )
    stored = await changes.add(change(clock, "7f3a00000000", *edits))

    assert (await changes.get("7f3a")).edits == edits
    assert stored.edits == edits
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    (listed,) = await changes.list()
    assert [edit.path for edit in listed.edits] == [edit.path for edit in edits]


async def test_content_that_is_not_what_was_stored_is_never_handed_out(
    changes: Changes, clock: FakeClock, tmp_path: Path
) -> None:
    await changes.add(change(clock, "7f3a00000000", FileEdit(path="a", after=b"x" * 400_000)))
    (file,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    file.write_bytes(b"y" * 400_000)
    with pytest.raises(StoreCorruptError):
        await changes.get("7f3a")
    file.unlink()
    with pytest.raises(NotFoundError):
        await changes.get("7f3a")


async def test_a_change_is_marked_applied_by_one_of_two_who_read_it(
    changes: Changes, clock: FakeClock
) -> None:
    read = await changes.add(change(clock, "7f3a00000000"))
    clock.advance(5)

    applied = await changes.mark_applied(read, op_id="op_1", at=clock.now())

    assert (applied.status, applied.op_id, applied.applied) == ("applied", "op_1", clock.now())
    assert await changes.get("7f3a") == applied
    with pytest.raises(ConflictError):
        await changes.mark_applied(read, op_id="op_2", at=clock.now())
    with pytest.raises(ConflictError):
        await changes.mark_failed(read, error="tests are red")
    failed = await changes.mark_failed(applied, error="tests are red")
    assert (failed.status, failed.error) == ("failed", "tests are red")


async def test_marking_a_large_change_keeps_its_contents(
    changes: Changes, clock: FakeClock
) -> None:
    large = FileEdit(path="a", after=b"x" * 400_000)
    await changes.add(change(clock, "7f3a00000000", large))
    await changes.mark_applied(await changes.get("7f3a"), op_id="op_1", at=clock.now())

    assert (await changes.get("7f3a")).edits == (large,)


async def test_changes_are_listed_newest_first_by_project_and_status(
    changes: Changes, clock: FakeClock
) -> None:
    for number in range(6):
        one = await changes.add(change(clock, f"{number}" * 12, root=f"/project{number % 2}"))
        if number == 2:
            await changes.mark_failed(one, error="no")
        clock.advance(1)

    assert [c.id[0] for c in await changes.list()] == list("543210")
    assert [c.id[0] for c in await changes.list(limit=2)] == list("54")
    assert [c.id[0] for c in await changes.list(root="/project0", limit=2)] == list("42")
    assert [c.id[0] for c in await changes.list(status="failed")] == ["2"]


async def test_a_change_of_too_many_files_is_refused(changes: Changes, clock: FakeClock) -> None:
    edits = tuple(FileEdit(path=f"{n:04}.py", after=b"x" * 900) for n in range(1001))
    with pytest.raises(UsageError, match="1000 files"):
        await changes.add(change(clock, "7f3a00000000", *edits))

    await changes.add(change(clock, "7f3a00000000", *edits[:1000]))
    assert msgspec.json.encode((await changes.get("7f3a")).edits) == msgspec.json.encode(
        edits[:1000]
    )
