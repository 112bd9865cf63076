"""What was computed from file contents, so that it is computed once.

`AnalysisCache` goes by content; `DigestCache` tells the digest of a file that has not been
touched, so that a warm run need not read it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import anyio.to_thread
import msgspec

from aiex.cluster import LIMITS, Store, Write
from aiex.context.store import CODE_ANALYSIS_CACHE
from aiex.core import content_id

__all__ = ["AnalysisCache", "CacheKey", "DigestCache", "FileStat"]

_TABLE = CODE_ANALYSIS_CACHE.name
_LARGE = 16 * 1024  # smaller values are quicker to read than to inflate
_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_WRITES = 500
_BUCKETS = 64
_RACY_NS = 2_000_000_000


class CacheKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a value was computed from.

    Attributes:
        sha256: Digest of the content, hexadecimal.
        kind: What was computed, such as `facts`.
        version: Version of who computed it, with all settings that change the value.
    """

    sha256: str
    kind: str
    version: str

    def parts(self) -> tuple[str, ...]:
        """Return the key of the record."""
        return ("by_content", content_id(self.kind, self.version), self.sha256)


class _Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Either the value itself or its zlib form (base64 in JSON)."""

    plain: msgspec.Raw = msgspec.Raw()
    packed: bytes | None = None


_ENTRY = msgspec.json.Decoder(_Entry)


class AnalysisCache:
    """Values by content; entries live 7 days and the newest 50,000 are kept.

    A value is JSON. One that is larger than the store's 256 KiB even when packed
    is not kept, since computing it anew is cheaper than another place for it.

    Args:
        store: With `TABLES`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_many(self, keys: Sequence[CacheKey]) -> Sequence[bytes | None]:
        """Return the value, or `None`, for each of *keys*, in their order."""
        if not keys:
            return []
        records = await self._store.get_many(_TABLE, [key.parts() for key in keys])
        raw = [None if record is None else record.value for record in records]
        if sum(len(value) for value in raw if value) <= _LARGE:
            return _unpack_all(raw)
        return await anyio.to_thread.run_sync(_unpack_all, raw)

    async def put_many(self, values: Mapping[CacheKey, bytes]) -> int:
        """Return how many of *values* (JSON) were kept.

        Raises:
            StoreError: The cache cannot be written; what was kept so far stays.
        """
        entries = await anyio.to_thread.run_sync(_pack_all, values)
        await _write(self._store, entries)
        return len(entries)


def _pack_all(values: Mapping[CacheKey, bytes]) -> list[tuple[tuple[str, ...], bytes]]:
    packed = [(key.parts(), _pack(value)) for key, value in values.items()]
    return [(key, value) for key, value in packed if len(value) <= LIMITS.value_bytes]


def _pack(value: bytes) -> bytes:
    if len(value) <= _LARGE:
        return msgspec.json.encode(_Entry(plain=msgspec.Raw(value)))
    return msgspec.json.encode(_Entry(packed=zlib.compress(value, 1)))


def _unpack_all(values: Sequence[bytes | None]) -> list[bytes | None]:
    return [None if value is None else _unpack(value) for value in values]


def _unpack(value: bytes) -> bytes:
    entry = _ENTRY.decode(value)
    return bytes(entry.plain) if entry.packed is None else zlib.decompress(entry.packed)


async def _write(store: Store, entries: Iterable[tuple[tuple[str, ...], bytes]]) -> None:
    """Write in transactions that are small enough not to hold up other processes."""
    batch: list[Write] = []
    size = 0
    for key, value in entries:
        batch.append(Write(table=_TABLE, key=key, value=value))
        size += len(value)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_WRITES:
            await store.transact(batch)
            batch, size = [], 0
    if batch:
        await store.transact(batch)


