"""Two real model servers behind a real gateway, one of which is killed under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from aiex.llm.adapters.local import SERVER_PROGRAM
from aiex.testing.serving import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SECONDS = 60.0
SECONDS_TO_ANSWER = 200.0  # on two processors that other tests use as well, each token waits
TOKEN = "sk-of-both-servers"
CLIENTS = 6
ASKED = 10  # by each client

CONFIG = """
[model]
order = []
strategy = "load_balanced"
[model.aliases]
tiny = [["one:tiny", "two:tiny"]]
"""
PROVIDER = """
[providers.{name}]
kind = "openai"
api = "chat"
url = "http://127.0.0.1:{port}/v1"
key_variable = "UPSTREAM_KEY"
[providers.{name}.models.tiny]
context_tokens = 2048
"""


class Outcome(msgspec.Struct, kw_only=True):
    """What a client saw of one answer; times are monotonic seconds.

    Attributes:
        first: When its first content came; 0 if none did.
        ended: When it ended.
        error: What ended it, if it did not end well.
    """

    first: float = 0.0
    ended: float = 0.0
    error: str = ""


def started(argv: list[str], stack: ExitStack, **more: Any) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        **more,
    )

    def end() -> None:
        process.kill()
        process.communicate(timeout=SECONDS)

    stack.callback(end)
    return process


@pytest.fixture
def servers(real_models: Path) -> Iterator[list[tuple[subprocess.Popen[str], int]]]:
    [model] = real_models.rglob("*.gguf")
    with ExitStack() as stack:
        found = []
        for _ in range(2):
            argv = [*SERVER_PROGRAM, str(model), "--name", "tiny", "--context", "2048"]
            process = started(argv, stack)
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{TOKEN}\n")
            process.stdin.flush()
            found.append((process, int(json.loads(process.stdout.readline())["port"])))
        yield found


@pytest.fixture
def gateway(
    servers: list[tuple[subprocess.Popen[str], int]], tmp_path: Path
) -> Iterator[openai.OpenAI]:
    names = [
        PROVIDER.format(name=name, port=port)
        for name, (_, port) in zip(("one", "two"), servers, strict=True)
    ]
    config = CONFIG + "".join(names)
    with (
        serving(tmp_path / "server", config, {"UPSTREAM_KEY": TOKEN}) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0) as client,
    ):
        yield client


def ask(client: openai.OpenAI, number: int) -> Outcome:
    found = Outcome()
    try:
        stream = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": f"Count up from {number}."}],
            max_tokens=12,
            stream=True,
        )
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content and not found.first:
                found.first = time.monotonic()
    except openai.OpenAIError as error:
        found.error = repr(error)
    found.ended = time.monotonic()
    return found


def test_nobody_who_had_nothing_yet_loses_an_answer_when_a_server_is_killed(
    servers: list[tuple[subprocess.Popen[str], int]], gateway: openai.OpenAI
) -> None:
    outcomes: list[Outcome] = []

    def client(number: int) -> None:
        for turn in range(ASKED):
            found = ask(gateway, number * ASKED + turn)
            outcomes.append(found)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while len(outcomes) < CLIENTS:  # all are under way, on both servers
        time.sleep(0.01)
    killed_at = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(servers[0][0].pid, signal.SIGKILL)
    ends_at = killed_at + SECONDS_TO_ANSWER
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))

    assert len(outcomes) == CLIENTS * ASKED
    failed = [one for one in outcomes if one.error]
    # A stream that had begun at the server that died is told so; nothing else fails.
    assert all(0 < one.first <= killed_at for one in failed), failed
    after = [one for one in outcomes if not one.error and one.ended > killed_at]
    assert len(after) >= CLIENTS * (ASKED - 2) - len(failed)
