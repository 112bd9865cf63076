"""The file that a user named: read, or refused with the one that was most likely meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from aiex.assistant.project import looks_like_project
from aiex.core import NotFoundError, PathRefusedError, UsageError
from aiex.sandbox import FileContent, Files

__all__ = ["nearest", "read_named"]


def read_named(files: Files, path: str) -> FileContent:
    """Return the file at *path*.

    Raises:
        NotFoundError: It is not there; the hint names files that are called much like it.
        PathRefusedError: It may not be read.
        UsageError: It is a folder.
    """
    try:
        return files.read(path)
    except NotFoundError as error:
        if error.hint is None:
            error.hint = _likely(files, path)
        raise
    except PathRefusedError as error:
        if not _has_files_below(files, path):
            raise
        raise UsageError(
            f"{path} is a folder", hint=f"name a file in it, or try: aiex analyze {path}"
        ) from error


def nearest(name: str, names: Mapping[str, str]) -> Sequence[str]:
    """Return what stands in *names* under those most like *name*, at most three, best first."""
    import difflib  # noqa: PLC0415 - only when something is wrong

    return [names[n] for n in difflib.get_close_matches(name.rpartition(".")[2], names, 3, 0.5)]


def _likely(files: Files, path: str) -> str | None:
    import difflib  # noqa: PLC0415 - only when something is wrong

    if not looks_like_project(Path(files.root)):
        return None
    wanted = PurePosixPath(path)
    there = [entry.path for entry in files.scan().entries]
    same = [p for p in there if PurePosixPath(p).name == wanted.name]
    near = same or difflib.get_close_matches(path, there, 3, 0.7)
    return f"did you mean {' or '.join(near[:3])}?" if near else None


def _has_files_below(files: Files, path: str) -> bool:
    """Return whether *path* is a folder; one with nothing to read in it does not count."""
    return any(entry.path != str(PurePosixPath(path)) for entry in files.scan((path,)).entries)
