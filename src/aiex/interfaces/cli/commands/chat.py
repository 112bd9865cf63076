"""`aiex chat`."""

from __future__ import annotations

import click

from aiex.core import UsageError
from aiex.interfaces.cli.drive import set_up
from aiex.interfaces.cli.options import Globals, Leaf

__all__ = ["command"]


@click.pass_obj
def _chat(
    asked: Globals,
    /,
    text: tuple[str, ...],
    resume: str | None,
    latest: bool,
    fork: bool,
) -> int:
    from aiex.interfaces.cli.talk import Start, talk

    if resume is not None and latest:
        raise UsageError("--resume and --continue contradict each other", hint="leave one out")
    if fork and resume is None and not latest:
        raise UsageError(
            "--fork needs a session to copy", hint="aiex chat --resume ID --fork, or --continue"
        )
    start = Start(session=resume or "", latest=latest, fork=fork)
    return talk(set_up(asked), start, text=" ".join(text) or None)


command = Leaf(
    "chat",
    callback=_chat,
    help="Talk about the project: TEXT alone, each line of standard input, or at a prompt.",
    params=[
        click.Argument(["text"], nargs=-1, metavar="[TEXT]"),
        click.Option(["--resume"], metavar="ID", help="Go on with the session ID."),
        click.Option(
            ["--continue", "latest"],
            is_flag=True,
            help="Go on with the newest session of this project.",
        ),
        click.Option(["--fork"], is_flag=True, help="Go on in a copy, and leave the session be."),
    ],
)
