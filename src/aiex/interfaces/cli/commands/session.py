"""`aiex session`."""

from __future__ import annotations

import platform

import click
import msgspec

from aiex.core import (
    Event,
    Finished,
    SessionArguments,
    SessionDocument,
    UsageError,
    project_id,
)
from aiex.interfaces.cli.completing import files
from aiex.interfaces.cli.drive import Setup, run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf
from aiex.interfaces.cli.stdin import is_terminal, read_stdin
from aiex.interfaces.cli.view import View

__all__ = ["command"]

_MOST_BYTES = 64 << 20


class _Masking(View):
    """Takes the secrets that this process knows out of what is exported, too."""

    def __init__(self, setup: Setup) -> None:
        super().__init__("session export", setup.asked, setup.console)
        self._redact = setup.redact

    def take(self, event: Event) -> int | None:
        """Write *event*, without secrets."""
        if isinstance(event.body, Finished):
            data = self._redact.data(event.body.data)
            event = msgspec.structs.replace(
                event, body=msgspec.structs.replace(event.body, data=data)
            )
        return super().take(event)


def _ask(setup: Setup, arguments: SessionArguments, view: View | None = None) -> int:
    return run_verb(setup, "session", arguments, command=f"session {arguments.action}", view=view)


@click.pass_obj
def _list(asked: Globals, /, here: bool, everybody: bool, most: int) -> int:
    setup = set_up(asked)
    project = _project(setup) if here else None
    return _ask(
        setup,
        SessionArguments(action="list", project=project, everybody=everybody, most=most),
    )


@click.pass_obj
def _show(asked: Globals, /, id: str) -> int:  # noqa: A002 - the name of the argument
    return _ask(set_up(asked), SessionArguments(action="show", id=id))


@click.pass_obj
def _export(asked: Globals, /, id: str) -> int:  # noqa: A002
    setup = set_up(asked)
    return _ask(setup, SessionArguments(action="export", id=id), _Masking(setup))


@click.pass_obj
def _import(asked: Globals, /, file: str | None) -> int:
    setup = set_up(asked)
    raw = _document(setup, file)
    try:
        document = msgspec.json.decode(raw, type=SessionDocument)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"that is no exported session: {error}", hint="aiex session export ID writes one"
        ) from error
    return _ask(
        setup, SessionArguments(action="import", document=document, project=_project(setup))
    )


def _project(setup: Setup) -> str:
    return project_id(platform.node(), str(setup.root))


def _document(setup: Setup, file: str | None) -> bytes:
    if file in {None, "-"}:
        if is_terminal():
            raise UsageError("import what?", hint="aiex session import FILE")
        return read_stdin().encode()
    path = setup.folder / str(file)
    try:
        with path.open("rb") as opened:
            raw = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than {_MOST_BYTES >> 20} MB")
    return raw


@click.pass_obj
def _delete(asked: Globals, /, id: str) -> int:  # noqa: A002
    return _ask(set_up(asked), SessionArguments(action="delete", id=id))


@click.pass_obj
def _share(asked: Globals, /, id: str, user: str, remove: bool) -> int:  # noqa: A002
    arguments = SessionArguments(action="share", id=id, user=user, remove=remove)
    return _ask(set_up(asked), arguments)


@click.pass_obj
def _handoff(asked: Globals, /, id: str, user: str) -> int:  # noqa: A002
    return _ask(set_up(asked), SessionArguments(action="handoff", id=id, user=user))


@click.pass_obj
def _resume(asked: Globals, /, id: str, text: tuple[str, ...], fork: bool) -> int:  # noqa: A002
    from aiex.interfaces.cli.talk import Start, talk

    start = Start(session=id, fork=fork)
    return talk(set_up(asked), start, text=" ".join(text) or None)


def _id() -> click.Argument:
    return click.Argument(["id"], metavar="ID")


def _user() -> click.Argument:
    return click.Argument(["user"], metavar="USER")


command = Group(
    "session",
    default="list",
    help="List, show, share and move what was said to the assistant.",
    commands=[
        Leaf(
            "list",
            callback=_list,
            help="List your sessions and those shared with you, the last used first.",
            params=[
                click.Option(["--here"], is_flag=True, help="Only those of this project."),
                click.Option(
                    ["--everybody"],
                    is_flag=True,
                    help="Everybody's, without what was said; takes the role admin.",
                ),
                click.Option(
                    ["--most"],
                    type=click.IntRange(1, 1000),
                    default=50,
                    show_default=True,
                    metavar="N",
                    help="List at most N.",
                ),
            ],
        ),
        Leaf(
            "show",
            callback=_show,
            help="Show what was said in the session ID; an admin sees only what it is.",
            params=[_id()],
        ),
        Leaf(
            "resume",
            callback=_resume,
            help="Go on with the session ID, as aiex chat --resume does.",
            params=[
                _id(),
                click.Argument(["text"], nargs=-1, metavar="[TEXT]"),
                click.Option(["--fork"], is_flag=True, help="Go on in a copy."),
            ],
        ),
        Leaf(
            "share",
            callback=_share,
            help="Let USER read the session ID.",
            params=[
                _id(),
                _user(),
                click.Option(["--remove"], is_flag=True, help="Let USER read it no more."),
            ],
        ),
        Leaf(
            "handoff",
            callback=_handoff,
            help="Give the session ID to USER, who goes on with it; you may still read it.",
            params=[_id(), _user()],
        ),
        Leaf(
            "export",
            callback=_export,
            help="Write the session ID as JSON, or with --format md to read, without secrets.",
            params=[_id()],
        ),
        Leaf(
            "import",
            callback=_import,
            help="Take an exported session in, as a new one of this project.",
            params=[
                click.Argument(["file"], required=False, metavar="[FILE|-]", shell_complete=files)
            ],
        ),
        Leaf(
            "delete",
            callback=_delete,
            help="Remove the session ID and all that was said in it.",
            params=[_id()],
        ),
    ],
)
