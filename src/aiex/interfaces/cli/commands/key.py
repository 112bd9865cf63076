"""`aiex key`."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any, get_args

import click
import msgspec

from aiex.core import (
    KEY_ENTROPY_BYTES,
    Event,
    Finished,
    KeyArguments,
    KeyResult,
    NewKey,
    PrincipalRole,
    key_id_of,
    new_key,
)
from aiex.interfaces.cli.drive import Setup, run_verb, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf, Until
from aiex.interfaces.cli.view import View

__all__ = ["command"]


class _ShowingKey(View):
    """Puts the key, which only this door has, into what is written of its making."""

    def __init__(self, setup: Setup, key: NewKey) -> None:
        super().__init__("key create", setup.asked, setup.console)
        self._key = key

    def take(self, event: Event) -> int | None:
        """Write *event*, the last one with the key."""
        if isinstance(event.body, Finished):
            result = msgspec.json.decode(event.body.data, type=KeyResult)
            if not result.would:
                result = msgspec.structs.replace(result, key=self._key.token)
            data = msgspec.Raw(msgspec.json.encode(result))
            event = msgspec.structs.replace(
                event, body=msgspec.structs.replace(event.body, data=data)
            )
        return super().take(event)


@click.pass_obj
def _create(
    asked: Globals,
    /,
    roles: tuple[PrincipalRole, ...],
    models: tuple[str, ...],
    expires: datetime | None,
    **more: Any,
) -> int:
    setup = set_up(asked)
    key = new_key(secrets.token_bytes(KEY_ENTROPY_BYTES))
    setup.redact.hold(key.token)
    told = {name: value for name, value in more.items() if value is not None}
    arguments = KeyArguments(
        action="create",
        id=key.id,
        digest=key.digest,
        roles=roles or ("developer",),
        models=models,
        expires=expires,
        **told,
    )
    return run_verb(setup, "key", arguments, command="key create", view=_ShowingKey(setup, key))


@click.pass_obj
def _list(asked: Globals, /) -> int:
    return run_verb(set_up(asked), "key", KeyArguments(action="list"), command="key list")


@click.pass_obj
def _revoke(asked: Globals, /, id: str) -> int:  # noqa: A002 - the name of the argument
    setup = set_up(asked)
    if id.startswith("aiex_"):
        setup.redact.hold(id)
        id = key_id_of(id)  # noqa: A001
    arguments = KeyArguments(action="revoke", id=id)
    return run_verb(setup, "key", arguments, command="key revoke")


def _limit(name: str, text: str) -> click.Option:
    return click.Option([name], type=click.IntRange(min=1), metavar="N", help=text)


command = Group(
    "key",
    default="list",
    help="Make, list and revoke the keys that programs use the gateway with.",
    commands=[
        Leaf(
            "create",
            callback=_create,
            help="Make a key and print it, once: it cannot be shown again.",
            params=[
                click.Option(["--user"], metavar="NAME", help="Whose key it is; yours by default."),
                click.Option(["--team"], metavar="NAME", help="Team that it counts for, too."),
                click.Option(["--name"], metavar="TEXT", help="What it is for."),
                click.Option(
                    ["--role", "roles"],
                    type=click.Choice(get_args(PrincipalRole)),
                    multiple=True,
                    help="What its bearer may do; several are possible. developer by default.",
                ),
                click.Option(
                    ["--allow", "models"],
                    multiple=True,
                    metavar="PROVIDER:MODEL",
                    help="Model that it may ask, with * for any part; several are possible, "
                    "all by default.",
                ),
                click.Option(
                    ["--expires"],
                    type=Until(),
                    metavar="WHEN",
                    help="When it ends: 90d, 12h, or a UTC time such as 2026-12-31.",
                ),
                _limit("--requests-per-minute", "Most requests in any minute."),
                _limit("--tokens-per-minute", "Most tokens in any minute."),
                _limit("--concurrency", "Most calls at a time."),
            ],
        ),
        Leaf("list", callback=_list, help="List your keys; an admin sees everybody's."),
        Leaf(
            "revoke",
            callback=_revoke,
            help="Take no more requests with the key ID, on every node within a second.",
            params=[click.Argument(["id"], metavar="ID")],
        ),
    ],
)
