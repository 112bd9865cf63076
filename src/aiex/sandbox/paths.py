"""Which names a path may have: pure decisions, made before and after the kernel resolves it.

Nothing here says where a path leads; the kernel does that, on directory handles (`openat`).
What is decided here is what may be asked for at all, and which resolved names are protected.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from typing import Literal

from aiex.core import PathRefusedError

__all__ = ["Access", "folded", "printable", "protected_by", "split_path"]

Access = Literal["read", "write"]

# Folders and files that steer tools, hold history or hold secrets: neither read nor written.
_NEVER = frozenset({".git", ".hg", ".svn", ".jj", ".aiex", ".envrc", ".ssh", ".netrc", ".pypirc"})
# Files that make other programs run something: read, never written.
_NEVER_WRITTEN = frozenset(
    {
        ".aider.conf.yml",
        ".amazonq",
        ".claude",
        ".cline",
        ".clinerules",
        ".codex",
        ".continue",
        ".cursor",
        ".cursorrules",
        ".devcontainer",
        ".gemini",
        ".gitattributes",
        ".gitconfig",
        ".githooks",
        ".gitmodules",
        ".husky",
        ".idea",
        ".kiro",
        ".mcp.json",
        ".opencode",
        ".roo",
        ".vscode",
        ".windsurf",
        ".windsurfrules",
        ".zed",
    }
)
_ENV_SAMPLE = re.compile(r"\.env(\..+)?\.(example|sample|template|dist)")
_HARMLESS_TAIL = re.compile(r"[. ]+$")  # dots and spaces at the end, which NTFS drops
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
# What file systems that fold names drop: Default_Ignorable_Code_Point of Unicode 15
# (ext4 and f2fs with casefold; HFS+ drops a part of it).
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def _short_names(names: frozenset[str]) -> frozenset[str]:
    """Return the 8.3 names that NTFS makes of *names*, without the number: `git` of `.git`."""
    short = set()
    for name in names:
        stem, dot, ending = name.lstrip(".").rpartition(".")
        stem, ending = (stem, ending) if dot else (ending, "")
        stem = stem.replace(".", "")[:6]
        short.add(f"{stem}.{ending[:3]}" if ending else stem)
    return frozenset(short)


_SHORT_NEVER = _short_names(_NEVER | {".env"})
_SHORT_NEVER_WRITTEN = _short_names(_NEVER_WRITTEN)
_SHORT = re.compile(r"([^~]+)~\d+(\.[^.]{1,3})?")


def split_path(path: str) -> tuple[str, ...]:
    """Return the names of a path relative to its root; `()` is the root itself.

    `.` and empty names vanish. `..` is resolved on the text only to refuse what leaves the root
    at once; a `..` behind a name stays, since the name may be a link.

    Args:
        path: Path with `/`, relative to the root.

    Raises:
        PathRefusedError: It is empty, absolute, no name that a file system can hold, or begins
            by leaving the root.

    Example:
        >>> split_path("./src//R&D.md")
        ('src', 'R&D.md')
    """
    if not path:
        raise PathRefusedError("a path is needed, got an empty one", path=path, rule="empty")
    if "\0" in path:
        raise PathRefusedError(
            f"{printable(path)} holds a NUL character", path=printable(path), rule="nul"
        )
    if not path.isascii():
        try:
            os.fsencode(path)
        except UnicodeEncodeError as error:
            raise PathRefusedError(
                f"{printable(path)} is no name of a file", path=printable(path), rule="not_a_name"
            ) from error
    if path.startswith("/"):
        raise PathRefusedError(
            f"{printable(path)} is outside the root", path=printable(path), rule="outside_root"
        )
    names: list[str] = []
    depth = 0
    for name in path.split("/"):
        if name in {"", "."}:
            continue
        depth += -1 if name == ".." else 1
        if depth < 0:
            raise PathRefusedError(
                f"{printable(path)} is outside the root", path=printable(path), rule="outside_root"
            )
        names.append(name)
    return tuple(names)


def protected_by(
    names: tuple[str, ...], access: Access, extra: frozenset[str] = frozenset()
) -> str | None:
    """Return the name in *names* that may not be accessed so, or `None`.

    Every name counts, at any depth and whether it exists or not, however it is spelt: in other
    cases, in other Unicode forms, with dots or spaces behind it, or as NTFS shortens it.

    Args:
        names: Names of a resolved path.
        access: What is wanted.
        extra: Further protected names, as `folded` gives them.
    """
    for name in names:
        if not extra and name.isascii() and not name.startswith(".") and "~" not in name:
            continue  # it folds to itself, and every protected name begins with a dot
        never, never_written, plain = _protection(name)
        if never or (never_written and access == "write") or (extra and plain in extra):
            return name
    return None


@functools.lru_cache(maxsize=4096)
def _protection(name: str) -> tuple[bool, bool, str]:
    """Return whether *name* is never read, whether it is never written, and how it folds."""
    plain = folded(name)
    if plain in _NEVER or (plain.startswith(".env") and not _ENV_SAMPLE.fullmatch(plain)):
        return True, True, plain
    short = _SHORT.fullmatch(plain)
    if short is None:
        return False, plain in _NEVER_WRITTEN, plain
    stem = short[1] + (short[2] or "")
    return stem in _SHORT_NEVER, stem in _SHORT_NEVER_WRITTEN, plain


def folded(name: str) -> str:
    """Return what file systems that fold names may take *name* for.

    Example:
        >>> folded(".GiT. ")
        '.git'
    """
    normal = unicodedata.normalize("NFKC", _IGNORABLE.sub("", name)).casefold()
    normal = unicodedata.normalize("NFKC", _IGNORABLE.sub("", normal))
    # An NTFS stream (`.git::$INDEX_ALLOCATION`) names the same folder.
    return _HARMLESS_TAIL.sub("", normal.partition(":")[0]) or normal


def printable(name: str) -> str:
    r"""Return *name* with everything escaped that could act on a terminal or hide itself.

    Example:
        >>> printable("a\x1b[31m\nb")
        'a\\x1b[31m\\nb'
    """
    return "".join(c if c.isprintable() and not _HIDDEN.match(c) else _escape(c) for c in name)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
