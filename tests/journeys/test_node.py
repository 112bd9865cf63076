"""Clients of a real server, and of requests that run in other processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.conftest import Cli

from aiex.testing.fake_openai import FakeOpenAI, Scripted

SECONDS = 30.0
REPLY = "It adds the prices up."
Answering = Callable[..., FakeOpenAI]


class Node:
    """A server in a process of its own, with a state and a key of its own."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        folder.mkdir()
        self.env = {**cli.env, "HOME": str(folder), "AIEX_STATE_DIRECTORY": str(folder / "state")}
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aiex", "--json", "serve", "--port", "0"],
                env=self.env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.address = ""
        self.token = ""

    def until_it_listens(self) -> None:
        assert self.process.stdout is not None
        text = ""
        for line in iter(self.process.stdout.readline, ""):
            text += line
            if line == "}\n":
                break
        said = json.loads(text)["data"]
        self.address = said["address"]
        self.token = Path(said["token_file"]).read_text().strip()

    def interactions(self) -> list[dict[str, Any]]:
        """Return what the node recorded, by its own command line's store."""
        import http.client

        link = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=SECONDS)
        link.request(
            "GET", "/api/v1/interactions", headers={"authorization": f"Bearer {self.token}"}
        )
        said = link.getresponse()
        found: list[dict[str, Any]] = json.loads(said.read())["interactions"]
        link.close()
        return found


@pytest.fixture
def node(cli: Cli, answering: Answering, tmp_path: Path) -> Iterator[Node]:
    answering(Scripted(text=REPLY))
    one = Node(cli, tmp_path / "node")
    try:
        one.until_it_listens()
        # The client has no key of a provider, and knows no address of one.
        del cli.env["OPENAI_API_KEY"], cli.env["AIEX_MODEL_OPENAI_URL"]
        cli.env |= {"AIEX_SERVER": one.address, "AIEX_TOKEN": one.token}
        yield one
    finally:
        one.process.kill()
        one.process.wait(SECONDS)
        if one.process.stdout is not None:
            one.process.stdout.close()


def until(claim: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not claim():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.05)


def test_a_verb_runs_where_the_files_are_and_asks_the_models_of_the_node(
    cli: Cli, node: Node
) -> None:
    told = cli("explain", "shop/cart.py")
    ended = cli("explain", "shop/cart.py", "--no-cache", "--json")

    assert told.code == ended.code == 0, told.err + ended.err
    assert REPLY in told.out
    usage = ended.json["usage"]
    assert (usage["provider"], usage["model"], usage["calls"]) == ("openai", "gpt-5.4-mini", 1)
    recorded, _ = node.interactions()
    assert (recorded["provider"], recorded["outcome"]) == ("openai", "ok")
    assert recorded["usage"]["output_tokens"] == usage["output_tokens"]


def test_a_project_is_searched_where_its_files_are(cli: Cli, node: Node) -> None:
    found = cli("context", "search", "the total of a cart", "--json")

    assert found.code == 0, found.err
    assert found.json["data"]["hits"][0]["path"] == "shop/cart.py"
    assert found.json["data"]["index"]["folder"].startswith(cli.env["HOME"])
    assert node.interactions() == []


def test_models_and_keys_are_those_of_the_node(cli: Cli, node: Node) -> None:
    listed = cli("model", "list", "--json")
    names = [m["name"] for p in listed.json["data"]["providers"] for m in p.get("models", ())]
    made = cli("key", "create", "--name", "ci", "--role", "viewer", "--json").json["data"]
    cli.env["AIEX_TOKEN"] = made["key"]
    refused = cli("explain", "shop/cart.py", "--json")

    assert "openai:gpt-5.4-mini" in names
    assert refused.code == 4
    assert "may not do complete" in refused.json["error"]["message"]
    assert node.interactions() == []


@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ({"AIEX_TOKEN": "aiex_wrong"}, 4, "not one of this gateway"),
        ({"AIEX_TOKEN": ""}, 2, "no key to show it"),
        ({"AIEX_SERVER": "http://127.0.0.1:9"}, 3, "no server answers"),
        ({"AIEX_SERVER": "http://203.0.113.7:2439"}, 2, "nothing encrypts"),
        ({"AIEX_SERVER": "ftp://one"}, 2, "no address of a server"),
    ],
)
def test_what_keeps_it_from_the_node_is_said(
    cli: Cli, node: Node, env: dict[str, str], code: int, words: str
) -> None:
    del node
    cli.env |= env

    ended = cli("key", "list")

    assert ended.code == code, ended.err
    assert words in ended.err
    assert "next:" in ended.err


