"""What a terminal gets and what a pipe does not: colour, progress, questions."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]

MODULE = '```python\n"""Discounts."""\n\nRATE = 5\n```'


def on_terminal(cli: Cli, *words: str, typed: str = "", **env: str) -> tuple[int, str]:
    """Run the program at a terminal; return its status and what it showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        cli.argv(*words),
        cwd=cli.project,
        env={**cli.env, "TERM": "xterm", **env},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    os.write(leader, typed.encode())
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:  # Linux says so at the end
        pass
    finally:
        os.close(leader)
    return process.wait(timeout=60), shown.decode()


def test_a_terminal_gets_progress_which_leaves_nothing(cli: Cli) -> None:
    code, shown = on_terminal(cli, "analyze")

    assert code == 0
    assert "\r\x1b[2Kchecking " in shown
    last = shown.rindex("checking ")
    assert "\r\x1b[2K" in shown[last:]


def test_a_pipe_gets_neither_progress_nor_colour(cli: Cli) -> None:
    ended = cli("analyze")

    assert "\x1b" not in ended.out + ended.err
    assert "checking" not in ended.err


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("--color", "never"), {}),
        ((), {"NO_COLOR": "1"}),
        ((), {"TERM": "dumb"}),
        ((), {"AIEX_CLI_COLOR": "never"}),
        ((), {"AIEX_PROFILE": "test"}),
    ],
)
def test_colour_can_be_declined(cli: Cli, words: tuple[str, ...], env: dict[str, str]) -> None:
    _, shown = on_terminal(cli, "explain", "shop/cart.py", "--facts-only", *words, **env)

    assert "def total" in shown
    assert "\x1b[1m" not in shown


def test_colour_can_be_had_in_a_pipe(cli: Cli) -> None:
    assert "\x1b[1m" in cli("doctor", "--offline", "--color", "always").out
    assert "\x1b[31m" in cli("explian", "--color=always").err


def test_quiet_shows_no_progress(cli: Cli) -> None:
    _, shown = on_terminal(cli, "analyze", "-q")

    assert "checking" not in shown


@pytest.mark.parametrize(("typed", "is_there"), [("y\n", True), ("\n", False)])
def test_a_terminal_is_asked_whether_to_write(
    cli: Cli, answering: Answering, typed: str, is_there: bool
) -> None:
    answering(Scripted(text=MODULE))

    code, shown = on_terminal(cli, "create", "module", "discount", "takes percents", typed=typed)

    assert code == 0
    assert "Write it now?" in shown
    assert ("wrote  shop/discount.py" in shown) is is_there
    assert (cli.project / "shop/discount.py").exists() is is_there


def test_a_pipe_is_never_asked(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=MODULE))

    ended = cli("create", "module", "discount", "takes percents")

    assert "Write it now?" not in ended.out + ended.err
    assert "nothing written yet" in ended.err
    assert not (cli.project / "shop/discount.py").exists()


def test_yes_answers_the_question(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=MODULE))

    ended = cli("create", "module", "discount", "takes percents", "--yes")

    assert ended.code == 0, ended.err
    assert (cli.project / "shop/discount.py").exists()


def test_a_terminal_without_a_file_is_not_waited_for(cli: Cli) -> None:
    code, shown = on_terminal(cli, "explain")

    assert code == 2
    assert "explain what?" in shown


def test_words_are_streamed_before_the_reply_ends(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds a lot.", holds=True))
    process = cli.start("explain", "shop/cart.py")
    assert process.stdout is not None

    shown = ""
    while "It" not in shown.rpartition("\n\n")[2]:
        shown += process.stdout.read(1)

    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 130