class FileStat(Protocol):
    """What the file system says of a file without reading it."""

    @property
    def path(self) -> str:
        """File, relative to the root."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def mtime_ns(self) -> int:
        """Time of its last write, nanoseconds since 1970."""

    @property
    def ctime_ns(self) -> int:
        """Time of the last change of content or inode, nanoseconds since 1970."""

    @property
    def inode(self) -> int:
        """Number of its inode."""

    @property
    def device(self) -> int:
        """Number of its file system."""


_Stamp = tuple[int, int, int, int, int]
_Bucket = dict[str, tuple[_Stamp, str]]


class _StoredBucket(msgspec.Struct, frozen=True):
    packed: bytes


_BUCKET = msgspec.json.Decoder(_Bucket)
_STORED = msgspec.json.Decoder(_StoredBucket)


class DigestCache:
    """Digests of files by what `stat` says of them, one set a project.

    A file that was touched less than 2 seconds before it was read is not remembered: it may be
    written again without its times showing it (as git's "racy" entries). The change time is
    compared too, which nobody can set back. Names that are not printable text are left out.

    Args:
        store: With `TABLES`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def known(self, root: str, files: Sequence[FileStat]) -> Mapping[str, str]:
        """Return the SHA-256 by path of those of *files* that are as they were when read.

        Args:
            root: Absolute path of the project.
            files: Of one scan.
        """
        wanted = {_bucket_of(file.path) for file in files}
        buckets = await self._load(root, sorted(wanted))
        found: dict[str, str] = {}
        for file in files:
            entry = buckets[_bucket_of(file.path)].get(file.path)
            if entry is not None and entry[0] == _stamp(file):
                found[file.path] = entry[1]
        return found

    async def remember(
        self, root: str, digests: Mapping[str, str], files: Sequence[FileStat], *, read_at_ns: int
    ) -> None:
        """Keep *digests* (SHA-256 by path) for the next run; files not among *files* are forgotten.

        Args:
            root: Absolute path of the project.
            digests: As computed from what was read.
            files: All files of the project, as they were before they were read.
            read_at_ns: Wall time before the first was read, nanoseconds since 1970.

        Raises:
            StoreError: The cache cannot be written.
        """
        new: dict[int, _Bucket] = {number: {} for number in range(_BUCKETS)}
        for file in files:
            digest = digests.get(file.path)
            is_settled = max(file.mtime_ns, file.ctime_ns) + _RACY_NS < read_at_ns
            if digest is not None and is_settled and file.path.isprintable():
                new[_bucket_of(file.path)][file.path] = (_stamp(file), digest)
        old = await self._load(root, range(_BUCKETS))
        changed = {number: bucket for number, bucket in new.items() if bucket != old[number]}
        await _write(self._store, await anyio.to_thread.run_sync(_pack_buckets, root, changed))

    async def _load(self, root: str, numbers: Sequence[int]) -> Mapping[int, _Bucket]:
        records = await self._store.get_many(_TABLE, [_bucket_key(root, n) for n in numbers])
        raw = [None if record is None else record.value for record in records]
        buckets = await anyio.to_thread.run_sync(_unpack_buckets, raw)
        return dict(zip(numbers, buckets, strict=True))


def _stamp(file: FileStat) -> _Stamp:
    return (file.device, file.inode, file.size, file.mtime_ns, file.ctime_ns)


def _bucket_of(path: str) -> int:
    return zlib.crc32(path.encode("utf-8", "surrogatepass")) % _BUCKETS


def _bucket_key(root: str, number: int) -> tuple[str, ...]:
    return ("digests", content_id(root, digits=64), str(number))


def _pack_buckets(root: str, buckets: Mapping[int, _Bucket]) -> list[tuple[tuple[str, ...], bytes]]:
    packed = [
        (
            _bucket_key(root, number),
            msgspec.json.encode(_StoredBucket(zlib.compress(msgspec.json.encode(bucket), 1))),
        )
        for number, bucket in buckets.items()
    ]
    return [(key, value) for key, value in packed if len(value) <= LIMITS.value_bytes]


def _unpack_buckets(values: Sequence[bytes | None]) -> list[_Bucket]:
    return [
        {} if value is None else _BUCKET.decode(zlib.decompress(_STORED.decode(value).packed))
        for value in values
    ]
