"""Where a new module stands in a project, and what it is called there. Pure."""

from __future__ import annotations

import keyword
import re
from collections.abc import Set as AbstractSet

import msgspec

from aiex.core import UsageError

__all__ = ["MODULE_LANGUAGES", "Placement", "language_of_project", "place_module"]

MODULE_LANGUAGES = ("python", "elixir")
"""Languages that `create module` writes."""

_SUFFIX = {"python": ".py", "elixir": ".ex"}
_MANIFESTS = {"mix.exs": "elixir", "pyproject.toml": "python", "setup.py": "python"}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_SOURCE = frozenset({"tests", "test", "docs", "doc", "bench", "benchmarks", "examples"})


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where the files of a new module stand, relative to the root.

    Attributes:
        name: Name of the module as its language writes it.
        path: The module.
        test_path: Its tests.
        docs_path: Its page of documentation.
        new_packages: Files that make new folders Python packages.
    """

    name: str
    path: str
    test_path: str
    docs_path: str
    new_packages: tuple[str, ...] = ()


def language_of_project(paths: AbstractSet[str]) -> str | None:
    """Return the language of a project, by its manifest, else by most files; `None` if unclear.

    Args:
        paths: Files of the project, relative to its root.
    """
    by_manifest = {language for name, language in _MANIFESTS.items() if name in paths}
    if len(by_manifest) == 1:
        return by_manifest.pop()
    counts = {
        language: sum(path.endswith((suffix, f"{suffix}s")) for path in paths)
        for language, suffix in _SUFFIX.items()
    }
    most = max(counts, key=lambda language: counts[language])
    others = [count for language, count in counts.items() if language != most]
    return most if counts[most] > max(others) else None


def place_module(
    name: str, *, language: str, path: str | None, paths: AbstractSet[str]
) -> Placement:
    """Return where the module *name* belongs.

    Args:
        name: Name as the user wrote it: `cart`, `shop.cart`, `Shop.Cart`.
        language: One of `MODULE_LANGUAGES`.
        path: Where the user wants it, a file or a folder ending in `/`; `None` for the usual
            place of the project's layout.
        paths: Files of the project, relative to its root.

    Raises:
        UsageError: The name is none in that language, or the path has another ending.
    """
    if language not in MODULE_LANGUAGES:
        raise UsageError(
            f"create module does not write {language}",
            hint=f"--language {' | '.join(MODULE_LANGUAGES)}",
        )
    parts = re.split(r"[./]", name.replace("-", "_"))
    if not all(_WORD.fullmatch(part) for part in parts):
        raise UsageError(
            f"{name!r} is no module name: expected words of letters, digits and _, joined by dots",
            hint="such as shop.cart, or Shop.Cart in Elixir",
        )
    return (
        _in_python(parts, path, paths) if language == "python" else _in_elixir(parts, path, paths)
    )


def _snake(word: str) -> str:
    word = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", word)
    return word.lower()


def _wanted(path: str, leaf: str, suffix: str) -> str:
    wanted = f"{path}{leaf}{suffix}" if path.endswith("/") else path
    if not wanted.endswith(suffix):
        raise UsageError(
            f"{path!r} does not end in {suffix}",
            hint=f"name a file such as {leaf}{suffix}, or a folder ending in /",
        )
    return wanted.removeprefix("./")


def _in_python(parts: list[str], path: str | None, paths: AbstractSet[str]) -> Placement:
    words = [_snake(part) for part in parts]
    reserved = next((word for word in words if keyword.iskeyword(word)), None)
    if reserved is not None:
        raise UsageError(f"{reserved!r} is a word of Python itself", hint="choose another name")
    base = "src/" if any(p.startswith("src/") for p in paths) else ""
    packages = {
        p.removeprefix(base).split("/")[0]
        for p in paths
        if p.startswith(base) and p.removeprefix(base).count("/") == 1 and p.endswith("__init__.py")
    } - _NOT_SOURCE
    if len(words) == 1 and len(packages) == 1:
        words = [*packages, *words]
    file = _wanted(path, words[-1], ".py") if path else f"{base}{'/'.join(words)}.py"
    inside = file.removeprefix(base) if file.startswith(base) else file
    words = inside.removesuffix(".py").split("/")
    leaf = words[-1]
    test = f"tests/test_{leaf}.py"
    if test in paths:
        test = f"tests/test_{'_'.join(words)}.py"
    folders = ["/".join(words[:n]) for n in range(1, len(words))]
    missing = [f"{file.removesuffix(inside)}{folder}/__init__.py" for folder in folders]
    return Placement(
        name=".".join(words),
        path=file,
        test_path=test,
        docs_path=f"docs/{leaf}.md",
        new_packages=tuple(p for p in missing if p not in paths and words[0] not in _NOT_SOURCE),
    )


def _in_elixir(parts: list[str], path: str | None, paths: AbstractSet[str]) -> Placement:
    words = [_snake(part) for part in parts]
    app = f"apps/{words[0]}/"
    base = app if any(p.startswith(app) for p in paths) else ""
    file = _wanted(path, words[-1], ".ex") if path else f"{base}lib/{'/'.join(words)}.ex"
    test = re.sub(r"(^|/)lib/", r"\1test/", file, count=1).removesuffix(".ex") + "_test.exs"
    if test.startswith("lib/") or "/lib/" in test or "test/" not in test:
        test = f"{base}test/{'/'.join(words)}_test.exs"
    name = ".".join("".join(w[:1].upper() + w[1:] for w in _snake(p).split("_")) for p in parts)
    written = ".".join(parts)
    return Placement(
        name=written if all(part[:1].isupper() for part in parts) else name,
        path=file,
        test_path=test,
        docs_path=f"docs/{words[-1]}.md",
    )
