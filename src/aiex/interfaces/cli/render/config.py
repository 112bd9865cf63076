"""Settings, for a terminal."""

from __future__ import annotations

from typing import Literal

import msgspec

from aiex.core import Finished
from aiex.interfaces.cli.console import Console

__all__ = ["ConfigResult", "SettingView", "show"]


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
    """

    key: str
    value: msgspec.Raw
    origin: str
    takes: str
    variable: str
    user_only: bool
    narrows: bool = False
    description: str


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
    """

    action: Literal["list", "show", "get", "set", "path"]
    settings: list[SettingView]
    with_origin: bool = False
    profile: str | None = None
    file: str | None = None
    written: bool = False
    given: str | None = None


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
                console.line(f"    {setting.takes}; {setting.variable}; set by {where}", "dim")


def _set(result: ConfigResult, console: Console) -> None:
    setting = result.settings[0]
    if not result.written:
        console.line(f"would write {setting.key} = {result.given}  in {result.file}")
        return
    console.line(f"{setting.key} = {result.given}  in {result.file}")
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
