"""The folder of the embedded models: which files are there, and which were verified."""

from __future__ import annotations

import contextlib
import hashlib
import re
import tempfile
from pathlib import Path

import msgspec

from aiex.core import UsageError
from aiex.llm.gguf import GgufHead, read_gguf

__all__ = ["InstalledModel", "ModelFolder"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Says that a file had a digest when it had this size and time."""

    sha256: str
    size: int
    mtime_ns: int
    source: str
    schema: int = 1


class InstalledModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model on this machine.

    Attributes:
        name: What it is asked for by.
        path: Its file.
        size_bytes: Size of the file.
        sha256: Digest of the file, hex, as it was verified; `None` if it never was, or changed.
        source: Where it came from; `None` if it was not pulled.
        architecture: Such as `llama`; empty if the file cannot be read.
        context_tokens: Largest window; `None` if unknown.
        problem: What is wrong with the file; `None` if nothing is known.
    """

    name: str
    path: Path
    size_bytes: int
    sha256: str | None = None
    source: str | None = None
    architecture: str = ""
    context_tokens: int | None = None
    problem: str | None = None


class ModelFolder:
    """Names and marks the files of one folder. Methods block; call them in a thread.

    A file that the user puts there as `NAME.gguf` is a model, too.

    Args:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def installed(self) -> tuple[InstalledModel, ...]:
        """Return the models that are there, by name."""
        names = sorted(path.stem for path in self.path.glob("*.gguf"))
        found = (self.find(name) for name in names if _NAME.fullmatch(name))
        return tuple(model for model in found if model is not None)

    def find(self, name: str) -> InstalledModel | None:
        """Return the model of this name; `None` if it is not there."""
        path = self.file(name)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        head, problem = GgufHead(architecture=""), None
        try:
            head = read_gguf(path)
        except (UsageError, OSError) as error:
            problem = str(error)
        mark = self._mark(name)
        if mark is not None and (mark.size, mark.mtime_ns) != (status.st_size, status.st_mtime_ns):
            mark = None
        return InstalledModel(
            name=name,
            path=path,
            size_bytes=status.st_size,
            sha256=None if mark is None else mark.sha256,
            source=None if mark is None else mark.source,
            architecture=head.architecture,
            context_tokens=head.context_tokens,
            problem=problem,
        )

    def file(self, name: str) -> Path:
        """Return where the model of this name is or would be.

        Raises:
            UsageError: *name* cannot be the name of a model.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a model",
                hint="letters, digits, dots, dashes and underscores",
            )
        return self.path / f"{name}.gguf"

    def add(self, name: str, verified: Path, *, sha256: str, source: str) -> None:
        """Move a *verified* file of the same disk in; a model of this name is replaced.

        Raises:
            OSError: The folder cannot be written.
        """
        verified.replace(self.file(name))
        self.mark(name, sha256=sha256, source=source)

    def mark(self, name: str, *, sha256: str, source: str) -> None:
        """Note that the file was found to have the digest *sha256*."""
        status = self.file(name).stat()
        mark = _Mark(sha256=sha256, size=status.st_size, mtime_ns=status.st_mtime_ns, source=source)
        with tempfile.NamedTemporaryFile(dir=self.path, suffix=".tmp", delete=False) as file:
            file.write(msgspec.json.encode(mark))
        Path(file.name).replace(self._mark_file(name))

    def remove(self, name: str) -> bool:
        """Remove a model; return whether it was there."""
        with contextlib.suppress(FileNotFoundError):
            self._mark_file(name).unlink()
        try:
            self.file(name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _mark(self, name: str) -> _Mark | None:
        try:
            return msgspec.json.decode(self._mark_file(name).read_bytes(), type=_Mark)
        except (OSError, msgspec.MsgspecError):
            return None

    def _mark_file(self, name: str) -> Path:
        return self.file(name).with_suffix(".gguf.json")


def sha256_of(path: Path) -> str:
    """Return the digest of a file, hex; blocks for a second a gigabyte or so."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
