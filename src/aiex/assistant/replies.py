"""The code in a model's reply: found and whole, or refused with the reason.

A careful human takes the one fenced block that is the file. So does this: it never takes half a
file, never code out of a JSON string, never a reply that was cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec

from aiex.core import ModelReply, RefusalPart, UnusableReplyError

__all__ = ["whole_file"]

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
_CUT = {"length": "it reached its longest length", "content_filter": "a filter ended it"}

Check = Callable[[str], str | None]
"""Says what is wrong with a text as a file of its language, or `None` if nothing is."""


class _Block(msgspec.Struct, frozen=True, kw_only=True):
    info: str
    texts: tuple[str, ...]
    """The block's text up to each line that could close it, nearest first."""


def whole_file(reply: ModelReply, *, language: str, check: Check) -> str:
    r"""Return the one file that *reply* holds, with `\n` line ends and one at its end.

    Args:
        reply: What the model said, complete or not.
        language: Language of the file: blocks that are marked as another one do not count.
        check: Says what is wrong with a candidate.

    Raises:
        UnusableReplyError: The reply was cut, is a refusal, holds no code, leaves parts out, or
            nothing in it passes *check*.
    """
    _refuse_incomplete(reply)
    text = reply.text.lstrip("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise UnusableReplyError("the reply has no text")
    blocks = list(_blocks(text))
    wanted = _ALIASES.get(language, {language})
    ours = [b for b in blocks if not b.info or b.info.split()[0].lower() in wanted]
    if blocks and not ours:
        kinds = ", ".join(sorted({b.info for b in blocks}))
        raise UnusableReplyError(f"the reply has no {language} block, only: {kinds}")
    # Without any fence the whole reply may be the file; prose then fails the check.
    candidates = [b.texts for b in ours] or [(text,)]
    good, problem = _largest_good(candidates, check)
    if good is None:
        raise UnusableReplyError(f"the reply's code is no valid {language}: {problem}")
    lazy = _LAZY.search(good)
    if lazy:
        line = good.count("\n", 0, lazy.start()) + 1
        raise UnusableReplyError(
            f"the reply leaves code out: line {line} says {lazy.group().strip()!r}"
        )
    return good


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


def _largest_good(candidates: list[tuple[str, ...]], check: Check) -> tuple[str | None, str]:
    good: str | None = None
    problem = "it is empty"
    for texts in candidates:
        for text in texts:
            if not text.strip():
                continue
            finished = text.strip("\n") + "\n"
            wrong = check(finished)
            if wrong is None:
                if good is None or len(finished) > len(good):
                    good = finished
                break
            problem = wrong
    return good, problem


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
        yield _Block(
            info=opening["info"],
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
