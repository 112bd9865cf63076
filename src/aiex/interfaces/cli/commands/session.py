"""`aiex session`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from aiex.core import (
    Event,
    Finished,
    SessionArguments,
    SessionDocument,
    UsageError,
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
    return run_verb(
        setup, "session", arguments, command=f"session {arguments.action}", view=view
    )


@click.pass_obj
def _list(asked: Globals, /, here: bool, everybody: bool, most: int) -> int:
    from aiex.assistant.chat.project import project_of

    setup = set_up(asked)
    project = project_of(str(setup.root)) if here else None
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
        setup, SessionArguments(action="import", document=document, project=str(setup.root))
    )


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
