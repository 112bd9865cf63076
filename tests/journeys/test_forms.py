"""Every command in every form: help, JSON, exit statuses, errors that say what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiex.interfaces.cli.help_table import HELP
from aiex.testing.fake_openai import FakeOpenAI, Scripted

Shell = Callable[..., subprocess.CompletedProcess[bytes]]

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]

KEYS = [
    "schema",
    "command",
    "status",
    "exit_code",
    "termination_reason",
    "data",
    "change",
    "usage",
    "checked",
    "not_checked",
    "error",
]
MODULE = '```python\n"""Discounts."""\n\nRATE = 5\n```'

# Each command as it ends well, by its own name, in a project that is no git repository.
WELL = {
    "requests list": ("requests",),
    "explain": ("explain", "shop/cart.py", "--facts-only"),
    "analyze": ("analyze",),
    "analyze graph": ("analyze", "graph"),
    "context index": ("context", "index"),
    "context search": ("context", "search", "total", "of", "a", "cart"),
    "context pack": ("context", "pack", "total of a cart", "--budget", "500"),
    "context map": ("context", "map"),
    "context status": ("context",),
    "context forget": ("context", "forget"),
    "create project": ("create", "project", "corner", "--dry-run"),
    "change list": ("change",),
    "session list": ("session",),
    "model list": ("model", "--offline"),
    "key create": ("key", "create", "--dry-run"),
    "key list": ("key",),
    "budget show": ("budget",),
    "budget set": ("budget", "set", "100", "--scope", "team:core", "--dry-run"),
    "budget report": ("budget", "report", "--by", "key"),
    "config show": ("config",),
    "config list": ("config", "list"),
    "config get": ("config", "get", "cli.color"),
    "config set": ("config", "set", "cli.color", "never"),
    "config path": ("config", "path"),
    "config key list": ("config", "key"),
    "doctor": ("doctor", "--offline"),
    "sandbox status": ("sandbox",),
    "tasks": ("tasks",),
    "completion": ("completion", "bash"),
    "help": ("help", "explain"),
    "version": ("version",),
}

# Each command as it fails, with its exit status.
BADLY = {
    "explain": (("explain", "shop/kart.py"), 2),
    "explain error": (("explain", "error"), 2),
    "explain diff": (("explain", "diff"), 2),
    "analyze": (("analyze", "nowhere"), 2),
    "analyze diff": (("analyze", "diff", "--fail-on", "hgih"), 2),
    "context search": (("context", "search", "  "), 2),
    "context pack": (("context", "pack", "cart", "--budget", "3"), 2),
    "context map": (("context", "map", "--budget", "many"), 2),
    "chat": (("chat", "--continue", "hi"), 2),
    "session show": (("session", "show", "ses_of_nobody"), 2),
    "session export": (("session", "export", "ses_of_nobody"), 2),
    "session import": (("session", "import", "nowhere.json"), 2),
    "session delete": (("session", "delete", "ses_of_nobody"), 2),
    "session share": (("session", "share", "ses_of_nobody", "bea"), 2),
    "session handoff": (("session", "handoff", "ses_of_nobody", "bea"), 2),
    "session resume": (("session", "resume", "ses_of_nobody", "hi"), 2),
    "create module": (("create", "module", "discount", "takes percents off"), 3),
    "create project": (("create", "project", "shop"), 2),
    "gen module": (("gen", "module", "discount", "takes percents off"), 3),
    "change show": (("change", "show", "7f3a"), 2),
    "change apply": (("change", "apply"), 2),
    "model test": (("model", "test"), 3),
    "model pull": (("model", "pull", "nobody-knows-it", "--offline"), 2),
    "key create": (("key", "create", "--role", "amdin"), 2),
    "key revoke": (("key", "revoke", "nobody"), 2),
    "budget show": (("budget", "shwo"), 2),
    "budget set": (("budget", "set", "100", "--scope", "teams:core"), 2),
    "budget report": (("budget", "report", "--since", "1h", "--until", "2d"), 2),
    "config get": (("config", "get", "cli.colour"), 2),
    "config set": (("config", "set", "cli.color", "green"), 2),
    "config key set": (("config", "key", "set", "opnai"), 2),
    "config key delete": (("config", "key", "delete", "openai"), 2),
    "serve": (("serve", "--host", "0.0.0.0"), 2),
    "events tail": (("events", "tail"), 2),
    "requests attach": (("requests", "attach", "req_of_nobody"), 2),
    "requests cancel": (("requests", "cancel", "req_of_nobody"), 2),
    "doctor": (("doctor", "--quik"), 2),
    "sandbox test": (("sandbox", "test", "--level", "moon"), 2),
    "completion": (("completion", "csh"), 2),
    "audit tail": (("audit",), 2),
    "audit search": (("audit", "search", "cart"), 2),
    "audit verify": (("audit", "verify"), 2),
    "audit export": (("audit", "export"), 2),
    "help": (("help", "explian"), 2),
    "aiex": (("explian",), 2),
}


@pytest.mark.parametrize("command", sorted(WELL))
def test_every_command_answers_in_one_shape(cli: Cli, command: str) -> None:
    ended = cli(*WELL[command], "--json")

    assert ended.code == 0, ended.err
    assert list(ended.json) == KEYS
    assert (ended.json["command"], ended.json["schema"]) == (command, 1)
    assert (ended.json["status"], ended.json["exit_code"]) == ("ok", 0)
    assert ended.json["error"] is None


@pytest.mark.parametrize("command", sorted(BADLY))
def test_every_command_fails_in_one_shape(cli: Cli, command: str) -> None:
    words, code = BADLY[command]

    ended = cli(*words, "--format", "json")

    assert ended.code == code, ended.err
    assert list(ended.json) == KEYS
    assert ended.json["status"] == "error"
    assert ended.json["exit_code"] == code
    assert ended.json["not_checked"] == []
    assert ended.json["error"]["message"] in ended.err
    assert "Traceback" not in ended.err


def test_every_command_is_tried() -> None:
    leaves = {path for path in HELP if not any(p.startswith(f"{path} ") for p in HELP)} - {""}
    named = {path.removesuffix(" code") for path in leaves}
    elsewhere = {"analyze deps", "analyze hotspots", "change diff", "model use", "model update"}

    assert named - set(WELL) - set(BADLY) <= elsewhere


@pytest.mark.parametrize("words", [("tasks", "--jsonl"), ("explian", "--jsonl")])
def test_jsonl_ends_with_one_last_event(cli: Cli, words: tuple[str, ...]) -> None:
    lines = cli(*words).out.splitlines()

    assert json.loads(lines[-1])["body"]["type"] in {"finished", "failed"}


def test_help_can_be_had_as_json(cli: Cli) -> None:
    assert cli("create", "module", "--help", "--json").json["data"]["text"] == HELP["create module"]


# Exit statuses beside those that test_explain.py and test_create.py have: 3, 4, 5, 6, 7, 124, 130.
# 8 (the cluster is unavailable or read-only) cannot occur before there is a cluster.


def test_findings_at_the_level_that_was_named_are_exit_1(cli: Cli) -> None:
    (cli.project / "shop/bad.py").write_text("eval(input())\n")

    ended = cli("analyze", "--fail-on", "info", "--json")

    assert ended.code == 1
    assert ended.json["status"] == "findings"
    assert cli("analyze").code == 0


@pytest.mark.parametrize(
    ("words", "says", "next_"),
    [
        (("help", "creat"), "there is no command aiex creat", "did you mean aiex help create?"),
        (("explian", "--help"), "there is no command aiex explian", "did you mean aiex explain?"),
        (("create", "modul", "-h"), "aiex create modul", "did you mean aiex create module?"),
        (("change", "aply", "7"), "aiex change aply", "did you mean aiex change apply?"),
        (("analyze", "--fial-on", "low"), "no option --fial-on", "did you mean --fail-on?"),
        (("explain", "x", "--detail", "bsic"), "'bsic' is not one of", "did you mean basic?"),
        (("explain", "x", "--max-cost", "cheap"), "no amount of US dollars", "aiex explain"),
        (("explain", "x", "--provider", "opena"), "", "did you mean openai?"),
        (("-C", "nowhere", "doctor"), "does not exist", "aiex --help"),
        (("--json", "--format", "md", "doctor"), "contradict each other", ""),
        (("model", "use", "gpt-5", "--dry-run"), "use has no dry run", "aiex model list"),
    ],
)
def test_an_error_says_what_was_meant(
    cli: Cli, words: tuple[str, ...], says: str, next_: str
) -> None:
    (cli.project / "x").write_text("x = 1\n")

    ended = cli(*words)

    assert ended.code == 2
    assert says in ended.err
    assert next_ in ended.err


def test_a_folder_can_be_named_before_and_after_the_verb(cli: Cli, tmp_path: Path) -> None:
    before = cli("-C", "shop", "explain", "cart.py:5", "--facts-only", "--json=facts")
    after = cli("--json=facts", "explain", "cart.py:5", "--facts-only", "-C", "shop")

    assert before.json["data"] == after.json["data"]
    assert before.json["data"]["facts"]["symbol"]["name"] == "total"


@pytest.mark.parametrize("words", [("explain", "-"), ("explain", "--stdin"), ("explain",)])
def test_code_comes_in_three_ways(cli: Cli, words: tuple[str, ...]) -> None:
    ended = cli(*words, "--facts-only", "--json=facts", stdin="def f(x):\n    return x\n")

    assert ended.json["data"]["facts"]["symbols"][0]["name"] == "f"


def test_a_question_and_a_pipe_go_together(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text="The disk is full."))

    ended = cli("explain", "--ask", "what broke?", stdin="ENOSPC at 12:00\n")

    assert ended.code == 0, ended.err
    prompt = fake.bodies[0]["messages"][-1]["content"]
    assert "what broke?" in prompt
    assert "```\nENOSPC at 12:00\n```" in prompt


def test_a_description_and_a_pipe_go_together(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text=MODULE))

    ended = cli("create", "module", "discount", "as the table says", stdin="10 | 5 %\n")

    assert ended.code == 0, ended.err
    prompt = fake.bodies[0]["messages"][-1]["content"]
    assert "as the table says" in prompt
    assert "```\n10 | 5 %\n```" in prompt


def test_a_pipe_alone_is_the_description(cli: Cli, answering: Answering) -> None:
    fake = answering(Scripted(text=MODULE))

    cli("gen", "module", "discount", stdin="takes percents off\n")

    assert "takes percents off" in fake.bodies[0]["messages"][-1]["content"]


@pytest.fixture
def shell(cli: Cli) -> Shell:
    def run(line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["bash", "-c", f'aiex() {{ "{cli.argv()[0]}" -m aiex "$@"; }}; {line}'],
            cwd=cli.project,
            env={**cli.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )

    return run


@pytest.mark.parametrize(
    "words", ["--help", "config list", "explain shop/cart.py --facts-only --json"]
)
def test_a_pipe_that_is_closed_early_is_no_error(shell: Shell, words: str) -> None:
    ended = shell(f"aiex {words} | head -1; exit ${{PIPESTATUS[0]}}")

    assert ended.stdout.count(b"\n") == 1
    assert ended.stderr == b""
    assert ended.returncode in {0, 141}


@pytest.mark.parametrize("words", ["--help", "version --json", "explain shop/cart.py --facts-only"])
def test_output_that_cannot_be_written_is_said_in_a_sentence(shell: Shell, words: str) -> None:
    ended = shell(f"aiex {words} > /dev/full")

    assert ended.returncode == 70
    assert b"standard output cannot be written: No space left on device" in ended.stderr
    assert b"Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("aiex --help >&-", 0),
        ("aiex explain shop/cart.py --facts-only >&- 2>&-", 0),
        ("aiex explain <&-", 2),
        ("aiex create module discount <&-", 2),
    ],
)
def test_closed_streams_are_no_fault(shell: Shell, line: str, code: int) -> None:
    ended = shell(line)

    assert ended.returncode == code
    assert b"Traceback" not in ended.stderr
    assert b"fault" not in ended.stderr


def test_json_is_utf8_where_the_terminal_is_not(cli: Cli, shell: Shell) -> None:
    (cli.project / "shop/arrow.py").write_text('def f():\n    """→ ü"""\n', encoding="utf-8")
    line = "aiex explain shop/arrow.py::f --facts-only"

    text = shell(line, PYTHONIOENCODING="ascii")
    document = shell(f"{line} --json=facts", PYTHONIOENCODING="latin-1")

    assert text.returncode == 0
    assert rb"\u2192 \xfc" in text.stdout
    assert json.loads(document.stdout)["data"]["facts"]["symbol"]["summary"] == "→ ü"


def test_names_that_are_no_utf8_are_refused_or_worked_in(shell: Shell) -> None:
    refused = shell(r"cp shop/cart.py $'caf\xe9.py'; aiex explain $'caf\xe9.py' --facts-only")
    inside = shell(
        r"mkdir $'caf\xe9'; cp shop/cart.py $'caf\xe9'; cd $'caf\xe9';"
        " touch pyproject.toml; aiex explain cart.py --facts-only --json"
    )

    assert refused.returncode == 2
    assert b"is no UTF-8" in refused.stderr
    assert inside.returncode == 0, inside.stderr
    assert json.loads(inside.stdout)["data"]["facts"]["symbols"][0]["name"] == "total"


def test_a_folder_that_is_gone_is_said_to_be(shell: Shell) -> None:
    script = Path(sys.executable).with_name("aiex")  # `python -m` needs a folder itself
    ended = shell("mkdir gone; cd gone; rmdir ../gone; $SCRIPT doctor", SCRIPT=str(script))

    assert ended.returncode == 2
    assert b"the current folder is gone" in ended.stderr


def test_a_fault_is_one_sentence_and_the_details_are_in_a_file(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tree_sitter.py").write_text("1 / 0\n")
    cli.env |= {"PYTHONPATH": str(broken), "TMPDIR": str(tmp_path)}

    ended = cli("explain", "shop/cart.py", "--json")

    assert ended.code == 70
    assert "Traceback" not in ended.err
    assert ended.json["error"]["message"].startswith("ZeroDivisionError")
    details = Path(ended.json["error"]["hint"].rpartition(" ")[2])
    assert "tree_sitter.py" in details.read_text()
    assert "Traceback" in cli("explain", "shop/cart.py", "-v").err


def test_an_installation_that_is_broken_is_said_to_be(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "msgspec.py").write_text("raise ImportError('half of it is missing')\n")
    cli.env |= {"PYTHONPATH": str(broken), "TMPDIR": str(tmp_path)}

    ended = cli("explain", "shop/cart.py")

    assert ended.code == 70
    assert ended.err.startswith("error: Aiex cannot start: ImportError: half of it is missing\n")
    assert "Traceback" in Path(ended.err.strip().rpartition(" ")[2]).read_text()
    assert cli("--help").code == 0


@pytest.mark.parametrize("verb", [("explain", "shop/cart.py"), ("model", "test")])
def test_a_dry_run_names_every_provider_that_could_take_it(
    cli: Cli, answering: Answering, verb: tuple[str, ...]
) -> None:
    fake = answering(Scripted(text="no"))
    cli.env["ANTHROPIC_API_KEY"] = "sk-of-nobody"
    cli.env["AIEX_MODEL_ANTHROPIC_URL"] = fake.url

    lines = [line for line in cli(*verb, "--dry-run").out.splitlines() if "would send" in line]

    assert [line.partition(" tokens to ")[2].partition(":")[0] for line in lines] == [
        "anthropic",
        "openai",
    ]
    assert all("at most $0." in line for line in lines)
    assert fake.bodies == []


def test_a_dry_run_writes_no_setting(cli: Cli) -> None:
    ended = cli("config", "set", "cli.color", "never", "--dry-run")

    assert ended.out.startswith("would write cli.color = never")
    assert not Path(ended.out.split()[-1]).exists()
