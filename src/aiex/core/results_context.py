"""What `context` answers: pieces of the project that fit a question, and the state of its index."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["ContextResult", "HitView", "IndexView", "PackedView"]


class HitView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece that answers.

    Attributes:
        path: File, relative to the root.
        start_line: First line, 1-based.
        end_line: Last line.
        score: How well it answers; comparable within one answer only.
        kind: `code`, `test`, `example`, `generated`, `prose` or `config`.
        scope: Qualified name of the definition around it; empty at top level.
        symbols: Qualified names of what it defines.
        signature: Head of the definition around it, else of the first one in it; may be empty.
        reason: Why it is here: `words`, `path`, `place`, `definition` or `calls NAME`.
    """

    path: str
    start_line: int
    end_line: int
    score: float
    kind: str
    scope: str = ""
    symbols: tuple[str, ...] = ()
    signature: str = ""
    reason: str = "words"


class PackedView(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a packed text.

    Attributes:
        path: File, relative to the root.
        start_line: First line, 1-based.
        end_line: Last line.
    """

    path: str
    start_line: int
    end_line: int


class IndexView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of an index.

    Attributes:
        files: Files in it, by kind.
        chunks: Searchable pieces.
        lines: Lines of all files.
        bytes_on_disk: Bytes that it takes.
        read: Files that were read now.
        removed: Files that were there and are not any more.
        waiting: Files that changed and are not indexed yet; 0 unless another process was at it.
        rebuilt: Why it was built anew; empty if it was not.
        folder: Where it is.
    """

    files: dict[str, int]
    chunks: int
    lines: int
    bytes_on_disk: int
    read: int = 0
    removed: int = 0
    waiting: int = 0
    rebuilt: str = ""
    folder: str = ""


class ContextResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `context` answers.

    Attributes:
        action: What was asked for.
        index: The state of the index; `None` once it is deleted.
        query: What was asked, for `search` and `pack`.
        hits: Pieces that answer, best first.
        confidence: How sure it is that the first ones answer: `strong`, `fair`, `weak` or `none`.
        strength: The share of the question, 0 to 1, that the best piece has.
        unknown: Words of the question that stand nowhere in the code.
        text: The text of `pack` and `map`.
        tokens: Tokens of *text*, about.
        packed: What stands in the text of `pack`, in its order.
        left_out: How many pieces of `pack`, or definitions of `map`, had no place.
    """

    action: Literal["index", "search", "pack", "map", "status", "forget"]
    index: IndexView | None = None
    query: str = ""
    hits: tuple[HitView, ...] = ()
    confidence: str = ""
    strength: float = 0.0
    unknown: tuple[str, ...] = ()
    text: str = ""
    tokens: int = 0
    packed: tuple[PackedView, ...] = ()
    left_out: int = 0
