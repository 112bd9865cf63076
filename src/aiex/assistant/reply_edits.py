"""Edits in a model's reply: search/replace blocks, unified diffs, patches of `apply_patch`. Pure.

Line numbers of a model are never believed: a piece goes where its old lines stand, found exactly,
else but for trailing white space, else but for indentation, else where one place alone is nearly
the same. What fits nowhere, or in two places, is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from aiex.core import UnusableReplyError

__all__ = ["Edited", "FileHunks", "Hunk", "apply_hunks", "read_edits"]

_SEARCH = re.compile(r"^<{5,9} ?SEARCH\b")
_DIVIDER = re.compile(r"^={5,9}$")
_REPLACE = re.compile(r"^>{5,9} ?REPLACE\b")
_OLD_FILE = re.compile(r"^--- (?:a/)?(?P<path>\S.*?)(?:\t.*)?$")
_NEW_FILE = re.compile(r"^\+\+\+ (?:b/)?(?P<path>\S.*?)(?:\t.*)?$")
_PATCH_FILE = re.compile(r"^\*\*\* (?P<what>Add|Update|Delete) File: (?P<path>\S.*?)\s*$")
_PATCH_END = re.compile(r"^\*\*\* (?:End Patch|Begin Patch|End of File|Move to:)")
_PATH_LINE = re.compile(r"^[#/*`\s]*(?P<path>[\w./-]*\w\.\w+)[`:*\s]*$")
_NEARLY = 0.9
_CLEARLY = 0.03


class Hunk(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that stand somewhere, and what shall stand there.

    Attributes:
        old: Lines without their ends; empty to begin a new file.
        new: Lines without their ends.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]


class FileHunks(msgspec.Struct, frozen=True, kw_only=True):
    """The edits of one file.

    Attributes:
        path: File as the reply names it; empty if it does not.
        hunks: In order.
    """

    path: str
    hunks: tuple[Hunk, ...]


class Edited(msgspec.Struct, frozen=True, kw_only=True):
    """A file after its edits.

    Attributes:
        text: Its text.
        notes: What was not exactly as the reply said, one sentence each.
    """

    text: str
    notes: tuple[str, ...] = ()


def read_edits(text: str) -> list[FileHunks]:
    r"""Return the edits that *text* holds, in its order; none if it has no form of them.

    Example:
        >>> read_edits("a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n")
        [FileHunks(path='a.py', hunks=(Hunk(old=('x',), new=('y',)),))]
    """
    lines = text.replace("\r\n", "\n").split("\n")
    found: list[FileHunks] = []
    at = 0
    while at < len(lines):
        if _SEARCH.match(lines[at]):
            one, at = _search_replace(lines, at)
        elif _opens_diff(lines, at):
            one, at = _unified(lines, at)
        elif match := _PATCH_FILE.match(lines[at]):
            one, at = _patch(lines, at + 1, match["path"], adds=match["what"] == "Add")
        else:
            at += 1
            continue
        if one is not None:
            found.append(one)
    return found


def _search_replace(lines: Sequence[str], at: int) -> tuple[FileHunks | None, int]:
    middle = next((i for i in range(at + 1, len(lines)) if _DIVIDER.match(lines[i])), None)
    if middle is None:
        return None, at + 1
    end = next((i for i in range(middle + 1, len(lines)) if _REPLACE.match(lines[i])), None)
    if end is None:
        return None, at + 1
    hunk = Hunk(old=tuple(lines[at + 1 : middle]), new=tuple(lines[middle + 1 : end]))
    return FileHunks(path=_path_above(lines, at), hunks=(hunk,)), end + 1


def _path_above(lines: Sequence[str], at: int) -> str:
    """Return the path on one of the two lines before *at*, a fence in between allowed."""
    for line in reversed(lines[max(0, at - 2) : at]):
        match = _PATH_LINE.match(line)
        if match:
            return match["path"]
        if not line.lstrip().startswith(("```", "~~~")):
            break
    return ""


def _opens_diff(lines: Sequence[str], at: int) -> bool:
    return bool(
        at + 2 < len(lines)
        and _OLD_FILE.match(lines[at])
        and _NEW_FILE.match(lines[at + 1])
        and lines[at + 2].startswith("@@")
    )


def _unified(lines: Sequence[str], at: int) -> tuple[FileHunks, int]:
    old, new = _OLD_FILE.match(lines[at]), _NEW_FILE.match(lines[at + 1])
    assert old is not None
    assert new is not None
    path = old["path"] if new["path"] == "/dev/null" else new["path"]
    hunks, at = _hunks(lines, at + 2, lambda i: _opens_diff(lines, i))
    return FileHunks(path=path, hunks=hunks), at


def _patch(lines: Sequence[str], at: int, path: str, *, adds: bool) -> tuple[FileHunks | None, int]:
    hunks, at = _hunks(lines, at, lambda i: _PATCH_FILE.match(lines[i]) is not None)
    if adds:
        hunks = (Hunk(old=(), new=tuple(line for hunk in hunks for line in hunk.new)),)
    return (FileHunks(path=path, hunks=hunks) if hunks else None), at


def _hunks(
    lines: Sequence[str], at: int, opens_other: Callable[[int], bool]
) -> tuple[tuple[Hunk, ...], int]:
    """Return the hunks from line *at* on, and the line that is none of theirs."""
    hunks: list[Hunk] = []
    old: list[str] = []
    new: list[str] = []

    def close() -> None:
        if old or new:
            hunks.append(Hunk(old=tuple(old), new=tuple(new)))
        old.clear()
        new.clear()

    while at < len(lines) and not opens_other(at):
        line = lines[at]
        if line.startswith("@@"):
            close()
        elif line.startswith("+"):
            new.append(line[1:])
        elif line.startswith("-"):
            old.append(line[1:])
        elif line.startswith(" ") or (not line and _goes_on(lines, at)):
            old.append(line[1:])
            new.append(line[1:])
        elif not line.startswith("\\") and not _PATCH_END.match(line):
            break
        at += 1
    close()
    return tuple(hunks), at


def _goes_on(lines: Sequence[str], at: int) -> bool:
    """Return whether the empty line *at* stands inside a hunk: models forget its one blank."""
    following = next((line for line in lines[at + 1 :] if line), "")
    return following.startswith((" ", "+", "-", "@@"))


def apply_hunks(before: str, hunks: Sequence[Hunk], *, what: str = "the file") -> Edited:
    """Return *before* with every one of *hunks* applied, one after the other.

    Args:
        before: Text of the file; empty if there is none.
        hunks: Edits.
        what: What an error calls it.

    Raises:
        UnusableReplyError: A hunk fits nowhere, or in several places.
    """
    lines = before.replace("\r\n", "\n").split("\n")
    notes: list[str] = []
    for hunk in hunks:
        if not any(hunk.old):
            if before.strip():
                raise UnusableReplyError(f"an edit does not say where in {what} it belongs")
            lines = [*hunk.new, ""]
            continue
        start, new, note = _place(lines, hunk, what)
        lines[start : start + len(hunk.old)] = new
        if note:
            notes.append(note)
    return Edited(text="\n".join(lines), notes=tuple(notes))


def _place(lines: Sequence[str], hunk: Hunk, what: str) -> tuple[int, Sequence[str], str]:
    """Return where *hunk* goes, its new lines as they fit there, and what was not exact."""
    for same, note in ((str, ""), (str.rstrip, ""), (str.strip, "but for its indentation")):
        found = list(_places(lines, hunk.old, same))
        if len(found) > 1:
            raise UnusableReplyError(
                f"an edit fits {len(found)} places of {what}: {_quoted(hunk.old)}"
            )
        if found:
            new = hunk.new if same is not str.strip else _indented(hunk, lines[found[0]])
            said = f"an edit was placed at line {found[0] + 1} {note}" if note else ""
            return found[0], new, said
    start = _nearly(lines, hunk.old)
    if start is None:
        raise UnusableReplyError(
            f"an edit fits nowhere in {what}: {_quoted(hunk.old)}; "
            f"nearest there: {_quoted(_nearest(lines, hunk.old))}"
        )
    return start, hunk.new, f"an edit was placed at line {start + 1}, where most of it stands"


def _places(lines: Sequence[str], old: Sequence[str], same: Callable[[str], str]) -> Iterator[int]:
    wanted = [same(line) for line in old]
    there = [same(line) for line in lines]
    for start in range(len(there) - len(wanted) + 1):
        if there[start] == wanted[0] and there[start : start + len(wanted)] == wanted:
            yield start


def _indented(hunk: Hunk, there: str) -> list[str]:
    """Return the new lines, moved as far as the first old line is from where it stands."""
    said, real = _indent(hunk.old[0]), _indent(there)
    return [real + line.removeprefix(said) if line.strip() else line for line in hunk.new]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _nearly(lines: Sequence[str], old: Sequence[str]) -> int | None:
    """Return the one place that is nearly *old*; `None` if there is none, or a second as near."""
    wanted = "\n".join(old)
    matcher = difflib.SequenceMatcher(None, b=wanted, autojunk=False)
    scores: list[tuple[float, int]] = []
    for start in range(len(lines) - len(old) + 1):
        matcher.set_seq1("\n".join(lines[start : start + len(old)]))
        if matcher.real_quick_ratio() >= _NEARLY and matcher.quick_ratio() >= _NEARLY:
            scores.append((matcher.ratio(), start))
    scores.sort(reverse=True)
    if not scores or scores[0][0] < _NEARLY:
        return None
    if len(scores) > 1 and scores[0][0] - scores[1][0] < _CLEARLY:
        return None
    return scores[0][1]


def _nearest(lines: Sequence[str], old: Sequence[str]) -> Sequence[str]:
    first = next(line for line in old if line)
    return difflib.get_close_matches(first, [line for line in lines if line.strip()], 3, 0.0)


def _quoted(lines: Sequence[str]) -> str:
    return " / ".join(repr(line.strip()[:80]) for line in list(lines)[:3])
