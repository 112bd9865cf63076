"""The first thing that runs: help and version out of a table, everything else through click.

Help is asked for often and must not cost what a command costs, so it is generated
(`python -m aiex.interfaces.cli.generate`) and nothing is imported to print it. A test holds the
table and the commands together.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its status."""
    words = sys.argv[1:]
    if "_AIEX_COMPLETE" in os.environ:  # a shell asks what could follow; click answers
        from aiex.interfaces.cli.app import cli

        cli.main(prog_name="aiex", complete_var="_AIEX_COMPLETE")
    if not words or words == ["help"]:
        words = ["--help"]
    if words[0] == "help":
        words = [*words[1:], "--help"]
    if words[0] in {"version", "--version"} and len(words) == 1:
        from aiex import __version__

        _say(f"aiex {__version__}\n")
        return
    if "--help" in words or "-h" in words:
        from aiex.interfaces.cli.help_table import HELP

        path = " ".join(_command(words, HELP))
        _say(HELP[path])
        return
    from aiex.interfaces.cli.app import run

    sys.exit(run(words))


def _command(words: list[str], known: dict[str, str]) -> list[str]:
    """Return the longest command that the first words name."""
    path: list[str] = []
    for word in words:
        if word.startswith("-"):
            if path:
                break
            continue
        if " ".join([*path, word]) not in known:
            break
        path.append(word)
    return path


def _say(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()
