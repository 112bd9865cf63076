"""What is known of a fault of Aiex itself, kept in a file: the terminal gets one sentence."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from aiex import __version__
from aiex.core import Redactor, secrets_of

__all__ = ["FaultFile", "fault_file", "log_to_stderr", "redactor"]


class FaultFile(logging.Handler):
    """Writes the traceback of every logged error into a file of its own, private to the user.

    Args:
        folder: Where to write; the system's folder for temporary files where that cannot be.
        redact: Takes the secrets out.
    """

    def __init__(self, folder: Path | None, redact: Redactor) -> None:
        super().__init__(logging.ERROR)
        self._folder = folder
        self.redact = redact
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
                self.file = _write(folder, self.redact(f"{head}\n{told}\n"))
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


class _Masked(logging.Formatter):
    """Takes the secrets out of what another formatter writes, tracebacks included."""

    def __init__(self, inner: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(self._inner.format(record))


class _Brief(logging.Formatter):
    """One line a record: what an exception says in many goes into the file of the fault."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.name}: {record.getMessage()}"


class _NotFaults(logging.Filter):
    """Leaves out what ends the command anyway, with a sentence of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is None


def log_to_stderr(
    level: str, *, faults: Path | None, redact: Redactor, verbose: bool = False
) -> None:
    """Let log lines go to standard error, and tracebacks to files in the folder *faults*.

    Args:
        level: Least level of log lines.
        faults: Folder for tracebacks; `None` for the system's for temporary files.
        redact: Takes the secrets out of all of it.
        verbose: Whether tracebacks go to standard error too.
    """
    to_stderr = logging.StreamHandler(sys.stderr)
    to_stderr.setFormatter(_Masked(logging.Formatter() if verbose else _Brief(), redact))
    if not verbose:
        to_stderr.addFilter(_NotFaults())
    logging.basicConfig(level=level, handlers=[to_stderr, FaultFile(faults, redact)], force=True)


def redactor() -> Redactor:
    """Return what masks the log lines of this process; one of the environment's before those."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, FaultFile)]
    return handlers[0].redact if handlers else Redactor(secrets_of(os.environ))


def fault_file() -> Path | None:
    """Return the file that holds the last fault of this process; `None` without one."""
    files = [h.file for h in logging.getLogger().handlers if isinstance(h, FaultFile)]
    return files[0] if files else None
