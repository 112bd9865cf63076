"""Budgets and limits over real processes: no call beyond them, whoever makes it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from aiex.testing.upstream import Billed, Delivery, Fault, Say, Scenario, ScriptedUpstream

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

OUTPUT = 100
BILLED = 17 + OUTPUT  # a micro-dollar a token, at the prices below
SCENARIOS = {
    "text": Scenario(says=(Say(pieces=("hi",)),), billed=Billed(input=17, output=OUTPUT)),
    "held": Scenario(
        says=(Say(pieces=("hi",) * 20),), delivery=Delivery(cut_after=5, ending="hold")
    ),
    "failing": Scenario(fault=Fault(kind="invalid")),
}


class Answer(msgspec.Struct, frozen=True):
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["error"])


class Server:
    """An `aiex serve` of its own process."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, Any]) -> None:
        self.process = process
        self.address = told["address"]
        self.token = Path(told["token_file"]).read_text().strip()

    def request(
        self, model: str = "text", *, wire: str = "chat", token: str = "", stream: bool = False
    ) -> urllib.request.Request:
        body = {
            "model": f"mock:{model}",
            "max_tokens": OUTPUT,
            "stream": stream,
            "messages": [{"role": "user", "content": "hello"}],
        }
        path = {"chat": "/v1/chat/completions", "messages": "/v1/messages"}[wire]
        return urllib.request.Request(
            self.address + path,
            data=json.dumps(body).encode(),
            headers={
                "authorization": f"Bearer {token or self.token}",
                "content-type": "application/json",
            },
        )

    def ask(self, model: str = "text", **given: Any) -> Answer:
        try:
            with urllib.request.urlopen(self.request(model, **given), timeout=30) as said:
                return Answer(said.status, dict(said.headers), said.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())


Serving = Callable[[], Server]


@pytest.fixture
def upstream(cli: Cli) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(SCENARIOS) as opened:
        file = Path(cli.env["HOME"]) / "config.toml"
        tables = "".join(
            f'[providers.mock.models."{name}"]\ninput_price = 1.0\noutput_price = 1.0\n'
            for name in SCENARIOS
        )
        file.write_text(
            f'[providers.mock]\nkind = "openai"\nurl = "{opened.url}/v1"\n{tables}'
            '[model]\ndefault = "mock:text"\norder = []\n'
        )
        cli.env["AIEX_CONFIG"] = str(file)
        cli.env["MOCK_API_KEY"] = "sk-mock-0123456789abcdef"
        del cli.env["AIEX_MODEL_ORDER"]
        yield opened


def limit(cli: Cli, table: str) -> None:
    file = Path(cli.env["AIEX_CONFIG"])
    file.write_text(file.read_text() + table)


