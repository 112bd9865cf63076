"""The tools that a model reads a project with; none of them writes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio.to_thread
import msgspec

from aiex.assistant.chat.search import Searcher
from aiex.core import AiexError, Request, ShownContext, Tool, ToolCallPart, ToolResultPart
from aiex.sandbox import FileLines, Files, Listing

__all__ = ["TOOLS", "ReadTools", "ToolUse"]

_MOST_LINES: Final = 400
_MOST_BYTES: Final = 32 * 1024
_MOST_NAMES: Final = 400
_MOST_PLACES: Final = 40
_LONGEST_NAMED: Final = 120


class _ReadFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    start: int | None = None
    end: int | None = None


class _ListFiles(msgspec.Struct, frozen=True, kw_only=True):
    folder: str = "."


class _Search(msgspec.Struct, frozen=True, kw_only=True):
    query: str


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool, and what it gave.

    Attributes:
        said: The call in a line, for the user.
        result: What the model is told.
        shown: What of the project the model sees by it; `None` for nothing.
    """

    said: str
    result: ToolResultPart
    shown: ShownContext | None = None


class ReadTools:
    """Reads, lists and searches the project of a request, inside its sandbox.

    Args:
        files: Opens the files of a request; blocks.
        searcher: Finds places.
    """

    def __init__(self, files: Callable[[Request], Files], searcher: Searcher) -> None:
        self._files = files
        self._searcher = searcher
        self._tools: dict[str, tuple[type[msgspec.Struct], Callable[..., Awaitable[_Gave]]]] = {
            "read_file": (_ReadFile, self._read_file),
            "list_files": (_ListFiles, self._list_files),
            "search": (_Search, self._search),
        }

    async def use(self, call: ToolCallPart, request: Request) -> ToolUse:
        """Do what *call* asks; what cannot be done is told to the model as an error."""
        said = f"{call.name} {_short(call.arguments)}"
        known = self._tools.get(call.name)
        if known is None:
            names = ", ".join(self._tools)
            return _failed(call, said, f"there is no tool {call.name!r}; there are: {names}")
        shape, do = known
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=shape, strict=False)
        except msgspec.DecodeError as error:
            return _failed(call, said, f"the arguments of {call.name} do not fit: {error}")
        said = f"{call.name} {_words(arguments)}".rstrip()
        try:
            gave = await do(arguments, request)
        except AiexError as error:
            hint = f" ({error.hint})" if error.hint else ""
            return _failed(call, said, f"{error.message}{hint}")
        result = ToolResultPart(id=call.id, text=_encodable(gave.text))
        shown = gave.shown
        if shown is not None:
            shown = msgspec.structs.replace(shown, path=_encodable(shown.path))
        return ToolUse(said=_encodable(said), result=result, shown=shown)

    def refused(self, call: ToolCallPart, why: str) -> ToolUse:
        """Return the answer to a call that is not done."""
        return _failed(call, f"{call.name} {_short(call.arguments)}", why)

    async def _read_file(self, asked: _ReadFile, request: Request) -> _Gave:
        first = asked.start or 1
        last = first + _MOST_LINES - 1
        if asked.end is not None:
            last = min(asked.end, last)

        def read() -> FileLines:
            return self._files(request).read_lines(asked.path, first, last)

        lines = await anyio.to_thread.run_sync(read)
        text = lines.content.decode("utf-8", "replace")
        if "\0" in text:
            return _Gave(text=f"{lines.path} is no text")
        rows = [f"{n:>5}  {row}" for n, row in enumerate(text.split("\n"), lines.first)]
        if text.endswith("\n") or not text:
            rows.pop()
        body, last_shown = _bounded(rows, lines.first)
        head = f"{lines.path}, lines {lines.first} to {last_shown} of {lines.total}"
        more = last_shown < lines.total and (asked.end is None or last_shown < asked.end)
        note = f"\n(more from line {last_shown + 1} on)" if more else ""
        shown = ShownContext(
            path=lines.path,
            start_line=lines.first,
            reason="the model read it",
            form="whole" if last_shown >= lines.total and lines.first == 1 else "cut",
        )
        return _Gave(text=f"{head}\n{body}{note}", shown=shown)

    async def _list_files(self, asked: _ListFiles, request: Request) -> _Gave:
        def look() -> Listing:
            return self._files(request).list(asked.folder or ".")

        found = await anyio.to_thread.run_sync(look)
        names = [f"{folder}/" for folder in found.folders]
        names += [f"{entry.path}  {entry.size} bytes" for entry in found.files]
        shown = names[:_MOST_NAMES]
        if len(names) > len(shown):
            shown.append(f"({len(names) - len(shown)} more)")
        shown += [f"(not listed: {note.what}: {note.reason})" for note in found.left_out]
        return _Gave(text="\n".join(shown) or f"{asked.folder} is empty")

    async def _search(self, asked: _Search, request: Request) -> _Gave:
        found = await self._searcher.search(asked.query, request, most=_MOST_PLACES)
        notes = [f"Searched {found.how}."]
        if found.left_out:
            notes.append(f"{found.left_out}.")
        if not found.text:
            return _Gave(text=f"Nothing was found. {' '.join(notes)}")
        text, _ = _bounded(found.text.split("\n"), 1)
        return _Gave(text=f"{text}\n({' '.join(notes)})")


