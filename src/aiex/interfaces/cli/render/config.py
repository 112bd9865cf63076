"""Settings, for a terminal."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = [
    "ConfigResult",
    "KeyResult",
    "KeyView",
    "SettingView",
    "show",
    "show_config_key_delete",
    "show_config_key_list",
    "show_config_key_set",
]


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """A setting as it stands.

    Attributes:
        key: Dotted name.
        value: Value in force.
        origin: Where it was set.
        takes: What it takes, in words.
        variable: Environment variable that sets it.
        user_only: Whether a project's files may not set it.
        narrows: Whether a project's files may only narrow it.
        description: What it means.
        inside: For a table, what may stand in it.
    """

    key: str
    value: msgspec.Raw
    origin: str
    takes: str
    variable: str
    user_only: bool
    narrows: bool = False
    description: str
    inside: tuple[str, ...] = ()


class ConfigResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `config` answers.

    Attributes:
        action: What was asked.
        settings: The settings that it is about.
        with_origin: Whether to show where each was set.
        profile: Name of the profile; `None` where it does not matter.
        file: The user's own file; `None` where it does not matter.
        written: For `set`, whether the file was written: a dry run only checks.
        given: For `set`, the value as it was typed.
        key: For `set`, what was set: a setting, or a value inside of one that is a table.
    """

    action: Literal["list", "show", "get", "set", "path"]
    settings: list[SettingView]
    with_origin: bool = False
    profile: str | None = None
    file: str | None = None
    written: bool = False
    given: str | None = None
    key: str = ""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key of a provider is; never the key.

    Attributes:
        provider: Name of the provider.
        origin: Where its key comes from, in words; `None` if no place is known to have it.
        variable: Environment variable that is looked into last.
    """

    provider: str
    origin: str | None
    variable: str


class KeyResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `config key` answers.

    Attributes:
        action: What was asked.
        keys: Where the keys are now.
        provider: The provider that was named.
        places: Where its key was put, or taken away from; empty for a dry run.
    """

    action: Literal["list", "set", "delete"]
    keys: list[KeyView]
    provider: str = ""
    places: list[str] = []


def show(finished: Finished, console: Console) -> None:
    """Write what `config` answered."""
    result = msgspec.json.decode(finished.data, type=ConfigResult)
    match result.action:
        case "path":
            console.line(result.file or "")
        case "get":
            console.line(_plain(result.settings[0].value))
        case "set":
            _set(result, console)
        case "show":
            _show(result, console)
        case "list":
            for setting in result.settings:
                console.line(f"{setting.key} = {_plain(setting.value)}", "bold")
                where = "you alone" if setting.user_only else "you and the project"
                where += ", which may only narrow it" if setting.narrows else ""
                console.line(f"    {setting.description}")
                how = setting.variable or "in the configuration file"
                console.line(f"    {setting.takes}; {how}; set by {where}", "dim")
                if setting.inside:
                    console.line(f"    with {', '.join(setting.inside)}", "dim")


def show_config_key_list(finished: Finished, console: Console) -> None:
    """Write where the keys are."""
    for key in _keys(finished).keys:
        console.line(f"{key.provider:<10} {key.origin or f'nowhere: {key.variable} is not set'}")


def show_config_key_set(finished: Finished, console: Console) -> None:
    """Write where a key was put, and whether it is the one that counts."""
    result = _keys(finished)
    [key] = [key for key in result.keys if key.provider == result.provider]
    if not result.places:
        console.line(f"would keep the key of {result.provider}")
        return
    console.line(f"the key of {result.provider} is in {result.places[0]}")
    if key.origin is not None and result.places[0] not in key.origin:
        console.note(f"another one is found first, and wins: {key.origin}", "yellow")


def show_config_key_delete(finished: Finished, console: Console) -> None:
    """Write where a key was taken away from."""
    result = _keys(finished)
    if not result.places:
        console.line(f"would take the key of {result.provider} away")
    for place in result.places:
        console.line(f"the key of {result.provider} is no longer in {place}")


def _keys(finished: Finished) -> KeyResult:
    return msgspec.json.decode(finished.data, type=KeyResult)


def _set(result: ConfigResult, console: Console) -> None:
    setting = result.settings[0]
    if not result.written:
        console.line(f"would write {result.key or setting.key} = {result.given}  in {result.file}")
        return
    console.line(f"{result.key or setting.key} = {result.given}  in {result.file}")
    if setting.origin != result.file:
        console.note(f"{setting.origin} sets it too, and wins: {_plain(setting.value)}", "yellow")


def _show(result: ConfigResult, console: Console) -> None:
    for setting in result.settings:
        line = f"{setting.key} = {_plain(setting.value)}"
        console.line(f"{line:<56} {setting.origin}" if result.with_origin else line)
    if not result.settings:
        console.note(f"everything is as it comes, with the profile {result.profile}")


def _plain(value: msgspec.Raw) -> str:
    decoded = msgspec.json.decode(value)
    if isinstance(decoded, list):
        return ", ".join(map(str, decoded))
    return decoded if isinstance(decoded, str) else bytes(value).decode()
