"""How ruff is asked about a project: by the project's own settings, which we read and hand over.

ruff itself never sees the project's files of settings: it would follow what they extend wherever
it leads, and end on one that is not UTF-8. Where a folder has none, ours are used.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import msgspec

from aiex.code import RUFF_SELECT
from aiex.core import AiexError, NotChecked, NotFoundError
from aiex.sandbox import Files, ScanEntry

__all__ = ["RuffSettings", "RuffSettingsFound", "find_settings", "settings_among"]

_NAMES = (".ruff.toml", "ruff.toml", "pyproject.toml")
_MOST_FILES = 200
_LARGEST_FILE = 256 << 10
_MOST_OPTIONS_BYTES = 64 << 10
_MOST_EXTENDED = 5
_OLDEST, _NEWEST = 7, 14
_EVERYTHING = "ALL"
# What analyze speaks of in any project, unless the project ignores it.
_ALWAYS = ("S", "C901")
# They look at other files, or at permissions, which a copy of one file does not have.
_LOOK_AROUND = ("EXE001", "EXE002", "I001", "INP001", "TC001", "TC002")
_OURS = frozenset({"select", "extend-select", "ignore", "extend-ignore", "mccabe"})
_PASSED_ON = frozenset(
    {
        "builtins",
        "exclude",
        "extend-exclude",
        "indent-width",
        "namespace-packages",
        "per-file-target-version",
        "preview",
    }
)
_OF_NO_RULE = frozenset(
    {
        "analyze",
        "cache-dir",
        "extend",
        "extend-include",
        "extension",
        "fix",
        "fix-only",
        "force-exclude",
        "format",
        "include",
        "line-length",
        "lint",
        "output-format",
        "required-version",
        "respect-gitignore",
        "show-fixes",
        "src",
        "tab-size",
        "target-version",
        "unsafe-fixes",
    }
)
_AT_LEAST = re.compile(r">=\s*3\.(\d{1,2})\b")

# Whatever stands where a table or a text is expected; a tree of nobody's may hold anything.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

_Table = dict[str, Any]


class RuffSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How ruff is asked.

    Attributes:
        select: Rules to report.
        ignore: Rules not to report.
        line_length: Longest line, in columns.
        target_version: Such as `py311`; `None` for ruff's own.
        max_complexity: Complexity above which C901 reports.
        options: Further settings, each a TOML pair as ruff's `--config` takes it.
        base: Folder that the patterns in *options* are relative to, empty or ending in `/`.
        origin: File of the project that they are from; `None` for ours.
    """

    select: tuple[str, ...] = RUFF_SELECT
    ignore: tuple[str, ...] = ()
    line_length: int = 100
    target_version: str | None = None
    max_complexity: int = 10
    options: tuple[str, ...] = ()
    base: str = ""
    origin: str | None = None

    def arguments(self) -> tuple[str, ...]:
        """Return them as ruff's command line takes them."""
        arguments = [
            f"--select={','.join(self.select)}",
            f"--line-length={self.line_length}",
            "--config",
            f"lint.mccabe.max-complexity={self.max_complexity}",
        ]
        if self.ignore:
            arguments.append(f"--ignore={','.join(self.ignore)}")
        if self.target_version is not None:
            arguments.append(f"--target-version={self.target_version}")
        for option in self.options:
            arguments += ["--config", option]
        return tuple(arguments)