class _Gave(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    shown: ShownContext | None = None


def _bounded(rows: list[str], first: int) -> tuple[str, int]:
    """Return as many of *rows* as fit, joined, and the number of the last one."""
    size = 0
    for at, row in enumerate(rows):
        size += len(row.encode("utf-8", "replace")) + 1
        if size > _MOST_BYTES:
            if at == 0:
                return row[: _MOST_BYTES // 4] + " (cut)", first
            return "\n".join(rows[:at]), first + at - 1
    return "\n".join(rows), first + len(rows) - 1


def _encodable(text: str) -> str:
    """Return *text*, names of files that are no UTF-8 escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _failed(call: ToolCallPart, said: str, why: str) -> ToolUse:
    text = _encodable(f"Error: {why}")
    result = ToolResultPart(id=call.id, text=text, is_error=True)
    return ToolUse(said=_encodable(f"{said}: {why}"), result=result)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST_NAMED else f"{flat[:_LONGEST_NAMED]}…"


def _words(arguments: msgspec.Struct) -> str:
    match arguments:
        case _ReadFile(path=path, start=None, end=None):
            return _short(path)
        case _ReadFile():
            return f"{_short(arguments.path)}:{arguments.start or 1}-{arguments.end or ''}"
        case _ListFiles():
            return _short(arguments.folder)
        case _Search():
            return _short(arguments.query)
        case _:
            return ""


def _schema(properties: dict[str, Any], *required: str) -> msgspec.Raw:
    shape = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return msgspec.Raw(json.dumps(shape).encode())


_TEXT: Final = {"type": "string"}
_LINE: Final = {"type": "integer", "minimum": 1}

TOOLS: Final = (
    Tool(
        name="read_file",
        description="Read lines of a text file of the project, each with its number. At most "
        f"{_MOST_LINES} lines at once: ask again for more.",
        parameters=_schema(
            {
                "path": {**_TEXT, "description": "Path relative to the project's root."},
                "start": {**_LINE, "description": "First line, from 1 on."},
                "end": {**_LINE, "description": "Last line, which is included."},
            },
            "path",
        ),
    ),
    Tool(
        name="list_files",
        description="List the files and folders in one folder of the project.",
        parameters=_schema(
            {"folder": {**_TEXT, "description": "Path relative to the root; . for the root."}},
            "folder",
        ),
    ),
    Tool(
        name="search",
        description="Find places in the project: a name or phrase as it stands in the code, or "
        "words about what is looked for. Gives path:line: text, best first.",
        parameters=_schema({"query": {**_TEXT, "description": "What to look for."}}, "query"),
    ),
)
"""What the model is offered."""
