"""Programs that others wrote, answered and led through a tool call by a real server.

They are looked for on the path, and in the folders that `AIEX_TEST_CLIENTS` names: from npm
`@anthropic-ai/claude-code`, `@openai/codex`, `opencode-ai` and `@mariozechner/pi-coding-agent`,
from PyPI `llm` and `aider-chat`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from aiex.testing.serving import Serving, serving
from aiex.testing.upstream import CallTool, Say, Scenario, ScriptedUpstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SECONDS = 120.0
SECRET = "forty-two"
ANSWER = "It says what you hear."

CONFIG = """
[model]
order = []
[providers.up]
kind = "openai"
url = "{url}/v1"
api = "chat"
key_variable = "UPSTREAM_KEY"
"""


class Client(NamedTuple):
    """A program, how it is asked something once, and the tool of its own that reads a file."""

    program: str
    argv: Callable[[Serving, Path, str], list[str]]
    env: Callable[[Serving], Mapping[str, str]]
    tool: str = ""
    arguments: Callable[[Path], Mapping[str, object]] = lambda _: {}


def _claude(door: Serving, folder: Path, model: str) -> list[str]:
    del door, folder
    return ["-p", "What is in note.txt?", "--model", model, "--allowedTools", "Read"]


def _codex(door: Serving, folder: Path, model: str) -> list[str]:
    del folder
    told = f'{{name="aiex",base_url="{door.url}/v1",env_key="AIEX_KEY",wire_api="responses"}}'
    settings = ["-c", "model_provider=aiex", "-c", f"model_providers.aiex={told}"]
    bare = "--dangerously-bypass-approvals-and-sandbox"  # its own sandbox may not work here
    return ["exec", bare, "--skip-git-repo-check", *settings, "-m", model, "What is in note.txt?"]


def _opencode(door: Serving, folder: Path, model: str) -> list[str]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "aiex",
        "options": {"baseURL": f"{door.url}/v1", "apiKey": door.token},
        "models": {model: {"name": model}},
    }
    (folder / "opencode.json").write_text(json.dumps({"provider": {"aiex": provider}}))
    return ["run", "--model", f"aiex/{model}", "What is in note.txt?"]


def _pi(door: Serving, folder: Path, model: str) -> list[str]:
    provider = {
        "baseUrl": f"{door.url}/v1",
        "api": "openai-completions",
        "apiKey": door.token,
        "models": [{"id": model}],
    }
    told = folder / ".pi/agent/models.json"
    told.parent.mkdir(parents=True)
    told.write_text(json.dumps({"providers": {"aiex": provider}}))
    return ["--offline", "--provider", "aiex", "--model", model, "-p", "What is in note.txt?"]


def _llm(door: Serving, folder: Path, model: str) -> list[str]:
    (folder / "llm").mkdir()
    told = {"model_id": "aiex", "model_name": model, "api_base": f"{door.url}/v1"}
    lines = [
        f"{'-' if not n else ' '} {key}: {value}" for n, (key, value) in enumerate(told.items())
    ]
    (folder / "llm/extra-openai-models.yaml").write_text(
        "\n".join([*lines, "  api_key_name: aiex"])
    )
    (folder / "llm/keys.json").write_text(json.dumps({"aiex": door.token}))
    return ["-m", "aiex", "What is in note.txt?"]


def _aider(door: Serving, folder: Path, model: str) -> list[str]:
    del door, folder
    quiet = ["--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings"]
    return ["--model", f"openai/{model}", *quiet, "--no-pretty", "--message", "What is there?"]


CLIENTS = {
    "claude": Client(
        "claude",
        _claude,
        lambda door: {
            "ANTHROPIC_BASE_URL": door.url,
            "ANTHROPIC_AUTH_TOKEN": door.token,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        "Read",
        lambda file: {"file_path": str(file)},
    ),
    "codex": Client(
        "codex",
        _codex,
        lambda door: {"AIEX_KEY": door.token},
        "exec_command",
        lambda file: {"cmd": f"cat {file}"},
    ),
    "opencode": Client("opencode", _opencode, lambda _: {}, "read", lambda f: {"filePath": str(f)}),
    "pi": Client("pi", _pi, lambda _: {}, "read", lambda file: {"path": str(file)}),
    "llm": Client("llm", _llm, lambda _: {"LLM_USER_PATH": "llm"}),
    "aider": Client(
        "aider",
        _aider,
        lambda door: {"OPENAI_API_BASE": f"{door.url}/v1", "OPENAI_API_KEY": door.token},
    ),
}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"answer": Scenario(says=(Say((ANSWER,)),))}) as one:
        yield one


@pytest.fixture
def door(upstream: ScriptedUpstream, tmp_path: Path) -> Iterator[Serving]:
    config = CONFIG.format(url=upstream.url)
    with serving(tmp_path / "server", config, {"UPSTREAM_KEY": "sk-test"}) as one:
        yield one


def program_of(client: Client) -> str:
    folders = os.pathsep.join([os.environ.get("AIEX_TEST_CLIENTS", ""), os.environ["PATH"]])
    found = shutil.which(client.program, path=folders)
    if found is None:
        pytest.skip(f"{client.program} is not installed")
    return found


def ask(client: Client, door: Serving, folder: Path, model: str) -> str:
    """Return what the program writes when it is asked once."""
    program = program_of(client)
    folder.mkdir()
    (folder / "note.txt").write_text(f"{SECRET}\n")
    env = {
        "PATH": f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        **client.env(door),
    }
    ran = subprocess.run(
        [program, *client.argv(door, folder, model)],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("name", CLIENTS)
def test_a_program_is_answered(
    door: Serving, upstream: ScriptedUpstream, tmp_path: Path, name: str
) -> None:
    said = ask(CLIENTS[name], door, tmp_path / "work", "up:answer")

    assert ANSWER in said
    assert upstream.violations == []


@pytest.mark.parametrize("name", [name for name, client in CLIENTS.items() if client.tool])
def test_a_program_is_led_through_a_tool_call(
    door: Serving, upstream: ScriptedUpstream, tmp_path: Path, name: str
) -> None:
    client = CLIENTS[name]
    arguments = json.dumps(client.arguments(tmp_path / "work/note.txt"))
    upstream.scenarios["loop"] = Scenario(
        says=(CallTool("call_a1", client.tool, (arguments[:9], arguments[9:])),),
        finish="tool_calls",
        then=Scenario(says=(Say((ANSWER,)),)),
    )

    said = ask(client, door, tmp_path / "work", "up:loop")

    assert ANSWER in said
    results = [
        message["content"]
        for one in upstream.asked
        for message in one.body.get("messages", ())
        if message["role"] == "tool"
    ]
    assert any(SECRET in json.dumps(result) for result in results)
    assert upstream.violations == []