def test_the_next_address_is_tried_where_one_does_not_answer(cli: Cli, node: Node) -> None:
    cli.env["AIEX_SERVER"] = f"http://127.0.0.1:9,{node.address}"

    assert cli("key", "list").code == 0


def test_an_interrupt_stops_the_call_on_the_node(
    cli: Cli, answering: Answering, tmp_path: Path
) -> None:
    fake = answering(Scripted(text=REPLY, holds=True))
    node = Node(cli, tmp_path / "node")
    try:
        node.until_it_listens()
        cli.env |= {"AIEX_SERVER": node.address, "AIEX_TOKEN": node.token}
        running = cli.start("explain", "shop/cart.py")
        until(lambda: bool(fake.bodies))
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=SECONDS)

        assert running.returncode == 130, (out, err)
        until(lambda: bool(fake.left))
    finally:
        node.process.kill()
        node.process.wait(SECONDS)
        if node.process.stdout is not None:
            node.process.stdout.close()


def running_id(cli: Cli) -> str:
    """Return the request that runs, once it is known to other processes."""
    found: list[str] = []

    def is_known() -> bool:
        listed = cli("requests", "list", "--json").json["data"]["requests"]
        found[:] = [one["id"] for one in listed if one["state"] == "running"]
        return bool(found)

    until(is_known)
    return found[0]


def test_another_process_attaches_replays_and_stops_a_request(
    cli: Cli, answering: Answering
) -> None:
    answering(Scripted(text=REPLY, holds=True))
    running = cli.start("explain", "shop/cart.py", "--jsonl")
    request_id = running_id(cli)
    attached = cli.start("requests", "attach", request_id, "--jsonl")
    later = cli.start("requests", "attach", request_id, "--after", "2", "--jsonl")
    stopped = cli("requests", "cancel", request_id, "--json")
    first, _ = running.communicate(timeout=SECONDS)
    second, _ = attached.communicate(timeout=SECONDS)
    third, _ = later.communicate(timeout=SECONDS)

    assert stopped.json["data"] == {"id": request_id, "was_running": True}
    assert running.returncode == attached.returncode == later.returncode == 130
    events = [json.loads(line) for line in first.splitlines()]
    assert [json.loads(line) for line in second.splitlines()] == events
    assert [json.loads(line) for line in third.splitlines()] == events[2:]
    assert events[-1]["body"]["error"]["code"] == "interrupted"


def test_a_request_whose_process_was_killed_is_not_told_to_run(
    cli: Cli, answering: Answering
) -> None:
    answering(Scripted(text=REPLY, holds=True))
    running = cli.start("explain", "shop/cart.py", "--jsonl")
    request_id = running_id(cli)
    running.kill()
    running.communicate(timeout=SECONDS)

    def has_failed() -> bool:
        listed = cli("requests", "list", "--json").json["data"]["requests"]
        return [one["state"] for one in listed if one["id"] == request_id] == ["failed"]

    until(has_failed)
    attached = cli("requests", "attach", request_id)
    assert attached.code != 0
    assert "error:" in attached.err


def test_events_are_told_while_they_happen(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=REPLY))
    listening = cli.start("events", "tail", "model.*", "--count", "1", "--jsonl", "-v")
    seen: list[str] = []

    def has_seen() -> bool:
        cli("explain", "shop/cart.py", "--no-cache")
        seen.append("asked")
        return listening.poll() is not None

    until(has_seen)
    out, err = listening.communicate(timeout=SECONDS)

    assert listening.returncode == 0, err
    (event,) = [json.loads(line) for line in out.splitlines()]
    assert event["body"]["type"] == "model"
    assert (event["body"]["provider"], event["body"]["outcome"]) == ("openai", "ok")


def test_a_document_of_what_has_no_end_is_refused(cli: Cli) -> None:
    ended = cli("events", "tail", "--json")

    assert ended.code == 2
    assert "--jsonl" in ended.err
