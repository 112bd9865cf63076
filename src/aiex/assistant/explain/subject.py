"""What is explained: found, read, and turned into facts and into pieces to show a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import anyio.to_thread
import msgspec

from aiex.assistant.explain.context import around, items_of_file, items_of_symbol, neighbour_paths
from aiex.assistant.explain.facts import facts_of_file, facts_of_symbol, facts_of_text
from aiex.assistant.explain.named import nearest, read_named
from aiex.assistant.lint import LintReport, Ruff
from aiex.assistant.project import ProjectReader, looks_like_project, problems_of
from aiex.assistant.ruff_settings import find_settings
from aiex.assistant.verbs import Run
from aiex.code import (
    FileFacts,
    Language,
    Symbol,
    guess_language,
    import_graph,
    is_binary,
    language_of,
    read_facts,
    read_traceback,
    symbol_at,
    symbols_named,
)
from aiex.context import Form, Item, SymbolIndex, forms_of
from aiex.core import (
    AiexError,
    ExplainArguments,
    ExplainFacts,
    Finding,
    FrameFacts,
    NotChecked,
    NotFoundError,
    ToolRun,
    UsageError,
)
from aiex.sandbox import FileContent, Files

__all__ = ["Subject", "subject_of_code", "subject_of_error"]

_MOST_FRAMES = 12
_LAST_OF_TRACEBACK = 4000  # characters


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is explained.

    Attributes:
        facts: What is known of it.
        items: What of the project a model should see, most important first.
        not_checked: What could not be looked at.
        checked: Tools that were run.
    """

    facts: ExplainFacts
    items: tuple[Item, ...]
    not_checked: tuple[NotChecked, ...] = ()
    checked: tuple[ToolRun, ...] = ()


async def subject_of_code(
    arguments: ExplainArguments, run: Run, *, reader: ProjectReader, lint: Ruff
) -> Subject:
    """Return what a file, a place in it, a definition or a text is.

    Raises:
        NotFoundError: The file, the line or the definition is not there.
        PathRefusedError: The file may not be read.
        UsageError: Neither a file nor a text was given.
    """
    if arguments.path is None:
        return _text(arguments)
    content = await anyio.to_thread.run_sync(read_named, reader.open(run.request), arguments.path)
    language = language_of(content.path, content.content[:256])
    attached = _attached(arguments)
    if language is None or is_binary(content.content):
        return _of_no_language(content, attached)
    file = await anyio.to_thread.run_sync(read_facts, content.content, language)
    symbol = _symbol(arguments, content.path, file)
    around, unread = await _around(reader, run)
    report = await _lint(lint, run, reader.open(run.request), content, file)
    facts = _facts(content.path, file, symbol, around, report.findings)
    texts = await _texts(reader.open(run.request), facts)
    text = content.content.decode("utf-8", "replace")
    if symbol is None:
        items = items_of_file(content.path, text, file, facts, texts)
    else:
        texts[content.path] = text
        items = items_of_symbol(content.path, text, file, symbol, facts, texts)
    return Subject(
        facts=facts,
        items=(*items, *attached),
        not_checked=(*problems_of(content.path, file), *report.not_checked, *unread),
        checked=report.checked,
    )


def _of_no_language(content: FileContent, attached: tuple[Item, ...]) -> Subject:
    """Return a file that is not parsed; a model is never shown one that is no text."""
    if is_binary(content.content):
        title, lines = f"binary file of {len(content.content):,} bytes", 0
        items = attached
        missing = NotChecked(what=content.path, reason="it is binary")
    else:
        text = content.content.decode("utf-8", "replace")
        lines = text.count("\n") + (text[-1:] not in {"", "\n"})
        title = f"text of {lines} lines"
        subject = Item(path=content.path, start_line=1, text=text, reason="what is explained")
        items = (subject, *attached)
        missing = NotChecked(what=content.path, reason="its language is none that is read")
    facts = ExplainFacts(kind="file", path=content.path, title=title, lines=lines)
    return Subject(facts=facts, items=items, not_checked=(missing,))


async def _around(
    reader: ProjectReader, run: Run
) -> tuple[Mapping[str, FileFacts], Sequence[NotChecked]]:
    """Return the facts of the other files; none where the folder is no project but anything."""
    files = reader.open(run.request)
    if not await anyio.to_thread.run_sync(looks_like_project, Path(files.root)):
        reason = "this folder looks like no project: it has no .git, pyproject.toml or the like"
        return {}, (NotChecked(what="callers and callees in other files", reason=reason),)
    return (await reader.read(run)).files, ()


async def _lint(
    ruff: Ruff, run: Run, files: Files, content: FileContent, file: FileFacts
) -> LintReport:
    if file.language != "python":
        return LintReport(findings=())
    settings = await anyio.to_thread.run_sync(
        partial(find_settings, starts=[content.path]), files, [content.path]
    )
    return await ruff.check(
        [content],
        {content.path: file},
        settings,
        use_cache=run.request.options.use_cache,
    )


def _facts(
    path: str,
    file: FileFacts,
    symbol: Symbol | None,
    around: Mapping[str, FileFacts],
    findings: Sequence[Finding],
) -> ExplainFacts:
    files = {**around, path: file}
    imports = import_graph(files).edges
    index = SymbolIndex(files, imports)
    if symbol is None:
        return facts_of_file(path, file, index=index, imports=imports, findings=findings)
    return facts_of_symbol(path, file, symbol, index=index, findings=findings)


