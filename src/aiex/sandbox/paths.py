"""Which names a path may have: pure decisions, made before and after the kernel resolves it.

Nothing here says where a path leads; the kernel does that, on directory handles (`openat`).
What is decided here is what may be asked for at all, and which resolved names are protected.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from aiex.core import PathRefusedError

__all__ = ["Access", "printable", "protected_by", "split_path"]

Access = Literal["read", "write"]

# Folders and files that steer tools, hold history or hold secrets: neither read nor written.
_NEVER = frozenset({".git", ".hg", ".svn", ".jj", ".aiex", ".envrc", ".ssh", ".netrc", ".pypirc"})
# Files that make other programs run something: read, never written.
_NEVER_WRITTEN = frozenset(
    {
        ".gitmodules",
        ".gitattributes",
        ".gitconfig",
        ".mcp.json",
        ".vscode",
        ".idea",
        ".claude",
        ".codex",
        ".cursor",
        ".gemini",
        ".continue",
        ".aider.conf.yml",
        ".husky",
        ".devcontainer",
    }
)
_ENV = re.compile(r"\.env(\..+)?")
_ENV_SAMPLES = frozenset({".env.example", ".env.sample", ".env.template", ".env.dist"})
_SHORT_GIT = re.compile(r"git~\d+")  # the 8.3 name that NTFS gives to .git
_HARMLESS_TAIL = re.compile(r"[. ]+$")  # dots and spaces at the end, which NTFS drops
_IGNORABLE = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u00ad]")  # HFS+ drops them


def split_path(path: str) -> tuple[str, ...]:
    """Return the names of a path relative to its root; `()` is the root itself.

    `.` and empty names vanish. `..` is resolved on the text only to refuse what leaves the root
    at once; a `..` behind a name stays, since the name may be a link.

    Args:
        path: Path with `/`, relative to the root.

    Raises:
        PathRefusedError: It is empty, absolute, holds NUL, or begins by leaving the root.

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
        extra: Further protected names, folded (`str.casefold`).
    """
    for name in names:
        plain = _plain(name)
        if plain in _NEVER or plain in extra or _SHORT_GIT.fullmatch(plain):
            return name
        if _ENV.fullmatch(plain) and plain not in _ENV_SAMPLES:
            return name
        if access == "write" and plain in _NEVER_WRITTEN:
            return name
    return None


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    # An NTFS stream (`.git::$INDEX_ALLOCATION`) names the same folder.
    return _HARMLESS_TAIL.sub("", _IGNORABLE.sub("", folded).partition(":")[0]) or folded


def printable(name: str) -> str:
    r"""Return *name* with everything escaped that could act on a terminal or hide itself.

    Example:
        >>> printable("a\x1b[31m\nb")
        'a\\x1b[31m\\nb'
    """
    return "".join(c if c.isprintable() and not _IGNORABLE.match(c) else _escape(c) for c in name)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
