"""From a model's text to a file: its syntax is checked, then the language's formatter goes over it.

Formatters get the text on standard input and run in an empty folder, so that nothing of the
project can make them do anything else.
"""

from __future__ import annotations

import ast
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import anyio.to_thread
import msgspec

from aiex.code import Language, read_facts
from aiex.core import NotChecked, NotFoundError, ToolRun
from aiex.sandbox import Command, run_command

__all__ = ["Finisher", "Formatted", "syntax_problem"]

_TIMEOUT = 60.0


class Formatted(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it will be proposed.

    Attributes:
        text: Its text, formatted where that could be done.
        language: Its language.
        checks: What was run on it.
        not_checked: What could not be.
    """

    text: str
    language: Language
    checks: tuple[ToolRun, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()


def syntax_problem(text: str, language: Language) -> str | None:
    """Return what keeps *text* from being a file of *language*; `None` if nothing does."""
    if language == "python":
        return _python_problem(text)
    facts = read_facts(text.encode(), language)
    if facts.error_lines:
        return f"line {facts.error_lines[0]} does not parse"
    return None if facts.symbols else "it defines nothing"


def _python_problem(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        return f"{line}{error.args[0] if error.args else error}"
    real = [s for s in tree.body if not isinstance(s, ast.Expr)]
    return None if real else "it defines nothing"


class Finisher:
    """Formats new files.

    Args:
        find_ruff: Returns the path of the ruff program, or `None`.
    """

    def __init__(self, find_ruff: Callable[[], str | None]) -> None:
        self._find_ruff = find_ruff

    async def finish(self, text: str, language: Language, *, line_length: int) -> Formatted:
        """Return *text*, whose syntax is right, as the language's formatter writes it."""
        parsed = ToolRun(name=f"parse {language}")
        bare = Formatted(text=text, language=language, checks=(parsed,))
        if language == "python":
            program = await anyio.to_thread.run_sync(self._find_ruff)
            if program is None:
                return _unformatted(bare, "ruff format", "ruff is not installed")
            shown: tuple[str, ...] = (
                "ruff",
                "format",
                "--isolated",
                "--no-cache",
                f"--line-length={line_length}",
            )
            argv: tuple[str, ...] = (program, *shown[1:], "--stdin-filename=module.py", "-")
        else:
            shown = ("mix", "format", "-")
            argv = shown
        try:
            return await _formatted(bare, argv, shown)
        except NotFoundError as error:
            return _unformatted(bare, " ".join(shown[:2]), error.message)


async def _formatted(bare: Formatted, argv: tuple[str, ...], shown: tuple[str, ...]) -> Formatted:
    name = " ".join(shown[:2])
    folder = await anyio.to_thread.run_sync(tempfile.mkdtemp, None, "aiex-format-")
    try:
        ran = await run_command(
            Command(argv=argv, cwd=Path(folder), stdin=bare.text.encode(), timeout=_TIMEOUT)
        )
    finally:
        await anyio.to_thread.run_sync(Path(folder).rmdir)
    if ran.exit != 0 or ran.timed_out or not ran.stdout.strip():
        said = ran.stderr.decode("utf-8", "replace").strip().split("\n")[0]
        reason = "it took too long" if ran.timed_out else said or f"it ended with {ran.exit}"
        return _unformatted(bare, name, reason)
    check = ToolRun(name=name, argv=shown, exit=ran.exit, ms=ran.ms)
    return msgspec.structs.replace(bare, text=ran.stdout.decode(), checks=(*bare.checks, check))


def _unformatted(bare: Formatted, name: str, reason: str) -> Formatted:
    missing = NotChecked(what="formatting", reason=reason, tool=name)
    return msgspec.structs.replace(bare, not_checked=(missing,))
