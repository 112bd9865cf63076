"""What manifests and lock files say, as values."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Declared", "Ecosystem", "Include", "Locked", "Manifest", "Note"]

Ecosystem = Literal["pypi", "npm", "go", "cargo", "hex"]
"""Where a package comes from: pypi for Python, npm, go, cargo for Rust, hex for Elixir."""


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A dependency that a manifest names.

    Attributes:
        ecosystem: Where it comes from.
        name: Name of the package, normalised as the ecosystem does.
        requirement: What is required, as written; empty for any version.
        pin: The only version that the requirement allows; `None` if it allows others.
        group: Part of the manifest that names it: `main`, `dev`, `build`, the name of an extra.
        is_dev: Whether only developers of the project need it.
        source: Where it comes from instead of an index: `git`, `path`, `url`, `workspace`;
            `None` for an index.
        line: First line, 1-based; 0 if unknown.
        end_line: Last line.
    """

    ecosystem: Ecosystem
    name: str
    requirement: str = ""
    pin: str | None = None
    group: str = "main"
    is_dev: bool = False
    source: str | None = None
    line: int = 0
    end_line: int = 0


class Locked(msgspec.Struct, frozen=True, kw_only=True):
    """An exact version of a package that a lock file names.

    Attributes:
        ecosystem: Where it comes from.
        name: Name of the package, normalised as the ecosystem does.
        version: The version.
        source: Where it comes from instead of an index, as in `Declared`.
        is_dev: Whether only developers need it, where the file says.
        line: Line, 1-based; 0 if unknown.
    """

    ecosystem: Ecosystem
    name: str
    version: str
    source: str | None = None
    is_dev: bool = False
    line: int = 0


class Include(msgspec.Struct, frozen=True, kw_only=True):
    """Another file that a manifest draws in.

    Attributes:
        path: As written, relative to the folder of the manifest.
        is_constraint: Whether it only narrows versions.
        group: Part of the manifest that its dependencies belong to.
        is_dev: Whether only developers need them.
        line: Line, 1-based.
    """

    path: str
    is_constraint: bool = False
    group: str = "main"
    is_dev: bool = False
    line: int = 0


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a file that could not be read.

    Attributes:
        reason: Why, in one sentence.
        line: Line, 1-based; 0 for the whole file.
    """

    reason: str
    line: int = 0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one file says.

    Attributes:
        declared: Dependencies that it names, in its order.
        locked: Exact versions that it names.
        includes: Files that it draws in.
        notes: What could not be read.
        chosen: For each package that this project itself wants, the version that the lock file
            chose, where it says which of several.
        inherited: Requirements that members of a workspace may inherit, by name.
    """

    declared: tuple[Declared, ...] = ()
    locked: tuple[Locked, ...] = ()
    includes: tuple[Include, ...] = ()
    notes: tuple[Note, ...] = ()
    chosen: dict[str, str] = {}
    inherited: dict[str, Declared] = {}
