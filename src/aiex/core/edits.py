"""What a proposal writes: whole new texts of files, with the digests they were computed from."""

from __future__ import annotations

import hashlib

import msgspec

__all__ = ["FileEdit", "digest_of", "unified_diff"]


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of *content*, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


class FileEdit(msgspec.Struct, frozen=True, kw_only=True):
    """One file as a proposal leaves it.

    Attributes:
        path: File, relative to the root, with `/`.
        after: Bytes that the file shall hold; `None` to delete it.
        before_sha256: Digest of the file that the edit was computed from; `None` when it must
            not exist yet.
        mode: Permission bits of a new file; `None` to keep those of an old one, 0o644 if new.
    """

    path: str
    after: bytes | None
    before_sha256: str | None = None
    mode: int | None = None


def _lines(content: bytes | None) -> list[str]:
    if not content:
        return []
    text = content.decode("utf-8", "surrogateescape")
    return [line + "\n" for line in text.split("\n")[:-1]] + (
        [text.rsplit("\n", 1)[-1]] if not text.endswith("\n") else []
    )


def unified_diff(path: str, before: bytes | None, after: bytes | None, *, context: int = 3) -> str:
    r"""Return the unified diff of one file, as git writes it, or `""` if nothing differs.

    Lines end at line feeds only, so a carriage return is part of its line.

    Args:
        path: File, relative to the root.
        before: Old content; `None` if the file is new.
        after: New content; `None` if the file goes away.
        context: Lines shown around a change.

    Example:
        >>> print(unified_diff("a.txt", b"one\n", b"two\n"), end="")
        --- a/a.txt
        +++ b/a.txt
        @@ -1 +1 @@
        -one
        +two
    """
    if before == after:
        return ""
    old = "/dev/null" if before is None else f"a/{path}"
    new = "/dev/null" if after is None else f"b/{path}"
    out = [f"--- {old}\n", f"+++ {new}\n"]
    import difflib  # noqa: PLC0415 - 3 ms that only this needs

    diff = difflib.unified_diff(_lines(before), _lines(after), old, new, n=context)
    for line in list(diff)[2:]:
        out.append(line)
        if not line.endswith("\n"):
            out.append("\n\\ No newline at end of file\n")
    return "".join(out)
