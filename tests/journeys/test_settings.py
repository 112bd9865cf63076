"""Settings, help and the words of the command line."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from aiex.interfaces.cli.generate import help_texts
from aiex.interfaces.cli.help_table import HELP

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli


def test_the_table_of_help_texts_is_what_the_commands_say() -> None:
    assert help_texts() == HELP, "run python -m aiex.interfaces.cli.generate"


@pytest.mark.parametrize("words", [(), ("help",), ("--help",), ("-h",)])
def test_help_lists_the_commands(cli: Cli, words: tuple[str, ...]) -> None:
    ended = cli(*words)

    assert ended.code == 0
    assert ended.out == HELP[""]


def test_help_of_a_command_is_asked_in_three_ways(cli: Cli) -> None:
    wanted = HELP["create module"]

    assert cli("help", "create", "module").out == wanted
    assert cli("create", "module", "--help").out == wanted
    assert cli("create", "module", "cart", "-h").out == wanted


def test_a_word_that_is_no_command_suggests_the_nearest(cli: Cli) -> None:
    ended = cli("explian", "x.py")

    assert ended.code == 2
    assert "did you mean aiex explain?" in ended.err


def test_an_option_that_is_none_suggests_the_nearest(cli: Cli) -> None:
    ended = cli("explain", "shop/cart.py", "--fact-only")

    assert ended.code == 2
    assert "--facts-only" in ended.err


def test_a_setting_goes_from_the_users_file_into_force(cli: Cli) -> None:
    del cli.env["AIEX_MODEL_ORDER"]
    written = cli("config", "set", "model.order", "ollama, openai")

    assert written.code == 0, written.err
    assert cli("config", "get", "model.order").out == "ollama, openai\n"
    origin = cli("config", "show", "--origin").out
    line = next(line for line in origin.split("\n") if line.startswith("model.order"))
    assert line.endswith("config.toml")


def test_an_unknown_setting_is_an_error_with_a_suggestion(cli: Cli) -> None:
    (cli.project / "aiex.toml").write_text("[cli]\ncolour = 'never'\n")

    ended = cli("config", "show")

    assert ended.code == 2
    assert "did you mean cli.color?" in ended.err


def test_a_projects_file_cannot_decide_where_code_goes(cli: Cli) -> None:
    (cli.project / "aiex.toml").write_text("[model]\nopenai_url = 'http://evil.example'\n")

    ended = cli("explain", "shop/cart.py")

    assert ended.code == 2
    assert "only the user may set" in ended.err


def test_a_key_in_a_file_is_refused(cli: Cli) -> None:
    (cli.project / "aiex.toml").write_text("[model]\nopenai_key = 'sk-1'\n")

    ended = cli("explain", "shop/cart.py")

    assert ended.code == 2
    assert "OPENAI_API_KEY" in ended.err
    assert "sk-1" not in ended.err


def test_doctor_says_what_is_missing_and_what_to_do(cli: Cli) -> None:
    ended = cli("doctor")

    assert ended.code == 0, ended.err
    assert "OPENAI_API_KEY is not set" in ended.out
    assert "no model can be asked" in ended.out


def test_the_completion_script_completes(cli: Cli) -> None:
    script = cli("completion", "bash")

    assert script.code == 0
    assert "_AIEX_COMPLETE" in script.out
    completed = subprocess.run(
        cli.argv(),
        cwd=cli.project,
        env={
            **cli.env,
            "_AIEX_COMPLETE": "bash_complete",
            "COMP_WORDS": "aiex expl",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.stdout.split() == ["plain,explain"]


@pytest.mark.parametrize("words", [("config", "list"), ("explain", "shop/cart.py")])
def test_a_reader_that_leaves_is_no_error(cli: Cli, words: tuple[str, ...]) -> None:
    process = cli.start(*words, "--quiet")
    assert process.stdout is not None
    process.stdout.close()

    process.wait(timeout=30)

    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
