"""Which processes of this machine live: each holds a lock that the system lets go when it dies."""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from aiex.core import StoreError

__all__ = ["Writers"]

_OLD = 24 * 3600.0  # seconds
_NAME = re.compile(r"[a-z0-9_]{1,64}")


class Writers:
    """Says of a process that it has died, without waiting for its leases to run out.

    Every method blocks, for less than a millisecond.

    Args:
        directory: Where the locks are; created with mode 0700 when it is first needed. All
            processes that share a store must share it, too.
        name: Name of this process: lower-case letters, digits and `_`.
    """

    def __init__(self, directory: Path, *, name: str) -> None:
        self._directory = directory
        self.name = name
        self._handle = -1

    def live(self) -> None:
        """Hold the lock of this process, if it does not yet.

        Raises:
            StoreError: It cannot be made.
        """
        if self._handle >= 0:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._handle = os.open(self._directory / self.name, flags, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._clear_away()
        except OSError as error:
            raise StoreError(
                f"{self._directory} cannot be written: {error.strerror}.",
                hint="Check free space and rights of this directory.",
            ) from error

    def _clear_away(self) -> None:
        """Remove the locks of processes that died long ago, whose leases have run out since."""
        with os.scandir(self._directory) as found:
            old = [e.name for e in found if e.stat().st_mtime < time.time() - _OLD]
        for name in old:
            if self.is_gone(name):
                self.forget(name)

    def close(self) -> None:
        """Let go of the lock."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with suppress(OSError):
                (self._directory / self.name).unlink(missing_ok=True)
            os.close(handle)

    def is_gone(self, name: str) -> bool:
        """Return whether the process *name* has held a lock here, and has died since."""
        if not _NAME.fullmatch(name) or name == self.name:
            return False
        path = self._directory / name
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    def forget(self, name: str) -> None:
        """Clear away the lock of a process that has died."""
        if _NAME.fullmatch(name) and name != self.name:
            with suppress(OSError):
                (self._directory / name).unlink(missing_ok=True)
