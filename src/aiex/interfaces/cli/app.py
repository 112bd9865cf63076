"""The commands, each imported when it is named, and the one place where a command ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Literal, cast

import click
from msgspec.structs import replace

from aiex.core import AiexError, Failed, InterruptedByUserError, UsageError, nearest, outcome_of
from aiex.interfaces.cli.console import Console, ReaderLeftError
from aiex.interfaces.cli.front import BROKEN_PIPE, command_of, wants_json
from aiex.interfaces.cli.options import Globals, Group

__all__ = ["COMMANDS", "cli", "run"]

COMMANDS = (
    "explain",
    "analyze",
    "context",
    "create",
    "chat",
    "session",
    "change",
    "model",
    "key",
    "budget",
    "config",
    "serve",
    "events",
    "requests",
    "doctor",
    "sandbox",
    "audit",
    "tasks",
    "gen",
    "completion",
    "help",
    "version",
)
"""Every command, in the order in which help shows them; each is a module of its name."""


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
        return _fail(words, _usage(words, error))
    except click.ClickException as error:
        return _fail(words, UsageError(error.format_message()))
    except AiexError as error:
        return _fail(words, error)
    except (KeyboardInterrupt, click.Abort):
        return _fail(words, InterruptedByUserError("interrupted"))
    except ReaderLeftError:
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the front door: a fault of Aiex is told as one
        return _fail(words, _fault(words, error))
    return result if isinstance(result, int) else 0


def _optional_values(words: list[str]) -> list[str]:
    """Return *words* with `--json` as `--json=`: its value may only follow an equals sign."""
    end = words.index("--") if "--" in words else len(words)
    return ["--json=" if word == "--json" else word for word in words[:end]] + words[end:]


def _usage(words: list[str], error: click.UsageError) -> UsageError:
    """Return what is wrong with *words*, and the nearest that would not be."""
    named = " ".join(["aiex", *command_of(words)])
    path = error.ctx.command_path if error.ctx is not None else named
    text = error.format_message().rstrip(".")
    near: Sequence[str] = ()
    if isinstance(error, click.NoSuchOption):
        text = f"{path} has no option {error.option_name}"
        near = error.possibilities or ()
    elif isinstance(error, click.BadParameter) and error.param is not None:
        kind = error.param.type
        given = text.rpartition(": '")[2].partition("'")[0]
        if isinstance(kind, click.Choice):
            one = nearest(given, kind.choices)
            near = () if one is None else (one,)
    hint = f"did you mean {' or '.join(near)}?" if near else f"{path} --help"
    return UsageError(text[:1].lower() + text[1:], hint=hint)


def _fault(words: list[str], error: Exception) -> AiexError:
    from aiex.interfaces.cli.faults import log_to_stderr, redactor

    logger = logging.getLogger(__name__)
    if not logging.getLogger().handlers:
        is_verbose = bool({"-v", "--verbose"} & set(words))
        log_to_stderr("WARNING", faults=None, redact=redactor(), verbose=is_verbose)
    logger.error("a command failed", exc_info=error)
    return AiexError(f"{type(error).__name__}: {error}")


def _fail(words: list[str], error: AiexError) -> int:
    """Report an error of the command itself, before or instead of a request."""
    from aiex.interfaces.cli.faults import redactor
    from aiex.interfaces.cli.view import report_failure

    asked = Globals(json="" if wants_json(words) else None, jsonl="--jsonl" in words)
    command = " ".join(command_of(words)) or "aiex"
    info = error.info()
    mask = redactor()
    hint = None if info.hint is None else mask(info.hint)
    info = replace(info, message=mask(info.message), hint=hint)
    report_failure(Failed(error=info), command, asked, Console(color=_color(words)))
    return outcome_of(info.code).exit_code


def _color(words: list[str]) -> Literal["auto", "always", "never"]:
    """Return when to use colour, as far as *words* say; they may be wrong otherwise."""
    joined = " ".join(words).replace("--color ", "--color=")
    if "--color=never" in joined:
        return "never"
    return "always" if "--color=always" in joined else "auto"
