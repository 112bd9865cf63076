from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from aiex.cluster import Store
from aiex.context import AnalysisCache, CacheKey, DigestCache
from aiex.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

SECOND = 1_000_000_000
READ_AT = 1_000 * SECOND


def key(number: int, *, kind: str = "facts", version: str = "1") -> CacheKey:
    return CacheKey(sha256=f"{number:064x}", kind=kind, version=version)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    size: int = 10
    mtime_ns: int = 100 * SECOND
    ctime_ns: int = 100 * SECOND
    inode: int = 1
    device: int = 1


async def test_values_come_back_by_content_kind_and_version(store: Store) -> None:
    cache = AnalysisCache(store)
    values = {key(n): b'{"n": [%d, "\xc3\xa9"]}' % n for n in range(700)}

    assert await cache.put_many(values) == 700
    assert await cache.put_many({}) == 0

    assert await cache.get_many([*values, key(9999)]) == [*values.values(), None]
    assert await cache.get_many([key(1, version="2"), key(1, kind="lint")]) == [None, None]
    assert await cache.get_many([]) == []


async def test_a_large_value_is_packed_and_one_too_large_even_then_is_not_kept(
    store: Store,
) -> None:
    cache = AnalysisCache(store)
    repetitive = msgspec.json.encode(["the same again"] * 100_000)
    noise = msgspec.json.encode(random.Random(0).randbytes(300_000))

    assert await cache.put_many({key(1): repetitive, key(2): noise}) == 1

    assert await cache.get_many([key(1), key(2)]) == [repetitive, None]


async def test_values_are_forgotten_after_a_week(store: Store, clock: FakeClock) -> None:
    cache = AnalysisCache(store)
    await cache.put_many({key(1): b"1"})
    clock.advance(6 * 24 * 3600)
    assert await cache.get_many([key(1)]) == [b"1"]
    clock.advance(24 * 3600)
    assert await cache.get_many([key(1)]) == [None]


async def test_the_digest_of_an_untouched_file_is_known(store: Store) -> None:
    cache = DigestCache(store)
    files = [Entry(path=f"src/{n}.py", inode=n) for n in range(300)]
    digests = {file.path: f"{file.inode:064x}" for file in files}
    await cache.remember("/project", digests, files, read_at_ns=READ_AT)

    assert await cache.known("/project", files) == digests
    assert await cache.known("/project", files[:3]) == {f.path: digests[f.path] for f in files[:3]}
    assert await cache.known("/other", files) == {}


@pytest.mark.parametrize(
    "touched",
    [{"size": 11}, {"mtime_ns": 1}, {"ctime_ns": 1}, {"inode": 2}, {"device": 2}, {"path": "b"}],
)
async def test_a_file_that_looks_different_is_not_known(
    store: Store, touched: dict[str, Any]
) -> None:
    cache = DigestCache(store)
    file = Entry(path="a")
    await cache.remember("/project", {"a": "0" * 64}, [file], read_at_ns=READ_AT)

    assert await cache.known("/project", [msgspec.structs.replace(file, **touched)]) == {}


@pytest.mark.parametrize("field", ["mtime_ns", "ctime_ns"])
async def test_a_file_touched_just_before_it_was_read_is_not_trusted(
    store: Store, field: str
) -> None:
    cache = DigestCache(store)
    racy = msgspec.structs.replace(Entry(path="a"), **{field: READ_AT - SECOND})
    settled = msgspec.structs.replace(Entry(path="b"), **{field: READ_AT - 3 * SECOND})
    digests = {"a": "0" * 64, "b": "1" * 64}
    await cache.remember("/project", digests, [racy, settled], read_at_ns=READ_AT)

    assert await cache.known("/project", [racy, settled]) == {"b": "1" * 64}


async def test_files_that_are_gone_are_forgotten_and_odd_names_left_out(store: Store) -> None:
    cache = DigestCache(store)
    files = [Entry(path=path) for path in ("a", "b", "odd\udcff", "new\nline")]
    digests = {file.path: "0" * 64 for file in files}
    await cache.remember("/project", digests, files, read_at_ns=READ_AT)
    assert set(await cache.known("/project", files)) == {"a", "b"}

    await cache.remember("/project", digests, files[:1], read_at_ns=READ_AT)
    assert set(await cache.known("/project", files)) == {"a"}


async def test_remembering_what_is_known_writes_nothing(store: Store) -> None:
    cache = DigestCache(store)
    files = [Entry(path="a")]
    await cache.remember("/project", {"a": "0" * 64}, files, read_at_ns=READ_AT)
    before = await store.info()
    await cache.remember("/project", {"a": "0" * 64}, files, read_at_ns=READ_AT)

    assert (await store.info())["sequence"] == before["sequence"]
