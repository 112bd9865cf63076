"""Writes the reference: a page for each command, the settings, and the API by room."""

import inspect
import pkgutil
import re
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec

import aiex.testing
from aiex.app.config import PROFILES, all_settings
from aiex.core import PUBLISHED, Published
from aiex.interfaces.cli.help_table import HELP

ROOMS = {
    "core": "The shared vocabulary: what travels between the rooms.",
    "code": "Pure functions over source text.",
    "wires": "Pure codecs between a provider's bytes and core's types.",
    "runtime": "Staying alive, knowing no domain.",
    "cluster": "The store and what will make several nodes one.",
    "context": "What is remembered, and what a model is shown.",
    "sandbox": "The only room that touches a user's files or runs a command.",
    "llm": "Talking to models.",
    "assistant": "The verbs.",
    "gateway": "One door for every interface.",
    "app": "The composition root.",
}


def write_reference(folder: Path) -> None:
    """Write every generated page below *folder*."""
    commands = sorted({path.split(" ")[0] for path in HELP if path})
    for name in commands:
        _write(folder / "commands" / f"{name}.md", _command(name))
    _write(folder / "commands" / "index.md", _commands_index(commands))
    _write(folder / "configuration.md", _configuration())
    _write(folder / "events.md", _events())
    for room, sentence in ROOMS.items():
        _write(folder / "api" / f"{room}.md", _room(room, sentence))
    _write(folder / "api" / "testing.md", _testing())
    _write(folder / "api" / "index.md", _api_index())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _command(name: str) -> str:
    parts = [f"# aiex {name}", ""]
    for path, text in HELP.items():
        if path == name or path.startswith(f"{name} "):
            if path != name:
                parts += [f"## aiex {path}", ""]
            parts += ["```text", text.rstrip(), "```", ""]
    notes = Path(__file__).parent / "commands" / f"{name}.md"
    if notes.exists():
        parts += [notes.read_text().rstrip(), ""]
    return "\n".join(parts)


def _commands_index(commands: list[str]) -> str:
    tree = "\n".join(commands)
    return (
        f"# Commands\n\n```text\n{HELP[''].rstrip()}\n```\n\n"
        "The options of every command may stand before and after it.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{tree}\n```\n"
    )


def _configuration() -> str:
    lines = [
        "# Settings",
        "",
        (
            "Flags win over `AIEX_*` variables, these over the project's `aiex.toml`, this over "
            "`[tool.aiex]` in its `pyproject.toml`, this over your own file (`aiex config path`), "
            "and this over the profile and the defaults. `aiex config show --origin` says where "
            "each value comes from. A setting marked *yours alone* cannot be set by a project's "
            "files: it decides where code and keys go, or what may be touched. Of one that a "
            "project may only narrow, the lower limit or the stricter word counts, and what its "
            "lists forbid comes on top of yours."
        ),
        "",
        (
            "A setting that there is not, and a value that is not taken, are errors that name the "
            "nearest one. `aiex config set KEY VALUE` writes into your own file and keeps the rest "
            "of it. Keys of providers are no settings: `aiex config key` says where they are."
        ),
        "",
        (
            "`AIEX_CONFIG` names another file than the usual one, and `AIEX_PROFILE` chooses a "
            "profile:"
        ),
        "",
    ]
    for name, values in PROFILES.items():
        shown = ", ".join(f"`{key} = {_plain(value)}`" for key, value in values.items())
        lines.append(f"- `{name}`: {shown or 'the defaults'}")
    branch = ""
    for setting in all_settings():
        if setting.key.split(".")[0] != branch:
            branch = setting.key.split(".")[0]
            lines += ["", f"## {branch}"]
        alone = " Yours alone." if setting.user_only else ""
        alone = " A project may only narrow it." if setting.narrows else alone
        default = _shown(setting.default)
        lines += [
            "",
            f"`{setting.key}`",
            f": {setting.description}{alone}",
            f"  Takes {setting.type}; {default}. "
            + (f"Variable: `{setting.variable}`." if setting.variable else "In the file alone."),
        ]
        for below in setting.inside:
            lines += [
                "",
                f"`{below.key}`",
                f": {below.description or 'One of them.'} Takes {below.type}.",
            ]
    return "\n".join(lines) + "\n"


def _events() -> str:
    lines = [
        "# Published events",
        "",
        (
            "What `aiex events tail`, `GET /api/v1/events` and `Operations.subscribe` tell. Each "
            "stands in a `Published`: its name, when, at which node, and the body. A subscriber "
            "names events exactly, or with `*` for one word and a last `>` for the rest. Nothing "
            "here carries prompts, replies or keys."
        ),
    ]
    for kind in PUBLISHED:
        tag = kind.__struct_config__.tag
        text, _, fields = inspect.cleandoc(kind.__doc__ or "").partition("\n\nAttributes:\n")
        names = ", ".join(f"`{tag}.{state}`" for state in _states(kind))
        lines += ["", f"## {kind.__name__}", "", names, "", text, ""]
        for field in re.split(r"\n(?=    \w)", fields.rstrip()) if fields else ():
            name, _, told = field.strip().partition(": ")
            lines.append(f"- `{name}`: {' '.join(told.split())}")
    schema = msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Published)), indent=2)
    lines += ["", "## Schema", "", "```json", schema.decode(), "```"]
    return "\n".join(lines) + "\n"


def _states(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the last words of the names that *kind* is published under."""
    return get_args(get_type_hints(kind)["state"])


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(default: object) -> str:
    if default is None or default in ((), {}):
        return "not set by default"
    if isinstance(default, bool):
        return f"by default `{_plain(default)}`"
    return f"by default `{', '.join(default) if isinstance(default, tuple) else default}`"


def _room(room: str, sentence: str) -> str:
    return f"# {room}\n\n{sentence}\n\n```{{eval-rst}}\n.. automodule:: aiex.{room}\n```\n"


def _testing() -> str:
    modules = sorted(m.name for m in pkgutil.iter_modules(aiex.testing.__path__))
    parts = [
        "# testing",
        "",
        (
            "Fakes and harnesses, shipped for ourselves and for the authors of plugins. Import "
            "each from its own module: they need what Aiex itself does not."
        ),
        "",
    ]
    for name in modules:
        parts += [
            f"## aiex.testing.{name}",
            "",
            "```{eval-rst}",
            f".. automodule:: aiex.testing.{name}",
            "   :no-imported-members:",
            "```",
            "",
        ]
    return "\n".join(parts)


def _api_index() -> str:
    tree = "\n".join([*ROOMS, "testing"])
    return (
        "# API by room\n\nWhat each room offers to the others. Imports only point down: "
        "interfaces, app, gateway, assistant, then llm, context and sandbox side by side, then "
        "cluster, then runtime, code and wires, then core.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{tree}\n```\n"
    )
