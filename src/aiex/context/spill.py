"""Lines on disk that the store could not take yet: bounded, and safe from the death of a process.

Each process appends to a file of its own, held by a lock while it lives; when it is gone, others
read the file. A line is handed to the kernel whole, so that a kill after `append` loses none.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from aiex.core import StoreError

__all__ = ["SpillFiles"]

_LOG = logging.getLogger(__name__)
_FILE_BYTES: Final = 1 << 20
_SUFFIX: Final = ".jsonl"


class SpillFiles:
    """Keeps lines in files of mode 0600. Every method blocks; safe for several threads.

    Args:
        directory: Where; created with mode 0700 when it is first needed.
        name: What the names of the files begin with.
        most_bytes: Bytes of all files together, of all processes, about.
    """

    def __init__(self, directory: Path, *, name: str, most_bytes: int) -> None:
        self._directory = directory
        self._name = name
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._handle = -1
        self._path: Path | None = None
        self._size = 0

    def append(self, lines: Sequence[bytes]) -> None:
        """Keep *lines*, which have no line ends, all of them or none.

        Raises:
            StoreError: There is no room, or the disk does not take them.
        """
        data = b"\n".join(lines) + b"\n"
        with self._lock:
            try:
                if self._handle >= 0 and self._size >= _FILE_BYTES:
                    self._close()
                if self._handle < 0:
                    self._open()
                self._write(data)
            except OSError as error:
                raise StoreError(
                    f"{self._directory} cannot be written: {error.strerror}.",
                    hint="Check free space and rights of this directory.",
                ) from error

    def _open(self) -> None:
        """Begin a file; how much there is in all is looked up here, not at every line."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = sum(_size_of(path) for path in self.files())
        if held + _FILE_BYTES > self._most_bytes:
            raise StoreError(f"{self._directory} holds {held} bytes that wait already.")
        path = self._directory / f"{self._name}-{secrets.token_hex(8)}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(path, flags, 0o600)
        self._path, self._size = path, 0
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._handle, data)
            if written < len(data):
                raise OSError(28, "No space left on device")
        except OSError:
            with suppress(OSError):  # half a line would be taken for a damaged one
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Let go of the file that is written, so that it can be read; `append` begins another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        handle, self._handle, path = self._handle, -1, self._path
        if handle < 0:
            return
        with suppress(OSError):
            if not self._size and path is not None:
                path.unlink(missing_ok=True)
        os.close(handle)

    def files(self) -> list[Path]:
        """Return the files that there are, of all processes."""
        return sorted(self._directory.glob(f"{self._name}-*{_SUFFIX}"))

    @contextmanager
    def taken(self, path: Path) -> Iterator[list[bytes] | None]:
        """Give the lines of *path* to nobody else meanwhile; `None` if somebody else has them.

        What a power cut left of a last line is not one of them.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            yield None
            return
        try:
            if not os.fstat(handle).st_nlink:  # read and removed by another just now
                yield None
            else:
                with open(handle, "rb", closefd=False) as file:
                    *lines, torn = file.read().split(b"\n")
                if torn:
                    _LOG.warning("the last line of %s was cut off", path)
                yield lines
        finally:
            os.close(handle)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
