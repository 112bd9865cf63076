"""Python's manifests and lock files, read and never run.

pyproject.toml: packaging.python.org "pyproject.toml specification" and "Dependency Groups", and
the tables of Poetry, PDM and uv. requirements.txt: pip.pypa.io "Requirements File Format". Lock
files: `uv.lock`, `poetry.lock`, `pdm.lock`, and `pylock.toml` (read 2026-11-25).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from aiex.code.manifests.blocks import locked_blocks
from aiex.code.manifests.lines import Lines, text_of, toml_of
from aiex.code.manifests.values import Declared, Include, Locked, Manifest, Note

__all__ = ["read_pyproject", "read_python_lock", "read_requirements"]

_DEV_GROUPS = frozenset(
    {"dev", "develop", "development", "test", "tests", "testing", "lint", "docs"}
)
_LONGEST_LINE = 10_000
_EXACT = re.compile(r"=?=?\s*(\d[0-9A-Za-z.!+_-]*)")
_OPTION = re.compile(r"(?:(--[A-Za-z][A-Za-z-]*)(?:[ \t=]+|$)|(-[A-Za-z])[ \t=]*)(.*)", re.DOTALL)
_TAIL = re.compile(r"\s--(?:hash|config-settings|global-option|install-option)\b.*$", re.DOTALL)
_EGG = re.compile(r"[#&]egg=([A-Za-z0-9._-]+)")
_DIRECT = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:|\.{0,2}/|[^\s\[]+\.(?:whl|zip|tar\.gz)\b)", re.IGNORECASE
)


def pin_of(specifier: SpecifierSet) -> str | None:
    """Return the only version that *specifier* allows; `None` if it allows others."""
    exact = {s.version for s in specifier if s.operator in {"==", "==="} and "*" not in s.version}
    return exact.pop() if len(exact) == 1 else None


def _declared(text: str, *, group: str, is_dev: bool, line: int, end_line: int = 0) -> Declared:
    """Return one requirement as PEP 508 has it.

    Raises:
        ValueError: It is none.
    """
    if len(text) > _LONGEST_LINE:
        raise ValueError("a requirement is longer than 10,000 characters")
    try:
        found = Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        reason = str(error).partition("\n")[0] if str(error) else "it is nested too deep"
        raise ValueError(f"{text[:80]!r} is no requirement: {reason}") from None
    source = None
    if found.url is not None:
        source = "git" if found.url.startswith("git+") else "url"
    written = str(found.specifier) if found.url is None else found.url
    stated = re.sub(r"^[A-Za-z0-9._-]+\s*(?:\[[^\]]*\])?\s*", "", text.partition(";")[0]).strip()
    return Declared(
        ecosystem="pypi",
        name=canonicalize_name(found.name),
        requirement=written if source else stated.strip("() "),
        pin=None if source else pin_of(found.specifier),
        group=group,
        is_dev=is_dev,
        source=source,
        line=line,
        end_line=end_line or line,
    )


def is_dev_group(name: str) -> bool:
    """Return whether a group of this name is for developers alone, as its name goes."""
    return name.casefold() in _DEV_GROUPS


def read_pyproject(source: bytes) -> Manifest:
    """Return the dependencies of a `pyproject.toml`.

    Raises:
        ValueError: It is not UTF-8, or no TOML.
    """
    text = text_of(source)
    return _PyProject(toml_of(text), Lines(text)).read()


class _PyProject:
    def __init__(self, tree: Mapping[str, Any], lines: Lines) -> None:
        self._tree = tree
        self._lines = lines
        self._declared: list[Declared] = []
        self._includes: list[Include] = []
        self._notes: list[Note] = []

    def read(self) -> Manifest:
        """Return all that is declared."""
        project = _table(self._tree, "project")
        self._strings(project.get("dependencies"), "dependencies", "main", is_dev=False)
        for extra, wanted in _table(project, "optional-dependencies").items():
            self._strings(wanted, extra, extra, is_dev=is_dev_group(extra))
        for group, wanted in _table(self._tree, "dependency-groups").items():
            self._strings(wanted, group, group, is_dev=True)
        build = _table(self._tree, "build-system")
        self._strings(build.get("requires"), "requires", "build", is_dev=True)
        tool = _table(self._tree, "tool")
        self._strings(
            _table(tool, "uv").get("dev-dependencies"), "dev-dependencies", "dev", is_dev=True
        )
        for group, wanted in _table(_table(tool, "pdm"), "dev-dependencies").items():
            self._strings(wanted, group, group, is_dev=True)
        self._poetry(_table(tool, "poetry"))
        self._dynamic(project, _table(_table(tool, "setuptools"), "dynamic"))
        elsewhere: dict[str, str | None] = {
            canonicalize_name(name): _source_of(value)
            for name, value in _table(_table(tool, "uv"), "sources").items()
        }
        return Manifest(
            declared=tuple(self._with_source(one, elsewhere) for one in self._declared),
            includes=tuple(self._includes),
            notes=tuple(self._notes),
        )

    @staticmethod
    def _with_source(one: Declared, elsewhere: Mapping[str, str | None]) -> Declared:
        source = elsewhere.get(one.name)
        return one if source is None else msgspec.structs.replace(one, source=source)

    def _strings(self, wanted: object, key: str, group: str, *, is_dev: bool) -> None:
        if wanted is None:
            return
        after = self._lines.find(key)
        if not isinstance(wanted, list):
            self._notes.append(Note(reason=f"{key} is no list", line=after))
            return
        for text in wanted:
            if isinstance(text, dict) and "include-group" in text:
                continue  # the group that is meant is read by itself
            if not isinstance(text, str):
                self._notes.append(Note(reason=f"an entry of {key} is no text", line=after))
                continue
            line = self._lines.find(text, after) or after
            after = max(after, line)
            self._one(text, group, is_dev=is_dev, line=line)

    def _one(self, text: str, group: str, *, is_dev: bool, line: int) -> None:
        try:
            self._declared.append(_declared(text, group=group, is_dev=is_dev, line=line))
        except ValueError as error:
            self._notes.append(Note(reason=str(error), line=line))

    def _poetry(self, poetry: Mapping[str, Any]) -> None:
        plain = {"main": "dependencies", "dev": "dev-dependencies"}
        for group, key in plain.items():
            self._poetry_group(group, poetry.get(key), f"tool.poetry.{key}")
        for group, table in _table(poetry, "group").items():
            wanted = table.get("dependencies") if isinstance(table, dict) else None
            self._poetry_group(group, wanted, f"tool.poetry.group.{group}.dependencies")

    def _poetry_group(self, group: str, wanted: object, header: str) -> None:
        after = self._lines.find(header)
        for name, value in wanted.items() if isinstance(wanted, dict) else ():
            if name.casefold() != "python":
                self._declared.append(self._of_poetry(name, value, group, after))

    def _of_poetry(self, name: str, value: object, group: str, after: int) -> Declared:
        several = value if isinstance(value, list) else [value]
        texts = [v if isinstance(v, str) else _table({"v": v}, "v").get("version") for v in several]
        requirement = " || ".join(text for text in texts if isinstance(text, str))
        exact = _EXACT.fullmatch(requirement.strip())
        line = self._lines.find(name, after) or after
        return Declared(
            ecosystem="pypi",
            name=canonicalize_name(name),
            requirement="" if requirement == "*" else requirement,
            pin=exact[1] if exact is not None else None,
            group=group,
            is_dev=group != "main",
            source=_source_of(value) if isinstance(value, dict) else None,
            line=line,
            end_line=line,
        )

    def _dynamic(self, project: Mapping[str, Any], setuptools: Mapping[str, Any]) -> None:
        dynamic = project.get("dynamic")
        if not isinstance(dynamic, list):
            return
        line = self._lines.find("dynamic")
        for key in ("dependencies", "optional-dependencies"):
            if key not in dynamic:
                continue
            entries = [(key, setuptools.get(key))]
            if key == "optional-dependencies":
                entries = list(_table(setuptools, key).items())
            files = [(group, file) for group, entry in entries for file in _files_of(entry)]
            for group, file in files:
                name = "main" if group == "dependencies" else group
                self._includes.append(
                    Include(path=file, group=name, is_dev=is_dev_group(name), line=line)
                )
            if not files:
                reason = f"the {key} are computed when the project is built, which is not done"
                self._notes.append(Note(reason=reason, line=line))


def _files_of(entry: object) -> list[str]:
    file = entry.get("file") if isinstance(entry, dict) else None
    files = file if isinstance(file, list) else [file]
    return [one for one in files if isinstance(one, str)]


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def _source_of(value: object) -> str | None:
    for one in value if isinstance(value, list) else [value]:
        for key in ("git", "path", "url", "file", "workspace"):
            if isinstance(one, dict) and key in one:
                return "path" if key == "file" else key
    return None


def read_requirements(source: bytes, *, group: str = "main", is_dev: bool = False) -> Manifest:
    """Return the dependencies of a requirements file; what it includes is named, not read.

    Args:
        source: The file.
        group: Part that its dependencies belong to.
        is_dev: Whether only developers need them.

    Raises:
        ValueError: It is not UTF-8.
    """
    declared: list[Declared] = []
    includes: list[Include] = []
    notes: list[Note] = []
    for first, last, text in _logical_lines(text_of(source)):
        option = _OPTION.fullmatch(text)
        try:
            if option is not None:
                found = _of_option(option[1] or option[2], option[3].strip(), first)
                if isinstance(found, Include):
                    includes.append(found)
                elif found is not None:
                    notes.append(found)
                continue
            wanted = _TAIL.sub("", text).strip()
            egg = _EGG.search(wanted)
            if _DIRECT.match(wanted) and egg is None:
                reason = "a file or an address is required that does not say which package it is"
                notes.append(Note(reason=reason, line=first))
            elif _DIRECT.match(wanted) and egg is not None:
                where = "git" if wanted.startswith("git+") else "url"
                declared.append(
                    Declared(
                        ecosystem="pypi",
                        name=canonicalize_name(egg[1]),
                        requirement=wanted[:_LONGEST_LINE],
                        source=where,
                        group=group,
                        is_dev=is_dev,
                        line=first,
                        end_line=last,
                    )
                )
            else:
                declared.append(
                    _declared(wanted, group=group, is_dev=is_dev, line=first, end_line=last)
                )
        except ValueError as error:
            notes.append(Note(reason=str(error), line=first))
    return Manifest(declared=tuple(declared), includes=tuple(includes), notes=tuple(notes))


def _logical_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield first and last line and the text of each entry, comments and continuations resolved."""
    parts: list[str] = []
    first = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip("\r")
        first = first or number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        parts.append(line)
        whole = re.sub(r"(^|[ \t])#.*$", "", " ".join(parts)[: 2 * _LONGEST_LINE]).strip()
        if whole:
            yield first, number, whole
        parts, first = [], 0
    whole = " ".join(parts)[: 2 * _LONGEST_LINE].strip()
    if whole:
        yield first, text.count("\n") + 1, whole


