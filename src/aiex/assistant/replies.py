"""The code in a model's reply: found and whole, or refused with the reason.

A careful human takes the one fenced block that is the file, or applies the edits that the reply
made of it instead. So does this: it never takes half a file, never code out of a JSON string,
never a reply that was cut, and never anything for a file that was not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from aiex.assistant.reply_edits import Edited, FileHunks, apply_hunks, read_edits
from aiex.core import ModelReply, RefusalPart, UnusableReplyError

__all__ = ["attempt", "whole_file"]

_FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*?)[ \t]*$")
_LAZY = re.compile(
    r"""^[ \t]*(\#|//|--|/\*)[ \t]*(\.{3}|…)?[ \t(]*
    (the[ \t]+)?(rest|remaining|remainder|existing|other|previous|same)\b
    .*\b(unchanged|code|class|file|function|functions|implementation|methods|module|here|as
    [ \t]+before|remains?)\b""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_ALIASES = {
    "python": {"python", "python3", "py"},
    "elixir": {"elixir", "ex", "exs"},
}
_INFO_ENDS = re.compile(r"[\s:,{]")
_FILE_NAME = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|exs?)\b")
_CUT = {"length": "it reached its longest length", "content_filter": "a filter ended it"}

Check = Callable[[str], str | None]
"""Says what is wrong with a text as a file of its language, or `None` if nothing is."""


class _Block(msgspec.Struct, frozen=True, kw_only=True):
    info: str
    """What stands behind the opening fence."""
    label: str
    """What may name the file: the line above the fence, what is behind it, the first line."""
    texts: tuple[str, ...]
    """The block's text up to each line that could close it, nearest first."""

    def language(self) -> str:
        return _INFO_ENDS.split(self.info, 1)[0].lower()

    def rank(self, file_name: str) -> int:
        """Return 2 if the block says that it is *file_name*, 0 if another, 1 if it says nothing."""
        named = [path.rpartition("/")[2] for path in _FILE_NAME.findall(self.label)]
        return 1 if not named else 2 if file_name in named else 0


def whole_file(
    reply: ModelReply, *, language: str, check: Check, path: str = "", before: str = ""
) -> Edited:
    r"""Return the one file that *reply* holds, with `\n` line ends and one at its end.

    Args:
        reply: What the model said, complete or not.
        language: Language of the file: blocks that are marked as another one do not count.
        check: Says what is wrong with a candidate.
        path: File that was asked for: of several, the one of its name is taken, and edits of
            others do not count.
        before: What edits are made of: the file as it is, or as the reply before had it.

    Raises:
        UnusableReplyError: The reply was cut, is a refusal, holds no code, leaves parts out, or
            nothing in it passes *check*.
    """
    _refuse_incomplete(reply)
    text = _text(reply)
    if not text.strip():
        raise UnusableReplyError("the reply has no text")
    edits = read_edits(text)
    candidates = _candidates(text, language, path, lenient=bool(edits))
    good, problem = _best_good(candidates, check)
    if edits and (good is None or not read_edits(good)):
        found = _edited(edits, path, before, check, language)
    elif good is None:
        raise UnusableReplyError(f"the reply's code is no valid {language}: {problem}")
    else:
        found = Edited(text=good)
    lazy = _LAZY.search(found.text)
    if lazy:
        line = found.text.count("\n", 0, lazy.start()) + 1
        raise UnusableReplyError(
            f"the reply leaves code out: line {line} says {lazy.group().strip()!r}"
        )
    return found


def attempt(reply: ModelReply, *, language: str, path: str = "") -> str | None:
    """Return the text that *reply* most likely meant as the file, right or wrong.

    That is what edits in the next reply are made of. `None` if it holds no block.
    """
    text = _text(reply)
    if read_edits(text):
        return None
    blocks = [b for b in _blocks(text) if _is_of(b, language)]
    name = path.rpartition("/")[2]
    best = max(blocks, key=lambda b: (b.rank(name), len(b.texts[-1])), default=None)
    return None if best is None else _finished(best.texts[-1])


