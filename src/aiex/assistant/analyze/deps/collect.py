"""Reading every manifest and lock file of a project, and joining what they say."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import msgspec

from aiex.code import cycles
from aiex.code.manifests import (
    Declared,
    FileKind,
    Include,
    Locked,
    Manifest,
    allows,
    kind_of,
    newest,
    read_requirements,
    unread_kind,
)
from aiex.core import (
    Dependency,
    ManifestSummary,
    NotChecked,
    NotFoundError,
    PathRefusedError,
)
from aiex.sandbox import Files, Scan, printable

__all__ = ["Collected", "collect"]

_MOST_FILES = 5_000
_MOST_PACKAGES = 200_000
_MOST_NOTES_A_FILE = 10
_REQUIREMENTS_BYTES = 2 << 20


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a project depends on.

    Attributes:
        manifests: Files that were read, by path.
        dependencies: First what the project itself wants, then what only lock files name.
        not_checked: What could not be read, and why.
    """

    manifests: tuple[ManifestSummary, ...]
    dependencies: tuple[Dependency, ...]
    not_checked: tuple[NotChecked, ...]


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read."""

    path: str
    kind: FileKind
    manifest: Manifest
    is_constraint: bool = False


def collect(files: Files, scan: Scan) -> Collected:
    """Return what the manifests and lock files among *scan* say. Blocks."""
    reader = _Reader(files)
    for entry in scan.entries:
        kind = kind_of(entry.path)
        reason = unread_kind(entry.path)
        if kind is not None:
            reader.read(entry.path, kind)
        elif reason is not None:
            reader.note(entry.path, reason)
    reader.follow()
    read = reader.all()
    dependencies = _joined(read)
    if len(dependencies) > _MOST_PACKAGES:
        more = len(dependencies) - _MOST_PACKAGES
        reader.note(f"{more} more packages", f"only the first {_MOST_PACKAGES} are looked at")
    return Collected(
        manifests=tuple(
            ManifestSummary(
                path=one.path,
                ecosystem=one.kind.ecosystem,
                role=one.kind.role,
                packages=len(one.manifest.locked or one.manifest.declared),
            )
            for one in read
        ),
        dependencies=dependencies[:_MOST_PACKAGES],
        not_checked=(*_relevant(scan.left_out), *reader.notes),
    )


def _relevant(left_out: Iterable[NotChecked]) -> list[NotChecked]:
    """Return what was passed by and may have been a manifest, or held one.

    A file of another kind that is odd is nothing that this answer would have looked at.
    """
    return [
        note
        for note in left_out
        if kind_of(note.what) is not None or "." not in posixpath.basename(note.what)
    ]


class _Reader:
    """Reads manifests and, one after another, what they include."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._includes: dict[str, list[str]] = {}
        self._waiting: list[tuple[str, str, Include]] = []
        self._known: set[str] = set()
        self._constraints: set[str] = set()
        self._read: list[_Read] = []
        self.notes: list[NotChecked] = []

    def note(self, what: str, reason: str) -> None:
        """Note what could not be read."""
        self.notes.append(NotChecked(what=printable(what), reason=reason))

    def all(self) -> list[_Read]:
        """Return what was read, by path."""
        found = [
            msgspec.structs.replace(one, is_constraint=one.path in self._constraints)
            for one in self._read
        ]
        return sorted(found, key=lambda one: one.path)

    def read(self, path: str, kind: FileKind) -> None:
        """Read the file at *path*, unless that was done."""
        if path in self._known:
            return
        if len(self._known) >= _MOST_FILES:
            self.note(path, f"only the first {_MOST_FILES} manifests are read")
            return
        self._known.add(path)
        try:
            size = self._files.stat(path).size
            if size > kind.max_bytes:
                self.note(path, f"it has {size} bytes, over the {kind.max_bytes} that are read")
                return
            manifest = kind.read(self._files.read(path, limit=kind.max_bytes).content)
        except (NotFoundError, PathRefusedError) as error:
            self.note(path, error.message)
            return
        except ValueError as error:
            self.note(path, str(error))
            return
        self._read.append(_Read(path=path, kind=kind, manifest=manifest))
        for note in manifest.notes[:_MOST_NOTES_A_FILE]:
            self.note(f"{path}:{note.line}" if note.line else path, note.reason)
        more = len(manifest.notes) - _MOST_NOTES_A_FILE
        if more > 0:
            self.note(path, f"{more} more entries of it could not be read")
        for include in manifest.includes:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), include.path))
            self._includes.setdefault(path, []).append(target)
            self._waiting.append((path, target, include))

    def follow(self) -> None:
        """Read what is included, and what that includes."""
        while self._waiting:
            path, target, include = self._waiting.pop(0)
            place = f"{path}:{include.line}" if include.line else path
            if target.startswith(("../", "/")) or target == "..":
                self.note(place, f"it includes {include.path[:80]!r}, which is outside the project")
                continue
            if include.is_constraint:
                self._constraints.add(target)
            read = partial(read_requirements, group=include.group, is_dev=include.is_dev)
            most = _REQUIREMENTS_BYTES
            kind = FileKind(ecosystem="pypi", role="manifest", read=read, max_bytes=most)
            self.read(target, kind)
        graph = {path: set(targets) for path, targets in self._includes.items()}
        graph.update({t: set() for ts in self._includes.values() for t in ts if t not in graph})
        circles = [*cycles(graph), *((p,) for p, ts in graph.items() if p in ts)]
        for group in circles:
            self.note(group[0], f"files include each other in a circle: {', '.join(group[:6])}")


