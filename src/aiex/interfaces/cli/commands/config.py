"""`aiex config`."""

from __future__ import annotations

import sys

import click
import msgspec

from aiex.app import KeyStore, set_user, user_file, values_of
from aiex.core import NotFoundError, UsageError, nearest
from aiex.interfaces.cli.completing import settings
from aiex.interfaces.cli.drive import Setup, answer, set_up
from aiex.interfaces.cli.hidden import asker
from aiex.interfaces.cli.options import Globals, Group, Leaf
from aiex.interfaces.cli.render.config import ConfigResult, KeyResult, KeyView, SettingView

__all__ = ["command"]

_LONGEST_KEY = 64 * 1024


def _views(setup: Setup) -> list[SettingView]:
    return [
        SettingView(
            key=key,
            value=setup.redact.data(msgspec.Raw(msgspec.json.encode(value))),
            origin=origin,
            takes=setting.type,
            variable=setting.variable,
            user_only=setting.user_only,
            narrows=setting.narrows,
            description=setting.description,
            inside=tuple(below.key for below in setting.inside),
        )
        for key, setting, value, origin in values_of(setup.loaded)
    ]


@click.pass_obj
def _list(asked: Globals, /) -> int:
    setup = set_up(asked)
    return answer(setup, "config list", ConfigResult(action="list", settings=_views(setup)))


@click.pass_obj
def _show(asked: Globals, /, origin: bool) -> int:
    setup = set_up(asked)
    views = [view for view in _views(setup) if origin or view.origin != "default"]
    result = ConfigResult(
        action="show", settings=views, with_origin=origin, profile=setup.loaded.profile
    )
    return answer(setup, "config show", result)


@click.pass_obj
def _get(asked: Globals, /, key: str) -> int:
    setup = set_up(asked)
    views = _views(setup)
    found = [view for view in views if view.key == key]
    if not found:
        near = nearest(key, [view.key for view in views], cutoff=0.4)
        raise NotFoundError(
            f"there is no setting {key!r}",
            hint=f"did you mean {near}?" if near else "aiex config list shows all of them",
        )
    return answer(setup, "config get", ConfigResult(action="get", settings=found))


@click.pass_obj
def _set(asked: Globals, /, key: str, value: str) -> int:
    setup = set_up(asked, strict=False)  # what is wrong may be what is being set right
    file = set_user(setup.env, key, value, dry=asked.dry_run)
    table = ".".join(key.split(".")[:2])
    now = [view for view in _views(set_up(asked, strict=False)) if view.key in {key, table}]
    result = ConfigResult(
        action="set",
        settings=now,
        file=str(file),
        written=not asked.dry_run,
        given=setup.redact(value),
        key=key,
    )
    return answer(setup, "config set", result)


@click.pass_obj
def _path(asked: Globals, /) -> int:
    setup = set_up(asked, strict=False)
    result = ConfigResult(action="path", settings=[], file=str(user_file(setup.env)))
    return answer(setup, "config path", result)


def _store(setup: Setup) -> KeyStore:
    return KeyStore(setup.loaded, setup.env, ask=asker())


def _key_views(store: KeyStore) -> list[KeyView]:
    return [
        KeyView(provider=state.provider, origin=state.origin, variable=state.variable)
        for state in store.states()
    ]


@click.pass_obj
def _key_list(asked: Globals, /) -> int:
    setup = set_up(asked, strict=False)
    result = KeyResult(action="list", keys=_key_views(_store(setup)))
    return answer(setup, "config key list", result)


@click.pass_obj
def _key_set(asked: Globals, /, name: str, in_file: bool) -> int:
    setup = set_up(asked, strict=False)
    store = _store(setup)
    store.check(name, in_file=in_file)
    if asked.dry_run:
        result = KeyResult(action="set", provider=name, keys=_key_views(store))
        return answer(setup, "config key set", result)
    key = _typed_key(name)
    setup.redact.hold(key)
    place = store.put(name, key, in_file=in_file)
    now = _key_views(_store(set_up(asked, strict=False)))
    result = KeyResult(action="set", provider=name, places=[place], keys=now)
    return answer(setup, "config key set", result)


@click.pass_obj
def _key_delete(asked: Globals, /, name: str) -> int:
    setup = set_up(asked, strict=False)
    store = _store(setup)
    gone = [] if asked.dry_run else store.remove(name)
    now = _key_views(_store(set_up(asked, strict=False)))
    result = KeyResult(action="delete", provider=name, places=gone, keys=now)
    return answer(setup, "config key delete", result)


def _typed_key(provider: str) -> str:
    """Return the key: from the terminal, unseen, or the first line of standard input."""
    ask = asker()
    key = ask(f"Key of {provider}: ") if ask is not None else sys.stdin.readline(_LONGEST_KEY)
    if not key.strip():
        raise UsageError(
            "no key was given",
            hint=f"type it when asked, or pipe it in: aiex config key set {provider} < FILE",
        )
    return key.strip()


_KEY = Group(
    "key",
    default="list",
    help="Say where the keys of providers are, and keep them.",
    commands=[
        Leaf("list", callback=_key_list, help="Say where the key of each provider comes from."),
        Leaf(
            "set",
            callback=_key_set,
            help="Keep the key of PROVIDER: typed unseen, or the first line of standard input.",
            params=[
                click.Argument(["name"], metavar="PROVIDER"),
                click.Option(
                    ["--keyring", "in_file"],
                    flag_value=False,
                    default=False,
                    type=bool,
                    help="In the system's keyring, which is meant when neither is said.",
                ),
                click.Option(
                    ["--file", "in_file"],
                    flag_value=True,
                    type=bool,
                    help="In a file that only a passphrase opens.",
                ),
            ],
        ),
        Leaf(
            "delete",
            callback=_key_delete,
            help="Take the key of PROVIDER out of the keyring and the encrypted file.",
            params=[click.Argument(["name"], metavar="PROVIDER")],
        ),
    ],
)

command = Group(
    "config",
    default="show",
    help="Read and change the settings.",
    commands=[
        Leaf(
            "show",
            callback=_show,
            help="Show the settings that are not as they come.",
            params=[
                click.Option(
                    ["--origin"], is_flag=True, help="Show all of them, and where each was set."
                )
            ],
        ),
        Leaf("list", callback=_list, help="List every setting with what it means."),
        Leaf(
            "get",
            callback=_get,
            help="Print the value of one setting.",
            params=[click.Argument(["key"], shell_complete=settings)],
        ),
        Leaf(
            "set",
            callback=_set,
            help="Write one setting into your own configuration file.",
            params=[click.Argument(["key"], shell_complete=settings), click.Argument(["value"])],
        ),
        Leaf("path", callback=_path, help="Print where your own configuration file is."),
        _KEY,
    ],
)