def _text(reply: ModelReply) -> str:
    return reply.text.lstrip("\ufeff").replace("\r\n", "\n")


def _is_of(block: _Block, language: str) -> bool:
    return not block.info or block.language() in _ALIASES.get(language, {language})


def _candidates(
    text: str, language: str, path: str, *, lenient: bool
) -> list[tuple[int, tuple[str, ...]]]:
    """Return the rank and the texts of each block that may be the file."""
    blocks = list(_blocks(text))
    ours = [block for block in blocks if _is_of(block, language)]
    if blocks and not ours:
        if lenient:
            return []
        kinds = ", ".join(sorted({block.info for block in blocks}))
        raise UnusableReplyError(f"the reply has no {language} block, only: {kinds}")
    name = path.rpartition("/")[2]
    # Without any fence the whole reply may be the file; prose then fails the check.
    return [(block.rank(name), block.texts) for block in ours] or [(1, (text,))]


def _edited(edits: list[FileHunks], path: str, before: str, check: Check, language: str) -> Edited:
    name = path.rpartition("/")[2]
    ours = [one for one in edits if one.path.rpartition("/")[2] in {"", name}]
    if not ours:
        others = ", ".join(sorted({one.path for one in edits}))
        raise UnusableReplyError(f"the reply edits other files only: {others}")
    hunks = [hunk for one in ours for hunk in one.hunks]
    done = apply_hunks(before, hunks, what=path or "the file")
    finished = _finished(done.text)
    problem = check(finished)
    if problem is not None:
        raise UnusableReplyError(f"the reply's edits make no valid {language}: {problem}")
    return msgspec.structs.replace(done, text=finished)


def _finished(text: str) -> str:
    return text.strip("\n") + "\n"


def _refuse_incomplete(reply: ModelReply) -> None:
    reason = reply.finish.reason
    if reason in _CUT:
        raise UnusableReplyError(
            f"the reply was cut: {_CUT[reason]}", hint="allow more with --max-tokens N"
        )
    if reason == "error":
        raise UnusableReplyError("the provider ended the reply with an error")
    refusal = "".join(part.text for part in reply.parts if isinstance(part, RefusalPart))
    if refusal or reason == "refusal":
        raise UnusableReplyError(f"the model refused: {refusal.strip() or 'without a word'}")


def _best_good(
    candidates: list[tuple[int, tuple[str, ...]]], check: Check
) -> tuple[str | None, str]:
    """Return the valid text of the highest rank, the longest of them; and what is wrong if none."""
    good: list[tuple[int, int, str]] = []
    problem = "it is empty"
    for rank, texts in candidates:
        for text in texts:
            if not text.strip():
                continue
            finished = _finished(text)
            wrong = check(finished)
            if wrong is None:
                good.append((rank, len(finished), finished))
                break
            problem = wrong
    return (max(good)[2] if good else None), problem


def _blocks(text: str) -> Iterator[_Block]:
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if opening is None:
            at += 1
            continue
        ends = [i for i in range(at + 1, len(lines)) if _closes(lines[i], opening)]
        body = range(at + 1, len(lines))
        # A fence inside a doc string looks like the end, so every later one is tried too; a
        # reply that simply stops has no end at all.
        stops = ends or [body.stop]
        above = next((line for line in reversed(lines[:at]) if line.strip()), "")
        yield _Block(
            info=opening["info"],
            label="\n".join([above, opening["info"], *lines[at + 1 : at + 2]]),
            texts=tuple(_dedent(lines[at + 1 : stop], opening["indent"]) for stop in stops),
        )
        at = (ends[0] if ends else body.stop) + 1


def _closes(line: str, opening: re.Match[str]) -> bool:
    match = _FENCE.match(line)
    return (
        match is not None
        and not match["info"]
        and match["fence"][0] == opening["fence"][0]
        and len(match["fence"]) >= len(opening["fence"])
    )


def _dedent(lines: list[str], indent: str) -> str:
    return "\n".join(line.removeprefix(indent) for line in lines)
