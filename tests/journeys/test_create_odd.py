"""`aiex create` with names, replies and ends that nobody wishes for."""

from __future__ import annotations

import json
import random
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiex.testing.fake_openai import FakeOpenAI, Scripted

if TYPE_CHECKING:
    from tests.journeys.conftest import Cli

    Answering = Callable[..., FakeOpenAI]

CODE = (
    '"""Discounts."""\n\n\ndef discount(price: int) -> int:\n'
    '    """Half."""\n    return price // 2\n'
)
MODULE = f"```python\n{CODE}```\n"


def _tree(cli: Cli) -> dict[str, bytes]:
    return {
        str(path.relative_to(cli.project.parent)): path.read_bytes()
        for path in cli.project.parent.rglob("*")
        if path.is_file() and "home" not in path.relative_to(cli.project.parent).parts[:1]
    }


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("../evil",), 2),
        (("/etc/evil",), 2),
        (("a..b",), 2),
        (("x\x1b[31m",), 2),
        (("import",), 2),
        (("evil", "--path", "../evil.py"), 4),
        (("evil", "--path", "/tmp/evil.py"), 4),
        (("evil", "--path", ".git/hooks/evil.py"), 4),
        (("evil", "--path", "shop/../../evil.py"), 4),
        (("evil", "--path", "link/evil.py"), 4),
        (("evil", "--path", "evil.sh"), 2),
    ],
)
def test_a_place_that_may_not_be_written_is_refused_before_a_model_is_asked(
    cli: Cli, answering: Answering, words: tuple[str, ...], code: int
) -> None:
    fake = answering(Scripted(text=MODULE))
    (cli.project / "link").symlink_to(cli.project.parent)
    before = _tree(cli)

    ended = cli("create", "module", words[0], "x", *words[1:], "--apply")

    assert ended.code == code, ended.err
    assert "\x1b" not in ended.err
    assert fake.bodies == []
    assert _tree(cli) == before


@pytest.mark.parametrize(
    "text",
    [
        MODULE.replace("\n", "\r\n"),
        f"````markdown\nRead:\n````\n````python\n{CODE}````\n",
        (
            f"Sure!\n\n```python:shop/discount.py\n{CODE}```\n\n```python:tests/test_discount.py\n"
            f"{'# a test that is longer than the module' * 9}\n"
            "from shop.discount import discount\n\n\n"
            "def test_half() -> None:\n    assert discount(4) == 2\n```\n"
        ),
        "*** Begin Patch\n*** Add File: ../../../evil.py\n+EVIL = 1\n"
        "*** Add File: shop/discount.py\n"
        + "".join(f"+{line}\n" for line in CODE.splitlines())
        + "*** End Patch\n",
        "```diff\n--- /dev/null\n+++ b/shop/discount.py\n@@ -0,0 +1,6 @@\n"
        + "".join(f"+{line}\n" for line in CODE.splitlines())
        + "```\n",
        f"shop/discount.py\n<<<<<<< SEARCH\n=======\n{CODE}>>>>>>> REPLACE\n",
    ],
    ids=["crlf", "fences of four", "two files", "apply_patch", "diff", "search and replace"],
)
def test_the_file_is_found_in_every_form_and_nothing_else_is_written(
    cli: Cli, answering: Answering, text: str
) -> None:
    answering(Scripted(text=text))
    before = _tree(cli)

    ended = cli("create", "module", "discount", "halves", "--apply")

    assert ended.code == 0, ended.err
    assert _tree(cli) == {**before, "shop/shop/discount.py": CODE.encode()}


def test_a_repair_may_edit_the_reply_before_it(cli: Cli, answering: Answering) -> None:
    answering(
        Scripted(text=MODULE.replace("price // 2", "price // (2")),
        Scripted(text="<<<<<<< SEARCH\n    return price // (2\n=======\n    return price // 2\n"
                 ">>>>>>> REPLACE\n"),
    )  # fmt: skip

    ended = cli("create", "module", "discount", "halves", "--apply", "--json")

    assert ended.code == 0, ended.err
    assert ended.json["data"]["repairs"] == 1
    assert (cli.project / "shop/discount.py").read_text() == CODE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I'm sorry, I can't help with that.", "no valid python"),
        ("```python\n" + "x=(\n" * 250_000 + "```", "no valid python"),
        ("word " * 100_000 + "x" * 500_000, "no valid python"),
        ('{"path": "shop/discount.py", "content": "def f():\\n    pass\\n"}', "no valid python"),
        ("```python\n# ... rest of the code unchanged\nX = 1\n```", "leaves code out"),
        ("```python\n" + "(" * 50_000 + "\n```", "no valid python"),
        ("*** Begin Patch\n*** Add File: .env\n+KEY=1\n*** End Patch\n", "other files only: .env"),
        ("```python\n\x00\n```", "no valid python"),
    ],
    ids=["refusal", "1 MB of code", "1 MB of prose", "json", "lazy", "deep", "other file", "nul"],
)
def test_a_reply_of_no_use_is_exit_6_and_kept_whole(
    cli: Cli, answering: Answering, text: str, reason: str
) -> None:
    answering(Scripted(text=text))
    before = _tree(cli)

    ended = cli("create", "module", "discount", "x", "--max-repairs", "0", "--apply", "--json")

    assert ended.code == 6, ended.err
    message = ended.json["error"]["message"]
    assert reason in message
    kept = Path(message.rpartition("the reply is in ")[2])
    assert kept.read_text().strip() == text.strip()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert _tree(cli) == before