class RuffSettingsFound(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a project.

    Attributes:
        by_path: Settings of each file that was asked for.
        not_checked: Settings that could not be followed, and why.
    """

    by_path: dict[str, RuffSettings]
    not_checked: tuple[NotChecked, ...] = ()


def find_settings(
    files: Files,
    paths: Iterable[str],
    *,
    entries: Iterable[ScanEntry] = (),
    starts: Sequence[str] = (".",),
) -> RuffSettingsFound:
    """Return the settings of the project at *files* for each of *paths*; blocks.

    Args:
        files: The project's files.
        paths: Python files.
        entries: What is there below *starts*.
        starts: Folders and files that were looked at; settings above them count, too.
    """
    names = {entry.path for entry in entries if entry.path.endswith(_NAMES)}
    names = {name for name in names if PurePosixPath(name).name in _NAMES}
    for start in starts:
        above = _folders(start.removeprefix(files.root).strip("/"))
        for folder in ("", *(f"{folder}/" for folder in above)):
            names.update(f"{folder}{name}" for name in _NAMES)
    notes: list[NotChecked] = []
    near = sorted(names, key=lambda name: (name.count("/"), name))
    contents = _read(files, near[:_MOST_FILES], notes)
    if len(near) > _MOST_FILES:
        rest = len(near) - _MOST_FILES
        notes.append(_refused(f"{rest} more files", f"only {_MOST_FILES} are read"))
    for _ in range(_MOST_EXTENDED):
        missing = sorted(_extended(contents) - contents.keys())
        if not missing:
            break
        contents.update(_read(files, missing, notes))
    found = settings_among(contents, paths)
    return msgspec.structs.replace(found, not_checked=(*notes, *found.not_checked))


def _read(files: Files, names: Sequence[str], notes: list[NotChecked]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for name, read in zip(names, files.read_many(names), strict=True):
        if isinstance(read, NotFoundError):
            continue
        if isinstance(read, AiexError):
            notes.append(_refused(name, read.message))
        elif len(read.content) > _LARGEST_FILE:
            notes.append(_refused(name, f"it has more than {_LARGEST_FILE >> 10} KiB"))
        else:
            contents[name] = read.content
    return contents


def _extended(contents: Mapping[str, bytes]) -> set[str]:
    """Return the names of the files that those in *contents* extend."""
    found = set()
    for origin in contents:
        with suppress(*_UNREADABLE):
            table = _table_of(origin, contents)
            if table is not None and "extend" in table:
                found.add(_beside(origin, table["extend"]))
    return found - {""}


def settings_among(contents: Mapping[str, bytes], paths: Iterable[str]) -> RuffSettingsFound:
    """Return the settings for each of *paths*, from the nearest of the files in *contents*.

    As in ruff, the nearest file counts alone, `.ruff.toml` before `ruff.toml` before a
    `pyproject.toml` that has `[tool.ruff]`, and with it what it extends. A selection of the
    project's replaces ours, but security (S) and complexity (C901) are always asked for unless
    they are ignored.

    Args:
        contents: Files of settings, by path.
        paths: Python files.
    """
    notes: list[NotChecked] = []
    known = {folder: _own(folder, contents, notes) for folder in sorted(_folders_of(contents))}
    by_path = {path: _nearest(path, known) for path in paths}
    used = {settings.origin for settings in by_path.values() if _looks_around(settings)}
    for origin in sorted(filter(None, used)):
        reason = "they look at more than one file, and ruff is given copies"
        what = f"rules {', '.join(_LOOK_AROUND)} of {origin}"
        notes.append(NotChecked(what=what, reason=reason, tool="ruff"))
    return RuffSettingsFound(by_path=by_path, not_checked=tuple(notes))


def _folders_of(names: Iterable[str]) -> set[str]:
    return {name.rpartition("/")[0] for name in names}


def _folders(path: str) -> Iterable[str]:
    """Return the folders that *path* is in, the nearest first, without the root."""
    return [str(folder) for folder in PurePosixPath(path).parents if str(folder) not in {".", "/"}]


def _nearest(path: str, known: Mapping[str, RuffSettings | None]) -> RuffSettings:
    for folder in (*_folders(path), ""):
        settings = known.get(folder)
        if settings is not None:
            return settings
    return RuffSettings()


def _own(
    folder: str, contents: Mapping[str, bytes], notes: list[NotChecked]
) -> RuffSettings | None:
    """Return the settings that *folder* itself has; what cannot be read of them is noted."""
    base = f"{folder}/" if folder else ""
    for name in _NAMES:
        origin = f"{base}{name}"
        if origin not in contents:
            continue
        try:
            table = _ruff_table(origin, contents, _MOST_EXTENDED)
            if table is None:
                continue
            return _settings(table, base, origin, _target(f"{base}pyproject.toml", contents))
        except _UNREADABLE as error:
            notes.append(_refused(origin, f"they cannot be read: {error}"))
            return RuffSettings()
    target = _target(f"{base}pyproject.toml", contents)
    return None if target is None else RuffSettings(target_version=target)


def _refused(origin: str, reason: str) -> NotChecked:
    return NotChecked(what=f"settings of ruff in {origin}", reason=reason, tool="ruff")


def _ruff_table(origin: str, contents: Mapping[str, bytes], depth: int) -> _Table | None:
    """Return ruff's table of one file, with what it extends; `None` if it has none."""
    table = _table_of(origin, contents)
    if not table or "extend" not in table:
        return table
    extended = _beside(origin, table["extend"])
    if depth == 0 or extended not in contents:
        msg = f"what they extend ({table['extend']}) is no file of settings inside the project"
        raise ValueError(msg)
    below = _ruff_table(extended, contents, depth - 1) or {}
    lint = {**below.get("lint", {}), **table.get("lint", {})}
    return {**below, **table, "lint": lint}


def _table_of(origin: str, contents: Mapping[str, bytes]) -> _Table | None:
    table: _Table = tomllib.loads(contents[origin].decode())
    if PurePosixPath(origin).name == "pyproject.toml":
        inner: _Table | None = table.get("tool", {}).get("ruff")
        return inner
    return table


def _beside(origin: str, relative: str) -> str:
    parts = origin.split("/")[:-1]
    for part in relative.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _settings(table: _Table, base: str, origin: str, target: str | None) -> RuffSettings:
    # Rules were once set in the outer table; ruff still takes them from there.
    outer = {k: v for k, v in table.items() if k not in _OF_NO_RULE and k not in _PASSED_ON}
    lint = {**outer, **table.get("lint", {})}
    select = _words(lint, "select") or RUFF_SELECT
    ignore = (*_words(lint, "ignore"), *_words(lint, "extend-ignore"), *_LOOK_AROUND)
    options = [f"{k}={_toml(table[k])}" for k in sorted(_PASSED_ON & table.keys())]
    options += [f"lint.{_toml(k)}={_toml(lint[k])}" for k in sorted(lint.keys() - _OURS)]
    if sum(map(len, options)) > _MOST_OPTIONS_BYTES:
        msg = f"they are longer than {_MOST_OPTIONS_BYTES >> 10} KiB"
        raise ValueError(msg)
    return RuffSettings(
        select=tuple(dict.fromkeys((*select, *_words(lint, "extend-select"), *_ALWAYS))),
        ignore=tuple(dict.fromkeys(ignore)),
        line_length=int(table.get("line-length", 88)),
        target_version=table.get("target-version") or target,
        max_complexity=int(lint.get("mccabe", {}).get("max-complexity", 10)),
        options=tuple(options),
        base=base,
        origin=origin,
    )


def _words(table: _Table, key: str) -> tuple[str, ...]:
    return msgspec.convert(table.get(key, ()), tuple[str, ...])


def _target(pyproject: str, contents: Mapping[str, bytes]) -> str | None:
    """Return the oldest Python that a project says it runs on; `None` if it does not."""
    try:
        table = tomllib.loads(contents.get(pyproject, b"").decode())
        asked = _AT_LEAST.search(table["project"]["requires-python"])
    except _UNREADABLE:
        return None
    return asked and f"py3{min(max(int(asked[1]), _OLDEST), _NEWEST)}"


def _looks_around(settings: RuffSettings) -> bool:
    return settings.origin is not None and any(
        chosen == _EVERYTHING or any(rule.startswith(chosen) for rule in _LOOK_AROUND)
        for chosen in settings.select
    )


def _toml(value: object) -> str:
    """Return *value*, of what `tomllib` reads, on one line.

    Raises:
        ValueError: It holds a date, which no setting of ruff's is.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml(k)} = {_toml(v)}' for k, v in value.items())}}}"
    msg = f"{value} is no setting of ruff's"
    raise ValueError(msg)