def _joined(read: Sequence[_Read]) -> tuple[Dependency, ...]:
    """Return what is wanted, with its version where that is known, then what is only locked."""
    versions = _Versions(read)
    wanted: list[Dependency] = []
    covered: set[tuple[str, str, str]] = set()
    for one in read:
        if one.is_constraint:
            continue
        for declared in one.manifest.declared:
            dependency = _wanted(one.path, versions.inherited(one.path, declared), versions)
            wanted.append(dependency)
            if dependency.version is not None:
                covered.add((dependency.ecosystem, dependency.name, dependency.version))
    indirect: list[Dependency] = []
    for one in read:
        for locked in one.manifest.locked:
            key = (locked.ecosystem, locked.name, locked.version)
            if key not in covered:
                covered.add(key)
                indirect.append(_indirect(one.path, locked))
    return (*wanted, *indirect)


def _wanted(path: str, declared: Declared, versions: _Versions) -> Dependency:
    return Dependency(
        ecosystem=declared.ecosystem,
        name=declared.name,
        requirement=declared.requirement,
        version=None if declared.source else versions.of(path, declared),
        group=declared.group,
        is_dev=declared.is_dev,
        source=declared.source,
        path=path,
        line=declared.line,
        end_line=declared.end_line,
    )


def _indirect(path: str, locked: Locked) -> Dependency:
    return Dependency(
        ecosystem=locked.ecosystem,
        name=locked.name,
        version=locked.version,
        group="indirect",
        is_dev=locked.is_dev,
        source=locked.source,
        path=path,
        line=locked.line,
        end_line=locked.line,
    )


class _Versions:
    """Finds the version of what is wanted, in the lock file nearest above it."""

    def __init__(self, read: Sequence[_Read]) -> None:
        self._locked: dict[tuple[str, str], dict[str, list[str]]] = {}
        self._chosen: dict[tuple[str, str], dict[str, str]] = {}
        self._shared: dict[str, Mapping[str, Declared]] = {}
        for one in read:
            key = (posixpath.dirname(one.path), one.kind.ecosystem)
            manifest = one.manifest
            if manifest.locked:
                names = self._locked.setdefault(key, {})
                for locked in (each for each in manifest.locked if each.source is None):
                    names.setdefault(locked.name, []).append(locked.version)
            if manifest.chosen:
                self._chosen.setdefault(key, {}).update(manifest.chosen)
            if manifest.inherited:
                self._shared[key[0]] = manifest.inherited
            for pinned in manifest.declared if _pins_others(one) else ():
                if pinned.pin is not None:
                    self._locked.setdefault(key, {}).setdefault(pinned.name, []).append(pinned.pin)

    def inherited(self, path: str, declared: Declared) -> Declared:
        """Return *declared* with what it takes from the workspace above it."""
        if declared.source != "workspace" or declared.ecosystem != "cargo":
            return declared
        for folder in _upwards(path):
            shared = self._shared.get(folder, {}).get(declared.name)
            if shared is not None:
                return msgspec.structs.replace(
                    declared,
                    name=shared.name,
                    requirement=shared.requirement,
                    pin=shared.pin,
                    source=shared.source,
                )
        return declared

    def of(self, path: str, declared: Declared) -> str | None:
        """Return the version of *declared*, which the file at *path* names; `None` if unknown."""
        if declared.pin is not None:
            return declared.pin
        for folder in _upwards(path):
            key = (folder, declared.ecosystem)
            candidates = self._locked.get(key, {}).get(declared.name, [])
            chosen = self._chosen.get(key, {}).get(declared.name)
            if chosen is not None:
                return chosen
            if candidates:
                fit = [v for v in candidates if allows(declared.ecosystem, declared.requirement, v)]
                return newest(declared.ecosystem, fit or candidates) or candidates[0]
        return None


def _pins_others(one: _Read) -> bool:
    """Return whether the pins of a file say which versions other files of its folder get.

    Constraints do, and what was compiled from a `.in` file.
    """
    return one.is_constraint or (one.kind.ecosystem == "pypi" and one.path.endswith(".txt"))


def _upwards(path: str) -> Iterable[str]:
    folder = posixpath.dirname(path)
    while folder:
        yield folder
        folder = posixpath.dirname(folder)
    yield ""
