"""JavaScript's `package.json` and `package-lock.json`.

Source: npm's pages "package.json" and "package-lock.json" (read 2026-11-25); versions 1 to 3 of
the lock file are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiex.code.manifests.lines import Lines, json_of, text_of
from aiex.code.manifests.values import Declared, Locked, Manifest, Note

__all__ = ["read_package_json", "read_package_lock"]

_TABLES = {
    "dependencies": "main",
    "devDependencies": "dev",
    "optionalDependencies": "optional",
    "peerDependencies": "peer",
}
_EXACT = re.compile(r"[v=]?\s*(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)")
_ALIAS = re.compile(r"npm:(@?[^@]+)(?:@(.*))?")
_INSIDE = "node_modules/"


def read_package_json(source: bytes) -> Manifest:
    """Return the dependencies of a `package.json`.

    Raises:
        ValueError: It is not UTF-8, or no JSON object.
    """
    text = text_of(source)
    tree, lines = json_of(text), Lines(text)
    declared: list[Declared] = []
    notes: list[Note] = []
    for table, group in _TABLES.items():
        after = lines.find(table)
        wanted = tree.get(table, {})
        if not isinstance(wanted, dict):
            notes.append(Note(reason=f"{table} is no object", line=after))
            continue
        for key, value in wanted.items():
            line = lines.find(key, after)
            if isinstance(value, str):
                declared.append(_one(key, value, group, line))
            else:
                notes.append(Note(reason=f"the version of {key[:80]!r} is no text", line=line))
    return Manifest(declared=tuple(declared), notes=tuple(notes))


def _one(key: str, value: str, group: str, line: int) -> Declared:
    alias = _ALIAS.fullmatch(value)
    name, requirement = (alias[1], alias[2] or "") if alias is not None else (key, value)
    exact = _EXACT.fullmatch(requirement.strip())
    return Declared(
        ecosystem="npm",
        name=name,
        requirement=requirement,
        pin=exact[1] if exact is not None else None,
        group=group,
        is_dev=group == "dev",
        source=_source_of(requirement),
        line=line,
        end_line=line,
    )


def _source_of(requirement: str) -> str | None:
    if requirement.startswith("workspace:"):
        return "workspace"
    if requirement.startswith(("file:", "link:", "portal:", "./", "../", "/", "~/")):
        return "path"
    if requirement.startswith(("git:", "git+", "github:", "gitlab:", "bitbucket:", "gist:")):
        return "git"
    if requirement.startswith(("http:", "https:")):
        return "url"
    # A user and a repository of GitHub, such as expressjs/express.
    return "git" if re.fullmatch(r"[\w.-]+/[\w.#-]+", requirement) else None


def read_package_lock(source: bytes) -> Manifest:
    """Return the versions of a `package-lock.json` or `npm-shrinkwrap.json`.

    Raises:
        ValueError: It is not UTF-8, or no JSON object.
    """
    text = text_of(source)
    tree = json_of(text)
    packages = tree.get("packages")
    if isinstance(packages, dict):
        lines = Lines(text, only=packages)
        return Manifest(locked=tuple(_packages(packages, lines)), chosen=_top(packages))
    nested = tree.get("dependencies")
    if not isinstance(nested, dict):
        return Manifest()
    chosen = {
        name: entry["version"]
        for name, entry in nested.items()
        if isinstance(entry, dict) and isinstance(entry.get("version"), str)
    }
    entries = list(_nested(nested))
    lines = Lines(text, only={name for name, _ in entries})
    return Manifest(
        locked=tuple(_locked_nested(name, entry, lines) for name, entry in entries), chosen=chosen
    )


def _packages(packages: Mapping[str, Any], lines: Lines) -> Iterator[Locked]:
    for path, entry in packages.items():
        if not path or not isinstance(entry, dict) or entry.get("link") is True:
            continue
        inside = _INSIDE in path
        name = entry.get("name")
        if not isinstance(name, str):
            name = path.rpartition(_INSIDE)[2] if inside else ""
        version = entry.get("version")
        if name and isinstance(version, str):
            yield _locked(name, version, entry, lines.find(path), inside=inside)


def _locked(
    name: str, version: str, entry: Mapping[str, Any], line: int, *, inside: bool
) -> Locked:
    resolved = entry.get("resolved")
    source = _source_of(resolved) if isinstance(resolved, str) else None
    if source == "url":
        source = None  # the address of the archive on the registry, or a mirror of it
    if not inside:
        source = "workspace"
    return Locked(
        ecosystem="npm",
        name=name,
        version=version,
        source=source,
        is_dev=entry.get("dev") is True,
        line=line,
    )


def _top(packages: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions that stand at the top, which the project itself gets, by package."""
    found = {}
    for path, entry in packages.items():
        name = path.removeprefix(_INSIDE)
        if path.startswith(_INSIDE) and _INSIDE not in name and isinstance(entry, dict):
            version = entry.get("version")
            if isinstance(version, str):
                real = entry.get("name")
                found[real if isinstance(real, str) else name] = version
    return found


def _nested(tree: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the packages of a lock file of version 1, at any depth."""
    waiting = [tree]
    while waiting:
        for name, entry in waiting.pop().items():
            if not isinstance(entry, dict):
                continue
            if isinstance(entry.get("version"), str):
                yield name, entry
            below = entry.get("dependencies")
            if isinstance(below, dict):
                waiting.append(below)


def _locked_nested(name: str, entry: Mapping[str, Any], lines: Lines) -> Locked:
    version: str = entry["version"]
    alias = _ALIAS.fullmatch(version)
    return Locked(
        ecosystem="npm",
        name=name if alias is None else alias[1],
        version=version if alias is None else alias[2] or "",
        source=_source_of(version),
        is_dev=entry.get("dev") is True,
        line=lines.find(name),
    )