@contextmanager
def served(cli: Cli, *, workers: int = 1) -> Iterator[Server]:
    process = subprocess.Popen(
        cli.argv("serve", "--port", "0", "--workers", str(workers), "--json"),
        cwd=cli.project,
        env=cli.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        yield Server(process, json.loads("".join(lines))["data"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def calls(upstream: ScriptedUpstream) -> int:
    """Return how many calls of models were taken; lists of models are none."""
    return sum(bool(one.body) for one in upstream.asked)


def leave(server: Server) -> None:
    """Leave a stream that has begun, once the budget has room for it."""
    while True:
        try:
            with urllib.request.urlopen(server.request("held", stream=True), timeout=30) as said:
                said.read(10)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 402:
                raise
        else:
            return


def standing(cli: Cli, subject: str = "all") -> dict[str, Any]:
    shown = cli("budget", "--json").json["data"]["budgets"]
    (found,) = [one for one in shown if one["subject"] == subject]
    return dict(found)


def test_two_servers_and_a_prompt_never_overspend_one_budget(
    cli: Cli, upstream: ScriptedUpstream
) -> None:
    budget = 40 * BILLED
    assert cli("budget", "set", f"{budget / 1_000_000:.6f}").code == 0
    with served(cli) as one, served(cli) as other, ThreadPoolExecutor(24) as pool:
        answers = [*pool.map(lambda n: (one, other)[n % 2].ask(), range(160))]
        refused = [answer for answer in answers if answer.status != 200]
        asked = calls(upstream)
        assert {answer.status for answer in refused} <= {402, 429}
        assert len(answers) - len(refused) == asked
        assert asked * BILLED <= budget
        assert asked * BILLED >= 0.5 * budget
        assert {one.error["code"] for one in refused} == {"insufficient_quota"}

    shown = standing(cli)
    assert shown["spent"] == asked * BILLED
    assert shown["leased"] == 0
    assert shown["left"] == budget - asked * BILLED
    report = cli("budget", "report", "--by", "model", "--csv")
    (row,) = csv.DictReader(report.out.splitlines())
    assert (row["model"], row["calls"]) == ("mock:text", str(asked))
    assert float(row["cost_usd"]) == asked * BILLED / 1_000_000


def test_the_workers_of_one_server_share_a_limit(cli: Cli, upstream: ScriptedUpstream) -> None:
    limit(cli, "[limits.all]\nrequests = 40\n")
    with served(cli, workers=3) as server, ThreadPoolExecutor(24) as pool:
        answers = [*pool.map(lambda _: server.ask(), range(160))]
        asked = {"authorization": f"Bearer {server.token}"}
        scrape = urllib.request.Request(f"{server.address}/metrics", headers=asked)
        with urllib.request.urlopen(scrape, timeout=30) as said:
            lines = said.read().decode().split("\n")
    reserved = [line for line in lines if 'outcome="reserved"' in line]
    let_through = sum(answer.status == 200 for answer in answers)
    assert {answer.status for answer in answers} <= {200, 429}
    assert let_through == len(upstream.asked)
    assert 0.95 * 40 <= let_through <= 40
    assert sum(int(line.rsplit(" ", 1)[1]) for line in reserved) == let_through


def test_who_is_over_budget_is_told_in_the_wire_and_everybody_hears_of_it(
    cli: Cli, upstream: ScriptedUpstream
) -> None:
    cli("budget", "set", "0.000050")
    with served(cli) as server:
        chat, messages = server.ask(), server.ask(wire="messages")
    asked = cli("explain", "shop/cart.py", "--model", "mock:text", "--json")

    assert (chat.status, chat.error["code"]) == (402, "insufficient_quota")
    assert (messages.status, messages.error["type"]) == (402, "billing_error")
    assert "retry-after" not in chat.headers
    assert asked.code == 5
    assert asked.json["error"]["code"] == "budget"
    assert calls(upstream) == 0


def test_a_budget_counts_in_a_server_that_runs_when_it_is_set_and_when_it_is_removed(
    cli: Cli, upstream: ScriptedUpstream
) -> None:
    with served(cli) as server:
        assert server.ask().status == 200
        cli("budget", "set", "0", "--scope", "provider:mock")
        while server.ask().status == 200:
            pass
        assert server.ask().status == 402
        cli("budget", "set", "none", "--scope", "provider:mock")
        while server.ask().status != 200:
            pass


def test_calls_that_fail_or_are_left_give_back_what_was_reserved(
    cli: Cli, upstream: ScriptedUpstream
) -> None:
    cli("budget", "set", "0.000400")  # two calls, or one after the three that are left
    with served(cli) as server:
        for _ in range(6):
            assert server.ask("failing").status == 400
        for _ in range(3):
            upstream.left.clear()
            leave(server)
            assert upstream.left.wait(30)
        while server.ask().status != 200:  # it is given back just after the upstream is left
            pass

    shown = standing(cli)
    assert BILLED < shown["spent"] < 400
    assert shown["leased"] == 0


def test_each_user_and_key_has_limits_of_its_own(cli: Cli, upstream: ScriptedUpstream) -> None:
    limit(cli, '\n[limits.each]\nscope = "user:*"\nrequests = 2\n')
    keys = [
        cli("key", "create", "--user", user, *more).out.strip()
        for user, more in (("ann", ()), ("bob", ()), ("cat", ("--requests-per-minute", "1")))
    ]
    with served(cli) as server:
        answers = [[server.ask(token=key) for _ in range(3)] for key in keys]

    assert [[one.status for one in mine] for mine in answers] == [
        [200, 200, 429],
        [200, 200, 429],
        [200, 429, 429],
    ]
    refused = answers[0][2]
    assert 0 < int(refused.headers["retry-after"]) <= 62
    assert refused.error["code"] == "rate_limit_exceeded"
