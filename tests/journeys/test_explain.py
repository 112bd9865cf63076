"""`aiex explain` as people use it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]


def test_explain_tells_the_facts_and_then_the_models_words(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="It adds the prices up."))

    ended = cli("explain", "shop/cart.py")

    assert ended.code == 0, ended.err
    assert "def total(prices: list[int]) -> int" in ended.out
    assert ended.out.index("shop/till.py:8 bill") < ended.out.index("It adds the prices up.")
    assert "openai:gpt-5.4-mini" in ended.err
    prompt = json.dumps(fake.bodies[0]["messages"])
    assert "return sum(prices)" in prompt
    assert "shop/till.py" in prompt


def test_the_envelope_holds_facts_words_and_usage(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds."))

    document = cli("explain", "shop/cart.py::total", "--json").json

    assert document["schema"] == 1
    assert document["command"] == "explain"
    assert document["status"] == "ok"
    assert document["data"]["facts"]["symbol"]["name"] == "total"
    assert document["data"]["text"] == "It adds."
    assert document["usage"]["calls"] == 1
    assert document["usage"]["cost_usd"] > 0


def test_fields_of_the_envelope_can_be_chosen(cli: Cli) -> None:
    document = cli("--json=facts", "explain", "shop/cart.py", "--facts-only").json

    assert list(document["data"]) == ["facts"]


def test_a_line_means_the_definition_around_it(cli: Cli) -> None:
    ended = cli("explain", "shop/cart.py:5", "--facts-only", "--json")

    assert ended.json["data"]["facts"]["symbol"]["name"] == "total"


def test_code_may_be_piped_in(cli: Cli) -> None:
    ended = cli("explain", "--facts-only", "--json", stdin="def f(x):\n    return x\n")

    assert ended.code == 0, ended.err
    assert ended.json["data"]["facts"]["symbols"][0]["name"] == "f"


def test_a_traceback_is_explained_by_the_code_of_its_frames(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="The prices are no numbers."))
    traceback = (
        "Traceback (most recent call last):\n"
        f'  File "{cli.project}/shop/till.py", line 8, in bill\n'
        '    return f"{total(prices)} EUR"\n'
        "TypeError: unsupported operand type(s)\n"
    )

    ended = cli("explain", "error", stdin=traceback)

    assert ended.code == 0, ended.err
    assert "TypeError: unsupported operand" in ended.out
    assert "def bill(prices" in json.dumps(fake.bodies[0]["messages"])


def test_a_folder_that_is_no_project_is_not_searched(cli: Cli) -> None:
    (cli.project / "pyproject.toml").unlink()

    document = cli("explain", "shop/cart.py", "--facts-only", "--json").json

    assert "callers" not in document["data"]["facts"]
    assert document["not_checked"][0]["what"] == "callers and callees in other files"


def test_a_reply_that_was_cut_is_said_to_be(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds and", finish="length"))

    ended = cli("explain", "shop/cart.py", "--max-tokens", "3")

    assert ended.code == 0
    assert "cut at 3 tokens" in ended.err


def test_without_a_model_the_facts_are_the_answer(cli: Cli) -> None:
    ended = cli("explain", "shop/cart.py")

    assert ended.code == 0
    assert "def total" in ended.out
    assert "No model" in ended.err


def test_a_model_that_was_named_and_is_not_there_is_exit_3(cli: Cli) -> None:
    ended = cli("explain", "shop/cart.py", "--provider", "openai")

    assert ended.code == 3
    assert "OPENAI_API_KEY" in ended.err


def test_a_file_that_is_not_there_is_exit_2(cli: Cli) -> None:
    ended = cli("explain", "shop/kart.py", "--json")

    assert ended.code == 2
    assert ended.json["error"]["code"] == "not_found"


def test_a_protected_file_is_exit_4(cli: Cli) -> None:
    (cli.project / ".env").write_text("SECRET=1\n")

    ended = cli("explain", ".env", "--json")

    assert ended.code == 4
    assert ended.json["status"] == "refused"


def test_a_rate_limit_that_does_not_end_is_exit_5(cli: Cli, answering: Answering) -> None:
    answering(
        Scripted(
            status=429,
            error={"type": "insufficient_quota", "code": "insufficient_quota", "message": "none"},
        )
    )

    assert cli("explain", "shop/cart.py").code == 5


def test_a_cost_cap_is_exit_5_before_anything_is_sent(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="It adds."))

    ended = cli("explain", "shop/cart.py", "--max-cost", "0.000001")

    assert ended.code == 5
    assert fake.bodies == []


def test_a_time_out_is_exit_124(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds a lot.", holds=True))

    ended = cli("explain", "shop/cart.py", "--timeout", "2")

    assert ended.code == 124
    assert "--timeout" in ended.err


def test_a_dry_run_names_what_it_would_cost_and_sends_nothing(
    cli: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(text="It adds."))

    ended = cli("explain", "shop/cart.py", "--dry-run")

    assert ended.code == 0
    assert "openai:gpt-5.4-mini" in ended.out
    assert "$0.00" in ended.out
    assert fake.bodies == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_closes_the_upstream_and_is_exit_130(
    cli: Cli, answering: Answering, number: signal.Signals
) -> None:
    fake = answering(Scripted(text="It adds a lot.", holds=True))
    process = cli.start("explain", "shop/cart.py", "--jsonl")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["body"]["type"] == "text":
            break

    process.send_signal(number)
    process.communicate(timeout=20)

    assert process.returncode == 130
    deadline = time.monotonic() + 10
    while not fake.left and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.left


def test_jsonl_gives_numbered_events_and_one_last(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds."))

    events = [
        json.loads(line)
        for line in cli("explain", "shop/cart.py", "--jsonl").out.split("\n")
        if line
    ]

    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["body"]["type"] == "started"
    assert events[-1]["body"]["type"] == "finished"


def test_what_was_asked_is_shown_on_request(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text="It adds."))

    ended = cli("explain", "shop/cart.py", "--show-context")

    assert "return sum(prices)" in ended.err


def test_escape_sequences_of_a_model_never_reach_the_terminal(
    cli: Cli, answering: Answering
) -> None:
    answering(Scripted(text="red \x1b[31mand \x1b]0;title\x07 more"))

    ended = cli("explain", "shop/cart.py")

    assert "\x1b" not in ended.out
    assert "\\x1b[31mand" in ended.out


def test_a_terminal_gets_colour_unless_no_color_is_set(cli: Cli) -> None:
    def shown(**more: str) -> bytes:
        leader, follower = pty.openpty()
        try:
            subprocess.run(
                cli.argv("explain", "shop/cart.py", "--facts-only"),
                cwd=cli.project,
                env={**cli.env, "TERM": "xterm", **more},
                stdin=subprocess.DEVNULL,
                stdout=follower,
                stderr=subprocess.PIPE,
                check=True,
                timeout=60,
            )
            return os.read(leader, 65536)
        finally:
            os.close(leader)
            os.close(follower)

    assert b"\x1b[" in shown()
    assert b"\x1b[" not in shown(NO_COLOR="1")
