"""`aiex create`, and `aiex gen`, which is another name for it."""

from __future__ import annotations

import sys
from typing import Any

import click

from aiex.core import ChangeArguments, CreateModuleArguments, CreateProjectArguments
from aiex.interfaces.cli.completing import files
from aiex.interfaces.cli.drive import run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf
from aiex.interfaces.cli.stdin import piped_text
from aiex.interfaces.cli.view import View

__all__ = ["command", "module"]


@click.pass_obj
def _module(asked: Globals, /, name: str, description: tuple[str, ...], **more: Any) -> int:
    setup = set_up(asked)
    words = " ".join(description)
    piped = piped_text()
    if not words:
        words, piped = piped or "", None
    arguments = CreateModuleArguments(name=name, description=words, attached=piped, **more)
    view = View("create module", asked, setup.console)
    code = run_verb(setup, "create_module", arguments, view=view)
    change = view.change
    if code or change is None or change.applied or not _wants_it(asked):
        return code
    return run_verb(
        setup, "change", ChangeArguments(action="apply", id=change.id), command="change apply"
    )


def _wants_it(asked: Globals) -> bool:
    if asked.form != "text" or asked.jsonl:
        return False
    if asked.yes:
        return True
    if sys.stdin is None or not all(
        stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    ):
        return False
    return click.confirm("Write it now?", default=False, err=True)


@click.pass_obj
def _project(asked: Globals, /, name: str, language: str) -> int:
    setup = set_up(asked, root=False)
    arguments = CreateProjectArguments(name=name, language=language)
    return run_verb(setup, "create_project", arguments, command="create project")


module = Leaf(
    "module",
    callback=_module,
    help="Have a model write the module NAME; what it wrote is shown and stored, not yet written."
    " What is piped in is the description, or goes with it.",
    params=[
        click.Argument(["name"]),
        click.Argument(["description"], nargs=-1, metavar="[DESCRIPTION]"),
        click.Option(["--language"], metavar="NAME", help="python or elixir; else the project's."),
        click.Option(
            ["--path"],
            metavar="FILE",
            help="Where it shall stand; a folder ends in /.",
            shell_complete=files,
        ),
        click.Option(["--test", "tests"], is_flag=True, help="Write tests too."),
        click.Option(["--docs"], is_flag=True, help="Write a page of documentation too."),
        click.Option(["--apply"], is_flag=True, help="Write the files at once."),
        click.Option(["--overwrite"], is_flag=True, help="Replace files that exist."),
        click.Option(
            ["--max-repairs"],
            type=click.IntRange(min=0, max=10),
            default=2,
            show_default=True,
            help="How often to ask again when a reply cannot be used.",
        ),
    ],
)

command = Group(
    "create",
    help="Propose a module, or begin a project.",
    commands=[
        module,
        Leaf(
            "project",
            callback=_project,
            help="Begin a project in the new folder NAME; its own tests pass. Needs no model.",
            params=[
                click.Argument(["name"]),
                click.Option(
                    ["--language"],
                    type=click.Choice(["python", "elixir"]),
                    default="python",
                    show_default=True,
                    help="Its language.",
                ),
            ],
        ),
    ],
)