def test_ctrl_c_while_a_model_writes_is_exit_130_and_leaves_nothing(
    cli: Cli, answering: Answering
) -> None:
    fake = answering(Scripted(text=MODULE, holds=True))
    before = _tree(cli)
    process = cli.start("create", "module", "discount", "x", "--apply", "--jsonl")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["body"].get("stage") == "the model writes":
            break

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    assert process.returncode == 130
    assert len(fake.left) == 1
    assert _tree(cli) == before
    assert cli("change", "list", "--json").json["data"].get("changes", []) == []


def _propose(cli: Cli) -> str:
    document = cli("create", "module", "discount", "x", "--test", "--docs", "--json").json
    assert document["exit_code"] == 0, document
    identifier: str = document["change"]["id"]
    return identifier


_TEST = "```python\nfrom shop.discount import discount\n\n\ndef test_f():\n    assert discount\n```"


def test_a_proposal_outlives_the_process_that_made_it_and_what_was_shown_is_written(
    cli: Cli, answering: Answering
) -> None:
    answering(Scripted(text=MODULE), Scripted(text=_TEST))
    identifier = _propose(cli)
    shown = cli("change", "diff", identifier).out
    before = _tree(cli)

    assert cli("change", "apply", identifier, "--check-only").code == 0
    assert _tree(cli) == before
    assert cli("change", "apply", identifier).code == 0

    made = {path: text for path, text in _tree(cli).items() if path not in before}
    assert set(made) == {
        "shop/shop/discount.py", "shop/tests/test_discount.py", "shop/docs/discount.md",
    }  # fmt: skip
    patched = subprocess.run(
        ["git", "apply", "--check", "--reverse"],
        cwd=cli.project,
        env=cli.env,
        input=shown,
        text=True,
        capture_output=True,
        check=False,
    )
    assert patched.returncode == 0, patched.stderr


@pytest.mark.parametrize(
    "kills", [3, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_an_apply_that_is_killed_writes_all_or_nothing(
    cli: Cli, answering: Answering, kills: int
) -> None:
    answering(Scripted(text=MODULE), Scripted(text=_TEST), Scripted(text=MODULE))
    identifier = _propose(cli)
    before = _tree(cli)
    rng = random.Random(7)
    for _ in range(kills):
        process = cli.start("change", "apply", identifier)
        try:
            process.wait(timeout=rng.uniform(0.05, 0.6))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        cli("change", "list")  # the next command puts right what was cut

        made = set(_tree(cli)) - set(before)
        assert len(made) in {0, 3}, made

    last = cli("change", "apply", identifier)
    assert last.code in {0, 7}, last.err
    assert len(set(_tree(cli)) - set(before)) == 3
    assert cli("change", "show", identifier, "--json").json["change"]["applied"]


def test_a_change_is_for_its_own_project(cli: Cli, answering: Answering) -> None:
    answering(Scripted(text=MODULE), Scripted(text=_TEST))
    identifier = _propose(cli)
    other = cli.project.parent / "other"
    other.mkdir()
    (other / "pyproject.toml").write_text("")

    ended = cli("-C", str(other), "change", "apply", identifier)

    assert ended.code == 2
    assert str(cli.project) in ended.err
    assert [path.name for path in other.iterdir()] == ["pyproject.toml"]


@pytest.mark.parametrize("name", ["nosuch", "", "../../x", "%"])
def test_a_change_that_is_not_there_is_exit_2(cli: Cli, name: str) -> None:
    ended = cli("change", "show", name)

    assert ended.code == 2
    assert "fault of Aiex" not in ended.err
