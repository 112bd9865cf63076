"""The commands, each imported when it is named, and the one place where a command ends."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import cast

import click

from aiex.core import AiexError, ErrorInfo, Failed, InterruptedByUserError, UsageError, outcome_of
from aiex.interfaces.cli.options import Globals, Group

__all__ = ["COMMANDS", "cli", "run"]

COMMANDS = (
    "explain",
    "analyze",
    "create",
    "change",
    "model",
    "config",
    "doctor",
    "audit",
    "tasks",
    "gen",
    "completion",
)
"""Every command, in the order in which help shows them; each is a module of its name."""

_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


_FAULT = "this is a fault of Aiex: report it with what was printed above"


class _Root(Group):
    """All commands, none of them imported before it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"aiex.interfaces.cli.commands.{cmd_name}")
        return cast("click.Command", module.command)


cli = _Root(
    "aiex",
    help="A coding assistant that a team hosts itself: facts first, a model only for the rest.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(words: list[str]) -> int:
    """Run the command that *words* name and return its exit status."""
    try:
        result = cli.main(_optional_values(words), prog_name="aiex", standalone_mode=False)
    except click.UsageError as error:
        return _fail(words, UsageError(error.format_message(), hint=_hint(error)))
    except click.ClickException as error:
        return _fail(words, UsageError(error.format_message()))
    except AiexError as error:
        return _fail(words, error)
    except (KeyboardInterrupt, click.Abort):
        return _fail(words, InterruptedByUserError("interrupted"))
    except BrokenPipeError:
        # Whoever read has left; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:  # the front door: a fault of Aiex is told as one
        logging.getLogger(__name__).exception("a command failed")
        return _fail(words, AiexError(f"{type(error).__name__}: {error}", hint=_FAULT))
    return result if isinstance(result, int) else 0


def _optional_values(words: list[str]) -> list[str]:
    """Return *words* with `--json` as `--json=`: its value may only follow an equals sign."""
    end = words.index("--") if "--" in words else len(words)
    return ["--json=" if word == "--json" else word for word in words[:end]] + words[end:]


def _hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "aiex"
    return f"{path} --help"


def _fail(words: list[str], error: AiexError) -> int:
    """Report an error of the command itself, before or instead of a request."""
    from aiex.interfaces.cli.console import Console
    from aiex.interfaces.cli.view import report_failure

    wants_json = any(word == "--json" or word.startswith("--json=") for word in words)
    wants_json = wants_json or "--format=json" in words
    asked = Globals(json="" if wants_json else None, jsonl="--jsonl" in words)
    command = next((word for word in words if word in COMMANDS), "aiex")
    info: ErrorInfo = error.info()
    report_failure(Failed(error=info), command, asked, Console(env=dict(os.environ)))
    return outcome_of(info.code).exit_code
