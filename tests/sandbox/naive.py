"""The usual way to keep a program inside a folder, kept here to be beaten.

It resolves a path, compares the text with the root's, and opens the file by its name. This is
what the cases and the races must be able to tell from the real thing; nothing else uses it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from aiex.core import (
    AiexError,
    ConflictError,
    FileEdit,
    NotFoundError,
    PathRefusedError,
    UsageError,
    digest_of,
)

PROTECTED = (".git", ".env", ".envrc", ".aiex", ".ssh", ".netrc", ".vscode", ".mcp.json")


class NaiveFiles:
    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)

    def _checked(self, path: str) -> Path:
        if "\0" in path or not path:
            raise PathRefusedError("no path", path=path, rule="nul" if path else "empty")
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise PathRefusedError("no name", path="", rule="not_a_name") from None
        absolute = os.path.normpath(path if path.startswith("/") else f"{self.root}/{path}")
        if any(name in PROTECTED for name in absolute.split("/")):
            raise PathRefusedError("protected", path=path, rule="protected_name")
        if not os.path.realpath(absolute).startswith(self.root):
            raise PathRefusedError("outside", path=path, rule="outside_root")
        return Path(absolute)

    def _file(self, path: str) -> Path:
        real = self._checked(path)
        if not real.exists():
            raise NotFoundError(path)
        if not real.is_file():
            raise PathRefusedError("no file", path=path, rule="not_a_file")
        return real

    def read(self, path: str) -> bytes:
        return self._file(path).read_bytes()

    def read_many(self, paths: Sequence[str]) -> list[bytes | AiexError]:
        found: list[bytes | AiexError] = []
        for path in paths:
            try:
                found.append(self.read(path))
            except AiexError as error:
                found.append(error)
        return found

    def read_lines(self, path: str, first: int = 1, last: int | None = None) -> list[bytes]:
        if last is not None and last < first:
            raise UsageError("no range")
        return self.read(path).splitlines(keepends=True)[first - 1 : last]

    def stat(self, path: str) -> os.stat_result:
        return self._file(path).stat()

    def exists(self, path: str) -> bool:
        return self._checked(path).exists()

    def list(self, path: str = ".", **_: object) -> Sequence[str]:
        real = self._checked(path)
        if not real.is_dir():
            raise PathRefusedError("no folder", path=path, rule="not_a_folder")
        return sorted(one.name for one in real.iterdir())

    def scan(self, paths: Sequence[str]) -> Sequence[str]:
        return [str(one) for path in paths for one in self._checked(path).rglob("*")]

    def write(
        self, path: str, content: bytes, *, overwrite: bool = False, expect: str | None = None
    ) -> None:
        real = self._checked(path)
        if expect is not None and (not real.exists() or digest_of(real.read_bytes()) != expect):
            raise ConflictError(path)
        if real.exists() and not overwrite:
            raise ConflictError(path)
        if real.is_dir():
            raise PathRefusedError("a folder", path=path, rule="not_a_file")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_bytes(content)

    def append(self, path: str, content: bytes, *, expect: str | None = None) -> None:
        real = self._checked(path)
        old = real.read_bytes() if real.is_file() else b""
        if expect is not None and digest_of(old) != expect:
            raise ConflictError(path)
        self.write(path, old + content, overwrite=True)

    def delete(self, path: str, *, expect: str | None = None) -> None:
        real = self._file(path)
        if expect is not None and digest_of(real.read_bytes()) != expect:
            raise ConflictError(path)
        real.unlink()

    def mkdir(self, path: str, *, parents: bool = False, exist_ok: bool = False) -> None:
        try:
            self._checked(path).mkdir(parents=parents, exist_ok=exist_ok)
        except FileExistsError:
            raise ConflictError(path) from None

    def copy(
        self, source: str, target: str, *, overwrite: bool = False, expect: str | None = None
    ) -> None:
        content = self.read(source)
        if expect is not None and digest_of(content) != expect:
            raise ConflictError(source)
        self.write(target, content, overwrite=overwrite)

    def move(
        self, source: str, target: str, *, overwrite: bool = False, expect: str | None = None
    ) -> None:
        real, there = self._file(source), self._checked(target)
        if real.exists() and real == there:
            raise UsageError(source)
        if expect is not None and digest_of(real.read_bytes()) != expect:
            raise ConflictError(source)
        if there.exists() and not overwrite:
            raise ConflictError(target)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(real, there)

    def check(self, edits: Sequence[FileEdit]) -> None:
        for edit in edits:
            real = self._checked(edit.path)
            now = digest_of(real.read_bytes()) if real.is_file() else None
            if now != edit.before_sha256:
                raise ConflictError(edit.path)

    def apply(self, edits: Sequence[FileEdit]) -> None:
        self.check(edits)
        for edit in edits:
            if edit.after is None:
                self.delete(edit.path)
            else:
                self.write(edit.path, edit.after, overwrite=True)
