"""What a change is: its files, the definitions that came, went or changed, and its diff."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.assistant.changed import Changed, ChangedContent, base_of, changed_since
from aiex.assistant.explain.subject import Subject
from aiex.assistant.project import OpenGit, ProjectReader
from aiex.assistant.verbs import Run
from aiex.code import is_binary, language_of, read_facts
from aiex.context import Form, Item
from aiex.core import ChangedFile, ExplainArguments, ExplainFacts, unified_diff

__all__ = ["subject_of_diff"]

_MOST_PAIRS = 10_000
_LEAST_LIKENESS = 0.5


async def subject_of_diff(
    arguments: ExplainArguments, run: Run, *, reader: ProjectReader, open_git: OpenGit
) -> Subject:
    """Return what changed since a base: `arguments.base`, or the last commit.

    Raises:
        NotFoundError: There is no history to compare with.
    """
    files = reader.open(run.request)
    git = open_git(Path(files.root))
    base = await base_of(git, arguments.base, branch=False)
    scan = await anyio.to_thread.run_sync(files.scan)
    digests = reader.digests if run.request.options.use_cache else None
    changed = await changed_since(files, git, base, scan, digests)
    return await anyio.to_thread.run_sync(_subject, changed, base.commit)


def _subject(changed: Changed, base: str) -> Subject:
    facts: list[ChangedFile] = []
    items: list[Item] = []
    for old_path, one in _renamed(changed.files):
        fact, diff = _compared(old_path, one)
        facts.append(fact)
        if diff:
            items.append(
                Item(
                    path=one.path,
                    start_line=1,
                    text=diff,
                    reason=f"{fact.status} since {base[:10]}",
                    shorter=(Form(text=unified_diff(one.path, one.before, one.after, context=0)),),
                )
            )
    items.sort(key=lambda item: len(item.text))
    title = (
        f"{len(facts)} files changed since {base[:10]}" if facts else f"no change since {base[:10]}"
    )
    return Subject(
        facts=ExplainFacts(kind="diff", title=title, base=base, changed=tuple(facts)),
        items=tuple(items),
        not_checked=changed.not_checked,
    )


def _compared(old_path: str, one: ChangedContent) -> tuple[ChangedFile, str]:
    """Return the facts of one file that differs, and its diff; `""` for one that is no text."""
    binary = is_binary(one.before or b"") or is_binary(one.after or b"")
    diff = "" if binary else unified_diff(one.path, one.before, one.after)
    lines = diff.split("\n")[2:]
    moved = old_path != one.path
    fact = ChangedFile(
        path=one.path,
        status="renamed" if moved else one.status,
        added_lines=sum(line.startswith("+") for line in lines),
        removed_lines=sum(line.startswith("-") for line in lines),
        symbols=_symbols(one),
        renamed_from=old_path if moved else "",
        is_binary=binary,
    )
    return fact, diff


def _renamed(files: Sequence[ChangedContent]) -> list[tuple[str, ChangedContent]]:
    """Return *files* with their old paths: one that went and one much like it that came are one.

    As in git, half of the lines must be the same; empty files and large sets are not compared.
    """
    gone = [one for one in files if one.status == "deleted" and one.before]
    came = [one for one in files if one.status == "added" and one.after]
    if len(gone) * len(came) > _MOST_PAIRS:
        gone = []
    lines = {
        one.path: Counter((one.before or one.after or b"").split(b"\n")) for one in gone + came
    }
    likeness = sorted(
        (-_same_part(lines[old.path], lines[new.path]), new.path, old.path)
        for old in gone
        for new in came
    )
    old_of: dict[str, str] = {}
    for score, new_path, old_path in likeness:
        if -score >= _LEAST_LIKENESS and new_path not in old_of and old_path not in old_of.values():
            old_of[new_path] = old_path
    before = {one.path: one.before for one in gone}
    return [
        (old_of[one.path], msgspec.structs.replace(one, before=before[old_of[one.path]]))
        if one.path in old_of
        else (one.path, one)
        for one in files
        if one.path not in old_of.values()
    ]


def _same_part(old: Counter[bytes], new: Counter[bytes]) -> float:
    return (old & new).total() / max(old.total(), new.total())


def _symbols(one: ChangedContent) -> tuple[str, ...]:
    """Return the definitions that came (+), went (-) or changed (~)."""
    old, new = _sources(one.path, one.before), _sources(one.path, one.after)
    return (
        *(f"+{name}" for name in new if name not in old),
        *(f"-{name}" for name in old if name not in new),
        *(f"~{name}" for name in new if name in old and old[name] != new[name]),
    )


def _sources(path: str, content: bytes | None) -> dict[str, bytes]:
    language = language_of(path, b"")
    if content is None or language is None:
        return {}
    return {
        symbol.qualified_name: content[symbol.span.start : symbol.span.end]
        for symbol in read_facts(content, language).symbols
        if symbol.complexity is not None or symbol.kind == "class"
    }
