"""Settings, from their files into force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli


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


@pytest.mark.parametrize("words", [("config", "list"), ("explain", "shop/cart.py")])
def test_a_reader_that_leaves_is_no_error(cli: Cli, words: tuple[str, ...]) -> None:
    process = cli.start(*words, "--quiet")
    assert process.stdout is not None
    process.stdout.close()

    process.wait(timeout=30)

    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
