"""Content too large for the store: files named by their SHA-256, which the store refers to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio.to_thread

from aiex.core import NotFoundError, StoreCorruptError, StoreError, digest_of

__all__ = ["BlobFiles", "write_private"]


class BlobFiles:
    """Keeps contents in files of mode 0600.

    Args:
        directory: Where; created with mode 0700 when it is first needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def put_many(self, contents: Sequence[bytes]) -> Sequence[str]:
        """Return the SHA-256 of each of *contents*, which are on disk then.

        Raises:
            StoreError: They cannot be written.
        """
        return await anyio.to_thread.run_sync(self._put_many, contents)

    def _put_many(self, contents: Sequence[bytes]) -> list[str]:
        digests = [digest_of(content) for content in contents]
        for digest, content in zip(digests, contents, strict=True):
            path = self._path(digest)
            if not path.exists():
                write_private(path, content)
        return digests

    async def get_many(self, digests: Sequence[str]) -> Mapping[str, bytes]:
        """Return the contents by their digest.

        Raises:
            NotFoundError: One is gone.
            StoreCorruptError: One is not what was stored.
        """
        return await anyio.to_thread.run_sync(self._get_many, digests)

    def _get_many(self, digests: Sequence[str]) -> dict[str, bytes]:
        return {digest: self._get(digest) for digest in digests}

    def _get(self, digest: str) -> bytes:
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"Stored content {digest[:12]} is gone: {path}.") from error
        except OSError as error:
            raise StoreError(f"Stored content {path} cannot be read: {error.strerror}.") from error
        if digest_of(content) != digest:
            raise StoreCorruptError(f"Stored content {path} is not what was stored.")
        return content

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / digest


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole or not at all; its directory is created with 0700.

    Raises:
        StoreError: It cannot be written.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(
            f"{path} cannot be written: {error.strerror}.",
            hint="Check free space and rights of its directory.",
        ) from error