def _of_option(option: str, value: str, line: int) -> Include | Note | None:
    """Return what an option means for the dependencies; `None` for nothing."""
    if option in {"-r", "--requirement", "-c", "--constraint"}:
        if "://" in value:
            return Note(reason=f"{value[:80]!r} is elsewhere and was not fetched", line=line)
        return Include(path=value, is_constraint=option in {"-c", "--constraint"}, line=line)
    if option in {"-e", "--editable"} and _EGG.search(value) is None and value not in {".", "./"}:
        return Note(reason=f"{value[:80]!r} is a folder or repository of its own", line=line)
    return None


def read_python_lock(source: bytes) -> Manifest:
    """Return the versions of a `uv.lock`, `poetry.lock`, `pdm.lock` or `pylock.toml`.

    Raises:
        ValueError: It is not UTF-8.
    """
    locked = []
    for block in locked_blocks(text_of(source)):
        if block.name and block.version:
            elsewhere = {
                "git": "git",
                "editable": "path",
                "directory": "path",
                "virtual": "path",
                "path": "path",
                "url": "url",
                "file": "path",
            }
            kind = next((elsewhere[word] for word in block.source_words if word in elsewhere), None)
            locked.append(
                Locked(
                    ecosystem="pypi",
                    name=canonicalize_name(block.name),
                    version=block.version,
                    source=kind,
                    line=block.line,
                )
            )
    return Manifest(locked=tuple(locked))
