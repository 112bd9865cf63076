"""The table that help is answered from, and the front that answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import aiex.interfaces.cli.help_table as table
from aiex import __version__
from aiex.interfaces.cli import front
from aiex.interfaces.cli.app import COMMANDS, cli
from aiex.interfaces.cli.generate import help_texts, source_of_table
from aiex.interfaces.cli.help_table import HELP

Say = Callable[..., str]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs the front with words and returns what it printed; it must end well."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["aiex", *words])
        with pytest.raises(SystemExit) as ended:
            front.main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run


def test_the_table_is_what_the_commands_say() -> None:
    assert help_texts() == HELP, "run python -m aiex.interfaces.cli.generate"
    assert Path(table.__file__).read_text("utf-8") == source_of_table()


def test_every_command_is_in_the_help_of_all() -> None:
    for name in COMMANDS:
        assert f"\n  {name} " in HELP[""]


def test_every_command_and_option_says_what_it_is_for() -> None:
    def commands(command: click.Command) -> list[click.Command]:
        ctx = click.Context(command)
        names = command.list_commands(ctx) if isinstance(command, click.Group) else []
        below = [command.get_command(ctx, name) for name in names]  # type: ignore[attr-defined]
        return [command, *(c for child in below for c in commands(child))]

    for command in commands(cli):
        assert command.help
        for param in command.params:
            assert isinstance(param, click.Argument) or param.help, param.name


def test_the_front_knows_which_global_options_take_a_value() -> None:
    taking = {
        name
        for param in cli.params
        if isinstance(param, click.Option) and not param.is_flag
        for name in param.opts
    }

    # The value of --json may only follow an equals sign.
    assert taking - {"--json"} == front.WITH_VALUE


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",), ("-q", "--help")])
def test_help_is_asked_in_many_ways(say: Say, words: tuple[str, ...]) -> None:
    assert say(*words) == HELP[""]


@pytest.mark.parametrize(
    "words",
    [
        ("help", "create", "module"),
        ("create", "module", "--help"),
        ("create", "--help", "module"),
        ("create", "module", "cart", "-h"),
        ("-C", "explain", "create", "module", "--help"),
        ("--color", "never", "create", "module", "--help"),
    ],
)
def test_help_of_a_command_is_asked_in_many_ways(say: Say, words: tuple[str, ...]) -> None:
    assert say(*words) == HELP["create module"]


@pytest.mark.parametrize("words", [("version",), ("--version",)])
def test_the_version_is_asked_in_two_ways(say: Say, words: tuple[str, ...]) -> None:
    assert say(*words) == f"aiex {__version__}\n"


def test_help_after_a_double_dash_is_a_word() -> None:
    assert front.command_of(["explain", "--", "--help"]) == ["explain"]
    assert not front._asks_help(["explain", "--", "--help"])


@pytest.mark.parametrize(
    ("words", "wants"),
    [
        (["--json", "doctor"], True),
        (["doctor", "--json=checks"], True),
        (["doctor", "--jsonl"], True),
        (["doctor", "--format", "json"], True),
        (["doctor", "--format=json"], True),
        (["doctor", "--format", "md"], False),
        (["doctor"], False),
        (["explain", "--", "--json"], False),
    ],
)
def test_whether_json_is_wanted_is_known_before_the_words_are_understood(
    words: list[str], wants: bool
) -> None:
    assert front.wants_json(words) is wants


_LIST_MODULES = """
import json, sys
from aiex.interfaces.cli.front import main
sys.argv = ["aiex", *{words!r}]
try:
    main()
except SystemExit:
    pass
json.dump(sorted(sys.modules), sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["help", "explain"], ["explain", "--help"], ["version"]]
)
def test_help_and_version_import_nothing_that_costs(words: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES.format(words=words)],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(json.loads(ran.stderr))
    ours = {name for name in loaded if name.startswith("aiex")}
    assert ours <= {
        "aiex",
        "aiex.interfaces",
        "aiex.interfaces.cli",
        "aiex.interfaces.cli.front",
        "aiex.interfaces.cli.help_table",
    }
    assert not loaded & {"click", "msgspec", "anyio", "asyncio", "rich", "logging", "typing"}
