"""The commands, each imported when it is named, and the one place where a command ends."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import cast

import click

from aiex.core import AiexError, ErrorInfo, Failed, InterruptedByUserError, UsageError, outcome_of
from aiex.interfaces.cli.options import Globals, Group

__all__ = ["COMMANDS", "cli", "run"]

COMMANDS: dict[str, tuple[str, str]] = {
    "explain": ("explain", "Facts about code, an error or a diff, then a model's words."),
    "analyze": ("analyze", "Facts about a project: findings, complexity, graph, dependencies."),
    "create": ("create", "Propose a module, or begin a project."),
    "change": ("change", "List, show and apply what was proposed."),
    "config": ("config", "Read and change the settings."),
    "doctor": ("doctor", "Say what works here, and what to do about what does not."),
    "tasks": ("tasks", "An overview of what people use Aiex for."),
    "gen": ("gen", "Another name for create."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Name to module and one line; in the order in which help shows them."""

_BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class _Root(Group):
    """All commands, none of them imported before it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"aiex.interfaces.cli.commands.{COMMANDS[cmd_name][0]}")
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
