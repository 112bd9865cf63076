"""What is known of a fault of Aiex itself, kept in a file: the terminal gets one sentence."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from aiex import __version__

__all__ = ["FaultFile", "fault_file", "log_to_stderr"]


class FaultFile(logging.Handler):
    """Writes the traceback of every logged error into a file of its own, private to the user.

    Args:
        folder: Where to write; the system's folder for temporary files where that cannot be.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__(logging.ERROR)
        self._folder = folder
        self.file: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*, if it tells of an exception."""
        if record.exc_info is None:
            return
        import platform
        import tempfile

        told = logging.Formatter("%(asctime)s %(name)s: %(message)s").format(record)
        head = f"aiex {__version__}, Python {platform.python_version()}, {platform.platform()}"
        for folder in (self._folder, Path(tempfile.gettempdir())):
            try:
                self.file = _write(folder, f"{head}\n{told}\n")
            except OSError:
                continue
            if self.file is not None:
                return


def _write(folder: Path | None, text: str) -> Path | None:
    if folder is None:
        return None
    import tempfile
    import time

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    prefix = time.strftime("aiex-fault-%Y%m%d-%H%M%S-")
    handle, name = tempfile.mkstemp(".txt", prefix, folder)
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
        file.write(text)
    return Path(name)


class _Brief(logging.Formatter):
    """One line a record: what an exception says in many goes into the file of the fault."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.name}: {record.getMessage()}"


class _NotFaults(logging.Filter):
    """Leaves out what ends the command anyway, with a sentence of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is None


def log_to_stderr(level: str, *, faults: Path | None, verbose: bool = False) -> None:
    """Let log lines go to standard error, and tracebacks to files in the folder *faults*.

    Args:
        level: Least level of log lines.
        faults: Folder for tracebacks; `None` for the system's for temporary files.
        verbose: Whether tracebacks go to standard error too.
    """
    to_stderr = logging.StreamHandler(sys.stderr)
    if not verbose:
        to_stderr.setFormatter(_Brief())
        to_stderr.addFilter(_NotFaults())
    logging.basicConfig(level=level, handlers=[to_stderr, FaultFile(faults)], force=True)


def fault_file() -> Path | None:
    """Return the file that holds the last fault of this process; `None` without one."""
    files = [h.file for h in logging.getLogger().handlers if isinstance(h, FaultFile)]
    return files[0] if files else None
