"""`aiex config`."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from aiex.app import all_settings, set_user, user_file
from aiex.core import NotFoundError, nearest
from aiex.interfaces.cli.completing import settings
from aiex.interfaces.cli.drive import Setup, answer, set_up
from aiex.interfaces.cli.options import Globals, Group, Leaf
from aiex.interfaces.cli.render.config import ConfigResult, SettingView

__all__ = ["command"]


def _views(setup: Setup) -> list[SettingView]:
    tree = setup.loaded.settings
    views = []
    for setting in all_settings():
        branch, _, name = setting.key.partition(".")
        value: Any = getattr(getattr(tree, branch), name)
        views.append(
            SettingView(
                key=setting.key,
                value=msgspec.Raw(msgspec.json.encode(value)),
                origin=setup.loaded.origins.get(setting.key, "default"),
                takes=setting.type,
                variable=setting.variable,
                user_only=setting.user_only,
                narrows=setting.narrows,
                description=setting.description,
            )
        )
    return views


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
    now = [view for view in _views(set_up(asked, strict=False)) if view.key == key]
    result = ConfigResult(
        action="set", settings=now, file=str(file), written=not asked.dry_run, given=value
    )
    return answer(setup, "config set", result)


@click.pass_obj
def _path(asked: Globals, /) -> int:
    setup = set_up(asked, strict=False)
    result = ConfigResult(action="path", settings=[], file=str(user_file(setup.env)))
    return answer(setup, "config path", result)


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
    ],
)
