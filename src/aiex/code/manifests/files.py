"""Which files are manifests and lock files, by their names, and how large one may be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import msgspec

from aiex.code.manifests.elixir import MAX_MIX_BYTES, read_mix_exs, read_mix_lock
from aiex.code.manifests.go import read_go_mod
from aiex.code.manifests.node import read_package_json, read_package_lock
from aiex.code.manifests.python import read_pyproject, read_python_lock, read_requirements
from aiex.code.manifests.rust import read_cargo_lock, read_cargo_toml
from aiex.code.manifests.values import Ecosystem, Manifest

__all__ = ["FileKind", "kind_of", "unread_kind"]

_MANIFEST_BYTES = 2 << 20
_LOCK_BYTES = 16 << 20


class FileKind(msgspec.Struct, frozen=True, kw_only=True):
    """What a file is.

    Attributes:
        ecosystem: Whose it is.
        role: Whether it says what is wanted or what was chosen.
        read: Reads it; raises `ValueError` with the reason where it cannot be read.
        max_bytes: Largest one that is read.
    """

    ecosystem: Ecosystem
    role: Literal["manifest", "lock"]
    read: Callable[[bytes], Manifest]
    max_bytes: int


def _manifest(
    ecosystem: Ecosystem, read: Callable[[bytes], Manifest], most: int = _MANIFEST_BYTES
) -> FileKind:
    return FileKind(ecosystem=ecosystem, role="manifest", read=read, max_bytes=most)


def _lock(ecosystem: Ecosystem, read: Callable[[bytes], Manifest]) -> FileKind:
    return FileKind(ecosystem=ecosystem, role="lock", read=read, max_bytes=_LOCK_BYTES)


_KINDS = {
    "pyproject.toml": _manifest("pypi", read_pyproject),
    "package.json": _manifest("npm", read_package_json),
    "go.mod": _manifest("go", read_go_mod),
    "Cargo.toml": _manifest("cargo", read_cargo_toml),
    "mix.exs": _manifest("hex", read_mix_exs, MAX_MIX_BYTES),
    "uv.lock": _lock("pypi", read_python_lock),
    "poetry.lock": _lock("pypi", read_python_lock),
    "pdm.lock": _lock("pypi", read_python_lock),
    "pylock.toml": _lock("pypi", read_python_lock),
    "package-lock.json": _lock("npm", read_package_lock),
    "npm-shrinkwrap.json": _lock("npm", read_package_lock),
    "Cargo.lock": _lock("cargo", read_cargo_lock),
    "mix.lock": _lock("hex", read_mix_lock),
}
_REQUIREMENTS = _manifest("pypi", read_requirements)
_REQUIREMENTS_NAME = re.compile(
    r"(?:.*/)?(?:(?:[\w.-]*[-_.])?requirements(?:[-_.][\w.-]*)?\.(?:txt|in)|requirements/[^/]+\.(?:txt|in))",
    re.IGNORECASE,
)
_UNREAD = {
    name: f"{tool} has a form of its own that is not read"
    for name, tool in {
        "yarn.lock": "yarn",
        "pnpm-lock.yaml": "pnpm",
        "bun.lock": "bun",
        "bun.lockb": "bun",
        "Pipfile": "pipenv",
        "Pipfile.lock": "pipenv",
        "environment.yml": "conda",
        "pom.xml": "Maven",
        "build.gradle": "Gradle",
        "build.gradle.kts": "Gradle",
        "Gemfile": "Bundler",
        "Gemfile.lock": "Bundler",
        "composer.json": "Composer",
        "composer.lock": "Composer",
        "go.work": "a workspace of Go",
    }.items()
} | {
    "setup.py": "it would have to be run, and nothing of a project is",
    "setup.cfg": "setuptools has a form of its own that is not read",
}


def kind_of(path: str) -> FileKind | None:
    """Return what the file at *path* is; `None` for neither manifest nor lock file."""
    found = _KINDS.get(path.rpartition("/")[2])
    if found is not None:
        return found
    return _REQUIREMENTS if _REQUIREMENTS_NAME.fullmatch(path) else None


def unread_kind(path: str) -> str | None:
    """Return why a file that names dependencies is not read; `None` if it names none."""
    return _UNREAD.get(path.rpartition("/")[2])
