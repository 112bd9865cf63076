"""`aiex explain`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aiex.core import ExplainArguments, UsageError
from aiex.interfaces.cli.completing import files
from aiex.interfaces.cli.drive import Setup, run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf
from aiex.interfaces.cli.stdin import is_terminal, read_stdin

__all__ = ["command"]

_LINE = re.compile(r"(?P<path>.+):(?P<line>[0-9]+)(?::[0-9]+)?")

_HOW = [
    click.Option(
        ["--detail"],
        type=click.Choice(["basic", "intermediate", "advanced"]),
        default="intermediate",
        show_default=True,
        help="For whom the words are.",
    ),
    click.Option(
        ["--focus"],
        type=click.Choice(["architecture", "patterns", "performance", "security"]),
        help="What to look at most.",
    ),
    click.Option(["--ask", "question"], metavar="TEXT", help="Answer this question about it."),
    click.Option(["--facts-only"], is_flag=True, help="Leave the model out."),
]


def _place(setup: Setup, target: str) -> dict[str, Any]:
    """Return what `FILE`, `FILE:LINE` or `FILE::SYMBOL` means; a file of that very name wins."""
    if not (setup.folder / target).exists():
        path, colons, symbol = target.rpartition("::")
        if colons and path:
            return {"path": setup.place(path), "symbol": symbol}
        match = _LINE.fullmatch(target)
        if match:
            return {"path": setup.place(match["path"]), "line": int(match["line"])}
    return {"path": setup.place(target)}


def _near(asked: Globals, target: str | None) -> str | None:
    if target is None or target == "-":
        return None
    path = target.partition("::")[0]
    match = _LINE.fullmatch(path)
    is_there = ((asked.directory or Path()) / path).exists()
    return match["path"] if match and not is_there else path


@click.pass_obj
def _code(
    asked: Globals, /, target: str | None, stdin: bool, language: str | None, **how: Any
) -> int:
    setup = set_up(asked, near=_near(asked, target))
    reads = stdin or target == "-" or (target is None and not is_terminal())
    if target is None and not reads:
        raise UsageError("explain what?", hint="aiex explain FILE, or pipe code into aiex explain")
    place = {} if target in {None, "-"} else _place(setup, str(target))
    text = read_stdin() if reads else None
    arguments = ExplainArguments(kind="code", text=text, language=language, **place, **how)
    return run_verb(setup, "explain", arguments)


@click.pass_obj
def _error(asked: Globals, /, file: str | None, **how: Any) -> int:
    setup = set_up(asked)
    if file in {None, "-"}:
        if is_terminal():
            raise UsageError(
                "no traceback was given", hint="python app.py 2>&1 | aiex explain error"
            )
        text = read_stdin()
    else:
        text = _read(setup.folder / str(file))
    return run_verb(setup, "explain", ExplainArguments(kind="error", text=text, **how))


@click.pass_obj
def _diff(asked: Globals, /, base: str | None, **how: Any) -> int:
    return run_verb(set_up(asked), "explain", ExplainArguments(kind="diff", base=base, **how))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _leaf(
    name: str,
    callback: Callable[..., int],
    text: str,
    *params: click.Parameter,
) -> Leaf:
    return Leaf(name, callback=callback, help=text, params=[*params, *_HOW])


command = Group(
    "explain",
    default="code",
    help="Tell what is known about code, an error or a change, then what a model makes of it.",
    commands=[
        _leaf(
            "code",
            _code,
            "Explain a file, the definition at a line, a symbol, or code from standard input.",
            click.Argument(
                ["target"],
                required=False,
                metavar="[FILE|FILE:LINE|FILE::SYMBOL|-]",
                shell_complete=files,
            ),
            click.Option(["--stdin"], is_flag=True, help="Read code from standard input."),
            click.Option(["--language"], metavar="NAME", help="Language of standard input."),
        ),
        _leaf(
            "error",
            _error,
            "Explain a traceback: the code of its frames is the context.",
            click.Argument(["file"], required=False, metavar="[FILE|-]", shell_complete=files),
        ),
        _leaf(
            "diff",
            _diff,
            "Explain what changed since BASE (the last commit).",
            click.Argument(["base"], required=False),
        ),
    ],
)
