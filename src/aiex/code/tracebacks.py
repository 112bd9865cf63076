"""The places that a traceback names, in any of the languages that we read."""

from __future__ import annotations

import re

import msgspec

__all__ = ["Frame", "Traceback", "read_traceback"]

_PATH = r"(?P<path>[^\s\"'()<>|*?][^\"'()<>|*?\n]*?\.\w+)"
_FRAMES = (
    # Python, each frame on a line of its own.
    re.compile(
        r'^\s*(?:\|\s*)?File "(?P<path>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$'
    ),
    # JavaScript and Java: `at name (path:12:3)`, `at path:12:3`, `at a.b.C.name(File.java:12)`.
    re.compile(
        r"^\s*at (?:(?P<name>[^\s(][^(\n]*?)\s*\()?(?:file://)?"
        rf"{_PATH}:(?P<line>\d+)(?::\d+)?\)?$"
    ),
    # Elixir: `(app 0.1.0) lib/x.ex:12: Mod.fun/1`.
    re.compile(rf"^\s*(?:\([^)\n]+\) )?{_PATH}:(?P<line>\d+): (?P<name>[A-Z:].*/\d+)$"),
    # Go: a tab, a path, a line, an offset.
    re.compile(rf"^\t{_PATH}:(?P<line>\d+)(?: \+0x[0-9a-f]+)?$"),
    # Rust's panic line; until 1.72 the message stood in it.
    re.compile(
        rf"^thread .* panicked at (?:'(?P<note>.*)', )?{_PATH}:(?P<line>\d+):\d+(?P<opens>:)?$"
    ),
    # What compilers, linters and pytest print: `path:12: ...`, `path:12:3: ...`.
    re.compile(rf"^(?:E\s+)?{_PATH}:(?P<line>\d+)(?::\d+)?: (?P<note>.+)$"),
)
# Go and Rust name the function on the line before its place.
_NAME_BEFORE = (
    re.compile(r"^(?P<name>[\w./*()\[\]]+)\((?:\.\.\.|[^)]*)\)$"),
    re.compile(r"^\s*\d+: (?:0x[0-9a-f]+ - )?(?P<name>\S+)$"),
)
_PYTHON_MESSAGE = re.compile(r"^\s*(?:\| )?(?:E\s+)?((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?::.*)?)$")
_MESSAGES = (
    re.compile(r"^\*\* \((?P<kind>[\w.]+)\) (?P<text>.+)$"),
    re.compile(
        r"^(?:Exception in thread .*? |Caused by: |Uncaught )?"
        r"(?P<both>[\w.]*(?:Error|Exception)\b.*)$"
    ),
    re.compile(r"^(?P<both>panic: .+)$"),
    re.compile(r"^(?P<both>.+: error: .+)$"),
)


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a traceback names.

    Attributes:
        path: File as written: absolute, relative, or a bare name (Java).
        line: Line, 1-based.
        name: Function; `None` if the traceback does not say.
    """

    path: str
    line: int
    name: str | None = None


class Traceback(msgspec.Struct, frozen=True, kw_only=True):
    """What a traceback says.

    Attributes:
        message: The error in one line; empty if none was found.
        frames: The places in the order of the text, each once.
    """

    message: str
    frames: tuple[Frame, ...]


def read_traceback(text: str) -> Traceback:
    r"""Return the message and the places that *text* names; nothing if it names none.

    Args:
        text: A traceback, a compiler's or a test run's output, with anything around it.

    Example:
        >>> found = read_traceback('  File "a.py", line 3, in f\n    g()\nKeyError: 1\n')
        >>> found.frames[0].path, found.frames[0].line, found.frames[0].name, found.message
        ('a.py', 3, 'f', 'KeyError: 1')
    """
    frames: dict[tuple[str, int, str | None], Frame] = {}
    message = note = before = ""
    after_python = after_panic = False
    for line in text.replace("\r\n", "\n").split("\n"):
        match = next((m for p in _FRAMES if (m := p.match(line))), None)
        if match is not None:
            groups = match.groupdict()
            name = groups.get("name") or _name_before(before)
            frame = Frame(
                path=match["path"].removeprefix("./"), line=int(match["line"][:9]), name=name
            )
            frames.pop((frame.path, frame.line, None), None)
            frames.setdefault((frame.path, frame.line, name), frame)
            note = groups.get("note") or note
            after_panic = groups.get("opens") is not None
            after_python = line.lstrip(" |").startswith("File ")
            before = ""
            continue
        before = line
        if after_panic:
            message, after_panic = line.strip(), False
            continue
        if after_python and (said := _PYTHON_MESSAGE.match(line)):
            message = said[1]
            continue
        said = next((m for p in _MESSAGES if (m := p.match(line))), None)
        if said is not None and not (message and after_python):
            groups = said.groupdict()
            message = groups.get("both") or f"{groups['kind']}: {groups['text']}"
    return Traceback(message=message or note, frames=tuple(frames.values()))


def _name_before(line: str) -> str | None:
    match = next((m for p in _NAME_BEFORE if (m := p.match(line))), None)
    return None if match is None else match["name"]
