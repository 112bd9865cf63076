"""The embedded model through the whole program: it answers, and nothing of it outlives us."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    ChildrenOf = Callable[[int, str], list[int]]

pytestmark = pytest.mark.slow

SERVER = "local_server.py"
MODEL = "local:smollm2-135m"


@pytest.fixture
def embedded(cli: Cli, real_models: Path) -> Cli:
    """The program with nothing but the embedded model."""
    cli.env["AIEX_MODEL_ORDER"] = "local"
    cli.env["AIEX_STATE_MODELS"] = str(real_models)
    return cli


def events_of(process: subprocess.Popen[str]) -> Iterator[Any]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)["body"]


def until_the_first_word(process: subprocess.Popen[str], children_of: ChildrenOf) -> int:
    """Wait until the model speaks, and return its server's process."""
    for event in events_of(process):
        if event["type"] == "text":
            [server] = children_of(process.pid, SERVER)
            return server
    raise AssertionError("it said nothing")


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()


def is_gone(pid: int) -> bool:
    """Return whether a process ended; one that nobody buried yet has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def test_it_explains_a_file_in_words_that_come_as_they_are_said(embedded: Cli) -> None:
    process = embedded.start("explain", "shop/cart.py", "--jsonl", "--max-tokens", "40")
    events = list(events_of(process))
    process.communicate()

    kinds = [event["type"] for event in events]
    assert process.returncode == 0
    assert kinds.index("facts") < kinds.index("model_chosen") < kinds.index("text")
    assert kinds.count("text") > 5
    finished = events[-1]
    assert finished["status"] == "ok"
    usage = finished["usage"]
    assert (usage["provider"], usage["model"], usage["calls"]) == ("local", "smollm2-135m", 1)
    assert (usage["cost_usd_micros"], usage["price_version"] is not None) == (0, True)
    assert 0 < usage["output_tokens"] <= 40
    text = "".join(event["text"] for event in events if event["type"] == "text")
    assert finished["data"]["text"] == text


def test_a_file_larger_than_the_window_is_shown_in_part_and_answered(embedded: Cli) -> None:
    functions = (f"def f{n}(x: int) -> int:\n    y = x + {n}\n    return y\n" for n in range(2000))
    (embedded.project / "shop/large.py").write_text("\n\n".join(functions))
    embedded.env["AIEX_MODEL_LOCAL_WINDOW"] = "2048"

    ended = embedded("explain", "shop/large.py", "--json", "--max-tokens", "20")

    assert ended.code == 0
    assert ended.json["data"]["context"][0]["form"] in {"shorter", "cut"}
    assert 500 < ended.json["usage"]["input_tokens"] < 2048
    assert ended.json["data"]["text"]


def test_an_interrupt_is_exit_130_and_leaves_no_server(
    embedded: Cli, children_of: ChildrenOf
) -> None:
    process = embedded.start("explain", "shop/cart.py", "--jsonl")
    server = until_the_first_word(process, children_of)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 130
    wait_until(lambda: is_gone(server))


def test_a_program_that_is_killed_leaves_no_server(embedded: Cli, children_of: ChildrenOf) -> None:
    process = embedded.start("explain", "shop/cart.py", "--jsonl")
    server = until_the_first_word(process, children_of)

    process.kill()
    process.communicate()

    wait_until(lambda: is_gone(server))


def test_a_server_that_is_killed_is_started_again_and_the_reply_begins_anew(
    embedded: Cli, children_of: ChildrenOf
) -> None:
    process = embedded.start("explain", "shop/cart.py", "--jsonl", "--max-tokens", "60")
    os.kill(until_the_first_word(process, children_of), signal.SIGKILL)
    events = list(events_of(process))
    process.communicate()

    assert process.returncode == 0
    assert "restarted" in [event["type"] for event in events]
    assert events[-1]["status"] == "ok"
    assert events[-1]["usage"]["calls"] == 2


def test_a_module_that_it_cannot_write_is_exit_6_and_writes_nothing(embedded: Cli) -> None:
    words = ("create", "module", "shop.coupon", "A coupon.", "--language", "python")
    ended = embedded(*words, "--max-tokens", "5", "--json")

    assert ended.code == 6
    assert not (embedded.project / "shop/coupon.py").exists()


def test_it_is_tested_and_chosen_by_name(embedded: Cli) -> None:
    tested = embedded("model", "test", MODEL, "--json")
    assert tested.code == 0
    assert tested.json["data"]["name"] == MODEL
    assert tested.json["data"]["text"]

    assert embedded("model", "use", MODEL).code == 0
    embedded.env.pop("AIEX_MODEL_ORDER")
    ended = embedded("explain", "shop/cart.py", "--json", "--max-tokens", "5")
    assert ended.json["usage"]["model"] == "smollm2-135m"


def test_a_pull_shows_on_a_terminal_how_far_it_is(embedded: Cli, real_models: Path) -> None:
    file = real_models / "smollm2-135m.gguf"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    embedded.env |= {"AIEX_STATE_MODELS": str(embedded.project.parent / "m"), "TERM": "xterm"}
    leader, follower = pty.openpty()
    words = ("model", "pull", "mine", "--url", str(file), "--sha256", digest)
    process = subprocess.Popen(
        embedded.argv(*words),
        cwd=embedded.project,
        env=embedded.env,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:
        pass  # what a terminal says when the last writer has left
    os.close(leader)

    assert process.wait() == 0
    assert re.search(rb"copy mine", shown)
    assert b"local:mine was fetched and verified" in shown