def _symbol(arguments: ExplainArguments, path: str, file: FileFacts) -> Symbol | None:
    if arguments.symbol is not None:
        found = symbols_named(file, arguments.symbol)
        if found:
            same = [s for s in found if s.qualified_name == found[0].qualified_name]
            return max(same, key=lambda s: s.end_line - s.start_line)  # overloads are heads alone
        names = list(dict.fromkeys(s.qualified_name for s in file.symbols))
        raise NotFoundError(
            f"{path} defines no {arguments.symbol!r}", hint=_nearest(arguments.symbol, names)
        )
    if arguments.line is None:
        return None
    if not 1 <= arguments.line <= max(1, file.lines.total):
        raise NotFoundError(
            f"{path} has no line {arguments.line}", hint=f"its last line is {file.lines.total}"
        )
    return symbol_at(file, arguments.line)


def _nearest(name: str, names: Sequence[str]) -> str:
    near = nearest(name, {n.rpartition(".")[2]: n for n in names})
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"it defines {', '.join(names[:10])}" if names else "it defines nothing"


def _text(arguments: ExplainArguments) -> Subject:
    if arguments.text is None:
        raise UsageError(
            "nothing to explain", hint="name a FILE, or pipe code in: cat x.py | aiex explain"
        )
    raw = arguments.text.encode("utf-8", "surrogateescape")
    language = _known_language(arguments.language) or guess_language(raw)
    file = None if language is None else read_facts(raw, language)
    facts = facts_of_text(
        file,
        lines=arguments.text.count("\n") + (not arguments.text.endswith("\n")),
    )
    item = Item(
        path="",
        start_line=1,
        text=arguments.text,
        reason="what is explained",
        shorter=forms_of(arguments.text, file),
    )
    missing = NotChecked(
        what="standard input", reason="its language is not known", tool="tree-sitter"
    )
    return Subject(
        facts=facts, items=(item,), not_checked=() if language is not None else (missing,)
    )


def _known_language(name: str | None) -> Language | None:
    if name is None:
        return None
    known: dict[str, Language] = {
        "python": "python",
        "elixir": "elixir",
        "javascript": "javascript",
        "typescript": "typescript",
        "tsx": "tsx",
        "go": "go",
        "rust": "rust",
        "java": "java",
        "cpp": "cpp",
        "c++": "cpp",
    }
    language = known.get(name.lower())
    if language is None:
        raise UsageError(f"{name} is none of the languages read", hint=", ".join(known))
    return language


def _attached(arguments: ExplainArguments) -> tuple[Item, ...]:
    if arguments.text is None:
        return ()
    reason = "attached by the user"
    return (Item(path="", start_line=1, text=arguments.text, reason=reason, may_be_cut=True),)


async def _texts(files: Files, facts: ExplainFacts) -> dict[str, str]:
    paths = neighbour_paths(facts)
    contents = await anyio.to_thread.run_sync(files.read_many, paths)
    return {
        path: content.content.decode("utf-8", "replace")
        for path, content in zip(paths, contents, strict=True)
        if not isinstance(content, AiexError)
    }


async def subject_of_error(
    arguments: ExplainArguments, run: Run, *, reader: ProjectReader
) -> Subject:
    """Return what a traceback names: its error, its places, and the project's code at them.

    Raises:
        UsageError: No text was given, or it names no place and no error.
    """
    text = arguments.text or ""
    said = read_traceback(text)
    if not said.frames and not said.message:
        raise UsageError(
            "no traceback was found in the text",
            hint="pipe one in: python3 x.py 2>&1 | aiex explain error",
        )
    frames: list[FrameFacts] = []
    items: list[Item] = [
        Item(path="", start_line=1, text=text, reason="the error", shorter=_ends(text))
    ]
    # The innermost frames of the project matter most; what calls them comes after.
    contents = await _frame_contents(reader, run, [f.path for f in said.frames])
    for frame in said.frames:
        content = contents.get(frame.path)
        if content is None:
            frames.append(FrameFacts(path=frame.path, line=frame.line, symbol=frame.name))
            continue
        source = content.content.decode("utf-8", "replace")
        lines = source.split("\n")
        line = lines[frame.line - 1].strip() if frame.line <= len(lines) else ""
        frames.append(
            FrameFacts(
                path=content.path, line=frame.line, symbol=frame.name, source=line, in_project=True
            )
        )
        items.insert(1, around(content.path, source, frame.line, reason=f"line {frame.line}"))
    inside = sum(frame.in_project for frame in frames)
    facts = ExplainFacts(
        kind="error",
        title=f"error with {len(frames)} places, {inside} of them in this project",
        message=said.message,
        frames=tuple(frames),
    )
    return Subject(facts=facts, items=tuple(items))


def _ends(text: str) -> tuple[Form, ...]:
    """Return the last lines of a traceback, where its error stands; of a long line its end."""
    if len(text) <= _LAST_OF_TRACEBACK:
        return ()
    last = text[-_LAST_OF_TRACEBACK:]
    short = last.partition("\n")[2] or last
    return (Form(text=short, skipped=text[: -len(short)].count("\n")),)


async def _frame_contents(
    reader: ProjectReader, run: Run, paths: Sequence[str]
) -> dict[str, FileContent]:
    """Return the contents of those of *paths* that are files of the project."""
    if run.request.root is None:
        return {}
    files = reader.open(run.request)
    wanted = list(dict.fromkeys(paths))[-_MOST_FRAMES:]
    contents = await anyio.to_thread.run_sync(files.read_many, wanted)
    found = {p: c for p, c in zip(wanted, contents, strict=True) if not isinstance(c, AiexError)}
    bare = [p for p in wanted if p not in found and "/" not in p]
    if bare:
        # Java names only the file; take it if the project has just one of that name.
        scan = await anyio.to_thread.run_sync(files.scan)
        for name in bare:
            same = [e.path for e in scan.entries if PurePosixPath(e.path).name == name]
            if len(same) == 1:
                found[name] = await anyio.to_thread.run_sync(files.read, same[0])
    return found
