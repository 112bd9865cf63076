"""Rust's `Cargo.toml` and `Cargo.lock`.

Source: the Cargo book, "Specifying Dependencies" and "The Manifest Format" (read 2026-11-25).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiex.code.manifests.blocks import Block, locked_blocks
from aiex.code.manifests.lines import Lines, text_of, toml_of
from aiex.code.manifests.values import Declared, Locked, Manifest

__all__ = ["read_cargo_lock", "read_cargo_toml"]

_TABLES = {"dependencies": "main", "dev-dependencies": "dev", "build-dependencies": "build"}
_EXACT = re.compile(r"=\s*(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)")


def read_cargo_toml(source: bytes) -> Manifest:
    """Return the dependencies of a `Cargo.toml`.

    One that is inherited from the workspace has the source `workspace` and no requirement.

    Raises:
        ValueError: It is not UTF-8, or no TOML.
    """
    text = text_of(source)
    tree, lines = toml_of(text), Lines(text)
    declared = list(_tables(tree, lines))
    for target in _table(tree, "target").values():
        declared += _tables(target if isinstance(target, dict) else {}, lines)
    shared = _table(_table(tree, "workspace"), "dependencies")
    after = lines.find("workspace.dependencies")
    inherited = {key: _one(key, value, "main", lines, after) for key, value in shared.items()}
    return Manifest(declared=tuple(declared), inherited=inherited)


def _tables(tree: Mapping[str, Any], lines: Lines) -> Iterator[Declared]:
    for table, group in _TABLES.items():
        after = lines.find(table)
        for key, value in _table(tree, table).items():
            yield _one(key, value, group, lines, after)


def _one(key: str, value: object, group: str, lines: Lines, after: int) -> Declared:
    told = value if isinstance(value, dict) else {"version": value}
    requirement = told.get("version")
    requirement = requirement if isinstance(requirement, str) else ""
    renamed = told.get("package")
    exact = _EXACT.fullmatch(requirement.strip())
    source = next((kind for kind in ("git", "path") if kind in told), None)
    if told.get("workspace") is True:
        source = "workspace"
    line = lines.find(key, after) or lines.find(key)
    return Declared(
        ecosystem="cargo",
        name=renamed if isinstance(renamed, str) else key,
        requirement=requirement,
        pin=exact[1] if exact is not None else None,
        group=group,
        is_dev=group == "dev",
        source=source,
        line=line,
        end_line=line,
    )


def read_cargo_lock(source: bytes) -> Manifest:
    """Return the versions of a `Cargo.lock`; packages of the project itself have a source `path`.

    Raises:
        ValueError: It is not UTF-8.
    """
    locked: list[Locked] = []
    chosen: dict[str, str] = {}
    for block in locked_blocks(text_of(source)):
        if not block.name or not block.version:
            continue
        locked.append(
            Locked(
                ecosystem="cargo",
                name=block.name,
                version=block.version,
                source=_source_of(block),
                line=block.line,
            )
        )
        if not block.source:
            words = [word.split(" ") for word in block.dependencies]
            chosen.update((word[0], word[1]) for word in words if len(word) > 1)
    return Manifest(locked=tuple(locked), chosen=chosen)


def _source_of(block: Block) -> str | None:
    if not block.source:
        return "path"
    return "git" if block.source.startswith("git+") else None


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}
