"""The first thing that runs: help and version out of a table, everything else through click.

Help is asked for often and must not cost what a command costs, so it is generated
(`python -m aiex.interfaces.cli.generate`) and nothing is imported to print it. A test holds the
table and the commands together. What the table does not answer (a word that is no command, help as
JSON) goes to click like any other command.
"""

from __future__ import annotations

import os
import sys

__all__ = ["BROKEN_PIPE", "WITH_VALUE", "abandon_stdout", "command_of", "main", "wants_json"]

BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended: whoever read has left."""

WITH_VALUE = frozenset(
    {
        "-C",
        "--format",
        "--color",
        "--model",
        "--provider",
        "--strategy",
        "--max-cost",
        "--max-tokens",
        "--timeout",
        "--seed",
    }
)
"""Global options whose value is the next word; a test holds them to the options."""

_HELP_OPTIONS = ("--help", "-h")


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        status = _main(sys.argv[1:])
    except KeyboardInterrupt:  # before, or after, there was a request to cancel
        sys.stderr.write("error: interrupted\n")
        status = 130
    except Exception as error:  # noqa: BLE001 - such as a dependency that cannot be imported
        status = _cannot_start(error)
    sys.exit(status)


def _cannot_start(error: Exception) -> int:
    import tempfile
    import traceback

    handle, name = tempfile.mkstemp(".txt", "aiex-fault-")
    with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
        traceback.print_exception(error, file=file)
    sys.stderr.write(
        f"error: Aiex cannot start: {type(error).__name__}: {error}\n"
        f"next:  install it anew; if that does not help, report it with the details in {name}\n"
    )
    return 70


def _main(words: list[str]) -> int:
    _open_streams()
    if "_AIEX_COMPLETE" in os.environ:  # a shell asks what could follow
        from aiex.interfaces.cli.completing import complete

        return complete()
    text = None if wants_json(words) else _known_text(words)
    if text is not None:
        return _say(text)
    from aiex.interfaces.cli.app import run

    return run(_help_first(words))


def _open_streams() -> None:
    """Let nothing that is written fail for its characters, or for a stream that is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        else:
            stream.reconfigure(errors="backslashreplace")


def _known_text(words: list[str]) -> str | None:
    """Return what the table answers *words* with; `None` where it does not."""
    if words in (["version"], ["--version"]):
        from aiex import __version__

        return f"aiex {__version__}\n"
    if words and words[0] != "help" and not _asks_help(words):
        return None
    from aiex.interfaces.cli.help_table import HELP

    if not words or words[0] == "help":
        return HELP.get(" ".join(words[1:]))
    return HELP[" ".join(command_of(words))] if _names_command(words) else None


def _help_first(words: list[str]) -> list[str]:
    """Return *words* with help asked as a command, where it is asked as an option."""
    if words[:1] == ["--version"]:
        return ["version", *words[1:]]
    if _asks_help(words) and _names_command(words):
        asked = [word for word in words if word.startswith("--json")]
        return ["help", *command_of(words), *(asked or ["--json"])]
    return words


def _asks_help(words: list[str]) -> bool:
    end = words.index("--") if "--" in words else len(words)
    return any(option in words[:end] for option in _HELP_OPTIONS)


def _names_command(words: list[str]) -> bool:
    """Return whether the words before help can be taken for a command and its arguments."""
    from aiex.interfaces.cli.help_table import NEEDS_NOUN

    path = command_of(words)
    return " ".join(path) not in NEEDS_NOUN or len(_plain(words)) == len(path)


def _plain(words: list[str]) -> list[str]:
    """Return the words that are neither global options nor their values."""
    found = []
    skip = False
    for word in words:
        if not skip and not word.startswith("-"):
            found.append(word)
        skip = not skip and word in WITH_VALUE
    return found


def command_of(words: list[str]) -> list[str]:
    """Return the longest command that *words* name."""
    from aiex.interfaces.cli.help_table import HELP

    path: list[str] = []
    for word in _plain(words):
        if " ".join([*path, word]) not in HELP:
            break
        path.append(word)
    return path


def wants_json(words: list[str]) -> bool:
    """Return whether *words* ask for JSON, in whichever way."""
    for number, word in enumerate(words):
        if word == "--":
            return False
        if word in {"--json", "--jsonl", "--format=json"} or word.startswith("--json="):
            return True
        if word == "--format" and words[number + 1 : number + 2] == ["json"]:
            return True
    return False


def _say(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        abandon_stdout()
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        sys.stderr.write(f"error: standard output cannot be written: {error.strerror}\n")
        return 70
    return 0


def abandon_stdout() -> None:
    """Let whatever is still to be written go nowhere, so that Python does not fail at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
